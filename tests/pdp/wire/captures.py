"""A CheckRequest as a real Envoy sends it, to be changed in one thing; and the policy set and gates that it is asked of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from language import Bundle, Source, compile_policies
from pdp.model.gates import Gate
from pdp.wire.envoy import read_check
from pdp.wire.envoy_path import Routes
from pdp.wire.messages import ENVOY
from tests.pdp.identity.world import DOMAIN, HOUR, ID, NOW, WORLD, key

POLICY = (
    (Path(__file__).parents[2] / "conformance" / "routes" / "api.policy").read_text("utf-8").replace("prod.acme", DOMAIN)
)
BUNDLE: Bundle = compile_policies([Source("api.policy", POLICY)])
ROUTES = Routes(BUNDLE)

GATE_ID = f"spiffe://{DOMAIN}/gates/edge"
DESTINATION = f"spiffe://{DOMAIN}/ns/db/ledger"
GATE = Gate(GATE_ID, "prod", frozenset({DOMAIN}), frozenset({DESTINATION, GATE_ID}), vouches=True)

CHAIN = WORLD.certificates(ID, key().public_key(), NOW, HOUR)
LEAF = CHAIN[0]


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def encoded(*ders: bytes) -> str:
    """URL-encoded PEM, as Envoy writes it."""
    return quote("".join(map(pem, ders)), safe="")


LEAF_ENCODED = encoded(LEAF)

HEADERS = {
    ":authority": "api.acme.internal",
    ":path": "/tables/invoices?columns=id",
    ":method": "GET",
    ":scheme": "https",
    "user-agent": "python-httpx/0.28",
    "accept": "*/*",
    "accept-encoding": "gzip, deflate",
    "x-forwarded-proto": "https",
    "x-request-id": "0f0c1a3e-5a0e-4a4c-9a6c-0d8f3c1c9f10",
}


def http_request() -> Any:
    """`GET /tables/invoices?columns=id` by a workload with a certificate."""
    request = ENVOY.CheckRequest()
    attributes = request.attributes
    attributes.source.certificate = LEAF_ENCODED
    attributes.source.principal = ID
    attributes.destination.principal = GATE_ID
    http = attributes.request.http
    http.id = "12345678901234567890"
    http.method, http.host, http.path, http.scheme = "GET", "api.acme.internal", HEADERS[":path"], "https"
    http.size = -1
    http.headers.update(HEADERS)
    return request


def tcp_request() -> Any:
    """A connection to the ledger's database."""
    request = ENVOY.CheckRequest()
    request.attributes.source.certificate = LEAF_ENCODED
    request.attributes.source.principal = ID
    request.attributes.destination.principal = DESTINATION
    return request


def asked(change: Callable[[Any], None] | None = None, start: Callable[[], Any] = http_request, **gate: Any) -> Any:
    """What is read of a request after one change, at a gate with some fields changed."""
    request = start()
    if change is not None:
        change(request)
    return read_check(request.SerializeToString(), replace(GATE, **gate), ROUTES)


def to_path(path: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.attributes.request.http.path = path
        request.attributes.request.http.headers[":path"] = path

    return change


def with_headers(**headers: str) -> Callable[[Any], None]:
    """Underscores in the names stand for dashes."""

    def change(request: Any) -> None:
        for name, value in headers.items():
            request.attributes.request.http.headers[name.replace("_", "-")] = value

    return change


def with_raw_headers(*pairs: tuple[str, bytes]) -> Callable[[Any], None]:
    """The same request under `encode_raw_headers`, with these added."""

    def change(request: Any) -> None:
        http = request.attributes.request.http
        http.ClearField("headers")
        for name, value in [*((n, v.encode()) for n, v in HEADERS.items()), *pairs]:
            http.header_map.headers.add(key=name, raw_value=value)

    return change
