"""The stream that tells a client which epoch its decision point is in: one for threads, one for asyncio.

Each message of ours says when it was sent, and comes back with the answer: what is believed is counted from there, so that a
message that was long on its way, or long unread, is worth nothing. Where there is no stream, nothing is used again.
When calls move to another connection, so does the stream.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import grpc
import grpc.aio

from pdp.errors import PdpError
from pdp.sdk.forks import make_anew_in_children
from pdp.sdk.remote.answers import ASK_S, Answers
from pdp.sdk.remote.connections import AsyncConnections, Connections
from pdp.wire.client import read_epoch, write_watch_epoch

_AGAIN_S, _AGAIN_S_MAX = 0.1, 5.0


def _question() -> bytes:
    return write_watch_epoch(time.monotonic_ns())


def _told(answers: Answers, raw: bytes) -> None:
    told = read_epoch(raw)
    answers.told(told, told.number / 1e9)


class Watching:
    """In a thread of its own, from the first question that is asked until the client is closed or forgotten."""

    def __init__(self, connections: Connections, answers: Answers) -> None:
        self._connections, self._answers = connections, answers
        self._begin_anew()
        make_anew_in_children(self)

    def _begin_anew(self) -> None:
        self._closing, self._starting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._closing.set)

    def begin_in_child(self) -> None:
        """The thread and its stream stayed in the parent."""
        is_closed = self._closing.is_set()
        self._begin_anew()
        if is_closed:
            self._closing.set()

    def begin(self) -> None:
        if self._thread is not None or not self._answers.keeps:
            return
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                arguments = self._connections, self._answers, self._closing  # not ourselves, or nobody could forget us
                thread = threading.Thread(target=_follow, args=arguments, name="pdp-watch", daemon=True)
                with suppress(RuntimeError):  # there can be none now: nothing is kept, and the next call tries again
                    thread.start()
                    self._thread = thread

    def end(self) -> None:
        """The thread ends by itself once the connections are closed."""
        self._closing.set()
        self._answers.lost()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()


def _follow(connections: Connections, answers: Answers, closing: threading.Event) -> None:
    again_s = _AGAIN_S
    while not closing.is_set():
        is_left = False
        # It ended; it said what it must not; the channel was closed; there is no thread for it.
        with suppress(grpc.RpcError, PdpError, ValueError, RuntimeError):
            connection = connections.take(ASK_S)
            try:
                stream = connection.watch_epoch(_questions(closing), wait_for_ready=True)
                connection.ends_when_left(stream)
                for raw in stream:
                    if closing.is_set():
                        break
                    _told(answers, raw)
                    again_s = _AGAIN_S
            finally:
                is_left = connection.is_left
                connections.give_back(connection)
        if is_left:
            continue  # what was heard is believed for its time, and the next stream is there in a moment
        answers.lost()
        closing.wait(again_s)
        again_s = min(2 * again_s, _AGAIN_S_MAX)
    answers.lost()


def _questions(closing: threading.Event) -> Iterator[bytes]:
    yield _question()
    while not closing.wait(ASK_S):
        yield _question()


class AsyncWatching:
    """In a task of the loop in which the client is first asked."""

    def __init__(self, connections: AsyncConnections, answers: Answers) -> None:
        self._connections, self._answers = connections, answers
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def begin(self) -> None:
        if self._task is None and self._answers.keeps and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def end(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._answers.lost()

    async def _follow(self) -> None:
        again_s = _AGAIN_S
        while True:
            is_left = False
            with suppress(grpc.RpcError, PdpError, ValueError, RuntimeError, grpc.aio.UsageError):
                connection = await self._connections.take(ASK_S)
                try:
                    stream = connection.watch_epoch(_questions_async(), wait_for_ready=True)
                    connection.ends_when_left(stream)
                    async for raw in stream:
                        _told(self._answers, raw)
                        again_s = _AGAIN_S
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    if not connection.is_left or (task is not None and task.cancelling()):
                        self._answers.lost()
                        raise  # it was not the move that ended it
                finally:
                    is_left = connection.is_left
                    self._connections.give_back(connection)
            if is_left:
                continue  # as above
            self._answers.lost()
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, _AGAIN_S_MAX)


async def _questions_async() -> AsyncIterator[bytes]:
    while True:
        yield _question()
        await asyncio.sleep(ASK_S)
