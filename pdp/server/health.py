"""`grpc.health.v1`: SERVING only with policy, trust and a fresh store, and not while ending.

Its two messages have one field each, so they are read and written here, by hand and strictly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection

from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, StreamMethod, edge_refusal
from pdp.server.peer import Peer
from pdp.server.readiness import Readiness

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
_LOOK_S = 0.2


def health_handlers(readiness: Readiness, services: Collection[str]) -> Handlers:
    """Answers for the whole server, whose name is empty, and for each service by its full name."""
    known = frozenset({"", SERVICE, *services})

    def check(request: bytes, _: Peer, __: Deadline) -> bytes:
        if _name(request) not in known:
            raise CallRefused("NOT_FOUND", "unknown_service", "there is no such service here")
        return SERVING if readiness.is_serving else NOT_SERVING

    async def watch(requests: AsyncIterator[bytes], _: Peer, __: Deadline) -> AsyncGenerator[bytes, None]:
        """The state now, and whenever it changes. A service that is not known may come to be, so it ends nothing."""
        asked = await anext(requests, None)
        if asked is None:  # ended without a question
            raise edge_refusal("malformed")
        is_known = _name(asked) in known
        told = None
        while True:
            state = SERVICE_UNKNOWN if not is_known else SERVING if readiness.is_serving else NOT_SERVING
            if state != told:
                yield state
                told = state
            await asyncio.sleep(_LOOK_S)

    return {
        f"/{SERVICE}/Check": Method(check, None, when_ready=False),
        f"/{SERVICE}/Watch": StreamMethod(watch, None, when_ready=False),
    }


def _name(request: bytes) -> str:
    """HealthCheckRequest: `string service = 1`. Nothing else is taken for it."""
    if not request:
        return ""
    if len(request) < 2 or request[0] != 0x0A or request[1] > 0x7F or len(request) != 2 + request[1]:
        raise CallRefused("INVALID_ARGUMENT", "invalid_request", "not a HealthCheckRequest")
    try:
        return request[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise CallRefused("INVALID_ARGUMENT", "invalid_request", "not a HealthCheckRequest") from None
