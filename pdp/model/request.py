"""What is asked: an action, a resource, on whose behalf, in which task. Nothing here is verified or looked up yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from language import FOREVER, LATEST, BadLiteral, EntityData, RequestData, TaskData, describe, parse_instant
from pdp.errors import PdpError
from pdp.model.frozen import frozen

NOTHING: Mapping[str, Any] = frozen({})
_NO_FACTS: frozenset[str] = frozenset()


class NoMemo:
    """Stands where no engine was asked yet."""

    mark = None

    def bound_in(self, snapshot: object, now: int) -> None:
        """Nothing that was understood."""


NO_MEMO = NoMemo()


def _freeze(holder: object, *names: str) -> None:
    for name in names:
        value = getattr(holder, name)
        if value is not None and value is not NOTHING and value != () and type(value) is not Resource:
            object.__setattr__(holder, name, frozen(value))


@dataclass(frozen=True, slots=True)
class Resource:
    """An entity as a request names it. Attributes and parents go only with types that are `claimed` or `from gate`."""

    type: str
    id: str
    attributes: Mapping[str, Any] | None = None
    parents: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        if self.attributes is not None or self.parents is not None:  # most have neither
            _freeze(self, "attributes", "parents")


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload that the caller vouches for, with what is known of its process and of the credential it showed.

    `credential` names it, so that it can be revoked (a certificate's digest, never a token); `ends` is when it ends.
    """

    id: str
    process: Mapping[str, Any] | None = None
    credential: str | None = None
    ends: datetime | str | int | None = None

    def __post_init__(self) -> None:
        _freeze(self, "process")


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
    covers: bool = True  # whether the grant's own scope, narrower than its kind's, covers what is asked
    chain: Sequence[str] = ()  # ids of every task above it; a revocation of one that is not told reaches nobody

    def __post_init__(self) -> None:
        _freeze(self, "attributes", "proof", "chain")


EntityLike = Resource | tuple[str, str] | list[str]


@dataclass(frozen=True, slots=True)
class Request:
    """One question, prebuilt for a hot loop. It is a value: what it was given is copied, and an engine that was asked
    remembers with it how it understood the question."""

    action: str
    resource: EntityLike
    workload: str | Workload | None = None
    user: EntityLike | None = None
    task: Task | None = None
    context: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    gate: Mapping[str, Any] | None = None
    location: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    proof: Sequence[str] | frozenset[str] = ()
    memo: Any = field(
        default=NO_MEMO, init=False, repr=False, compare=False
    )  # the engine's; see `Memo` in pdp/engine/decide.py

    def __post_init__(self) -> None:
        _freeze(self, "resource", "user", "context", "gate", "location", "proof")

    def __reduce__(self) -> tuple[Any, ...]:
        told = (self.action, self.resource, self.workload, self.user, self.task, self.context, self.gate, self.location)
        return Request, (*told, self.proof)  # what an engine remembers with it stays where the engine is

    def data(self) -> RequestData:
        """The request in the form that the language takes; PdpError when it has not even the shape of one."""
        return request_data(
            self.action,
            self.resource,
            self.workload,
            self.user,
            self.task,
            self.context,
            self.gate,
            self.location,
            self.proof,
        )


def request_data(
    action: object,
    resource: object,
    workload: object,
    user: object,
    task: object,
    context: Any,
    gate: Any,
    location: Any,
    proof: object,
) -> RequestData:
    """What was asked in the form that the language takes."""
    if type(action) is not str:  # exactly: a subclass may equal whatever it likes, and stand in a key for another
        raise _bad("action", action, "an action's name")
    entity, told = _entity(resource, "resource")
    owner, owner_told = _entity(user, "user") if user is not None else (None, False)
    named, process = (workload.id, workload.process) if isinstance(workload, Workload) else (workload, None)
    if named is not None and type(named) is not str:
        raise _bad("workload", named, "a SPIFFE ID")
    grant = None if task is None else _task(task)
    return RequestData(
        action, entity, told, named, process, owner, owner_told, grant, context, gate, location, _proof(proof)
    )


@dataclass(frozen=True, slots=True)
class Credential:
    """What vouches for a workload: its name, by which it can be revoked, and when it ends."""

    name: str | None
    ends: int


def credential_of(workload: object) -> Credential | None:
    """What vouches for the workload, and until when."""
    if not isinstance(workload, Workload) or (workload.credential is None and workload.ends is None):
        return None
    if workload.credential is not None and type(workload.credential) is not str:
        raise _bad("workload.credential", workload.credential, "a credential's name")
    return Credential(workload.credential, FOREVER if workload.ends is None else moment(workload.ends, "workload.ends"))


def _bad(where: str, found: object, expected: str) -> PdpError:
    return PdpError("invalid_request", f"{where}: found {describe(found)}, expected {expected}")


def _entity(value: object, where: str) -> tuple[EntityData, bool]:
    if isinstance(value, Resource):
        told = value.attributes is not None or value.parents is not None
        parents = _parents(value.parents, where)
        type_name, entity_id = _reference((value.type, value.id), where)
        return EntityData(type_name, entity_id, value.attributes or NOTHING, parents), told
    return EntityData(*_reference(value, where), NOTHING, ()), False


def _parents(parents: object, where: str) -> tuple[tuple[str, str], ...]:
    if parents is not None and not isinstance(parents, list | tuple):
        raise _bad(f"{where}.parents", parents, 'a list of ("Type", "id")')
    return tuple([_reference(p, f"{where}.parents") for p in parents or ()])


def _reference(value: object, where: str) -> tuple[str, str]:
    # The usual shape first: it is met for every text of every question.
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str and type(value[1]) is str:
        return value
    if not isinstance(value, list | tuple) or len(value) != 2:  # other sequences would not be copied into a request
        raise _bad(where, value, '("Type", "id")')
    type_name, entity_id = value
    if type(type_name) is not str or type(entity_id) is not str:
        raise _bad(where, entity_id if type(type_name) is str else type_name, "a plain text")
    return type_name, entity_id


def _task(task: object) -> TaskData:
    if not isinstance(task, Task):
        raise _bad("task", task, "a pdp.Task")
    for name, value in (("kind", task.kind), ("opener", task.opener), ("holder", task.holder)):
        if type(value) is not str and (value is not None or name == "kind"):
            raise _bad(f"task.{name}", value, "a text")
    if type(task.covers) is not bool:
        raise _bad("task.covers", task.covers, "true or false")
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
        task.covers,
        _chain(task.chain),
    )


def _chain(tasks: object) -> tuple[str, ...]:
    if not isinstance(tasks, list | tuple) or not all(type(t) is str for t in tasks):
        raise _bad("task.chain", tasks, "a list of ids of tasks")
    return tuple(tasks)


def _proof(facts: object) -> frozenset[str]:
    if facts == ():
        return _NO_FACTS
    if not isinstance(facts, list | tuple | set | frozenset) or not all(type(f) is str for f in facts):
        raise _bad("proof", facts, "a list of proven facts")
    return frozenset(facts)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(value: object, where: str) -> int:
    """Microseconds since the epoch of a time with a zone, an RFC 3339 text, or microseconds."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise PdpError("invalid_request", f"{where}: a time without a zone")
        delta = value - _EPOCH
        value = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if type(value) is int:
        if not 0 <= value <= LATEST:
            raise PdpError("invalid_request", f"{where}: before 1970 or after 9999, in UTC")
        return value
    if isinstance(value, str):
        try:
            return parse_instant(value)
        except BadLiteral as error:
            raise PdpError("invalid_request", f"{where}: {error}") from None
    raise _bad(where, value, "a time")
