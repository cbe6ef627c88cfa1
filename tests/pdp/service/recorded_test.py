"""P13: every decision is recorded, or is a denial where so configured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import Bundle, Inputs
from pdp.record import Circumstances, Step
from pdp.sdk.engine import EngineOptions
from pdp.testing import FakeClock
from tests.pdp.record.world import AGENT, NOW, REQUESTS, TASK, World

ADA = pdp.Request("read", ("Doc", "d"), user=("User", "ada"))


class Offered:
    """A recorder that keeps what it is offered, and takes it or not."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.steps: list[Step] = []
        self.entries: list[tuple[pdp.Request, pdp.Decision, int, Bundle | None, Inputs | None]] = []

    def decided(
        self,
        request: pdp.Request,
        decision: pdp.Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None = None,
        inputs: Inputs | None = None,
        around: Circumstances | None = None,
    ) -> bool:
        assert took_ns > 0
        self.entries.append((request, decision, at_us, bundle, inputs))
        return self.takes

    def stepped(self, step: Step) -> bool:
        self.steps.append(step)
        return self.takes


def engine(offered: Offered, cache_entries: int = 100) -> pdp.Engine:
    world = World()
    return pdp.Engine(world.bundle, world.directory, EngineOptions(cache_entries, clock=lambda: NOW, recorder=offered))


@pytest.mark.parametrize("cache_entries", [0, 100])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: f"{r.action}-{r.resource}")
def test_every_way_of_asking_is_recorded_as_it_was_answered(request_: pdp.Request, cache_entries: int) -> None:
    offered = Offered()
    asked = engine(offered, cache_entries)
    told = {f.name: getattr(request_, f.name) for f in dataclasses.fields(request_) if f.init and getattr(request_, f.name)}
    answers = [asked.check(request_), asked.check(request_), *asked.check_many([request_]), asked.check(**told)]
    assert [(r, d) for r, d, *_ in offered.entries] == [(request_, answer) for answer in answers]
    assert len({answer.id for answer in answers}) == 4
    assert {at for _, _, at, _, _ in offered.entries} == {NOW}
    before_policy = answers[0].reason in ("no_subject", "unknown_action", "unknown_type", "task_misheld")
    assert all((inputs is None) == before_policy for *_, inputs in offered.entries)


def test_a_refusal_after_an_answer_is_not_told_with_the_inputs_of_before() -> None:
    offered = Offered()
    asked = engine(offered)
    request = pdp.Request("list", ("Doc", "d"), workload=AGENT, task=TASK)
    assert asked.check(request).allowed
    asked.revoke("task", TASK.id)
    assert asked.check(request).reason == "task_ended"
    assert [inputs is None for *_, inputs in offered.entries] == [False, True]


@pytest.mark.parametrize("told", [{"request": ADA}, {"action": "read", "resource": ("Doc", "d"), "user": ("User", "ada")}])
def test_what_is_not_recorded_is_denied_and_never_remembered(told: dict[str, Any]) -> None:
    offered = Offered(takes=False)
    asked = engine(offered)
    decision = asked.check(**told)
    assert (decision.allowed, decision.reason, decision.rule) == (False, "not_recorded", None)
    assert decision.valid_until_us == NOW
    assert asked.check_many([ADA])[0].reason == "not_recorded"
    offered.takes = True
    assert asked.check(**told).allowed


def test_an_engine_from_files_takes_a_recorder(tmp_path: Path) -> None:
    policy = "language 1\nentity Door\naction open on Door\nallow any { who anyone do open on Door }\n"
    (tmp_path / "app.policy").write_text(policy)
    offered = Offered(takes=False)
    asked = pdp.Engine.load(tmp_path, clock=FakeClock("2026-01-01T00:00:00Z"), recorder=offered)
    assert asked.check(action="open", resource=("Door", "1"), workload="spiffe://d/w").reason == "not_recorded"


def test_why_something_was_revoked_is_in_the_record_and_in_no_answer() -> None:
    """Finding A11, in process: a gate may pass the answer on to whom the revocation is about."""
    offered = Offered()
    asked = engine(offered)
    asked.revoke("workload", AGENT, reason="shell seen")
    for decision in (asked.check(REQUESTS[7]), asked.explain(REQUESTS[7]).decision):
        told = f"{decision!r} {decision.because}"
        assert (decision.reason, "shell seen" in told) == ("revoked", False)
    asked.lift("workload", AGENT)
    assert [(s.what, s.id, s.reason, s.details) for s in offered.steps] == [
        ("revoke", AGENT, "shell seen", {"noun": "workload"}),
        ("lift", AGENT, None, {"noun": "workload"}),
    ]


def test_a_revocation_holds_and_a_lift_does_not_where_the_record_takes_no_more() -> None:
    asked = engine(Offered(takes=False))
    for change in (lambda: asked.revoke("workload", AGENT, reason="x"), lambda: asked.lift("workload", AGENT)):
        with pytest.raises(pdp.PdpError) as caught:
            change()
        assert caught.value.code == "not_recorded"
        assert dict(asked.revoked) == {("workload", AGENT): "x"}
