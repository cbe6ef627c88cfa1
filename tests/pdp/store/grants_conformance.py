"""What any store of grants must pass. A test of a store inherits this class and says how one is made.

What a kind of store can lose (its process, its file, its network) is tested beside it; here is what callers rely on.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from pdp.grants.grant import Grant, Mark, State, Tombstone
from pdp.grants.store import (
    Absorbed,
    Bury,
    Change,
    Changes,
    Conflict,
    Consume,
    Expect,
    GrantStore,
    Put,
    Record,
    Spent,
    StoreRefusal,
    Unwritten,
)
from tests.pdp.store.grants_world import FULL, NOW, PLAIN, USED, ended, grant, mark

THREADS = 6
_SETTINGS = settings(
    max_examples=int(os.environ.get("PDP_TEST_CASES", "50")),
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class GrantsConformance:
    @abstractmethod
    def make(self, folder: Path) -> GrantStore:
        """A new store, with nothing in it."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[GrantStore]:
        made = self.make(tmp_path)
        yield made
        close(made)

    # ---- records

    def test_what_was_written_is_read(self, store: GrantStore) -> None:
        found = store.commit([Put(PLAIN, 0), Put(FULL, 0), Put(mark("w"), 0)])
        assert [r.revision for r in found.records] == [found.revision] * 3
        assert store.grant(PLAIN.id) == replace(PLAIN, revision=found.revision) == found.records[0]
        assert store.grant(FULL.id) == replace(FULL, revision=found.revision)
        assert store.mark("workload", "w") == replace(mark("w"), revision=found.revision)
        value = store.grant(FULL.id).facts[0].value  # type: ignore[union-attr]
        assert [type(v) for v in value["deep"]] == [int, bool, str]

    @pytest.mark.parametrize("name", ["", "nobody", "' OR 1=1 --", "\x00", "\ud800", "a" * 100_000, "%"])
    def test_what_was_not_written_is_not_there(self, store: GrantStore, name: str) -> None:
        store.commit([Put(PLAIN, 0), Put(mark("w"), 0)])
        assert store.grant(name) is None
        assert store.mark("workload", name) is None
        assert store.mark(name, "w") is None

    def test_marks_and_grants_do_not_share_names(self, store: GrantStore) -> None:
        store.commit([Put(grant("x"), 0), Put(mark(grant("x").id), 0)])
        assert isinstance(store.grant(grant("x").id), Grant)
        assert isinstance(store.mark("workload", grant("x").id), Mark)
        assert store.mark("gate", grant("x").id) is None

    def test_revisions_only_grow(self, store: GrantStore) -> None:
        found = [store.commit([Put(grant(str(n)), 0)]).revision for n in range(5)]
        assert found == sorted(set(found))
        assert found[0] > 0
        assert store.commit([]).revision > found[-1]

    # ---- compare and set

    def test_a_write_names_what_it_replaces(self, store: GrantStore) -> None:
        first = store.commit([Put(PLAIN, 0)]).revision
        second = store.commit([Put(replace(PLAIN, state=State.SUSPENDED), first)]).revision
        for expected in (0, first, second + 1, -1):
            with pytest.raises(Conflict):
                store.commit([Put(PLAIN, expected)])
        with pytest.raises(Conflict):
            store.commit([Put(grant("new"), second)])
        assert store.grant(PLAIN.id) == replace(PLAIN, state=State.SUSPENDED, revision=second)

    def test_the_revision_in_a_record_is_not_looked_at(self, store: GrantStore) -> None:
        found = store.commit([Put(replace(PLAIN, revision=99), 0)])
        assert found.records[0].revision == found.revision

    def test_a_commit_can_expect_what_it_read(self, store: GrantStore) -> None:
        first = store.commit([Put(PLAIN, 0), Put(mark("w"), 0)]).revision
        store.commit([Expect(PLAIN.id, first), Expect(("workload", "w"), first), Expect("none", 0), Put(grant("b"), 0)])
        for name, revision in ((PLAIN.id, 0), (("workload", "w"), first + 9), ("none", 1), (("gate", "w"), first)):
            with pytest.raises(Conflict):
                store.commit([Put(grant("c"), 0), Expect(name, revision)])
        assert store.grant(grant("c").id) is None
        over = store.commit([Put(ended(PLAIN), first)]).revision
        store.commit([Expect(PLAIN.id, over)])

    def test_a_commit_can_expect_that_nothing_was_written(self, store: GrantStore) -> None:
        store.commit([Unwritten(0), Put(PLAIN, 0)])
        first = store.commit([Put(grant("b"), 0)]).revision
        with pytest.raises(Conflict):
            store.commit([Unwritten(first - 1), Put(grant("c"), 0)])
        assert store.grant(grant("c").id) is None
        used = store.commit([Consume("used", USED)]).revision
        assert used > first
        store.commit([Unwritten(first), Put(grant("c"), 0)])  # a use is no record
        at = store.commit([Bury(grant("spent").id, NOW)]).revision
        with pytest.raises(Conflict):
            store.commit([Unwritten(at - 1)])
        store.commit([Unwritten(at)])

    # ---- all or nothing

    BAD: tuple[tuple[type[StoreRefusal], list[Change]], ...] = (
        (Conflict, [Put(PLAIN, 7)]),
        (Conflict, [Put(grant("new"), 0)]),  # twice in one commit
        (Conflict, [Bury(PLAIN.id, NOW)]),  # which is alive
        (Absorbed, [Put(grant("over"), 0)]),
        (Absorbed, [Put(grant("spent"), 0)]),
        (Spent, [Consume("used", USED)]),
        (Spent, [Consume("new", USED), Consume("new", USED)]),
        (Conflict, [Expect(PLAIN.id, 0)]),
    )

    @pytest.mark.parametrize("place", [0, 3])
    @pytest.mark.parametrize("case", range(len(BAD)))
    def test_one_refusal_and_nothing_has_changed(self, store: GrantStore, case: int, place: int) -> None:
        kind, bad = self.BAD[case]
        at = store.commit(
            [Put(PLAIN, 0), Put(grant("over"), 0), Bury(grant("spent").id, NOW), Consume("used", USED)]
        ).revision
        at = store.commit([Put(ended(grant("over")), at)]).revision
        before = everything(store)
        good: list[Change] = [Put(grant("new"), 0), Consume("fresh", USED), Put(mark("w"), 0)]
        with pytest.raises(kind):
            store.commit([*good[:place], *bad, *good[place:]])
        assert everything(store) == before
        assert store.commit([Consume("fresh", USED)]).revision > at

    def test_a_cascade_is_one_commit(self, store: GrantStore) -> None:
        tree = [grant(str(n), depth=n) for n in range(8)]
        at = store.commit([Put(g, 0) for g in tree]).revision
        done = store.commit([Put(ended(g), at) for g in tree])
        assert {store.grant(g.id).revision for g in tree} == {done.revision}  # type: ignore[union-attr]
        assert all(store.grant(g.id).is_over for g in tree)  # type: ignore[union-attr]

    # ---- what has ended

    def test_an_ended_grant_is_never_written_again(self, store: GrantStore) -> None:
        at = store.commit([Put(PLAIN, 0)]).revision
        over = store.commit([Put(ended(PLAIN), at)]).revision
        for expected in (0, at, over):
            with pytest.raises(Absorbed):
                store.commit([Put(PLAIN, expected)])
        assert store.grant(PLAIN.id) == replace(ended(PLAIN), revision=over)

    def test_a_spent_id_takes_no_late_grant(self, store: GrantStore) -> None:
        """Catalogue 133: the revocation came before the grant."""
        at = store.commit([Bury(PLAIN.id, NOW)])
        assert at.records == (Tombstone(PLAIN.id, NOW, at.revision),)
        for expected in (0, at.revision):
            with pytest.raises(Absorbed):
                store.commit([Put(PLAIN, expected)])
        assert store.grant(PLAIN.id) is None

    def test_an_ended_grant_may_be_forgotten_and_its_id_not(self, store: GrantStore) -> None:
        at = store.commit([Put(PLAIN, 0)]).revision
        with pytest.raises(Conflict):
            store.commit([Bury(PLAIN.id, NOW)])
        store.commit([Put(ended(PLAIN), at)])
        store.commit([Bury(PLAIN.id, NOW)])
        assert store.grant(PLAIN.id) is None
        store.commit([Bury(PLAIN.id, NOW + 1)])
        with pytest.raises(Absorbed):
            store.commit([Put(PLAIN, 0)])

    def test_a_lifted_mark_stays(self, store: GrantStore) -> None:
        at = store.commit([Put(mark("w"), 0)]).revision
        at = store.commit([Put(mark("w", lifted=True), at)]).revision
        assert store.mark("workload", "w") == mark("w", lifted=True, revision=at)
        with pytest.raises(Conflict):
            store.commit([Put(mark("w"), 0)])

    # ---- consuming

    def test_as_often_as_the_limit_says(self, store: GrantStore) -> None:
        store.commit([Consume("k", USED, 2), Consume("once", USED)])
        store.commit([Consume("k", USED, 2)])
        for key, limit in (("k", 2), ("k", 1), ("once", 1), ("never", 0)):
            with pytest.raises(Spent):
                store.commit([Consume(key, USED, limit)])
        store.commit([Consume("k", USED, 3)])  # somebody may be given more

    def test_uses_are_forgotten_with_their_grant_and_none_is_taken_of_one_that_is_over(self, store: GrantStore) -> None:
        """Finding F11: until a grant is over, no use of it comes back, whatever a clock says."""
        put = store.commit([Put(PLAIN, 0), Put(grant("b"), 0), Consume("k", PLAIN.id), Consume("b", grant("b").id)])
        store.commit([Put(ended(PLAIN), put.revision)])
        store.commit([Bury(grant("spent").id, NOW)])
        for name in (PLAIN.id, grant("spent").id):
            for key in ("k", "new"):
                with pytest.raises(Absorbed):
                    store.commit([Consume(key, name)])
        with pytest.raises(Spent):
            store.commit([Consume("b", grant("b").id)])
        store.commit([Consume("k", USED)])  # what was of a grant that is over is not there any more

    def test_keys_are_texts_and_nothing_else(self, store: GrantStore) -> None:
        for key in ("a", "A", "a ", " a", "ä", "a\u0308", "a\x00", "a\x00b", "%", "_", ""):
            store.commit([Consume(key, USED)])

    # ---- the feed

    def test_the_feed_has_each_record_as_it_is_now(self, store: GrantStore) -> None:
        at = store.commit([Put(grant("a"), 0), Put(grant("b"), 0)]).revision
        store.commit([Put(replace(grant("a"), why="x"), at)])
        store.commit([Bury("c" * 22, NOW), Put(mark("w"), 0)])
        whole = store.changes(0, store.incarnation)
        assert not whole.whole
        assert [type(r).__name__ for r in whole.records] == ["Grant", "Grant", "Tombstone", "Mark"]
        assert [r.id for r in whole.records if isinstance(r, Grant)] == [grant("b").id, grant("a").id]
        later = store.changes(at, store.incarnation)
        assert [type(r).__name__ for r in later.records] == ["Grant", "Tombstone", "Mark"]
        assert store.changes(later.revision, store.incarnation).records == ()

    @pytest.mark.parametrize("since", [-1, 10_000, 1 << 62])
    def test_a_reader_that_cannot_be_followed_reads_everything(self, store: GrantStore, since: int) -> None:
        store.commit([Put(PLAIN, 0)])
        found = store.changes(since, store.incarnation)
        assert found.whole
        assert len(found.records) == 1

    def test_a_reader_of_another_incarnation_reads_everything(self, store: GrantStore) -> None:
        at = store.commit([Put(PLAIN, 0)]).revision
        found = store.changes(at, "another")
        assert (found.whole, found.incarnation, len(found.records)) == (True, store.incarnation, 1)

    def test_an_incarnation_has_a_name_of_its_own(self, store: GrantStore, tmp_path: Path) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        other = self.make(folder)
        assert len(store.incarnation) >= 22
        assert other.incarnation != store.incarnation
        close(other)

    def test_it_confirms_that_it_can_be_read(self, store: GrantStore) -> None:
        store.confirmed()
        store.commit([Put(PLAIN, 0)])
        store.confirmed()

    # ---- at once

    def test_of_many_that_replace_the_same_one_wins(self, store: GrantStore) -> None:
        at = store.commit([Put(PLAIN, 0)]).revision
        won = self.at_once(lambda n: store.commit([Put(replace(PLAIN, why=str(n)), at)]))
        assert len(won) == 1
        assert store.grant(PLAIN.id).why == str(won[0])  # type: ignore[union-attr]

    def test_of_many_that_consume_the_same_so_many_win(self, store: GrantStore) -> None:
        """Catalogue 131."""
        assert len(self.at_once(lambda _: store.commit([Consume("k", USED, 2)]))) == 2

    def test_a_reader_beside_writers_sees_whole_commits(self, store: GrantStore) -> None:
        at = store.commit([Put(grant("a"), 0), Put(grant("b"), 0)]).revision
        stop = threading.Event()
        torn: list[Any] = []

        def read() -> None:
            seen, incarnation, held = 0, store.incarnation, {}
            while not stop.is_set():
                found = store.changes(seen, incarnation)
                held |= {r.id: r.why for r in found.records if isinstance(r, Grant)}
                if len(set(held.values())) > 1 or found.revision < seen:
                    torn.append(found)
                seen = found.revision

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(60):
            at = store.commit([Put(replace(grant(name), why=str(n)), at) for name in ("a", "b")]).revision
        stop.set()
        reader.join()
        assert torn == []

    def at_once(self, act: Any) -> list[int]:
        """Who won. Whoever lost was refused in words of the protocol."""
        gate, won, odd = threading.Barrier(THREADS), [], []

        def run(n: int) -> None:
            gate.wait()
            try:
                act(n)
                won.append(n)
            except (Conflict, Spent):
                pass
            except BaseException as error:  # noqa: BLE001
                odd.append(error)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert odd == []
        return won

    # ---- any sequence, beside a model

    def test_any_sequence_agrees_with_a_model(self, tmp_path: Path) -> None:
        folders = iter(range(1_000_000))

        def make() -> GrantStore:
            folder = tmp_path / str(next(folders))
            folder.mkdir()
            return self.make(folder)

        class Steps(Model):
            def __init__(self) -> None:
                super().__init__(make())

        run_state_machine_as_test(Steps, settings=_SETTINGS)


class Model(RuleBasedStateMachine):
    """A dict, written by somebody who read only the words of the protocol."""

    names = st.sampled_from(["a", "b", "c"])
    grants = Bundle("grants")

    def __init__(self, store: GrantStore) -> None:
        super().__init__()
        self.store = store
        self.held: dict[tuple[str, str], Record] = {}
        self.used: dict[str, int] = {}
        self.reader: dict[tuple[str, str], Record] = {}
        self.read_to = 0

    def teardown(self) -> None:
        close(self.store)

    @rule(target=grants, name=names, why=st.text(max_size=3), expected=st.none() | st.integers(0, 5))
    def put(self, name: str, why: str, expected: int | None) -> str:
        record = grant(name, why=why.encode("utf-8", "ignore").decode())
        there = self.held.get(("grant", record.id))
        revision = 0 if there is None else there.revision
        if isinstance(there, Tombstone) or (isinstance(there, Grant) and there.is_over):
            self.fails(Absorbed, Put(record, revision if expected is None else expected))
        elif expected is not None and expected != revision:
            self.fails(Conflict, Put(record, expected))
        else:
            self.does(Put(record, revision))
        return name

    @rule(name=consumes(grants))
    def end(self, name: str) -> None:
        there = self.held.get(("grant", grant(name).id))
        if isinstance(there, Grant) and not there.is_over:
            self.does(Put(ended(there), there.revision))

    @rule(name=names)
    def bury(self, name: str) -> None:
        there = self.held.get(("grant", grant(name).id))
        change = Bury(grant(name).id, NOW)
        if isinstance(there, Grant) and not there.is_over:
            self.fails(Conflict, change)
        else:
            self.does(change)

    @rule(name=names, lifted=st.booleans())
    def mark(self, name: str, lifted: bool) -> None:
        there = self.held.get(("mark", name))
        self.does(Put(mark(name, lifted=lifted), 0 if there is None else there.revision))

    @rule(key=names, limit=st.integers(0, 3))
    def consume(self, key: str, limit: int) -> None:
        if self.used.get(key, 0) >= limit:
            self.fails(Spent, Consume(key, USED, limit))
        else:
            self.does(Consume(key, USED, limit))
            self.used[key] = self.used.get(key, 0) + 1

    @rule()
    def read(self) -> None:
        found = self.store.changes(self.read_to, self.store.incarnation)
        assert not found.whole
        assert [r.revision for r in found.records] == sorted(r.revision for r in found.records)
        self.reader |= {name_of(r): r for r in found.records}
        self.read_to = found.revision
        assert self.reader == self.held

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        for name in ("a", "b", "c"):
            there = self.held.get(("grant", grant(name).id))
            assert self.store.grant(grant(name).id) == (there if isinstance(there, Grant) else None)
            assert self.store.mark("workload", name) == self.held.get(("mark", name))

    def does(self, change: Change) -> None:
        for record in self.store.commit([change]).records:
            self.held[name_of(record)] = record

    def fails(self, kind: type[StoreRefusal], change: Change) -> None:
        with pytest.raises(kind):
            self.store.commit([change])


def name_of(record: Record) -> tuple[str, str]:
    return ("mark", record.name) if isinstance(record, Mark) else ("grant", record.id)


def everything(store: GrantStore) -> Changes:
    return store.changes(-1, store.incarnation)


def close(store: Any) -> None:
    getattr(store, "close", lambda: None)()
