"""The interceptors against real grpcio servers on a Unix socket: all kinds of call, sync and aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import pdp
from pdp.sdk.grpc_server import AsyncDecisionInterceptor, DecisionInterceptor

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
METHODS = {kind: f"/shop.Tables/{kind}" for kind in KINDS}
DENIED = grpc.StatusCode.PERMISSION_DENIED


def asks(message: bytes | None, context: Any) -> pdp.Request:
    """What is asked stands in the message, and where there is none yet, in the metadata."""
    metadata = dict(context.invocation_metadata())
    table = metadata["table"] if message is None else message.decode()
    return pdp.Request("read", ("Table", table), user=("User", metadata["user"]))


async def asks_later(message: bytes | None, context: Any) -> pdp.Request:
    return asks(message, context)


def raises(message: bytes | None, context: Any) -> pdp.Request:
    raise RuntimeError("a secret detail")


def aborts(message: bytes | None, context: Any) -> pdp.Request:
    context.abort(grpc.StatusCode.NOT_FOUND, "no")
    raise AssertionError


class Service:
    """Handlers of every kind; remembers what ran. Of the streams it counts what it read."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def unary_unary(self, request: bytes, context: Any) -> bytes:
        self.ran.append("unary_unary")
        return request

    def unary_stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.ran.append("unary_stream")
        yield from (request, request)

    def stream_unary(self, requests: Iterator[bytes], context: Any) -> bytes:
        self.ran.append("stream_unary")
        return b"".join(requests)

    def stream_stream(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self.ran.append("stream_stream")
        yield from requests


class AsyncService(Service):
    async def unary_unary(self, request: bytes, context: Any) -> bytes:  # type: ignore[override]  # the aio form
        self.ran.append("unary_unary")
        return request

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:  # type: ignore[override]  # likewise
        self.ran.append("unary_stream")
        for response in (request, request):
            yield response

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:  # type: ignore[override]  # likewise
        self.ran.append("stream_unary")
        return b"".join([r async for r in requests])

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:  # type: ignore[override]  # likewise
        """The other way of writing a stream."""
        self.ran.append("stream_stream")
        async for request in requests:
            await context.write(request)


def handlers(service: Service) -> Any:
    made = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(service, kind)) for kind in KINDS}
    return grpc.method_handlers_generic_handler("shop.Tables", made)


Call = Callable[[str, bytes, dict[str, str]], bytes]


def invoke(channel: Any, method: str, message: bytes, metadata: dict[str, str]) -> bytes:
    """One call as a client makes it; the answer's messages in one."""
    kind = method.rpartition("/")[2]
    kind = kind if kind in KINDS else "unary_unary"
    call = getattr(channel, kind)(method)
    sent = iter([message[:1], message[1:]]) if kind.startswith("stream") else message
    found = call(sent, metadata=tuple(metadata.items()), timeout=20)
    return found if isinstance(found, bytes) else b"".join(found)


def serve_sync(address: str, service: Service, interceptor: Any) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    server.add_generic_rpc_handlers((handlers(service),))
    server.add_insecure_port(address)
    server.start()
    yield address
    server.stop(None).wait()


Outcome = tuple[Any, str, dict[str, str]]


def run(
    flavour: str, tmp_path: Path, service: Service, interceptor: Any, method: str, message: bytes, metadata: dict[str, str]
) -> bytes | Outcome:
    """What the client of a served call gets: the bytes, or code, message and trailing metadata."""
    address = f"unix:{tmp_path}/s"

    def call() -> bytes | Outcome:
        with grpc.insecure_channel(address) as channel:
            try:
                return invoke(channel, method, message, metadata)
            except grpc.RpcError as error:
                trailing = {k: v for k, v in error.trailing_metadata() or () if k.startswith("pdp-")}
                return error.code(), error.details(), trailing

    async def serve() -> bytes | Outcome:
        server = grpc.aio.server(interceptors=[interceptor], migration_thread_pool=ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((handlers(service),))
        server.add_insecure_port(address)
        await server.start()
        try:
            return await asyncio.to_thread(call)
        finally:
            await server.stop(None)

    if flavour != "sync":
        return asyncio.run(serve())
    serving = serve_sync(address, service, interceptor)
    next(serving)
    try:
        return call()
    finally:
        next(serving, None)


FLAVOURS = {
    "sync": (Service, DecisionInterceptor, asks),
    "aio": (AsyncService, AsyncDecisionInterceptor, asks),
    "aio, told later": (AsyncService, AsyncDecisionInterceptor, asks_later),
    "aio, plain handlers": (Service, AsyncDecisionInterceptor, asks),
}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_call(engine: pdp.Engine, tmp_path: Path, flavour: str, kind: str) -> None:
    serves, intercepts, tells = FLAVOURS[flavour]
    interceptor = intercepts(engine, dict.fromkeys(METHODS.values(), tells))
    service = serves()
    expected = b"peoplepeople" if kind == "unary_stream" else b"people"
    allowed = run(flavour, tmp_path, service, interceptor, METHODS[kind], b"people", {"user": "ada", "table": "people"})
    assert (allowed, service.ran) == (expected, [kind])

    service = serves()
    denied = run(flavour, tmp_path, service, interceptor, METHODS[kind], b"people", {"user": "bob", "table": "people"})
    assert isinstance(denied, tuple)
    code, details, trailing = denied
    assert (code, service.ran) == (DENIED, [])
    assert details == f"denied: personal data is not for bob (decision {trailing['pdp-decision-id']})"
    assert (trailing["pdp-reason"], trailing["pdp-rule"]) == ("denied", "personal")


BOTH = ["sync", "aio"]


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def check(self, request: pdp.Request, /) -> pdp.Decision:
        raise self.error


@pytest.mark.parametrize("flavour", BOTH)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("tells", "error", "code", "reason"),
    [
        (raises, None, DENIED, "request_failed"),
        (lambda message, context: None, None, DENIED, "request_failed"),
        (lambda message, context: True, None, DENIED, "request_failed"),
        (lambda message: pdp.Request("read", ("Table", "tags"), user=("User", "ada")), None, DENIED, "request_failed"),
        (lambda m, c: pdp.Request("read", "tags"), None, grpc.StatusCode.INVALID_ARGUMENT, "invalid_request"),
        (lambda m, c: pdp.Request("read", ("Table", "tags")), None, DENIED, "no_subject"),
        (asks, RuntimeError("a secret detail"), grpc.StatusCode.INTERNAL, "refused"),
        (asks, pdp.PdpError("invalid_data", "a secret detail"), grpc.StatusCode.UNAVAILABLE, "invalid_data"),
    ],
)
def test_never_runs_the_handler(
    engine: pdp.Engine, tmp_path: Path, flavour: str, kind: str, tells: Any, error: Exception | None, code: Any, reason: str
) -> None:
    serves, intercepts, _ = FLAVOURS[flavour]
    interceptor = intercepts(Broken(error) if error is not None else engine, {METHODS[kind]: tells})
    service = serves()
    found = run(flavour, tmp_path, service, interceptor, METHODS[kind], b"tags", {"user": "ada", "table": "tags"})
    assert isinstance(found, tuple)
    assert (found[0], found[2]["pdp-reason"], service.ran) == (code, reason, [])
    assert "secret" not in found[1]


@pytest.mark.filterwarnings("ignore:coroutine '_ServicerContext.abort'")
@pytest.mark.parametrize("flavour", BOTH)
def test_a_function_that_aborts_by_itself_ends_the_call(engine: pdp.Engine, tmp_path: Path, flavour: str) -> None:
    serves, intercepts, _ = FLAVOURS[flavour]
    service = serves()
    interceptor = intercepts(engine, {METHODS["unary_unary"]: aborts})
    found = run(flavour, tmp_path, service, interceptor, METHODS["unary_unary"], b"tags", {"user": "ada"})
    assert isinstance(found, tuple)
    assert service.ran == []


def test_a_coroutine_tells_nothing_to_a_server_that_cannot_wait(engine: pdp.Engine, tmp_path: Path) -> None:
    service = Service()
    interceptor = DecisionInterceptor(engine, {METHODS["unary_unary"]: asks_later})
    found = run("sync", tmp_path, service, interceptor, METHODS["unary_unary"], b"tags", {"user": "ada"})
    assert (found[0], service.ran) == (DENIED, [])


@pytest.mark.parametrize("flavour", BOTH)
@pytest.mark.parametrize(
    "method", [*METHODS.values(), "/shop.Tables/Missing", "/shop.Tables/Unary_unary", "/other/unary_unary"]
)
def test_a_method_that_is_not_in_the_table(engine: pdp.Engine, tmp_path: Path, flavour: str, method: str) -> None:
    serves, intercepts, tells = FLAVOURS[flavour]
    service = serves()
    interceptor = intercepts(engine, {"/shop.Tables/unary": tells})
    found = run(flavour, tmp_path, service, interceptor, method, b"tags", {"user": "ada", "table": "tags"})
    assert found == (DENIED, "unknown_method: the method is not in the gate's table", {"pdp-reason": "unknown_method"})
    assert service.ran == []


@pytest.mark.parametrize("flavour", BOTH)
def test_a_denied_stream_is_not_waited_for(engine: pdp.Engine, tmp_path: Path, flavour: str) -> None:
    """A client that opens a stream and sends nothing gets its denial all the same."""
    serves, intercepts, tells = FLAVOURS[flavour]
    service = serves()
    for methods in ({METHODS["stream_unary"]: tells}, {"/shop.Tables/other": tells}):
        interceptor = intercepts(engine, methods)
        metadata = {"user": "bob", "table": "people"}
        found = run(flavour, tmp_path, service, interceptor, METHODS["stream_unary"], b"", metadata)
        assert (found[0], service.ran) == (DENIED, [])


@pytest.mark.parametrize("flavour", BOTH)
def test_ungated_methods_run(engine: pdp.Engine, tmp_path: Path, flavour: str) -> None:
    serves, intercepts, _ = FLAVOURS[flavour]
    service = serves()
    interceptor = intercepts(engine, {}, ungated=[METHODS["unary_unary"]])
    assert run(flavour, tmp_path, service, interceptor, METHODS["unary_unary"], b"up", {}) == b"up"
    assert run(flavour, tmp_path, service, interceptor, METHODS["unary_stream"], b"up", {})[0] == DENIED
    in_table = intercepts(engine, {"/shop.Tables/Missing": asks})
    assert run(flavour, tmp_path, service, in_table, "/shop.Tables/Missing", b"", {})[0] == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("methods", "ungated"),
    [
        ({"shop.Tables/unary": asks}, ()),
        ({"/shop.Tables/*/x": asks}, ()),
        ({"/shop.Tables/unary": "asks"}, ()),
        ({"/shop.Tables/unary": asks}, ["/shop.Tables/unary"]),
        ({}, ["health"]),
        ({}, "/shop.Tables/unary"),
    ],
)
def test_refuses_a_table_that_says_nothing(engine: pdp.Engine, methods: Any, ungated: Any) -> None:
    for intercepts in (DecisionInterceptor, AsyncDecisionInterceptor):
        with pytest.raises(pdp.PdpError, match="invalid_argument"):
            intercepts(engine, methods, ungated=ungated)
