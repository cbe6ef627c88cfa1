"""The stream that tells a client which epoch its decision point is in: one for threads, one for asyncio.

Each message of ours says when it was sent, and comes back with the answer: what is believed is counted from there, so that a
message that was long on its way, or long unread, is worth nothing. Where there is no stream, nothing is used again.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio

from pdp.errors import PdpError
from pdp.sdk.remote.answers import ASK_S, Answers
from pdp.sdk.remote.channel import SERVICE
from pdp.wire.client import read_epoch, write_watch_epoch

METHOD = f"{SERVICE}/WatchEpoch"
_AGAIN_S, _AGAIN_S_MAX = 0.1, 5.0


def _question() -> bytes:
    return write_watch_epoch(time.monotonic_ns())


def _told(answers: Answers, raw: bytes) -> None:
    told = read_epoch(raw)
    answers.told(told, told.number / 1e9)


class Watching:
    """In a thread of its own, from the first question that is asked until the client is closed or forgotten."""

    def __init__(self, channel: Any, answers: Answers) -> None:
        self._method, self._answers = channel.stream_stream(METHOD), answers
        self._closing, self._starting, self._started = threading.Event(), threading.Lock(), False
        weakref.finalize(self, self._closing.set)

    def begin(self) -> None:
        if self._started or not self._answers.keeps:
            return
        with self._starting:
            if not self._started and not self._closing.is_set():
                arguments = self._method, self._answers, self._closing  # not ourselves, or nobody could forget us
                threading.Thread(target=_follow, args=arguments, name="pdp-watch", daemon=True).start()
                self._started = True

    def end(self) -> None:
        self._closing.set()
        self._answers.lost()


def _follow(method: Any, answers: Answers, closing: threading.Event) -> None:
    again_s = _AGAIN_S
    while not closing.is_set():
        try:
            for raw in method(_questions(closing), wait_for_ready=True):
                if closing.is_set():
                    break
                _told(answers, raw)
                again_s = _AGAIN_S
        except (grpc.RpcError, PdpError, ValueError):  # it ended; it said what it must not; the channel was closed
            pass
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

    def __init__(self, channel: Any, answers: Answers) -> None:
        self._channel, self._answers = channel, answers
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
        method, again_s = self._channel.stream_stream(METHOD), _AGAIN_S
        while True:
            try:
                async for raw in method(_questions_async(), wait_for_ready=True):
                    _told(self._answers, raw)
                    again_s = _AGAIN_S
            except (grpc.RpcError, PdpError, ValueError, grpc.aio.UsageError):
                pass
            finally:
                self._answers.lost()
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, _AGAIN_S_MAX)


async def _questions_async() -> AsyncIterator[bytes]:
    while True:
        yield _question()
        await asyncio.sleep(ASK_S)
