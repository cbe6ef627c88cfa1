"""The headers of an HTTP request as Envoy sends them: in one of two forms, read into one, or refused (E-7).

`headers` is a map in which Envoy has joined what was repeated and replaced what was not UTF-8; `header_map`, under
`encode_raw_headers`, is what came. Both are accepted, never merged. Nothing is split at commas: who wants a list says so in
a route, and gets what was repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pdp.wire.refusals import Unfit
from pdp.wire.strict import refuse_unseen

HEADERS_MAX = 1_000
TOKEN_BYTES_MAX = 8_192
NAMES_REMEMBERED_MAX = 4_096  # characters; more are judged each time

#: Each says who somebody is, or what they may: never twice, never beside a look-alike.
CREDENTIALS = (
    "authorization",
    "task-grant",
    "task-proof",
    "txn-token",
    "workload-identity-token",
    "workload-proof-token",
)
XFCC = "x-forwarded-client-cert"
PARTIAL_BODY = "x-envoy-auth-partial-body"

Headers = Mapping[str, Sequence[str]]

#: What must have no look-alike that differs in an underscore, since some back ends read the two as one.
_GUARDED = frozenset((*CREDENTIALS, XFCC, PARTIAL_BODY, "x-request-id", "x-forwarded-for"))

_NAMES = re.compile(r":?[a-z0-9!#$%&'*+.^_`|~-]+(?:\n:?[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)", re.ASCII)


def read_headers(http: Any, own: frozenset[str]) -> Headers:
    """By lower-case name, each with all its values. `own` are headers that the gate sets, which must have no look-alike."""
    joined = http.headers
    if http.HasField("header_map"):
        raw = http.header_map.headers
        if joined:
            raise Unfit("ambiguous_headers")
        if len(raw) > HEADERS_MAX:
            raise Unfit("too_many_headers")
        found = _raw(raw)
        texts = [value for values in found.values() for value in values]
    else:
        if len(joined) > HEADERS_MAX:
            raise Unfit("too_many_headers")
        refuse_unseen(http)  # it would take a header away
        names = list(joined)
        texts = [joined[name] for name in names]
        found = dict(zip(names, zip(texts, strict=True), strict=True))  # the inner one makes a tuple of each
    names_told = "\n".join(found)
    judge = _unfit_names if len(names_told) <= NAMES_REMEMBERED_MAX else _unfit_names.__wrapped__
    unfit = judge(names_told, len(found), own)
    if unfit is not None:
        raise Unfit(unfit)
    text = "\t".join(texts)
    if "\n" in text or "\r" in text or "\x00" in text:
        raise Unfit("malformed_header", "a value with an end of line in it")
    return found


def _raw(raw: Any) -> dict[str, tuple[str, ...]]:
    """A value that is not UTF-8 becomes text with surrogates in it, which no comparison and no credential can equal."""
    found: dict[str, tuple[str, ...]] = {}
    for header in raw:
        value = header.raw_value
        if value and header.value:
            raise Unfit("ambiguous_headers", "one header in both forms")
        text = value.decode("utf-8", "surrogateescape") if value else header.value
        name = header.key
        found[name] = (*found[name], text) if name in found else (text,)
    return found


@lru_cache(maxsize=1_024)
def _unfit_names(names: str, count: int, own: frozenset[str]) -> str | None:
    """What is wrong with names of headers, a line each. Clients send the same ones again and again."""
    if not count:
        return None
    if names.count("\n") != count - 1 or not _NAMES.fullmatch(names):
        return "malformed_header"
    for name in names.split("\n") if "_" in names else ():
        plain = name.replace("_", "-")
        if plain != name and (plain in _GUARDED or plain in own):
            return "underscore_header"
    return None


def single(headers: Headers, name: str) -> str | None:
    """A header that stands at most once."""
    values = headers.get(name)
    if values is None:
        return None
    if len(values) != 1:
        raise Unfit("several_credentials" if name in CREDENTIALS else "conflicting_request", name)
    return values[0]


def credential(headers: Headers, name: str) -> str | None:
    """A token that is a header's whole value. Two of them joined have a comma, which is in no token."""
    value = single(headers, name)
    if value is None:
        return None
    if len(value) > TOKEN_BYTES_MAX:
        raise Unfit("credential_too_large", name)
    if not _TOKEN.fullmatch(value):
        raise Unfit("several_credentials" if "," in value else "malformed_credential", name)
    return value


def bearer(headers: Headers) -> str | None:
    """The token in `authorization: Bearer …`, where that header is for us."""
    value = single(headers, "authorization")
    if value is None:
        return None
    if len(value) > TOKEN_BYTES_MAX + 16:
        raise Unfit("credential_too_large", "authorization")
    found = _BEARER.fullmatch(value)
    if found is None:
        raise Unfit("several_credentials" if "," in value else "malformed_credential", "authorization")
    return found[1]
