"""What the law of the cache is worth: with any one part of any key left out, or any bound not looked at, an answer is wrong.

A policy whose rules read everything that can be read; a pool of questions, worlds and moments; for every component of every
leaf's key a pair of them that an engine without that component takes for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import combinations, repeat
from random import Random
from typing import Any

import pytest

import pdp
from language import FOREVER, Bundle, Directory, EntityData, Refusal, Result, RowData, Source, compile_policies
from language import directory as directory_module
from pdp.engine.cache import DecisionCache, Entry
from pdp.engine.decide import Memo, bind, understand
from pdp.engine.key import Key
from pdp.engine.revocations import Revocations
from pdp.engine.snapshot import Policy, Snapshot
from tests.pdp.engine.asking import Fresh, fresh_of
from tests.pdp.engine.cache_law_test import live

T0 = 1_767_225_600_000_000
MINUTE = 60_000_000

POLICY = """language 1
entity Team
entity User in Team { level: Int }
entity Robot { level: Int }
entity Guest
entity Org { open: Bool }
entity Doc in Team { owner: User, org: Org, public: Bool, note: String? }
entity Memo claimed { n: Int }
workload in Team { tier: Int? }
relation reader(User, Doc) expiring
relation friend(Robot, Doc)
task job { carries n: Int, m: String?
  opened by spiffe://t.d/ci
  who anyone
  may act_task, act_task_field on Doc
  lasts at most 20m }
task other { carries n: Int
  opened by spiffe://t.d/ci
  who anyone
  may act_task_field on Doc
  lasts at most 20m }

action act_resource, act_user, act_ids, act_named, act_kind, act_workload, act_workload_record, act_reference on Doc
action act_rows, act_task, act_task_field, act_proof, act_process, act_gate, act_time on Doc
action act_context on Doc { tags: Set<String>?, n: Int?, flag: Bool from gate }
action act_told on Memo

allow by-resource { for User, Robot do act_resource on Doc when resource.public }
allow by-user { for User do act_user on Doc when user.level > 1 }
allow by-robot { for Robot do act_user on Doc when user.level > 1 }
allow by-guest-too { for Guest do act_user on Doc }
allow by-ids { for User do act_ids on Doc when resource.owner == user }
allow by-named { for User, Robot, Guest do act_named on Doc "d1" }
allow by-named-user { for User "u1" do act_named on Doc }
allow by-guest { for Guest do act_kind on Doc }
allow by-robot-kind { for Robot do act_kind on Doc }
allow by-workload { who spiffe://t.d/w/a do act_workload on Doc }
allow by-tier { who anyone do act_workload_record on Doc when resource.public and workload has tier and workload.tier == 1 }
allow by-unknown { who spiffe://t.d/w/c do act_workload_record on Doc }
allow by-team { who spiffe://t.d/** do act_workload_record on Doc when resource.public and workload in Team "t1" }
allow by-reference { for User do act_reference on Doc when resource.org.open }
allow by-rows { for User do act_rows on Doc when reader(user, resource) }
allow by-friend { for Robot do act_rows on Doc when friend(user, resource) }
allow by-task { who anyone do act_task on Doc during job }
allow by-task-field { who anyone do act_task_field on Doc during job when task.n == 1 }
allow by-other-field { who anyone do act_task_field on Doc during other when task.n == 2 }
allow by-proof { who anyone do act_proof on Doc proof request }
allow by-process { who anyone do act_process on Doc when workload has process and workload.process.kind == service }
allow by-gate { who anyone do act_gate on Doc when gate has id and gate.id == spiffe://t.d/gate }
allow by-time { who anyone do act_time on Doc when resource.public until 2026-01-01T00:10:00Z }
allow by-tags { who anyone do act_context on Doc when context has tags and context.tags.contains("x") trusting context.tags }
allow by-n { who anyone do act_context on Doc when context has n and context.n == 1 trusting context.n }
allow by-flag { who anyone do act_context on Doc when context.flag }
allow by-told { who anyone do act_told on Memo when resource.n == 1 trusting resource.n }
"""


BUNDLE: Bundle = compile_policies([Source("mutation.policy", POLICY)])

# ---- a pool of worlds and questions: a base, changed in one or two ways


def entities(**changed: EntityData | None) -> list[EntityData]:
    held = {
        "t1": EntityData("Team", "t1"),
        "o1": EntityData("Org", "o1", {"open": True}),
        "o2": EntityData("Org", "o2", {"open": False}),
        "d1": doc("d1"),
        "d2": doc("d2", owner="u2", org="o2"),
        "u1": EntityData("User", "u1", {"level": 2}),
        "u2": EntityData("User", "u2", {"level": 2}),
        "r1": EntityData("Robot", "r1", {"level": 2}),
        "a": EntityData("workload", "spiffe://t.d/w/a", {"tier": 1}, (("Team", "t1"),)),
        "b": EntityData("workload", "spiffe://t.d/w/b", {}),
        **changed,
    }
    return [e for e in held.values() if e is not None]


def doc(name: str, owner: str = "u1", org: str = "o1", public: bool = True) -> EntityData:
    return EntityData("Doc", name, {"owner": ("User", owner), "org": ("Org", org), "public": public})


ROWS = [RowData("reader", (("User", "u1"), ("Doc", "d1"))), RowData("friend", (("Robot", "r1"), ("Doc", "d1")))]


@cache
def worlds() -> tuple[Snapshot, ...]:
    """One directory's history, so that versions are those of one process."""
    policy = Policy(BUNDLE, "i", None)
    directory = Directory(BUNDLE.vocabulary)
    found = []
    for held, rows in (
        (entities(), ROWS),
        (entities(d1=doc("d1", public=False)), ROWS),
        (entities(d1=doc("d1", owner="u2")), ROWS),
        (entities(u1=EntityData("User", "u1", {"level": 1})), ROWS),
        (entities(r1=EntityData("Robot", "r1", {"level": 1})), ROWS),
        (entities(o1=EntityData("Org", "o1", {"open": False})), ROWS),
        (entities(a=EntityData("workload", "spiffe://t.d/w/a", {"tier": 2})), ROWS),
        (entities(), ROWS[:1]),
        (entities(), []),
        (entities(), ROWS[1:]),
    ):
        directory.replace(held, rows)
        found.append(Snapshot(policy, directory.world))
    return tuple(found)


def task(kind: str = "job", n: int = 1, **more: Any) -> pdp.Task:
    return pdp.Task(kind, "t", {"n": n, **more}, T0 - MINUTE, T0 + 15 * MINUTE, opener="spiffe://t.d/ci")


Change = tuple[str, Any]
CHANGES: tuple[Change, ...] = (
    *[("world", i) for i in range(10)],
    *[("user", u) for u in (None, ("User", "u2"), ("User", "nobody"), ("Robot", "r1"), ("Robot", "u1"), ("Guest", "u1"))],
    *[("user", u) for u in (("Guest", "r1"), ("User", "none"))],
    *[("workload", w) for w in (None, "spiffe://t.d/w/b", "spiffe://t.d/w/c", "spiffe://t.d/w/d")],
    *[("workload", pdp.Workload("spiffe://t.d/w/a", {"kind": kind})) for kind in ("service", "shell")],
    *[("resource", ("Doc", name)) for name in ("d2", "unknown")],
    *[("resource", pdp.Resource("Memo", "m", {"n": n})) for n in (1, 2)],
    *[("task", t) for t in (task(), task(n=2), task("other"), task("other", 2), task(m="1"))],
    *[("proof", p) for p in (["key"], ["request"], ["session"])],
    *[("gate", {"id": f"spiffe://t.d/{name}"}) for name in ("gate", "door")],
    *[("context", c) for c in ({"flag": True}, {"flag": False, "tags": ["x"]}, {"flag": False, "n": 1})],
    *[("context", c) for c in ({"flag": False, "tags": ["y"]}, {"flag": False, "n": 2})],
)
BASE = {"user": ("User", "u1"), "workload": "spiffe://t.d/w/a", "resource": ("Doc", "d1"), "world": 0}


def questions(action: str) -> Iterator[tuple[Snapshot, pdp.Request]]:
    base = {**BASE, "context": {"flag": False} if action == "act_context" else {}}
    if action == "act_told":
        base["resource"] = pdp.Resource("Memo", "m", {"n": 1})
    for changes in [(), *[(c,) for c in CHANGES], *combinations(CHANGES, 2)]:
        asked = {**base, **dict(changes)}
        snapshot = worlds()[asked.pop("world")]
        yield snapshot, pdp.Request(action, **asked)


@cache
def answers(action: str) -> tuple[tuple[Key, Fresh], ...]:
    """Key and truth of every question about an action that gets as far as a cache."""
    found = []
    for snapshot, request in questions(action):
        told = request.data()
        for each in (told, told._replace(task=replace(told.task, covers=False))) if told.task is not None else (told,):
            with suppress(pdp.PdpError, Refusal):
                key = bind(snapshot, understand(snapshot, each, None), T0).key
                truth = fresh_of(snapshot, each, None, T0)
                if not truth.errors and truth.reason != "error":
                    found.append((key, truth))
    return tuple(found)


def taken_for_one(action: str, left_out: int | None) -> bool:
    """Whether two questions with different answers have one key, a component left out."""
    seen: dict[Key, object] = {}
    for key, truth in answers(action):
        short = key if left_out is None else key[:left_out] + key[left_out + 1 :]
        said = (truth.allowed, truth.reason, truth.rules)
        if seen.setdefault(short, said) != said:
            return True
    return False


COMPONENTS = [
    (action, place, str(read))
    for (action, _), leaf in BUNDLE.leaves.items()
    for place, read in enumerate((r for r in leaf.footprint if r.root != "now"), 2)
]


@pytest.mark.parametrize("action", BUNDLE.vocabulary.actions)
def test_one_key_has_one_answer(action: str) -> None:
    assert len(answers(action)) > 50
    assert not taken_for_one(action, None)


@pytest.mark.parametrize(("action", "place", "read"), COMPONENTS, ids=[f"{a}-{r}" for a, _, r in COMPONENTS])
def test_a_key_without_one_component_gives_wrong_answers(action: str, place: int, read: str) -> None:
    assert taken_for_one(action, place), f"nothing shows that `{read}` has to be in the key of `{action}`"


def test_every_kind_of_read_is_among_them() -> None:
    """What the compiler can put into a footprint is what is mutated here."""
    roots = {read.root for leaf in BUNDLE.leaves.values() for read in leaf.footprint}
    assert roots >= {
        "resource", "user", "workload", "resource_id", "user_id", "workload_id", "user_type", "task_kind", "task_covers",
        "process", "proof", "context", "task", "gate", "records", "rows", "now",
    }  # fmt: skip


# ---- the bounds of an entry: with any of them not looked at, the law of the cache fails


def with_entries_for_ever(patch: pytest.MonkeyPatch) -> None:
    keep = DecisionCache.keep

    def mutated(self: DecisionCache, key: Key, now: int, result: Result) -> Entry | None:
        return keep(self, key, now, result._replace(held_until=FOREVER))

    patch.setattr(DecisionCache, "keep", mutated)


def with_entries_from_the_beginning(patch: pytest.MonkeyPatch) -> None:
    made = Entry.__init__
    patch.setattr(Entry, "__init__", lambda self, _, until, result: made(self, 0, until, result))


def with_the_callers_end_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Policy, "settle", lambda self, result, ends, by, settle=Policy.settle: settle(self, result, FOREVER, None))


def with_memos_of_any_snapshot(patch: pytest.MonkeyPatch) -> None:
    fresh_check: Any = pdp.Engine.check

    def check(self: pdp.Engine, request: pdp.Request | None = None, **rest: Any) -> pdp.Decision:
        memo = getattr(request, "memo", None)
        if isinstance(memo, Memo) and memo.opens <= rest["now"] < memo.closes:
            return pdp.Decision(memo.settled, 0)
        found: pdp.Decision = fresh_check(self, request, **rest)
        return found

    patch.setattr(pdp.Engine, "check", check)


def with_revocations_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Revocations, "find", lambda self, request, credential: None)


def with_versions_given_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(directory_module, "_VERSIONS", repeat(1))


def with_one_cache_for_all_policies(patch: pytest.MonkeyPatch) -> None:
    def policy(self: pdp.Engine, bundle: Bundle, *, policy: Any = pdp.Engine._policy) -> Policy:
        made: Policy = policy(self, bundle)
        before = getattr(self, "_snapshot", None)
        if before is not None:
            made.cache = before.policy.cache
        return made

    patch.setattr(pdp.Engine, "_policy", policy)


@pytest.mark.parametrize(
    "mutation",
    [
        with_entries_for_ever,
        with_entries_from_the_beginning,
        with_the_callers_end_forgotten,
        with_memos_of_any_snapshot,
        with_revocations_not_looked_at,
        with_versions_given_twice,
        with_one_cache_for_all_policies,
    ],
)
def test_the_law_fails_without_it(mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    with pytest.raises(AssertionError):
        live_many(300)


def live_many(lives: int) -> None:
    for seed in range(lives):
        live(Random(seed))


def test_what_is_in_error_is_not_kept() -> None:
    engine = pdp.Engine(BUNDLE)
    request = pdp.Request("act_user", ("Doc", "d1"), user=("User", "nobody"))
    for _ in range(2):
        assert engine.check(request, now=T0).reason == "error"
        assert engine.explain_cache(request, now=T0).state == "miss"
