"""The holder's side of a proof: a task key that lives in the memory of one process, and the proofs that it makes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from pdp.errors import PdpError
from pdp.grants.proof import LIFE_US_MAX, TYPE
from pdp.tokens.claims import SECOND_US
from pdp.tokens.compact import base64url, digest
from pdp.tokens.signing import sign_compact

LIFE_US = 30 * SECOND_US


@dataclass(frozen=True, slots=True)
class TaskKey:
    """Made anew for each task, never written anywhere. `TaskKey(ec.generate_private_key(ec.SECP256R1()))`."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.private.curve, ec.SECP256R1):
            raise PdpError("invalid_argument", "a task key is on P-256")

    @property
    def thumbprint(self) -> str:
        """What a grant is bound to, as `Bindings(key=…)`."""
        return ECKey.import_key(self.private.public_key()).thumbprint()

    def prove(
        self,
        *,
        target: str,
        method: str,
        url: str,
        handle: str,
        jti: str,
        now: int,
        body: bytes | None = None,
        nonce: str | None = None,
        life_us: int = LIFE_US,
    ) -> str:
        """The value of a `task-proof` header for one request. `jti`: 128 random bits, new each time; `url`: no query."""
        if not SECOND_US <= life_us <= LIFE_US_MAX:
            raise PdpError("invalid_argument", "a proof lives from one second to sixty")
        issued = now // SECOND_US
        claims = {
            "aud": target,
            "htm": method,
            "htu": url,
            "gth": digest(handle),
            "iat": issued,
            "exp": issued + life_us // SECOND_US,
            "jti": jti,
        }
        if body is not None:
            claims["bdh"] = base64url(hashlib.sha256(body).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        return sign_compact({"typ": TYPE, "jwk": self._jwk()}, claims, self.private)

    def _jwk(self) -> dict[str, str]:
        found = ECKey.import_key(self.private.public_key()).as_dict(private=False)
        return {name: str(found[name]) for name in ("kty", "crv", "x", "y")}
