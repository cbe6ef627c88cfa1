"""Nonces that the decision point gives out, for targets where no proof may be made in advance. Nothing is stored: every
replica with the secret knows which are good, and each is good for one to two windows."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from pdp.errors import PdpError
from pdp.tokens.claims import SECOND_US
from pdp.tokens.compact import base64url

SECRET_BYTES_MIN = 32


@dataclass(frozen=True, slots=True)
class Nonces:
    secret: bytes = field(repr=False)
    window_us: int = 60 * SECOND_US

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_BYTES_MIN or self.window_us < SECOND_US:
            raise PdpError("invalid_argument", "nonces: a secret of 32 random bytes, and a window of a second or more")

    def given(self, now: int) -> str:
        """The one to give out now."""
        return self._of(now // self.window_us)

    def accepted(self, now: int) -> frozenset[str]:
        """For `ProofRules.nonces`: the one of now and the one before."""
        window = now // self.window_us
        return frozenset({self._of(window), self._of(window - 1)})

    def _of(self, window: int) -> str:
        return base64url(
            hmac.digest(self.secret, b"task-proof nonce" + window.to_bytes(16, "big", signed=True), hashlib.sha256)
        )
