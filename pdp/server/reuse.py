"""Failed bindings, counted in the process that writes and off the way of a check (section `store`, `suspend_after`).

A check that fails because somebody shows what was not made for them is answered first. That it failed is told afterwards,
in the writing process by a thread, from another process by a note. What comes faster than it can be counted is left out:
what is counted by then suspends the grant anyway.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading

from pdp.errors import PdpError
from pdp.record import BINDING_REASONS
from pdp.server.grants import GrantBook
from pdp.server.parts import Parts

WAITING_MAX = 1_000

_log = logging.getLogger("pdp.grants")


def binding_reason(reason: str) -> str | None:
    """What a denial says of bindings, in the one word that is counted; None where it says something else."""
    return reason if reason in BINDING_REASONS else None


class ReuseNotes:
    def __init__(self, parts: Parts, grants: GrantBook) -> None:
        self._parts, self._grants = parts, grants
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(WAITING_MAX)
        self._counts = bool(parts.config.store.suspend_after)
        if self._counts and grants.tasks is not None:
            thread = threading.Thread(target=self._run, name="pdp-reuse", daemon=True)
            thread.start()
            parts.closes(self._close)

    def note(self, grant: str, reason: str) -> None:
        """Of a check in this process. Never waits."""
        if not self._counts:
            return
        if self._grants.tasks is None:
            self._parts.note(json.dumps({"reuse": [grant, reason]}).encode())
        else:
            self.take(grant, reason)

    def take(self, grant: str, reason: str) -> None:
        """In the process that writes."""
        try:
            self._waiting.put_nowait((grant, reason))
        except queue.Full:
            return

    def _close(self) -> None:
        with contextlib.suppress(queue.Full):  # then the thread ends with the process
            self._waiting.put_nowait(None)

    def _run(self) -> None:
        tasks = self._grants.tasks
        assert tasks is not None
        while (found := self._waiting.get()) is not None:
            try:
                tasks.note_reuse(self._grants.moment(), *found)
            except PdpError as error:  # the clock
                _log.error("a failed binding was not counted: %s", error)
            except Exception:  # noqa: BLE001  # the next one is counted; the thread must not end
                _log.exception("a failed binding was not counted")
