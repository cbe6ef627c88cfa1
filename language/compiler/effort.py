"""Whether compiled code can take long over one request: by the sizes of its sets, which the worst case says nothing of."""

from __future__ import annotations

from language.compiler.plan import CHEAP, LeafPlan
from language.inputs import Inputs
from language.meaning import Evaluator, Steps, StepsEnded
from language.vocabulary import Vocabulary
from language.work import QUICK_PLAIN_STEPS, QUICK_STEPS, Work, cost_of, work_of


class Effort:
    """Of one leaf. What it costs whatever is asked is its policy's own, and nothing that a caller could make dear."""

    def __init__(self, leaf: LeafPlan) -> None:
        self._works: tuple[Work, ...] = ()
        if leaf.cost > QUICK_STEPS:
            exprs = {id(e): e for family in leaf.families for row in family.rows if row.cost > CHEAP for e in row.exprs}
            works = [work_of(e) for e in exprs.values() if cost_of(e) > CHEAP]
            self._works = tuple(works) if sum(w.worst for w in works) > QUICK_STEPS else ()

    @property
    def can_be_long(self) -> bool:
        return bool(self._works)

    def is_long(self, inputs: Inputs, vocabulary: Vocabulary) -> bool:
        """Whether it is above `QUICK_STEPS`, or would take too long to be found out."""
        evaluator = Evaluator(vocabulary, inputs, Steps(QUICK_PLAIN_STEPS))
        left = QUICK_STEPS
        try:
            for work in self._works:
                evaluator.steps.take(1)
                left -= evaluator.work(work)
                if left < 0:
                    return True
        except StepsEnded:
            return True
        return False
