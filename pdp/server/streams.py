"""A call that is a stream: it arrives in the thread of all calls, and is handled on the loop of the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc._cython import cygrpc

from pdp.server.edge import Ended
from pdp.server.handlers import StreamMethod, edge_refusal
from pdp.server.queued import NO_FLAGS, Queue, Queued

_log = logging.getLogger("pdp.server")


class Stream(Queued):
    """Requests and answers, handled on the loop of the process."""

    __slots__ = ("_begun", "_method", "_task")

    def __init__(self, queue: Queue, event: Any, name: str, method: StreamMethod) -> None:
        super().__init__(queue, event, name)
        self._method = method
        self._begun = False
        self._task: asyncio.Task[None] | None = None

    @property
    def _has_begun_to_answer(self) -> bool:
        return self._begun

    def begin(self) -> None:
        edge = self.queue.edge
        met = edge.meet(self, self._method)
        if isinstance(met, Ended):
            super().begin()
            if self.claim():
                self.finish(met)
            edge.around.counters.calls.add((self.name, met.code), 0)
            edge.tell_denied(self, None, b"", met)
            return
        with self._guard:
            self._due += 1  # of the task, which has yet to begin
        super().begin()
        self.queue.loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self.queue.loop.create_task(self._run())
        self._task.add_done_callback(self._has_run)

    def _has_run(self, task: asyncio.Task[None]) -> None:
        """Also of a task that was cancelled before its first step, of which nothing has run."""
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a stream could not be ended", exc_info=error)
        try:
            if not self.cancelled and self.claim():  # nobody has said how it ended: its caller would wait for ever
                refused = edge_refusal("internal")
                self.finish(Ended(refused.code, None, refused.status, f"{refused.code}: {refused.message}"))
        except Exception:  # noqa: BLE001  # what cannot be ended here ends with its connection
            _log.exception("a stream could not be ended")
        finally:
            self._happened()

    async def _run(self) -> None:
        counters, for_all = self.queue.edge.around.counters, self._method.service is None
        counters.streams += not for_all
        counters.streams_for_all += for_all
        try:
            if self.cancelled:
                return
            async for answer in self.queue.edge.stream(self, self._method, self._requests()):
                if isinstance(answer, Ended):
                    if self.claim():
                        self.finish(answer)
                else:
                    await self._send(answer)
        finally:
            counters.streams -= not for_all
            counters.streams_for_all -= for_all

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            operations = (cygrpc.ReceiveMessageOperation(NO_FLAGS),)
            request = (await self._done(operations)).batch_operations[0].message()
            if request is None:
                return
            yield request

    async def _send(self, answer: bytes) -> None:
        operations = [] if self._begun else [cygrpc.SendInitialMetadataOperation((), NO_FLAGS)]
        self._begun = True
        await self._done([*operations, cygrpc.SendMessageOperation(answer, NO_FLAGS)])

    async def _done(self, operations: Sequence[Any]) -> Any:
        """Waits until grpcio has done it; the event says with what."""
        done: asyncio.Future[Any] = self.queue.loop.create_future()

        def happened(event: Any) -> None:
            try:
                self.queue.loop.call_soon_threadsafe(_resolve, done, event)
            finally:
                self._happened()

        self._ask(operations, happened)
        return await done

    def _closed(self, event: Any) -> None:
        super()._closed(event)
        if self.cancelled:
            self.queue.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _resolve(done: asyncio.Future[Any], event: Any) -> None:
    if not done.done():
        done.set_result(event)
