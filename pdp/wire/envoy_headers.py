"""The headers of an HTTP request as Envoy sends them: in one of two forms, read into one, or refused (E-7).

`headers` is a map in which Envoy has joined what was repeated and replaced what was not UTF-8; `header_map`, under
`encode_raw_headers`, is what came. Both are accepted, never merged. Nothing is split at commas: who wants a list says so in
a route, and gets what was repeated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pdp.wire.refusals import Unfit

HEADERS_MAX = 1_000
TOKEN_BYTES_MAX = 8_192

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

_NOT_IN_VALUES = re.compile("[\x00\r\n]")
_NAMES = re.compile(r"(?:\n:?[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)", re.ASCII)


def read_headers(http: Any, guarded: Collection[str]) -> Headers:
    """By lower-case name, each with all its values. `guarded` are the names that must have no look-alike."""
    joined, raw = http.headers, http.header_map.headers
    if raw:
        if joined:
            raise Unfit("ambiguous_headers")
        if len(raw) > HEADERS_MAX:
            raise Unfit("too_many_headers")
        found = _raw(raw)
    else:
        if len(joined) > HEADERS_MAX:
            raise Unfit("too_many_headers")
        found = {name: (value,) for name, value in joined.items()}
    _refuse_names(found, guarded)
    if _NOT_IN_VALUES.search("\t".join([value for values in found.values() for value in values])):
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


def _refuse_names(found: Mapping[str, object], guarded: Collection[str]) -> None:
    names = "\n" + "\n".join(found) if found else ""
    if not _NAMES.fullmatch(names) or names.count("\n") != len(found):
        raise Unfit("malformed_header", "a name that is not a lower-case word")
    if "_" in names:
        for name in found:
            if "_" in name and name.replace("_", "-") in guarded:
                raise Unfit("underscore_header")


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
