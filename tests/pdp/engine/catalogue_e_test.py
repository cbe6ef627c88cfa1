"""Section E of the catalogue of faults, but for time: what a remembered answer may not be taken for.

Every row asks until the answer is remembered, shows that it is, changes one thing, and asks again. Any one part of any key
left out is the business of `mutation_test.py`.
"""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import FOREVER, Outcome, Result, Source, compile_policies
from pdp.engine.cache import DecisionCache
from pdp.engine.key import Key
from tests.pdp.engine.remembering import MINUTE, T0, ask, engine_of, remembered, said

ROOT = Path(__file__).resolve().parents[3]
VOCABULARY = """language 1
entity Team in Team
entity User in Team { level: Int }
entity Robot
entity Number claimed { value: Int }
entity Flag claimed { value: Bool }
entity Doc in Team { owner: User, public: Bool }
entity Page
workload in Team { tier: Int? }
relation reader(User, Doc) expiring
task job { carries n: Int
  opened by spiffe://a/ci
  who anyone
  may read, write on Doc
  lasts at most 15m }
task flagged { carries n: Bool
  opened by spiffe://a/ci
  who anyone
  may read, write on Doc
  lasts at most 15m }
action read, write on Doc, Page {
  s: String? from gate, t: String? from gate, n: Int? from gate, b: Bool? from gate,
  tags: Set<String>? from gate, more: Set<String>? from gate, m: Map<String, String>? from gate
}
"""
TEAM: dict[str, Any] = {"type": "Team", "id": "a"}
ADA: dict[str, Any] = {"type": "User", "id": "ada", "attributes": {"level": 3}, "parents": [["Team", "a"]]}
DOC: dict[str, Any] = {"type": "Doc", "id": "d", "attributes": {"owner": ["User", "ada"], "public": True}}
USER, RESOURCE = ("User", "ada"), ("Doc", "d")
READER = pdp.Row("reader", (USER, RESOURCE))
API = "spiffe://a/api"


def rule(when: str = "", head: str = "for User, Number, Flag, Robot", do: str = "read", on: str = "Doc, Page") -> str:
    return f"{VOCABULARY}allow ok {{ {head}\n do {do}\n on {on}\n{when and f' when {when}'} }}\n"


def asked(**told: Any) -> pdp.Request:
    return pdp.Request(**{"action": "read", "resource": RESOURCE, "user": USER, **told})


def context(**told: Any) -> dict[str, Any]:
    return {"context": told}


def task(kind: str, n: object, proof: tuple[str, ...] = ("key",)) -> dict[str, Any]:
    return {"workload": API, "task": pdp.Task(kind, "t", {"n": n}, T0, T0 + 10 * MINUTE, proof)}


# ---- 95


@pytest.mark.parametrize(
    ("reads", "told", "changed"),
    [
        pytest.param(
            "resource.public", {}, {**DOC, "attributes": {"owner": ["User", "ada"], "public": False}}, id="attribute"
        ),
        pytest.param("user.level > 2", {}, {**ADA, "attributes": {"level": 2}}, id="user"),
        pytest.param('user is User and user in Team "a"', {}, {**ADA, "parents": []}, id="parent"),
        pytest.param("resource.owner.level > 2", {}, {**ADA, "attributes": {"level": 2}}, id="reference"),
        pytest.param("context has n and context.n == 1", context(n=1), context(n=2), id="context"),
    ],
)
def test_95_a_rule_that_reads_more_has_a_key_that_says_more(
    tmp_path: Path, reads: str, told: dict[str, Any], changed: dict[str, Any]
) -> None:
    """The rule reads nothing and is remembered; reloaded, it reads one thing more; that thing changes."""
    file = tmp_path / "p.policy"
    head, on = "for User", "Doc"
    file.write_text(rule(head=head, on=on))
    engine = pdp.Engine.load(tmp_path)
    engine.directory.upsert(TEAM, ADA, DOC)
    request = asked(**told)
    assert remembered(engine, request).allowed
    other = asked(**changed) if "context" in changed else request
    if other is request:
        engine.directory.upsert(changed)
    assert remembered(engine, other).allowed  # nothing that the rule reads has changed
    file.write_text(rule(reads, head=head, on=on))
    assert engine.reload()
    assert not remembered(engine, other).allowed
    engine.directory.upsert(ADA, DOC)
    assert remembered(engine, request).allowed


# ---- 96 to 100: two requests that must not be taken for one

DELIMITERS = ["|", "#", "@", "/", ":", ",", "\x00", "\x1f", "1:", "\x01", "', '", "\\"]


@pytest.mark.parametrize(
    ("when", "first", "second"),
    [
        *[
            pytest.param('context has s and context has t and context.s == "a" and context.t.ends_with("c")', context(s="a", t=f"b{d}c"), context(s=f"a{d}b", t="c"), id=f"96-key-delimiter-{d!a}")
            for d in DELIMITERS
        ],
        pytest.param('user is User and user == User "a" and resource is Doc and resource == Doc "b#c"', {"user": ("User", "a"), "resource": ("Doc", "b#c")}, {"user": ("User", "a#b"), "resource": ("Doc", "c")}, id="96-key-delimiter-ids"),
        pytest.param('context has tags and context.tags.contains("a,b")', context(tags=["a,b"]), context(tags=["a", "b"]), id="97-key-list"),
        pytest.param('context has tags and context.tags.contains("1") and context has more and context.more.contains("2")', context(tags=["1"], more=["2"]), context(tags=["1", "2"], more=[]), id="97-key-list-of-lists"),
        pytest.param('context has tags and context.tags.is_empty()', context(tags=[]), context(tags=[""]), id="97-key-empty"),
        pytest.param('context has tags and context.tags.is_empty()', context(tags=[]), {}, id="97-key-absent"),
        pytest.param('context has m and context.m has "a" and context.m["a"] == "b"', context(m={"a": "b", "c": "d"}), context(m={"a": "b,c:d"}), id="97-key-map"),
        pytest.param('context has m and context.m has "a" and context.m["a"] == "b"', context(m={"a": "b"}), context(m={"b": "a"}), id="97-key-map-swapped"),
        pytest.param('context has m', context(m={}), context(tags=[]), id="97-key-list-for-map"),
        pytest.param("context has n and context.n == 1 or context has b and not context.b", context(n=1), context(b=True), id="98-key-type-int-bool"),
        pytest.param('context has n and context.n == 1 or context has s and context.s == "true"', context(n=1), context(s="1"), id="98-key-type-int-text"),
        pytest.param("user is Number and user.value == 1 trusting user.value", {"user": pdp.Resource("Number", "x", {"value": 1})}, {"user": pdp.Resource("Flag", "x", {"value": True})}, id="98-key-type-of-told-records"),
        pytest.param("user is Number and user.value == 1 trusting user.value", {"user": pdp.Resource("Number", "x", {"value": 1})}, {"user": pdp.Resource("Number", "x", {"value": 0})}, id="98-key-told-value"),
        pytest.param("task is job and task.n == 1", task("job", 1), task("flagged", True), id="98-key-type-of-carried-facts"),
        pytest.param('user is Robot and user == Robot "x"', {"user": ("Robot", "x")}, {"user": ("User", "x")}, id="99-key-tenant-issuer"),
        pytest.param('resource is Doc and resource == Doc "d"', {}, {"resource": ("Page", "d")}, id="99-key-tenant-type"),
        pytest.param('resource is Doc and resource == Doc "d"', {}, {"resource": ("Doc", "e")}, id="99-key-id-of-the-resource"),
        pytest.param('user is User and user == User "ada"', {}, {"user": ("User", "max")}, id="99-key-id-of-the-user"),
        pytest.param("", {}, {"action": "write"}, id="100-key-action"),
        pytest.param("task is job", task("job", 1), {"workload": API}, id="100-key-scope-no-token"),
        pytest.param("during job\n proof request", task("job", 1, ("request",)), task("job", 1, ("session",)), id="100-key-scope-proof"),
    ],
)  # fmt: skip
def test_what_differs_is_never_taken_for_the_same(when: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Both ways round: the second asked after the first, and the first after the second."""
    head = "for User, Number, Flag, Robot"
    if when.startswith("during"):
        head, when = f"who anyone\n {when}", ""
    for one, other in ((first, second), (second, first)):
        engine = engine_of(rule(when, head), TEAM, ADA, DOC)
        assert remembered(engine, asked(**one)).allowed is (one is first)
        assert ask(engine, asked(**other), T0).allowed is (other is first)


@pytest.mark.parametrize("other", [True, 1.0, "1", b"1", Decimal(1), Fraction(1), None, [1]], ids=repr)
def test_98_key_type_is_settled_before_memory_is_asked(other: object) -> None:
    """Python takes 1, True, 1.0 and Decimal(1) for one key."""
    engine = engine_of(rule("context has n and context.n == 1"), TEAM, ADA, DOC)
    assert remembered(engine, asked(**context(n=1))).allowed
    for ask_wrongly in (
        lambda: engine.check(asked(**context(n=other)), now=T0),
        lambda: engine.check(action="read", resource=RESOURCE, user=USER, context={"n": other}, now=T0),
        lambda: engine.explain_cache(asked(**context(n=other)), now=T0),
    ):
        with pytest.raises(pdp.PdpError) as caught:
            ask_wrongly()
        assert caught.value.code == "invalid_request"


def test_99_key_tenant_trust_domains() -> None:
    engine = engine_of(rule(head="who spiffe://a/**"))
    assert remembered(engine, asked(user=None, workload="spiffe://a/api")).allowed
    assert not ask(engine, asked(user=None, workload="spiffe://b/api"), T0).allowed


def test_99_key_tenant_one_request_two_engines() -> None:
    """What a prebuilt request remembers is of the engine that it asked, and of no other."""
    bundle = compile_policies([Source("p.policy", rule("user is User and user.level > 2"))])
    ours, theirs = pdp.Engine(bundle), pdp.Engine(bundle)
    ours.directory.upsert(TEAM, ADA)
    theirs.directory.upsert(TEAM, {**ADA, "attributes": {"level": 1}})
    request = asked()
    for _ in range(3):
        assert remembered(ours, request).allowed
        assert not remembered(theirs, request).allowed


# ---- 101


class Colliding(tuple[Any, ...]):
    """A key whose digest is every other's."""

    def __hash__(self) -> int:
        return 7


def result(allowed: bool) -> Result:
    return Result(Outcome(allowed, "allowed" if allowed else "denied", "r", None, None), FOREVER, FOREVER, None, ())


def test_101_key_hash_collision_forced() -> None:
    """Every digest is equal: keys are compared whole, and the marks of what left cost no answer."""
    cache = DecisionCache(20)
    keys: list[Key] = [Colliding(("read", i)) for i in range(100)]
    assert len({hash(key) for key in keys}) == 1
    for round_ in range(3):
        for i, key in enumerate(keys):
            found = cache.find(key, T0)
            assert found is None or found.result.outcome.allowed is (i % 3 == 0)
            kept = cache.keep(key, T0, result(i % 3 == 0))
            assert kept is not None
            again = cache.find(key, T0)
            assert again is not None, round_
            assert again.result.outcome.allowed is (i % 3 == 0)
    assert len(cache) <= 20


@pytest.mark.parametrize(("one", "other"), [(0, 2**61 - 1), (-1, -2), (1, 2**61), (-(2**61 - 1), 0)])
def test_101_key_hash_collision_of_python_itself(one: int, other: int) -> None:
    """Different numbers of one hash; they stand in keys as texts, whose hash nobody can compute."""
    assert hash(one) == hash(other)
    engine = engine_of(rule(f"context has n and context.n == {one}"))
    first, second = asked(**context(n=one)), asked(**context(n=other))
    assert remembered(engine, first).allowed
    assert not remembered(engine, second).allowed
    assert hash(first.memo.bound().key) != hash(second.memo.bound().key)
    assert remembered(engine, first).allowed


# ---- 102, 103: by hand, between the reading of a snapshot and the storing of an answer

Interference = Callable[[pdp.Engine], object]


@pytest.mark.parametrize(
    ("when", "change"),
    [
        pytest.param("resource.public", lambda e: e.directory.upsert({**DOC, "attributes": {"owner": ["User", "ada"], "public": False}}), id="103-attribute"),
        pytest.param("resource.public", lambda e: e.directory.remove(RESOURCE), id="103-removed"),
        pytest.param('user in Team "a"', lambda e: e.directory.upsert({**ADA, "parents": []}), id="103-parent"),
        pytest.param('resource.public and user in Team "top"', lambda e: e.directory.upsert(TEAM), id="103-grandparent"),
        pytest.param("resource.owner.level > 2", lambda e: e.directory.upsert({**ADA, "attributes": {"level": 1}}), id="103-reference"),
        pytest.param("reader(user, resource)", lambda e: e.directory.remove(READER), id="103-row"),
        pytest.param("reader(user, resource)", lambda e: e.directory.upsert(pdp.Row("reader", (USER, RESOURCE), T0)), id="103-row-ended"),
        pytest.param("reader(user, resource)", lambda e: e.directory.replace(TEAM, ADA, DOC), id="103-replaced"),
    ],
)  # fmt: skip
def test_103_race_invalidate(when: str, change: Interference) -> None:
    """An answer worked out before a change and stored after it is met by nobody who asks after it."""
    engine = engine_of(rule(when, "for User", on="Doc"), {**TEAM, "parents": [["Team", "top"]]}, ADA, DOC, READER)
    before, slow, prebuilt = engine._snapshot, asked(), asked()
    assert remembered(engine, prebuilt).allowed
    change(engine)
    late = engine._decider.decide(before, slow, T0)
    assert late.allowed  # true of the snapshot that it read
    cache = before.policy.cache
    assert cache is not None
    assert cache.peek(slow.memo.bound().key) is not None  # and it was stored
    for request in (slow, prebuilt, asked()):
        assert not ask(engine, request, T0).allowed


def test_102_stale_after_swap(tmp_path: Path) -> None:
    """Worked out under one generation, stored after the next is in force: stored with the old one, unreachable."""
    file = tmp_path / "p.policy"
    file.write_text(rule())
    engine = pdp.Engine.load(tmp_path)
    before, slow, prebuilt = engine._snapshot, asked(), asked()
    assert remembered(engine, prebuilt).allowed
    file.write_text(rule('context has s and context.s == "x"'))
    assert engine.reload()
    late = engine._decider.decide(before, slow, T0)
    assert (late.allowed, late.generation == engine.generation) == (True, False)
    for request in (slow, prebuilt, asked()):
        decision = ask(engine, request, T0)
        assert (decision.allowed, decision.generation) == (False, engine.generation)


@pytest.mark.parametrize(("noun", "name"), [("task", "t"), ("credential", "c"), ("workload", API), ("trust_domain", "a")])
def test_103_race_with_a_revocation(noun: str, name: str) -> None:
    engine = engine_of(rule(head="who anyone\n during job"))
    told = task("job", 1)
    request = asked(**{**told, "workload": pdp.Workload(API, credential="c")})
    slow = asked(**{**told, "workload": pdp.Workload(API, credential="c")})
    before = engine._snapshot
    assert remembered(engine, request).allowed
    engine.revoke(noun, name)
    assert engine._decider.decide(before, slow, T0).allowed
    for each in (request, slow):
        assert ask(engine, each, T0).reason == ("task_ended" if noun == "task" else "revoked")


# ---- 107


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        pytest.param(rule(head="for User", on="Doc") + "deny d { do read\n on Doc\n when resource.owner.level > 9 }\n", "error", id="deny-in-error"),
        pytest.param(rule("resource.owner.level > 2", "for User", on="Doc"), "error", id="allow-in-error"),
        pytest.param(rule(head="for User", on="Doc").replace("allow ok", "allow fine") + "allow bad { for User\n do read\n on Doc\n when resource.owner.level > 2 }\n", "allowed", id="allow-beside-an-error"),
    ],
)  # fmt: skip
def test_107_cached_error(rules: str, reason: str) -> None:
    """The owner has no record. Its neighbour, with one, is remembered."""
    engine = engine_of(rules, DOC)
    request = asked()
    for _ in range(3):
        decision = ask(engine, request, T0)
        assert (decision.reason, len(decision.errors)) == (reason, 1)
        assert engine.explain_cache(request, now=T0).state == "miss"
    cache = engine._snapshot.policy.cache
    assert cache is not None
    assert (len(cache), cache.stats.kept) == (0, 0)
    engine.directory.upsert(TEAM, ADA)
    assert remembered(engine, request).allowed


# ---- 108: there is no flight to join


class Cancelled(BaseException):
    """As asyncio's is: no `except Exception` sees it."""


def test_108_singleflight_mix() -> None:
    """Nobody waits for another's evaluation: a follower answers while the first still computes, and when the first is
    cancelled nothing of it stays."""
    engine = engine_of(rule("context has n and context.n == 1"), TEAM, ADA, DOC)
    leaf = engine._snapshot.policy.leaf("read", "Doc")
    evaluate, inside, go_on = leaf.function, threading.Event(), threading.Event()
    leader_of = threading.current_thread()
    ended: list[BaseException] = []

    def held(*arguments: Any) -> Any:
        if threading.current_thread() is not leader_of:
            inside.set()
            assert go_on.wait(60)
            raise Cancelled
        return evaluate(*arguments)

    def lead() -> None:
        try:
            engine.check(shared, now=T0)
        except Cancelled as error:
            ended.append(error)

    leaf.function = held
    shared = asked(**context(n=1))
    leader = threading.Thread(target=lead)
    leader.start()
    assert inside.wait(60)
    assert engine.explain_cache(shared, now=T0).state == "miss"
    assert engine.check(shared, now=T0).allowed  # the leader is still inside
    assert leader.is_alive()
    go_on.set()
    leader.join(60)
    assert len(ended) == 1
    assert remembered(engine, shared).allowed


# ---- 109


def test_109_cache_flush_attack_ids_that_no_rule_reads() -> None:
    """The key is what rules read: a thousand different documents are one entry."""
    engine = engine_of(rule('user == User "ada"', "for User", on="Page"), entries=10)
    first = said(remembered(engine, asked(resource=("Page", "0"))))
    for i in range(1000):
        assert said(engine.check(action="read", resource=("Page", str(i)), user=USER, now=T0)) == first
    cache = engine._snapshot.policy.cache
    assert cache is not None
    assert (len(cache), cache.stats.kept) == (1, 1)


def test_109_cache_flush_attack_unique_keys() -> None:
    """Ten times as many keys as there is room for, each asked once, while a hot set is asked now and then."""
    entries = 1000
    engine = engine_of(rule('context has s and context.s.starts_with("hot")', "for User", on="Page"), entries=entries)

    def check(s: str) -> bool:
        return engine.check(action="read", resource=("Page", "p"), user=USER, context={"s": s}, now=T0).allowed

    cache = engine._snapshot.policy.cache
    assert cache is not None
    hot = [f"hot{i}" for i in range(entries // 5)]
    for _ in range(2):
        assert all(check(s) for s in hot)
    for i in range(10 * entries):
        assert not check(f"unique{i}")
        if i % 5 == 0:
            assert check(hot[i // 5 % len(hot)])
    assert len(cache) <= entries
    assert cache.stats.evicted > 8 * entries
    before = cache.stats.hits
    assert all(check(s) for s in hot)
    assert (cache.stats.hits - before) / len(hot) >= 0.95


# ---- 110, 111


def test_110_and_111_no_cache_is_shared_between_processes() -> None:
    """What would make torn writes, foreign processes and two binaries on one segment possible is not imported anywhere."""
    sharing = {"mmap", "multiprocessing", "_posixshmem", "shelve", "dbm", "sqlite3", "pickle", "marshal", "ctypes"}
    found = set()
    for path in [
        p for package in ("pdp/engine", "pdp/model", "pdp/sdk", "language") for p in (ROOT / package).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            found |= {(path.name, name) for name in names if name.split(".")[0] in sharing}
    assert found == set()
