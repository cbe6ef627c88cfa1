"""Calls as grpcio's completion queue tells of them: one thread takes what has happened, and acts on it at once.

grpcio's own servers put two thread switches, or a task and a wake-up of asyncio, between the queue and a handler; here there
is nothing between them, which makes a call cost half to two thirds (`DECISIONS.md`). Nobody waits in this thread: a call
whose message has not come costs memory only, and what may wait is given to other threads, which send their answers
themselves.

This uses `grpc._cython.cygrpc`, which grpcio's own servers are made of and which is private: `pyproject.toml` bounds the
versions, and the tests of the edge are the contract.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from grpc._cython import cygrpc

from pdp.server.config import Service
from pdp.server.edge import CORRELATION, Edge, Ended, ended_by
from pdp.server.half_open import HalfOpen
from pdp.server.handlers import CallRefused, Deadline, Method, PassOn, StreamMethod, edge_refusal
from pdp.server.native import options
from pdp.server.peer import Peer
from pdp.server.queued import NO_FLAGS, Queued
from pdp.server.shares import COUNTING
from pdp.server.streams import Stream
from pdp.service.rest import Rest

#: Calls that grpcio may hand over before we have asked for another. What waits inside of it, it ends as it likes, innocent
#: callers too; so everything that comes is taken.
ACCEPTING = 64
#: grpcio bounds the bytes of metadata on the wire and hands over all that HPACK makes of them: 16 MB of a block of 4 kB.
METADATA_MAX = 128
#: So much longer than a call may take, its answer may be on its way.
_UNTAKEN_S = 1.0

_LOOK_S = 0.5
_LOOK_NS = int(_LOOK_S * 1e9)
_CANCEL_S = 5.0  # what is cancelled ends at once, or never
_log = logging.getLogger("pdp.server")

_ACCEPT, _SHUT = object(), object()


class CallQueue:
    """A server of grpcio, and the thread that follows its queue."""

    def __init__(self, edge: Edge, loop: asyncio.AbstractEventLoop, *, shared: bool) -> None:
        self.edge, self.loop = edge, loop
        self._server = cygrpc.Server(options(edge.around.limits, shared=shared), False)
        self._queue = cygrpc.CompletionQueue()
        self._server.register_completion_queue(self._queue)
        self._timers: list[tuple[int, int, list[Unary]]] = []  # only this thread's; of a call that is over, empty
        self._half: HalfOpen[Unary] = HalfOpen()  # only this thread's
        self._untaken_at = 0
        self._numbers = count()
        self._lock = threading.Lock()
        # The thread can learn that the server was shut down before the call that does it has returned: it must not destroy
        # it under that call.
        self._native = threading.Lock()
        self._live: set[Queued] = set()
        self._accepting = 0
        self._shutting = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="pdp-calls", daemon=True)

    def add_port(self, address: str, credentials: Any) -> int:
        raw = address.encode()
        if credentials is None:
            return int(self._server.add_http2_port(raw))
        return int(self._server.add_http2_port(raw, credentials._credentials))

    def start(self) -> None:
        self._server.start()
        for _ in range(ACCEPTING):
            self._accept()
        self._thread.start()

    async def stop(self, grace_s: float) -> None:
        """No more calls; those in work have so long, and are then cancelled."""
        if not self._thread.is_alive():
            return
        self._shutting = True
        with self._native:
            self._server.shutdown(self._queue, _SHUT)
        if not await asyncio.to_thread(self._ended.wait, grace_s):
            with self._native:
                if not self._ended.is_set():
                    self._server.cancel_all_calls()
            if not await asyncio.to_thread(self._ended.wait, _CANCEL_S):
                _log.error("calls that were cancelled have not ended", extra={"calls": len(self._live)})
                return  # the thread is a daemon: it ends with the process
        await asyncio.to_thread(self._thread.join)

    def at(self, deadline: Deadline, call: Unary) -> list[Unary]:
        """Ends a call at its deadline, whatever is still going on for it. What this returns keeps the call and its bytes:
        it is emptied when the call is over."""
        timed = [call]
        heapq.heappush(self._timers, (deadline.at_ns, next(self._numbers), timed))
        return timed

    def is_half(self, call: Unary, caller: str) -> None:
        """Its message has not come. It may wait for it, until that takes too long or too many others wait as well."""
        limits = self.edge.around.limits
        ends_ns = time.monotonic_ns() + limits.deadline * 1000
        gone = self._half.add(call, caller, ends_ns, limits.concurrent)
        if gone is not None:
            gone.is_not_coming("overloaded")

    def is_whole(self, call: Unary) -> None:
        self._half.drop(call)

    def is_over(self, call: Queued) -> None:
        with self._lock:
            self._live.discard(call)

    # ---- the thread

    def _follow(self) -> None:
        shut = False
        while not (shut and not self._accepting and not self._live):
            event = self._queue.poll(time.time() + self._until_timer_s())
            try:
                if event.completion_type != cygrpc.CompletionType.queue_timeout:
                    if event.tag is _ACCEPT:
                        self._accepted(event)
                    elif event.tag is _SHUT:
                        shut = True
                    else:
                        event.tag(event)
                self._run_timers()
            except Exception:  # noqa: BLE001  # a call that goes wrong here must not take the others with it
                _log.exception("an event of a call could not be handled")
            event = None  # a reference to a finished call keeps its memory
        with self._native:
            self._server.destroy()
            self._ended.set()

    def _accept(self) -> None:
        self._accepting += 1
        self._server.request_call(self._queue, self._queue, _ACCEPT)

    def _accepted(self, event: Any) -> None:
        self._accepting -= 1
        if event.call_details is None or event.call_details.method is None or not event.success:
            if not self._shutting:
                self._accept()
            return
        if not self._shutting:
            self._accept()
        name = event.call_details.method.decode("utf-8", "replace")
        method = self.edge.methods.get(name)
        call: Queued
        if len(event.invocation_metadata or ()) > METADATA_MAX:
            call = _Refused(self, event, name, edge_refusal("too_large", f"more than {METADATA_MAX} entries of metadata"))
        elif isinstance(method, Method):
            call = Unary(self, event, name, method)
        elif isinstance(method, StreamMethod):
            call = Stream(self, event, name, method)
        else:
            call = _Refused(self, event, name, edge_refusal("unknown_method"))
        with self._lock:
            self._live.add(call)
        call.begin()

    def _until_timer_s(self) -> float:
        soonest = self._timers[0][0] if self._timers else 0
        if (half := self._half.soonest_ns()) is not None:
            soonest = min(soonest, half) if soonest else half
        if not soonest:
            return _LOOK_S
        return min(_LOOK_S, max(0.0, (soonest - time.monotonic_ns()) / 1e9))

    def _run_timers(self) -> None:
        timers, now = self._timers, time.monotonic_ns()
        while timers and timers[0][0] <= now:
            for call in heapq.heappop(timers)[2]:
                call.is_late()
        while (late := self._half.late(now)) is not None:
            late.is_not_coming("deadline_passed")
        if now >= self._untaken_at:
            self._untaken_at = now + _LOOK_NS
            self._end_untaken(now)

    def _end_untaken(self, now: int) -> None:
        """Cancels the calls whose answers nobody takes: until then grpcio holds every byte of them."""
        before = now - self.edge.around.limits.deadline * 1000 - int(_UNTAKEN_S * 1e9)
        with self._lock:
            untaken = [call for call in self._live if call.is_untaken_since(before)]
        for call in untaken:
            call.cancel()


class _Refused(Queued):
    """Ended before anything of it is looked at; of its metadata no more is held than what it is called."""

    __slots__ = ("_refusal",)

    def __init__(self, queue: CallQueue, event: Any, name: str, refusal: CallRefused) -> None:
        super().__init__(queue, event, name)
        self.metadata = tuple(each for each in self.metadata[:METADATA_MAX] if each[0] == CORRELATION)[:1]
        self._refusal = refusal

    def begin(self) -> None:
        super().begin()
        ended = ended_by(self._refusal)
        self.finish(ended)
        self.queue.edge.tell_denied(self, None, b"", ended)


class Unary(Queued):
    """One request, one answer."""

    queue: CallQueue

    __slots__ = ("_began_ns", "_bytes", "_caller", "_method", "_request", "_shown", "_span", "_timed")

    def __init__(self, queue: CallQueue, event: Any, name: str, method: Method) -> None:
        super().__init__(queue, event, name)
        self._method = method
        self._request = b""
        self._began_ns = time.perf_counter_ns()
        self._span: Any = None
        self._shown: Mapping[bytes, Sequence[bytes]] | None = None
        self._caller = ""
        self._bytes: int | None = None  # what it holds, once it is in work
        self._timed: list[Unary] | None = None

    def begin(self) -> None:
        """A caller that may not call is told so at once: nobody waits for its message."""
        super().begin()
        met = self.queue.edge.meet(self, self._method)
        if isinstance(met, Ended):
            self._end(met)
            return
        self._caller = met.name
        self._ask((cygrpc.ReceiveMessageOperation(NO_FLAGS),), self._received)
        self.queue.is_half(self, self._caller)

    def shown(self) -> Mapping[bytes, Sequence[bytes]]:
        if self._shown is None:
            self._shown = super().shown()
        return self._shown

    def is_not_coming(self, code: str) -> None:
        """Its message: the call is ended without."""
        self._end(self.queue.edge.ended(self._method, b"", edge_refusal(code)))

    def _received(self, event: Any) -> None:
        request = event.batch_operations[0].message()
        edge = self.queue.edge
        try:
            self.queue.is_whole(self)
            if request is None:  # cancelled, or ended by the caller without a whole message
                if not self.cancelled:
                    self.is_not_coming("malformed")
                return
            if self._said:  # it came too late
                return
            self._request = request
            self._enter(len(request))
            self._began_ns = time.perf_counter_ns()
            tracer = edge.around.tracer
            self._span = tracer.begin(self.name, self.metadata) if tracer.on else None
            begun = edge.begin(self, self._method, request)
            if isinstance(begun, Ended):
                self._end(begun)
            elif edge.waits(self._method, request):
                self._in_thread(request, *begun)
            else:
                try:
                    ended = edge.run(self, self._method, request, *begun)
                except PassOn:
                    self._in_thread(request, *begun, passed=True)
                except Rest as rest:
                    self._in_thread(request, *begun, rest=rest.go_on)
                else:
                    self._end(ended)
        finally:
            self._happened()

    def _in_thread(
        self,
        request: bytes,
        peer: Peer,
        deadline: Deadline,
        *,
        passed: bool = False,
        rest: Callable[[], bytes] | None = None,
    ) -> None:
        """What waits is brought to its end, also when the caller was answered meanwhile. What only computes is not."""
        edge, method = self.queue.edge, self._method
        computes = rest is not None or (not passed and edge.computes(method, request))
        if self._timed is None:
            self._timed = self.queue.at(deadline, self)

        work = partial(self._work, request, peer, deadline, passed, computes, rest)
        try:
            edge.around.pools.submit(peer.name, work, computes=computes, administers=method.service is Service.ADMIN)
        except CallRefused as refused:
            self._end(edge.ended(method, request, refused))

    def _work(
        self,
        request: bytes,
        peer: Peer,
        deadline: Deadline,
        passed: bool,
        computes: bool,
        rest: Callable[[], bytes] | None,
    ) -> None:
        """In a thread. No closure, which would hold the call in a cycle until garbage is collected."""
        edge, method = self.queue.edge, self._method
        if computes and self.cancelled:
            self._end(edge.ended(method, request, edge_refusal("deadline_passed")))
            return
        try:
            ended = edge.run(self, method, request, peer, deadline, passed=passed, rest=rest)
        except Rest as more:
            raise Rest(partial(self._work, request, peer, deadline, passed, computes, more.go_on)) from None
        except PassOn:  # waiting for another process is for those threads that compute nothing
            self._in_thread(request, peer, deadline, passed=True)
            return
        self._end(ended)

    def is_late(self) -> None:
        if not self._said:
            self._end(self.queue.edge.ended(self._method, self._request, edge_refusal("deadline_passed")))

    def _end(self, ended: Ended) -> None:
        around = self.queue.edge.around
        if not self.claim():
            return
        took_ns = time.perf_counter_ns() - self._began_ns
        around.counters.calls.add((self.name, ended.code), took_ns)
        with COUNTING:
            if self._bytes is not None and ended.answer is not None:
                self._bytes += len(ended.answer)
                around.counters.bytes.add(self._caller, len(ended.answer))
        if self._span is not None:
            around.tracer.end(self._span, ended.code)
        request = self._request  # it is gone once the answer was sent
        self.finish(ended)
        self.queue.edge.tell_denied(self, self._method, request, ended)

    def _enter(self, size: int) -> None:
        """It is in work from now on. What has not come whole is none: anybody can begin a call."""
        counters = self.queue.edge.around.counters
        with COUNTING:
            self._bytes = size
            counters.in_work.add(self._caller, 1)
            counters.bytes.add(self._caller, size)

    def _leave(self) -> None:
        """Not before its answer is on its way: until then it holds bytes."""
        self._request = b""
        if self._timed is not None:
            self._timed.clear()
        counters = self.queue.edge.around.counters
        with COUNTING:
            if self._bytes is not None:
                counters.in_work.add(self._caller, -1)
                counters.bytes.add(self._caller, -self._bytes)
                self._bytes = None
