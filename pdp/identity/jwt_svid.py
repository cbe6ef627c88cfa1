"""JWT-SVIDs: from a token to whom it speaks for, or to one refusal (J-1 to J-9).

Everything that can be read is checked before a signature is, and nothing of it is believed before that.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from pdp.identity.ids import SpiffeId, parse_workload_id
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import Refused
from pdp.identity.trust import TrustBundle, TrustStore
from pdp.identity.x509_svid import VerifiedWorkload
from pdp.tokens.claims import count_audiences, holds_until, key_id, refuse_header, token_id
from pdp.tokens.compact import Compact, content_digest, is_signed_by, read_compact
from pdp.tokens.keys import TokenKey

_HEADERS = frozenset({"alg", "kid", "typ"})
_TYPES = ("JWT", "JOSE")
_SEAL = object()


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Whom a JWT-SVID speaks for. It is a bearer token: who has it can show it (J-8). Nothing but this file makes one."""

    id: SpiffeId
    verified_at_us: int
    not_after_us: int  # the last microsecond at which it holds, leeway included
    audience_count: int
    deny_key: tuple[str, str, str]  # J-9: domain, kid, jti or digest of the content; for lists of what is refused
    bundle_version: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a verified token comes from verify_jwt_svid")

    @property
    def trust_domain(self) -> str:
        return self.id.trust_domain

    @property
    def strength(self) -> str:
        return "bearer"


def verify_jwt_svid(token: str, audience: str, trust: TrustStore, now: int, options: Options = STRICT) -> VerifiedToken:
    """The workload that a token speaks for, to us: `audience` is our own name, from configuration."""
    if not audience:
        raise ValueError("audience: our own name must be configured")
    read = read_compact(token)
    refuse_header(read, _HEADERS, _TYPES, typed=False)
    kid = key_id(read)
    workload = subject(read)
    ends_us = holds_until(read, now, options.token_leeway_us, options.token_lifetime_us_max)
    audience_count = count_audiences(read, audience)
    jti = token_id(read)
    bundle = trust.bundle_for(workload.trust_domain, now)
    kid, key = _key(kid, bundle, options)
    if not key.fits(read.algorithm):
        raise Refused("algorithm_not_of_key")
    if not is_signed_by(read, key):
        raise Refused("signature_wrong")
    deny_key = (workload.trust_domain, kid, jti or content_digest(read))
    return VerifiedToken(workload, now, ends_us - 1, audience_count, deny_key, bundle.version, _SEAL)


def refuse_unbound(token: VerifiedToken, peer: VerifiedWorkload | None) -> None:
    """J-8: a bearer token counts on a channel whose certificate has the same ID. Elsewhere only policy may accept it."""
    if peer is None or peer.id != token.id:
        raise Refused("bearer_unbound")


def subject(token: Compact) -> SpiffeId:
    """J-5."""
    found = token.claims.get("sub")
    if not isinstance(found, str):
        raise Refused("subject_missing")
    return parse_workload_id(found)


def _key(kid: str | None, bundle: TrustBundle, options: Options) -> tuple[str, TokenKey]:
    """J-4: the key of this kid, of the domain of sub, for this use."""
    keys = bundle.token_keys
    if kid is None and options.require_key_id:
        raise Refused("key_id_missing")
    if kid is None:
        if len(keys) != 1:
            raise Refused("key_id_ambiguous")
        return next(iter(keys.items()))
    key = keys.get(kid)
    if key is None:
        raise Refused("key_unknown")
    return kid, key
