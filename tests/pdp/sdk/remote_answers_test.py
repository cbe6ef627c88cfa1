"""What a client remembers of answers: of one epoch, while that is known to be the one in force."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from language import FOREVER, Outcome
from pdp.model.decision import Decision, Settled
from pdp.sdk.remote.answers import LEASE_S, Answers, epoch_of
from pdp.wire.client import ToldEpoch


def decision(valid: int = FOREVER, fresh: int = FOREVER, reason: str = "allowed") -> Decision:
    return Decision(Settled(Outcome(True, reason, None, None, None), (), "g", "i", valid, fresh, None), 1)


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def answers(clock: Clock, entries: int = 2, keep_us: int = 100, epoch: str = "p-5") -> Answers:
    """With an epoch that was told just now, by a clock that stands at 0."""
    found = Answers(entries, keep_us, clock)
    if epoch:
        found.told(ToldEpoch(epoch, 0, 0), clock())
    return found


@pytest.mark.parametrize(("valid", "fresh", "until"), [(50, 90, 50), (90, 40, 40), (500, 500, 110)])
def test_an_answer_is_kept_until_the_first_of_its_bounds(clock: Clock, valid: int, fresh: int, until: int) -> None:
    kept, found = decision(valid, fresh), answers(clock)
    found.keep(b"q", kept, "p-5", 10)
    assert found.find(b"q", until - 1) is kept
    assert found.find(b"q", until) is None


def test_what_is_kept_is_bounded(clock: Clock) -> None:
    found = answers(clock)
    for name in (b"a", b"b", b"c"):
        found.keep(name, decision(), "p-5", 10)
    assert [found.find(name, 11) is not None for name in (b"a", b"b", b"c")] == [False, True, True]


@pytest.mark.parametrize(
    ("epoch", "is_kept", "others_stay"),
    [
        ("p-5", True, True),
        ("p-6", True, False),  # newer than the stream has told: what was kept is over, and this is not
        ("p-4", False, True),  # on its way while things changed
        ("q-5", False, True),  # of another process, which says nothing about this one
        ("", False, True),  # for once
        ("p-x", False, True),
        ("5", False, True),
        ("-5", False, True),
        ("p-5 ", False, True),
        ("p-" + "9" * 30, False, True),
    ],
)
def test_an_answer_is_kept_in_its_own_epoch(clock: Clock, epoch: str, is_kept: bool, others_stay: bool) -> None:
    found = answers(clock)
    found.keep(b"before", decision(), "p-5", 10)
    found.keep(b"q", decision(), epoch, 10)
    assert (found.find(b"q", 11) is not None, found.find(b"before", 11) is not None) == (is_kept, others_stay)


@pytest.mark.parametrize(
    ("then", "is_used"),
    [
        (lambda a, c: None, True),
        (lambda a, c: a.told(ToldEpoch("p-5", 0, 0), c()), True),
        (lambda a, c: a.told(ToldEpoch("p-6", 0, 0), c()), False),
        (lambda a, c: a.told(ToldEpoch("q-5", 0, 0), c()), False),
        (lambda a, c: a.keep(b"other", decision(), "p-6", 10), False),
        (lambda a, c: a.lost(), False),
        (lambda a, c: (a.lost(), a.told(ToldEpoch("p-5", 0, 0), c())), True),  # nothing has changed
        (lambda a, c: (a.lost(), a.told(ToldEpoch("q-1", 0, 0), c())), False),
        (lambda a, c: a.forget(), False),
    ],
    ids=["nothing", "the same", "newer", "another process", "a newer answer", "cut", "back", "back elsewhere", "forgotten"],
)
def test_an_answer_is_used_in_its_own_epoch(clock: Clock, then: Callable[[Answers, Clock], Any], is_used: bool) -> None:
    found = answers(clock)
    found.keep(b"q", decision(), "p-5", 10)
    then(found, clock)
    assert (found.find(b"q", 11) is not None) == is_used


def test_an_epoch_is_believed_from_when_it_was_asked_for(clock: Clock) -> None:
    found = answers(clock, keep_us=10**12)
    found.keep(b"q", decision(), "p-5", 10)
    clock.s += LEASE_S
    assert found.find(b"q", 11) is None
    found.told(ToldEpoch("p-5", 0, 0), clock.s - LEASE_S)  # an answer that was as long on its way
    assert found.find(b"q", 11) is None
    found.told(ToldEpoch("p-5", 0, 0), clock.s - LEASE_S / 2)
    assert found.find(b"q", 11) is not None
    clock.s += LEASE_S * 0.6
    assert found.find(b"q", 11) is None
    found.told(ToldEpoch("p-5", 0, 0), clock.s + 3600)  # nobody has asked then
    clock.s += LEASE_S
    assert found.find(b"q", 11) is None


def test_an_older_epoch_than_an_answer_had_is_not_believed(clock: Clock) -> None:
    found = answers(clock)
    found.keep(b"q", decision(), "p-6", 10)
    clock.s += LEASE_S
    found.told(ToldEpoch("p-5", 0, 0), clock())
    assert not found.is_live
    found.told(ToldEpoch("p-6", 0, 0), clock())
    assert found.find(b"q", 11) is not None


def test_a_clock_that_is_behind_keeps_nothing_longer(clock: Clock) -> None:
    """Answers end by the clock of the decision point, of which the stream tells."""
    found = Answers(2, 10**9, clock)
    found.told(ToldEpoch("p-5", 0, 5_000_000), clock())
    found.keep(b"q", decision(fresh=5_000_000), "p-5", 10)  # fresh no more: a use of a grant, say
    assert found.find(b"q", 11) is None
    found.keep(b"q", decision(valid=5_400_000), "p-5", 10)
    assert found.find(b"q", 11) is not None
    clock.s += 0.5
    assert found.find(b"q", 11) is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_whatever_order_what_is_used_is_of_the_epoch_in_force(clock: Clock, seed: int) -> None:
    """A model: messages of a stream and answers overtake each other, the epoch grows, streams are cut."""
    chance = random.Random(seed)
    found, now, told_last = Answers(8, 10**12, clock), 1, -1
    for _ in range(400):
        match chance.randrange(6):
            case 0:
                now += 1
            case 1:
                told_last = chance.randint(max(told_last, now - 2, 0), now)  # a stream keeps its order
                found.told(ToldEpoch(f"p-{told_last}", 0, 0), clock())
            case 2:
                name, epoch = chance.randbytes(1)[:1], chance.randint(max(1, now - 3), now)
                found.keep(name, decision(reason=f"{epoch}"), f"p-{epoch}", 10)
            case 3:
                clock.s += 0.3
            case 4:
                found.lost()
                told_last = -1
            case _:
                used = [d for n in range(256) if (d := found.find(bytes([n]), 11)) is not None]
                assert {d.reason for d in used} <= {str(found._number)}
                assert found._number >= told_last
                assert not used or found.is_live


@pytest.mark.parametrize(
    ("text", "epoch"), [("ab-c-7", ("ab-c", 7)), ("-7", None), ("a-", None), ("a-\u0662", None), ("", None)]
)
def test_epochs(text: str, epoch: tuple[str, int] | None) -> None:
    assert epoch_of(text) == epoch
