"""From what is asked to the `Inputs` of one decision: records looked up in one world, the task held against one moment.

Two endings: inputs, or a `Refusal`, which is a denial before policy with its own reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from language.asked import Asked, AskedEntity, AskedTask, Refusal, RequestData, conform_request
from language.compiler.footprint import Read
from language.directory import make_record
from language.inputs import NO_SUBJECT, Inputs
from language.types import Trust
from language.values import shorten
from language.vocabulary import WORKLOAD, EntityRecord, SubjectDecl, TaskDecl
from language.world import World

Footprint = Callable[[str, str], tuple[Read, ...]]


def assemble(world: World, request: RequestData | Asked, now: int, footprint: Footprint) -> Inputs:
    """The inputs of a decision at `now`. `footprint` tells what the rules for an action and type can read."""
    asked = conform_request(world.vocabulary, request) if isinstance(request, RequestData) else request
    resource, user = asked.resource, asked.user
    inputs = Inputs(now, resource.id, _record(world, resource))
    inputs.records, inputs.rows, inputs.epochs = world.records, world.rows, world.epochs
    inputs.context, inputs.gate, inputs.location, inputs.proof = asked.context, asked.gate, asked.location, asked.proof
    if asked.workload is not None:
        inputs.workload_id, inputs.process = asked.workload, asked.process
        if world.vocabulary.workload.needs_record:
            inputs.workload = world.records[WORKLOAD].get(asked.workload)
    if user is not None:
        inputs.user_type, inputs.user_id, inputs.user = user.type, user.id, _record(world, user)
    if asked.task is not None:
        _put_task(inputs, world, asked.task)
        _demand_task_parts(inputs, footprint(asked.action, resource.type))
    return inputs


def _record(world: World, entity: AskedEntity) -> EntityRecord | None:
    decl = world.vocabulary.entities[entity.type]
    if not decl.needs_record:
        return NO_SUBJECT
    if decl.trust is Trust.VERIFIED:
        return world.records[entity.type].get(entity.id)
    return _told_record(world, entity)


def _told_record(world: World, entity: AskedEntity) -> EntityRecord:
    """A record made of what came with the request; what stands above its parents is the directory's."""
    above: dict[str, set[str]] = {}
    for type_name, parent_id in entity.parents:
        above.setdefault(type_name, set()).add(parent_id)
        parent = world.records[type_name].get(parent_id)
        parent_decl = world.vocabulary.entities[type_name]
        for ancestor, index in parent_decl.ancestor_indexes.items() if parent else ():
            above.setdefault(ancestor, set()).update(parent[index] if parent else ())
    ancestors = {name: frozenset(ids) for name, ids in above.items()}
    return make_record(world.vocabulary.entities[entity.type], entity.id, 0, entity.values or (), ancestors)


def _put_task(inputs: Inputs, world: World, task: AskedTask) -> None:
    told, decl, now = task.told, task.decl, inputs.now
    if told.state == "ended":
        raise Refusal("task_ended", f"the task {shorten(told.id)} has ended")
    if told.state == "suspended":
        raise Refusal("task_suspended", f"the task {shorten(told.id)} is suspended")
    if now >= task.ends:
        raise Refusal("task_ended", f"the task {shorten(told.id)} has ended")
    if now < told.started:
        raise Refusal("task_not_started", f"the task {shorten(told.id)} has not started", told.started)
    holder = told.holder if told.holder is not None else inputs.workload_id
    if holder != inputs.workload_id:
        raise Refusal("task_misheld", f"the task {shorten(told.id)} belongs to another workload")
    if task.malformed is not None:
        raise task.malformed
    if inputs.workload_id is None:
        raise Refusal("task_misheld", f"the task {shorten(told.id)} belongs to a workload, and there is none here")
    if not subject_holds(decl.who, world, inputs.workload_id):
        raise Refusal("grant_outdated", f"`{decl.kind}` may not be held by {inputs.workload_id}")
    if told.opener is not None and not may_open(decl, world, told.opener, inputs.workload_id):
        raise Refusal("grant_outdated", f"`{decl.kind}` may not be opened by {shorten(told.opener)}")
    if task.outdated is not None:
        raise task.outdated
    inputs.task_kind = decl.kind
    inputs.task = (told.id, told.started, task.ends, told.opener, holder, told.depth, told.parent, *task.facts)
    inputs.task_covers = told.covers
    inputs.proof |= task.proof


def may_open(decl: TaskDecl, world: World, opener: str, holder: str) -> bool:
    """Openers and holders are apart: the holder opens its own task only where the declaration says `or holder`."""
    if opener == holder:
        return decl.holder_opens
    return subject_holds(decl.openers, world, opener)


def subject_holds(subjects: Iterable[SubjectDecl], world: World, spiffe_id: str) -> bool:
    """Whether a workload is one of the subjects of a `who`; one without a record is in nothing."""
    decl, record = world.vocabulary.workload, world.records[WORKLOAD].get(spiffe_id)
    for subject in subjects:
        if subject.is_anyone or (subject.pattern is not None and subject.pattern.matches(spiffe_id)):
            return True
        if subject.within is not None and record and subject.within[1] in record[decl.ancestor_indexes[subject.within[0]]]:
            return True
    return False


def _demand_task_parts(inputs: Inputs, footprint: tuple[Read, ...]) -> None:
    """`opener` and `holder` are not optional in policy; a task without them answers no rule that reads them."""
    assert inputs.task is not None
    for read in footprint:
        if read.root == "task" and read.part in ("opener", "holder") and inputs.task[read.index] is None:
            raise Refusal("task_malformed", f"a rule here reads `task.{read.part}`, which this task does not say")
