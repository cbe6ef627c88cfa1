"""Section E of the catalogue of faults, rows 104 to 106: a remembered answer has no life that a fresh one would not have."""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pdp
from pdp.sdk import clock as clock_module
from pdp.sdk.clock import BEHIND_MAX_US, Clock
from tests.pdp.engine.remembering import HOUR, MINUTE, SECOND, T0, ask, engine_of, remembered

END = T0 + 3 * SECOND
VOCABULARY = """language 1
entity User
entity Doc { until: Time }
relation reader(User, Doc) expiring
task job { carries n: Int
  opened by spiffe://a/ci
  who anyone
  may read on Doc
  lasts at most 15m }
task brief { carries n: Int
  opened by spiffe://a/ci
  who anyone
  may read on Doc
  lasts at most 3s }
action read on Doc { at: Time? from gate }
"""
USER, RESOURCE = ("User", "ada"), ("Doc", "d")
API = "spiffe://a/api"
DOC = {"type": "Doc", "id": "d", "attributes": {"until": "2026-01-01T00:00:03Z"}}


def rule(clauses: str, head: str = "for User") -> str:
    return f"{VOCABULARY}allow ok {{ {head}\n do read\n on Doc\n {clauses} }}\n"


def asked(**told: Any) -> pdp.Request:
    return pdp.Request(**{"action": "read", "resource": RESOURCE, "user": USER, **told})


def task(kind: str, started: int, ends: int) -> dict[str, Any]:
    return {"workload": API, "task": pdp.Task(kind, "t", {"n": 1}, started, ends, ["key"])}


@pytest.mark.parametrize(
    ("policy", "told", "records", "reason"),
    [
        pytest.param(rule("until 2026-01-01T00:00:03Z"), {}, [], "default_deny", id="rule-until"),
        pytest.param(rule("when now < resource.until"), {}, [], "default_deny", id="attribute"),
        pytest.param(rule("when context has at and now < context.at"), {"context": {"at": "2026-01-01T00:00:03Z"}}, [], "default_deny", id="context"),
        pytest.param(rule("when reader(user, resource)"), {}, [pdp.Row("reader", (USER, RESOURCE), END)], "default_deny", id="row"),
        pytest.param(rule("until task.started + 3s", "who anyone\n during job"), task("job", T0, T0 + 10 * MINUTE), [], "default_deny", id="rule-of-the-task"),
        pytest.param(rule("", "who anyone\n during job"), task("job", T0 - MINUTE, END), [], "task_ended", id="grant"),
        pytest.param(rule("", "who anyone\n during brief"), task("brief", T0, T0 + 10 * MINUTE), [], "task_ended", id="ceiling-of-policy"),
        pytest.param(rule("", "who anyone"), {"workload": pdp.Workload(API, ends=END)}, [], "credential_ended", id="credential"),
        pytest.param(rule("") + "deny d { do read\n when now >= resource.until }\n", {}, [], "denied", id="deny-that-begins"),
        pytest.param(rule('when now within mon..sun 01:00..01:01 "Europe/Berlin"'), {}, [], "default_deny", id="window"),
    ],
)  # fmt: skip
def test_104_expiry_inside_ttl(policy: str, told: dict[str, Any], records: list[Any], reason: str) -> None:
    """Remembered in the first second; at three seconds no allow, and the instant before there was one."""
    engine = engine_of(policy, DOC, *records)
    request = asked(**told)
    end = T0 + MINUTE if "within" in policy else END  # a window ends with the minute
    assert remembered(engine, request, T0).valid_until_us == end
    assert engine.explain_cache(request, now=end - 1).hit
    assert ask(engine, request, end - 1).allowed
    for late in (end, end + 1, end + SECOND, end + 5 * MINUTE):
        decision = ask(engine, request, late)
        assert (decision.allowed, decision.reason) == (False, reason)
        assert not engine.check(asked(**told), now=late).allowed
    assert ask(engine, request, end - 1).allowed  # and a replay of the past is still the past


def test_104_one_caller_never_inherits_the_life_of_another() -> None:
    """One key, two credentials and none: the answer is shared, its end is each caller's own."""
    engine = engine_of(rule("", "who anyone"), DOC)
    forever, long = asked(workload=API), asked(workload=pdp.Workload(API, credential="l", ends=T0 + HOUR))
    short = asked(workload=pdp.Workload(API, credential="s", ends=END))
    assert remembered(engine, forever).valid_until is None
    assert engine.explain_cache(short, now=T0).hit  # made by another
    assert [ask(engine, r, T0).valid_until_us for r in (short, long)] == [END, T0 + HOUR]
    assert [ask(engine, r, END).allowed for r in (forever, long, short)] == [True, True, False]
    assert forever.memo.bound().key == long.memo.bound().key == short.memo.bound().key


@pytest.mark.parametrize(
    ("policy", "told", "reason"),
    [
        pytest.param(rule("when now >= 2026-01-01T00:00:02Z"), {}, "default_deny", id="rule"),
        pytest.param(rule("when context has at and now >= context.at"), {"context": {"at": "2026-01-01T00:00:02Z"}}, "default_deny", id="context"),
        pytest.param(rule("") + "deny d { do read\n unless now >= 2026-01-01T00:00:02Z }\n", {}, "denied", id="deny-that-ends"),
        pytest.param(rule("when now within thu..thu 01:01..01:02 \"Europe/Berlin\""), {}, "default_deny", id="window"),
    ],
)  # fmt: skip
def test_105_not_before_flip(policy: str, told: dict[str, Any], reason: str) -> None:
    """A remembered denial ends when the permit begins, though denials may be remembered for ever."""
    begins = T0 + (MINUTE if "within" in policy else 2 * SECOND)
    engine = engine_of(policy, DOC)
    request = asked(**told)
    assert remembered(engine, request, T0).reason == reason
    assert engine.explain_cache(request, now=begins - 1).hit
    assert ask(engine, request, begins - 1).reason == reason
    assert not engine.explain_cache(request, now=begins).hit
    assert remembered(engine, request, begins).allowed
    assert ask(engine, request, begins - 1).reason == reason


def test_105_not_before_flip_of_a_task() -> None:
    """Before its start a task is refused, which is remembered nowhere; what is remembered later does not reach back."""
    engine = engine_of(rule("", "who anyone\n during job"), DOC)
    request = asked(**task("job", T0 + 2 * SECOND, T0 + MINUTE))
    assert ask(engine, request, T0).reason == "task_not_started"
    assert remembered(engine, request, T0 + 2 * SECOND).allowed
    assert ask(engine, request, T0 + 2 * SECOND - 1).reason == "task_not_started"


# ---- 106

MILLISECOND = 1000


class Hands:
    """The two clocks of a machine, moved by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = T0 * 1000, 5_000_000_000

    def time_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.steady

    def go_on(self, microseconds: int) -> None:
        self.wall += microseconds * 1000
        self.steady += microseconds * 1000

    def step(self, microseconds: int) -> None:
        """Somebody sets the wall clock, and a millisecond goes by, which is how often a clock looks."""
        self.wall += microseconds * 1000
        self.go_on(MILLISECOND)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(clock_module, "time", hands)
    return hands


def engine_by(clock: Callable[[], int], end: str = "2026-01-01T00:00:03Z") -> pdp.Engine:
    return engine_of(rule(f"until {end}"), DOC, clock=clock)


def test_106_clock_step_back_gives_no_entry_more_life(hands: Hands) -> None:
    """Set back within the bound: time goes on from where it was, by the monotonic clock."""
    clock = Clock()
    engine, request = engine_by(clock.now), asked()
    assert engine.check(request).allowed
    hands.go_on(2 * SECOND)
    assert engine.check(request).allowed
    hands.step(-2 * SECOND)
    assert clock.behind_us == 2 * SECOND
    hands.go_on(SECOND - MILLISECOND - 1)
    assert engine.check(request).allowed
    hands.go_on(1)
    assert clock.now() == END
    assert not engine.check(request).allowed
    assert not engine.check(asked()).allowed


@pytest.mark.parametrize("back", [BEHIND_MAX_US + 1, HOUR, 10_000 * HOUR])
def test_106_clock_step_back_beyond_the_bound_decides_nothing(hands: Hands, back: int) -> None:
    clock = Clock()
    engine, request = engine_by(clock.now, "2026-01-01T09:00:00Z"), asked()
    assert engine.check(request).allowed
    hands.go_on(SECOND)
    hands.step(-back)
    for ask_again in (lambda: engine.check(request), lambda: engine.check_many([request]), lambda: engine.explain(request)):
        with pytest.raises(pdp.PdpError) as caught:
            ask_again()
        assert caught.value.code == "clock_stepped_back"
    assert clock.behind_us == back
    hands.step(back)
    assert engine.check(request).allowed


def test_106_clock_step_back_at_the_bound_is_its_neighbour(hands: Hands) -> None:
    engine = engine_by(Clock().now)
    hands.step(-BEHIND_MAX_US)
    assert engine.check(asked()).allowed
    hands.step(-1)
    with pytest.raises(pdp.PdpError):
        engine.check(asked())


def test_106_clock_step_back_again_and_again_adds_up(hands: Hands) -> None:
    clock = Clock()
    for n in range(1, 6):
        hands.step(-SECOND)
        assert clock.now() == T0 + n * MILLISECOND
    hands.step(-SECOND)
    with pytest.raises(pdp.PdpError, match="clock_stepped_back"):
        clock.now()


def test_106_clock_step_forward_ends_what_has_ended(hands: Hands) -> None:
    engine, request = engine_by(Clock().now), asked()
    assert engine.check(request).allowed
    hands.step(3 * SECOND)
    assert not engine.check(request).allowed
    hands.step(-3 * SECOND)
    assert not engine.check(request).allowed


@pytest.mark.parametrize("asked_between", [True, False])
@pytest.mark.parametrize("back", [2 * SECOND, HOUR])
def test_106_clock_step_back_to_where_it_was_believed(hands: Hands, back: int, asked_between: bool) -> None:
    """Set back, the wall clock comes once more through the instant of the last look. What has ended does not live again."""
    clock = Clock()
    engine, request = engine_by(clock.now, "2026-01-01T00:00:01Z"), asked()
    assert engine.check(request).allowed
    hands.step(-back)
    hands.go_on(back - 2 * MILLISECOND)
    within = back <= BEHIND_MAX_US
    if asked_between:
        assert ends_or_refuses(engine, request) == ("default_deny" if within else "clock_stepped_back")
    hands.go_on(MILLISECOND + 500)
    assert hands.wall == T0 * 1000 + 500_000
    assert ends_or_refuses(engine, request) == ("default_deny" if within else "clock_stepped_back")
    if within:
        assert clock.now() == T0 + back + 500


def ends_or_refuses(engine: pdp.Engine, request: pdp.Request) -> str:
    try:
        return engine.check(request).reason
    except pdp.PdpError as error:
        return error.code
