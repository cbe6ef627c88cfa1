"""What a server is built around: a table from the full name of a method to what answers it.

A handler takes bytes and knows no transport: who calls is a `Peer`, how long there is a `Deadline`. Whatever it returns are
the bytes of the answer. Handlers that decide are quick and run where the call arrives; those that may wait, for a disk
or for another process, say so and get a thread.

A handler that can refuse in the words of its own protocol says how: `refused(request, code)` gives a complete answer. Envoy
needs that, because a failed call is not a denial where someone has set `failure_mode_allow`. Without it, or where it
returns None, the call ends with the gRPC status of the code.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from pdp.errors import PdpError
from pdp.server.config import Service
from pdp.server.peer import Peer

#: Why a call ended before or without its handler, and the gRPC status that says so. Stable: callers and metrics see them.
EDGE_CODES = {
    "unknown_method": ("UNIMPLEMENTED", "there is no such method here"),
    "unauthenticated": ("UNAUTHENTICATED", "who calls is not proven, or not any more"),
    "not_permitted": ("PERMISSION_DENIED", "who calls may not call this"),
    "revoked": ("PERMISSION_DENIED", "who calls was frozen or revoked: the workload, its certificate, trust domain or gate"),
    "rights_changed": ("UNAVAILABLE", "what the caller of a stream may say or do was changed; it can begin anew"),
    "not_ready": ("UNAVAILABLE", "there is no policy, trust or store to decide by now"),
    "overloaded": ("RESOURCE_EXHAUSTED", "more calls are in work than may be"),
    "malformed": ("INVALID_ARGUMENT", "the call ended without a whole request"),
    "too_large": ("RESOURCE_EXHAUSTED", "the request is larger than is taken"),
    "deadline_passed": ("DEADLINE_EXCEEDED", "the caller's time, or ours, was over before an answer"),
    "no_writer": ("UNAVAILABLE", "the process that writes state cannot be reached now; the call changed nothing"),
    "outcome_unknown": ("UNKNOWN", "the process that writes state went away in the middle: the call may have taken effect"),
    "ending": ("UNAVAILABLE", "the server is ending"),
    "internal": ("INTERNAL", "an error of the server"),
}

#: The status of a PdpError that a handler raises; others are UNAVAILABLE.
_STATUS = {"invalid_request": "INVALID_ARGUMENT", "invalid_argument": "INVALID_ARGUMENT", "invalid_data": "INVALID_ARGUMENT"}


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an answer is of no use any more, on the monotonic clock."""

    at_ns: int

    @classmethod
    def after_s(cls, seconds: float) -> Deadline:
        return cls(time.monotonic_ns() + int(seconds * 1e9))

    @property
    def left_s(self) -> float:
        return (self.at_ns - time.monotonic_ns()) / 1e9

    @property
    def is_over(self) -> bool:
        return time.monotonic_ns() >= self.at_ns


class PassOn(Exception):
    """Only the process that writes can answer this call: what it needs is remembered in one place."""


class CallRefused(Exception):
    """Ends a call with a gRPC status by its name, and a stable code. A handler may raise it; so does the edge."""

    def __init__(self, status: str, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def edge_refusal(code: str, detail: str = "") -> CallRefused:
    status, says = EDGE_CODES[code]
    return CallRefused(status, code, f"{says}: {detail}" if detail else says)


def refusal_of(error: PdpError) -> CallRefused:
    return CallRefused(_STATUS.get(error.code, "UNAVAILABLE"), error.code, error.message)


Handle = Callable[[bytes, Peer, Deadline], bytes]
Refuses = Callable[[bytes, str], bytes | None]
HandleStream = Callable[[AsyncIterator[bytes], Peer, Deadline], AsyncGenerator[bytes, None]]


_ANY = 1 << 62


@dataclass(frozen=True, slots=True)
class Method:
    """One answer for one request.

    `service` is the role that a caller needs; None is for everyone. `for_operators` says that the role `admin` will do, too.
    `for_gates` demands an entry in `peps` besides. `waits` gives it a thread; `computes`, the one thread in which callers
    take turns, and so does a request of more than `quick_bytes`: nothing that can take long runs where the calls of all
    arrive. A handler that finds out that it would take long raises the `Rest` of it, for the same thread. `writes` runs it
    in the one process that writes state, wherever the call arrives; `passes` lets the handler say so of a single call, by
    raising `PassOn`. `when_ready` refuses it as `not_ready` while there is nothing to decide by.
    `names` is what a request is called, where its protocol says so inside it.
    """

    handle: Handle
    service: Service | None
    refused: Refuses | None = None
    for_gates: bool = False
    waits: bool = False
    writes: bool = False
    passes: bool = False
    when_ready: bool = True
    names: Callable[[bytes], str | None] | None = None
    for_operators: bool = False
    computes: bool = False
    quick_bytes: int = _ANY

    def overloaded(self, request: bytes) -> bytes | None:
        """The quick denial: the answer that says that there are too many calls, in the handler's own words."""
        return None if self.refused is None else self.refused(request, "overloaded")


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """Requests in, answers out, on the server's loop: its handler waits by `await` only. One request is a stream, too."""

    handle: HandleStream
    service: Service | None
    for_gates: bool = False
    when_ready: bool = True
    for_operators: bool = False
    computes: bool = False  # each request is one for callers to take turns in


#: By full name, `/package.Service/Method`.
Handlers = Mapping[str, Method | StreamMethod]
