"""Interceptors that decide each call of a grpcio server before its handler runs: `DecisionInterceptor` and its aio twin.

A table says for each method what its call means: a function from the request message and the context to a `pdp.Request`.
A method that is not in the table is denied. A call whose requests are a stream is decided before the first of them is read,
so its function gets None and sees the context alone: metadata, which are claims, and the peer, which TLS may have proven.

A check inside a process that an attacker controls contains nothing. This one judges the callers of the process.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from language import printable
from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.request import Request
from pdp.sdk.guard import Decides

try:
    import grpc
    import grpc.aio
except ImportError as error:  # pragma: no cover  # the extra is installed where this is tested
    raise ImportError("pdp.sdk.grpc_server needs grpcio: install `bulkhead-pdp[grpc]`") from error

Asks = Callable[[Any, Any], Any]  # (request message or None, context) -> Request; of the aio twin also an awaitable of one

#: Reasons of this gate's own, beside those of decisions.
REASONS = {
    "unknown_method": "the method is not in the gate's table",
    "request_failed": "what the call means could not be told",
    "refused": "the call could not be decided",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: Any
    reason: str
    because: str | None
    decision: Decision | None = None

    @property
    def details(self) -> str:
        because = f": {self.because}" if self.because else ""
        decision = f" (decision {self.decision.id})" if self.decision is not None else ""
        return printable(f"{self.reason}{because}{decision}")

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        found = [("pdp-reason", self.reason)]
        if self.decision is not None:
            found.append(("pdp-decision-id", self.decision.id))
            if self.decision.rule is not None and self.decision.rule.isascii():
                found.append(("pdp-rule", self.decision.rule))
        return tuple(found)


_UNKNOWN_METHOD = _Refusal(grpc.StatusCode.PERMISSION_DENIED, "unknown_method", REASONS["unknown_method"])
_REQUEST_FAILED = _Refusal(grpc.StatusCode.PERMISSION_DENIED, "request_failed", REASONS["request_failed"])


class _Table:
    """What each method means, and which run without a decision."""

    def __init__(self, engine: Decides, methods: Mapping[str, Asks], ungated: Collection[str]) -> None:
        if isinstance(ungated, str):
            raise PdpError("invalid_argument", "ungated: found a text, expected a collection of methods")
        for method in (*methods, *ungated):
            if not method.startswith("/") or method.count("/") != 2:
                raise PdpError("invalid_argument", f"`{method}` is not a method: expected /package.Service/Method")
            if method in methods and method in ungated:
                raise PdpError("invalid_argument", f"`{method}` is both in the table and ungated")
        for method, asks in methods.items():
            if not callable(asks):
                raise PdpError("invalid_argument", f"`{method}`: found {type(asks).__name__}, expected a function")
        self._engine = engine
        self._methods = dict(methods)
        self._ungated = frozenset(ungated)

    def is_ungated(self, method: str) -> bool:
        return method in self._ungated

    def find(self, method: str) -> Asks | None:
        return self._methods.get(method)

    def refusal(self, asks: Asks, message: Any, context: Any) -> _Refusal | None:
        """What to answer instead of running the handler; None lets it run."""
        try:
            asked = asks(message, context)
        except Exception:  # noqa: BLE001  # the edge: what cannot be told is not allowed
            return _failed()
        if inspect.iscoroutine(asked):
            asked.close()
        return self._decide(asked)

    async def refusal_later(self, asks: Asks, message: Any, context: Any) -> _Refusal | None:
        try:
            asked = asks(message, context)
            if inspect.isawaitable(asked):
                asked = await asked
        except Exception:  # noqa: BLE001  # the edge: what cannot be told is not allowed
            return _failed()
        return self._decide(asked)

    def _decide(self, asked: object) -> _Refusal | None:
        if not isinstance(asked, Request):
            _log.error("the meaning of a call is a pdp.Request, not %s", type(asked).__name__)
            return _REQUEST_FAILED
        try:
            decision = self._engine.check(asked)
        except PdpError as error:
            _log.error("a call was refused: %s", error)
            code = grpc.StatusCode.INVALID_ARGUMENT if error.code == "invalid_request" else grpc.StatusCode.UNAVAILABLE
            return _Refusal(code, error.code, REASONS["refused"])
        except Exception:  # noqa: BLE001  # the edge: whatever went wrong, the handler does not run
            _log.exception("a call could not be decided")
            return _Refusal(grpc.StatusCode.INTERNAL, "refused", REASONS["refused"])
        if decision.allowed is not True:
            return _Refusal(grpc.StatusCode.PERMISSION_DENIED, decision.reason, decision.because, decision)
        return None


def _failed() -> _Refusal:
    _log.exception("the meaning of a call could not be told")
    return _REQUEST_FAILED


class DecisionInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """For `grpc.server(..., interceptors=[DecisionInterceptor(engine, {"/pkg.Service/Method": function})])`.

    `ungated` names methods that run without a decision, such as those of a health service.
    """

    def __init__(self, engine: Decides, methods: Mapping[str, Asks], *, ungated: Collection[str] = ()) -> None:
        self._table = _Table(engine, methods, ungated)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if self._table.is_ungated(method):
            return continuation(handler_call_details)
        asks = self._table.find(method)
        if asks is None:
            # Of the widest kind, so that it answers without waiting for a request; it also hides which methods exist.
            return grpc.stream_stream_rpc_method_handler(lambda _, context: _abort(context, _UNKNOWN_METHOD))
        handler = continuation(handler_call_details)
        return handler if handler is None else _gated(handler, self._table, asks)


class AsyncDecisionInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """The same for `grpc.aio.server`; the functions of its table may be coroutine functions."""

    def __init__(self, engine: Decides, methods: Mapping[str, Asks], *, ungated: Collection[str] = ()) -> None:
        self._table = _Table(engine, methods, ungated)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if self._table.is_ungated(method):
            return await continuation(handler_call_details)
        asks = self._table.find(method)
        if asks is None:
            return grpc.stream_stream_rpc_method_handler(_abort_unknown)
        handler = await continuation(handler_call_details)
        return handler if handler is None else _gated_later(handler, self._table, asks)


def _gated(handler: Any, table: _Table, asks: Asks) -> Any:
    behaviour = _behaviour(handler)

    def decide(received: Any, context: Any) -> None:
        refusal = table.refusal(asks, None if handler.request_streaming else received, context)
        if refusal is not None:
            _abort(context, refusal)

    def gated(received: Any, context: Any) -> Any:
        decide(received, context)
        return behaviour(received, context)

    def generated(received: Any, context: Any) -> Iterator[Any]:
        # grpc.aio calls what streams on its loop and iterates in a thread; only there may an abort be waited for.
        decide(received, context)
        yield from behaviour(received, context)

    return _rebuilt(handler, generated if handler.response_streaming else gated)


def _gated_later(handler: Any, table: _Table, asks: Asks) -> Any:
    """As grpc.aio does, tells the kinds of handler apart by what they are: the wrapper has to be of the same kind."""
    behaviour = _behaviour(handler)

    async def decide(received: Any, context: Any) -> None:
        refusal = await table.refusal_later(asks, None if handler.request_streaming else received, context)
        if refusal is not None:
            await _abort_later(context, refusal)

    if inspect.isasyncgenfunction(behaviour):

        async def generated(received: Any, context: Any) -> AsyncIterator[Any]:
            await decide(received, context)
            async with contextlib.aclosing(behaviour(received, context)) as responses:
                async for response in responses:
                    yield response

        return _rebuilt(handler, generated)
    if inspect.iscoroutinefunction(behaviour):

        async def awaited(received: Any, context: Any) -> Any:
            await decide(received, context)
            return await behaviour(received, context)

        return _rebuilt(handler, awaited)
    # A plain function runs in the server's thread pool, where nothing can be awaited.
    return _gated(handler, table, asks)


def _abort(context: Any, refusal: _Refusal) -> Iterator[Any]:
    context.set_trailing_metadata(refusal.trailing_metadata)
    context.abort(refusal.code, refusal.details)  # raises
    raise PermissionError(refusal.details)  # INVARIANT: nothing runs after a refusal, whatever a context does


async def _abort_later(context: Any, refusal: _Refusal) -> None:
    await context.abort(refusal.code, refusal.details, refusal.trailing_metadata)  # raises
    raise PermissionError(refusal.details)  # as above


async def _abort_unknown(_: Any, context: Any) -> None:
    await _abort_later(context, _UNKNOWN_METHOD)


def _behaviour(handler: Any) -> Any:
    kinds = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    return kinds[bool(handler.request_streaming), bool(handler.response_streaming)]


def _rebuilt(handler: Any, behaviour: Any) -> Any:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(behaviour, handler.request_deserializer, handler.response_serializer)
