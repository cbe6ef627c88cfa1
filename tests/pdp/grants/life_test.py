"""The life of a grant: its table, and that nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from pdp.grants.grant import EndReason, State
from pdp.grants.life import STEP, STEPS, end, first, take
from pdp.grants.reasons import REASONS, Refused
from tests.pdp.service.world import World


@pytest.mark.parametrize(("name", "before", "after"), [(s.name, b, a) for s in STEPS for b, a in product(State, State)])
def test_a_step_is_taken_from_its_states_and_no_other(name: str, before: State, after: State) -> None:
    grant = replace(World().open(), state=before)
    step = STEP[name]
    if before not in step.before:
        with pytest.raises(Refused) as refused:
            take(name, grant, after)
        assert "step" in REASONS[refused.value.code].where
    elif after not in step.after:
        with pytest.raises(ValueError, match="does not lead to"):
            take(name, grant, after)
    else:
        assert take(name, grant, after).state is after


def test_an_end_is_absorbing() -> None:
    assert [step.name for step in STEPS if State.ENDED in step.before] == []


def test_every_state_but_the_end_can_end() -> None:
    assert set(STEP["ended"].before) == set(State) - {State.ENDED}


def test_nothing_begins_but_by_a_step() -> None:
    grant = World().open()
    assert {step.name for step in STEPS if None in step.before} == {"requested", "opened", "delegated"}
    with pytest.raises(ValueError, match="no grant begins"):
        first("approved", grant)
    with pytest.raises(ValueError, match="no grant begins"):
        first("requested", grant)


def test_an_end_says_why_and_when() -> None:
    over = end(World().open(), EndReason.REVOKED, 7, "stolen", confidential=False)
    assert (over.state, over.ended, over.ended_at, over.why) == (State.ENDED, EndReason.REVOKED, 7, "stolen")
