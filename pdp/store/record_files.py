"""The record on disk: whoever decides offers, one thread writes.

An offer appends to a queue and returns; encoding, masking, hashing and the disk are the writer's. What is heavy is encoded
by who offers it: so whoever sends much pays for it, the writer is not outrun, and what waits is bounded in bytes. The
writer gives way after a few entries, and takes more at a time the longer the queue is. Full is a matter of policy: `drop`
loses the entry and says how many were lost in an entry of its own, `deny` says no, and whoever asked is denied.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

from language import Bundle, Inputs
from pdp.model.decision import Decision
from pdp.model.request import Request
from pdp.record.entry import Circumstances, Decided, Entry, Kind, Notice, Step
from pdp.record.line import Head
from pdp.record.weight import BASE, HEAVY, weight_of
from pdp.store.record_keys import RecordKeys
from pdp.store.record_segments import lock_folder
from pdp.store.record_writer import Full, RecordSettings, RecordWriter, Sync, Told

__all__ = ["Full", "RecordFiles", "RecordSettings", "Sync"]

_AT_ONCE_MAX = 512  # entries


class _Flush:
    """Stands in the queue; when the writer meets it, everything before it is on disk."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.kept = False


class RecordFiles:
    """A `Recorder` that writes to a folder. Safe to share between threads; not with other processes, nor across a fork."""

    def __init__(
        self,
        folder: Path,
        keys: RecordKeys,
        settings: RecordSettings | None = None,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._settings = settings or RecordSettings()
        self._queue: deque[Any] = deque()
        settings = self._settings
        self._limit = min(settings.queue_max, max(1, settings.queue_bytes // HEAVY))  # none that waits untold is heavier
        self._room = settings.queue_bytes // 4  # for what waits as text
        self._weight, self._weighing = 0, threading.Lock()
        self._denies = self._settings.full is Full.DENY
        self._asleep = False
        self._wake = threading.Event()
        self._lost_lock = threading.Lock()
        self._lost = 0
        self._lost_before = 0
        self._left: int | None = None
        self._stopping = self._given_up = False
        self._lock = lock_folder(folder)
        try:
            self._writer = RecordWriter(folder, keys, self._settings, now_us)
        except BaseException:
            os.close(self._lock)
            raise
        self._thread = threading.Thread(target=self._run, name="pdp-record", daemon=True)
        self._thread.start()
        _open_here.add(self)

    # ---- the asking threads

    def decided(
        self,
        request: Request,
        decision: Decision,
        at_us: int,
        took_ns: int,
        bundle: Bundle | None = None,
        inputs: Inputs | None = None,
        around: Circumstances | None = None,
    ) -> bool:
        queue = self._queue
        if len(queue) >= self._limit or self._weight >= self._room or (self._denies and self._writer.failing is not None):
            return self._refuse()
        try:
            light = weight_of(request) <= HEAVY
        except Exception:  # noqa: BLE001  # a foreign object in it may raise anything; it is told as lost
            light = False
        if not light:
            return self._tell(Decided(request, decision, at_us, took_ns, bundle, inputs, around))
        queue.append((request, decision, at_us, took_ns, bundle, inputs, around))
        if self._asleep:
            self._wake.set()
        return True

    def stepped(self, step: Step) -> bool:
        full = len(self._queue) >= self._limit or self._weight >= self._room
        return self._refuse() if full or (self._denies and self._writer.failing is not None) else self._tell(step)

    def _tell(self, entry: Entry) -> bool:
        told = self._writer.tell(entry)
        with self._weighing:
            self._weight += len(told.text)
        self._queue.append(told)
        if self._asleep:
            self._wake.set()
        return True

    def _refuse(self) -> bool:
        """No place: what the policy says. A record that is closed, or of the parent process, always says no."""
        if self._limit < 0 or self._denies:
            return False
        with self._lost_lock:
            self._lost += 1
        return True

    # ---- its owner

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was offered before is on disk. Who must not answer before that calls this first."""
        if self._limit < 0:
            return False
        mark = _Flush()
        self._queue.append(mark)
        self._wake.set()
        mark.done.wait(timeout_s)
        return mark.kept

    def close(self, timeout_s: float = 10.0) -> int:
        """Writes what was offered, says `stop`, signs. Returns how many entries could not be written in that time; the
        record says so, too, where the disk takes it."""
        self._limit = -1
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._given_up = True
            self._thread.join(timeout_s)
        left = len(self._queue) + self._writer.unwritten if self._left is None else self._left
        if self._lock >= 0 and not self._thread.is_alive():
            os.close(self._lock)
            self._lock = -1
        return left

    def __enter__(self) -> RecordFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def found_at_start(self) -> tuple[str, ...]:
        """What was not as the last writer leaves it; `pdp log verify` says it, too."""
        tail = self._writer.tail
        found = [str(repair["what"]) for repair in tail.repairs]
        if tail.adopted is not None:
            found.append(f"entries {tail.adopted['from']} to {tail.adopted['to']} were not signed")
        return tuple(found)

    @property
    def failing(self) -> str | None:
        """What the disk says, while it says no."""
        return self._writer.failing

    @property
    def head_failing(self) -> str | None:
        """Why the last signed entry is not kept beside the keys: the next start would not see that the end was cut off."""
        return self._writer.head_failing

    @property
    def waiting(self) -> int:
        """Entries that were taken, and are not on disk yet."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """What those keep alive, roughly and at most."""
        return self._weight + BASE * len(self._queue)

    @property
    def head(self) -> Head:
        """The last entry that was written."""
        return self._writer.head

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def lost(self) -> int:
        """Entries dropped so far."""
        return self._lost_before + self._lost

    # ---- the writer's thread

    def _run(self) -> None:
        writer, queue, poll_s = self._writer, self._queue, self._settings.poll_s
        try:
            while not self._given_up:
                lost = self._take_lost()
                if lost:
                    writer.put(Notice(Kind.DROP, writer.now_us(), {"count": lost}))
                if not queue and self._stopping:
                    if writer.finish():
                        return
                elif queue and writer.ready():
                    self._write_some(4 + len(queue) // 16)
                    writer.tend()
                    continue
                writer.tend()
                self._rest(poll_s if queue or writer.is_busy else None)
        finally:
            self._limit = -1  # nobody would write what is offered from here on
            self._left = self._give_up_rest()
            writer.close()

    def _give_up_rest(self) -> int:
        """What cannot be written any more is counted, in the record as well."""
        count = 0
        while self._queue:
            item = self._queue.popleft()
            if type(item) is _Flush:
                item.done.set()
            else:
                count += 1
        writer = self._writer
        with self._lost_lock:
            count, self._lost, self._lost_before = count + self._lost, 0, self._lost_before + self._lost
        if count and writer.ready():
            writer.put(Notice(Kind.DROP, writer.now_us(), {"count": count, "reason": "the record was closed"}))
            writer.finish()
        return count + writer.unwritten

    def _write_some(self, count: int) -> None:
        """A few entries, and then the disk: while it works others have their turn; no decision waits for a long batch."""
        queue, writer, flushes, weight = self._queue, self._writer, [], 0
        for _ in range(min(count, len(queue), _AT_ONCE_MAX)):
            item = queue.popleft()
            if type(item) is _Flush:
                flushes.append(item)
            elif type(item) is Told:
                writer.put_told(item)
                weight += len(item.text)
            else:
                writer.put_decided(item)
        if weight:
            with self._weighing:
                self._weight -= weight
        writer.push(sync=bool(flushes))
        if flushes and writer.is_stuck:
            queue.extendleft(reversed(flushes))
            return
        for mark in flushes:
            mark.kept = True
            mark.done.set()

    def _take_lost(self) -> int:
        if not self._lost or not self._writer.ready():
            return 0
        with self._lost_lock:
            lost, self._lost = self._lost, 0
            self._lost_before += lost
        return lost

    def _rest(self, poll_s: float | None) -> None:
        """A short rest while there is work around; else until somebody offers, after one last look at the queue."""
        if poll_s is not None:
            time.sleep(poll_s)
            return
        self._wake.clear()
        self._asleep = True
        if not self._queue and not self._stopping and not self._lost:
            self._wake.wait()
        self._asleep = False

    def _forget_in_child(self) -> None:
        """After a fork the child has the queue but no writer; its copy of the lock must not outlive the parent's."""
        self._limit = -1
        os.close(self._lock)
        self._lock = -1
        self._writer.close()


_open_here: WeakSet[RecordFiles] = WeakSet()


def _after_fork() -> None:
    for record in list(_open_here):
        record._forget_in_child()


os.register_at_fork(after_in_child=_after_fork)
