"""The other workers' end of the channel: they take what the writer tells, and pass on the calls that write."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from pdp.errors import PdpError
from pdp.server.background import Background
from pdp.server.frames import Kind, frame, read_frame
from pdp.server.handlers import CallRefused, Deadline, edge_refusal
from pdp.server.passed_on import pack_call, unpack_refusal
from pdp.server.peer import Peer
from pdp.server.state import Lease, State

_AGAIN_S = 0.05
_NOT_TAKEN_AGAIN_S = 1.0  # nothing is decided meanwhile, and each try is logged
_NOTES_BYTES_MAX = 1 << 20
_MOMENT = struct.Struct(">d")

_log = logging.getLogger("pdp.server")


class _NotTaken(Exception):
    """Something of this process keeps it from taking what the writer tells."""


class Following:
    """Follows for as long as the process lives, over as many connections as it takes."""

    def __init__(
        self,
        path: Path,
        number: int,
        state: State,
        figures: Callable[[], Any],
        noted: Callable[[bytes], None] = lambda _: None,
        configure: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`configure` takes the configuration in force; it may wait for a disk, and gets a thread."""
        self._configure = configure
        self.lease = Lease()
        self.has_state = asyncio.Event()  # once: that it was told everything
        self._path, self._number, self._state, self._figures, self._noted = path, number, state, figures, noted
        self._stream: asyncio.StreamWriter | None = None
        self._numbers = count(1)
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, background: Background) -> None:
        self._loop = asyncio.get_running_loop()
        background.keep("following the process that writes", self._run())

    def forward(self, method: str, request: bytes, peer: Peer, deadline: Deadline) -> bytes:
        """A call that writes, in the thread that waits for it."""
        assert self._loop is not None
        body = pack_call(method, request, peer, deadline)
        try:
            return asyncio.run_coroutine_threadsafe(self._forward(body, deadline), self._loop).result()
        except CallRefused as refused:  # its frames hold the future that holds it, and our callers' hold the call
            raise refused.with_traceback(None) from None

    def note(self, raw: bytes) -> None:
        """Tells the writer something, from any thread, and does not wait."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._note, raw)

    def _note(self, raw: bytes) -> None:
        stream = self._stream
        if stream is not None and stream.transport.get_write_buffer_size() <= _NOTES_BYTES_MAX:
            stream.write(frame(Kind.NOTE, body=raw))

    async def _forward(self, body: bytes, deadline: Deadline) -> bytes:
        stream = self._stream
        if stream is None:
            raise edge_refusal("no_writer")
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            stream.write(frame(Kind.CALL, number, body))
            return await asyncio.wait_for(answer, max(0.0, deadline.left_s))
        except TimeoutError:
            raise edge_refusal("outcome_unknown") from None
        finally:
            self._calls.pop(number, None)

    async def _run(self) -> None:
        while True:
            again_s = _AGAIN_S
            try:
                await self._once()
            except _NotTaken:
                again_s = _NOT_TAKEN_AGAIN_S
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(again_s)

    async def _once(self) -> None:
        """One connection to the writer, until it ends."""
        reader, stream = await asyncio.open_unix_connection(self._path)
        try:
            stream.write(frame(Kind.HELLO, self._number))
            self._stream = stream
            while True:
                kind, number, body = await read_frame(reader)
                if kind is Kind.CONFIG:  # nothing after it is taken before, so this process denies if that lasts
                    await asyncio.to_thread(self._configure, body)
                    stream.write(frame(Kind.ACK, number))
                else:
                    self._take(stream, kind, number, body)
        except (OSError, asyncio.IncompleteReadError):
            raise
        except PdpError as error:
            # What could not be taken is not known here: the lease ends, and the next connection begins with everything.
            _log.error("what the writer told could not be taken; nothing is decided here until it can: %s", error)
            raise _NotTaken from None
        except Exception:  # noqa: BLE001  # whatever it is, this process denies until it is over
            _log.exception("what the writer told could not be taken; nothing is decided here until it can")
            raise _NotTaken from None
        finally:
            self._stream = None
            stream.close()
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_exception(edge_refusal("outcome_unknown"))

    def _take(self, stream: asyncio.StreamWriter, kind: Kind, number: int, body: bytes) -> None:
        match kind:
            case Kind.BEAT:
                self.lease.extend(_MOMENT.unpack(body)[0])
            case Kind.SNAPSHOT:
                self._state.restore(body[_MOMENT.size :])
                self.has_state.set()
                self.lease.extend(_MOMENT.unpack(body[: _MOMENT.size])[0])
            case Kind.CHANGE:
                self._state.change(body)
                stream.write(frame(Kind.ACK, number))
            case Kind.ANSWER | Kind.REFUSED:
                answer = self._calls.get(number)
                if answer is not None and not answer.done():
                    if kind is Kind.ANSWER:
                        answer.set_result(body)
                    else:
                        answer.set_exception(unpack_refusal(body))
            case Kind.NOTE:
                self._noted(body)
            case Kind.ASK:
                stream.write(frame(Kind.FIGURES, number, json.dumps(self._figures()).encode()))
            case _:
                raise ConnectionError("a frame that only a follower sends")
