"""The tables of the SQLite store, and how an older file becomes one of today. `user_version` counts the migrations in it.

Each row of what is believed carries a digest of all that is in it, and none is read that is not as it was written. It is no
signature: it finds what a disk or a program did by mistake.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from pdp.errors import PdpError

APPLICATION_ID = 0x42554C4B  # says in the file's header whose it is

#: Each is run once, in order, in one transaction with the number that it leads to. One that was released is never changed.
#: Tables are made anew rather than altered: so their text, which is checked, is as it stands here.
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
    (
        # A digest in each row. The token of a commit is random, and needs none.
        "CREATE TABLE moved AS SELECT * FROM life",
        "DROP TABLE life",
        """CREATE TABLE life (
             one INTEGER PRIMARY KEY CHECK (one = 1),
             incarnation TEXT NOT NULL,
             revision INTEGER NOT NULL,
             digest TEXT NOT NULL
           ) STRICT""",
        "INSERT INTO life SELECT one, incarnation, revision, row_digest(incarnation, revision) FROM moved",
        "DROP TABLE moved",
        "CREATE TABLE moved AS SELECT * FROM records",
        "DROP TABLE records",
        """CREATE TABLE records (
             kind TEXT NOT NULL,
             name TEXT NOT NULL,
             more TEXT NOT NULL,
             revision INTEGER NOT NULL,
             live INTEGER NOT NULL,
             document TEXT NOT NULL,
             digest TEXT NOT NULL,
             PRIMARY KEY (kind, name, more)
           ) STRICT""",
        """INSERT INTO records SELECT kind, name, more, revision, live, document,
             row_digest(kind, name, more, revision, live, document) FROM moved""",
        "DROP TABLE moved",
        "CREATE INDEX records_by_revision ON records (revision)",
        "CREATE INDEX records_live ON records (live) WHERE live = 1",
        # Uses are of a grant and go with its end. Of an approval that was consumed before this, no grant is known: it stays.
        """CREATE TABLE uses (
             key TEXT PRIMARY KEY,
             of_grant TEXT NOT NULL,
             count INTEGER NOT NULL,
             digest TEXT NOT NULL
           ) STRICT, WITHOUT ROWID""",
        """INSERT INTO uses SELECT key, of_grant, count, row_digest(key, of_grant, count) FROM (
             SELECT key, count, CASE WHEN key LIKE 'use %' THEN substr(key, 5) ELSE '' END AS of_grant FROM consumed)""",
        "DROP TABLE consumed",
        "CREATE INDEX uses_by_grant ON uses (of_grant)",
    ),
)


def row_digest(*values: object) -> str:
    """One text for one row: each value with its type and its length."""
    texts = [(type(value).__name__, str(value)) for value in values]
    told = "".join([f"{kind} {len(text)} {text}" for kind, text in texts])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


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
        _run(connection, MIGRATIONS[found:])
        if _tables(connection) != _tables_of(MIGRATIONS):
            raise PdpError("invalid_file", f"`{name}`: its tables are not as they were made; it is left as it is")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _run(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    connection.create_function("row_digest", -1, row_digest, deterministic=True)
    for statements in migrations:
        for statement in statements:
            connection.execute(statement)


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[object, ...]]:
    """Without those of SQLite itself: an operator may run ANALYZE, and indexes of keys follow from their tables."""
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return frozenset(row for row in found if not row[1].startswith("sqlite_"))  # nobody else can make one of such a name


@lru_cache(maxsize=4)
def _tables_of(migrations: tuple[tuple[str, ...], ...]) -> frozenset[tuple[object, ...]]:
    connection = sqlite3.connect(":memory:")
    try:
        _run(connection, migrations)
        return _tables(connection)
    finally:
        connection.close()


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(_tables(connection))
