"""What an HTTP request means: the route tables of the policy set, which are the one meaning of method, host and path (E-8).

What is refused here beyond the language's own rules is what back ends read in more than one way. Meanings are remembered:
the same method, host, path and headers that routes read mean the same under the same policy set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from language import Bundle, NotRouted, Routed, route_http, route_tcp
from pdp.model.bounded import Bounded
from pdp.model.request import Resource
from pdp.wire.envoy_headers import Headers
from pdp.wire.refusals import Unfit

TARGET_BYTES_MAX = 8_192
MEANINGS_MAX = 4_096
MEANING_BYTES_MAX = 512  # of what is remembered by; longer ones are read each time

#: In paths: what stands for itself, and an escape. The language refuses the rest, and escapes that hide something.
_ODD = re.compile(r"[;\x00-\x20\x7f-\uffff]")


@dataclass(frozen=True, slots=True)
class Meaning:
    """A request in the words of policy."""

    action: str
    resource: Resource
    context: Any


class Routes:
    """The routes of one policy set. Made anew for each, so that what is remembered is never of another."""

    __slots__ = ("_headers", "_program", "_remembered")

    def __init__(self, bundle: Bundle) -> None:
        self._program = bundle.program
        self._headers = _headers_read(bundle)
        self._remembered: Bounded[tuple[object, ...], Meaning] = Bounded(MEANINGS_MAX)

    def http(self, method: str, host: str, target: str, headers: Headers) -> Meaning:
        read = self._headers
        key = (method, host, target, *[headers.get(name) for name in read]) if read else (method, host, target)
        found = self._remembered.get(key)
        return self._read(key, method, host, target, headers) if found is None else found

    def tcp(self, destination: str) -> Meaning:
        try:
            routed = route_tcp(self._program, destination)
        except NotRouted as error:
            raise Unfit(error.code, "no route for this destination") from None
        return Meaning(routed.action, Resource(routed.resource_type, routed.resource_id), routed.context)

    def _read(self, key: tuple[object, ...], method: str, host: str, target: str, headers: Headers) -> Meaning:
        if len(method) + len(host) + len(target) > TARGET_BYTES_MAX:
            raise Unfit("too_large", "method, host or path")
        _refuse_odd(target)
        try:
            routed = route_http(self._program, method, host, target, headers)
        except NotRouted as error:
            raise Unfit(error.code) from None
        meaning = _meaning(routed)
        if sum(map(len, map(str, key))) <= MEANING_BYTES_MAX:
            self._remembered.keep(key, meaning)
        return meaning


def _refuse_odd(target: str) -> None:
    path, _, query = target.partition("?")
    odd = _ODD.search(path)
    if odd is not None:
        raise Unfit("non_canonical_path" if odd[0] == ";" else "malformed_path")
    if _ODD.search(query.replace(";", "")):
        raise Unfit("malformed_query")


def _meaning(routed: Routed) -> Meaning:
    # What policy cannot compare with anything must not become a value: bytes that were not UTF-8 (catalogue 19).
    for value in routed.context.values():
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(text, str) and not _is_text(text):
                raise Unfit("malformed_header", "a value that a route reads is not UTF-8")
    return Meaning(routed.action, Resource(routed.resource_type, routed.resource_id), routed.context)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _headers_read(bundle: Bundle) -> tuple[str, ...]:
    """The names of all headers that some route reads."""
    values = [v for r in bundle.program.http_routes for v in (r.target.id, *r.target.context)]
    return tuple(sorted({str(v.name) for v in values if getattr(v, "part", None) == "header"}))  # type: ignore[union-attr]  # a RouteInput
