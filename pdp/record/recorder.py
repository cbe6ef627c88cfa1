"""What a decision point asks of a record. It offers and goes on: an offer never waits, and never raises."""

from __future__ import annotations

from typing import Protocol

from language import Bundle, Inputs
from pdp.model.decision import Decision
from pdp.model.request import Request
from pdp.record.entry import Circumstances, Step


class Recorder(Protocol):
    def decided(
        self,
        request: Request,
        decision: Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None = None,
        inputs: Inputs | None = None,
        around: Circumstances | None = None,
    ) -> bool:
        """Offers a decision. False: it will not be recorded, and whoever asked must be denied.

        `bundle` and `inputs` are those that the decision was made from, and make it replayable; a refusal has no inputs.
        """

    def stepped(self, step: Step) -> bool:
        """Offers a step of a grant's life, an incident or a reuse attempt. False: the step must not be acknowledged."""
