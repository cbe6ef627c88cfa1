"""P7 and P9: the answer of an engine that remembers is the fresh one, whatever has happened in between."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pdp
from language import Bundle, Directory, DirectoryError, EntityData, RowData
from pdp.sdk.engine import EngineOptions
from tests.language import generated as g
from tests.pdp.engine.asking import assert_true_now, fresh, random_request

STEPS = 80
CASES = int(os.environ.get("PDP_TEST_STEPS", "16000")) // STEPS


class Life:
    """An engine, the hands that change it, and a clock that is set at will."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.world = g.make_world(random)
        self.bundle = g.compile_world(self.world.text())
        self.now = g.START
        directory = g.make_directory(random, self.world, self.bundle)
        self.engine = pdp.Engine(self.bundle, directory, EngineOptions(cache_entries=random.choice([4, 64, 65_536])))
        self.requests = [random_request(random, self.world) for _ in range(6)]
        self.hits = 0

    def ask(self) -> None:
        random, engine = self.random, self.engine
        request = random.choice(self.requests)
        self.hits += engine.explain_cache(request, now=self.now).hit
        truth = fresh(engine._snapshot, request, self.now)
        if random.random() < 0.25:
            decision = engine.check(**{name: getattr(request, name) for name in KEYWORDS}, now=self.now)
        elif random.random() < 0.25:
            decision = engine.check_many([request], now=self.now)[0]
        else:
            decision = engine.check(request, now=self.now)
        assert_true_now(decision, truth, self.now)
        later = self.now + int((min(decision.valid_until_us, self.now + 90 * g.MINUTE) - self.now) * random.random())
        assert fresh(engine._snapshot, request, later).allowed == decision.allowed

    def pass_time(self) -> None:
        self.now = g.START + self.random.randint(0, 40 * 60) * 1_000_000

    def step_back(self) -> None:
        self.now = max(g.START, self.now - self.random.randint(0, 10) * g.MINUTE)

    def renew_request(self) -> None:
        self.requests[self.random.randrange(len(self.requests))] = random_request(self.random, self.world)

    def change_entity(self) -> None:
        held = [s for s in [*self.world.entities.values(), self.world.workload] if not s.source]
        spec = self.random.choice(held)
        name = self.some_id(spec.name)
        if self.random.random() < 0.3:
            self.engine.directory.remove((spec.name, name))
            return
        parents = tuple((p, e) for p in spec.parents for e in self.world.ids if self.random.random() < 0.3)
        changed = EntityData(spec.name, name, g.values(self.random, self.world, spec.fields), parents)
        with suppress(pdp.PdpError):  # it would close a cycle, and changes nothing
            self.engine.directory.upsert(changed)

    def some_id(self, kind: str) -> str:
        return f"spiffe://t.d/w/{self.random.choice('abc')}" if kind == "workload" else self.random.choice(self.world.ids)

    def change_row(self) -> None:
        if not self.world.relations:
            return
        name, (of, expiring) = self.random.choice(list(self.world.relations.items()))
        until = g.START + self.random.randint(1, 40) * g.MINUTE if expiring else 2**63 - 1
        row = RowData(name, tuple((k, self.some_id(k)) for k in of), until)
        self.random.choice([self.engine.directory.upsert, self.engine.directory.remove])(row)

    def revoke(self) -> None:
        noun = self.random.choice(NOUNS)
        self.engine.revoke(*noun)
        if noun[0] in ("task", "credential") or self.random.random() < 0.5:
            return
        self.engine.lift(*noun)

    def reload(self) -> None:
        """Other rules over the same vocabulary, as a new bundle."""
        rules = list(self.world.rules)
        self.random.shuffle(rules)
        text = g.PREFIX + "\n".join([*self.world.vocabulary, *rules[: self.random.randint(1, len(rules))]])
        self.engine._put_into_force(g.compile_world(text), self.engine._data)


KEYWORDS = ("action", "resource", "workload", "user", "task", "context", "gate", "location", "proof")
NOUNS = [
    ("task", "t1"),
    ("credential", "c1"),
    ("workload", "spiffe://t.d/w/a"),
    ("trust_domain", "t.d"),
    ("opener", "spiffe://t.d/ci"),
]
#: How often each hand moves.
HANDS = {
    Life.ask: 60,
    Life.pass_time: 8,
    Life.step_back: 4,
    Life.renew_request: 8,
    Life.change_entity: 8,
    Life.change_row: 6,
    Life.revoke: 2,
    Life.reload: 1,
}


def live(random: Random) -> int:
    """A life of some steps; every answer in it is looked at. Returns how many were remembered ones."""
    life = Life(random)
    for hand in random.choices(list(HANDS), list(HANDS.values()), k=STEPS):
        hand(life)
    return life.hits


hits = 0


@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.integers(0, 2**63).map(Random))
def test_the_answer_through_the_cache_is_the_fresh_one(random: Random) -> None:
    global hits
    hits += live(random)


def test_the_cache_was_hit() -> None:
    """A law about a cache that never answers would say nothing. Runs after the law."""
    assert hits > CASES * STEPS / 10


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_fresh_one_while_others_change_everything(seed: int) -> None:
    """Readers in threads, beside one who changes data, revokes and reloads. Where no change fell between looking at the
    snapshot before and after, the answer is that snapshot's."""
    random = Random(seed)
    life = Life(random)
    done, failures, compared = threading.Event(), [], []

    def read(own: Random) -> None:
        requests = [random_request(own, life.world) for _ in range(8)]
        while not done.is_set():
            request, at = own.choice(requests), g.START + own.randint(0, 40) * g.MINUTE
            before = life.engine._snapshot
            try:
                decision = life.engine.check(request, now=at)
                if life.engine._snapshot is before:
                    assert_true_now(decision, fresh(before, request, at), at)
                    compared.append(1)
            except BaseException as error:  # noqa: BLE001  # told in the test's own thread
                failures.append(error)
                return

    readers = [threading.Thread(target=read, args=(Random(seed * 10 + i),)) for i in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(120):
        random.choice([life.change_entity, life.change_row, life.reload, life.revoke])()
    while len(compared) < 200 and not failures:
        life.change_entity()
    done.set()
    for reader in readers:
        reader.join()
    assert not failures, failures[0]


def test_a_change_that_fails_changes_nothing() -> None:
    bundle = g.compile_world(
        "language 1\nentity T in T { a: Int }\nentity U\naction read on T\n"
        "allow r { for U do read on T when resource.a == 1 }"
    )
    engine = pdp.Engine(bundle)
    engine.directory.upsert({"type": "T", "id": "x", "attributes": {"a": 1}})
    before = engine._snapshot
    for bad in (
        [{"type": "T", "id": "y", "attributes": {"a": 1}}, {"type": "T", "id": "x", "attributes": {"a": "1"}}],
        [{"type": "T", "id": "x", "attributes": {"a": 2}, "parents": [["T", "x"]]}],
        [{"type": "T", "id": "x", "attributes": {"a": 2}}, {"relation": "none", "of": []}],
        ["x"],
        [{"type": "T", "id": 5}],
    ):
        with pytest.raises(pdp.PdpError) as caught:
            engine.directory.upsert(bad)
        assert caught.value.code == "invalid_data"
        assert engine._snapshot is before


def test_the_directory_of_the_language_tells_errors_its_own_way() -> None:
    bundle: Bundle = g.compile_world("language 1\nentity T in T\n")
    with pytest.raises(DirectoryError):
        Directory(bundle.vocabulary).upsert([EntityData("X", "x")])
