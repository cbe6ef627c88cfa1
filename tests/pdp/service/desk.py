"""A decision point in memory with one trust domain, one task and one request: what tests of a check start from."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

import pdp
from language import Directory, EntityData, Source, compile_policies
from pdp.engine.cache import DecisionCache
from pdp.engine.decide import Decider
from pdp.engine.snapshot import Policy, Snapshot
from pdp.grants.grant import Bindings, Fact, Grant, Permit, Scope, State, Target
from pdp.grants.grant import Source as FactSource
from pdp.grants.handle import Names, make_handle
from pdp.grants.handles import Handles
from pdp.grants.index import Index
from pdp.grants.issuer_keys import first_keys
from pdp.grants.replay import ReplayMemory
from pdp.identity import ShownVerifier, Verifier, thumbprint
from pdp.model.ask import Ask, Shown
from pdp.model.ask import Target as ProofTarget
from pdp.model.gates import Gate
from pdp.service.check import Answer, Checks, Place
from pdp.service.standing import Standing
from pdp.tokens.compact import digest
from tests.pdp.grants.handles_world import JKT, TASK_KEY, TokenShape, changed, public_jwk, sha256, sign_token
from tests.pdp.identity.world import HOUR, NOW, SECOND, key, trusting
from tests.pdp.identity.world import WORLD as DOMAIN

POLICY = """language 1
entity   Database { }
entity   Table in Database { tenant: String, pii: Bool }
entity   User
action   select, update on Table { columns: Set<String>? claimed }
task invoicing {
  carries  tenant: String
  opened by spiffe://dev.test/ci
  who      spiffe://dev.test/billing/*
  may      select, update on Table in Database "ledger"
  lasts    at most 30m
}
allow own-tenant {
  who    spiffe://dev.test/billing/*
  do     select on Table in Database "ledger"
  during invoicing
  proof  key
  when   resource.tenant == task.tenant
}
allow rewritten { who spiffe://dev.test/billing/* do update on Table during invoicing proof request }
allow standing { who spiffe://dev.test/batch do select on Table }
allow people { for User do select on Table }
"""
API, BATCH, CI = "spiffe://dev.test/billing/api", "spiffe://dev.test/batch", "spiffe://dev.test/ci"
GATE, LEDGER = "spiffe://dev.test/gate", "spiffe://dev.test/ledger"
BUNDLE = compile_policies([Source("app.policy", POLICY)])
KEYS = first_keys(key(), NOW - HOUR)
NAMES = Names("spiffe://dev.test/pdp", "dev.test")
LEAF_KEY = ec.generate_private_key(ec.SECP256R1())
TRUST = trusting(DOMAIN)


def certificates(spiffe_id: str = API, ttl_us: int = HOUR, malformed: str | None = None) -> tuple[bytes, ...]:
    return DOMAIN.certificates(spiffe_id, LEAF_KEY.public_key(), NOW, ttl_us, malformed)


CERTIFICATES = certificates()
GRANT = Grant(
    id="g" * 22,
    task="t" * 22,
    parent=None,
    depth=0,
    kind="invoicing",
    holder=API,
    opener=CI,
    requester=CI,
    facts=(Fact("tenant", "acme", FactSource.OPENER),),
    scope=Scope((Permit(frozenset({"select"}), (Target("Table", within=("Database", "ledger")),)),)),
    environment="prod",
    audience="dev.test",
    binding=Bindings(certificate=thumbprint(CERTIFICATES[0])),
    created=NOW - 60 * SECOND,
    lasting=HOUR,
    ends=NOW + 600 * SECOND,
    state=State.ACTIVE,
    generation="g1",
    started=NOW - 60 * SECOND,
    revision=1,
)
TARGET = ProofTarget("GET", "https://ledger.test/tables/invoices", sha256(b""))


def handle(grant: Grant = GRANT) -> str:
    return make_handle(grant, NAMES, KEYS, NOW)


def proof(of: str, with_key: Any = TASK_KEY, **claims: Any) -> str:
    told = {
        "aud": NAMES.audience,
        "htm": TARGET.method,
        "htu": TARGET.uri,
        "gth": digest(of),
        "iat": NOW // SECOND,
        "exp": NOW // SECOND + 30,
        "jti": "one",
    }
    header = {"alg": "ES256", "typ": "task-proof+jwt", "jwk": public_jwk(with_key)}
    return sign_token(TokenShape(header, changed(told, claims)), with_key)


ASK = Ask(
    "select",
    pdp.Resource("Table", "invoices"),
    shown=Shown(CERTIFICATES, whole_path=True),
    grant=handle(),
    target=TARGET,
    destination=LEDGER,
)
GATEWAY = Gate(GATE, "prod", frozenset({"dev.test", "other.test"}), frozenset({LEDGER}))
PLACE = Place(GATEWAY, "prod")


class Desk:
    def __init__(self, *grants: Grant, **more: Any) -> None:
        self.data = Directory(BUNDLE.vocabulary)
        self.data.upsert([
            EntityData("Database", "ledger"),
            EntityData("Table", "invoices", {"tenant": "acme", "pii": False}, (("Database", "ledger"),)),
            EntityData("Table", "others", {"tenant": "other", "pii": False}, (("Database", "ledger"),)),
            EntityData("Table", "outside", {"tenant": "acme", "pii": False}, ()),
        ])  # fmt: skip
        index = Index("i", 0, NOW).taking(grants or (GRANT,), 1)
        policy = Policy(BUNDLE, "desk", DecisionCache(1000, 60 * SECOND, Lock()))
        self.standing = Standing(Snapshot(policy, self.data.world), TRUST, index, KEYS, {}, HOUR)
        self.memory = ReplayMemory(NOW - HOUR, Lock())
        self.checks = Checks(
            Decider(), ShownVerifier(Verifier("spiffe://dev.test/pdp")), Handles(NAMES), self.memory, **more
        )

    def put(self, **changes: Any) -> None:
        self.standing = replace(self.standing, **changes)

    def ask(self, ask: Ask = ASK, now: int = NOW, place: Place = PLACE) -> Answer:
        return self.checks.check(self.standing, ask, place, now)

    def reason(self, ask: Ask = ASK, now: int = NOW, place: Place = PLACE) -> str:
        decision = self.ask(ask, now, place).decision
        assert decision.allowed == (decision.reason == "allowed")
        return decision.reason


def showing(*presented: bytes, **changes: Any) -> Ask:
    return ASK._replace(shown=Shown(presented, **{"whole_path": True, **changes}))


__all__ = ["JKT"]
