"""What is asked, as it is told and as it is understood: every value of its declared type, nothing looked up yet.

`RequestData` is foreign data. `conform_request` makes an `Asked` of it, which is true of every world of the same vocabulary
and at every moment, so that a request that is asked again is understood once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from language.directory import NOTHING_TOLD, DirectoryError, EntityData, conform_entity
from language.inputs import FOREVER
from language.spiffe import is_spiffe_id
from language.types import Trust
from language.values import BadValue, conform_id, conform_record, describe, shorten
from language.vocabulary import GATE, LOCATION, PROCESS, PROOF_FACT, TaskDecl, Vocabulary

TASK_STATES = ("active", "suspended", "ended")
DEPTH_MAX = 64  # of a chain of delegation; far more than any policy allows


class Refusal(Exception):
    """A denial before policy; `code` is its reason, and it holds until `until` if nothing changes."""

    def __init__(self, code: str, message: str, until: int = FOREVER) -> None:
        super().__init__(message)
        self.code, self.message, self.until = code, message, until


@dataclass(frozen=True, slots=True)
class TaskData:
    """A presented grant, already verified by whoever presents it here."""

    kind: str
    id: str
    attributes: Mapping[str, Any]
    started: int
    ends: int
    proof: frozenset[str] = frozenset()
    opener: str | None = None
    holder: str | None = None
    depth: int = 0
    parent: str | None = None
    state: str = "active"  # active, suspended, ended
    covers: bool = True  # whether the grant's own scope, not its kind's, covers the action and resource
    chain: tuple[str, ...] = ()  # ids of every task above it, as far as they are known


class RequestData(NamedTuple):
    """What is told. One is made for every question, so it is a tuple."""

    action: str
    resource: EntityData
    resource_told: bool = False  # attributes or parents came with the request
    workload: str | None = None
    process: Mapping[str, Any] | None = None
    user: EntityData | None = None
    user_told: bool = False
    task: TaskData | None = None
    context: Mapping[str, Any] = NOTHING_TOLD
    gate: Mapping[str, Any] | None = None
    location: Mapping[str, Any] = NOTHING_TOLD
    proof: frozenset[str] = frozenset()


class AskedEntity(NamedTuple):
    """A resource or user. `values` are those that were told of it; None when the directory is to say."""

    type: str
    id: str
    values: tuple[Any, ...] | None
    parents: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AskedTask:
    decl: TaskDecl
    told: TaskData
    facts: tuple[Any, ...]
    proof: frozenset[str]
    ends: int  # of the grant chain, or of what the policy of today allows, whichever is first
    malformed: Refusal | None
    outdated: Refusal | None


class Asked(NamedTuple):
    action: str
    resource: AskedEntity
    workload: str | None
    process: tuple[Any, ...] | None
    user: AskedEntity | None
    task: AskedTask | None
    context: tuple[Any, ...]
    gate: tuple[Any, ...] | None
    location: tuple[Any, ...]
    proof: frozenset[str]


def conform_request(vocabulary: Vocabulary, request: RequestData) -> Asked:
    """Three endings: what is asked; a `Refusal`; `BadValue`, when what was told is not a request at all."""
    context = _context(vocabulary, request)
    if request.workload is None and request.user is None:
        raise Refusal("no_subject", "neither a workload nor a user was verified")
    return Asked(
        request.action,
        _entity(vocabulary, request.resource, request.resource_told, "resource"),
        _workload(request.workload),
        None if request.workload is None or request.process is None else conform_record(request.process, PROCESS, "process"),
        None if request.user is None else _entity(vocabulary, request.user, request.user_told, "user"),
        None if request.task is None else _task(vocabulary, request.task),
        context,
        None if request.gate is None else _gate(request.gate),
        conform_record(request.location, LOCATION, "location"),
        _proofs(request.proof),
    )


def _context(vocabulary: Vocabulary, request: RequestData) -> tuple[Any, ...]:
    # A subclass of str may equal whatever it likes; what is looked up, and later stands in a key, is a plain text.
    action = vocabulary.actions.get(request.action) if type(request.action) is str else None
    if action is None:
        raise Refusal("unknown_action", f"there is no action `{shorten(request.action)}`")
    _check_type(vocabulary, request.resource.type)
    if request.resource.type not in action.on:
        raise Refusal("unknown_action", f"`{action.name}` is no action on `{request.resource.type}`")
    return conform_record(request.context, action.context, "context")


def _check_type(vocabulary: Vocabulary, type_name: str) -> None:
    if type(type_name) is not str or type_name not in vocabulary.entities:
        raise Refusal("unknown_type", f"there is no entity type `{shorten(type_name)}`")


def _entity(vocabulary: Vocabulary, entity: EntityData, told: bool, where: str) -> AskedEntity:
    """What a caller says never overrides what the directory holds: sources do not merge (law L9)."""
    _check_type(vocabulary, entity.type)
    conform_id(entity.id, where)
    decl = vocabulary.entities[entity.type]
    if not decl.needs_record:
        if told and (entity.attributes or entity.parents):
            raise BadValue(f"{where}: `{entity.type}` has neither attributes nor parents")
        return AskedEntity(entity.type, entity.id, None, ())
    if decl.trust is Trust.VERIFIED:
        if told:
            raise BadValue(f"{where}: `{entity.type}` comes from the directory, not with the request")
        return AskedEntity(entity.type, entity.id, None, ())
    try:
        return AskedEntity(entity.type, entity.id, conform_entity(decl, entity, where), tuple(entity.parents))
    except DirectoryError as error:
        raise BadValue(error.message) from None


def _workload(workload: str | None) -> str | None:
    if workload is not None and (type(workload) is not str or not is_spiffe_id(workload)):
        raise BadValue(f"workload: found {describe(workload)}, expected a SPIFFE ID")
    return workload


def _gate(told: Mapping[str, Any]) -> tuple[Any, ...]:
    """There are few gates, and each says the same of itself with every question."""
    if isinstance(told, Mapping) and all(type(k) is type(v) is str for k, v in told.items()):
        return _gate_of(tuple(told.items()))
    return conform_record(told, GATE, "gate")


@lru_cache(maxsize=256)
def _gate_of(told: tuple[tuple[str, str], ...]) -> tuple[Any, ...]:
    return conform_record(dict(told), GATE, "gate")


def _proofs(facts: frozenset[str]) -> frozenset[str]:
    """The proven facts; each implies `key`, and there is no other order."""
    for fact in facts:
        if type(fact) is not str or fact not in PROOF_FACT.members:
            raise BadValue(f"proof: found `{shorten(fact)}`, expected one of {', '.join(PROOF_FACT.members)}")
    return facts | {"key"} if facts else facts


def _task(vocabulary: Vocabulary, task: TaskData) -> AskedTask:
    decl = vocabulary.tasks.get(task.kind) if type(task.kind) is str else None
    if decl is None:
        raise Refusal("grant_outdated", f"there is no task `{shorten(task.kind)}` any more")
    conform_id(task.id, "task")
    if task.parent is not None:
        conform_id(task.parent, "task.parent")
    if len(task.chain) > DEPTH_MAX:
        raise BadValue(f"task.chain: at most {DEPTH_MAX} tasks are above another")
    for above in task.chain:
        conform_id(above, "task.chain")
    facts: tuple[Any, ...] = ()
    outdated = None
    try:
        facts = conform_record(task.attributes, decl.facts, "task")
    except BadValue as error:
        outdated = Refusal("grant_outdated", str(error))
    return AskedTask(decl, task, facts, _proofs(task.proof), task_end(decl, task), _malformed(task), outdated)


def _malformed(task: TaskData) -> Refusal | None:
    for told in (task.opener, task.holder):
        if told is not None and not is_spiffe_id(told):
            return Refusal("task_malformed", f"`{shorten(told)}` is not a SPIFFE ID")
    if type(task.depth) is not int or not 0 <= task.depth <= DEPTH_MAX:
        return Refusal("task_malformed", "the task's depth is not a small number")
    if task.state not in TASK_STATES:
        return Refusal("task_malformed", f"`{shorten(task.state)}` is no state of a task")
    return None


def task_end(decl: TaskDecl, task: TaskData) -> int:
    """The end of the grant chain, or of what the policy of today allows, whichever is first."""
    return task.ends if decl.lasts is None else min(task.ends, task.started + decl.lasts)
