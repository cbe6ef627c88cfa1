"""Deciding: a snapshot of policy and data, a request and a moment in; a decision out. No clock and no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from language import (
    FOREVER,
    Answer,
    BadValue,
    Bundle,
    Directory,
    Inputs,
    Outcome,
    Read,
    Refusal,
    RequestData,
    Result,
    assemble,
    task_end,
)
from pdp.errors import PdpError
from pdp.model.decision import Decision


@dataclass(frozen=True)
class Snapshot:
    """Policy and data that belong together; replaced whole, never changed."""

    bundle: Bundle
    directory: Directory

    @property
    def generation(self) -> str:
        return self.bundle.digest[:16]

    def footprint(self, action: str, resource_type: str) -> tuple[Read, ...]:
        return self.bundle.leaves[action, resource_type].footprint


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with everything that led to it."""

    decision: Decision
    answer: Answer | None  # None when it was refused before policy
    refusal: str | None


class Decider:
    """Makes decisions and numbers them."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._numbers = count(1)

    def decide(self, snapshot: Snapshot, request: RequestData, now: int) -> Decision:
        try:
            inputs = self._assemble(snapshot, request, now)
        except Refusal as refusal:
            return self._refused(snapshot, refusal)
        result = snapshot.bundle.decide(request.action, request.resource.type, inputs)
        return self._decision(snapshot, request, result)

    def explain(self, snapshot: Snapshot, request: RequestData, now: int) -> Explanation:
        """The same decision by the plain evaluator, with every rule that was considered."""
        try:
            inputs = self._assemble(snapshot, request, now)
        except Refusal as refusal:
            return Explanation(self._refused(snapshot, refusal), None, refusal.message)
        pair = (request.action, request.resource.type)
        decision = self._decision(snapshot, request, snapshot.bundle.settle(*pair, inputs))
        return Explanation(decision, snapshot.bundle.explain(*pair, inputs), None)

    def _assemble(self, snapshot: Snapshot, request: RequestData, now: int) -> Inputs:
        try:
            return assemble(snapshot.directory, request, now, snapshot.footprint)
        except BadValue as error:
            raise PdpError("invalid_request", str(error)) from None

    def _decision(self, snapshot: Snapshot, request: RequestData, result: Result) -> Decision:
        until, bounded_by = result.until, f"rule {result.bound}" if result.bound else None
        if request.task is not None:
            end = task_end(snapshot.bundle.vocabulary.tasks[request.task.kind], request.task)
            if end < until:
                until, bounded_by = end, "task"
        return Decision(result.outcome, result.errors, snapshot.generation, self._id(), until, FOREVER, bounded_by)

    def _refused(self, snapshot: Snapshot, refusal: Refusal) -> Decision:
        outcome = Outcome(False, refusal.code, None, refusal.message, None)
        return Decision(outcome, (), snapshot.generation, self._id(), FOREVER, FOREVER, None)

    def _id(self) -> str:
        return f"{self._instance}-{next(self._numbers)}"
