"""What grpcio itself is told of a listener, and what it tells of its connections."""

from __future__ import annotations

import json

from grpc._cython import cygrpc

from pdp.server.config import Limits

#: Requests above this are ended by grpcio itself; between the configured limit and this they get an answer.
MESSAGE_BYTES_HARD = 4 << 20

#: Connections that have not come through the handshake of TLS by then are closed. grpcio alone waits two minutes.
HANDSHAKE_MS = 10_000

#: Calls that wait inside of grpcio, all together: until we take them, or else it ends some of them, whosever they are.
PENDING = 16_384

STATUS = {
    name: getattr(cygrpc.StatusCode, name.lower())
    for name in (
        "OK",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
    )
}


def options(limits: Limits, *, shared: bool) -> tuple[tuple[str, int], ...]:
    """What grpcio itself is told. `shared` lets several processes listen on one port."""
    return (
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_receive_message_length", max(MESSAGE_BYTES_HARD, 2 * limits.message_bytes)),
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        # Otherwise grpcio refuses calls while it holds more of them, also ended ones that Python has not freed yet.
        ("grpc.http.overload_protection", 0),
        ("grpc.server.max_pending_requests", PENDING),
        ("grpc.server.max_pending_requests_hard_limit", PENDING),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.max_connection_idle_ms", limits.idle // 1000),
        ("grpc.server_handshake_timeout_ms", min(limits.idle // 1000, HANDSHAKE_MS)),  # until then it is not even idle
        ("grpc.max_connection_age_ms", limits.connection_age // 1000),
        ("grpc.max_connection_age_grace_ms", limits.drain // 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 4),
    )


def open_connections() -> int:
    """Of all listeners of this process."""
    listed = json.loads(cygrpc.channelz_get_servers(0))
    return sum(_open_of(int(server["ref"]["serverId"])) for server in listed.get("server", ()))


def _open_of(server: int) -> int:
    number, after = 0, 0
    while True:
        page = json.loads(cygrpc.channelz_get_server_sockets(server, after, 0))
        sockets = page.get("socketRef", ())
        number += len(sockets)
        if page.get("end") or not sockets:
            return number
        after = int(sockets[-1]["socketId"]) + 1
