"""`pdp.v1.GrantService`: every step of the life of a grant. Bytes are read, the caller verified, and the service asked.

Steps are taken in the process that writes; what is only looked at is answered by any. An idempotency key becomes the id of
the grant that it makes, so that it holds for as long as the grant is known, whatever happens to this process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any, TypeVar

from pdp.grants.grant import EndReason, Grant
from pdp.grants.index import Index
from pdp.grants.people import Role
from pdp.grants.reasons import Refused
from pdp.server.calling import Proof, Step, caller_of, ids_for, with_person, with_proofs
from pdp.server.config import Service
from pdp.server.desk import Desk
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method
from pdp.server.peer import Peer
from pdp.server.reuse import binding_reason
from pdp.server.services.decisions import unfit
from pdp.server.services.looking import SERVICE, handle_for, looking_handlers, no_store, refusal_of
from pdp.service.caller import Caller, Moment
from pdp.service.tasks import Tasks
from pdp.tokens.refusals import Refused as BadCredential
from pdp.wire import grant_answers as answers
from pdp.wire import grants as wire
from pdp.wire.refusals import Unfit

A = TypeVar("A")
_STEPS = {"Open": "opened", "Request": "requested", "Delegate": "delegated"}  # with an idempotency key, as the record says
_NAME = 43  # characters of a digest in an id


def grant_handlers(desk: Desk) -> Handlers:
    steps = _Steps(desk)
    return {
        **{f"{SERVICE}{name}": _method(desk, name, *step) for name, step in steps.table().items()},
        **looking_handlers(desk),
    }


Take = Callable[[A, Caller], bytes]


def _method(desk: Desk, name: str, read: Callable[[bytes], A], take: Take[A]) -> Method:
    def handle(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        caller = caller_of(peer)
        try:
            return take(read(raw), caller)
        except Unfit as found:
            raise unfit(found) from None
        except Refused as refused:
            raise refusal_of(refused) from None

    return Method(handle, Service.GRANTS, waits=True, writes=True)


class _Steps:
    """What takes each step, by the name of its method, with what reads its message."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def table(self) -> dict[str, tuple[Callable[[bytes], Any], Take[Any]]]:
        return {
            "Open": (wire.read_open, self._open),
            "Request": (wire.read_request, self._request),
            "Approve": (wire.read_approve, self._approve),
            "Reject": (wire.read_reject, self._reject),
            "Delegate": (wire.read_delegate, self._delegate),
            "Renew": (wire.read_renew, self._renew),
            "Suspend": (wire.read_suspend, self._suspend),
            "End": (wire.read_end, self._end),
        }

    # ---- giving

    def _open(self, asked: wire.ToOpen, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        about = asked.requested
        caller = self._verified(
            "opened", about, caller, lambda: with_person(self._desk, caller, asked.user_token, Role.USER)
        )
        if asked.requested is not None:
            return self._told(tasks.take_up(moment, caller, asked.requested, asked.opening.facts), caller)
        return self._once(tasks, moment, caller, "Open", asked.once, lambda m: tasks.open(m, caller, asked.opening))

    def _request(self, asked: wire.ToRequest, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        opening = replace(asked.opening, holder=caller.workload or "")
        step = Step(f"{SERVICE}Request", "", asked.covered)

        def verified() -> Caller:
            person = with_person(self._desk, caller, asked.user_token, Role.USER)
            return with_proofs(self._desk, person, step, [Proof(asked.proof, opening.binding.key)])

        known = self._verified("requested", None, caller, verified)
        return self._once(
            tasks, moment, known, "Request", asked.once, lambda m: tasks.request(m, known, opening, asked.opener)
        )

    def _approve(self, asked: wire.ToApprove, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        caller = self._person("approved", asked.yes.grant, caller, asked.token)
        return self._told(tasks.approve(moment, caller, asked.yes), caller)

    def _delegate(self, asked: wire.ToDelegate, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        parent = self._verified("delegated", None, caller, lambda: self._desk.handle(asked.handle)).grant
        step, key = Step(f"{SERVICE}Delegate", asked.handle, asked.covered), _key_of(tasks, parent)
        proofs = [Proof(asked.proof, key)]
        caller = self._verified("delegated", parent, caller, lambda: with_proofs(self._desk, caller, step, proofs))
        return self._once(
            tasks, moment, caller, "Delegate", asked.once, lambda m: tasks.delegate(m, caller, parent, asked.child), parent
        )

    def _renew(self, asked: wire.ToRenew, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        step = Step(f"{SERVICE}Renew", asked.grant, asked.covered)
        proofs = [Proof(asked.proof, _key_of(tasks, asked.grant)), Proof(asked.new_proof, asked.binding.key)]
        caller = self._verified("renewed", asked.grant, caller, lambda: with_proofs(self._desk, caller, step, proofs))
        return self._told(tasks.renew(moment, caller, asked.grant, asked.binding), caller)

    # ---- taking away

    def _reject(self, asked: wire.ToReject, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        caller = self._person("rejected", asked.grant, caller, asked.token)
        return self._told(tasks.reject(moment, caller, asked.grant, asked.why), caller)

    def _suspend(self, asked: wire.ToSuspend, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        if asked.lift:
            return self._told(tasks.resume(moment, caller, asked.grant), caller)
        return self._told(tasks.suspend(moment, caller, asked.grant, asked.why), caller)

    def _end(self, asked: wire.ToEnd, caller: Caller) -> bytes:
        tasks, moment = self._tasks()
        if asked.reason is EndReason.REVOKED and not caller.operator:
            tasks.note_refused(moment, caller, "ended", asked.grant, "not_operator")
            raise Refused("not_operator")
        if asked.reason is EndReason.COMPLETED:
            caller = replace(caller, operator=False)
        with tasks.book.lock:
            index = tasks.book.index
            grant_id = asked.grant if asked.grant is not None else _root_of(index, asked.task or "").id
            living = [each.id for each in index.below(grant_id) if not each.is_over]
            ended = tasks.end(moment, caller, grant_id, asked.why)
            return answers.write_end([ended.id, *living], tasks.book.index.revision)

    # ---- parts of a step

    def _tasks(self) -> tuple[Tasks, Moment]:
        grants = self._desk.grants
        if grants is None or grants.tasks is None:
            raise no_store()
        return grants.tasks, grants.moment()

    def _person(self, what: str, about: str, caller: Caller, token: str | None) -> Caller:
        return self._verified(what, about, caller, lambda: with_person(self._desk, caller, token, Role.APPROVER))

    def _verified(self, what: str, about: str | None, caller: Caller, verify: Callable[[], A]) -> A:
        """What was shown with a step, verified; else the refusal stands in the record like every other."""
        try:
            return verify()
        except BadCredential as refused:
            tasks, moment = self._tasks()
            reason = binding_reason(refused.code) or refused.code
            tasks.note_refused(moment, caller, what, about, reason)
            raise CallRefused("UNAUTHENTICATED", refused.code, str(refused)) from None

    def _once(
        self,
        tasks: Tasks,
        moment: Moment,
        caller: Caller,
        method: str,
        once: wire.Once | None,
        give: Callable[[Moment], Grant],
        parent: str | None = None,
    ) -> bytes:
        """The grant that a step makes; with a key that was used before, the one that it made then, if that is of use."""
        if once is None:
            return self._told(give(moment), caller)
        grant_id, task = ids_for(caller, method if parent is None else f"{method} {parent}", once.key, once.digest)
        if parent is not None:  # a child is of its parent's task, so the message stands in its own id
            grant_id, task = f"{grant_id}{task}", _task_of(tasks, parent)
        ids = cycle((grant_id, task) if parent is None else (grant_id,))
        with tasks.book.lock:
            made = _made(tasks.book.index, grant_id, parent)
            if made is None:
                return self._told(give(replace(moment, new_id=ids.__next__)), caller)
            if made.id != grant_id or made.task != task:
                raise CallRefused("FAILED_PRECONDITION", "key_reused", "the idempotency key was used for something else")
            return self._told(tasks.again(moment, caller, _STEPS[method], made.id), caller)

    def _told(self, grant: Grant, caller: Caller) -> bytes:
        assert self._desk.grants is not None
        handle = handle_for(self._desk, self._desk.grants, grant, caller)
        return answers.write_response(grant, handle, operator=caller.operator)


def _key_of(tasks: Tasks, grant_id: str) -> str | None:
    """The task key that a grant is bound to; whether there is such a grant is said by the step."""
    found = tasks.book.index.grants.get(grant_id)
    return found.binding.key if isinstance(found, Grant) else None


def _task_of(tasks: Tasks, grant_id: str) -> str:
    return tasks.book.index.find(grant_id).task


def _root_of(index: Index, task: str) -> Grant:
    for grant in index.of_task(task):
        if grant.parent is None:
            return grant
    raise Refused("grant_unknown")


def _made(index: Index, grant_id: str, parent: str | None) -> Grant | None:
    """What the key has made: a grant with this id or, of a child, with the part of it that says who, what and which key."""
    if parent is None:
        return index.find(grant_id) if grant_id in index.grants else None
    names = (each for each in index.children.get(parent, ()) if each[:_NAME] == grant_id[:_NAME])
    return next((index.find(each) for each in names), None)
