"""The files of a record, for the one who writes it: lock, recovery after a crash, appending, the next file.

A file is never written anew. What a crash left half written at the very end is cut off, and said in the entry that comes
next; whole lines are never taken away, whatever is in them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdp.errors import PdpError
from pdp.record.entry import Kind
from pdp.record.line import LINE_BYTES_MAX, START, Head, Line, parse_line
from pdp.store.private_files import private_folder
from pdp.store.record_reader import find_segments, read_lines, segment_number, segment_path
from pdp.store.regular_file import open_regular

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Found:
    """Where a record ends."""

    record: str  # its id
    number: int  # of its last file; 0 before the first
    head: Head
    repairs: tuple[Mapping[str, Any], ...]
    sound: bool  # whether the last file can be written on
    key: str = ""  # the key that its header names


def lock_folder(folder: Path) -> int:
    """The lock on a record, held until its descriptor is closed. One process writes a record, in one place."""
    if folder.is_symlink():
        raise PdpError("invalid_file", f"`{folder}` is a link; a record is written to a folder itself")
    private_folder(folder)
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PdpError("invalid_file", f"`{folder}` cannot be locked: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise PdpError("record_locked", f"`{folder}` is being written by another process or recorder") from None
    return handle


def recover(folder: Path) -> Found:
    """The end of the record. A torn tail is cut off; a file that holds no entry yet is taken away."""
    repairs: list[Mapping[str, Any]] = []
    paths = find_segments(folder)
    while paths:
        path = paths[-1]
        if torn := _cut_torn_tail(path):
            repairs.append({"what": "torn_tail", "file": path.name, "bytes": torn})
        header, last, unreadable = _ends(path)
        if header is not None and last is not None and last.seq > header.seq:
            if unreadable:
                repairs.append({"what": "unreadable_end", "file": path.name, "lines": unreadable})
            told = header.data()
            head = Head(last.seq, last.hash)
            number, key = segment_number(path), str(told.get("key"))
            return Found(str(told.get("record")), number, head, tuple(repairs), not unreadable, key)
        if path.stat().st_size and (header is None or unreadable):
            raise PdpError("invalid_file", f"`{path}` is no file of a record; move it away, and say where it came from")
        path.unlink()  # made just before the crash, and nothing stands in it but its header
        repairs.append({"what": "empty_segment", "file": path.name})
        paths.pop()
    return Found(secrets.token_hex(8), 0, START, tuple(repairs), False)


def _cut_torn_tail(path: Path) -> int:
    """How many bytes stood after the last line end."""
    with open_regular(path, change=True) as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end > 0:
            start = max(0, end - LINE_BYTES_MAX)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
            file.flush()
            os.fsync(file.fileno())
        return size - end


def _ends(path: Path) -> tuple[Line | None, Line | None, int]:
    """The header, the last line that is an entry, and how many after it are not."""
    first = next(read_lines(path), b"")
    header = parse_line(first)
    if header is None or header.kind != Kind.SEGMENT:
        return None, None, 0
    size = path.stat().st_size
    for start in (max(0, size - 2 * LINE_BYTES_MAX), 0):  # the end is enough, unless it is full of something else
        last, unreadable = None, 0
        for raw in read_lines(path, start):
            line = parse_line(raw)
            if line is not None:
                last, unreadable = line, 0
            elif last is not None or start == 0:
                unreadable += 1
        if last is not None:
            return header, last, unreadable
    return header, header, 0


class SegmentWriter:
    """The file that is being written. Writes raise OSError and can be tried again: nothing is written twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle = -1
        self._pending = b""  # the rest of what a write did not take
        self._lines: list[bytes] = []
        self.size = 0
        self.number = 0

    @property
    def is_open(self) -> bool:
        return self._handle >= 0

    @property
    def has_pending(self) -> bool:
        return bool(self._pending or self._lines)

    @property
    def pending_lines(self) -> int:
        return self._pending.count(b"\n") + len(self._lines)

    def resume(self, number: int) -> None:
        """Goes on with the last file."""
        path = segment_path(self._folder, number)
        self._switch(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), number)

    def begin(self, number: int) -> None:
        """Goes over to a new file, which must not be there yet."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(segment_path(self._folder, number), flags, 0o600)
        try:
            self._sync_folder()
        except OSError:
            os.close(handle)
            segment_path(self._folder, number).unlink()
            raise
        self._switch(handle, number)

    def _switch(self, handle: int, number: int) -> None:
        if self.is_open:
            os.close(self._handle)
        self._handle, self.number, self.size = handle, number, os.fstat(handle).st_size

    def add(self, line: bytes) -> None:
        """Takes a line to write; what is not written yet goes before it."""
        self._lines.append(line)

    def write(self) -> None:
        """Writes what is pending. After an error what is left can be written later."""
        if self._lines:
            self._pending += b"".join(self._lines)
            self._lines.clear()
        while self._pending:
            written = os.write(self._handle, self._pending)
            self._pending = self._pending[written:]
            self.size += written

    def sync(self) -> None:
        os.fdatasync(self._handle) if hasattr(os, "fdatasync") else os.fsync(self._handle)

    def close(self) -> None:
        if self.is_open:
            os.close(self._handle)
            self._handle = -1

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
