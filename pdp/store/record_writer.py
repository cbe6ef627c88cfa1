"""What one thread does for a record: entries into the chain, the chain into files, and all that is due by time.

Nothing here waits. An error of the disk is remembered and tried again later; until then no entry is taken, so that what
is not written yet stays in the queue, where the policy for a full queue is about it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pdp.errors import PdpError
from pdp.record.canonical import canonical
from pdp.record.checkpoint import make_checkpoint
from pdp.record.encode import encode
from pdp.record.encoder import Encoder
from pdp.record.entry import Entry, Kind, Notice, kind_of
from pdp.record.line import Head, make_line
from pdp.record.masking import Masking
from pdp.store.record_heads import Signed, SignedHead
from pdp.store.record_keys import RecordKeys
from pdp.store.record_reader import named
from pdp.store.record_segments import Found, SegmentWriter, recover
from pdp.store.record_tail import judge_tail

FORMAT = 1


class Full(StrEnum):
    DROP = "drop"
    DENY = "deny"


class Sync(StrEnum):
    INTERVAL = "interval"  # at most `sync_s` of entries are lost when the machine, not the process, dies
    EACH = "each"  # after every write
    OFF = "off"  # when the system likes


@dataclass(frozen=True, slots=True)
class RecordSettings:
    full: Full = Full.DROP
    sync: Sync = Sync.INTERVAL
    queue_max: int = 65_536  # entries
    queue_bytes: int = 512 * 1024 * 1024  # that those keep alive at most, roughly
    segment_bytes: int = 64 * 1024 * 1024
    segment_s: float = 86_400.0
    sync_s: float = 1.0
    checkpoint_entries: int = 1000
    checkpoint_s: float = 1.0
    retry_s: float = 0.25  # after an error of the disk
    poll_s: float = 0.005
    secrets: frozenset[str] = frozenset()  # fields to mask, see `Masking`

    def __post_init__(self) -> None:
        sizes = self.queue_max, self.queue_bytes, self.segment_bytes, self.checkpoint_entries
        if min(sizes) < 1 or min(self.sync_s, self.checkpoint_s) <= 0:
            raise PdpError("invalid_argument", "sizes and spans of a record are more than nothing")


class Told(NamedTuple):
    """An entry that is text already."""

    kind: Kind
    text: str


class RecordWriter:
    """The chain and its file. Only the writer's thread calls it, apart from its maker."""

    def __init__(self, folder: Path, keys: RecordKeys, settings: RecordSettings, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self.failing: str | None = None
        self._settings, self._keys = settings, keys
        self._masking = Masking(keys.masking, settings.secrets)
        self._encoder = Encoder(self._masking)
        self._file = SegmentWriter(folder)
        self._uncovered = 0
        self._retry_at = self._rotate_at = 0.0
        self._unsynced = False
        self._stopped = False
        self._checkpointed = self._synced = self._begun = time.monotonic()
        self._name = named(folder).name
        self._kept = SignedHead(keys.folder, folder)
        found = self._recover(folder)
        self._record, self._head = found.record, found.head
        self.tail = tail = judge_tail(folder, found, keys, self._kept.read())
        try:
            if tail.sound:
                self._file.resume(found.number)
                if tail.adopted:
                    self._notice(Kind.ADOPTED, dict(tail.adopted))
                    self._checkpoint()
            else:  # a file names the key of its checkpoints, and what is wrong with it stays as it was found
                self._begin(found.number + 1, tail.adopted)
            self._notice(Kind.START, {"process": os.getpid(), "format": FORMAT, "masking_key": self._masking.key_id})
            for repair in (*found.repairs, *tail.repairs):
                self._notice(Kind.REPAIR, dict(repair))
            self._checkpoint()
            self._file.write()
            self._sync()
        except OSError as error:
            self._file.close()
            raise PdpError("invalid_file", f"`{folder}` cannot be written: {error.strerror}") from None

    def _recover(self, folder: Path) -> Found:
        try:
            return recover(folder)
        except OSError as error:
            raise PdpError("invalid_file", f"`{folder}` cannot be read: {error.strerror}") from None

    @property
    def head(self) -> Head:
        return self._head

    # ---- entries

    def tell(self, entry: Entry) -> Told:
        """An entry as text, in any thread."""
        try:
            return Told(entry.kind, encode(entry, self._masking))
        except Exception as error:  # noqa: BLE001  # a foreign object in an entry may raise anything
            return self._untold(error)

    def put(self, entry: Entry) -> None:
        """Adds an entry to the chain."""
        self.put_told(self.tell(entry))

    def put_decided(self, item: tuple[Any, ...]) -> None:
        """What was queued: the parts of an entry."""
        request, decision, *rest = item
        try:
            told = Told(kind_of(decision), self._encoder.decided(request, decision, *rest))
        except Exception as error:  # noqa: BLE001  # as above
            told = self._untold(error)
        self.put_told(told)

    def _untold(self, error: Exception) -> Told:
        """An entry that cannot be told is told as lost: the writer must outlive any entry."""
        return Told(Kind.DROP, canonical({"at_us": self.now_us(), "count": 1, "error": type(error).__name__}))

    def put_told(self, told: Told) -> None:
        self._append(told.kind, told.text)
        if self._uncovered >= self._settings.checkpoint_entries:
            self._checkpoint()

    def _notice(self, kind: Kind, details: dict[str, Any]) -> None:
        self._append(kind, encode(Notice(kind, self.now_us(), details), self._masking))

    def _append(self, kind: Kind, text: str) -> None:
        line, self._head = make_line(self._head, kind, text)
        self._file.add(line)
        self._uncovered += 1
        self._unsynced = True

    def _checkpoint(self) -> None:
        told = make_checkpoint(self._record, self._head, self.now_us(), self._keys.signing)
        self._append(Kind.CHECKPOINT, canonical(told))
        self._uncovered = 0
        self._signed = Signed(self._record, self._head)
        self._checkpointed = time.monotonic()

    # ---- the disk

    @property
    def is_stuck(self) -> bool:
        return self._file.has_pending or self.failing is not None

    @property
    def head_failing(self) -> str | None:
        """Why the last signed entry is not kept beside the keys, while it is not."""
        return self._kept.failing

    @property
    def unwritten(self) -> int:
        """Lines that are in the chain and not yet in a file."""
        return self._file.pending_lines

    @property
    def is_busy(self) -> bool:
        """Something is to be done in a while, also if nobody offers anything."""
        return bool(self._uncovered or self._unsynced or self.is_stuck)

    def ready(self) -> bool:
        """Whether entries can be taken; after an error of the disk it is tried again first, and only now and then."""
        if not self.is_stuck:
            return True
        if time.monotonic() < self._retry_at:
            return False
        self.push()
        return not self.is_stuck

    def push(self, *, sync: bool = False) -> None:
        """Writes what was put, and syncs if that is asked for or the rule."""
        try:
            self._file.write()
            if sync or self._settings.sync is Sync.EACH:
                self._sync()
            self.failing = None
        except OSError as error:
            self._fail(error)
            return
        if self._is_full():
            self._rotate()

    def tend(self) -> None:
        """What is due by time: a checkpoint, a sync, the next file."""
        if not self.ready():
            return
        now, settings = time.monotonic(), self._settings
        if self._uncovered and now - self._checkpointed >= settings.checkpoint_s:
            self._checkpoint()
            self.push()
        if self._unsynced and settings.sync is Sync.INTERVAL and now - self._synced >= settings.sync_s:
            self.push(sync=True)
        elif settings.sync is Sync.OFF and self._unsynced and not self.is_stuck:
            self._unsynced = False
            self._kept.keep(self._signed)

    def _sync(self) -> None:
        self._file.sync()
        self._kept.keep(self._signed)
        self._unsynced = False
        self._synced = time.monotonic()

    def _is_full(self) -> bool:
        settings, now = self._settings, time.monotonic()
        if now < self._rotate_at:
            return False
        return self._file.size >= settings.segment_bytes or now - self._begun >= settings.segment_s

    def _rotate(self) -> None:
        """Signs and closes the file, and begins the next. When that cannot be made, this one grows on."""
        if self._uncovered:
            self._checkpoint()
        try:
            self._file.write()
            self._sync()
        except OSError as error:
            self._fail(error)
            return
        try:
            self._begin(self._file.number + 1)
        except OSError:
            self._rotate_at = time.monotonic() + self._settings.retry_s
            return
        try:
            self._file.write()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failing = error.strerror or type(error).__name__
        self._retry_at = time.monotonic() + self._settings.retry_s

    def _begin(self, number: int, adopted: Mapping[str, Any] | None = None) -> None:
        self._file.begin(number)
        self._begun = time.monotonic()
        head = self._head
        header = {
            "record": self._record,
            "name": self._name,
            "number": number,
            "format": FORMAT,
            "at_us": self.now_us(),
            "previous": {"seq": head.seq, "hash": head.hash} if head.seq >= 0 else None,
            "checkpoint_entries": self._settings.checkpoint_entries,
            "checkpoint_us": int(self._settings.checkpoint_s * 1e6),
            "key": self._keys.id,
            "public": self._keys.public.hex(),
        }
        self._append(Kind.SEGMENT, canonical(header))
        if adopted:
            self._notice(Kind.ADOPTED, dict(adopted))
        self._checkpoint()

    def finish(self) -> bool:
        """The last entries, signed and on disk; False while the disk says no."""
        if not self.ready():
            return False
        if not self._stopped:
            self._notice(Kind.STOP, {})
            self._checkpoint()
            self._stopped = True
        self.push(sync=True)
        return not self.is_stuck

    def close(self) -> None:
        self._file.close()
