"""One thread for what takes long, and callers take turns in it: one who asks for a hundred batches delays nobody's first.

One, because threads of Python compute one at a time: more of them would only take the interpreter from the thread of calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


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
                    future.cancel()
            self._waiting.clear()
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            future, work = turn
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  # for whoever asked; this thread goes on
                future.set_exception(error)
            del turn, future, work  # what it was about is held no longer

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            if self._ending:
                return None
            caller = next(iter(self._waiting))
            theirs = self._waiting.pop(caller)
            turn = theirs.popleft()
            if theirs:
                self._waiting[caller] = theirs  # behind all others
            return turn
