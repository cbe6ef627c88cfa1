"""What a gate's request means: the route tables of a policy set, applied.

Pure: a method, host and path in; an action, a resource and its context out, or a coded refusal. Only canonical input is
matched; nothing is normalised, merged or trimmed, because the back end might read it differently (catalogue section A).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from language import typed as t

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_QUERY_VALUES_MAX = 1000
CONNECT = "CONNECT"


class NotRouted(Exception):
    """A request that means nothing here; `code` is the reason of the denial."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Routed:
    action: str
    resource_type: str
    resource_id: str
    context: Mapping[str, Any]


def route_http(
    program: t.Program, method: str, host: str, target: str, headers: Mapping[str, Sequence[str]] | None = None
) -> Routed:
    """The meaning of an HTTP request. `target` is the path with its query; `headers` are by lower-case name."""
    raw_path, _, raw_query = target.partition("?")
    segments = _segments(raw_path, raw_query) if method != CONNECT else _nowhere(target)
    candidates = [
        (route, parameters)
        for route in program.http_routes
        if route.method == method and route.host == canonical_host(host)
        if (parameters := _match(route.path, segments)) is not None
    ]
    if not candidates:
        raise NotRouted("no_route", f"no route for {method} on this host and path")
    route, parameters = min(candidates, key=lambda c: sum(s.is_parameter for s in c[0].path))
    query = _query(raw_query)
    vocabulary = program.vocabulary.actions[route.target.action]
    values = {"path": {k: [v] for k, v in parameters.items()}, "query": query, "header": headers or {}}
    context = {
        field.name: found
        for field, value in zip(vocabulary.context.fields, route.target.context, strict=True)
        if value is not None and (found := _value(value, values, optional=field.optional)) is not None
    }
    resource_id = _value(route.target.id, values, optional=False)
    return Routed(route.target.action, route.target.type, resource_id, context)


def route_tcp(program: t.Program, destination: str) -> Routed:
    """The meaning of a connection, by the gate's verified destination."""
    for route in program.tcp_routes:
        if route.destination == destination and isinstance(route.target.id, t.Constant):
            return Routed(route.target.action, route.target.type, route.target.id.value, {})
    raise NotRouted("no_route", "no route for this destination")


def canonical_host(host: str) -> str:
    """A host as routes write it: ASCII lower case, without one final dot; the default ports are not part of it."""
    if "@" in host or not host.isascii():
        raise NotRouted("malformed_host", "the host holds something that is not a host")
    name, colon, port = host.lower().partition(":")
    name = name.removesuffix(".")
    return name if not colon or port in ("80", "443") else f"{name}:{port}"


def _nowhere(target: str) -> list[str]:
    """A tunnel goes to a host. A path beside it, as extended CONNECT has one, may not come through to the back end."""
    if target:
        raise NotRouted("connect_with_path", "a CONNECT is for a host and has no path")
    return []


def _segments(path: str, query: str) -> list[str]:
    if not path.startswith("/") or "#" in path or "#" in query:
        raise NotRouted("malformed_path", "a path starts with `/` and has no fragment")
    if path == "/":
        return []
    return [_segment(raw) for raw in path[1:].split("/")]


def _segment(raw: str) -> str:
    if raw == "":
        raise NotRouted("non_canonical_path", "the path has an empty segment")
    if "\\" in raw or any(not 0x21 <= ord(c) <= 0x7E for c in raw):
        raise NotRouted("malformed_path", "the path holds a character that is no path's")
    if any(match[1] is None for match in _ESCAPE.finditer(raw)):
        raise NotRouted("malformed_path", "the path has a broken escape")
    try:
        text = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise NotRouted("malformed_path", "the path is not UTF-8") from None
    if text in (".", "..") or "/" in text or "\\" in text or "%" in text or "#" in text:
        raise NotRouted("non_canonical_path", "the path hides a separator, a dot segment or a second escape")
    if any(not c.isprintable() for c in text):
        raise NotRouted("malformed_path", "the path hides a control character")
    return text


def _match(path: tuple[t.PathSegment, ...], segments: list[str]) -> dict[str, str] | None:
    if len(path) != len(segments):
        return None
    parameters = {}
    for want, have in zip(path, segments, strict=True):
        if want.is_parameter:
            parameters[want.text] = have
        elif want.text != have:
            return None
    return parameters


def _query(raw: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if not raw:
        return found
    pairs = raw.split("&")
    if len(pairs) > _QUERY_VALUES_MAX:
        raise NotRouted("malformed_query", "the query has too many parts")
    for pair in pairs:
        name, _, value = pair.partition("=")
        found.setdefault(_decode(name), []).append(_decode(value))
    return found


def _decode(raw: str) -> str:
    if any(match[1] is None for match in _ESCAPE.finditer(raw)):
        raise NotRouted("malformed_query", "the query has a broken escape")
    try:
        return unquote_to_bytes(raw.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise NotRouted("malformed_query", "the query is not UTF-8") from None


def _value(value: t.RouteValue, values: Mapping[str, Mapping[str, Sequence[str]]], *, optional: bool) -> Any:
    if isinstance(value, t.Constant):
        return value.value
    assert isinstance(value, t.RouteInput)
    found = values[value.part].get(value.name)
    if not found:
        if optional:
            return None
        raise NotRouted("missing_value", f"the request has no {value.part} `{value.name}`")
    if value.many:
        return list(found)
    if len(found) > 1:
        raise NotRouted("ambiguous_value", f"the request has {value.part} `{value.name}` more than once")
    return found[0]
