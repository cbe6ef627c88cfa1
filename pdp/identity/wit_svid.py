"""WIT-SVIDs with their proofs of possession (W-1 to W-4). An incubating standard: off, unless the options say otherwise.

A WIT alone is nothing: `read_wit` gives what it claims, and only `verify_proof` makes someone of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from pdp.identity.ids import SpiffeId
from pdp.identity.jwt_svid import subject
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import Refused
from pdp.identity.trust import TrustStore
from pdp.tokens.claims import SECOND_US, holds_until, key_id, number_us, token_id
from pdp.tokens.compact import Compact, digest, is_signed_by, read_compact
from pdp.tokens.keys import BadKey, TokenKey, has_private_part, read_public_key

WIT_HEADER = "workload-identity-token"
PROOF_LIFE_US_MAX = 60 * SECOND_US

#: Whether this proof is seen for the first time: (thumbprint of the key, jti) until when. It must remember atomically.
FirstUse = Callable[[tuple[str, str], int], bool]

_SEAL = object()


@dataclass(frozen=True, slots=True)
class UnprovenWit:
    """A WIT-SVID whose signature is right, shown by nobody yet. Its jti is no replay key: instances may share it (W-4)."""

    id: SpiffeId = field(repr=False)
    not_after_us: int
    key: TokenKey = field(repr=False)
    bundle_version: str
    wth: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProvenWorkload:
    """Who proved to hold the key of a WIT-SVID, for one request. Nothing but this file makes one."""

    id: SpiffeId
    not_after_us: int
    key_thumbprint: str  # RFC 7638, the jkt of a cnf
    bundle_version: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a proven workload comes from verify_proof")


def read_wit(token: str, header: str, trust: TrustStore, now: int, options: Options = STRICT) -> UnprovenWit:
    """W-1, W-2. `header` is the one in which the token came."""
    if not options.accept_wit:
        raise Refused("wit_not_enabled")
    if header.lower() != WIT_HEADER:
        raise Refused("wit_wrong_header")
    read = read_compact(token)
    _refuse_header(read, "wit+jwt")
    kid = key_id(read)
    if kid is None:
        raise Refused("key_id_missing")
    workload = subject(read)
    ends_us = holds_until(read, now, options.token_leeway_us, options.token_lifetime_us_max)
    if "aud" in read.claims:
        raise Refused("wit_audience_present")
    confirmed = _confirmation(read)
    bundle = trust.bundle_for(workload.trust_domain, now)
    key = bundle.wit_keys.get(kid)
    if key is None:
        raise Refused("key_unknown")
    if not key.fits(read.algorithm):
        raise Refused("algorithm_not_of_key")
    if not is_signed_by(read, key):
        raise Refused("signature_wrong")
    return UnprovenWit(workload, ends_us - 1, confirmed, bundle.version, digest(token))


def verify_proof(
    wit: UnprovenWit,
    proofs: Sequence[str],
    target: str,
    others: Mapping[str, str],
    first_use: FirstUse,
    now: int,
) -> ProvenWorkload:
    """W-3. `target` is our own address, from configuration; `others` are the further tokens of the request, by the name
    under which a proof covers them: `ath` (access token), `tth` (transaction token), or a name inside `oth`."""
    if not proofs:
        raise Refused("proof_missing")
    if len(proofs) > 1:
        raise Refused("proof_several")
    read = read_compact(proofs[0])
    _refuse_header(read, "wpt+jwt")
    if read.algorithm != wit.key.algorithm:
        raise Refused("proof_algorithm_differs")
    if read.claims.get("aud") != target:
        raise Refused("proof_wrong_target")
    ends_us = number_us(read.claims, "exp", "expiry_malformed")
    if ends_us is None or ends_us <= now:
        raise Refused("proof_expired")
    if ends_us > now + PROOF_LIFE_US_MAX:
        raise Refused("proof_lives_too_long")
    if read.claims.get("wth") != wit.wth:
        raise Refused("proof_of_other_token")
    _refuse_uncovered(read, others)
    jti = token_id(read)
    if jti is None:
        raise Refused("proof_id_missing")
    if not is_signed_by(read, wit.key):
        raise Refused("proof_signature_wrong")
    if now > wit.not_after_us:
        raise Refused("token_expired")
    if not first_use((wit.key.thumbprint, jti), ends_us):
        raise Refused("proof_replayed")
    return ProvenWorkload(wit.id, wit.not_after_us, wit.key.thumbprint, wit.bundle_version, _SEAL)


def _refuse_header(token: Compact, kind: str) -> None:
    """W-2: headers that are not known are ignored, unless the token says that they must not be."""
    if token.header.get("typ") != kind:
        raise Refused("type_not_allowed")
    if "crit" in token.header or "b64" in token.header:
        raise Refused("critical_not_understood")


def _confirmation(token: Compact) -> TokenKey:
    confirmation = token.claims.get("cnf")
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    if jwk is None:
        raise Refused("confirmation_missing")
    if not isinstance(jwk, dict):
        raise Refused("confirmation_malformed")
    if has_private_part(jwk):
        raise Refused("confirmation_private")
    try:
        key = read_public_key(jwk)
    except BadKey:
        key = None
    if key is None or key.algorithm is None:
        raise Refused("confirmation_malformed")
    return key


def _refuse_uncovered(proof: Compact, others: Mapping[str, str]) -> None:
    """Every token beside the WIT is covered, and everything that is covered is there and understood."""
    oth = proof.claims.get("oth", {})
    if not isinstance(oth, dict):
        raise Refused("proof_covers_unknown")
    covered = dict(oth)
    for name in ("ath", "tth"):
        if name in oth:
            raise Refused("proof_covers_unknown")
        if name in proof.claims:
            covered[name] = proof.claims[name]
    for name, token in others.items():
        if name not in covered:
            raise Refused("proof_does_not_cover")
        if covered[name] != digest(token):
            raise Refused("proof_hash_wrong")
    if not covered.keys() <= others.keys():
        raise Refused("proof_covers_unknown")
