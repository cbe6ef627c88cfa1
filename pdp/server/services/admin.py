"""`pdp.v1.AdminService`: what is in force, reading it anew, and incidents. For callers with the role `admin` alone."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from language import FOREVER, PolicyErrors, render
from pdp.errors import PdpError
from pdp.grants.grant import State
from pdp.grants.reasons import Refused
from pdp.identity import NEVER
from pdp.server.calling import caller_of
from pdp.server.config import BadConfig, Service
from pdp.server.desk import Desk
from pdp.server.handlers import Deadline, Handlers, Method
from pdp.server.peer import Peer
from pdp.server.services.decisions import unfit
from pdp.server.services.looking import no_store, refusal_of
from pdp.service.caller import Caller, Moment
from pdp.service.ending import BY_FREEZE
from pdp.service.tasks import Tasks
from pdp.wire import admin as wire
from pdp.wire.refusals import Unfit

SERVICE = "/pdp.v1.AdminService/"

_Take = Callable[[Any, Caller], bytes]


def admin_handlers(desk: Desk) -> Handlers:
    def status(_: None, caller: Caller) -> bytes:
        return wire.write_status(status_of(desk))

    def reload(_: None, caller: Caller) -> bytes:
        changed, problems = _reload(desk)
        return wire.write_reload(changed, desk.parts.engine.generation, problems)

    def cache_stats(_: None, caller: Caller) -> bytes:
        cache = desk.parts.engine.snapshot.policy.cache
        if cache is None:
            return wire.write_cache_stats(0, 0, 0, 0, 0)
        stats = cache.stats
        return wire.write_cache_stats(len(cache), cache.entries_max, stats.hits, stats.misses, stats.evicted)

    def freeze(asked: wire.Incident, caller: Caller) -> bytes:
        tasks, moment = _tasks(desk)
        with tasks.book.lock:
            stops = tasks.would_stop(moment, caller, asked.noun, asked.name)
            if not asked.plan:
                tasks.freeze(moment, caller, asked.name, asked.why)
            return wire.write_freeze([each.id for each in stops], tasks.book.index.revision)

    def thaw(asked: wire.Incident, caller: Caller) -> bytes:
        tasks, moment = _tasks(desk)
        with tasks.book.lock:
            held = [each.id for each in tasks.book.index.held_by(asked.name) if BY_FREEZE in each.holds]
            tasks.thaw(moment, caller, asked.name, asked.why)
            active = [each for each in held if tasks.book.index.find(each).state is State.ACTIVE]
            return wire.write_thaw(active, tasks.book.index.revision)

    def revoke(asked: wire.Incident, caller: Caller) -> bytes:
        tasks, moment = _tasks(desk)
        if asked.lift:
            tasks.lift(moment, caller, asked.noun, asked.name, asked.why)
            return wire.write_revoke([], tasks.book.index.revision)
        if asked.plan:
            ends = tasks.would_stop(moment, caller, asked.noun, asked.name)
        else:
            ends = tasks.revoke(moment, caller, asked.noun, asked.name, asked.why)
        return wire.write_revoke([each.id for each in ends], tasks.book.index.revision)

    return {
        f"{SERVICE}Status": _method(wire.read_status, status, always=True),
        f"{SERVICE}Reload": _method(wire.read_reload, reload, writes=True, always=True),
        f"{SERVICE}CacheStats": _method(wire.read_cache_stats, cache_stats, always=True),
        f"{SERVICE}Freeze": _method(wire.read_freeze, freeze, writes=True),
        f"{SERVICE}Thaw": _method(wire.read_thaw, thaw, writes=True),
        f"{SERVICE}Revoke": _method(wire.read_revoke, revoke, writes=True),
    }


def status_of(desk: Desk) -> wire.Status:
    parts, grants = desk.parts, desk.grants
    domains = [
        wire.Domain(
            name, bundle.version, bundle.retrieved_us, FOREVER if bundle.fresh_until_us >= NEVER else bundle.fresh_until_us
        )
        for name, bundle in sorted(parts.trust.current.bundles.items())
    ]
    store = None
    if grants is not None:
        index = grants.index
        store = index.incarnation, index.revision, min(FOREVER, index.confirmed_at + grants.bound_us)
    return wire.Status(
        sorted(parts.readiness.lacking()),
        own_version(),
        parts.engine.generation,
        parts.policy_since,
        parts.engine.snapshot.policy.instance,
        parts.started,
        domains,
        store,
        None if parts.record_figures is None else parts.record_figures(),
    )


def own_version() -> str:
    try:
        return version("bulkhead-pdp")
    except PackageNotFoundError:  # run from its sources
        return "0"


def _method(read: Callable[[bytes], Any], take: _Take, *, writes: bool = False, always: bool = False) -> Method:
    def handle(raw: bytes, peer: Peer, deadline: Deadline) -> bytes:
        try:
            return take(read(raw), caller_of(peer))
        except Unfit as found:
            raise unfit(found) from None
        except Refused as refused:
            raise refusal_of(refused) from None

    return Method(handle, Service.ADMIN, waits=True, writes=writes, when_ready=not always)


def _tasks(desk: Desk) -> tuple[Tasks, Moment]:
    grants = desk.grants
    if grants is None or grants.tasks is None:
        raise no_store()
    return grants.tasks, grants.moment()


def _reload(desk: Desk) -> tuple[bool, list[str]]:
    """Here, in the process that writes, and from there in the others. Without a problem all that files say is in force."""
    try:
        changed = desk.parts.reload()
    except PolicyErrors as errors:
        return False, [render(each) for each in errors.diagnostics if each.is_error]
    except BadConfig as error:
        return False, [f"{error.code}: {each}" for each in error.problems]
    except PdpError as error:
        return False, [str(error)]
    return changed, desk.parts.problems()
