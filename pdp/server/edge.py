"""What every call goes through, whatever carries it: amount, size, time, caller, role, readiness, handler; each step once.

Registered raw: no bytes are decoded before a handler sees them, so what cannot be decoded gets an explicit answer. Whatever
ends a call early is a code of `handlers.EDGE_CODES`, said in the words of the handler's protocol where it has some.

`Exception` is caught here, at the last place before a caller, and is never an allow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from pdp.engine.revocations import Revocations
from pdp.errors import PdpError
from pdp.server.admission import refuse_another, refuse_peer
from pdp.server.config import Config, Limits, Service
from pdp.server.counters import Counters
from pdp.server.denials import Denials, is_denial
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
from pdp.server.pools import Pools
from pdp.server.readiness import Readiness
from pdp.server.tracing import NO_TRACER, Tracer
from pdp.service.rest import Rest

CORRELATION = "x-request-id"
_CORRELATION_MAX = 128
_COMPUTING = 8  # streams that compute: a part of all of so many, for one caller
_STREAM_S_MAX = 365 * 86_400.0  # what bounds a stream is its caller's certificate

_log = logging.getLogger("pdp.server")

#: (method name, request, peer, deadline) -> answer, by the process that writes state.
Forward = Callable[[str, bytes, Peer, Deadline], bytes]
Metadata = Sequence[tuple[str, Any]]


class Call(Protocol):
    """A call as its transport has it."""

    @property
    def name(self) -> str: ...

    @property
    def metadata(self) -> Metadata: ...

    def left_s(self) -> float: ...

    def shown(self) -> Mapping[bytes, Sequence[bytes]]:
        """What the connection has proven."""


FindPeer = Callable[[Call], Peer]  # raises CallRefused


@dataclass(frozen=True, slots=True)
class Around:
    """What all listeners of a process share."""

    handlers: Handlers
    config: Callable[[], Config]  # what is in force
    readiness: Readiness
    counters: Counters
    pools: Pools  # for what waits, and for what takes long
    forward: Forward | None = None  # None: this is the process that writes
    tracer: Tracer = NO_TRACER
    denials: Denials = field(default_factory=Denials)
    revoked: Callable[[], Revocations] = Revocations
    ending: asyncio.Event = field(default_factory=asyncio.Event)  # ends streams, which would go on for ever

    @property
    def limits(self) -> Limits:
        return self.config().limits

    @property
    def recheck_s(self) -> float:
        """How often the caller of an open stream is verified again."""
        return self.config().tls.recheck / 1e6


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ends: with an answer, or with a status and a code."""

    code: str
    answer: bytes | None
    status: str = "OK"
    details: str = ""
    why: str = ""  # of a refusal, whatever words its caller gets


def ended_by(refused: CallRefused) -> Ended:
    """As a status."""
    return Ended(refused.code, None, refused.status, f"{refused.code}: {refused.message}", refused.message)


class Edge:
    """The calls of one listener."""

    def __init__(self, around: Around, find_peer: FindPeer, serves: Iterable[str]) -> None:
        self.around = around
        self._find_peer = find_peer
        self.methods: Mapping[str, Method | StreamMethod] = {name: around.handlers[name] for name in serves}

    # ---- one request, one answer

    def meet(self, call: Call, method: Method | StreamMethod) -> Peer | Ended:
        """Before its message: who calls, if that caller may."""
        try:
            peer = self._find_peer(call)
            refuse_peer(peer, method, self.around.revoked())
            return peer
        except CallRefused as refused:  # held in no name, or it and this frame would hold each other, and the call
            return self._unmet(method, refused)
        except PdpError as error:  # the clock
            return self._unmet(method, refusal_of(error))
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, it is a refusal
            _log.exception("a call failed", extra={"method": call.name, "correlation": correlation(call)})
            return self._unmet(method, edge_refusal("internal"))

    def _unmet(self, method: Method | StreamMethod, refused: CallRefused) -> Ended:
        return self.ended(method, b"", refused) if isinstance(method, Method) else ended_by(refused)

    def begin(self, call: Call, method: Method, request: bytes) -> tuple[Peer, Deadline] | Ended:
        """With its message, all that comes before the handler. Its caller is found again: the message may have come later
        than the call, and what was revoked meanwhile is refused."""
        try:
            return self._admitted(call, method, request)
        except CallRefused as refused:
            return self.ended(method, request, refused)
        except PdpError as error:  # the clock
            return self.ended(method, request, refusal_of(error))
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, it is a refusal
            return self._failed(call, method, request)

    def run(
        self,
        call: Call,
        method: Method,
        request: bytes,
        peer: Peer,
        deadline: Deadline,
        *,
        passed: bool = False,
        rest: Callable[[], bytes] | None = None,
    ) -> Ended:
        """The handler, here or in the process that writes. `PassOn` comes out where it has to be called again, `passed`, by
        somebody who may wait; `Rest` where there is more to do, by somebody who takes turns."""
        try:
            if deadline.is_over:  # in a queue: nobody waits for the answer
                raise edge_refusal("deadline_passed")
            if rest is not None:
                answer = rest()
            elif self.around.forward is not None and (passed or method.writes):
                answer = self.around.forward(call.name, request, peer, deadline)
            else:
                answer = method.handle(request, peer, deadline)
            if deadline.is_over:
                raise edge_refusal("deadline_passed")
            return Ended("ok", answer)
        except Rest:
            raise
        except PassOn:
            if self.around.forward is None or passed or not method.passes:
                return self._failed(call, method, request)
            raise
        except CallRefused as refused:
            return self.ended(method, request, refused)
        except PdpError as error:
            return self.ended(method, request, refusal_of(error))
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, it is a refusal
            return self._failed(call, method, request)

    def ended(self, method: Method, request: bytes, refused: CallRefused) -> Ended:
        """In the words of the handler's protocol, or as a status."""
        for asked in (request, b""):  # the words for no request need nothing of it that could fail
            if method.refused is None:
                break
            try:
                words = method.refused(asked, refused.code)
            except Exception:  # noqa: BLE001  # at last the status of the call says it
                _log.exception("a refusal could not be put into words", extra={"code": refused.code})
                continue
            if words is None:
                break
            return Ended(refused.code, words, why=refused.message)
        return ended_by(refused)

    def tell_denied(self, call: Call, method: Method | None, request: bytes, ended: Ended) -> None:
        """For the operator; what its caller is told does not depend on it."""
        if not is_denial(ended.code, ended.status):
            return

        def named() -> str | None:
            return correlation(call) or (method.names(request) if method is not None and method.names is not None else None)

        self.around.denials.tell(ended.code, call.name, ended.why, named)

    def waits(self, method: Method, request: bytes) -> bool:
        """Whether it is for a thread: it may wait, or take long."""
        return method.waits or self._is_passed_on(method) or self.computes(method, request)

    def computes(self, method: Method, request: bytes) -> bool:
        """Whether callers take turns in it."""
        return (method.computes or len(request) > method.quick_bytes) and not self._is_passed_on(method)

    def _is_passed_on(self, method: Method) -> bool:
        return method.writes and self.around.forward is not None

    def _admitted(self, call: Call, method: Method, request: bytes) -> tuple[Peer, Deadline]:
        around, limits = self.around, self.around.limits
        peer = self.peer_of(call, method)
        counters = around.counters
        administers = method.service is Service.ADMIN
        too_much = counters.in_work.refuses(peer.name, limits.concurrent, "calls in work", administers=administers)
        too_much = too_much or counters.bytes.refuses(peer.name, limits.held_bytes, "bytes in work", administers=administers)
        if too_much:
            raise edge_refusal("overloaded", too_much)
        if len(request) > limits.message_bytes:
            raise edge_refusal("too_large", f"more than {limits.message_bytes} bytes")
        longest_us = limits.step_deadline if method.waits or method.writes else limits.deadline
        left_s = min(call.left_s(), longest_us / 1e6)
        if left_s <= 0:
            raise edge_refusal("deadline_passed")
        return peer, Deadline.after_s(left_s)

    def peer_of(self, call: Call, method: Method | StreamMethod) -> Peer:
        """Who calls, if that caller may and if there is something to decide by."""
        peer = self._find_peer(call)
        refuse_peer(peer, method, self.around.revoked())
        if method.service is not None and method.when_ready and not self.around.readiness.can_decide:
            raise edge_refusal("not_ready", ", ".join(self.around.readiness.lacking()))
        return peer

    def _failed(self, call: Call, method: Method, request: bytes) -> Ended:
        _log.exception("a call failed", extra={"method": call.name, "correlation": correlation(call)})
        return self.ended(method, request, edge_refusal("internal"))

    # ---- streams

    async def stream(
        self, call: Call, method: StreamMethod, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes | Ended, None]:
        """The answers, and at last how it ended."""
        began_ns = time.perf_counter_ns()
        ended = Ended("ok", None)
        try:
            async with aclosing(self._answers(call, method, requests)) as answers:
                async for answer in answers:
                    yield answer
        except CallRefused as refused:
            ended = ended_by(refused)
        except PdpError as error:
            ended = ended_by(refusal_of(error))
        except Exception:  # noqa: BLE001  # as above
            _log.exception("a stream failed", extra={"method": call.name, "correlation": correlation(call)})
            ended = ended_by(edge_refusal("internal"))
        self.around.counters.calls.add((call.name, ended.code), time.perf_counter_ns() - began_ns)
        self.tell_denied(call, None, b"", ended)
        yield ended

    async def _answers(
        self, call: Call, method: StreamMethod, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """The caller is verified again with each answer, and by time (L-2, N-1)."""
        around = self.around
        counters = around.counters
        # Streams that everyone may open are counted apart, or they would keep out those that need a role.
        if (counters.streams_for_all if method.service is None else counters.streams) > around.limits.streams:
            raise edge_refusal("overloaded")
        peer = self.peer_of(call, method)
        theirs = peer.name, method.service is None
        if counters.streams_of[theirs] >= max(1, around.limits.streams // 2):  # nobody has them all
            raise edge_refusal("overloaded", "half of all streams are this caller's")
        if method.computes and counters.computing_of[peer.name] >= max(1, around.limits.streams // _COMPUTING):
            raise edge_refusal("overloaded", "an eighth of all streams are this caller's and ask questions")
        deadline = Deadline.after_s(min(call.left_s(), _STREAM_S_MAX))
        answers = method.handle(self._limited(requests), peer, deadline)
        ending = asyncio.ensure_future(around.ending.wait())
        counters.streams_of[theirs] += 1
        counters.computing_of[peer.name] += method.computes
        next_answer: asyncio.Future[bytes] | None = None
        try:
            while True:
                next_answer = next_answer or asyncio.ensure_future(anext(answers))
                both: set[asyncio.Future[Any]] = {next_answer, ending}
                await asyncio.wait(both, timeout=around.recheck_s, return_when=asyncio.FIRST_COMPLETED)
                refuse_another(peer, self.peer_of(call, method))
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
            counters.streams_of[theirs] -= 1
            if not counters.streams_of[theirs]:
                del counters.streams_of[theirs]
            counters.computing_of[peer.name] -= method.computes
            if not counters.computing_of[peer.name]:
                del counters.computing_of[peer.name]
            ending.cancel()
            if next_answer is not None:
                next_answer.cancel()
                await asyncio.gather(next_answer, return_exceptions=True)
            await answers.aclose()

    async def _limited(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            if len(request) > self.around.limits.message_bytes:
                raise edge_refusal("too_large")
            yield request


def correlation(call: Call) -> str | None:
    """What the caller calls this call, if that may be said back."""
    for key, value in call.metadata:
        if key == CORRELATION:
            fits = isinstance(value, str) and len(value) <= _CORRELATION_MAX and value.isascii() and value.isprintable()
            return value if fits else None
    return None


def trailing(call: Call, ended: Ended) -> tuple[tuple[str, str], ...]:
    """What is told beside the answer, or in its place."""
    named = correlation(call)
    found = () if named is None else ((CORRELATION, named),)
    return found if ended.status == "OK" else (("pdp-code", ended.code), *found)
