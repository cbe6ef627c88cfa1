"""Which rules the oracle need look at, when compiled code handed a request on.

A rule that an index of its family rules out is false whatever else it says: false and error is false (law L3). What the
index reads may itself be missing; then that part of the key rules nothing out. Thus a caller who names a resource that
does not exist does not make ten thousand rules be read.
"""

from __future__ import annotations

from typing import Any

from language.compiler.plan import EqualityIndex, Family, LeafPlan, equality_keys
from language.inputs import Inputs
from language.meaning import Evaluator, Steps, StepsEnded, Unanswerable
from language.vocabulary import Vocabulary


class Candidates:
    """For one leaf; makes its tables when they are first needed."""

    def __init__(self, leaf: LeafPlan, vocabulary: Vocabulary) -> None:
        self._leaf = leaf
        self._vocabulary = vocabulary
        self._tables: dict[tuple[int, tuple[int, ...]], dict[tuple[Any, ...], set[int]]] = {}

    def find(self, inputs: Inputs, steps: Steps) -> set[int]:
        """The places in the program of the rules that these inputs do not rule out, as far as the steps go."""
        evaluator = Evaluator(self._vocabulary, inputs, steps)
        found: set[int] = set()
        for number, family in enumerate(self._leaf.families):
            if isinstance(family.index, EqualityIndex):
                found |= self._of_family(number, family, family.index, evaluator)
            else:
                found.update(row.rule for row in family.rows)
        return found

    def _of_family(self, number: int, family: Family, index: EqualityIndex, evaluator: Evaluator) -> set[int]:
        known: list[int] = []
        values: list[Any] = []
        for part, operand in enumerate(index.operands):
            try:
                values.append(evaluator.value(operand)[0])
            except (Unanswerable, StepsEnded):
                continue
            known.append(part)
        key = (number, tuple(known))
        if key not in self._tables:
            self._tables[key] = _table(family, index, tuple(known))
        table = self._tables[key]
        return table.get(tuple(values), set()) | table.get((), set())


def _table(family: Family, index: EqualityIndex, known: tuple[int, ...]) -> dict[tuple[Any, ...], set[int]]:
    """Rules by the known parts of their keys; under the empty key those that no key can tell apart."""
    table: dict[tuple[Any, ...], set[int]] = {}
    for row in family.rows:
        keys = equality_keys(row, index)
        for full in [()] if keys is None else keys:
            part = tuple(full[i] for i in known) if full else ()
            table.setdefault(part, set()).add(row.rule)
    return table
