"""The handle of a grant: a signed name for it, which its holder sends along (research 3.2).

The record in the store is the authority. A handle says which record that is, and repeats of it what others may want to see;
without the key in `cnf` it is of no use, and what it repeats is never what is decided on. Reading one is strict (J-1 to J-7,
H-3 to H-5): size first, then form, then every claim, then the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any

from pdp.errors import PdpError
from pdp.grants.grant import Grant, Permit, Target
from pdp.grants.issuer_keys import HANDLE_LIFE_US_MAX, IssuerKeys
from pdp.grants.refusals import Refused
from pdp.tokens.claims import SECOND_US, TEXT_MAX, count_audiences, holds_until, key_id, number_us, refuse_header
from pdp.tokens.compact import TOKEN_BYTES_MAX, Compact, digest, is_signed_by, read_compact
from pdp.tokens.signing import ALGORITHM, sign_compact

TYPE = "task-grant+jwt"
NAME_MAX = 2048  # of a SPIFFE ID
_HEADERS = frozenset({"alg", "kid", "typ"})
_SEAL = object()


@dataclass(frozen=True, slots=True)
class Names:
    """What this decision point is called, from configuration."""

    issuer: str  # its SPIFFE ID
    audience: str  # itself, or its trust domain: where its grants are of use

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise PdpError("invalid_argument", "issuer and audience: our own names must be configured")


@dataclass(frozen=True, slots=True)
class Handle:
    """A genuine name of a grant, shown by whoever had it. Nothing but this file makes one."""

    grant: str
    task: str
    holder: str
    certificate: str | None  # x5t#S256 of cnf
    key: str | None  # jkt of cnf
    parent: str | None
    depth: int
    environment: str | None
    begins_us: int
    ends_us: int  # at this moment it holds no more; the grant may have ended long before
    issuer_key: str
    digest: str = field(repr=False)  # what a proof names it by
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a handle comes from read_handle")


# ---- making


def make_handle(grant: Grant, names: Names, keys: IssuerKeys, now: int) -> str:
    """The handle of a grant, signed with the key of now. It ends with the grant, rounded up to a second, or after an hour:
    then its holder asks for another."""
    if grant.binding.is_bearer:
        raise PdpError("invalid_argument", "a grant without a key is never given out as a handle")
    if grant.is_over or now >= grant.ends:
        raise PdpError("invalid_argument", "a grant that has ended has no handle")
    issued = now // SECOND_US
    ends = min(-(-grant.ends // SECOND_US), issued + HANDLE_LIFE_US_MAX // SECOND_US)
    claims = {
        "jti": grant.id,
        "txn": grant.task,
        "iss": names.issuer,
        "aud": names.audience,
        **_parties(grant),
        "cnf": _confirmation(grant),
        "iat": issued,
        "nbf": issued,
        "exp": ends,
        "parent": grant.parent,
        "depth": grant.depth,
        "environment": grant.environment,
    }
    token = _signed({**claims, "authorization_details": _details(grant)}, keys, now)
    if len(token) > TOKEN_BYTES_MAX // 2:  # headers have to carry it
        token = _signed(claims, keys, now)
    if len(token) > TOKEN_BYTES_MAX:
        raise PdpError("invalid_argument", "the names in a grant are too long for a handle")
    return token


def _signed(claims: Mapping[str, Any], keys: IssuerKeys, now: int) -> str:
    key = keys.signing(now)
    return sign_compact({"kid": key.id, "typ": TYPE}, claims, key.private)


def _parties(grant: Grant) -> dict[str, Any]:
    """RFC 8693: whose authority it is, and who acts with it where that is somebody else."""
    if not grant.people:
        return {"sub": grant.holder}
    kind, name = grant.people[0]
    return {"sub": f"{kind}/{name}", "act": {"sub": grant.holder}}


def _confirmation(grant: Grant) -> dict[str, str]:
    found = {"x5t#S256": grant.binding.certificate, "jkt": grant.binding.key}
    return {name: thumbprint for name, thumbprint in found.items() if thumbprint is not None}


def _details(grant: Grant) -> list[dict[str, Any]]:
    """RFC 9396, to be looked at: a decision reads the scope in the store."""
    return [_detail(permit, target) for permit in grant.scope.permits for target in permit.on]


def _detail(permit: Permit, target: Target) -> dict[str, Any]:
    told: dict[str, Any] = {"type": target.type, "actions": sorted(permit.actions)}
    if target.id is not None:
        told["identifier"] = target.id
    if target.within is not None:
        told["within"] = list(target.within)
    if permit.constraints:
        told["constraints"] = list(permit.constraints)
    return told


# ---- reading


def read_handle(token: str, names: Names, keys: IssuerKeys, now: int) -> Handle:
    """What a handle names, or the one reason why it is none of ours, now."""
    read = read_compact(token, (ALGORITHM,))
    refuse_header(read, _HEADERS, (TYPE,), typed=True)
    kid = key_id(read)
    if kid is None:
        raise Refused("key_id_missing")
    _refuse_claims(read)
    if read.claims["iss"] != names.issuer:
        raise Refused("handle_wrong_issuer")
    count_audiences(read, names.audience)
    ends = holds_until(read, now, 0, HANDLE_LIFE_US_MAX)
    key = keys.verifying(kid, now)
    if key is None:
        raise Refused("key_unknown")
    if not is_signed_by(read, key):
        raise Refused("signature_wrong")
    claims = read.claims
    acting = claims.get("act")
    return Handle(
        claims["jti"],
        claims["txn"],
        claims["sub"] if acting is None else acting["sub"],
        claims["cnf"].get("x5t#S256"),
        claims["cnf"].get("jkt"),
        claims.get("parent"),
        claims["depth"],
        claims.get("environment"),
        claims["nbf"] * SECOND_US,
        ends,
        kid,
        digest(token),
        _SEAL,
    )


def _refuse_claims(read: Compact) -> None:
    """H-3, H-4: exactly the claims that we write, each of its type."""
    claims = read.claims
    if not (_REQUIRED <= claims.keys() <= _CLAIMS.keys()):
        raise Refused("handle_claims_wrong")
    if not all(_CLAIMS[name](value) for name, value in claims.items()):
        raise Refused("handle_claims_wrong")
    for name in ("nbf", "iat", "exp"):
        number_us(claims, name, "handle_claims_wrong")
    confirmation = claims["cnf"]
    if not confirmation or not confirmation.keys() <= {"x5t#S256", "jkt"} or not all(map(_is_text, confirmation.values())):
        raise Refused("handle_unconfirmed")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TEXT_MAX


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_MAX


def _is_text_or_null(value: object) -> bool:
    return value is None or _is_text(value)


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_actor(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"sub"} and _is_name(value["sub"])


def _is_details(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, dict) for v in value)


_CLAIMS: Mapping[str, Callable[[object], bool]] = {
    "jti": _is_text,
    "txn": _is_text,
    "iss": _is_name,
    "aud": _is_name,
    "sub": _is_name,
    "act": _is_actor,
    "cnf": lambda value: isinstance(value, dict),
    "authorization_details": _is_details,
    "iat": _is_number,
    "nbf": _is_number,
    "exp": _is_number,
    "parent": _is_text_or_null,
    "depth": _is_number,
    "environment": _is_text_or_null,
}
_REQUIRED = _CLAIMS.keys() - {"act", "authorization_details", "parent", "environment"}
