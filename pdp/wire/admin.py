"""`pdp.v1.AdminService`: bytes -> what an operator wants, and back what it did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from language import FOREVER
from pdp.wire.grants import WHY_MAX
from pdp.wire.messages import PDP
from pdp.wire.refusals import Unfit
from pdp.wire.strict import need_text, parse, take_text
from pdp.wire.values import put_moment

#: The nouns of a revocation, by the names that the protocol has for them.
NOUNS = ("grant", "task", "workload", "certificate", "gate", "trust_domain", "opener")


@dataclass(frozen=True, slots=True)
class Incident:
    """A freeze, a thaw or a revocation. `plan` says what would stop, and stops nothing."""

    noun: str
    name: str
    why: str
    plan: bool = False
    lift: bool = False


@dataclass(frozen=True, slots=True)
class Domain:
    """What is known of a trust domain."""

    name: str
    version: str
    refreshed_us: int
    fresh_until_us: int


@dataclass(frozen=True, slots=True)
class Status:
    not_ready: Sequence[str]
    version: str
    generation: str
    policy_since_us: int
    instance: str
    started_us: int
    trust: Sequence[Domain]
    store: tuple[str, int, int] | None  # incarnation, revision, fresh until
    record: tuple[int, str, int] | None  # sequence, head, dropped


def read_status(raw: bytes) -> None:
    parse(PDP.StatusRequest, raw)


def read_reload(raw: bytes) -> None:
    parse(PDP.ReloadRequest, raw)


def read_cache_stats(raw: bytes) -> None:
    parse(PDP.CacheStatsRequest, raw)


def read_freeze(raw: bytes) -> Incident:
    message = parse(PDP.FreezeRequest, raw)
    return Incident("workload", need_text(message, "workload"), take_text(message, "why", WHY_MAX) or "", message.plan)


def read_thaw(raw: bytes) -> Incident:
    message = parse(PDP.ThawRequest, raw)
    return Incident("workload", need_text(message, "workload"), take_text(message, "why", WHY_MAX) or "")


def read_revoke(raw: bytes) -> Incident:
    message = parse(PDP.RevokeRequest, raw)
    noun = message.WhichOneof("what")
    if noun is None:
        raise Unfit("missing_field", ", ".join(NOUNS))
    if message.plan and message.lift:
        raise Unfit("conflicting_fields", "plan and lift")
    why = take_text(message, "why", WHY_MAX) or ""
    return Incident(noun, need_text(message, noun), why, message.plan, message.lift)


# ---- answers


def write_status(status: Status) -> bytes:
    response = PDP.StatusResponse(
        ready=not status.not_ready,
        not_ready=list(status.not_ready),
        version=status.version,
        generation=status.generation,
        instance=status.instance,
    )
    put_moment(response.policy_since, status.policy_since_us)
    put_moment(response.started, status.started_us)
    for domain in status.trust:
        told = response.trust.add(name=domain.name, bundle_version=domain.version)
        put_moment(told.refreshed, domain.refreshed_us)
        if domain.fresh_until_us < FOREVER:
            put_moment(told.stale_after, domain.fresh_until_us)
    if status.store is not None:
        response.store.incarnation, response.store.revision = status.store[:2]
        if status.store[2] < FOREVER:
            put_moment(response.store.fresh_until, status.store[2])
    if status.record is not None:
        response.record.sequence, response.record.head, response.record.dropped = status.record
    return bytes(response.SerializeToString())


def write_reload(changed: bool, generation: str, problems: Iterable[str]) -> bytes:
    return bytes(PDP.ReloadResponse(changed=changed, generation=generation, problems=list(problems)).SerializeToString())


def write_cache_stats(entries: int, entries_max: int, hits: int, misses: int, evictions: int) -> bytes:
    told = PDP.CacheStatsResponse(entries=entries, entries_max=entries_max, hits=hits, misses=misses, evictions=evictions)
    return bytes(told.SerializeToString())


def write_freeze(grants: Iterable[str], revision: int) -> bytes:
    return bytes(PDP.FreezeResponse(grants=list(grants), revision=revision).SerializeToString())


def write_thaw(grants: Iterable[str], revision: int) -> bytes:
    return bytes(PDP.ThawResponse(grants=list(grants), revision=revision).SerializeToString())


def write_revoke(grants: Iterable[str], revision: int) -> bytes:
    return bytes(PDP.RevokeResponse(grants=list(grants), revision=revision).SerializeToString())
