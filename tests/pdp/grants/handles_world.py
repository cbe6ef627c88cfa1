"""One decision point, one holder, one request: what every test of handles and proofs starts from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, settings

from pdp.grants.grant import Bindings, Grant, Permit, Scope, State, Target
from pdp.grants.handle import Names, make_handle
from pdp.grants.issuer_keys import first_keys
from pdp.grants.proof import Asked, ProofRules, ProvenRequest, verify_task_proof
from pdp.grants.refusals import HANDLE_REFUSALS, Refused
from pdp.grants.replay import ReplayMemory
from pdp.identity.dev.tokens import TokenShape, key_id_for, public_jwk, sign_token
from pdp.tokens.compact import base64url, digest, read_compact

#: `PDP_TEST_CASES` makes each property test try so many.
fuzz = settings(
    max_examples=int(os.environ.get("PDP_TEST_CASES", "100")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

SECOND = 1_000_000
HOUR = 3600 * SECOND
NOW = 1_767_258_000 * SECOND
NAMES = Names("spiffe://dev.test/pdp", "dev.test")
HOLDER = "spiffe://dev.test/ns/billing/api"


def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


ISSUER, TASK_KEY, OTHER_KEY = key(), key(), key()
RSA_KEY = rsa.generate_private_key(65537, 2048)
KEYS = first_keys(ISSUER, NOW - HOUR)
JKT = key_id_for(TASK_KEY)

GRANT = Grant(
    id="g" * 22,
    task="t" * 22,
    parent=None,
    depth=0,
    kind="invoicing",
    holder=HOLDER,
    opener="spiffe://dev.test/ns/jobs/cron",
    requester=HOLDER,
    facts=(),
    scope=Scope((Permit(frozenset({"select"}), (Target("Table", within=("Database", "ledger")),)),)),
    environment="prod",
    audience="dev.test",
    binding=Bindings(key=JKT),
    created=NOW - SECOND,
    lasting=HOUR,
    ends=NOW + HOUR // 2,
    state=State.ACTIVE,
    generation="g1",
    started=NOW - SECOND,
)
HANDLE = make_handle(GRANT, NAMES, KEYS, NOW)

RULES = ProofRules()
BODY = b'{"amount": 3}'


def sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


SHOWN = Asked("spiffe://dev.test/gate", "POST", "https://ledger.test/rows", digest(HANDLE), JKT, sha256(BODY))
PROOF = TokenShape(
    {"alg": "ES256", "typ": "task-proof+jwt", "jwk": public_jwk(TASK_KEY)},
    {
        "aud": SHOWN.target,
        "htm": "POST",
        "htu": SHOWN.url,
        "gth": SHOWN.handle,
        "bdh": base64url(sha256(BODY)),
        "iat": NOW // SECOND,
        "exp": NOW // SECOND + 30,
        "jti": "one",
    },
)


def memory(**bounds: Any) -> ReplayMemory:
    return ReplayMemory(NOW - HOUR, Lock(), **bounds)


def proof_claims(**changes: Any) -> str:
    return sign_token(replace(PROOF, claims=changed(PROOF.claims, changes)), TASK_KEY)


def proof_header(with_key: Any = TASK_KEY, **changes: Any) -> str:
    return sign_token(replace(PROOF, header=changed(PROOF.header, changes)), with_key)


def changed(members: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """None leaves a member out."""
    return {k: v for k, v in {**members, **changes}.items() if v is not None}


GOOD_PROOF = proof_claims()


def prove(*proofs: str, shown: Asked = SHOWN, now: int = NOW, used: Any = None, rules: ProofRules = RULES) -> ProvenRequest:
    return verify_task_proof(proofs, shown, memory() if used is None else used, now, rules)


def handle_with(claims: dict[str, Any] | None = None, key: Any = ISSUER, **header: Any) -> str:
    """A handle signed with the issuer key that differs in these members."""
    read = read_compact(HANDLE)
    shape = TokenShape(changed(read.header, header), {**read.claims, **(claims or {})})
    return sign_token(shape, key)


def handle_without(*names: str) -> str:
    read = read_compact(HANDLE)
    return sign_token(TokenShape(read.header, {k: v for k, v in read.claims.items() if k not in names}), ISSUER)


def refused(code: str, call: Callable[[], Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.code == code, caught.value
    assert str(caught.value).startswith(f"{code}: {HANDLE_REFUSALS[code].says}")
    return caught.value


__all__ = ["Refused", "TokenShape", "public_jwk", "sign_token"]
