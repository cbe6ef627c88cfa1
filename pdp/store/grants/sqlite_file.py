"""The file of the SQLite store: made for its owner only, opened so that a commit is on disk when it returns."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pdp.errors import PdpError
from pdp.grants.document import BadRecord, canonical, read_record, tell_record
from pdp.grants.grant import Grant
from pdp.grants.store import Record, StoreRefusal
from pdp.store.grants.outcome import Key, Taken, key_of
from pdp.store.grants.schema import row_digest
from pdp.store.regular_file import refuse_other

_PRAGMAS = ("synchronous = FULL", "trusted_schema = OFF", "cell_size_check = ON")


def make_private(path: Path) -> None:
    """SQLite gives the files beside the database the mode that it has."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    found = path.stat()
    refuse_other(found, path)
    if found.st_mode & 0o077 or found.st_uid != os.geteuid():
        raise PdpError("invalid_file", f"`{path}`: others may read or write it; it must be its owner's alone")


def connect(path: Path, wait_s: float) -> sqlite3.Connection:
    found = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        if found.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise PdpError("invalid_file", f"`{path}`: this file system has no shared memory for a WAL")
        for pragma in _PRAGMAS:
            found.execute(f"PRAGMA {pragma}")
    except BaseException:
        found.close()
        raise
    return found


def refuse_damaged_pages(connection: sqlite3.Connection) -> None:
    """The pages, and whether each index says what its table says."""
    if connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
        raise BadRecord("its pages are damaged")


def refuse_damaged_rows(connection: sqlite3.Connection) -> None:
    for row in connection.execute("SELECT * FROM records NOT INDEXED"):
        undamaged(row)
    for row in connection.execute("SELECT * FROM uses"):
        undamaged(row)


def undamaged(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row without its digest, if it is as it was written."""
    *told, digest = row
    if row_digest(*told) != digest:
        raise BadRecord("a row is damaged")
    return tuple(told)


def read_row(connection: sqlite3.Connection, key: Key) -> Record | None:
    if not all(_storable(part) for part in key):
        return None
    row = connection.execute("SELECT * FROM records WHERE kind = ? AND name = ? AND more = ?", key).fetchone()
    return None if row is None else record_of(row)


def is_row_over(connection: sqlite3.Connection, grant_id: str) -> bool:
    """Whether a grant has ended or its id is spent, without reading what it says."""
    if not _storable(grant_id):
        return False
    row = connection.execute("SELECT * FROM records WHERE kind = 'grant' AND name = ? AND more = ''", (grant_id,)).fetchone()
    return row is not None and not undamaged(row)[4]


def write_row(connection: sqlite3.Connection, record: Record) -> None:
    live = isinstance(record, Grant) and not record.is_over
    row = (*key_of(record), record.revision, int(live), canonical(tell_record(record)))
    connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, row_digest(*row)))


def record_of(row: tuple[Any, ...]) -> Record:
    _, _, _, revision, _, document = undamaged(row)
    try:
        return read_record(json.loads(document), revision)
    except json.JSONDecodeError:
        raise BadRecord("the document is not JSON") from None


def read_uses(connection: sqlite3.Connection, key: str) -> int:
    """How often a key is consumed."""
    row = connection.execute("SELECT * FROM uses WHERE key = ?", (key,)).fetchone()
    return 0 if row is None else int(undamaged(row)[2])


def write_uses(connection: sqlite3.Connection, taken: Mapping[str, Taken], over: Sequence[str]) -> None:
    """Those that were taken; and none of grants that are over."""
    rows = [(key, grant, times, row_digest(key, grant, times)) for key, (grant, times) in taken.items()]
    connection.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?)", rows)
    connection.executemany("DELETE FROM uses WHERE of_grant = ?", [(grant,) for grant in over])


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def said(error: Exception) -> str:
    """The kind of a failure, without anything of a record."""
    if isinstance(error, StoreRefusal | BadRecord):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return f"SQLite: {getattr(error, 'sqlite_errorname', type(error).__name__)}"
    return getattr(error, "strerror", None) or type(error).__name__
