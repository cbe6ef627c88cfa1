"""Real processes, ended by SIGKILL at every point of a commit: what was acknowledged is there, and nothing is there by half.

A child is a fork that opens the store for itself. What it acknowledges it writes to a pipe, as a caller would answer a
client.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pdp.grants.grant import Grant
from pdp.grants.store import Conflict, Consume, Put, Spent, Unavailable
from pdp.store.grants.sqlite import SqliteStore
from tests.pdp.store.grants_conformance import everything
from tests.pdp.store.grants_world import NOW, USED, ended, grant

COMMITS = 4
ODD = 17


def opened(folder: Path, **options: Any) -> SqliteStore:
    return SqliteStore(folder / "grants.db", now_us=lambda: NOW, **options)


def spawn(act: Callable[[Callable[[int], None]], None]) -> tuple[int, int]:
    """A child process, and the pipe on which it says what it acknowledges."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _live(act, writer)
    os.close(writer)
    return child, reader


def _live(act: Callable[[Callable[[int], None]], None], writer: int) -> NoReturn:
    try:
        act(lambda n: _send(writer, n))
    except BaseException:  # noqa: BLE001  # a child never goes on as a test
        os._exit(ODD)
    os._exit(0)


def _send(writer: int, n: int) -> None:
    os.write(writer, struct.pack("<q", n))


def acknowledged(reader: int) -> list[int]:
    said = b""
    while part := os.read(reader, 65536):
        said += part
    os.close(reader)
    return [n for (n,) in struct.iter_unpack("<q", said)]


def pairs(folder: Path, acknowledge: Callable[[int], None], watch: Callable[[SqliteStore], None]) -> None:
    """Commit n gives two grants, ends those of the commit before, and takes a use of one key."""
    store = opened(folder)
    watch(store)
    before: tuple[Grant, ...] = ()
    for n in range(COMMITS):
        new = (grant(f"a{n}"), grant(f"b{n}"))
        puts = [*(Put(g, 0) for g in new), *(Put(ended(g), g.revision) for g in before)]
        found = store.commit([*puts, Consume("uses", USED, 100)])
        acknowledge(n)
        before = tuple(r for r in found.records[:2] if isinstance(r, Grant))


class Killer:
    """Ends the process at its nth step: before a statement of SQLite, before or after a write of the witness."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self, *_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, store: SqliteStore) -> None:
        store._writer.set_trace_callback(self.step)
        for name in ("pwrite", "fsync"):
            setattr(os, name, self.around(getattr(os, name)))

    def around(self, call: Any) -> Any:
        def run(*arguments: Any) -> Any:
            self.step()
            found = call(*arguments)
            self.step()
            return found

        return run


def steps_of_a_whole_run(folder: Path) -> int:
    killer = Killer(1 << 30)

    def act(acknowledge: Callable[[int], None]) -> None:
        pairs(folder, lambda _: None, killer.watch)
        acknowledge((1 << 30) - killer.left)

    child, reader = spawn(act)
    (found,) = acknowledged(reader)
    assert os.waitpid(child, 0)[1] == 0
    return found


def assert_whole(folder: Path, said: list[int]) -> None:
    """The commits are a beginning of the sequence: all that was acknowledged and at most one more, each of them whole."""
    store = opened(folder)
    assert not store.restored
    held = {r.id: r for r in everything(store).records if isinstance(r, Grant)}
    done = len(held) // 2
    assert set(held) == {grant(f"{x}{n}").id for n in range(done) for x in "ab"}
    assert said == list(range(len(said)))
    assert len(said) <= done <= len(said) + 1
    for n in range(done):
        assert {held[grant(f"{x}{n}").id].is_over for x in "ab"} == {n < done - 1}
    if done:
        store.commit([Consume("uses", USED, done + 1)])
    with pytest.raises(Spent):
        store.commit([Consume("uses", USED, done + (done > 0))])
    store.confirmed()
    store.close()


def test_killed_at_every_step(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir(mode=0o700)
    steps = steps_of_a_whole_run(first)
    assert_whole(first, list(range(COMMITS)))
    assert steps > COMMITS * 10
    for at in range(steps):
        folder = tmp_path / str(at)
        folder.mkdir(mode=0o700)
        child, reader = spawn(lambda acknowledge, at=at, folder=folder: pairs(folder, acknowledge, Killer(at).watch))
        said = acknowledged(reader)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert_whole(folder, said)


def test_killed_while_it_writes_without_end(tmp_path: Path) -> None:
    """From outside, after so many acknowledged commits: wherever it is then, in the middle of a write or of an fsync."""

    def act(acknowledge: Callable[[int], None]) -> None:
        store = opened(tmp_path)
        n = sum(isinstance(r, Grant) for r in everything(store).records)
        while True:
            store.commit([Put(grant(f"g{n}"), 0), Consume("k", USED, 1 << 40)])
            acknowledge(n)
            n += 1

    total = 0
    for patience in range(1, 25):
        child, reader = spawn(act)
        said = []
        for _ in range(patience):
            said.append(struct.unpack("<q", os.read(reader, 8))[0])
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said += acknowledged(reader)
        store = opened(tmp_path)
        assert not store.restored
        held = {r.id for r in everything(store).records if isinstance(r, Grant)}
        assert said[0] == total
        total = len(held)
        assert {grant(f"g{n}").id for n in range(total)} == held
        assert said[-1] < total <= said[-1] + 2
        store.close()


def test_killed_while_a_new_incarnation_begins(tmp_path: Path) -> None:
    """Whatever is cut short there, the grants of the old one have ended when anybody reads."""
    for at in range(14):
        folder = tmp_path / str(at)
        folder.mkdir(mode=0o700)
        store = opened(folder)
        store.commit([Put(grant("a"), 0), Put(grant("b"), 0)])
        store.close()
        (folder / "grants.db.witness").unlink()

        def act(_: Any, folder: Path = folder, at: int = at) -> None:
            killer = Killer(at)
            live_on = opening_with(killer)
            live_on(folder)

        child, reader = spawn(act)
        acknowledged(reader)
        os.waitpid(child, 0)
        found = opened(folder)
        grants = [r for r in everything(found).records if isinstance(r, Grant)]
        assert len(grants) == 2
        assert all(g.is_over for g in grants)
        found.confirmed()
        found.close()


def opening_with(killer: Killer) -> Callable[[Path], None]:
    """Opening, with a killer on every connection and on the witness."""
    from pdp.store.grants import sqlite

    connect = sqlite.connect

    def watched(path: Path, wait_s: float) -> sqlite3.Connection:
        found = connect(path, wait_s)
        found.set_trace_callback(killer.step)
        return found

    def run(folder: Path) -> None:
        sqlite.connect = watched  # in the child only
        for name in ("pwrite", "fsync"):
            setattr(os, name, killer.around(getattr(os, name)))
        opened(folder)

    return run


# ---- several processes


def test_of_several_processes_one_consumes(tmp_path: Path) -> None:
    opened(tmp_path).close()
    keys = 40

    def act(acknowledge: Callable[[int], None]) -> None:
        store = opened(tmp_path, wait_s=30.0)
        for n in range(keys):
            try:
                store.commit([Consume(f"k{n}", USED)])
            except Spent:
                continue
            acknowledge(n)

    children = [spawn(act) for _ in range(3)]
    won = [n for _, reader in children for n in acknowledged(reader)]
    assert [os.waitpid(child, 0)[1] for child, _ in children] == [0] * 3
    assert sorted(won) == list(range(keys))


def test_of_several_processes_none_overwrites_another(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([Put(grant("a", why="0"), 0)])
    store.close()
    each = 20

    def act(acknowledge: Callable[[int], None]) -> None:
        store = opened(tmp_path, wait_s=30.0)
        done = 0
        while done < each:
            found = store.grant(grant("a").id)
            assert found is not None
            try:
                store.commit([Put(replace(found, why=str(int(found.why) + 1)), found.revision)])
            except Conflict:
                continue
            done += 1
            acknowledge(done)

    children = [spawn(act) for _ in range(3)]
    for _, reader in children:
        assert acknowledged(reader) == list(range(1, each + 1))
    assert [os.waitpid(child, 0)[1] for child, _ in children] == [0] * 3
    assert opened(tmp_path).grant(grant("a").id).why == str(3 * each)  # type: ignore[union-attr]


def test_what_one_process_ends_has_ended_for_the_other(tmp_path: Path) -> None:
    store = opened(tmp_path)
    at = store.commit([Put(grant("a"), 0)]).revision

    def act(acknowledge: Callable[[int], None]) -> None:
        acknowledge(opened(tmp_path).commit([Put(ended(grant("a")), at)]).revision)

    child, reader = spawn(act)
    (revision,) = acknowledged(reader)
    assert os.waitpid(child, 0)[1] == 0
    assert store.grant(grant("a").id).is_over  # type: ignore[union-attr]
    (record,) = store.changes(at, store.incarnation).records
    assert record.revision == revision
    store.confirmed()


def test_a_store_is_not_taken_across_a_fork(tmp_path: Path) -> None:
    store = opened(tmp_path)

    def act(acknowledge: Callable[[int], None]) -> None:
        for call in (lambda: store.commit([]), lambda: store.grant("a"), store.confirmed):
            try:
                call()
            except Unavailable:
                acknowledge(1)

    child, reader = spawn(act)
    assert acknowledged(reader) == [1, 1, 1]
    assert os.waitpid(child, 0)[1] == 0
    store.commit([Put(grant("a"), 0)])


# ---- locked


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_locked_database_is_unavailable_and_unharmed(tmp_path: Path, how: str) -> None:
    store = opened(tmp_path, wait_s=0.05)
    at = store.commit([Put(grant("a"), 0)]).revision
    other = sqlite3.connect(tmp_path / "grants.db", isolation_level=None)
    other.execute(how)
    with pytest.raises(Unavailable):
        store.commit([Put(grant("b"), 0)])
    assert store.grant(grant("a").id)  # readers do not wait for writers
    store.confirmed()
    other.execute("ROLLBACK")
    assert store.commit([Put(grant("b"), 0)]).revision == at + 1


def test_a_writer_that_holds_the_lock_for_ever_is_not_waited_for(tmp_path: Path) -> None:
    store = opened(tmp_path, wait_s=0.05)
    other = opened(tmp_path)
    with other._witness.locked(0):
        with pytest.raises(Unavailable):
            store.commit([Put(grant("a"), 0)])
        with pytest.raises(Exception, match="store_unavailable"):
            opened(tmp_path, wait_s=0.05)
    store.commit([Put(grant("a"), 0)])


def test_a_full_disk_is_unavailable_and_unharmed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    at = store.commit([Put(grant("a"), 0)]).revision
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="SQLITE_FULL"):
        store.commit([Put(grant(str(n), why="x" * 4000), 0) for n in range(20)])
    assert everything(store).revision == at
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.commit([Put(grant("b"), 0)])
