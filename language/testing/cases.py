"""Policy tests as data: what the checker makes of a `test` block, one value for each row of its table."""

from __future__ import annotations

from dataclasses import dataclass, field

from language.asked import RequestData, TaskData
from language.directory import EntityData, RowData
from language.source import Span


@dataclass(frozen=True, slots=True)
class Expected:
    """What a step expects; a step that says nothing expects a denial."""

    allowed: bool
    until: int | None  # on the test's own clock
    rule: str | None
    reason: str | None
    because: str | None


@dataclass(frozen=True, slots=True)
class Check:
    at: int
    request: RequestData
    task: str | None
    expected: Expected
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TaskChange:
    at: int
    verb: str  # end, suspend, resume
    task: str


@dataclass(frozen=True, slots=True)
class DataChange:
    at: int
    put: EntityData | None = None
    put_row: RowData | None = None
    remove: tuple[str, str] | None = None
    remove_row: RowData | None = None


Event = Check | TaskChange | DataChange


@dataclass(frozen=True, slots=True)
class PolicyTest:
    name: str
    case: str | None  # the row of a table
    package: str
    span: Span = field(compare=False, repr=False)
    starts: int  # microseconds since the epoch
    entities: tuple[EntityData, ...]
    rows: tuple[RowData, ...]
    tasks: dict[str, TaskData]
    events: tuple[Event, ...]

    @property
    def full_name(self) -> str:
        name = f"{self.package}: {self.name}" if self.package else self.name
        return f"{name} [{self.case}]" if self.case is not None else name
