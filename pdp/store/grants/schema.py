"""The tables of the SQLite store, and how an older file becomes one of today. `user_version` counts the migrations in it."""

from __future__ import annotations

import sqlite3

from pdp.errors import PdpError

APPLICATION_ID = 0x42554C4B  # says in the file's header whose it is

#: Each is run once, in order, in one transaction with the number that it leads to. One that was released is never changed.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # The one row of the life of this store.
        """CREATE TABLE life (
             one INTEGER PRIMARY KEY CHECK (one = 1),
             incarnation TEXT NOT NULL,
             revision INTEGER NOT NULL
           ) STRICT""",
        # The last commits, each with a random token: whether this file comes after one that somebody remembers.
        "CREATE TABLE commits (revision INTEGER PRIMARY KEY, token TEXT NOT NULL) STRICT",
        # Grants, marks and tombstones as documents; `live` is 1 for a grant that has not ended.
        """CREATE TABLE records (
             kind TEXT NOT NULL,
             name TEXT NOT NULL,
             more TEXT NOT NULL,
             revision INTEGER NOT NULL,
             live INTEGER NOT NULL,
             document TEXT NOT NULL,
             PRIMARY KEY (kind, name, more)
           ) STRICT""",
        "CREATE INDEX records_by_revision ON records (revision)",
        "CREATE INDEX records_live ON records (live) WHERE live = 1",
        "CREATE TABLE consumed (key TEXT PRIMARY KEY, count INTEGER NOT NULL, until INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE INDEX consumed_by_end ON consumed (until)",
    ),
)


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Brings a file to the schema of today. One of a later version, or of another program, is left as it is."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _number(connection, "user_version")
        if found == 0 and _has_tables(connection):
            raise PdpError("invalid_file", f"`{name}` is a database of something else")
        if found and _number(connection, "application_id") != APPLICATION_ID:
            raise PdpError("invalid_file", f"`{name}` is a database of something else")
        if found > len(MIGRATIONS):
            raise PdpError("invalid_file", f"`{name}` was written by a later version, and is left as it is")
        for statements in MIGRATIONS[found:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
