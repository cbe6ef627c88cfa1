"""Which life a database is in: whether it is the one that was last written, and the new incarnation where it is not."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from secrets import token_hex

from pdp.grants.document import BadRecord
from pdp.grants.grant import EndReason, Grant, Tombstone
from pdp.grants.life import end
from pdp.grants.store import Record, Unavailable
from pdp.store.grants.sqlite_file import record_of, write_row
from pdp.store.grants.witness import Seen

COMMITS_KEPT = 4096
RESTORED = "the store is not the one that was last written: restored from a copy, or without its witness"


@dataclass(frozen=True, slots=True)
class Life:
    incarnation: str
    revision: int


def life_of(connection: sqlite3.Connection, seen: Seen | None, revision_min: int) -> Life:
    """In a transaction: the life of a file that goes on from what its witness saw, and from what this process knows."""
    found = _row(connection)
    if found is None or seen is None or not _follows(connection, found, seen) or found.revision < revision_min:
        raise Unavailable("the file of the store is not the one that was last written: it must be opened anew")
    return found


def live_on(connection: sqlite3.Connection, seen: Seen | None, now: int) -> tuple[Life, Seen | None, bool]:
    """The life of a file that is opened. If it is not the one last written, a new one begins: with what the witness is to
    be told, and whether there was an old one, in the file or by its witness."""
    found = _row(connection)
    if found is not None and seen is not None and _follows(connection, found, seen):
        return found, None, False
    before = max(found.revision if found else -1, seen.revision if seen else -1)
    begun = Life(token_hex(16), before + 1)
    connection.execute("DELETE FROM commits")
    connection.execute("INSERT OR REPLACE INTO life VALUES (1, ?, ?)", (begun.incarnation, begun.revision))
    _end_all(connection, begun.revision, now)
    return begun, advance(connection, begun), found is not None or seen is not None


def advance(connection: sqlite3.Connection, life: Life) -> Seen:
    """Notes the commit that is being made, and gives what the witness is to be told of it."""
    seen = Seen(life.incarnation, life.revision, token_hex(16))
    connection.execute("UPDATE life SET revision = ?", (life.revision,))
    connection.execute("INSERT INTO commits VALUES (?, ?)", (life.revision, seen.token))
    connection.execute("DELETE FROM commits WHERE revision <= ?", (life.revision - COMMITS_KEPT,))
    return seen


def _row(connection: sqlite3.Connection) -> Life | None:
    row = connection.execute("SELECT incarnation, revision FROM life").fetchone()
    return None if row is None else Life(*row)


def _follows(connection: sqlite3.Connection, life: Life, seen: Seen) -> bool:
    if life.incarnation != seen.incarnation:
        return False
    row = connection.execute("SELECT token FROM commits WHERE revision = ?", (seen.revision,)).fetchone()
    return row is not None and row[0] == seen.token


def _end_all(connection: sqlite3.Connection, revision: int, now: int) -> None:
    rows = connection.execute("SELECT name, document, revision FROM records WHERE live = 1").fetchall()
    for name, document, found in rows:
        write_row(connection, _over(name, document, found, revision, now))


def _over(name: str, document: str, found: int, revision: int, now: int) -> Record:
    """The grant, ended. One that cannot be read is ended, too: its id is spent."""
    try:
        record = record_of(document, found)
    except BadRecord:
        return Tombstone(name, now, revision)
    if not isinstance(record, Grant):
        return Tombstone(name, now, revision)
    return replace(end(record, EndReason.SUPERSEDED, now, RESTORED, confidential=False), revision=revision)
