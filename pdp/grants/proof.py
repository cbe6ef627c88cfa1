"""Task-Proof: that whoever sends this request holds the task key now (research 3.5; shaped like DPoP).

One proof is for one request: its method, its address as configured, the handle beside it, and its body where that is
covered. It lives for a minute at most and is used once. What is compared is what was configured, never what the request
says of itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import lru_cache
from typing import Any

from pdp.errors import PdpError
from pdp.grants.refusals import Refused
from pdp.grants.replay import ProofMemory, Use
from pdp.tokens.claims import SECOND_US, TEXT_MAX, number_us, refuse_header, token_id
from pdp.tokens.compact import Compact, base64url, is_signed_by, read_compact
from pdp.tokens.keys import BadKey, TokenKey, has_private_part, read_public_key

HEADER = "task-proof"
TYPE = "task-proof+jwt"
LIFE_US_MAX = 60 * SECOND_US
LEEWAY_US_MAX = 30 * SECOND_US
ALGORITHMS = ("ES256", "ES384", "ES512")
_HEADERS = frozenset({"alg", "typ", "jwk"})
_KEY_MEMBERS = frozenset({"kty", "crv", "x", "y", "alg"})
_KEY_REMEMBERED_MAX = 512  # characters; what is larger, which no good key is, is read each time
_JTI_REMEMBERED_MAX = 64  # characters; of a longer one its digest is remembered
_OF_NOTHING = hashlib.sha256(b"").digest()
_SEAL = object()


@dataclass(frozen=True, slots=True)
class ProofRules:
    """What is open, with its strict value as the default, but for the clock: a holder's clock is not ours."""

    #: How far iat may lie ahead and exp behind.
    leeway_us: int = 5 * SECOND_US
    #: A nonce that the decision point gave out must be in the proof: then none can be made in advance.
    nonces: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.leeway_us <= LEEWAY_US_MAX:
            raise PdpError("invalid_argument", "leeway_us: 0 to 30 seconds")


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a proof must be for, in the words of our own configuration."""

    target: str  # who is asked, from configuration: never a Host header
    method: str
    url: str  # the configured address with the path of the request, without a query
    handle: str = field(repr=False)  # the digest of the handle beside it
    key: str | None  # the thumbprint that the grant in the store names
    body_sha256: bytes | None = None  # None where the gate did not show the whole body
    body_required: bool = False


@dataclass(frozen=True, slots=True)
class ProvenRequest:
    """That the holder of a task key made this request. Nothing but this file makes one."""

    key: str
    id: str = field(repr=False)  # the digest of the jti: for the record
    covers_body: bool  # or there is none: nothing of the request is open
    ends_us: int
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a proven request comes from verify_task_proof")


def verify_task_proof(
    proofs: Sequence[str], asked: Asked, memory: ProofMemory, now: int, rules: ProofRules = ProofRules()
) -> ProvenRequest:
    """`proofs` are the values of every header of that name: exactly one is right."""
    if not proofs:
        raise Refused("proof_missing")
    if len(proofs) > 1:
        raise Refused("proof_several")
    if asked.key is None:
        raise Refused("proof_key_unbound")
    read = read_compact(proofs[0], ALGORITHMS)
    refuse_header(read, _HEADERS, (TYPE,), typed=True)
    _refuse_claims(read)
    issued, ends = _times(read, now, rules.leeway_us)
    _refuse_other_request(read, asked)
    covers_body = _covers_body(read, asked)
    if rules.nonces is not None and read.claims.get("nonce") not in rules.nonces:
        raise Refused("proof_wrong_nonce")
    jti = token_id(read)
    if jti is None:
        raise Refused("proof_id_missing")
    key = _key(read)
    if key.thumbprint != asked.key:
        raise Refused("proof_wrong_key")
    if not key.fits(read.algorithm):
        raise Refused("algorithm_not_of_key")
    if not is_signed_by(read, key):
        raise Refused("proof_signature_wrong")
    _use(memory, key.thumbprint, jti, issued - rules.leeway_us, ends, now)
    return ProvenRequest(key.thumbprint, base64url(hashlib.sha256(jti.encode()).digest()), covers_body, ends, _SEAL)


def _refuse_claims(read: Compact) -> None:
    """P-2: a claim that is not understood may be one that narrows."""
    claims = read.claims
    if not claims.keys() <= _CLAIMS.keys() or not all(_CLAIMS[name](value) for name, value in claims.items()):
        raise Refused("proof_claims_wrong")


def _times(read: Compact, now: int, leeway: int) -> tuple[int, int]:
    """P-7: from when, and the first microsecond at which it holds no more, leeway included."""
    issued = number_us(read.claims, "iat", "issued_at_malformed")
    ends = number_us(read.claims, "exp", "expiry_malformed")
    if issued is None:
        raise Refused("proof_claims_wrong")
    if ends is None or ends + leeway <= now:
        raise Refused("proof_expired")
    if issued > now + leeway:
        raise Refused("proof_issued_ahead")
    if ends - issued > LIFE_US_MAX:
        raise Refused("proof_lives_too_long")
    return issued, ends + leeway


def _refuse_other_request(read: Compact, asked: Asked) -> None:
    claims = read.claims
    if claims.get("aud") != asked.target:
        raise Refused("proof_wrong_target")
    if claims.get("htm") != asked.method:
        raise Refused("proof_wrong_method")
    if claims.get("htu") != asked.url:
        raise Refused("proof_wrong_url")
    if claims.get("gth") != asked.handle:
        raise Refused("proof_of_other_grant")


def _covers_body(read: Compact, asked: Asked) -> bool:
    """P-6: a cover that cannot be checked is not taken for one."""
    found = read.claims.get("bdh")
    if found is None:
        is_empty = asked.body_sha256 == _OF_NOTHING
        if asked.body_required and not is_empty:
            raise Refused("proof_without_body")
        return is_empty  # where there is none, there is nothing to cover
    if asked.body_sha256 is None:
        raise Refused("proof_body_unseen")
    if found != base64url(asked.body_sha256):
        raise Refused("proof_body_wrong")
    return True


def _key(read: Compact) -> TokenKey:
    jwk = read.header.get("jwk")
    if jwk is None:
        raise Refused("proof_key_missing")
    if not isinstance(jwk, dict):
        raise Refused("proof_key_malformed")
    if has_private_part(jwk):
        raise Refused("proof_key_private")
    members = tuple(sorted(jwk.items())) if all(isinstance(v, str) for v in jwk.values()) else ()
    read_key = _key_of if sum(len(value) for _, value in members) <= _KEY_REMEMBERED_MAX else _key_of.__wrapped__
    key = read_key(members) if jwk.keys() <= _KEY_MEMBERS else None
    if key is None:
        raise Refused("proof_key_malformed")
    return key


@lru_cache(maxsize=8192)
def _key_of(members: tuple[tuple[str, str], ...]) -> TokenKey | None:
    """A holder sends its key with every request. The answer depends on nothing else."""
    try:
        return read_public_key(dict(members))
    except BadKey:
        return None


def _use(memory: ProofMemory, key: str, jti: str, issued: int, ends: int, now: int) -> None:
    """P-9, last of all: only genuine proofs are remembered. A memory that fails says no."""
    mark = jti if len(jti) <= _JTI_REMEMBERED_MAX else base64url(hashlib.sha256(jti.encode()).digest())
    try:
        use = memory.use(key, mark, issued, ends, now)
    except Exception:  # noqa: BLE001  # whatever kind of memory it is: what cannot be asked did not say yes
        use = Use.UNREACHABLE
    if use is not Use.FIRST:
        raise Refused(_USES.get(use, "proof_memory_unreachable"))


_USES = {
    Use.REPLAYED: "proof_replayed",
    Use.FULL: "proof_memory_full",
    Use.YOUNG: "proof_memory_young",
    Use.UNREACHABLE: "proof_memory_unreachable",
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TEXT_MAX


def _is_long_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_anything(_: Any) -> bool:
    return True  # read with its own code


_CLAIMS: Mapping[str, Callable[[Any], bool]] = {
    "aud": _is_long_text,
    "htm": _is_text,
    "htu": _is_long_text,
    "gth": _is_text,
    "bdh": _is_text,
    "iat": _is_anything,
    "exp": _is_anything,
    "jti": _is_anything,
    "nonce": _is_text,
}
