"""Worker 0's end of the channel: it writes, tells the others, and answers the calls that they pass on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

from pdp.engine.revocations import Revocations
from pdp.errors import PdpError
from pdp.server.admission import refuse_peer
from pdp.server.background import Background
from pdp.server.callers import Callers
from pdp.server.frames import Kind, frame, read_frame
from pdp.server.handlers import CallRefused, Deadline, Handlers, Method, edge_refusal, refusal_of
from pdp.server.passed_on import pack_refusal, unpack_call
from pdp.server.peer import Peer
from pdp.server.state import BEAT_S, LEASE_S, State

_UCRED = struct.Struct("3i")
_FIGURES_S = 0.5
_BACKLOG_BYTES_MAX = 16 << 20

_log = logging.getLogger("pdp.server")


#: What answers a call, in a thread that may.
Run = Callable[[Method, bytes, Peer, Deadline], Future[bytes]]


class Follower:
    """One process that follows, as the writer sees it."""

    def __init__(self, number: int, stream: asyncio.StreamWriter) -> None:
        self.number = number
        self.stream = stream
        self.acked = 0

    def send(self, raw: bytes) -> None:
        """Never waits. Who does not read is let go, and loses its lease."""
        if self.stream.transport.get_write_buffer_size() > _BACKLOG_BYTES_MAX:
            self.stream.transport.abort()
        elif not self.stream.is_closing():
            self.stream.write(raw)


class Writer:
    def __init__(
        self,
        path: Path,
        state: State,
        handlers: Handlers,
        callers: Callers,
        run: Run,
        noted: Callable[[bytes], None] = lambda _: None,
        revoked: Callable[[], Revocations] = Revocations,
        config: Callable[[], bytes] = bytes,
    ) -> None:
        """`config` is the configuration in force; nothing, where there is only one that it can be."""
        self._config = config
        self._path, self._state, self._noted, self._revoked = path, state, noted, revoked
        self._handlers, self._callers, self._run = handlers, callers, run
        self._followers: dict[int, Follower] = {}
        self._changes = count(1)
        self._quiet_after = time.monotonic() + LEASE_S  # of a writer before us, or of a follower that went away
        self._moved = asyncio.Condition()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._background: Background
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, background: Background) -> None:
        """What goes on for the others goes on in `background`, whose owner ends it."""
        self._loop, self._background = asyncio.get_running_loop(), background
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._follow, self._path)
        self._path.chmod(0o600)
        background.keep("the word to the other processes", self._beat())

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for follower in list(self._followers.values()):
            follower.stream.close()
        self._path.unlink(missing_ok=True)

    def publish(self, change: bytes) -> None:
        """Called by the handler that made a change, in its thread, before it acknowledges: returns when the change is
        effective in every process, or that process denies."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._publish(Kind.CHANGE, change), self._loop).result()

    def publish_config(self) -> None:
        """The same of another configuration, after it was taken here."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._publish(Kind.CONFIG, self._config()), self._loop).result()

    def note(self, raw: bytes) -> None:
        """Tells all others something, from any thread, and does not wait."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._note, raw)

    def _note(self, raw: bytes) -> None:
        for follower in list(self._followers.values()):
            follower.send(frame(Kind.NOTE, body=raw))

    async def figures(self) -> dict[int, Any]:
        """What the other processes have counted; who does not answer in time is left out."""
        asked: dict[int, asyncio.Future[Any]] = {}
        numbers = []
        for follower in self._followers.values():
            numbers.append(number := next(self._changes))
            asked[follower.number] = self._asked[number] = asyncio.get_running_loop().create_future()
            follower.send(frame(Kind.ASK, number))
        try:
            if asked:
                await asyncio.wait(asked.values(), timeout=_FIGURES_S)
        finally:
            for number in numbers:  # a process that hangs never answers
                self._asked.pop(number, None)
        return {n: f.result() for n, f in asked.items() if f.done() and not f.cancelled()}

    @property
    def followers(self) -> int:
        return len(self._followers)

    async def _publish(self, kind: Kind, change: bytes) -> None:
        number = next(self._changes)
        told = list(self._followers.values())
        for follower in told:
            follower.send(frame(kind, number, change))
        sent_at, quiet_after = time.monotonic(), self._quiet_after

        def waiting_until() -> float:
            """Who was not connected may rely on a lease still, and so may one that has not said that it has the change, or
            went away before. Who comes from now on begins with the change: so nobody is waited for longer than a lease, also
            not one that comes and goes."""
            lags = any(f.acked < number for f in told)
            return max(quiet_after, sent_at + LEASE_S if lags else 0.0)

        async with self._moved:
            while (left_s := waiting_until() - time.monotonic()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), left_s)

    async def _beat(self) -> None:
        while True:
            for follower in list(self._followers.values()):
                follower.send(frame(Kind.BEAT, body=_moment()))
            await asyncio.sleep(BEAT_S)

    async def _follow(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        follower: Follower | None = None
        try:
            if _uid_of(stream) != os.geteuid():
                return
            kind, number, _ = await read_frame(reader)
            if kind is not Kind.HELLO:
                return
            follower = Follower(number, stream)
            # No await in between: what is published after this snapshot reaches this follower after it.
            self._followers[number] = follower
            follower.send(frame(Kind.CONFIG, body=self._config()))
            follower.send(frame(Kind.SNAPSHOT, body=_moment() + self._state.snapshot()))
            while True:
                await self._take(follower, *await read_frame(reader))
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception:  # noqa: BLE001  # its connection ends with this, and it comes anew
            _log.exception("what another process says could not be taken")
        finally:
            stream.close()
            if follower is not None and self._followers.get(follower.number) is follower:
                del self._followers[follower.number]
                self._quiet_after = max(self._quiet_after, time.monotonic() + LEASE_S)
            async with self._moved:
                self._moved.notify_all()

    async def _take(self, follower: Follower, kind: Kind, number: int, body: bytes) -> None:
        match kind:
            case Kind.ACK:
                follower.acked = max(follower.acked, number)
                async with self._moved:
                    self._moved.notify_all()
            case Kind.CALL:
                self._background.let("a call that was passed on", self._call(follower, number, body))
            case Kind.NOTE:
                self._noted(body)
            case Kind.FIGURES:
                asked = self._asked.pop(number, None)
                if asked is not None and not asked.done():
                    asked.set_result(json.loads(body))
            case _:
                raise ConnectionError("a frame that only the writer sends")

    async def _call(self, follower: Follower, number: int, body: bytes) -> None:
        """A call that writes, run as if it had come here."""
        try:
            name, request, peer, deadline = unpack_call(body, self._callers)
            method = self._handlers.get(name)
            if not isinstance(method, Method) or not (method.writes or method.passes):
                raise edge_refusal("not_permitted", peer.name)
            refuse_peer(peer, method, self._revoked())
            if deadline.is_over:
                raise edge_refusal("deadline_passed")
            answer = await asyncio.wrap_future(self._run(method, request, peer, deadline))
            follower.send(frame(Kind.ANSWER, number, answer))
            return
        except CallRefused as refused:
            refusal = refused
        except PdpError as error:
            refusal = refusal_of(error)
        except Exception:  # noqa: BLE001  # an edge, too
            _log.exception("a call that was passed on failed")
            refusal = edge_refusal("internal")
        follower.send(frame(Kind.REFUSED, number, pack_refusal(refusal)))


def _moment() -> bytes:
    return struct.pack(">d", time.monotonic())


def _uid_of(stream: asyncio.StreamWriter) -> int:
    """Who connected, as the system says."""
    connected = stream.get_extra_info("socket")
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(raw)[1])
