"""A store of grants in one SQLite file beside the process: WAL, every commit on disk before it is acknowledged.

Several processes of one machine may share it; not of several machines, since WAL needs shared memory. A `Witness` outside of
the file tells when it is not the one last written: then a new incarnation begins, in which every grant of the old one ended.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pdp.errors import PdpError
from pdp.grants.document import BadRecord
from pdp.grants.grant import Grant, Mark
from pdp.grants.store import Change, Changes, Committed, Conflict, Record, StoreRefusal, Unavailable
from pdp.store.grants.outcome import Key, outcome
from pdp.store.grants.schema import migrate
from pdp.store.grants.sqlite_file import (
    connect,
    is_row_over,
    make_private,
    read_row,
    read_uses,
    record_of,
    refuse_damaged_pages,
    refuse_damaged_rows,
    said,
    write_row,
    write_uses,
)
from pdp.store.grants.sqlite_life import RESTORED, Life, advance, life_of, live_on
from pdp.store.grants.witness import Seen, Witness, witness_of
from pdp.store.private_files import private_folder

WAIT_S = 2.0
#: What reading what is in a file can raise: SQLite, the file system, a record, and texts and numbers that are none.
_FAILURES = (sqlite3.Error, OSError, StoreRefusal, BadRecord, ValueError, OverflowError)


class SqliteStore:
    """A `GrantStore`. Safe for several threads and processes; after a fork, the child opens its own."""

    def __init__(
        self,
        path: Path,
        witness: Path | None = None,
        *,
        wait_s: float = WAIT_S,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        refuse_restored: bool = False,
    ) -> None:
        """`witness` is best on another disk, or at least outside of what is copied and restored with the database. With
        `refuse_restored` a store that is not the one last written is left as it is, and not opened."""
        self._path, self._wait_s = path, wait_s
        self._pid = os.getpid()
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._untold: Seen | None = None  # what the witness could not be told yet
        private_folder(path.parent)
        self._witness = Witness(witness_of(path, witness))
        self._connections: list[sqlite3.Connection] = []
        try:
            make_private(path)
            self._connections = [connect(path, wait_s), connect(path, wait_s)]
            self._writer, self._reader = self._connections
            self._file = path.stat()
            refuse_damaged_pages(self._reader)
            with self._witness.locked(time.monotonic() + wait_s):
                migrate(self._writer, path.name)
            refuse_damaged_rows(self._reader)
            with self._witness.locked(time.monotonic() + wait_s):
                with self._transaction():
                    life, told, self.restored = live_on(self._writer, self._witness.seen(), now_us())
                    if self.restored and refuse_restored:
                        raise Unavailable(f"{RESTORED}; freezes and revocations that came after it are not in it")
                if told is not None:
                    self._witness.see(told)
        except BadRecord as error:
            self.close()
            raise PdpError(
                "invalid_file", f"`{path}` is damaged ({error}); restore a copy of it, which ends every grant in it"
            ) from None
        except _FAILURES as error:
            self.close()
            raise PdpError("store_unavailable", f"`{path}` cannot be opened: {said(error)}") from None
        except BaseException:
            self.close()
            raise
        self._incarnation, self._revision = life.incarnation, life.revision

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        with suppress(OSError):
            self._witness.close()

    # ---- the protocol

    @property
    def incarnation(self) -> str:
        return self._incarnation

    def commit(self, changes: Sequence[Change]) -> Committed:
        until = self._until()
        with self._failing_closed(), self._held(self._writing, until), self._witness.locked(until):
            self._refuse_replaced()
            self._writer.execute(f"PRAGMA busy_timeout = {_left_ms(until)}")
            with self._transaction():
                before = life_of(self._writer, self._witness.seen(), self._revision)
                if before.incarnation != self._incarnation:
                    raise Conflict("the store has begun a new incarnation: what is in it must be read anew")
                now = Life(before.incarnation, before.revision + 1)
                found = outcome(changes, now.revision, self._there, self._over, self._used, self._written)
                for record in found.records.values():
                    write_row(self._writer, record)
                write_uses(self._writer, found.taken, found.over)
                seen = advance(self._writer, now)
            self._revision = now.revision
            self._tell(seen)
            return Committed(now.revision, tuple(found.records.values()))

    def grant(self, grant_id: str) -> Grant | None:
        found = self._read(("grant", grant_id, ""))
        return found if isinstance(found, Grant) else None

    def mark(self, noun: str, name: str) -> Mark | None:
        found = self._read(("mark", noun, name))
        return found if isinstance(found, Mark) else None

    def changes(self, since: int, incarnation: str) -> Changes:
        with self._failing_closed(), self._snapshot() as life:
            whole = incarnation != life.incarnation or not 0 <= since <= life.revision
            rows = self._reader.execute(
                "SELECT * FROM records WHERE revision > ? ORDER BY revision", (-1 if whole else since,)
            )
            records = tuple(map(record_of, rows))
            self._incarnation = life.incarnation  # another process may have begun a new one
            return Changes(life.incarnation, life.revision, records, whole)

    def confirmed(self) -> None:
        with self._failing_closed(), self._snapshot() as life:
            if life.incarnation != self._incarnation:
                raise Unavailable("the store has begun a new incarnation: what is in it must be read anew")

    # ---- the witness

    def _refuse_replaced(self) -> None:
        if not self._witness.is_there() or not os.path.samestat(self._path.stat(), self._file):
            raise Unavailable("the file of the store, or its witness, was replaced: it must be opened anew")

    def _tell(self, seen: Seen) -> None:
        """The commit stands. If the witness cannot be told, nothing is read any more until it can."""
        try:
            self._witness.see(seen)
            self._untold = None
        except OSError:
            self._untold = seen

    def _tell_again(self) -> None:
        until = self._until()
        with self._held(self._writing, until), self._witness.locked(until):
            seen, untold = self._witness.seen(), self._untold
            if untold is not None and (seen is None or seen.revision < untold.revision):
                self._witness.see(untold)
            self._untold = None

    # ---- rows

    def _read(self, key: Key) -> Record | None:
        with self._failing_closed(), self._snapshot():
            return read_row(self._reader, key)

    def _there(self, key: Key) -> Record | None:
        return read_row(self._writer, key)

    def _over(self, grant_id: str) -> bool:
        return is_row_over(self._writer, grant_id)

    def _used(self, key: str) -> int:
        return read_uses(self._writer, key)

    def _written(self) -> int:
        return int(self._writer.execute("SELECT coalesce(max(revision), 0) FROM records").fetchone()[0])

    # ---- all or nothing, or nothing at all

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise

    @contextmanager
    def _snapshot(self) -> Iterator[Life]:
        """One state of the file, which goes on from what the witness saw before it was taken."""
        if self._untold is not None:
            self._tell_again()
        self._refuse_replaced()
        with self._held(self._reading, self._until()):
            seen = self._witness.seen()
            known = self._revision
            self._reader.execute("BEGIN")
            try:
                yield life_of(self._reader, seen, known)
            finally:
                with suppress(sqlite3.Error):
                    self._reader.execute("ROLLBACK")

    @contextmanager
    def _held(self, lock: threading.Lock, until: float) -> Iterator[None]:
        if self._pid != os.getpid():
            raise Unavailable("a store is not shared across a fork: the child opens its own")
        if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Unavailable("the store is busy")
        try:
            yield
        finally:
            lock.release()

    def _until(self) -> float:
        return time.monotonic() + self._wait_s

    @contextmanager
    def _failing_closed(self) -> Iterator[None]:
        try:
            yield
        except StoreRefusal:
            raise
        except _FAILURES as error:
            why = said(error)
        else:
            return
        raise Unavailable(why)


def _left_ms(until: float) -> int:
    return max(1, int((until - time.monotonic()) * 1000))
