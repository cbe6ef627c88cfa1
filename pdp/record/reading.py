"""An entry as it stands in a line -> the few things that people look for, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from language import LATEST, SpiffePattern
from pdp.record.line import Line
from pdp.record.values import show


@dataclass(frozen=True, slots=True)
class Seen:
    """An entry, read: absent things are empty."""

    seq: int
    kind: str
    at_us: int
    workload: str
    user: str
    tasks: tuple[str, ...]  # the task and every grant of its chain
    task_kind: str
    gate: str
    action: str
    resource_type: str
    resource: str
    outcome: str
    entry: Mapping[str, Any]


def read_entry(line: Line) -> Seen:
    """Raises ValueError when the line's entry is not one."""
    entry = line.data()
    request = entry.get("request")
    request = request if isinstance(request, dict) else {}
    resource, task, gate = request.get("resource"), request.get("task"), request.get("gate")
    task = task if isinstance(task, dict) else {}
    tasks = [task.get("id"), task.get("parent"), entry.get("task"), entry.get("txn"), *_list(entry.get("chain"))]
    if line.kind != "decision" and "id" in entry and not request:
        tasks.append(entry["id"])
    at_us = entry.get("at_us")
    return Seen(
        seq=line.seq,
        kind=line.kind,
        at_us=at_us if type(at_us) is int and 0 <= at_us <= LATEST else 0,
        workload=_text(request.get("workload") or entry.get("holder")),
        user=_entity(request.get("user")),
        tasks=tuple(dict.fromkeys(_text(t) for t in tasks if t)),
        task_kind=_text(task.get("kind")),
        gate=_text(gate.get("id") if isinstance(gate, dict) else entry.get("gate")),
        action=_text(request.get("action")),
        resource_type=_text(_pair(resource)[0]),
        resource=_text(_pair(resource)[1]),
        outcome=_text(entry.get("outcome")),
        entry=entry,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(told: Any) -> str:
    return "" if told is None else show(told)


def _pair(told: Any) -> tuple[Any, Any]:
    match told:
        case [type_name, entity_id]:
            return type_name, entity_id
        case {"type": type_name, "id": entity_id}:
            return type_name, entity_id
    return None, None


def _entity(told: Any) -> str:
    type_name, entity_id = _pair(told)
    return f"{show(type_name)} {show(entity_id)}" if type_name is not None else ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; None and empty ask for nothing."""

    workload: SpiffePattern | str | None = None
    task: str | None = None
    gate: str | None = None
    resource: tuple[str, str | None] | None = None
    action: str | None = None
    outcome: str | None = None
    kinds: frozenset[str] = frozenset()
    since_us: int | None = None
    until_us: int | None = None

    def matches(self, seen: Seen) -> bool:
        if self.since_us is not None and seen.at_us < self.since_us:
            return False
        if self.until_us is not None and seen.at_us >= self.until_us:
            return False
        if self.kinds and seen.kind not in self.kinds:
            return False
        if self.workload is not None and not self._is_workload(seen.workload):
            return False
        if self.resource is not None:
            type_name, entity_id = self.resource
            if seen.resource_type != type_name or (entity_id is not None and seen.resource != entity_id):
                return False
        asked = ((self.gate, seen.gate), (self.action, seen.action), (self.outcome, seen.outcome))
        return all(want is None or want == found for want, found in asked) and (self.task is None or self.task in seen.tasks)

    def _is_workload(self, found: str) -> bool:
        return (
            found == self.workload
            if isinstance(self.workload, str)
            else bool(self.workload and self.workload.matches(found))
        )


@dataclass(frozen=True, slots=True)
class Touched:
    """How often something was asked for, and when first and last."""

    outcome: str
    action: str
    resource_type: str
    resource: str
    count: int
    first_us: int
    last_us: int


def touched(entries: Iterable[Seen], id: str) -> list[Touched]:
    """What a workload, task or grant was allowed, and what it tried: allows first, then by action and resource."""
    found: dict[tuple[str, str, str, str], Touched] = {}
    for seen in entries:
        if not seen.outcome or (seen.workload != id and id not in seen.tasks):
            continue
        key = seen.outcome, seen.action, seen.resource_type, seen.resource
        known = found.get(key)
        count, first, last = (known.count, known.first_us, known.last_us) if known else (0, seen.at_us, seen.at_us)
        found[key] = Touched(*key, count + 1, min(first, seen.at_us), max(last, seen.at_us))
    return [found[key] for key in sorted(found)]
