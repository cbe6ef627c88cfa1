"""A decision point with tasks, over mTLS: who opens, who holds, who gates, who operates, and people with tokens."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import load_pem_x509_certificates

from pdp.grants.handle import Names
from pdp.identity.dev.tokens import TokenShape, key_id_for, public_jwk, sign_token
from pdp.server.config import Config
from pdp.server.table import make_handlers
from pdp.tokens.compact import base64url, digest
from pdp.wire.grants import covered_by
from pdp.wire.messages import ENVOY, PDP
from tests.pdp.server.world import DOMAIN, GATE, Identities, Running, call, channel, code_of, production, running

GRANTS, DECISIONS, ADMIN = "/pdp.v1.GrantService/", "/pdp.v1.DecisionService/", "/pdp.v1.AdminService/"
ENVOY_CHECK = "/envoy.service.auth.v3.Authorization/Check"
CI, API, HELPER, OPS = (f"spiffe://{DOMAIN}/{name}" for name in ("ci/runner", "billing/api", "billing/helper", "ops/ann"))
LEDGER = f"spiffe://{DOMAIN}/ledger"
NAMES = Names(f"spiffe://{DOMAIN}/pdp", DOMAIN)
ISSUER = "https://login.test"

POLICY = f"""language 1
package app
entity Team in Team
entity User in Team
entity Database
entity Table in Database {{ tenant: String }}
workload in Team
action select, update on Table
task invoicing {{
  carries  tenant: String, note: String? from holder
  opened by spiffe://{DOMAIN}/ci/**
  who      spiffe://{DOMAIN}/billing/*
  may      select, update on Table in Database "ledger"
  lasts    at most 15m
}}
task release {{
  opened by spiffe://{DOMAIN}/ci/**
  who      spiffe://{DOMAIN}/billing/*
  may      update on Table in Database "ledger"
  lasts    at most 15m
  approved by 1 of Team "leads"
}}
allow own-tenant {{
  who spiffe://{DOMAIN}/billing/* do select on Table during invoicing proof key
  when resource.tenant == task.tenant
}}
allow rewritten {{ who spiffe://{DOMAIN}/billing/* do update on Table during invoicing proof request }}
allow released {{ who spiffe://{DOMAIN}/billing/* do update on Table during release proof key }}
routes http "ledger.test" {{
  GET /tables/{{id}} -> select on Table(path.id)
}}
"""
ENTITIES: list[dict[str, Any]] = [
    {"type": "Team", "id": "leads"},
    {"type": "User", "id": "ada", "parents": [["Team", "leads"]]},
    {"type": "User", "id": "max"},
    {"type": "Database", "id": "ledger"},
    {"type": "Table", "id": "invoices", "attributes": {"tenant": "acme"}, "parents": [["Database", "ledger"]]},
    {"type": "Table", "id": "others", "attributes": {"tenant": "other"}, "parents": [["Database", "ledger"]]},
]


class Place:
    """A folder with a domain, policies and an issuer of people's tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.identities = Identities(folder)
        self.issuer_key = ec.generate_private_key(ec.SECP256R1())
        self.task_key = ec.generate_private_key(ec.SECP256R1())
        (folder / "set" / "data").mkdir(parents=True)
        (folder / "set" / "app.policy").write_text(POLICY)
        (folder / "set" / "data" / "entities.json").write_text(json.dumps(ENTITIES))
        jwk = public_jwk(self.issuer_key, kid="k1", alg="ES256", use="sig")
        (folder / "people.json").write_text(json.dumps({"keys": [jwk]}))
        (folder / "store").mkdir(mode=0o700)

    def config(self, **sections: Any) -> Config:
        told: dict[str, Any] = {
            "policies": {"path": str(self.folder / "set"), "watch": False},
            "store": {"path": str(self.folder / "store" / "grants.sqlite")},
            "people": {ISSUER: {"audience": "pdp", "keys": str(self.folder / "people.json"), "roles": ["user", "approver"]}},
            "peps": {GATE: {"domains": [DOMAIN], "destinations": [LEDGER], "vouches": True, "explain": True}},
            "roles": {
                "grants": [f"spiffe://{DOMAIN}/ci/*", f"spiffe://{DOMAIN}/billing/*", OPS],
                "admin": [OPS],
                "decision": [f"spiffe://{DOMAIN}/billing/*"],
            },
            "limits": {"deadline": "10s", "drain": "2s"},
        }
        return production(self.folder, self.identities, **{**told, **sections})

    @contextmanager
    def serving(self, **sections: Any) -> Iterator[Running]:
        with running(self.config(**sections), make_handlers) as server:
            yield server

    # ---- credentials

    def certificate(self, spiffe_id: str) -> tuple[bytes, ...]:
        """In DER, its own first: the one with which `caller` calls."""
        path = self.folder / "callers" / spiffe_id.rsplit("/", 1)[-1] / "svid.pem"
        if not path.exists():
            self.identities.credentials(spiffe_id)
        from cryptography.hazmat.primitives.serialization import Encoding

        return tuple(each.public_bytes(Encoding.DER) for each in load_pem_x509_certificates(path.read_bytes()))

    def thumbprint(self, spiffe_id: str) -> str:
        from pdp.identity import thumbprint

        return thumbprint(self.certificate(spiffe_id)[0])

    def credentials(self, spiffe_id: str) -> grpc.ChannelCredentials:
        self.certificate(spiffe_id)
        folder = self.folder / "callers" / spiffe_id.rsplit("/", 1)[-1]
        key, chain = (folder / "svid.key").read_bytes(), (folder / "svid.pem").read_bytes()
        return grpc.ssl_channel_credentials(self.identities.domain.bundle_pem(), key, chain)

    @contextmanager
    def calling(self, address: str, spiffe_id: str) -> Iterator[Client]:
        with channel(address, self.credentials(spiffe_id)) as opened:
            yield Client(opened)

    def token(self, person: str, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "pdp", "sub": person, "iat": now, "nbf": now, "exp": now + 300, **changes}
        return sign_token(TokenShape({"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims), self.issuer_key)

    @property
    def jkt(self) -> str:
        return key_id_for(self.task_key)

    def proof(self, method: str, uri: str, of: str, body: bytes | None, **claims: Any) -> str:
        now = int(time.time())
        told = {
            "aud": DOMAIN,
            "htm": method,
            "htu": uri,
            "gth": digest(of),
            **({} if body is None else {"bdh": base64url(body)}),
            "iat": now,
            "exp": now + 30,
            "jti": uuid.uuid4().hex,
            **claims,
        }
        header = {"alg": "ES256", "typ": "task-proof+jwt", "jwk": public_jwk(self.task_key)}
        return sign_token(TokenShape(header, told), self.task_key)

    def step_proof(self, method: str, message: Any, of: str = "") -> str:
        return self.proof("POST", f"grpc://{DOMAIN}{GRANTS}{method}", of, covered_by(message))


class Client:
    """One connection, and messages by name."""

    def __init__(self, opened: grpc.Channel) -> None:
        self.channel = opened

    def grants(self, method: str, message: Any) -> Any:
        answers = {"End": "EndResponse", "List": "ListResponse"}
        raw = call(self.channel, f"{GRANTS}{method}", message.SerializeToString(deterministic=True))
        return PDP.find(f"pdp.v1.{answers.get(method, 'GrantResponse')}").FromString(raw)

    def admin(self, method: str, message: Any) -> Any:
        raw = call(self.channel, f"{ADMIN}{method}", message.SerializeToString())
        return PDP.find(f"pdp.v1.{method}Response").FromString(raw)

    def refused(self, method: str, message: Any, service: str = GRANTS) -> str:
        try:
            answer = call(self.channel, f"{service}{method}", message.SerializeToString(deterministic=True))
        except grpc.RpcError as error:
            return code_of(error)
        raise AssertionError(f"answered: {answer!r}")

    def reason(self, message: Any) -> str:
        raw = call(self.channel, f"{DECISIONS}Check", message.SerializeToString())
        decision = PDP.CheckResponse.FromString(raw).decision
        assert decision.allowed == (decision.reason == "allowed")
        return str(decision.reason)

    def envoy(self, message: Any) -> Any:
        return ENVOY.CheckResponse.FromString(call(self.channel, ENVOY_CHECK, message.SerializeToString()))


# ---- messages


def opening(holder: str = API, tenant: str = "acme", **changes: Any) -> Any:
    message = PDP.OpenRequest(kind="invoicing", holder=holder, **changes)
    message.facts.fields["tenant"].string_value = tenant
    return message


def bound(place: Place, holder: str = API, **changes: Any) -> Any:
    """An opening that is tied to the holder's certificate."""
    message = opening(holder, **changes)
    message.bindings.certificate = place.thumbprint(holder)
    return message


def asking(place: Place, handle: str, table: str = "invoices", action: str = "select", holder: str = API) -> Any:
    """What a gate asks about a holder."""
    message = PDP.CheckRequest(action=action)
    message.resource.type, message.resource.id = "Table", table
    message.subject.certificates.extend(place.certificate(holder))
    if handle:
        message.task.grant = handle
    return message


def asking_envoy(place: Place, handle: str, path: str = "/tables/invoices", holder: str = API) -> Any:
    """The same by ext_authz, as Envoy would ask it."""
    from urllib.parse import quote

    message = ENVOY.CheckRequest()
    attributes = message.attributes
    pem = (
        (place.folder / "callers" / holder.rsplit("/", 1)[-1] / "svid.pem").read_text().split("-----END CERTIFICATE-----")[0]
    )
    attributes.source.certificate = quote(pem + "-----END CERTIFICATE-----\n", safe="")
    attributes.destination.principal = LEDGER
    http = attributes.request.http
    http.method, http.path, http.host, http.scheme = "GET", path, "ledger.test", "https"
    http.headers["task-grant"] = handle
    return message
