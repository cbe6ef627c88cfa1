"""gRPC requests through a real Envoy: a call is `POST /package.Service/Method`, and is decided like any other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from tests.envoy.stand import BILLING, HOST, STRANGER, Stand
from tests.envoy.tunnel import Tunnel
from tools.programs import Envoy


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio ships no types
    """Answers with the request, and keeps the metadata of calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, str]] = []

    def service(self, details: Any) -> Any:
        self.calls.append({"method": details.method, **dict(details.invocation_metadata)})
        if details.method.endswith("/Watch"):
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Service, int]]:
    handler = Service()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(0).wait()


@pytest.fixture(scope="module")
def gate(stand: Stand, service: tuple[Service, int]) -> Envoy:
    return stand.gate("http.yaml", "grpc", back_end_port=service[1])


@contextmanager
def channel(stand: Stand, gate: Envoy, caller: str = BILLING) -> Iterator[grpc.Channel]:
    """HTTP/2 over mTLS. A name of SPIFFE is no host name, which grpcio insists on, so TLS is a tunnel of our own."""
    with Tunnel(lambda: stand.connect(gate, stand.identities.svid(caller), "h2")) as tunnel:
        address = f"127.0.0.1:{tunnel.port}"
        with grpc.insecure_channel(address, [("grpc.default_authority", HOST)]) as found:
            yield found


def test_a_call_is_decided_and_comes_through(stand: Stand, gate: Envoy, service: tuple[Service, int]) -> None:
    with channel(stand, gate) as found:
        metadata = (("x-workload", "spiffe://prod.acme/root"),)
        assert found.unary_unary("/app.Pages/Read")(b"question", metadata=metadata, timeout=10) == b"question"
    call = service[0].calls[-1]
    assert (call["method"], call["x-workload"]) == ("/app.Pages/Read", BILLING)
    assert stand.decided(call["x-decision"])["request"]["resource"] == ["Page", "grpc"]


def test_a_stream_is_decided_once_when_it_begins(stand: Stand, gate: Envoy, service: tuple[Service, int]) -> None:
    with channel(stand, gate) as found:
        questions = (f"{n}".encode() for n in range(50))
        assert [*found.stream_stream("/app.Pages/Watch")(questions, timeout=10)] == [f"{n}".encode() for n in range(50)]
    call = service[0].calls[-1]
    assert stand.decided(call["x-decision"])["request"]["resource"] == ["Page", "stream"]


@pytest.mark.parametrize(
    ("method", "caller", "status"),
    [
        ("/app.Pages/Read", STRANGER, grpc.StatusCode.PERMISSION_DENIED),
        ("/app.Pages/Write", BILLING, grpc.StatusCode.PERMISSION_DENIED),
        ("/app.pages/Read", BILLING, grpc.StatusCode.PERMISSION_DENIED),
        ("/app.Pages//Read", BILLING, grpc.StatusCode.INTERNAL),  # HTTP 400, in Envoy's words for gRPC
        ("//app.Pages/Read", BILLING, grpc.StatusCode.INTERNAL),
    ],
)
def test_other_calls_are_denied(
    stand: Stand, gate: Envoy, service: tuple[Service, int], method: str, caller: str, status: grpc.StatusCode
) -> None:
    before = len(service[0].calls)
    with channel(stand, gate, caller) as found, pytest.raises(grpc.RpcError) as failed:
        found.unary_unary(method)(b"question", timeout=10)
    assert failed.value.code() is status, failed.value
    assert len(service[0].calls) == before
