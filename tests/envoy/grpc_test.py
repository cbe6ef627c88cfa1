"""gRPC requests through a real Envoy: a call is `POST /package.Service/Method`, and is decided like any other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from tests.envoy.programs import Envoy
from tests.envoy.stand import BILLING, HOST, STRANGER, Stand


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
    return stand.gate("http.yaml", "grpc", service=f"spiffe://prod.acme/ns/{'api'}", back_end_port=service[1])


def channel(stand: Stand, gate: Envoy, caller: str = BILLING) -> Any:
    """HTTP/2 over mTLS. Names of SPIFFE are no host names, so TLS is a tunnel of our own before grpcio."""
    svid = stand.identities.svid(caller)
    port = stand.stack.enter_context(Tunnel(stand, gate, svid)).port
    return grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.default_authority", HOST)])
