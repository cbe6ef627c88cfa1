"""The questions of a CheckManyRequest, read as the server reads them: split, and then each by itself."""

from __future__ import annotations

from pdp.model.ask import Ask
from pdp.model.gates import Gate
from pdp.wire.decision import GateWords, read_check, split_many
from pdp.wire.refusals import Unfit


def read_many(raw: bytes, gate: Gate | None, words: GateWords) -> tuple[Ask | Unfit, ...] | Unfit:
    questions = split_many(raw)
    return questions if isinstance(questions, Unfit) else tuple(read_check(each, gate, words) for each in questions)
