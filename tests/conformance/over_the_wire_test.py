"""The conformance pack through the server's handlers: `pdp.v1` and Envoy's ext_authz, bytes in and bytes out.

In process a host vouches for workload and task. Here they are shown: a workload by a certificate of its trust domain, a task
by the handle of a grant that stands in the index. What cannot be shown (a process that nobody attested, a task that is tied
to no key) is left out, by `unshowable`, with the reason.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import pdp
from language import FOREVER, is_spiffe_id
from pdp.cli.report import decision_json
from pdp.engine import decide
from pdp.engine.decide import TakesLong
from pdp.grants.grant import Bindings, EndReason, Fact, Grant, Permit, Scope, Source, State, Target
from pdp.grants.handle import make_handle
from pdp.grants.index import Index
from pdp.grants.issuer_keys import first_keys
from pdp.grants.scope import ceiling
from pdp.identity import NEVER, Origin, TrustStore, read_jwks, thumbprint
from pdp.identity.dev.domain import DevDomain, make_domain
from pdp.model.ask import Shown
from pdp.model.request import moment
from pdp.server.config import Config, Pep
from pdp.server.counters import Counters
from pdp.server.desk import Desk
from pdp.server.handlers import CallRefused, Deadline, Method
from pdp.server.peer import Peer, Transport
from pdp.server.services.decisions import decision_handlers
from pdp.server.services.envoy import CHECK, envoy_handlers
from pdp.service.rest import whole
from pdp.store.requests import request_from
from pdp.store.strict_data import BadData
from pdp.testing import FakeClock
from pdp.wire.client import read_decision, write_request
from pdp.wire.messages import ENVOY
from tests.conformance.in_process_test import answer as in_process
from tests.conformance.in_process_test import engine, prebuilt, routed
from tests.conformance.pack import Case, differences, read_cases
from tests.pdp.identity.world import HOUR, key

CASES = read_cases()
KEY = key()
YEARS = 24 * 365 * 10 * HOUR
START = moment("2020-01-01T00:00:00Z", "start")
ISSUER = first_keys(key(), START)
GATE = "spiffe://gates.test/edge"
DEADLINE = Deadline.after_s(3600)


@cache
def domain(name: str) -> DevDomain:
    return make_domain(name, key(), key(), key(), START, YEARS)


@cache
def certificates(workload: str) -> tuple[bytes, ...]:
    trust_domain = workload.removeprefix("spiffe://").partition("/")[0]
    return domain(trust_domain).certificates(workload, KEY.public_key(), START, YEARS)


def trust(workload: str | None) -> TrustStore:
    if workload is None:
        return TrustStore()
    one = domain(workload.removeprefix("spiffe://").partition("/")[0])
    return TrustStore().with_bundle(read_jwks(one.trust_domain, one.bundle_document(), Origin("test", START, NEVER)))


def unshowable(request: pdp.Request) -> str | None:
    """Why a question in process cannot be asked over the wire."""
    workload, task = request.workload, request.task
    if isinstance(workload, pdp.Workload):
        return "a process that nobody attested"
    if workload is not None and (type(workload) is not str or not is_spiffe_id(workload)):
        return "no certificate has such an id"
    if request.proof and set(request.proof) != {"key"}:
        return "facts that are proven with a grant only"
    if workload is None and request.proof:
        return "a key of nobody"
    if request.gate is not None and (
        set(request.gate) - {"id", "environment"} or not is_spiffe_id(str(request.gate.get("id")))
    ):
        return "what is known of a gate is our configuration"
    if task is not None:
        if not is_spiffe_id(task.opener or ""):
            return "a grant has an opener who was verified"
        if _moment(task.started) is None or _moment(task.ends) is None:
            return "a grant has times"
        if workload is None:
            return "a task of nobody"
        if set(task.proof) != {"key"}:
            return "a grant is tied to a key"
        if task.depth or task.parent is not None:
            return "a grant that was delegated has a chain"
    return None


def _moment(told: object) -> int | None:
    try:
        return moment(told, "a moment")
    except pdp.PdpError:
        return None


class Setting:
    """A server's desk for the question of one case."""

    def __init__(self, folder: Path, at: str, request: pdp.Request) -> None:
        clock = FakeClock(at)
        self.engine = pdp.Engine.load(folder, clock=clock)
        self.request = request
        self.workload = request.workload if isinstance(request.workload, str) else None
        self.grant = None if request.task is None else self._grant(request.task)
        gate = request.gate or {}
        self.pep = Pep(
            domains=tuple(trust(self.workload).bundles),
            users=("*",),
            location=True,
            vouches=True,
            explain=True,
            environment=gate.get("environment"),
            destinations=(),
        )
        self.peer = Peer(gate.get("id", GATE), Transport.TLS, frozenset(), self.pep)
        parts: Any = SimpleNamespace(
            config=Config(),
            engine=self.engine,
            trust=SimpleNamespace(current=trust(self.workload)),
            clock=clock,
            recorder=None,
            counters=Counters(),
            writes=True,
        )
        self.desk = Desk(parts)
        if self.grant is not None:
            index = Index("i", 0, clock()).taking([self.grant], 1)
            self.desk.grants = SimpleNamespace(  # type: ignore[assignment]  # what a desk reads of its book
                index=index, keys=ISSUER, people={}, bound_us=FOREVER, consume=None
            )

    def _grant(self, task: pdp.Task) -> Grant:
        vocabulary = self.engine.bundle.vocabulary
        decl = vocabulary.tasks.get(task.kind)
        everything = Scope((Permit(frozenset(vocabulary.actions), tuple(Target(t) for t in vocabulary.entities)),))
        assert self.workload is not None
        started = moment(task.started, "started")
        state = State(task.state) if task.state in ("active", "suspended", "ended") else State.ACTIVE
        return Grant(
            id="g" * 22,
            task=task.id,
            parent=None,
            depth=0,
            kind=task.kind,
            holder=task.holder or self.workload,
            opener=task.opener or "",
            requester=task.opener or "",
            facts=tuple(Fact(n, v, Source.OPENER) for n, v in sorted(task.attributes.items())),
            scope=ceiling(decl) if decl is not None else everything,
            environment=(self.request.gate or {}).get("environment"),
            audience="dev.test",
            binding=Bindings(certificate=thumbprint(certificates(self.workload)[0])),
            created=started,
            lasting=1,
            ends=moment(task.ends, "ends"),
            state=state,
            generation="",
            started=started,
            ended=EndReason.COMPLETED if state is State.ENDED else None,
            revision=1,
        )

    @property
    def handle(self) -> str | None:
        """The handle of a grant that lives, so that it is the record that says no."""
        if self.grant is None:
            return None
        now = self.desk.parts.clock()
        alive = replace(self.grant, state=State.ACTIVE, ended=None, ends=now + HOUR)
        return make_handle(alive, self.desk.names, ISSUER, now)


def over_grpc(setting: Setting) -> dict[str, Any]:
    request = setting.request
    shown = Shown(certificates(setting.workload), whole_path=True) if setting.workload is not None else None
    told = pdp.Request(
        request.action, request.resource, user=request.user, context=request.context, location=request.location
    )
    method = decision_handlers(setting.desk)["/pdp.v1.DecisionService/Check"]
    assert isinstance(method, Method)
    try:
        raw = write_request(told, shown, setting.handle)
        return decision_json(read_decision(whole(lambda: method.handle(raw, setting.peer, DEADLINE))))
    except pdp.PdpError as error:
        return {"error": error.code}
    except CallRefused as refused:
        return {"error": "invalid_request"} if refused.status == "INVALID_ARGUMENT" else {"error": refused.code}


def request_of(case: Case) -> pdp.Request | None:
    """The question of a case; None where it has not even the shape of one."""
    try:
        return request_from(routed(case, engine(case.folder)))
    except (BadData, pdp.PdpError):
        return None


def askable() -> list[Case]:
    found = []
    for case in CASES:
        if case.http is None and case.tcp is None and not case.differs:
            request = request_of(case)
            if request is not None and unshowable(request) is None:
                found.append(case)
    return found


#: Where the answer is another by design, and what it is then. All are denials, but for those whose key was shown.
OTHERWISE = {
    "rules: a type of user that is not declared": {"error": "user_not_asserted"},  # `*` is every type that there is
    "subjects: no proof": {"allowed": True},  # a certificate was shown, which proves its key
    "routes: a connection without proof": {"allowed": True, "reason": "allowed"},  # the same
    "tasks: a table without a record": {"allowed": False, "reason": "default_deny"},  # in nothing that the grant covers
}


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check would take long where it arrives, so that it is ended elsewhere."""

    def takes_long(*_: object) -> Any:
        raise TakesLong

    monkeypatch.setattr(decide, "evaluate_quickly", takes_long)


@pytest.mark.usefixtures("handed_over")
@pytest.mark.parametrize("case", askable()[::5], ids=str)
def test_the_same_over_grpc_where_it_is_handed_over(case: Case) -> None:
    """P7: who works it out changes no answer."""
    test_the_same_over_grpc(case)


@pytest.mark.parametrize("case", askable(), ids=str)
def test_the_same_over_grpc(case: Case) -> None:
    request = request_of(case)
    assert request is not None
    found = over_grpc(Setting(case.folder, case.at, request))
    if str(case) in OTHERWISE:
        assert OTHERWISE[str(case)].items() <= found.items()
        return
    if found.get("bounded_by") == "credential":  # which nothing has in process
        found |= {"valid_until": None, "bounded_by": None}
    assert differences(case.expected, found) == [], (found, in_process(case, prebuilt))


def test_what_is_answered_otherwise_is_in_the_pack() -> None:
    assert OTHERWISE.keys() <= {str(case) for case in CASES}


def test_most_of_the_pack_can_be_shown() -> None:
    plain = [c for c in CASES if c.http is None and c.tcp is None and not c.differs]
    assert len(askable()) > 0.8 * len(plain)


# ---- ext_authz


def encoded_leaf(workload: str) -> str:
    leaf = x509.load_der_x509_certificate(certificates(workload)[0])
    return quote(leaf.public_bytes(Encoding.PEM).decode(), safe="")


def over_envoy(case: Case, setting: Setting) -> dict[str, Any]:
    message = ENVOY.CheckRequest()
    attributes = message.attributes
    if setting.workload is not None:
        attributes.source.certificate, attributes.source.principal = encoded_leaf(setting.workload), setting.workload
    if case.http is not None:
        http = attributes.request.http
        http.method, http.host, http.path = case.http["method"], case.http["host"], case.http["target"]
        for name, values in case.http.get("headers", {}).items():
            for value in values:
                http.header_map.headers.add(key=name, raw_value=value.encode())
    else:
        assert case.tcp is not None
        attributes.destination.principal = case.tcp
    method = envoy_handlers(setting.desk)[CHECK]
    assert isinstance(method, Method)
    told = ENVOY.CheckResponse.FromString(whole(lambda: method.handle(message.SerializeToString(), setting.peer, DEADLINE)))
    assert told.HasField("status")
    fields = told.dynamic_metadata.fields
    allowed = told.status.code == 0 and told.WhichOneof("http_response") == "ok_response"
    reason = fields["reason"].string_value
    found: dict[str, Any] = {"allowed": allowed, "reason": reason, "errors": []}
    if told.WhichOneof("http_response") == "denied_response":
        body = json.loads(told.denied_response.body)
        assert body["reason"] == reason
        found["rule"] = body.get("rule")
    if "valid_until" in fields:
        found["valid_until"] = fields["valid_until"].string_value
    return found


GATES = [c for c in CASES if c.http is not None or c.tcp is not None]


@pytest.mark.usefixtures("handed_over")
@pytest.mark.parametrize("case", GATES[::5], ids=str)
def test_the_same_through_ext_authz_where_it_is_handed_over(case: Case) -> None:
    test_the_same_through_ext_authz(case)


@pytest.mark.parametrize("case", GATES, ids=str)
def test_the_same_through_ext_authz(case: Case) -> None:
    request = pdp.Request("", ("", ""), **{k: v for k, v in case.request.items() if k == "workload"})
    setting = Setting(case.folder, case.at, request)
    if case.tcp is not None and is_spiffe_id(case.tcp):
        setting.pep = replace(setting.pep, destinations=(case.tcp,))
        setting.peer = replace(setting.peer, gate=setting.pep)
    found = over_envoy(case, setting)
    if str(case) in OTHERWISE:
        assert OTHERWISE[str(case)].items() <= found.items()
        return
    if "error" in case.expected:
        assert not found["allowed"]
        return
    assert (found["allowed"], found["reason"]) == (case.expected["allowed"], case.expected["reason"])
