"""The store in SQLite is a store; and what a file can be besides."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdp.errors import PdpError
from pdp.grants.grant import EndReason, Grant, Tombstone
from pdp.grants.store import Conflict, Consume, Put, Spent, Unavailable
from pdp.store.grants import schema
from pdp.store.grants.sqlite import SqliteStore
from tests.pdp.store.grants_conformance import GrantsConformance, everything
from tests.pdp.store.grants_world import FULL, NOW, PLAIN, SECOND, USED, ended, grant, mark

FILE = "grants.db"
WITNESS = f"{FILE}.witness"


def opened(folder: Path, now: int = NOW, **options: Any) -> SqliteStore:
    return SqliteStore(folder / FILE, now_us=lambda: now, **options)


class TestSqlite(GrantsConformance):
    def make(self, folder: Path) -> SqliteStore:
        return opened(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "store"
    found.mkdir(mode=0o700)
    return found


def refused(code: str, call: Callable[[], Any]) -> PdpError:
    with pytest.raises(PdpError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


#: The columns of each table that its digest is of.
DIGESTED = {
    "life": ("incarnation", "revision"),
    "records": ("kind", "name", "more", "revision", "live", "document"),
    "uses": ("key", "of_grant", "count"),
}


def rewritten(connection: sqlite3.Connection, table: str, **values: Any) -> None:
    """Writes a value into every row of a table, and the digest that belongs to it."""
    connection.create_function("row_digest", -1, schema.row_digest)
    for name, value in values.items():
        connection.execute(f"UPDATE {table} SET {name} = ?", (value,))
    connection.execute(f"UPDATE {table} SET digest = row_digest({', '.join(DIGESTED[table])})")


# ---- one life


def test_it_is_there_when_it_is_opened_again(folder: Path) -> None:
    one = opened(folder)
    at = one.commit([Put(PLAIN, 0), Put(mark("w"), 0), Consume("k", USED)]).revision
    held, incarnation = everything(one), one.incarnation
    one.close()
    two = opened(folder)
    assert everything(two) == held
    assert (two.incarnation, two.restored) == (incarnation, False)
    assert not two.changes(at, incarnation).whole
    with pytest.raises(Spent):
        two.commit([Consume("k", USED)])
    assert two.commit([]).revision > at


def test_how_it_is_kept(folder: Path) -> None:
    store = opened(folder)
    store.commit([Put(PLAIN, 0)])
    assert {p.name for p in folder.iterdir()} == {FILE, WITNESS, f"{FILE}-wal", f"{FILE}-shm"}
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    for connection in store._connections:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_a_clock_that_jumps_gives_no_use_back(folder: Path) -> None:
    """Finding F11: the use was forgotten by a clock three days on, and could be taken again when it came back."""
    opened(folder).commit([Put(PLAIN, 0), Consume("k", PLAIN.id)])
    ahead = opened(folder, NOW + 72 * 3600 * SECOND)
    ahead.commit([Put(grant("b"), 0), Consume("other", grant("b").id)])
    for store in (ahead, opened(folder)):
        with pytest.raises(Spent):
            store.commit([Consume("k", PLAIN.id)])


def test_two_openings_of_one_file_are_one_store(folder: Path) -> None:
    one, two = opened(folder), opened(folder)
    at = one.commit([Put(PLAIN, 0)]).revision
    assert two.grant(PLAIN.id) == one.grant(PLAIN.id)
    two.commit([Put(ended(PLAIN), at)])
    with pytest.raises(Conflict):
        one.commit([Put(grant("b"), at)])
    assert one.grant(PLAIN.id).is_over  # type: ignore[union-attr]
    one.confirmed()
    two.confirmed()


# ---- files that are not to be used


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
@pytest.mark.parametrize("name", [FILE, WITNESS])
def test_a_file_that_others_may_read_is_refused(folder: Path, name: str, mode: int) -> None:
    opened(folder).close()
    (folder / name).chmod(mode)
    refused("invalid_file", lambda: opened(folder))


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    refused("invalid_file", lambda: opened(folder))


def other_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def other_program_with_a_version(path: Path) -> None:
    other_program(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")


def later_version(path: Path) -> None:
    opened(path.parent).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")


NOT_OURS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "another program's": ("invalid_file", other_program),
    "another program's with a version": ("invalid_file", other_program_with_a_version),
    "a later version's": ("invalid_file", later_version),
    "no database": ("store_unavailable", lambda path: path.write_bytes(b"not a database, and longer than its header" * 50)),
    "a folder": ("store_unavailable", lambda path: path.mkdir(mode=0o700)),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_a_file_of_something_else_is_left_as_it_is(folder: Path, name: str) -> None:
    code, make = NOT_OURS[name]
    path = folder / FILE
    make(path)
    path.chmod(0o700 if path.is_dir() else 0o600)
    before = path.read_bytes() if path.is_file() else b""
    refused(code, lambda: opened(folder))
    if path.is_file():
        tables = before.count(b"CREATE TABLE")
        assert path.read_bytes().count(b"CREATE TABLE") == tables


def test_a_damaged_file_is_refused(folder: Path) -> None:
    store = opened(folder)
    for n in range(50):
        store.commit([Put(grant(str(n)), 0)])
    store.close()
    with (folder / FILE).open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    with pytest.raises(PdpError) as caught:
        opened(folder)
    assert caught.value.code in ("invalid_file", "store_unavailable")


# ---- migrations


def test_an_older_file_becomes_one_of_today(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder).commit([Put(PLAIN, 0)])
    more = (
        "ALTER TABLE records ADD COLUMN extra TEXT",
        "ALTER TABLE records DROP COLUMN extra",
        "CREATE TABLE more (a INTEGER)",
    )
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))
    found = opened(folder)
    assert not found.restored
    assert found.grant(PLAIN.id)
    assert found._writer.execute("PRAGMA user_version").fetchone()[0] == len(schema.MIGRATIONS)
    found.close()
    opened(folder).commit([Put(grant("b"), 0)])


def test_a_file_of_the_first_version_is_as_it_was(folder: Path) -> None:
    """Its rows get their digests, and its uses the grants that they are of."""
    store = opened(folder)
    store.commit([Put(PLAIN, 0), Put(FULL, 0), Put(mark("w"), 0), Consume(f"use {PLAIN.id}", PLAIN.id)])
    before = everything(store)
    of_first_version(store, folder)
    found = opened(folder)
    assert not found.restored
    assert everything(found) == before
    for key in (f"use {PLAIN.id}", "approval ap1"):
        with pytest.raises(Spent):
            found.commit([Consume(key, PLAIN.id)])
    assert found._reader.execute("SELECT key, of_grant FROM uses ORDER BY key").fetchall() == [
        ("approval ap1", ""),
        (f"use {PLAIN.id}", PLAIN.id),
    ]


def of_first_version(store: SqliteStore, folder: Path) -> None:
    """Puts a file of the first version into the place of a store's, with what is in it and a consumed approval."""
    rows = {
        table: store._reader.execute(f"SELECT {columns} FROM {table}").fetchall()
        for table, columns in (
            ("life", "one, incarnation, revision"),
            ("commits", "*"),
            ("records", "kind, name, more, revision, live, document"),
            ("uses", "key, count, 5"),
        )
    }
    rows["consumed"] = [*rows.pop("uses"), ("approval ap1", 1, 5)]
    store.close()
    path = folder / FILE
    path.unlink()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in schema.MIGRATIONS[0]:
        connection.execute(statement)
    for table, found in rows.items():
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})", found)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    path.chmod(0o600)


def test_tables_that_are_not_as_they_were_made_are_refused(folder: Path) -> None:
    opened(folder).close()
    connection = sqlite3.connect(folder / FILE, isolation_level=None)
    connection.execute("CREATE TRIGGER t AFTER UPDATE ON life BEGIN DELETE FROM records; END")
    connection.close()
    refused("invalid_file", lambda: opened(folder))


def sql(*statements: str) -> Callable[[Path], None]:
    """What an operator does with `sqlite3 grants.db`, while no server runs."""

    def run(file: Path) -> None:
        connection = sqlite3.connect(file, isolation_level=None)
        for statement in statements:
            connection.execute(statement).fetchall()
        connection.close()

    return run


def back_up(file: Path) -> None:
    """As `.backup` does it; and the copy is put in the place of the file."""
    copy, there = sqlite3.connect(file.with_name("copy.db")), sqlite3.connect(file)
    there.backup(copy)
    copy.close()
    there.close()
    make_the_one(file, file.with_name("copy.db"))


def vacuum_into(file: Path) -> None:
    sql(f"VACUUM INTO '{file.with_name('copy.db')}'")(file)
    make_the_one(file, file.with_name("copy.db"))


def make_the_one(file: Path, copy: Path) -> None:
    copy.chmod(0o600)
    copy.replace(file)


MAINTAINED = {
    "ANALYZE": sql("ANALYZE"),
    "ANALYZE of one table": sql("ANALYZE records"),
    "optimize": sql("PRAGMA analysis_limit = 100", "PRAGMA optimize = 0x10002"),
    "VACUUM": sql("VACUUM"),
    "VACUUM after ANALYZE": sql("ANALYZE", "VACUUM"),
    "REINDEX": sql("REINDEX"),
    "checkpoint": sql("PRAGMA wal_checkpoint(TRUNCATE)"),
    "another journal": sql("PRAGMA journal_mode = DELETE"),
    "page size": sql("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 8192", "VACUUM"),
    "auto_vacuum": sql("PRAGMA auto_vacuum = FULL", "VACUUM", "PRAGMA incremental_vacuum"),
    "secure_delete": sql("PRAGMA secure_delete = ON", "PRAGMA cache_size = 10", "PRAGMA synchronous = OFF"),
    "checks": sql("PRAGMA integrity_check", "PRAGMA quick_check", "PRAGMA foreign_key_check"),
    "backup": back_up,
    "VACUUM INTO": vacuum_into,
}


@pytest.mark.parametrize("maintain", MAINTAINED.values(), ids=MAINTAINED)
def test_an_operator_may_look_after_the_file(folder: Path, maintain: Callable[[Path], None]) -> None:
    """After ANALYZE it was never opened again: its tables were not as they were made."""
    one = opened(folder)
    one.commit([Put(PLAIN, 0), Put(FULL, 0), Put(mark("w"), 0), Consume("k", USED)])
    held, incarnation = everything(one), one.incarnation
    one.close()
    maintain(folder / FILE)
    two = opened(folder)
    assert (everything(two), two.incarnation, two.restored) == (held, incarnation, False)
    with pytest.raises(Spent):
        two.commit([Consume("k", USED)])
    at = two.commit([Put(mark("x"), 0)]).revision
    two.close()
    assert opened(folder).changes(at, incarnation).revision == at


@pytest.mark.parametrize("maintain", ["ANALYZE", "VACUUM", "REINDEX", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA optimize"])
def test_an_operator_may_look_after_a_file_that_is_in_use(folder: Path, maintain: str) -> None:
    one = opened(folder)
    one.commit([Put(PLAIN, 0)])
    sql(maintain)(folder / FILE)
    one.commit([Put(mark("w"), 0)])
    one.confirmed()
    held = everything(one)
    assert everything(opened(folder)) == held


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TRIGGER more AFTER INSERT ON records BEGIN DELETE FROM uses; END",
        "CREATE VIEW sqlitestat AS SELECT * FROM records",
        "DROP INDEX uses_by_grant",
    ],
)
def test_other_tables_are_no_care(folder: Path, change: str) -> None:
    opened(folder).close()
    sql(change)(folder / FILE)
    assert "not as they were made" in refused("invalid_file", lambda: opened(folder)).message


def test_a_migration_that_fails_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(folder).commit([Put(PLAIN, 0)])
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE half (a)", "CREATE TABLE life (a)")))
        refused("store_unavailable", lambda: opened(folder))
    found = opened(folder)
    assert found.grant(PLAIN.id)
    assert found._writer.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)


# ---- what cannot be read is not there


def test_a_record_that_cannot_be_read_is_unavailable(folder: Path) -> None:
    store = opened(folder)
    at = store.commit([Put(PLAIN, 0), Put(grant("b"), 0)]).revision
    for broken in ("{", "[]", '{"v":2}', '{"grant":{},"v":1}'):
        store._writer.execute("UPDATE records SET document = ? WHERE name = ?", (broken, PLAIN.id))
        for call in (
            lambda: store.grant(PLAIN.id),
            lambda: store.changes(0, store.incarnation),
            lambda: store.commit([Put(PLAIN, at)]),
        ):
            with pytest.raises(Unavailable):
                call()
    assert store.grant(grant("b").id)


def test_what_cannot_be_stored_changes_nothing(folder: Path) -> None:
    store = opened(folder)
    for change in (Consume("\ud800", USED), Consume("k", "\ud800")):
        with pytest.raises(Unavailable):
            store.commit([Put(PLAIN, 0), change])
    assert everything(store).records == ()


def test_a_closed_store_is_unavailable(folder: Path) -> None:
    store = opened(folder)
    store.close()
    for call in (
        lambda: store.commit([]),
        lambda: store.grant("a"),
        lambda: store.changes(0, ""),
        store.confirmed,
    ):
        with pytest.raises(Unavailable):
            call()


def test_a_witness_that_cannot_be_told_leaves_the_commit_and_lets_nothing_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(folder)

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        at = store.commit([Put(PLAIN, 0)]).revision
        for call in (store.confirmed, lambda: store.changes(0, ""), lambda: store.grant(PLAIN.id)):
            with pytest.raises(Unavailable):
                call()
    assert store.grant(PLAIN.id)
    store.confirmed()
    store.close()
    again = opened(folder)
    assert not again.restored
    assert again.grant(PLAIN.id).revision == at  # type: ignore[union-attr]


# ---- another database in its place


def copied(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


def lives_of(folder: Path) -> tuple[SqliteStore, dict[str, bytes], int]:
    """A store that was copied after its first commit, and went on."""
    store = opened(folder)
    at = store.commit([Put(PLAIN, 0), Put(grant("b"), 0), Put(mark("w"), 0)]).revision
    store.close()
    copy = copied(folder, FILE)
    store = opened(folder)
    store.commit([Put(ended(PLAIN), at)])
    return store, copy, at


def assert_all_ended(found: SqliteStore, before: str) -> None:
    assert found.restored
    assert found.incarnation != before
    grants = [r for r in everything(found).records if isinstance(r, Grant)]
    assert grants
    assert all(g.is_over and g.ended for g in grants)
    assert {g.ended for g in grants} <= {EndReason.SUPERSEDED, EndReason.COMPLETED}
    found.confirmed()
    found.commit([Put(grant("new"), 0)])


def test_a_restored_copy_revives_nothing(folder: Path) -> None:
    store, copy, at = lives_of(folder)
    before, incarnation = everything(store).revision, store.incarnation
    store.close()
    put_back(folder, copy)
    found = opened(folder)
    assert_all_ended(found, incarnation)
    assert found.grant(PLAIN.id).ended is EndReason.SUPERSEDED  # type: ignore[union-attr]
    assert everything(found).revision > before
    assert found.changes(at, incarnation).whole
    assert found.mark("workload", "w")
    found.close()
    again = opened(folder)
    assert not again.restored
    assert again.grant(grant("new").id)


@pytest.mark.parametrize("how", ["restored", "removed"])
def test_a_restored_copy_is_left_as_it_is_where_it_is_to_be_refused(folder: Path, how: str) -> None:
    """Finding S11: what was frozen after the copy was made came to be allowed again before an operator knew of it."""
    store, copy, _ = lives_of(folder)
    store.close()
    if how == "restored":
        put_back(folder, copy)
    else:
        for each in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (folder / each).unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(PdpError, match="is not the one that was last written") as refusal:
            opened(folder, refuse_restored=True)
        assert refusal.value.code == "store_unavailable"
    found = opened(folder)  # an operator has said so
    assert found.restored
    found.close()
    assert not opened(folder, refuse_restored=True).restored


def test_a_new_store_is_no_restored_one(folder: Path) -> None:
    assert not opened(folder, refuse_restored=True).restored


def test_a_lost_wal_is_a_lost_tail(folder: Path) -> None:
    store, _, _ = lives_of(folder)
    files = copied(folder, FILE)  # without what is still in the WAL
    incarnation = store.incarnation
    store.close()
    put_back(folder, files)
    assert_all_ended(opened(folder), incarnation)


@pytest.mark.parametrize(
    "harm",
    [
        lambda f: (f / WITNESS).unlink(),
        lambda f: (f / WITNESS).write_bytes(b""),
        lambda f: (f / WITNESS).write_bytes(b"x" * 512),
    ],
    ids=["lost", "emptied", "overwritten"],
)
def test_without_its_witness_nothing_is_sure(folder: Path, harm: Callable[[Path], Any]) -> None:
    store, _, _ = lives_of(folder)
    incarnation = store.incarnation
    store.close()
    harm(folder)
    assert_all_ended(opened(folder), incarnation)


def test_half_a_witness_is_enough(folder: Path) -> None:
    """A torn write of one slot leaves the other, one commit behind: that of the torn one was not acknowledged."""
    store, _, _ = lives_of(folder)
    store.close()
    raw = bytearray((folder / WITNESS).read_bytes())
    turns = [raw.find(b'"turn": '), raw.rfind(b'"turn": ')]
    newer = max(turns, key=lambda at: int(raw[at + 8 : raw.index(b"}", at)]))
    raw[newer] ^= 1
    (folder / WITNESS).write_bytes(raw)
    assert not opened(folder).restored


def test_a_copy_that_lived_elsewhere_is_not_this_store(folder: Path, tmp_path: Path) -> None:
    """It has more revisions, and not the one that the witness saw."""
    store, copy, _ = lives_of(folder)
    incarnation = store.incarnation
    store.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    put_back(elsewhere, {**copy, WITNESS: b""})
    connection = sqlite3.connect(elsewhere / FILE, isolation_level=None)  # as another witness would have let it
    for revision in range(2, 40):
        connection.execute("INSERT INTO commits VALUES (?, 'other')", (revision,))
    rewritten(connection, "life", revision=39)
    connection.close()
    put_back(folder, copied(elsewhere, FILE))
    assert_all_ended(opened(folder), incarnation)


def test_a_lost_database_is_a_new_one(folder: Path) -> None:
    store, _, _ = lives_of(folder)
    before, incarnation = everything(store).revision, store.incarnation
    store.close()
    put_back(folder, {})
    found = opened(folder)
    assert found.incarnation != incarnation
    assert everything(found).revision > before
    assert everything(found).records == ()


def test_a_grant_that_cannot_be_read_is_ended_too(folder: Path) -> None:
    store = opened(folder)
    store.commit([Put(PLAIN, 0)])
    rewritten(store._writer, "records", document="{}")  # as a program with a fault would have written it
    store.close()
    (folder / WITNESS).unlink()
    found = opened(folder)
    (record,) = everything(found).records
    assert isinstance(record, Tombstone)
    assert record.id == PLAIN.id


def test_a_file_that_is_replaced_under_a_running_store_is_noticed(folder: Path) -> None:
    store, copy, _ = lives_of(folder)
    put_back(folder, copy)
    for call in (
        store.confirmed,
        lambda: store.commit([Put(grant("c"), 0)]),
        lambda: store.grant(PLAIN.id),
        lambda: store.changes(0, store.incarnation),
    ):
        with pytest.raises(Unavailable):
            call()


def test_a_file_that_is_written_over_under_a_running_store_is_noticed(folder: Path) -> None:
    store, _, at = lives_of(folder)
    rewritten(store._writer, "life", revision=at)
    store._writer.execute("DELETE FROM commits WHERE revision > ?", (at,))
    for call in (
        store.confirmed,
        lambda: store.commit([Put(grant("c"), 0)]),
        lambda: store.grant(PLAIN.id),
        lambda: store.changes(0, store.incarnation),
    ):
        with pytest.raises(Unavailable):
            call()


def test_a_new_incarnation_is_noticed_by_who_has_the_file_open(folder: Path) -> None:
    one = opened(folder)
    at = one.commit([Put(PLAIN, 0)]).revision
    before = one.incarnation
    one._witness.see(type(one._witness.seen())("another", 1, "x"))  # type: ignore[misc,call-arg]
    two = opened(folder)
    assert two.restored
    with pytest.raises(Unavailable):
        one.confirmed()
    with pytest.raises(Conflict):
        one.commit([Put(PLAIN, at)])
    found = one.changes(at, before)
    assert (found.whole, found.incarnation) == (True, two.incarnation)
    one.confirmed()
    one.commit([Put(grant("b"), 0)])


def test_the_limit_both_restored_together(folder: Path) -> None:
    """The manual says so: a witness that is copied and restored with its database knows nothing more than it."""
    store = opened(folder)
    store.commit([Put(PLAIN, 0)])
    store.close()
    copy = copied(folder, FILE, WITNESS)
    store = opened(folder)
    store.commit([Put(ended(PLAIN), 1)])
    store.close()
    put_back(folder, copy)
    assert not opened(folder).restored


def test_a_witness_elsewhere_is_not_restored_with_it(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    store = opened(folder, witness=witness)
    at = store.commit([Put(PLAIN, 0)]).revision
    store.close()
    copy = copied(folder, *os.listdir(folder))
    store = opened(folder, witness=witness)
    store.commit([Put(ended(PLAIN), at)])
    incarnation = store.incarnation
    store.close()
    put_back(folder, copy)
    assert_all_ended(opened(folder, witness=witness), incarnation)
