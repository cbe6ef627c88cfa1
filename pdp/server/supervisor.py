"""Keeps the processes of a server: starts them, starts one again that has died, and ends them all.

It does nothing else, so that there is little that could end it: no gRPC, no policy, no state. Processes are started anew and
never forked, since a forked gRPC does not work. A port is reserved here for as long as we live; its sockets are theirs.

It never gives up in silence: a process that cannot be started is tried again for ever, and each failure is logged. All
end where one says itself at its first start that it cannot, and for a fault of our own: whatever started us can do so again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdp.errors import PdpError, RecordIncomplete
from pdp.server.background import Background, within
from pdp.server.config import Config, Origin, Tcp, parse_address, show_config

AGAIN_S, AGAIN_S_MAX = 0.1, 5.0
STEADY_S = 10.0  # a process that has lived for so long does not die again and again
BEAT_S, SILENT_S = 1.0, 15.0  # how often a process says that it goes on, and after which silence it hangs
_SLOWER = 4  # so many times as long as the first start did, a later one may say nothing
_BEYOND_DRAIN_S = 12.0  # the record has twice `RECORD_CLOSE_S`
_READ_BYTES = 4096
REFUSED = "refused"  # what a process that could not start says its code under

_log = logging.getLogger("pdp.server")

_Told = dict[str, Any]  # what a process says of itself: where it listens


class WorkerFailed(PdpError):
    """A process ended before it listened; `status` is its exit code, and it has said why."""

    def __init__(self, number: int, status: int, code: str) -> None:
        super().__init__(code, f"worker {number} could not start ({status})")
        self.status = status

    @property
    def is_refusal(self) -> bool:
        """Not so for one that was killed, or asked to end: that says nothing about the next start."""
        return self.status > 0


class Pauses:
    """How long to wait before a process is started again: not at all, unless it dies again and again."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def after(self, lasted_s: float) -> float:
        """For one that has lived for so long."""
        pause_s = 0.0 if lasted_s >= STEADY_S else self._next_s
        self._next_s = min(max(AGAIN_S, 2 * pause_s), AGAIN_S_MAX)
        return pause_s


class Supervisor:
    def __init__(
        self,
        config: Config,
        runtime: Path,
        program: str = "pdp.server.worker",
        origin: Origin | None = None,
        silent_s: float = SILENT_S,
    ) -> None:
        self._runtime, self._program, self._origin, self._silent_s = runtime, program, origin, silent_s
        self._up: set[int] = set()  # who has said that it listens, and has not ended
        self._reserved: list[socket.socket] = []
        self._config = self._reserve(config)
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ending = False
        self._start_s: float | None = None  # how long one that is started may say nothing; the first start takes its time
        self.restarts = 0

    @property
    def processes(self) -> dict[int, int]:
        """Their process ids, by number."""
        return {number: process.pid for number, process in self._processes.items()}

    async def run(self, stop: asyncio.Event, on_started: Callable[[_Told], None]) -> None:
        """Until `stop` is set. PdpError when a process cannot be kept any more."""
        background = Background()
        try:
            told = await self._unless(background.until(stop), self._start_all(background))
            if told is None:
                return
            on_started(told)
            await background.until(stop)
        finally:
            self._ending = True
            await background.close()
            ended = await self._end()
            for reserved in self._reserved:
                reserved.close()
        if ended and self._config.record.directory is not None:
            each = ", ".join(f"worker {number} with {status}" for number, status in sorted(ended.items()))
            raise RecordIncomplete(f"not every process ended in order: {each}")

    async def _unless(self, ends: Coroutine[Any, Any, None], work: Coroutine[Any, Any, _Told]) -> _Told | None:
        """What the work gives; None, or what is raised, where `ends` ended before, and the work has been ended."""
        working, ending = asyncio.ensure_future(work), asyncio.ensure_future(ends)
        try:
            await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else ending.result()
        finally:
            working.cancel()
            ending.cancel()
            await asyncio.gather(working, ending, return_exceptions=True)

    async def _start_all(self, background: Background) -> _Told:
        """The first process is started first: it writes the state that the others follow. What it says of itself."""
        now = asyncio.get_running_loop().time
        began, others = now(), range(1, self._config.workers)
        told = await self._first_start(0, background)
        self._start_s = self._patience_s(self._config.workers * (now() - began))  # the others share the processors
        starting = [asyncio.ensure_future(self._first_start(number, background)) for number in others]
        try:
            await asyncio.gather(*starting)
        finally:
            for each in starting:
                each.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        self._start_s = self._patience_s(now() - began)
        return told

    def _patience_s(self, took_s: float) -> float:
        return max(self._silent_s, _SLOWER * took_s)

    async def _first_start(self, number: int, background: Background) -> _Told:
        """Until it listens; it is kept from then on, also while others start. WorkerFailed where it refuses to."""
        pauses = Pauses()
        while (told := await self._started(number, is_first=True)) is None:
            await asyncio.sleep(pauses.after(0))
        background.keep(f"the keeping of worker {number}", self._keep(number))
        return told

    def reload(self) -> None:
        """The process that writes reads everything again, and tells the others."""
        if 0 not in self._up:
            _log.error("not reloaded: worker 0 is being started")
            return
        with contextlib.suppress(ProcessLookupError):
            self._processes[0].send_signal(signal.SIGHUP)

    async def _start(self, number: int) -> _Told:
        """Starts a process and waits until it listens; WorkerFailed when it ends before that."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", self._program, str(number), str(self._runtime))
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
        self._processes[number] = process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # one that has ended, or takes nothing, says nothing either
            process.stdin.write(json.dumps(self._begins_with()).encode() + b"\n")
            await within(self._start_s, process.stdin.drain())
        told: _Told = {}
        while REFUSED in told or not told:
            line = await within(self._start_s, process.stdout.readline())
            if not line:
                status = await within(self._start_s, process.wait())
                raise WorkerFailed(number, status, told.get(REFUSED, "server_error"))
            told = json.loads(line) if line.strip() else told
        self._up.add(number)
        return told

    def _begins_with(self) -> dict[str, Any]:
        origin = None if self._origin is None else self._origin.as_json()
        return {"config": json.loads(show_config(self._config)), "origin": origin}

    async def _keep(self, number: int) -> None:
        """Starts a process again whenever it ends or hangs, at once the first time, then with growing pauses."""
        pauses, now = Pauses(), asyncio.get_running_loop().time
        while True:
            began = now()
            status = await self._ended(number)
            self._up.discard(number)
            if self._ending:
                return
            _log.error("worker %d ended with %d, and is started again", number, status)
            await asyncio.sleep(pauses.after(now() - began))
            self.restarts += 1
            while await self._started(number) is None:
                self.restarts += 1
                await asyncio.sleep(pauses.after(0))

    async def _started(self, number: int, is_first: bool = False) -> _Told | None:
        """What it says once it listens. Where it does not, nothing of it is left, and it is logged why; a first start that
        it refuses itself is not tried again, since whoever configured it is there to read why."""
        before = self._processes.get(number)
        try:
            return await self._start(number)
        except TimeoutError:
            _log.error("worker %d says nothing while it starts, and is killed", number)
        except Exception as error:  # killed, no memory, no descriptor, another first line: it may pass
            if is_first and isinstance(error, WorkerFailed) and error.is_refusal:
                raise
            _log.error("worker %d could not be started, and is tried again: %s: %s", number, type(error).__name__, error)
        process = self._processes.get(number)
        if process is not None and process is not before:
            await self._kill(process)
        return None

    async def _ended(self, number: int) -> int:
        """The status of a process, once it has ended; one that says nothing for long is made to."""
        process = self._processes[number]
        assert process.stdout is not None
        try:
            while await within(self._silent_s, process.stdout.read(_READ_BYTES)):
                pass
            return await within(self._silent_s, process.wait())
        except OSError:  # of which a timeout is one
            _log.error("worker %d hangs, and is killed", number)
            return await self._kill(process)

    async def _kill(self, process: asyncio.subprocess.Process) -> int:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()

    async def _end(self) -> dict[int, int]:
        """SIGTERM to all; SIGKILL to whoever is still there when calls in work had their time. Gives the status of those
        that could not end in order."""
        alive = [p for p in self._processes.values() if p.returncode is None]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        waiting = [asyncio.ensure_future(p.wait()) for p in alive]
        if waiting:
            await asyncio.wait(waiting, timeout=self._config.limits.drain / 1e6 + _BEYOND_DRAIN_S)
        for process in alive:
            if process.returncode is None:
                _log.error("a worker did not end in time, and is killed")
                process.kill()
        await asyncio.gather(*waiting)
        statuses = {number: process.returncode for number, process in self._processes.items() if process in alive}
        return {number: status for number, status in statuses.items() if status not in (None, 0, -signal.SIGTERM)}

    def _reserve(self, config: Config) -> Config:
        """Takes the ports of the listeners, so that nobody else can, and so that all processes get the same one."""
        listeners = []
        for listener in config.listen:
            address = parse_address(listener.address)
            if isinstance(address, Tcp):
                reserved = _reserved(address)
                self._reserved.append(reserved)
                listener = replace(listener, address=str(Tcp(address.host, reserved.getsockname()[1])))
            listeners.append(listener)
        return replace(config, listen=tuple(listeners))


def _reserved(address: Tcp) -> socket.socket:
    """A socket that is bound and does not listen: it gets no connections, and holds the port."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:  # fails where somebody listens already, also one who would share
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((address.host, address.port))
    except OSError as error:
        raise PdpError("address_unavailable", f"`{address}` cannot be bound: {os.strerror(error.errno or 0)}") from None
    return reserved
