"""One thread for what takes long, and callers take turns in it: one who asks for a hundred batches delays nobody's first.

A turn is short. What takes longer raises the `Rest` of it, which waits until all others have had their turn.

One, because threads of Python compute one at a time: more of them would only take the interpreter from the thread of calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from pdp.service.rest import Rest


class Turns:
    def __init__(self, name: str) -> None:
        self._waiting: dict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = {}  # whose turn it is comes first
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, caller: str, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._changed:
            if self._ending:
                raise RuntimeError("the process is ending")
            self._waiting.setdefault(caller, deque()).append((future, work))
            self._changed.notify()
        return future

    def shutdown(self) -> None:
        """Ends what is at work, and drops what is not."""
        with self._changed:
            self._ending = True
            for theirs in self._waiting.values():
                for future, _ in theirs:
                    _drop(future)
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            caller, future, work = turn
            if not future.running() and not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except Rest as rest:
                self._put_behind(caller, future, rest.go_on)
            except BaseException as error:  # noqa: BLE001  # for whoever asked; this thread goes on
                future.set_exception(error)
            del turn, future, work  # what it was about is held no longer

    def _put_behind(self, caller: str, future: Future[Any], rest: Callable[[], Any]) -> None:
        with self._changed:
            if self._ending:
                _drop(future)
                return
            theirs = self._waiting.pop(caller, deque())
            theirs.appendleft((future, rest))  # what a caller began is ended before its next
            self._waiting[caller] = theirs

    def _next(self) -> tuple[str, Future[Any], Callable[[], Any]] | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._ending:
                return None
            caller = next(iter(self._waiting))
            theirs = self._waiting.pop(caller)
            future, work = theirs.popleft()
            if theirs:
                self._waiting[caller] = theirs  # behind all others
            return caller, future, work


def _drop(future: Future[Any]) -> None:
    if not future.cancel():  # a part of it was done
        future.set_exception(CancelledError())
