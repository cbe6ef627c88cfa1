"""One trust domain, one moment, one workload: what every test of credentials starts from and changes in one thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pdp.identity import NEVER, REFUSALS, Origin, Refused, TrustStore, read_jwks
from pdp.identity.dev.domain import DevDomain, make_domain
from tests.pdp.tokens.flawed_keys import flawed_rsa_key

SECOND = 1_000_000
HOUR = 3600 * SECOND
NOW = 1_767_258_000 * SECOND
DOMAIN = "dev.test"
ID = f"spiffe://{DOMAIN}/ns/billing/api"
AUDIENCE = "spiffe://dev.test/pdp"


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


KEY = key()
WEAK_KEY = rsa.generate_private_key(65537, 1024)
RSA_KEY = rsa.generate_private_key(65537, 2048)
ROCA_KEY = flawed_rsa_key(1)
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def domain(name: str = DOMAIN, **keys: Any) -> DevDomain:
    return make_domain(
        name,
        keys.get("root") or key(),
        keys.get("intermediate") or key(),
        keys.get("token") or key(),
        NOW - HOUR,
        24 * HOUR,
    )


WORLD = domain()


def trusting(*domains: DevDomain, now: int = NOW) -> TrustStore:
    store = TrustStore()
    for d in domains:
        store = store.with_bundle(read_jwks(d.trust_domain, d.bundle_document(), Origin("test", now, NEVER)))
    return store


TRUST = trusting(WORLD)


def refused(code: str, call: Callable[[], Any]) -> Refused:
    """That a call is refused with this code, and with a text that says so."""
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.code == code, caught.value
    assert str(caught.value).startswith(f"{code}: {REFUSALS[code].says}")
    return caught.value


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """Nothing and the value, or a code of the table and nothing. Any other exception goes on."""
    try:
        return "", call()
    except Refused as error:
        code = error.code
    assert code in REFUSALS
    return code, None
