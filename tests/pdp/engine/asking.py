"""Requests from generated data, and what a fresh evaluation says of them: the plain evaluator, nothing remembered."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pdp
from language import Refusal, RequestData, assemble, task_end
from pdp.engine.snapshot import Snapshot
from pdp.model.request import Credential, credential_of
from tests.language import generated as g


@dataclass(frozen=True)
class Fresh:
    """What is true of this moment."""

    allowed: bool
    reason: str
    rules: tuple[str, ...]
    errors: frozenset[str]
    until: int


def request_of(told: RequestData, credential: str | None = None, ends: int | None = None) -> pdp.Request:
    resource = (
        pdp.Resource(told.resource.type, told.resource.id, told.resource.attributes, told.resource.parents)
        if told.resource_told
        else (told.resource.type, told.resource.id)
    )
    user: pdp.Resource | tuple[str, str] | None = None
    if told.user is not None:
        user = (told.user.type, told.user.id)
        if told.user_told:
            user = pdp.Resource(*user, told.user.attributes, told.user.parents)
    task = None
    if told.task is not None:
        t = told.task
        task = pdp.Task(
            t.kind, t.id, t.attributes, t.started, t.ends, t.proof, t.opener, t.holder, t.depth, t.parent, t.state
        )
    workload = pdp.Workload(told.workload, told.process, credential, ends) if told.workload is not None else None
    return pdp.Request(told.action, resource, workload, user, task, told.context, told.gate, told.location, told.proof)


def random_request(random: Random, world: g.World) -> pdp.Request:
    told = g.make_request(random, world)
    if random.random() < 0.6 or told.workload is None:
        return request_of(told)
    return request_of(told, random.choice(["c1", "c2"]), g.START + random.randint(1, 40) * g.MINUTE)


def fresh(snapshot: Snapshot, request: pdp.Request, now: int) -> Fresh:
    return fresh_of(snapshot, request.data(), credential_of(request.workload), now)


def fresh_of(snapshot: Snapshot, told: RequestData, credential: Credential | None, now: int) -> Fresh:
    bundle, world, revoked = snapshot.policy.bundle, snapshot.world, set(snapshot.revoked.reasons)
    try:
        if told.action in bundle.vocabulary.actions and (told.workload or told.user):
            refuse_revoked(told, credential.name if credential else None, revoked)
            if credential is not None and credential.ends <= now:
                raise Refusal("credential_ended", "")
        inputs = assemble(world, told, now, lambda a, r: bundle.leaves[a, r].footprint)
    except Refusal as refusal:
        return Fresh(False, refusal.code, (), frozenset(), refusal.until)
    answer = bundle.explain(told.action, told.resource.type, inputs, detail=False)
    until = answer.until
    if told.task is not None:
        until = min(until, task_end(bundle.vocabulary.tasks[told.task.kind], told.task))
    if credential is not None:
        until = min(until, credential.ends)
    return Fresh(answer.allowed, answer.reason, answer.rules, frozenset(e.rule for e in answer.errors), until)


def refuse_revoked(told: RequestData, credential: str | None, revoked: set[tuple[str, str]]) -> None:
    if told.task is not None and ("task", told.task.id) in revoked:
        raise Refusal("task_ended", "")
    domain = told.workload.split("/")[2] if told.workload else None
    opener = told.task.opener if told.task is not None else None
    nouns = {("opener", opener), ("credential", credential), ("workload", told.workload), ("trust_domain", domain)}
    if nouns & revoked:
        raise Refusal("revoked", "")


def assert_true_now(decision: pdp.Decision, truth: Fresh, now: int) -> None:
    """The decision is what a fresh evaluation says, and claims no longer life than that gives it."""
    assert (decision.allowed, decision.reason) == (truth.allowed, truth.reason)
    told = {e.rule for e in decision.errors}
    # A remembered allow had no rule in error when it was made. One that comes in error while it is remembered (its `from`
    # has come) is an allow, changes nothing, and is not told; see `docs/decisions.md`.
    assert told == truth.errors or (decision.allowed and not told)
    assert decision.rule in truth.rules if truth.rules else decision.rule is None
    assert now < decision.valid_until_us <= truth.until
