"""One process of the server, from its parts to its end.

It is ready when everything that it serves is bound and can decide. It ends in this order: health says no, so that new
callers go elsewhere; calls in work are finished, no longer than `limits.drain`; the record is written; the process exits.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pdp.engine.revocations import Revocations
from pdp.errors import RecordIncomplete
from pdp.server.admin import AdminServer, Page, page_of
from pdp.server.background import Background
from pdp.server.config import Config, Listener, Service, Tcp, Unix, parse_address, uids_without_socket
from pdp.server.denials import BETWEEN_S
from pdp.server.edge import Around
from pdp.server.follower import Following
from pdp.server.handlers import Deadline, Handlers, Method, edge_refusal
from pdp.server.health import health_handlers
from pdp.server.listeners import Bound, bind
from pdp.server.memory import keep_small
from pdp.server.native import open_connections
from pdp.server.parts import Parts
from pdp.server.peer import Peer
from pdp.server.pools import Pools
from pdp.server.prometheus import CONTENT_TYPE, figures_of, prometheus_text
from pdp.server.reloading import KEPT, Reloading, take_told, told
from pdp.server.table import MakeHandlers, make_handlers
from pdp.server.tls import FilesCertificate, OwnCertificate, WorkloadApiCertificate
from pdp.server.tracing import NO_TRACER, OpenTelemetryTracer
from pdp.server.writer import Writer

CHANNEL = "state.sock"
#: So long a thread that computes keeps the interpreter from the thread of all calls, which asks for it some eight times
#: a call. Beside batches of 1,000 a gate's call took 83 ms with 0.5 ms and 7 ms with this (`bench.floods`).
SWITCH_S = 0.0001

_log = logging.getLogger("pdp.server")


@dataclass(frozen=True, slots=True)
class Started:
    """What a process listens on, with the ports that it got."""

    addresses: tuple[Tcp | Unix, ...]
    admin: Tcp | None


async def run_process(
    parts: Parts,
    runtime: Path | None,
    stop: asyncio.Event,
    on_started: Callable[[Started], None],
    make: MakeHandlers = make_handlers,
    background: Background | None = None,
) -> None:
    """Serves until `stop` is set. `runtime` is where the processes of one server meet; None when there is one only.
    PdpError when something ended that has to go on, in `background` or here."""
    config = parts.config
    background = Background() if background is None else background
    sys.setswitchinterval(SWITCH_S)
    pools = Pools(parts.counters, lambda: parts.config.limits)
    parts.in_turn = pools.in_turn
    own = _own_certificate(parts)
    parts.counters.gauge("connections_open", "connections that are open, on all listeners", open_connections)
    if own is not None:
        says = "until our own certificate ends, and nobody can connect"
        parts.counters.gauge("certificate_fresh_seconds", says, partial(_left_s, own, parts))
    served = make(parts)
    services = {name.split("/")[1] for name in served}
    handlers = {**served, **health_handlers(parts.readiness, services), **_reflection(config, services)}
    writer, following = None, None

    def revoked() -> Revocations:
        return parts.engine.snapshot.revoked

    if runtime is not None and parts.writes:
        where = runtime / CHANNEL
        run = partial(_in_thread_of, pools)
        writer = Writer(where, parts.state, handlers, parts.callers, run, parts.noted, revoked, lambda: told(parts))
        await writer.start(background)
        parts.publish, parts.tell, parts.note = writer.publish, writer.publish_config, writer.note
    elif runtime is not None:
        figures = partial(figures_of, parts.counters)
        configure = partial(take_told, parts)
        following = Following(runtime / CHANNEL, parts.worker, parts.state, figures, parts.noted, configure)
        await following.start(background)
        parts.note, parts.forward = following.note, following.forward
        parts.readiness.require("state", following.lease.lacking)
    around = Around(
        handlers,
        lambda: parts.config,
        parts.readiness,
        parts.counters,
        pools,
        None if following is None else following.forward,
        OpenTelemetryTracer() if config.telemetry.traces else NO_TRACER,
        revoked=revoked,
    )
    trust, shared = parts.trust, config.workers > 1
    bound: list[Bound] = []
    admin: AdminServer | None = None
    try:
        if following is not None:
            await background.until(following.has_state, stop)
            if not following.has_state.is_set():
                return  # asked to end before it was told the state: it never listened
        for listener in _listeners_of(config, parts.worker):
            taken = await bind(listener, around, parts.callers, own, lambda: trust.current, parts.clock, shared=shared)
            bound.append(taken)
        for place, name in uids_without_socket(config, os.geteuid()) if parts.writes else ():
            _log.warning("%s: nobody is %s here: whoever connects to a Unix socket is the user of its listener", place, name)
        admin, admin_address = await _admin(parts, writer)
        if parts.writes and parts.origin is not None:
            kept = None if runtime is None else runtime / KEPT
            # Aside: it looks at the file first, and may have something to tell, which goes over this loop.
            parts.reloading = await asyncio.to_thread(Reloading, parts, parts.origin, kept)
        gc.collect()
        gc.freeze()  # what is loaded by now is never garbage, and need not be looked at for it
        on_started(Started(tuple(b.address for b in bound), admin_address))
        background.keep("the log of denials", _each(BETWEEN_S, around.denials.flush))
        background.keep("giving memory back", keep_small())
        try:
            await background.until(stop)
        finally:
            parts.readiness.drain()
            around.ending.set()
            await asyncio.gather(*(b.stop(config.limits.drain / 1e6) for b in bound))
            bound.clear()
    finally:
        await asyncio.gather(*(b.stop(0) for b in bound))
        await background.close()
        for closes in (admin, writer):
            if closes is not None:
                await closes.close()
        around.denials.flush()
        # Aside: a step that is still being told to the others is told over this loop.
        await asyncio.to_thread(pools.shutdown)
        await asyncio.to_thread(parts.close)
    if parts.unrecorded:
        raise RecordIncomplete(f"{parts.unrecorded} entries could not be written")


def _in_thread_of(pools: Pools, method: Method, request: bytes, peer: Peer, deadline: Deadline) -> Future[bytes]:
    """A call that another process passed on: one that writes, or else one that is decided here."""

    def work() -> bytes:
        if deadline.is_over:  # in a queue: nobody waits for the answer
            raise edge_refusal("deadline_passed")
        return method.handle(request, peer, deadline)

    administers = method.service is Service.ADMIN
    return pools.submit(peer.name, work, computes=not method.writes, administers=administers)


def _left_s(own: OwnCertificate, parts: Parts) -> float:
    return max(0, own.current().not_after_us - parts.clock()) / 1e6


def _reflection(config: Config, services: set[str]) -> Handlers:
    if not (config.development.enabled and config.development.reflection):
        return {}
    from pdp.server.reflection import reflection_handlers

    return reflection_handlers(services)


async def _each(between_s: float, do: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(between_s)
        do()


def _own_certificate(parts: Parts) -> OwnCertificate | None:
    tls, trust = parts.config.tls, parts.trust
    if tls.workload_api is not None:
        return WorkloadApiCertificate(lambda: parts.sources.workload_api.own)
    if tls.certificate is None or tls.key is None:
        return None
    own = FilesCertificate(tls.certificate, tls.key, lambda: trust.current, parts.clock)
    own.current()  # what cannot be shown is told now, and not to the first caller
    return own


def _listeners_of(config: Config, worker: int) -> tuple[Listener, ...]:
    """Several processes can share a port and not the path of a Unix socket: those of the others have their number in it."""
    found = []
    for listener in config.listen:
        if worker and isinstance(parse_address(listener.address), Unix):
            listener = replace(listener, address=f"{listener.address}.{worker}")
        found.append(listener)
    return tuple(found)


async def _admin(parts: Parts, writer: Writer | None) -> tuple[AdminServer | None, Tcp | None]:
    """In the process that writes, which can ask the others."""
    address = parse_address(parts.config.admin.address)
    if not isinstance(address, Tcp) or not parts.writes:
        return None, None
    readiness, workers = parts.readiness, parts.config.workers

    async def metrics() -> Page:
        others = {} if writer is None else await writer.figures()
        text = prometheus_text({parts.worker: figures_of(parts.counters), **others}, workers)
        return Page(200, text.encode(), CONTENT_TYPE)

    async def healthz() -> Page:
        return Page(200, b'{"alive": true}\n')

    async def readyz() -> Page:
        lacking = dict(readiness.lacking())
        if readiness.is_draining:
            lacking["process"] = "is ending"
        return page_of(not lacking, lacking)

    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    if (published := parts.published_keys) is not None:

        async def jwks() -> Page:
            return Page(200, published() + b"\n", "application/jwk-set+json")

        pages["/jwks.json"] = jwks
    server = AdminServer(pages)
    return server, await server.start(address)
