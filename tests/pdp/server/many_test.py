"""Many questions in one call keep nobody else waiting, and are left where nobody waits for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from pdp.server.desk import Desk
from pdp.server.parts import Parts
from pdp.server.services.decisions import decision_handlers
from pdp.wire.messages import PDP
from pdp.wire.values import MESSAGE_VALUES_MAX, VALUES_MAX
from tests.pdp.server.world import POLICY, call, channel, code_of, development, running

MANY, ONE = "/pdp.v1.DecisionService/CheckMany", "/pdp.v1.DecisionService/Check"


def question(document: str) -> Any:
    message = PDP.CheckRequest(action="read")
    message.resource.type, message.resource.id = "Document", document
    return message


class Held(Desk):
    """Holds the question about one document until it is let go."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.heard: list[str] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def hear(self, raw: bytes, *more: Any) -> Any:
        self.heard.append(PDP.CheckRequest.FromString(raw).resource.id)
        if self.heard[-1] == "held":
            self.entered.set()
            assert self.go.wait(15)
        return super().hear(raw, *more)


@pytest.mark.parametrize("in_time", [True, False])
def test_one_question_is_answered_while_many_are_decided(tmp_path: Path, in_time: bool) -> None:
    desks: list[Held] = []

    def handlers(parts: Parts) -> Any:
        desks.append(Held(parts))
        return decision_handlers(desks[0])

    many = PDP.CheckManyRequest(requests=[question("held"), question("after")]).SerializeToString()
    limits = {"step_deadline": "20s" if in_time else "100ms", "drain": "1s"}
    with running(development(tmp_path, limits=limits), handlers) as server, channel(server.address) as opened:
        asked = opened.unary_unary(MANY).future(many, timeout=15)
        try:
            assert desks[0].entered.wait(15)
            assert call(opened, ONE, question("one").SerializeToString())
            if not in_time:
                assert code_of(asked.exception()) == "DEADLINE_EXCEEDED deadline_passed"
        finally:
            desks[0].go.set()
        if in_time:
            assert len(PDP.CheckManyResponse.FromString(asked.result()).results) == 2
    assert desks[0].heard == ["held", "one", *["after"] * in_time]


def test_all_of_many_are_decided_under_one_snapshot(tmp_path: Path) -> None:
    """Also where another policy set is put into force between two of them."""

    class Reloads(Desk):
        def hear(self, raw: bytes, *more: Any) -> Any:
            if PDP.CheckRequest.FromString(raw).resource.id == "first":
                policy.write_text(POLICY.replace("allow all-read", "deny all-read"))
                self.parts.engine.reload()
            return super().hear(raw, *more)

    many = PDP.CheckManyRequest(requests=[question(name) for name in ("before", "first", "after")]).SerializeToString()
    policy = tmp_path / "policies" / "app.policy"
    with (
        running(development(tmp_path), lambda parts: decision_handlers(Reloads(parts))) as server,
        channel(server.address) as opened,
    ):
        told = [PDP.CheckManyResponse.FromString(call(opened, MANY, many)).results for _ in range(2)]
    generations = [{each.decision.generation for each in results} for results in told]
    assert ([len(each) for each in generations], len(set.union(*generations))) == ([1, 1], 2)


def test_s4_the_values_of_all_questions_are_counted(tmp_path: Path) -> None:
    """Finding S4: those of one that are too many are refused in its place, and those of all from there on."""
    each = question("one")
    for _ in range(VALUES_MAX):
        each.resource.parents.add(type="D", id="1")  # short, so that all of it fits into a message
    few = question("few")
    most = MESSAGE_VALUES_MAX // VALUES_MAX
    many = PDP.CheckManyRequest(requests=[*[each] * (most + 2), few])
    limits = {"message_bytes": 1 << 20, "step_deadline": "30s", "drain": "1s"}
    with (
        running(development(tmp_path, limits=limits), lambda parts: decision_handlers(Desk(parts))) as server,
        channel(server.address) as opened,
    ):
        results = PDP.CheckManyResponse.FromString(call(opened, MANY, many.SerializeToString())).results
        too_many = [result.error.code == "too_many_values" for result in results]
        assert too_many == [False] * most + [True] * 2 + [False]
        assert results[-1].HasField("decision")
        each.resource.parents.add(type="D", id="1")
        stream = opened.stream_stream("/pdp.v1.DecisionService/CheckStream")
        told = [PDP.CheckResult.FromString(raw) for raw in stream(iter([each.SerializeToString(), few.SerializeToString()]))]
        assert [result.error.code for result in told] == ["too_many_values", ""]
