"""The memory of used proofs: nothing is evicted, no key costs another anything, and what is forgotten cannot come back."""

from __future__ import annotations

from threading import Lock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdp.errors import PdpError
from pdp.grants.replay import ReplayMemory, Use
from tests.pdp.grants.handles_world import fuzz

NOW = 1_000_000
END = NOW + 1000


def memory(**bounds: Any) -> ReplayMemory:
    return ReplayMemory(0, Lock(), **bounds)


def test_until_its_end_and_no_longer() -> None:
    used = memory()
    assert used.use("k", "a", NOW, END, NOW) is Use.FIRST
    assert used.use("k", "a", NOW, END, END - 1) is Use.REPLAYED
    assert used.use("k", "b", NOW, END + 500, END) is Use.FIRST
    assert len(used) == 1


def test_the_same_id_of_two_keys_is_two_proofs() -> None:
    used = memory()
    assert [used.use(key, "a", NOW, END, NOW) for key in ("k", "l", "k")] == [Use.FIRST, Use.FIRST, Use.REPLAYED]


def test_a_busy_key_costs_others_nothing() -> None:
    used = memory(share=2, pool=10, of_key_max=12)
    results = [used.use("busy", str(n), NOW, END, NOW) for n in range(100)]
    assert results == [Use.FIRST] * 12 + [Use.FULL] * 88
    for key in ("a", "b", "c"):
        assert [used.use(key, str(n), NOW, END, NOW) for n in range(3)] == [Use.FIRST, Use.FIRST, Use.FULL]
    assert used.use("busy", "0", NOW, END, NOW) is Use.REPLAYED  # nothing was evicted
    assert used.use("busy", "new", END, END + 9, END) is Use.FIRST  # what ended makes room


def test_too_many_keys_are_denied_and_known_ones_are_not() -> None:
    used = memory(keys_max=2)
    assert [used.use(key, "a", NOW, END, NOW) for key in ("a", "b", "c")] == [Use.FIRST, Use.FIRST, Use.FULL]
    assert used.use("a", "b", NOW, END, NOW) is Use.FIRST
    assert used.use("c", "a", END, END + 9, END) is Use.FIRST


def test_what_was_made_before_the_memory_is_unknown() -> None:
    used = ReplayMemory(NOW, Lock())
    assert used.use("k", "a", NOW - 1, END, NOW) is Use.YOUNG
    assert used.use("k", "a", NOW, END, NOW) is Use.FIRST


def test_a_clock_that_goes_back_brings_nothing_back() -> None:
    used = memory()
    used.use("k", "a", NOW, END, NOW)
    used.use("k", "b", NOW, END + 500, END)
    assert used.use("k", "a", NOW, END, NOW) is Use.YOUNG


@pytest.mark.parametrize("bounds", [{"keys_max": 0}, {"share": 0}, {"pool": -1}, {"share": 5, "of_key_max": 4}])
def test_no_such_memory(bounds: dict[str, int]) -> None:
    with pytest.raises(PdpError):
        memory(**bounds)


@fuzz
@given(
    st.lists(
        st.tuples(st.sampled_from("kl"), st.integers(0, 5), st.integers(1, 60), st.integers(-20, 40)),
        max_size=60,
    )
)
def test_never_first_twice_while_it_could_be_shown(steps: list[tuple[str, int, int, int]]) -> None:
    """Whatever the order, the ends and the clock: a proof that is not over is told FIRST once."""
    used, now = memory(share=1, pool=3, of_key_max=3, keys_max=2), 100
    first: set[tuple[str, str, int]] = set()
    for key, jti, life, step in steps:
        now = max(0, now + step)
        until = now + life
        name = f"{jti}/{until}"  # one proof has one end
        if used.use(key, name, now, until, now) is Use.FIRST:
            assert (key, name, until) not in first
            first.add((key, name, until))
        for other_key, other, end in first:
            if now < end:
                assert used.use(other_key, other, now, end, now) is not Use.FIRST
