"""What is asked: an action, a resource, on whose behalf, in which task. Nothing here is verified or looked up yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from language import LATEST, BadLiteral, EntityData, RequestData, TaskData, describe, parse_instant
from pdp.errors import PdpError

_NO_ATTRIBUTES: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Resource:
    """An entity as a request names it. Attributes and parents go only with types that are `claimed` or `from gate`."""

    type: str
    id: str
    attributes: Mapping[str, Any] | None = None
    parents: Sequence[tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that the caller vouches for, with what is known of its process."""

    id: str
    process: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A grant, verified by the caller: the task it is for, and the facts that were proven for this call."""

    kind: str
    id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    started: datetime | str | int | None = None
    ends: datetime | str | int | None = None
    proof: Sequence[str] | frozenset[str] = ()
    opener: str | None = None
    holder: str | None = None
    depth: int = 0
    parent: str | None = None
    state: str = "active"


EntityLike = Resource | tuple[str, str] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Request:
    """One question, prebuilt for a hot loop."""

    action: str
    resource: EntityLike
    workload: str | Workload | None = None
    user: EntityLike | None = None
    task: Task | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] | None = None
    location: Mapping[str, Any] = field(default_factory=dict)
    proof: Sequence[str] | frozenset[str] = ()

    def data(self) -> RequestData:
        """The request in the form that the language takes; PdpError when it has not even the shape of one."""
        if not isinstance(self.action, str):
            raise _bad("action", self.action, "an action's name")
        resource, told = _entity(self.resource, "resource")
        user, user_told = _entity(self.user, "user") if self.user is not None else (None, False)
        named = self.workload
        workload, process = (named.id, named.process) if isinstance(named, Workload) else (named, None)
        if workload is not None and not isinstance(workload, str):
            raise _bad("workload", workload, "a SPIFFE ID")
        return RequestData(
            self.action,
            resource,
            told,
            workload,
            process,
            user,
            user_told,
            _task(self.task),
            self.context,
            self.gate,
            self.location,
            _proof(self.proof),
        )


def _bad(where: str, found: object, expected: str) -> PdpError:
    return PdpError("invalid_request", f"{where}: found {describe(found)}, expected {expected}")


def _entity(value: object, where: str) -> tuple[EntityData, bool]:
    if isinstance(value, Resource):
        told = value.attributes is not None or value.parents is not None
        parents = tuple(_reference(p, f"{where}.parents") for p in value.parents or ())
        type_name, entity_id = _reference((value.type, value.id), where)
        return EntityData(type_name, entity_id, value.attributes or _NO_ATTRIBUTES, parents), told
    return EntityData(*_reference(value, where), _NO_ATTRIBUTES, ()), False


def _reference(value: object, where: str) -> tuple[str, str]:
    match value:
        case (str(type_name), str(entity_id)):
            return type_name, entity_id
        case _:
            raise _bad(where, value, '("Type", "id")')


def _task(task: Task | None) -> TaskData | None:
    if task is None:
        return None
    if not isinstance(task, Task):
        raise _bad("task", task, "a pdp.Task")
    if not isinstance(task.attributes, Mapping):
        raise _bad("task.attributes", task.attributes, "a mapping")
    if task.started is None or task.ends is None:
        raise PdpError("invalid_request", "task: says neither when it `started` nor when it `ends`")
    return TaskData(
        task.kind,
        task.id,
        task.attributes,
        moment(task.started, "task.started"),
        moment(task.ends, "task.ends"),
        _proof(task.proof),
        task.opener,
        task.holder,
        task.depth,
        task.parent,
        task.state,
    )


def _proof(facts: object) -> frozenset[str]:
    if isinstance(facts, str) or not isinstance(facts, list | tuple | set | frozenset):
        raise _bad("proof", facts, "a list of proven facts")
    if not all(isinstance(f, str) for f in facts):
        raise _bad("proof", facts, "a list of proven facts")
    return frozenset(facts)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: object, where: str) -> int:
    """Microseconds since the epoch of a time with a zone, an RFC 3339 text, or microseconds."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PdpError("invalid_request", f"{where}: a time without a zone")
        delta = value - _EPOCH
        value = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if type(value) is int:
        if not 0 < value < LATEST:
            raise PdpError("invalid_request", f"{where}: not between 1970 and the year 9999")
        return value
    if isinstance(value, str):
        try:
            return parse_instant(value)
        except BadLiteral as error:
            raise PdpError("invalid_request", f"{where}: {error}") from None
    raise _bad(where, value, "a time")
