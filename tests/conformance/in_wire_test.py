"""The conformance pack as bytes: through `pdp.v1` and back, and through Envoy's ext_authz: the same answers and reasons.

What a server would have verified by then (workload, task, proof) is put beside what the bytes said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import pdp
from pdp.cli.report import decision_json
from pdp.identity import ShownVerifier, TrustStore, Verifier
from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.store.requests import request_from
from pdp.store.strict_data import BadData
from pdp.wire import client, decision, envoy, envoy_answer
from pdp.wire.envoy_path import Routes
from pdp.wire.messages import ENVOY
from pdp.wire.refusals import Unfit
from tests.conformance.in_process_test import CASES, engine
from tests.conformance.pack import Case, differences
from tests.pdp.identity.world import HOUR, NOW, domain, key, trusting
from tests.pdp.wire.answers import taken

DOMAIN = "prod.acme"
WORLD = domain(DOMAIN)
TRUST: TrustStore = trusting(WORLD)
SHOWN = ShownVerifier(Verifier())
SET = "routes"
DESTINATIONS = frozenset(f"spiffe://{DOMAIN}/ns/db/{name}" for name in ("ledger", "people", "ledger2"))
GATE = Gate(f"spiffe://{DOMAIN}/gates/edge", None, frozenset({DOMAIN}), DESTINATIONS, vouches=True)


# ---- pdp.v1


def by_pdp_v1(case: Case) -> Mapping[str, Any]:
    """Everything but what a server verifies itself goes over the wire."""
    asked = engine(case.folder)
    try:
        request = request_from(dict(case.request))
        gate = replace(GATE, users=frozenset(_user_types(request)), location=True)
        sent = replace(request, workload=None, task=None, gate=None, proof=())
        read = decision.read_check(client.write_request(sent), gate, decision.GateWords.of(asked.bundle.vocabulary))
        if isinstance(read, Unfit):
            return {"error": "invalid_request"}
        again = replace(
            request, action=read.action, resource=read.resource, user=read.user, context=read.context, location=read.location
        )
        decided = asked.check(again, now=case.at)
    except BadData:
        return {"error": "invalid_request"}
    except pdp.PdpError as error:
        return {"error": error.code}
    return decision_json(client.read_decision(decision.write_check(decided, explain=True)))


def _user_types(request: pdp.Request) -> list[str]:
    match request.user:
        case pdp.Resource(type=name):
            return [name]
        case (str(name), _):
            return [name]
        case _:
            return []


def plain(case: Case) -> bool:
    return case.http is None and case.tcp is None


@pytest.mark.parametrize("case", [c for c in CASES if plain(c) and not c.differs], ids=str)
def test_pdp_v1(case: Case) -> None:
    assert differences(case.expected, by_pdp_v1(case)) == []


# ---- Envoy


@cache
def leaf(workload: str) -> tuple[bytes, str]:
    der = WORLD.certificates(workload, key().public_key(), NOW, HOUR)[0]
    return der, quote(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode(), safe="")


def check_request(case: Case, *, raw_headers: bool) -> bytes:
    message = ENVOY.CheckRequest()
    attributes = message.attributes
    workload = case.request.get("workload")
    if workload is not None:
        attributes.source.certificate, attributes.source.principal = leaf(workload)[1], workload
    if case.tcp is not None:
        attributes.destination.principal = case.tcp
        return bytes(message.SerializeToString())
    assert case.http is not None
    told = case.http
    http = attributes.request.http
    http.method, http.host, http.path = told["method"], told["host"], told["target"]
    headers = [(":method", told["method"]), (":path", told["target"]), (":authority", told["host"])]
    headers += [(name, value) for name, values in told.get("headers", {}).items() for value in values]
    for name, value in headers:
        if raw_headers:
            http.header_map.headers.add(key=name, raw_value=value.encode())
        else:
            http.headers[name] = f"{http.headers[name]},{value}" if name in http.headers else value
    return bytes(message.SerializeToString())


@cache
def routes() -> Routes:
    return Routes(engine(next(c for c in CASES if c.set == SET).folder).bundle)


def by_envoy(case: Case, *, raw_headers: bool) -> tuple[Mapping[str, Any], bytes]:
    """The answer in the form of the pack, and what Envoy gets."""
    ask = envoy.read_check(check_request(case, raw_headers=raw_headers), GATE, routes())
    if isinstance(ask, Unfit):
        nothing = dict.fromkeys(("rule", "valid_until", "bounded_by"))
        return {"allowed": False, "reason": ask.code, **nothing, "errors": []}, envoy_answer.refuse(ask)
    request = _verified(ask, case)
    decided = engine(case.folder).check(request, now=case.at)
    return decision_json(decided), envoy_answer.answer(decided, GATE)


def _verified(ask: Ask, case: Case) -> pdp.Request:
    workload = str(SHOWN.verify(ask.shown, GATE, TRUST, NOW).id) if ask.shown is not None else None
    assert workload == case.request.get("workload")
    proof = case.request.get("proof", [])
    return pdp.Request(ask.action, ask.resource, workload=workload, context=ask.context, proof=proof)


@pytest.mark.parametrize("raw_headers", [True, False])
@pytest.mark.parametrize("case", [c for c in CASES if not plain(c) and not c.differs], ids=str)
def test_envoy(case: Case, raw_headers: bool) -> None:
    told, raw = by_envoy(case, raw_headers=raw_headers)
    if case.name == "an optional header twice" and not raw_headers:
        assert told["reason"] == "default_deny", "joined by Envoy, it is one value that is not the one"
        return
    assert differences(case.expected, told) == []
    found = taken(raw)
    assert (found.allowed, found.metadata["reason"]) == (case.expected["allowed"], case.expected["reason"])


def test_all_cases_go_one_way() -> None:
    assert {c.set for c in CASES if not plain(c)} == {SET}
    assert sum(map(plain, CASES)) > 100
