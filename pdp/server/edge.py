"""The edge of the server: grpcio takes calls, and this gives them to the table of handlers.

Registered raw: no bytes are decoded before a handler sees them, so what cannot be decoded gets an explicit answer. A call
runs these steps, each once: amount, size, time, caller, role, readiness, handler. Whatever ends a call early is a code of
`handlers.EDGE_CODES`, said in the words of the handler's protocol where it has some.

`Exception` is caught here, at the last place before a caller, and is never an allow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from pdp.errors import PdpError
from pdp.server.config import Limits
from pdp.server.counters import Counters
from pdp.server.handlers import (
    CallRefused,
    Deadline,
    Handlers,
    Method,
    PassOn,
    StreamMethod,
    edge_refusal,
    refusal_of,
)
from pdp.server.peer import Peer
from pdp.server.readiness import Readiness
from pdp.server.tracing import NO_TRACER, Tracer

#: Requests above this are ended by grpcio itself; between the configured limit and this they get an answer.
MESSAGE_BYTES_HARD = 4 << 20

CORRELATION = "x-request-id"
_CORRELATION_MAX = 128

_log = logging.getLogger("pdp.server")

#: (method name, request, peer, deadline) -> answer, by the process that writes state.
Forward = Callable[[str, bytes, Peer, Deadline], bytes]
FindPeer = Callable[[Any], Peer]  # from a call's context; raises CallRefused


@dataclass(frozen=True, slots=True)
class Around:
    """What all listeners of a process share."""

    handlers: Handlers
    limits: Limits
    readiness: Readiness
    counters: Counters
    threads: ThreadPoolExecutor
    forward: Forward | None = None  # None: this is the process that writes
    tracer: Tracer = NO_TRACER
    ending: asyncio.Event = field(default_factory=asyncio.Event)  # ends streams, which would go on for ever
    recheck_s: float = 5.0  # how often the caller of an open stream is verified again


class Edge(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """The calls of one listener."""

    def __init__(self, around: Around, find_peer: FindPeer, serves: Iterable[str]) -> None:
        self._around = around
        self._find_peer = find_peer
        self._methods: Mapping[str, Method | StreamMethod] = {name: around.handlers[name] for name in serves}

    def service(self, handler_call_details: Any) -> Any:
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None  # grpcio answers UNIMPLEMENTED
        make = _Unary if isinstance(method, Method) else _Stream
        return make(self._around, self._find_peer, method, handler_call_details)


class _Call:
    """One call, from its headers to its end. grpcio holds it for exactly so long, and takes it for a method's handler."""

    __slots__ = ("around", "deadline", "details", "find_peer", "method", "name")

    request_streaming = False
    response_streaming = False
    request_deserializer = None
    response_serializer = None

    def __init__(self, around: Around, find_peer: FindPeer, method: Any, details: Any) -> None:
        self.around, self.find_peer, self.method, self.details = around, find_peer, method, details
        self.name: str = details.method

    def admitted(self, context: Any) -> Peer:
        """Who calls, if that caller may and if there is something to decide by."""
        method = self.method
        if method.service is None:
            return self.find_peer(context)
        peer = self.find_peer(context)
        if method.service not in peer.roles or (method.for_gates and peer.gate is None):
            raise edge_refusal("not_permitted", peer.name)
        if method.when_ready and not self.around.readiness.can_decide:
            raise edge_refusal("not_ready", ", ".join(self.around.readiness.lacking()))
        return peer

    def correlation(self) -> str | None:
        """What the caller calls this call, if that may be said back."""
        for key, value in self.details.invocation_metadata or ():
            if key == CORRELATION:
                fits = isinstance(value, str) and len(value) <= _CORRELATION_MAX and value.isascii() and value.isprintable()
                return value if fits else None
        return None

    def limited(self, context: Any, longest_s: float) -> Deadline:
        left_s = context.time_remaining()
        return Deadline.after_s(longest_s if left_s is None else min(left_s, longest_s))

    async def end(self, context: Any, refusal: CallRefused) -> None:
        metadata = [("pdp-code", refusal.code)]
        named = self.correlation()
        if named is not None:
            metadata.append((CORRELATION, named))
        status = getattr(grpc.StatusCode, refusal.status)
        await context.abort(status, f"{refusal.code}: {refusal.message}", tuple(metadata))


class _Unary(_Call):
    __slots__ = ("_counted",)

    def __init__(self, around: Around, find_peer: FindPeer, method: Any, details: Any) -> None:
        super().__init__(around, find_peer, method, details)
        around.counters.in_work += 1
        self._counted = True

    def __del__(self) -> None:
        # INVARIANT: grpcio lets go of this also when the call was cancelled before its request came.
        self._done()

    def _done(self) -> None:
        if self._counted:
            self._counted = False
            self.around.counters.in_work -= 1

    async def unary_unary(self, request: bytes, context: Any) -> bytes | None:
        try:
            return await self._run(request, context)
        finally:
            self._done()

    async def _run(self, request: bytes, context: Any) -> bytes | None:
        began_ns = time.perf_counter_ns()
        counters, tracer = self.around.counters, self.around.tracer
        span = tracer.begin(self.name, self.details.invocation_metadata) if tracer.on else None
        code, refusal, answer = "ok", None, None
        try:
            answer = await self._answer(request, context)
        except CallRefused as refused:
            code, refusal = refused.code, _bare(refused)
        except PdpError as error:
            refusal = refusal_of(error)
            code = refusal.code
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, it is a refusal
            _log.exception("a call failed", extra={"method": self.name, "correlation": self.correlation()})
            code, refusal = "internal", edge_refusal("internal")
        counters.calls[self.name, code].add(time.perf_counter_ns() - began_ns)
        if span is not None:
            tracer.end(span, code)
        if refusal is None:
            named = self.correlation()
            if named is not None:
                context.set_trailing_metadata(((CORRELATION, named),))
            return answer
        answer = self._in_own_words(request, code)
        if answer is None:
            await self.end(context, refusal)
        return answer

    async def _answer(self, request: bytes, context: Any) -> bytes:
        around, method = self.around, self.method
        limits, counters = around.limits, around.counters
        if counters.in_work > limits.concurrent:
            raise edge_refusal("overloaded")
        if len(request) > limits.message_bytes:
            raise edge_refusal("too_large", f"more than {limits.message_bytes} bytes")
        longest_us = limits.step_deadline if method.waits or method.writes else limits.deadline
        deadline = self.limited(context, longest_us / 1e6)
        if deadline.is_over:  # in the queue: nobody waits for the answer
            raise edge_refusal("deadline_passed")
        peer = self.admitted(context)
        forward = around.forward if method.writes else None
        try:
            if forward is None and not method.waits:
                answer: bytes = method.handle(request, peer, deadline)
            else:
                answer = await self._in_thread(forward, request, peer, deadline)
        except PassOn:
            if around.forward is None or not method.passes:
                raise edge_refusal("internal") from None
            answer = await self._in_thread(around.forward, request, peer, deadline)
        if deadline.is_over:
            raise edge_refusal("deadline_passed")
        return answer

    async def _in_thread(self, forward: Forward | None, request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        """The loop waits for a thread no longer than for the deadline. What began in the thread is brought to its end."""
        counters, loop = self.around.counters, asyncio.get_running_loop()
        if counters.waiting >= self.around.limits.waiting:
            raise edge_refusal("overloaded")
        counters.waiting += 1
        if forward is None:
            running = loop.run_in_executor(self.around.threads, self._unless_over, request, peer, deadline)
        else:
            running = loop.run_in_executor(self.around.threads, forward, self.name, request, peer, deadline)
        running.add_done_callback(self._thread_is_done)
        try:
            return await asyncio.wait_for(asyncio.shield(running), max(0.0, deadline.left_s))
        except TimeoutError:
            raise edge_refusal("deadline_passed") from None

    def _unless_over(self, request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        if deadline.is_over:
            raise edge_refusal("deadline_passed")
        found: bytes = self.method.handle(request, peer, deadline)
        return found

    def _thread_is_done(self, running: asyncio.Future[bytes]) -> None:
        self.around.counters.waiting -= 1
        if not running.cancelled():
            running.exception()  # it was told to the caller, or the caller has gone

    def _in_own_words(self, request: bytes, code: str) -> bytes | None:
        refused = self.method.refused
        if refused is None:
            return None
        try:
            found: bytes | None = refused(request, code)
        except Exception:  # noqa: BLE001  # then the status of the call says it
            _log.exception("a refusal could not be put into words", extra={"method": self.name, "code": code})
            return None
        return found


def _bare(refused: CallRefused) -> CallRefused:
    """Without the frames it came through, which hold the call, which would hold it: a circle for each call refused."""
    refused.__context__ = None
    return refused.with_traceback(None)


class _Stream(_Call):
    """Requests and answers one after the other. Its caller is verified again with each answer, and by time (L-2, N-1)."""

    __slots__ = ("_counted",)

    request_streaming = True
    response_streaming = True

    def __init__(self, around: Around, find_peer: FindPeer, method: Any, details: Any) -> None:
        super().__init__(around, find_peer, method, details)
        around.counters.streams += 1
        self._counted = True

    def __del__(self) -> None:
        self._done()  # as above

    def _done(self) -> None:
        if self._counted:
            self._counted = False
            self.around.counters.streams -= 1

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self._run(requests, context)) as answers:
                async for answer in answers:
                    yield answer
        finally:
            self._done()

    async def _run(self, requests: AsyncIterator[bytes], context: Any) -> AsyncGenerator[bytes, None]:
        refusal: CallRefused | None = None
        began_ns = time.perf_counter_ns()
        try:
            async with aclosing(self._answers(requests, context)) as answers:
                async for answer in answers:
                    yield answer
        except CallRefused as refused:
            refusal = _bare(refused)
        except PdpError as error:
            refusal = refusal_of(error)
        except Exception:  # noqa: BLE001  # as above
            _log.exception("a stream failed", extra={"method": self.name, "correlation": self.correlation()})
            refusal = edge_refusal("internal")
        code = "ok" if refusal is None else refusal.code
        self.around.counters.calls[self.name, code].add(time.perf_counter_ns() - began_ns)
        if refusal is not None:
            await self.end(context, refusal)

    async def _answers(self, requests: AsyncIterator[bytes], context: Any) -> AsyncGenerator[bytes, None]:
        around = self.around
        if around.counters.streams > around.limits.streams:
            raise edge_refusal("overloaded")
        peer = self.admitted(context)
        deadline = self.limited(context, 365 * 86_400.0)  # what bounds a stream is its caller's certificate
        answers = self.method.handle(self._limited_requests(requests), peer, deadline)
        ending = asyncio.ensure_future(around.ending.wait())
        next_answer: asyncio.Future[bytes] | None = None
        try:
            while True:
                next_answer = next_answer or asyncio.ensure_future(anext(answers))
                both: set[asyncio.Future[Any]] = {next_answer, ending}
                await asyncio.wait(both, timeout=around.recheck_s, return_when=asyncio.FIRST_COMPLETED)
                self.admitted(context)
                if ending.done():
                    raise edge_refusal("ending")
                if next_answer.done():
                    try:
                        answer = next_answer.result()
                    except StopAsyncIteration:
                        return
                    next_answer = None
                    yield answer
        finally:
            ending.cancel()
            if next_answer is not None:
                next_answer.cancel()
                await asyncio.gather(next_answer, return_exceptions=True)
            await answers.aclose()

    async def _limited_requests(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            if len(request) > self.around.limits.message_bytes:
                raise edge_refusal("too_large")
            yield request


def server_options(limits: Limits, *, shared: bool) -> list[tuple[str, int]]:
    """What grpcio itself is told. `shared` lets several processes listen on one port."""
    return [
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", max(MESSAGE_BYTES_HARD, 2 * limits.message_bytes)),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        ("grpc.max_connection_idle_ms", limits.idle // 1000),
        ("grpc.max_connection_age_ms", limits.connection_age // 1000),
        ("grpc.max_connection_age_grace_ms", limits.drain // 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 4),
    ]
