"""What is wrong with a configuration: collected, each with its place, a code and why, and refused all at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pdp.errors import PdpError

#: What a document can get wrong. Unsafe combinations have codes of their own, in `unsafe.py`.
READING = {
    "unknown_setting": "there is no such setting",
    "wrong_type": "the value is not of the type of the setting",
    "wrong_value": "the value is of the right type, and cannot be",
}


@dataclass(frozen=True, slots=True)
class Problem:
    code: str
    place: str  # `limits.deadline`, `listen[0].address`, `PDP_WORKERS`
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.place}: {self.code}: {self.message}{hint}"


class BadConfig(PdpError):
    """A configuration that is not run. Its problems are there to be read by programs, its text by people."""

    def __init__(self, code: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(code, "; ".join(map(str, self.problems)))
