"""From a request as it is told to the `Inputs` of one decision: every value of its declared type, every record looked up.

Three endings: inputs; a `Refusal`, which is a denial before policy with its own reason; `BadValue`, when what was asked is
not a request at all. What a caller says never overrides what the directory holds: sources do not merge (law L9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from language.compiler.footprint import Read
from language.directory import Directory, DirectoryError, EntityData, conform_entity, make_record
from language.inputs import NO_SUBJECT, Inputs
from language.spiffe import is_spiffe_id
from language.types import Trust
from language.values import BadValue, conform_id, conform_record, describe, shorten
from language.vocabulary import (
    GATE,
    LOCATION,
    PROCESS,
    PROOF_FACT,
    WORKLOAD,
    EntityDecl,
    EntityRecord,
    SubjectDecl,
    TaskDecl,
    Vocabulary,
)

DEPTH_MAX = 64  # of a chain of delegation; far more than any policy allows


class Refusal(Exception):
    """A denial before policy; `code` is its reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


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


@dataclass(frozen=True, slots=True)
class RequestData:
    action: str
    resource: EntityData
    resource_told: bool = False  # attributes or parents came with the request
    workload: str | None = None
    process: Mapping[str, Any] | None = None
    user: EntityData | None = None
    user_told: bool = False
    task: TaskData | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] | None = None
    location: Mapping[str, Any] = field(default_factory=dict)
    proof: frozenset[str] = frozenset()


def assemble(
    directory: Directory, request: RequestData, now: int, footprint: Callable[[str, str], tuple[Read, ...]]
) -> Inputs:
    """The inputs of a decision at `now`. `footprint` tells what the rules for an action and type can read."""
    vocabulary = directory.vocabulary
    context = _context(vocabulary, request)
    if request.workload is None and request.user is None:
        raise Refusal("no_subject", "neither a workload nor a user was verified")
    resource = request.resource
    inputs = Inputs(now, conform_id(resource.id, "resource"), None)
    inputs.context = context
    inputs.records = directory.records
    inputs.rows = directory.rows
    inputs.epochs = directory.epochs
    inputs.resource = _record(directory, resource, request.resource_told, "resource")
    if request.workload is not None:
        _put_workload(inputs, directory, request)
    if request.user is not None:
        _check_type(vocabulary, request.user.type)
        inputs.user_type, inputs.user_id = request.user.type, conform_id(request.user.id, "user")
        inputs.user = _record(directory, request.user, request.user_told, "user")
    if request.gate is not None:
        inputs.gate = conform_record(request.gate, GATE, "gate")
    if request.location:
        inputs.location = conform_record(request.location, LOCATION, "location")
    inputs.proof = _proofs(request.proof)
    if request.task is not None:
        _put_task(inputs, directory, request.task, now)
        _demand_task_parts(inputs, footprint(request.action, resource.type))
    return inputs


def _context(vocabulary: Vocabulary, request: RequestData) -> tuple[Any, ...]:
    action = vocabulary.actions.get(request.action)
    if action is None:
        raise Refusal("unknown_action", f"there is no action `{shorten(request.action)}`")
    _check_type(vocabulary, request.resource.type)
    if request.resource.type not in action.on:
        raise Refusal("unknown_action", f"`{action.name}` is no action on `{request.resource.type}`")
    return conform_record(request.context, action.context, "context")


def _check_type(vocabulary: Vocabulary, type_name: str) -> None:
    if type_name not in vocabulary.entities:
        raise Refusal("unknown_type", f"there is no entity type `{shorten(type_name)}`")


def _record(directory: Directory, entity: EntityData, told: bool, where: str) -> EntityRecord | None:
    decl = directory.vocabulary.entities[entity.type]
    if not decl.needs_record:
        if told and (entity.attributes or entity.parents):
            raise BadValue(f"{where}: `{entity.type}` has neither attributes nor parents")
        return NO_SUBJECT
    if decl.trust is Trust.VERIFIED:
        if told:
            raise BadValue(f"{where}: `{entity.type}` comes from the directory, not with the request")
        return directory.records[entity.type].get(entity.id)
    return _told_record(directory, decl, entity, where)


def _told_record(directory: Directory, decl: EntityDecl, entity: EntityData, where: str) -> EntityRecord:
    """A record made of what came with the request; what stands above its parents is the directory's."""
    try:
        values = conform_entity(decl, entity, where)
    except DirectoryError as error:
        raise BadValue(error.message) from None
    above: dict[str, set[str]] = {}
    for type_name, parent_id in entity.parents:
        above.setdefault(type_name, set()).add(parent_id)
        parent = directory.records[type_name].get(parent_id)
        parent_decl = directory.vocabulary.entities[type_name]
        for ancestor, index in parent_decl.ancestor_indexes.items() if parent else ():
            above.setdefault(ancestor, set()).update(parent[index] if parent else ())
    return make_record(decl, entity.id, 0, values, {name: frozenset(ids) for name, ids in above.items()})


def _put_workload(inputs: Inputs, directory: Directory, request: RequestData) -> None:
    workload = request.workload
    if not isinstance(workload, str) or not is_spiffe_id(workload):
        raise BadValue(f"workload: found {describe(workload)}, expected a SPIFFE ID")
    inputs.workload_id = workload
    if directory.vocabulary.workload.needs_record:
        inputs.workload = directory.records[WORKLOAD].get(workload)
    if request.process is not None:
        inputs.process = conform_record(request.process, PROCESS, "process")


def _proofs(facts: frozenset[str]) -> frozenset[str]:
    """The proven facts; each implies `key`, and there is no other order."""
    for fact in facts:
        if fact not in PROOF_FACT.members:
            raise BadValue(f"proof: found `{shorten(fact)}`, expected one of {', '.join(PROOF_FACT.members)}")
    return facts | {"key"} if facts else facts


def _put_task(inputs: Inputs, directory: Directory, task: TaskData, now: int) -> None:
    decl = directory.vocabulary.tasks.get(task.kind)
    if decl is None:
        raise Refusal("grant_outdated", f"there is no task `{shorten(task.kind)}` any more")
    if task.state == "ended":
        raise Refusal("task_ended", f"the task {shorten(task.id)} has ended")
    if task.state != "active":
        raise Refusal("task_suspended", f"the task {shorten(task.id)} is suspended")
    ends = task_end(decl, task)
    if now >= ends:
        raise Refusal("task_ended", f"the task {shorten(task.id)} has ended")
    if now < task.started:
        raise Refusal("task_not_started", f"the task {shorten(task.id)} has not started")
    holder = task.holder if task.holder is not None else inputs.workload_id
    if holder != inputs.workload_id:
        raise Refusal("task_misheld", f"the task {shorten(task.id)} belongs to another workload")
    for told in (task.opener, task.holder):
        if told is not None and not is_spiffe_id(told):
            raise Refusal("task_malformed", f"`{shorten(told)}` is not a SPIFFE ID")
    if type(task.depth) is not int or not 0 <= task.depth <= DEPTH_MAX:
        raise Refusal("task_malformed", "the task's depth is not a small number")
    if inputs.workload_id is None:
        raise Refusal("task_misheld", f"the task {shorten(task.id)} belongs to a workload, and there is none here")
    if not subject_holds(decl.who, directory, inputs.workload_id):
        raise Refusal("grant_outdated", f"`{decl.kind}` may not be held by {inputs.workload_id}")
    if task.opener is not None and not may_open(decl, directory, task.opener, inputs.workload_id):
        raise Refusal("grant_outdated", f"`{decl.kind}` may not be opened by {shorten(task.opener)}")
    try:
        facts = conform_record(task.attributes, decl.facts, "task")
    except BadValue as error:
        raise Refusal("grant_outdated", str(error)) from None
    inputs.task_kind = decl.kind
    inputs.task = (
        conform_id(task.id, "task"),
        task.started,
        ends,
        task.opener,
        holder,
        task.depth,
        task.parent if task.parent is None else conform_id(task.parent, "task.parent"),
        *facts,
    )
    inputs.task_covers = task.covers
    inputs.proof |= _proofs(task.proof)


def may_open(decl: TaskDecl, directory: Directory, opener: str, holder: str) -> bool:
    """Openers and holders are apart: the holder opens its own task only where the declaration says `or holder`."""
    if opener == holder:
        return decl.holder_opens
    return subject_holds(decl.openers, directory, opener)


def subject_holds(subjects: Iterable[SubjectDecl], directory: Directory, spiffe_id: str) -> bool:
    """Whether a workload is one of the subjects of a `who`; one without a record is in nothing."""
    decl, record = directory.vocabulary.workload, directory.records[WORKLOAD].get(spiffe_id)
    for subject in subjects:
        if subject.is_anyone or (subject.pattern is not None and subject.pattern.matches(spiffe_id)):
            return True
        if subject.within is not None and record and subject.within[1] in record[decl.ancestor_indexes[subject.within[0]]]:
            return True
    return False


def task_end(decl: TaskDecl, task: TaskData) -> int:
    """The end of the grant chain, or of what the policy of today allows, whichever is first."""
    return task.ends if decl.lasts is None else min(task.ends, task.started + decl.lasts)


def _demand_task_parts(inputs: Inputs, footprint: tuple[Read, ...]) -> None:
    """`opener` and `holder` are not optional in policy; a task without them answers no rule that reads them."""
    assert inputs.task is not None
    for read in footprint:
        if read.root == "task" and read.part in ("opener", "holder") and inputs.task[read.index] is None:
            raise Refusal("task_malformed", f"a rule here reads `task.{read.part}`, which this task does not say")


__all__ = ["Refusal", "RequestData", "TaskData", "assemble", "task_end"]
