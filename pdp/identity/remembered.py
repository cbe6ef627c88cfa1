"""Credentials that were verified, remembered until anything that made them valid ends (X-12).

An entry is found by the SHA-256 of what was presented, never by the thing itself, and is used only while the bundle of its
domain has the version under which it was verified, that bundle is fresh, and no end of the path has come. One memory
belongs to one set of options and one audience, so they need no place in the key. Refusals are not remembered.

What is remembered is that a credential is genuine. Possession of a key is shown anew on every connection or request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Generic, TypeVar

from pdp.identity.jwt_svid import VerifiedToken, verify_jwt_svid
from pdp.identity.options import STRICT, Options
from pdp.identity.refusals import Refused
from pdp.identity.trust import TrustStore
from pdp.identity.x509_svid import Side, VerifiedWorkload, verify_x509_svid
from pdp.model.bounded import Bounded

ENTRIES_MAX = 65_536

_V = TypeVar("_V", VerifiedWorkload, VerifiedToken)


class Remembered(Generic[_V]):
    """A bounded map from digest to what was verified. When it is full, the oldest goes."""

    __slots__ = ("_entries",)

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries: Bounded[bytes, _V] = Bounded(entries_max)

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, digest: bytes, trust: TrustStore, now: int) -> _V | None:
        """What this digest stands for, if all that made it so still holds."""
        found = self._entries.get(digest)
        if (
            found is not None
            and found.verified_at_us <= now <= found.not_after_us
            and trust.holds(found.id.trust_domain, found.bundle_version, now)
        ):
            return found
        return None

    def keep(self, digest: bytes, verified: _V) -> None:
        self._entries.keep(digest, verified)


def digest_of(presented: bytes) -> bytes:
    """What a credential is remembered by."""
    return hashlib.sha256(presented).digest()


class Verifier:
    """Verifies credentials, each of them once for as long as it holds."""

    def __init__(self, audience: str | None = None, options: Options = STRICT, entries_max: int = ENTRIES_MAX) -> None:
        if audience == "":
            raise ValueError("audience: our own name, or None where no token is accepted")
        self.options = options
        self.audience = audience
        self.workloads: Remembered[VerifiedWorkload] = Remembered(entries_max)
        self.tokens: Remembered[VerifiedToken] = Remembered(entries_max)

    def workload(self, presented: Sequence[bytes], trust: TrustStore, now: int) -> VerifiedWorkload:
        """The workload of certificates in DER, its own first."""
        if not presented:
            raise Refused("no_certificate")
        digest = hashlib.sha256(presented[0]).digest()
        found = self.workloads.recall(digest, trust, now)
        if found is None:
            found = verify_x509_svid(presented, trust, now, self.options, Side.CLIENT)
            self.workloads.keep(digest, found)
        return found

    def token(self, token: str, trust: TrustStore, now: int) -> VerifiedToken:
        """Whom a JWT-SVID speaks for."""
        if self.audience is None:
            raise Refused("audience_wrong", "no audience is configured")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self.tokens.recall(digest, trust, now)
        if found is None:
            found = verify_jwt_svid(token, self.audience, trust, now, self.options)
            self.tokens.keep(digest, found)
        return found
