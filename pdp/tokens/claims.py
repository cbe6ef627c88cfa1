"""The headers and claims that tokens of every kind share (J-3, J-4, J-6, J-7, J-9). What is read is not believed yet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from pdp.tokens.compact import Compact
from pdp.tokens.refusals import Refused

SECOND_US = 1_000_000
TEXT_MAX = 256
_NUMBER_MAX = 1 << 53


def refuse_header(token: Compact, names: frozenset[str], types: Collection[str], *, typed: bool) -> None:
    """J-3: no header that fetches or brings a key, none that changes what is signed. `typed` demands a `typ`."""
    if not names.issuperset(token.header):
        raise Refused("header_not_allowed")
    if typed or "typ" in token.header:
        found = token.header.get("typ")
        if not isinstance(found, str) or found not in types:
            raise Refused("type_not_allowed")


def key_id(token: Compact) -> str | None:
    """J-4: kid, only ever looked up in a map."""
    kid = token.header.get("kid")
    if kid is None and "kid" not in token.header:
        return None
    if not isinstance(kid, str) or not 0 < len(kid) <= TEXT_MAX:
        raise Refused("key_id_malformed")
    return kid


def token_id(token: Compact) -> str | None:
    jti = token.claims.get("jti")
    if jti is None and "jti" not in token.claims:
        return None
    if not isinstance(jti, str) or not 0 < len(jti) <= TEXT_MAX:
        raise Refused("token_id_malformed")
    return jti


def number_us(claims: Mapping[str, Any], name: str, code: str) -> int | None:
    """A time of a token in microseconds. A truth value is no number, and neither is a text that looks like one."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is int and 0 <= value < _NUMBER_MAX:
        return value * SECOND_US
    if type(value) is float and 0 <= value < _NUMBER_MAX:
        return math.floor(value * SECOND_US)
    raise Refused(code)


def expiry_us(token: Compact) -> int:
    found = number_us(token.claims, "exp", "expiry_malformed")
    if found is None:
        raise Refused("expiry_missing")
    return found


def holds_until(token: Compact, now: int, leeway_us: int, life_us_max: int) -> int:
    """J-6: the first microsecond at which it holds no more."""
    ends = expiry_us(token)
    starts = number_us(token.claims, "nbf", "not_before_malformed")
    issued = number_us(token.claims, "iat", "issued_at_malformed")
    if ends + leeway_us <= now:
        raise Refused("token_expired")
    if starts is not None and starts > now + leeway_us:
        raise Refused("token_not_yet_valid")
    since = starts if starts is not None else issued if issued is not None else now
    if ends - min(since, now) > life_us_max:  # a start ahead does not lengthen the life: iat bounds nothing by itself
        raise Refused("lifetime_too_long")
    return ends + leeway_us


def count_audiences(token: Compact, audience: str) -> int:
    """J-7: how many audiences it has, ours among them. Any of them can replay it to us."""
    found = token.claims.get("aud")
    if found is None or found in ("", []):
        raise Refused("audience_missing")
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
        raise Refused("audience_malformed")
    if audience not in audiences:
        raise Refused("audience_wrong")
    return len(audiences)
