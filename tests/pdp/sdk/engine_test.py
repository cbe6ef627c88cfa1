"""`pdp.Engine` and `pdp.Request`: what they take, and what they say of what they do not take."""

from __future__ import annotations

import collections
import copy
import enum
import pickle
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import FOREVER
from pdp.engine.cache import weight
from pdp.model.decision import instant
from tests.pdp.engine.remembering import HOUR, T0, engine_of

POLICY = """language 1
package a
entity User
entity Admin
entity Case
task shift { carries desk: String opened by spiffe://a/opener who spiffe://a/** may read on Case lasts at most 8h }
action read on Case { columns: Set<String>? from gate, n: Set<Int>? from gate, d: Duration? from gate }
allow admins { for Admin do read on Case }
allow root { for User "root" do read on Case }
allow agents { who spiffe://a/** do read on Case during shift }
"""
CASE, ROOT, OWL = ("Case", "7"), ("User", "root"), "spiffe://a/owl"


@pytest.fixture
def engine() -> pdp.Engine:
    return engine_of(POLICY)


LARGE = """language 1
package a
entity User
entity Case { open: Bool }
action read on Case { n: Set<Int>, m: Set<Int> }
allow some { for User do read on Case when (any x in context.n: (any y in context.m: x == y)) trusting context.n, context.m }
deny shut { do read on Case when not resource.open }
"""


def test_a_check_of_what_the_caller_chose_takes_no_more_than_its_steps() -> None:
    """Finding S2: a document that nobody knows, and two sets, held the thread of all calls for half a minute."""
    engine = engine_of(LARGE, {"type": "Case", "id": "7", "attributes": {"open": True}})

    def reasons(resource: str, size: int) -> tuple[str, set[str]]:
        sets = {"n": list(range(size)), "m": list(range(size, 2 * size - 1))}
        told = engine.explain(pdp.Request("read", ("Case", resource), user=ROOT, context=sets), now=T0)
        decision = engine.check(action="read", resource=("Case", resource), user=ROOT, context=sets, now=T0)
        assert (decision.reason, decision.errors) == (told.decision.reason, told.decision.errors)
        return decision.reason, {e.code for e in decision.errors}

    assert reasons("7", 100) == ("default_deny", set())
    assert reasons("7", 1000) == ("error", {"sets_too_large"})
    assert reasons("gone", 1000) == ("error", {"sets_too_large", "unknown_entity"})
    assert reasons("gone", 100) == ("error", {"out_of_steps", "unknown_entity"})
    assert reasons("gone", 20) == ("error", {"unknown_entity"})
    engine.limit_steps(100)
    assert reasons("gone", 20) == ("error", {"out_of_steps", "unknown_entity"})
    engine.limit_steps(1_000_000)
    assert reasons("gone", 100) == ("error", {"unknown_entity"})


def asked(**told: Any) -> pdp.Request:
    return pdp.Request(**{"action": "read", "resource": CASE, "user": ROOT, **told})


def task(name: str = "t3", **told: Any) -> pdp.Task:
    return pdp.Task("shift", name, {"desk": "a"}, T0, T0 + HOUR, ("key",), **told)


# ---- arguments


class NoOffset(tzinfo):
    def utcoffset(self, at: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    "options",
    [
        {"cache_entries": -5}, {"cache_entries": "10"}, {"cache_entries": 1.5}, {"cache_entries": True},
        {"denials": 60}, {"denials": timedelta(-1)}, {"clock": 5},
    ],
    ids=str,
)  # fmt: skip
def test_options_of_wrong_types(tmp_path: Path, options: Any) -> None:
    (tmp_path / "a.policy").write_text(POLICY)
    with pytest.raises(pdp.PdpError) as caught:
        pdp.Engine.load(tmp_path, **options)
    assert caught.value.code == "invalid_argument"


@pytest.mark.parametrize("path", [None, "", 5, b"x"])
def test_a_path_of_wrong_type(path: Any) -> None:
    with pytest.raises(pdp.PdpError):
        pdp.Engine.load(path)


@pytest.mark.parametrize("clock", [time.time, lambda: int(time.time()), lambda: time.time_ns(), lambda: None, lambda: True])
def test_a_clock_that_gives_no_microseconds(clock: Any) -> None:
    with pytest.raises(pdp.PdpError, match="microseconds"):
        engine_of(POLICY, clock=clock).check(asked())


@pytest.mark.parametrize(
    "ask",
    [
        lambda e: e.check(asked(), now=datetime(2026, 1, 1, tzinfo=NoOffset())),
        lambda e: e.check(asked(resource=pdp.Resource("Case", "7", parents=5))),  # type: ignore[arg-type]
        lambda e: e.check(asked(workload=OWL, task=task(chain=5))),
        lambda e: e.check(asked(workload=OWL, task=task(chain=["a\n"]))),
        lambda e: e.check(asked(context={"d": timedelta(-5)})),
        lambda e: e.check(asked(context={"d": timedelta.max})),
        lambda e: e.check({"action": "read"}),
        lambda e: e.explain(None),
    ],
)
def test_what_is_no_question(engine: pdp.Engine, ask: Any) -> None:
    with pytest.raises(pdp.PdpError):
        ask(engine)


class Sly(str):
    __slots__ = ()

    def __hash__(self) -> int:
        return hash("User")

    def __eq__(self, other: object) -> bool:
        return other in ("User", "Admin", "read", "key")


class Named(enum.StrEnum):
    SEVEN = "7"


@pytest.mark.parametrize(
    "told",
    [
        {"user": (Sly("User"), "bob")}, {"action": Sly("read")}, {"proof": [Sly("key")]},
        {"resource": ("Case", Named.SEVEN)}, {"workload": Sly(OWL)}, {"workload": pdp.Workload(OWL, credential=Sly("c"))},
    ],
    ids=str,
)  # fmt: skip
def test_a_text_that_is_more_than_a_text_is_refused(engine: pdp.Engine, told: Any) -> None:
    """It could equal several others, and its answer would be remembered for them."""
    everything = {"action": "read", "resource": CASE, "user": ("User", "bob"), **told}
    for ask in (lambda: engine.check(**everything), lambda: engine.check(pdp.Request(**everything))):
        with pytest.raises(pdp.PdpError) as caught:
            ask()
        assert caught.value.code == "invalid_request"
    assert not engine.check(asked(user=("User", "bob")), now=T0).allowed


def test_a_message_says_of_what_type_a_text_was(engine: pdp.Engine) -> None:
    with pytest.raises(pdp.PdpError, match="found a Named, which is more than a text, expected a plain text"):
        engine.check(asked(resource=("Case", Named.SEVEN)))


@pytest.mark.parametrize("kind", [collections.UserList, collections.deque])
def test_what_could_be_changed_afterwards_is_refused(engine: pdp.Engine, kind: Any) -> None:
    resource = kind(CASE)
    for ask in (
        lambda: engine.check(asked(resource=resource)),
        lambda: engine.check(action="read", resource=resource, user=ROOT),
    ):
        with pytest.raises(pdp.PdpError):
            ask()


# ---- requests as values


def test_a_request_is_copied_pickled_and_hashed_as_a_value(engine: pdp.Engine) -> None:
    def make() -> pdp.Request:
        user = pdp.Resource("User", "root", {"a": [1, {"b": {2}}]}, [("Team", "t")])
        workload = pdp.Workload(OWL, {"kind": "agent"}, "c", T0)
        return asked(user=user, workload=workload, task=task(), context={"columns": ["a"]}, gate={"id": "spiffe://a/g"})

    one = make()
    for other in (make(), copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (other, hash(other)) == (one, hash(one))
    request = asked()
    assert engine.check(request, now=T0).allowed
    assert engine.check(pickle.loads(pickle.dumps(request)), now=T0).allowed  # what was remembered stays here


# ---- revocations


@pytest.mark.parametrize(
    ("noun", "name"),
    [
        ("trust_domain", "spiffe://d.example"), ("trust_domain", "D.example"), ("trust_domain", "d.example/"),
        ("workload", "spiffe://d.example/owl/"), ("workload", "spiffe://d.example"), ("workload", "owl"), ("workload", ""),
        ("gate", "edge"), ("opener", "SPIFFE://a/b"), ("task", "t\n"), ("task", None), ("credential", ""),
        ("credential", None), ("worker", "x"), (["workload"], OWL),
    ],
)  # fmt: skip
def test_a_name_that_nothing_can_have_is_not_revoked(engine: pdp.Engine, noun: Any, name: Any) -> None:
    with pytest.raises(pdp.PdpError) as caught:
        engine.revoke(noun, name)
    assert (caught.value.code, dict(engine.revoked)) == ("invalid_argument", {})


@pytest.mark.parametrize("reason", [None, 5, b"x"])
def test_a_reason_is_a_text(engine: pdp.Engine, reason: Any) -> None:
    with pytest.raises(pdp.PdpError, match="reason"):
        engine.revoke("workload", OWL, reason=reason)


def test_what_is_revoked_is_only_looked_at(engine: pdp.Engine) -> None:
    engine.revoke("workload", OWL)
    with pytest.raises(TypeError):
        engine.revoked["workload", "x"] = ""  # type: ignore[index]
    with pytest.raises(AttributeError):
        engine.revoked.clear()  # type: ignore[attr-defined]
    assert dict(engine.revoked) == {("workload", OWL): ""}


@pytest.mark.parametrize("revoked", ["t1", "t2", "t3"])
def test_a_task_falls_with_every_task_above_it(engine: pdp.Engine, revoked: str) -> None:
    request = pdp.Request("read", CASE, OWL, task=task(parent="t2", depth=2, chain=["t1", "t2"]))
    assert engine.check(request, now=T0).allowed
    engine.revoke("task", revoked)
    assert engine.check(request, now=T0).reason == "task_ended"


# ---- decisions


def test_an_end_beyond_what_a_datetime_can_say() -> None:
    assert instant(FOREVER) is None
    assert instant(FOREVER - 1) == datetime.max.replace(tzinfo=UTC)
    assert instant(T0) == datetime(2026, 1, 1, tzinfo=UTC)


# ---- what is remembered


def test_what_callers_choose_has_no_hash_that_they_can_compute(engine: pdp.Engine) -> None:
    """Numbers of one hash, and a set of them, which by Python's own hash would be one key after another in one place."""
    numbers = [n + k * (2**61 - 1) for n in range(20) for k in range(4)]
    assert len({hash(n) for n in numbers}) == 20
    requests = [asked(user=("Admin", "a"), context={"n": [n]}) for n in numbers]
    rules = engine_of(
        POLICY + '@escapable("tests")\ndeny some { do read on Case when context has n and context.n.contains(3) }\n'
    )
    for request in requests:
        assert rules.check(request, now=T0).allowed is (request.context["n"] != (3,))
    assert len({hash(request.memo.bound().key) for request in requests}) == len(requests)


def test_the_weight_of_a_key_is_what_it_takes() -> None:
    columns = frozenset(f"column_{i}" for i in range(300))
    assert 300 * 50 < weight(("read", columns)) < 300 * 200
