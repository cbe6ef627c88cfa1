"""One call, as what grpcio tells of it arrives: what every kind of call has."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from grpc._cython import cygrpc

from pdp.server.edge import Edge, Ended, Metadata, trailing
from pdp.server.native import STATUS

NO_FLAGS = 0


class Queue(Protocol):
    """Where it arrived."""

    edge: Edge
    loop: asyncio.AbstractEventLoop

    def is_over(self, call: Queued) -> None: ...


class Queued:
    """A call, until everything that was asked of grpcio about it has happened."""

    __slots__ = ("_due", "_finished_ns", "_guard", "_raw", "_said", "cancelled", "deadline_s", "metadata", "name", "queue")

    def __init__(self, queue: Queue, event: Any, name: str) -> None:
        self.queue, self.name = queue, name
        self.metadata: Metadata = event.invocation_metadata or ()
        self.deadline_s: float = event.call_details.deadline
        self._raw = event.call
        self._guard = threading.Lock()
        self._due = 0
        self._said = False
        self._finished_ns = 0
        self.cancelled = False

    def begin(self) -> None:
        self._ask((cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS),), self._closed)

    def left_s(self) -> float:
        return self.deadline_s - time.time()

    def shown(self) -> Mapping[bytes, Sequence[bytes]]:
        found: Mapping[bytes, Sequence[bytes]] = cygrpc.auth_context(self._raw) or {}
        return found

    def claim(self) -> bool:
        """Whether it is for whoever asks to say how the call ended: the first one does."""
        with self._guard:
            first, self._said = not self._said, True
        return first

    def is_untaken_since(self, ns: int) -> bool:
        """Whether it was answered before then; what is told of calls that are not over."""
        return 0 < self._finished_ns < ns

    def cancel(self) -> None:
        self._finished_ns = 0
        self._raw.cancel()

    def finish(self, ended: Ended) -> None:
        """Sends how the call ended."""
        self._finished_ns = time.monotonic_ns()
        operations = [] if self._has_begun_to_answer else [cygrpc.SendInitialMetadataOperation((), NO_FLAGS)]
        if ended.answer is not None:
            operations.append(cygrpc.SendMessageOperation(ended.answer, NO_FLAGS))
        told = trailing(self, ended)
        status, details = STATUS[ended.status], ended.details.encode()
        operations.append(cygrpc.SendStatusFromServerOperation(told, status, details, NO_FLAGS))
        self._ask(operations, self._sent)

    @property
    def _has_begun_to_answer(self) -> bool:
        return False

    def _ask(self, operations: Sequence[Any], then: Callable[[Any], None]) -> None:
        with self._guard:
            self._due += 1
        try:
            self._raw.start_server_batch(operations, then)
        except Exception:
            self._happened()
            raise

    def _happened(self) -> None:
        with self._guard:
            self._due -= 1
            over = self._due == 0
        if over:
            self._leave()
            self.queue.is_over(self)

    def _leave(self) -> None:
        """Everything about it has happened: it holds nothing any more."""

    def _sent(self, _: Any) -> None:
        self._happened()

    def _closed(self, event: Any) -> None:
        self.cancelled = bool(event.batch_operations[0].cancelled())
        self._happened()
