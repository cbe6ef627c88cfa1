"""Follows our certificate: while a client lives, its connection shows the newest one.

What is read twice a second is compared with what is shown. Where it differs, a second connection is made and tried with a
call that decides nothing; calls move once the other side has taken it. Until then, and where nothing can be read, calls go
over the one before, for as long as its certificate lives.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from language import format_instant
from pdp.errors import PdpError
from pdp.sdk.forks import make_anew_in_children
from pdp.sdk.remote.channel import check_address, error_of, is_not_us, may_be_asked_again, open_channel
from pdp.sdk.remote.line import Connection, Line
from pdp.sdk.remote.own import Own, Showing, Tls, Withdrawn, own_of

LOOK_S = 0.5
_TRIAL_S = 1.0

#: How a call ends on a connection that there is not, or that shows what the other side does not take.
_NOT_TAKEN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)
_MEANS_ENDED = frozenset({"unauthenticated", "unreachable", "deadline_exceeded"})

_log = logging.getLogger("pdp.client")


class _Followed:
    """What both kinds share: the line, where our certificate comes from, and what is wrong with that."""

    def __init__(self, address: str, tls: Tls | None, module: Any) -> None:
        self.own: Own | None = None if tls is None else own_of(tls)
        check_address(address, tls)
        server_name = None if tls is None else tls.server_name
        self.line = Line(lambda showing: Connection(open_channel(address, showing, server_name, module), showing))
        self._problem, self._logged = "", ""
        if self.own is None:
            self._move(self.line.try_out(None))
        elif self.own.is_there:
            self._move(self.line.try_out(self.own.current()))

    def _try_out(self, found: Showing | PdpError) -> Connection | None:
        """The connection on trial, with what was read; None where that is what is shown, or nothing can be."""
        if isinstance(found, Showing):
            self._problem = self._logged = ""
            return self.line.try_out(found)
        before, self._problem = self._problem, str(found)
        if isinstance(found, Withdrawn) and self.line.used is not None:
            _log.error("nobody is asked any more: %s", found)
            self.line.drop()
        if self._problem == before != self._logged and self.line.used is not None:  # for a moment, files are half written
            _log.error("our certificate was not read again; what was shown before is shown on: %s", found)
            self._logged = before
        return None

    def _not_looked_at(self, error: Exception) -> None:
        """The edge: what is shown stays, and is looked at again. It is logged once; calls with nothing to show say it."""
        problem = f"{type(error).__name__}: {error}"
        if problem != self._logged:
            _log.error("our certificate was not looked at, and will be again", exc_info=error)
        self._problem = self._logged = problem

    def _move(self, connection: Connection | None) -> None:
        if connection is not None and self.line.move(connection) and connection.showing is not None:
            _log.info("calls show a certificate that ends at %s", format_instant(connection.showing.shown.not_after_us))

    def _must_move(self, newest: Connection) -> bool:
        """Also untaken: where the one in use has ended, or takes an authority that was withdrawn. A file that is half
        written can look like that for a moment, so the newest is tried once before."""
        used, showing = self.line.used, newest.showing
        if used is None or used.has_ended or showing is None:
            return True
        return newest.was_tried and showing.withdraws_from(used.showing)

    def _is_because_it_ended(self, connection: Connection, error: Any) -> bool:
        """Whether a call ended so because our certificate did, by their clock or by ours; and we have not moved since."""
        is_down = error.code() is grpc.StatusCode.UNAVAILABLE and connection.has_ended
        return self.own is not None and not connection.is_left and (is_down or is_not_us(error))

    def _may_be_asked_again(self, connection: Connection, error: Any, proof: str | None) -> bool:
        """Over another connection that is whatever is asked, where this one was not taken: a proof was not looked at."""
        return connection.is_left if is_not_us(error) else may_be_asked_again(error, proof)

    def refusal(self, connection: Connection, error: Any) -> PdpError:
        """What an ended call was."""
        refused = error_of(error)
        if not connection.has_ended or refused.code not in _MEANS_ENDED:
            return refused
        assert connection.showing is not None
        ended = format_instant(connection.showing.shown.not_after_us)
        return PdpError("certificate_ended", f"ours at {ended}; {self._problem or 'there is no newer one'}")

    def _is_closed(self) -> bool:
        raise NotImplementedError

    def nothing_to_show(self) -> PdpError:
        if self._is_closed():
            return PdpError("unreachable", "the client was closed")
        return PdpError("trust_unavailable", (self._problem or "no certificate of ours").removeprefix("trust_unavailable: "))


def _current(own: Own) -> Showing | PdpError:
    try:
        return own.current()
    except PdpError as problem:
        return problem


class Connections(_Followed):
    """For threads. A thread follows our certificate, from the first call until the client is closed or forgotten."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        super().__init__(address, tls, grpc)
        self._begin_anew()
        make_anew_in_children(self)

    def _begin_anew(self) -> None:
        self._starting, self._reading = threading.Lock(), threading.Lock()
        self._closing, self._there = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def begin_in_child(self) -> None:
        """The thread stayed in the parent, and another one may have held a lock."""
        is_closed = self._closing.is_set()
        self._begin_anew()
        if is_closed:
            self._closing.set()

    def belong_to(self, client: object) -> None:
        """The thread ends when nobody has the client any more; so it must not know of it."""
        weakref.finalize(client, lambda: self._closing.set())

    def take(self, within_s: float) -> Connection:
        found = self.line.take()
        if self.own is not None and self._thread is None:
            self._begin()
        if found is None and not self._is_closed() and self._there.wait(within_s):
            found = self.line.take()
        if found is None:
            raise self.nothing_to_show()
        return found

    def give_back(self, connection: Connection) -> None:
        self.line.give_back(connection)

    def may_ask_again(self, connection: Connection, error: Any, proof: str | None) -> bool:
        if self._is_because_it_ended(connection, error):
            self._move(self._read())
        return self._may_be_asked_again(connection, error, proof)

    def close(self) -> None:
        self._closing.set()
        for each in self.line.all():
            each.channel.close()
        if self._thread is not None:
            self._thread.join()

    def _is_closed(self) -> bool:
        return self._closing.is_set()

    def _begin(self) -> None:
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                thread = threading.Thread(target=self._follow, name="pdp-own", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # there cannot be another one now: the next call tries again
                    self._not_looked_at(error)
                else:
                    self._thread = thread

    def _follow(self) -> None:
        assert self.own is not None
        is_open = False
        try:
            while not self._closing.is_set():
                try:
                    if not is_open:
                        self.own.open()
                        is_open = True
                    self._look()
                except Exception as error:  # noqa: BLE001
                    self._not_looked_at(error)
                self._closing.wait(LOOK_S)
        finally:
            self.own.close()
            for each in self.line.all():
                each.channel.close()

    def _look(self) -> None:
        assert self.own is not None
        for each in self.line.take_unused():
            each.channel.close()
        if self.line.used is None:
            self.own.wait(LOOK_S)
        newest = self._read()
        if newest is not None and (self._must_move(newest) or self._is_taken(newest)):
            self._move(newest)
        if newest is not None:
            newest.was_tried = True
        if self.line.used is not None:
            self._there.set()
        else:
            self._there.clear()

    def _read(self) -> Connection | None:
        assert self.own is not None
        with self._reading:  # so that nobody puts what was read before in the place of what was read after
            return self._try_out(_current(self.own))

    def _is_taken(self, connection: Connection) -> bool:
        try:
            connection.health(b"", timeout=_TRIAL_S, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code() not in _NOT_TAKEN
        except ValueError:  # it was closed meanwhile
            return False
        return True


class AsyncConnections(_Followed):
    """For asyncio. A task follows our certificate, in the loop of the first call."""

    def __init__(self, address: str, tls: Tls | None) -> None:
        super().__init__(address, tls, grpc.aio)
        self._reading, self._there = asyncio.Lock(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self, within_s: float) -> Connection:
        if self.own is not None and self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._follow())
        found = self.line.take()
        if found is None and not self._closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._there.wait(), within_s)
            found = self.line.take()
        if found is None:
            raise self.nothing_to_show()
        return found

    def give_back(self, connection: Connection) -> None:
        self.line.give_back(connection)

    async def may_ask_again(self, connection: Connection, error: Any, proof: str | None) -> bool:
        if self._is_because_it_ended(connection, error):
            self._move(await self._read())
        return self._may_be_asked_again(connection, error, proof)

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for each in self.line.all():
            await each.channel.close()

    def _is_closed(self) -> bool:
        return self._closed

    def belong_to(self, client: object) -> None:
        """The task ends when nobody has the client any more; so it must not know of it."""
        weakref.finalize(client, self._forget)

    def _forget(self) -> None:
        if self._task is not None and not self._task.done():
            with suppress(RuntimeError):  # the loop was closed
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _read(self) -> Connection | None:
        """Files are read in a thread: a disk may hang, and the loop must not."""
        assert self.own is not None
        async with self._reading:
            return self._try_out(await asyncio.to_thread(_current, self.own))

    async def _follow(self) -> None:
        assert self.own is not None
        is_open = False
        try:
            while True:
                try:
                    if not is_open:
                        self.own.open()
                        is_open = True
                    await self._look()
                except Exception as error:  # noqa: BLE001
                    self._not_looked_at(error)
                await asyncio.sleep(LOOK_S)
        finally:
            await asyncio.to_thread(self.own.close)  # it waits for threads

    async def _look(self) -> None:
        assert self.own is not None
        for each in self.line.take_unused():
            await each.channel.close()
        if self.line.used is None:
            await asyncio.to_thread(self.own.wait, LOOK_S)
        newest = await self._read()
        if newest is not None and (self._must_move(newest) or await self._is_taken(newest)):
            self._move(newest)
        if newest is not None:
            newest.was_tried = True
        if self.line.used is not None:
            self._there.set()
        else:
            self._there.clear()

    async def _is_taken(self, connection: Connection) -> bool:
        try:
            await connection.health(b"", timeout=_TRIAL_S, wait_for_ready=True)
        except grpc.RpcError as error:
            return error.code() not in _NOT_TAKEN
        except (ValueError, grpc.aio.UsageError):
            return False
        return True
