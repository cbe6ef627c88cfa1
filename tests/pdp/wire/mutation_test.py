"""Broken bytes: flipped, cut, doubled, with fields dropped or exchanged. Never an exception, never an answer that is not
whole, and never an allow that the request as it stands does not deserve.

What it deserves is told by an oracle of a few lines that shares nothing with the translation but protobuf's parser.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import pdp
from pdp.identity import Refused, ShownVerifier, Verifier
from pdp.model.ask import Ask
from pdp.model.gates import Bearer, UsersFrom, Xfcc
from pdp.wire.decision import read_check as read_native
from pdp.wire.envoy import read_check
from pdp.wire.envoy_answer import Answer, Told, answer, refuse, refuse_credential
from pdp.wire.messages import ENVOY, DecodeError
from pdp.wire.refusals import UNFIT, Unfit
from tests.pdp.identity.world import ID, NOW, TRUST
from tests.pdp.wire.answers import taken
from tests.pdp.wire.captures import (
    BUNDLE,
    CHAIN,
    DESTINATION,
    GATE,
    GATE_ID,
    HEADERS,
    ROUTES,
    encoded,
    http_request,
    tcp_request,
    with_headers,
    with_raw_headers,
)
from tests.pdp.wire.decision_test import WORDS, question
from tests.pdp.wire.many import read_many

CASES = int(os.environ.get("PDP_TEST_CASES", "200"))
MANY = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

ENGINE = pdp.Engine(BUNDLE)
SHOWN = ShownVerifier(Verifier())
FULL = GATE.__class__(
    GATE.id,
    "prod",
    GATE.domains,
    GATE.destinations,
    frozenset({"User"}),
    UsersFrom(("payload", "sub"), "User"),
    Xfcc.SANITIZE_SET,
    vouches=True,
    bearer=Bearer.USER,
    location=True,
    headers={"x-workload": "workload"},
)


#: Takes no gate's word for a path.
PROVING = replace(GATE, vouches=False, xfcc=Xfcc.SANITIZE_SET)


def serve(raw: bytes, gate: Any) -> Answer:
    """What a server does with the bytes, without the edge that catches what should not happen."""
    ask = read_check(raw, gate, ROUTES)
    if isinstance(ask, Unfit):
        return refuse(ask)
    workload = None
    if ask.shown is not None:
        try:
            workload = str(SHOWN.verify(ask.shown, gate, TRUST, NOW).id)
        except Refused as error:
            return refuse_credential(error.code, error.rule.says, ask.correlation)
    try:
        decision = ENGINE.check(
            pdp.Request(
                ask.action,
                ask.resource,
                workload=workload,
                context=ask.context,
                gate=gate.facts,
                proof=["key"] if workload else [],
            )
        )
    except pdp.PdpError:
        return refuse(Unfit("malformed"))
    return answer(decision, gate, Told(workload, correlation=ask.correlation), ask.consumed)


def deserved(raw: bytes) -> bool:
    """Whether an allow is right: by a workload that policy lists, for one of the things that it lists, said plainly."""
    try:
        attributes = ENVOY.CheckRequest.FromString(raw).attributes
    except DecodeError:
        return False
    named = _named(attributes.source.certificate)
    if named is None or attributes.source.principal not in ("", named):
        return False
    if not re.fullmatch(r"spiffe://dev\.test/ns/billing/[A-Za-z0-9._-]+", named):
        return False
    if not attributes.request.HasField("http"):
        return bool(attributes.destination.principal == DESTINATION)
    http = attributes.request.http
    if http.method not in ("GET", "POST") or not re.fullmatch(r"api\.acme\.internal\.?(:(80|443)?)?", http.host.lower()):
        return False
    path, _, query = http.path.partition("?")
    found = re.fullmatch(r"/tables/([A-Za-z0-9%._~!$&'()*+,=:@-]+)(/rows|/export)?", path)
    if found is None or "%2f" in path.lower() or "%5c" in path.lower():
        return False
    table = unquote_to_bytes(found[1]).decode("utf-8", "replace")
    if found[2] == "/rows":
        return bool(http.method == "POST")  # what the header says is a claim that policy looks at
    if found[2] == "/export":
        return "format=csv" in query
    if table == "salaries":
        return "columns" in query
    return table in ("invoices", "2026", "latest", "a b", "caf\u00e9")


def _named(encoded_pem: str) -> str | None:
    """The one URI in a certificate. Its signature is the gate's word: `vouches`."""
    try:
        certificate = x509.load_pem_x509_certificate(unquote(encoded_pem).encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else None


def _der(raw: bytes) -> bytes:
    pem = unquote(ENVOY.CheckRequest.FromString(raw).attributes.source.certificate)
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


SEEDS: list[bytes] = []
for _change in (
    None,
    with_raw_headers(("task-grant", b"e30.e30.e30")),
    with_headers(task_grant="e30.e30.e30", task_proof="e30.e30.e30", x_envoy_auth_partial_body="false"),
    with_headers(x_forwarded_client_cert=f'By={GATE_ID};Chain="{encoded(*CHAIN)}"'),
    with_headers(
        x_forwarded_client_cert=f'By={GATE_ID};Hash={hashlib.sha256(CHAIN[0]).hexdigest()};Chain="{encoded(*CHAIN)}"'
    ),
    lambda r: setattr(r.attributes.request.http, "path", "/tables/salaries?columns=id"),
):
    _request = http_request()
    if _change is not None:
        _change(_request)
    SEEDS.append(_request.SerializeToString())
SEEDS.append(tcp_request().SerializeToString())

FIELDS = ["method", "host", "path", "scheme", "query", "fragment", "id", "body"]
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [*HEADERS.values(), "/tables/invoices", "/tables/..", "//tables/invoices", "/tables/invoices;a", "DELETE"]
    ),
    st.text(st.sampled_from("/%.2fe;?#&=\\tables"), max_size=12),
)


@st.composite
def broken(draw: Any) -> bytes:
    """A seed after some bytes were flipped, dropped, doubled or exchanged with those of another."""
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        length = draw(st.integers(1, 24))
        match draw(st.sampled_from(["flip", "drop", "double", "cut", "insert", "splice"])):
            case "flip" if raw:
                raw[at] ^= draw(st.integers(1, 255))
            case "drop":
                del raw[at : at + length]
            case "double":
                raw[at:at] = raw[at : at + length]
            case "cut":
                del raw[at:]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=8))
            case _:
                raw += draw(st.sampled_from(SEEDS))
    return bytes(raw)


@st.composite
def altered(draw: Any) -> bytes:
    """A seed with fields set, cleared or repeated: bytes that parse."""
    request = ENVOY.CheckRequest.FromString(draw(st.sampled_from(SEEDS)))
    attributes = request.attributes
    for _ in range(draw(st.integers(1, 3))):
        http = attributes.request.http
        match draw(st.sampled_from(["http", "header", "raw", "source", "destination", "clear"])):
            case "http":
                name = draw(st.sampled_from(FIELDS))
                text = draw(TEXTS)
                setattr(http, name, text.encode() if name == "body" else text)
            case "header":
                http.headers[draw(st.one_of(st.sampled_from(sorted(HEADERS)), TEXTS))] = draw(TEXTS)
            case "raw":
                http.header_map.headers.add(key=draw(TEXTS), raw_value=draw(st.binary(max_size=12)))
            case "source":
                setattr(attributes.source, draw(st.sampled_from(["principal", "certificate"])), draw(TEXTS))
            case "destination":
                attributes.destination.principal = draw(st.sampled_from(["", GATE_ID, DESTINATION, ID]))
            case _:
                attributes.ClearField(draw(st.sampled_from(["source", "destination", "request"])))
    return bytes(request.SerializeToString())


def test_the_seeds_are_what_they_should_be() -> None:
    assert [taken(serve(raw, GATE)).allowed for raw in SEEDS] == [True, True, True, True, True, False, True]
    assert [taken(serve(raw, PROVING)).allowed for raw in SEEDS] == [False, False, False, False, True, False, False]
    assert [deserved(raw) for raw in SEEDS] == [True] * 7  # the sixth says another path in its headers


@MANY
@given(st.one_of(broken(), altered()), st.sampled_from([GATE, FULL, PROVING]))
@example(b"", GATE)
@example(SEEDS[0] + SEEDS[5], GATE)
def test_no_broken_request_is_let_through(raw: bytes, gate: Any) -> None:
    found = taken(serve(raw, gate))
    assert not found.allowed or deserved(raw)
    assert not found.allowed or gate is not PROVING or _der(raw) == CHAIN[0]
    assert found.allowed or found.status >= 400
    ask = read_check(raw, gate, ROUTES)
    assert isinstance(ask, Ask) or ask.code in UNFIT
    assert taken(serve(raw, gate)).allowed is found.allowed


NATIVE = [
    question().SerializeToString(),
    b"\x0a" + bytes([len(question().SerializeToString())]) + question().SerializeToString(),
]


@MANY
@given(st.data())
def test_no_broken_question_of_pdp_v1_raises(data: Any) -> None:
    raw = bytearray(data.draw(st.sampled_from(NATIVE)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(raw) - 1)))
        raw[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    for gate in (None, FULL):
        one = read_native(bytes(raw), gate, WORDS)
        many = read_many(bytes(raw), gate, WORDS)
        assert isinstance(one, Ask) or one.code in UNFIT
        assert isinstance(many, tuple) or many.code in UNFIT


@MANY
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_answered(raw: bytes) -> None:
    assert not taken(serve(raw, GATE)).allowed
    assert isinstance(read_native(raw, None, WORDS), Unfit)
