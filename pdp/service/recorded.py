"""A decision that the record takes, or a denial (P13). What it has taken is written just after: a kill can lose that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from language import Outcome
from pdp.engine.decide import Decider
from pdp.engine.snapshot import Snapshot
from pdp.model.decision import Decision, Settled
from pdp.model.request import Request
from pdp.record import Circumstances, Recorder

NOT_RECORDED = "not_recorded"


@dataclass(frozen=True, slots=True)
class Recording:
    """Where decisions are offered, and a timer in nanoseconds to say how long each took."""

    recorder: Recorder
    timer: Callable[[], int]


def decide_recorded(
    recording: Recording,
    decider: Decider,
    snapshot: Snapshot,
    request: Request,
    now: int,
    around: Circumstances | None = None,
) -> Decision:
    """Decides and offers what was decided, with what it was decided from, so that it can be decided again."""
    began = recording.timer()
    decision, inputs = decider.decide_and_tell(snapshot, request, now)
    took_ns = recording.timer() - began
    if recording.recorder.decided(request, decision, now, took_ns, snapshot.policy.bundle, inputs, around):
        return decision
    return unrecorded(decision, now)


def unrecorded(decision: Decision, now: int) -> Decision:
    """In the place of a decision that could not be written down: a denial that nobody may remember."""
    outcome = Outcome(False, NOT_RECORDED, None, "the decision record takes no more, so nothing is allowed", None)
    of = decision.settled
    return Decision(Settled(outcome, (), of.generation, of.instance, now, now, None), decision.number)
