"""The keys of an issuer of people's tokens: its JWKS document, read strictly. What is for something else is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from pdp.grants.refusals import Refused
from pdp.tokens.claims import TEXT_MAX
from pdp.tokens.keys import BadKey, TokenKey, has_private_part, is_for_signatures, read_public_key
from pdp.tokens.strict_json import NotJson, read_object

DOCUMENT_BYTES_MAX = 256 * 1024
_KINDS = ("EC", "RSA")
_USES = ("sig",)


def read_key_set(raw: bytes, algorithms: Collection[str]) -> Mapping[str, TokenKey]:
    """The keys by kid that may sign with one of these algorithms. A document that is wrong in anything changes nothing."""
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise Refused("key_set_too_large")
    found: dict[str, TokenKey] = {}
    seen: set[str] = set()
    for place, entry in enumerate(_entries(raw)):
        if has_private_part(entry):
            raise Refused("key_set_private", str(place))
        if entry.get("kty") not in _KINDS or not is_for_signatures(entry, _USES):
            continue
        kid = entry.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= TEXT_MAX:
            raise Refused("key_set_without_id", str(place))
        if kid in seen:
            raise Refused("key_set_id_twice", str(place))
        seen.add(kid)
        key = _key(entry, place)
        if any(key.fits(a) for a in algorithms):
            found[kid] = key
    return MappingProxyType(found)


def _entries(raw: bytes) -> list[dict[str, Any]]:
    try:
        keys = read_object(raw).get("keys")
    except NotJson:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(k, dict) for k in keys):
        raise Refused("key_set_malformed")
    return keys


def _key(entry: Mapping[str, Any], place: int) -> TokenKey:
    try:
        return read_public_key(entry)
    except BadKey as error:
        why = str(error)
    raise Refused("key_set_bad_key", f"{place}: {why}")
