"""What of `pdp.v1.GrantService` changes nothing: one grant, several, and their changes as they are made.

Answered by any process from what it knows, which is what checks go by; what was not confirmed within its bound is not shown.
Operators may look as well, without the role `grants`: whoever may freeze a workload has to see what it holds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from language import World
from pdp.grants.grant import Grant, State
from pdp.grants.handle import make_handle
from pdp.grants.index import Index
from pdp.grants.people import Role
from pdp.grants.reasons import Refused
from pdp.grants.store import Record
from pdp.server.calling import caller_of, with_person
from pdp.server.changes import Lagging
from pdp.server.config import Service
from pdp.server.desk import Desk
from pdp.server.grants import GrantBook
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, StreamMethod
from pdp.server.peer import Peer
from pdp.server.services.decisions import unfit
from pdp.service.caller import Caller
from pdp.service.seeing import find_seen, list_seen, may_see
from pdp.tokens.refusals import Refused as BadCredential
from pdp.wire import grant_answers as answers
from pdp.wire import grants as wire
from pdp.wire.refusals import Unfit

SERVICE = "/pdp.v1.GrantService/"


def looking_handlers(desk: Desk) -> Handlers:
    def get(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        grants = _grants(desk)
        try:
            asked = wire.read_get(raw)
            caller = with_person(desk, caller_of(peer), asked.token, Role.APPROVER)
            grant = find_seen(_fresh(desk, grants), asked.grant, caller, _world(desk))
            return answers.write_response(grant, handle_for(desk, grants, grant, caller), operator=caller.operator)
        except Unfit as found:
            raise unfit(found) from None
        except BadCredential as refused:
            raise CallRefused("UNAUTHENTICATED", refused.code, str(refused)) from None
        except Refused as refused:
            raise refusal_of(refused) from None

    def list_(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        grants, caller = _grants(desk), caller_of(peer)
        try:
            asked = wire.read_list(raw)
            after = _page(asked.after)
            index = _fresh(desk, grants)
        except Unfit as found:
            raise unfit(found) from None
        except Refused as refused:
            raise refusal_of(refused) from None
        told = {"task": asked.task, "holder": asked.holder, "kind": asked.kind}
        seen = list_seen(index, caller, _world(desk), states=asked.states, **told)
        rest = [grant for grant in seen if after is None or _place(grant) > after]
        page = rest[: asked.size]
        return answers.write_list(page, _token(page[-1]) if len(rest) > len(page) else "", operator=caller.operator)

    async def watch(raws: AsyncIterator[bytes], peer: Peer, deadline: Deadline) -> AsyncGenerator[bytes, None]:
        grants, caller = _grants(desk), caller_of(peer)
        try:
            asked = wire.read_watch(await anext(raws))
        except Unfit as found:
            raise unfit(found) from None
        except StopAsyncIteration:
            return
        with grants.changes.watched() as watcher:
            index = grants.index  # after the watch began: what comes later is told, and what was before stands here
            if asked.after > index.revision:
                raise CallRefused("FAILED_PRECONDITION", "revision_unknown", "the store never had this revision")
            seen = asked.after
            records: Iterable[Record] = index.grants.values()
            while True:
                for grant in _news(records, seen, asked):
                    seen = max(seen, grant.revision)
                    if may_see(grants.index, grant, caller, _world(desk)):
                        yield answers.write_change(grant, grants.index.incarnation, operator=caller.operator)
                try:
                    records, whole = await watcher.next()
                except Lagging:
                    raise CallRefused("RESOURCE_EXHAUSTED", "watch_lagging", "more changes came than were read") from None
                if whole:
                    raise CallRefused("FAILED_PRECONDITION", "revision_unknown", "the store is another one than before")

    return {
        f"{SERVICE}Get": Method(get, Service.GRANTS, for_operators=True),
        f"{SERVICE}List": Method(list_, Service.GRANTS, waits=True, for_operators=True),
        f"{SERVICE}Watch": StreamMethod(watch, Service.GRANTS, for_operators=True),
    }


def handle_for(desk: Desk, grants: GrantBook, grant: Grant, caller: Caller) -> str:
    """The handle, for those who may have it: a name that is of no use without the key."""
    now = desk.parts.clock()
    if caller.workload not in (grant.holder, grant.opener) or grant.state is not State.ACTIVE:
        return ""
    if grant.binding.is_bearer or now >= grant.ends:
        return ""
    return make_handle(grant, desk.names, grants.keys, now)


def refusal_of(refused: Refused) -> CallRefused:
    return CallRefused(answers.status_of(refused), refused.code, refused.message)


def no_store() -> CallRefused:
    message = "this decision point has no store of tasks and grants (`store.path` in its configuration)"
    return CallRefused("FAILED_PRECONDITION", "no_store", message)


def _grants(desk: Desk) -> GrantBook:
    if desk.grants is None:
        raise no_store()
    return desk.grants


def _fresh(desk: Desk, grants: GrantBook) -> Index:
    index = grants.index
    if desk.parts.clock() >= index.confirmed_at + grants.bound_us:
        raise Refused("grants_stale")
    return index


def _world(desk: Desk) -> World:
    return desk.parts.engine.snapshot.world


def _news(records: Iterable[Record], seen: int, asked: wire.ToWatch) -> list[Grant]:
    """In the order in which they were written; of a record that was told before, nothing."""
    found = [
        each
        for each in records
        if isinstance(each, Grant)
        and each.revision > seen
        and (asked.task is None or each.task == asked.task)
        and (asked.holder is None or each.holder == asked.holder)
    ]
    return sorted(found, key=lambda grant: grant.revision)


# ---- pages: in the order in which grants were made, so that a page stays where it is while others are made


def _place(grant: Grant) -> tuple[int, str]:
    return grant.created, grant.id


def _token(grant: Grant) -> str:
    return base64.urlsafe_b64encode(f"{grant.created} {grant.id}".encode()).decode()


def _page(token: str | None) -> tuple[int, str] | None:
    if token is None:
        return None
    try:
        created, _, grant_id = base64.b64decode(token, b"-_", validate=True).decode().partition(" ")
        return int(created), grant_id
    except (binascii.Error, ValueError):
        raise Unfit("malformed_value", "page_token") from None
