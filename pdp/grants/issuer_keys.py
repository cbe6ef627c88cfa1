"""The keys that sign handles: which one signs now, which ones still verify, and the document that publishes them.

Separate from every SVID key. A key is published before it signs, so that whoever reads the document has it by then; the one
before it verifies for as long as a handle can live, and then is gone. A set never changes: rotation makes the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey

from pdp.errors import PdpError
from pdp.tokens.claims import SECOND_US
from pdp.tokens.keys import TokenKey
from pdp.tokens.signing import ALGORITHM

#: No handle lives longer, so no key must verify for longer after it last signed.
HANDLE_LIFE_US_MAX = 3600 * SECOND_US
#: How long before its first signature a key is published.
LEAD_US = 600 * SECOND_US
#: Beyond the life of the last handle, for clocks that differ.
OVERLAP_US = HANDLE_LIFE_US_MAX + 300 * SECOND_US


class KeyState(StrEnum):
    NEXT = "next"  # published, and does not sign yet
    SIGNING = "signing"
    RETIRED = "retired"  # verifies what it signed
    GONE = "gone"  # its last handle has ended
    WITHDRAWN = "withdrawn"  # somebody else may have it: verifies nothing from that moment on


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key pair with the moments of its life. Made by `issuer_key`, which derives its id."""

    id: str  # RFC 7638 thumbprint
    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    public: TokenKey = field(repr=False, compare=False)
    published_us: int
    signs_from_us: int
    withdrawn: bool = False


def issuer_key(
    private: ec.EllipticCurvePrivateKey, published_us: int, signs_from_us: int, withdrawn: bool = False
) -> IssuerKey:
    if not isinstance(private.curve, ec.SECP256R1):
        raise PdpError("invalid_argument", "an issuer key is on P-256")
    if signs_from_us < published_us:
        raise PdpError("invalid_argument", "an issuer key signs only after it is published")
    public = ECKey.import_key(private.public_key())
    found = TokenKey(public, "EC", "P-256", ALGORITHM, public.thumbprint())
    return IssuerKey(found.thumbprint, private, found, published_us, signs_from_us, withdrawn)


@dataclass(frozen=True)
class IssuerKeys:
    """The keys, in the order in which they begin to sign. No two begin at once."""

    keys: tuple[IssuerKey, ...]
    overlap_us: int = OVERLAP_US

    def __post_init__(self) -> None:
        begins = [k.signs_from_us for k in self.keys]
        if not begins or any(a >= b for a, b in pairwise(begins)):
            raise PdpError("invalid_argument", "issuer keys: at least one, each beginning after the one before")
        if len({k.id for k in self.keys}) < len(self.keys):
            raise PdpError("invalid_argument", "issuer keys: one stands twice")
        if self.overlap_us < HANDLE_LIFE_US_MAX:
            raise PdpError("invalid_argument", "issuer keys: the overlap is at least as long as a handle lives")

    def signing(self, now: int) -> IssuerKey:
        """The one key that signs now."""
        for key in reversed(self.keys):
            if self.state(key, now) is KeyState.SIGNING:
                return key
        raise PdpError("issuer_keys_unusable", "no issuer key signs now: rotate them, or set the clock")

    def verifying(self, kid: str, now: int) -> TokenKey | None:
        """The key of this id, if what it signed may still be believed."""
        found = self._verifying.get(kid)
        return found[0] if found is not None and now < found[1] else None

    def state(self, key: IssuerKey, now: int) -> KeyState:
        if key.withdrawn:
            return KeyState.WITHDRAWN
        if now < key.signs_from_us:
            return KeyState.NEXT
        retires = self._retires_us(key)
        if now < retires:
            return KeyState.SIGNING
        return KeyState.RETIRED if now < retires + self.overlap_us else KeyState.GONE

    def published(self, now: int) -> bytes:
        """The JWKS document: every key that verifies something now or will soon, and nothing private."""
        keys = [_public_jwk(k) for k in self.keys if self.state(k, now) in _PUBLISHED]
        return json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True).encode()

    def rotated(self, private: ec.EllipticCurvePrivateKey, now: int, lead_us: int = LEAD_US) -> IssuerKeys:
        """With a next key, and without those that are gone. While one waits to sign there is no need of another."""
        if any(self.state(k, now) is KeyState.NEXT for k in self.keys):
            raise PdpError("issuer_keys_rotating", "a next key is published already; it signs when its time comes")
        stay = [k for k in self.keys if now < self._retires_us(k) + self.overlap_us]
        begins = max(now + lead_us, self.keys[-1].signs_from_us + 1)
        return IssuerKeys((*stay, issuer_key(private, now, begins)), self.overlap_us)

    def without(self, kid: str, new_key: Callable[[], ec.EllipticCurvePrivateKey], now: int) -> IssuerKeys:
        """With a key withdrawn: nothing that it signed is believed any more. In the place of one that signs a new one signs
        at once, unannounced."""
        key = self._by_id.get(kid)
        if key is None:
            raise PdpError("invalid_argument", "there is no issuer key of this id")
        state = self.state(key, now)
        others = [k for k in self.keys if k.id != kid]
        if state is KeyState.NEXT:  # it has signed nothing: forgotten, so that the one before it signs on
            return IssuerKeys(tuple(others), self.overlap_us)
        others.append(replace(key, withdrawn=True))
        if state is KeyState.SIGNING:
            begins = max(now, key.signs_from_us + 1)
            others.append(issuer_key(new_key(), begins, begins))
        return IssuerKeys(tuple(sorted(others, key=lambda k: k.signs_from_us)), self.overlap_us)

    def _retires_us(self, key: IssuerKey) -> int:
        """When the next one begins; the last never retires by itself."""
        return min((k.signs_from_us for k in self.keys if k.signs_from_us > key.signs_from_us), default=1 << 62)

    @cached_property
    def _verifying(self) -> Mapping[str, tuple[TokenKey, int]]:
        """Until when each key verifies: on the way of every check."""
        return {k.id: (k.public, self._retires_us(k) + self.overlap_us) for k in self.keys if not k.withdrawn}

    @cached_property
    def _by_id(self) -> Mapping[str, IssuerKey]:
        return MappingProxyType({k.id: k for k in self.keys})


_PUBLISHED = (KeyState.NEXT, KeyState.SIGNING, KeyState.RETIRED)


def _public_jwk(key: IssuerKey) -> dict[str, Any]:
    found: dict[str, Any] = dict(key.public.key.as_dict(private=False))
    return {"kty": "EC", "crv": "P-256", "x": found["x"], "y": found["y"], "use": "sig", "alg": ALGORITHM, "kid": key.id}


def first_keys(private: ec.EllipticCurvePrivateKey, now: int) -> IssuerKeys:
    """A new set: its only key signs at once, since nobody can have a document from before."""
    return IssuerKeys((issuer_key(private, now, now),))
