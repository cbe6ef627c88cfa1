"""The grant of a connection: the one that fits, no other, and never a guess."""

from __future__ import annotations

from dataclasses import replace

import pytest

from language import EntityData
from pdp.grants.find import find_grant
from pdp.grants.grant import Bindings, Grant
from pdp.grants.reasons import Refused
from pdp.grants.redeem import Redeemed, Shown
from pdp.grants.scope import resource_ancestors
from tests.pdp.service.world import API, CI, GATE, GATE2, LEDGER_DB, OPS, OTHER_DB, SHELL, World, thumbprint, workload

KEY = thumbprint("mine")


def tied(**binding: object) -> Bindings:
    return replace(Bindings(KEY), **binding)  # type: ignore[arg-type]


def find(world: World, **shown: object) -> Redeemed | None:
    told = replace(Shown(API, KEY, None, False, None, None, GATE, LEDGER_DB, "prod", world.tasks.rules.audience), **shown)  # type: ignore[arg-type]
    moment = world.at
    table = EntityData("Table", "invoices", {}, ())
    above = resource_ancestors(moment.world, table, False)
    return find_grant(world.tasks.book.index, told, moment.now, moment.world, "select", ("Table", "invoices"), above)


def ids(found: Redeemed | None) -> tuple[str, ...]:
    return () if found is None else found.chain


def test_the_one_that_fits() -> None:
    world = World()
    grant = world.open(binding=tied())
    assert ids(find(world)) == (grant.id,)


@pytest.mark.parametrize(
    "shown",
    [
        {"certificate": thumbprint("other")},
        {"certificate": None},
        {"workload": SHELL},
        {"environment": "elsewhere"},
        {"audience": "another"},
    ],
    ids=lambda shown: next(iter(shown)),
)
def test_not_for_others_and_not_elsewhere(shown: dict[str, object]) -> None:
    world = World()
    world.open(binding=tied())
    assert find(world, **shown) is None


@pytest.mark.parametrize(
    ("binding", "shown"),
    [
        ({"destinations": (LEDGER_DB,)}, {"destination": OTHER_DB}),
        ({"destinations": (LEDGER_DB,)}, {"destination": None}),
        ({"gates": (GATE,)}, {"gate": GATE2}),
        ({"key": thumbprint("task")}, {}),
        ({"gates": (GATE,), "session": "s"}, {}),
        ({"process": "p"}, {}),
    ],
    ids=["destination", "no destination", "gate", "task key", "session", "process"],
)
def test_what_it_is_tied_to_must_be_there(binding: dict[str, object], shown: dict[str, object]) -> None:
    world = World()
    world.open(binding=tied(**binding))
    assert find(world, **shown) is None


def test_two_that_fit_are_ambiguous_until_one_ends() -> None:
    world = World()
    first, second = world.open(binding=tied()), world.open(binding=tied())
    with pytest.raises(Refused) as refused:
        find(world)
    assert refused.value.code == "ambiguous_task"
    end(world, first)
    assert ids(find(world)) == (second.id,)
    end(world, second)
    assert find(world) is None


def test_places_tell_two_apart() -> None:
    world = World()
    world.open(binding=tied(destinations=(OTHER_DB,)))
    here = world.open(binding=tied(destinations=(LEDGER_DB,)))
    assert ids(find(world)) == (here.id,)


def test_a_suspended_one_does_not_count_and_does_when_it_goes_on() -> None:
    world = World()
    grant = world.open(binding=tied())
    world.tasks.suspend(world.at, OPS, grant.id, "why")
    assert find(world) is None


def test_a_renewed_one_is_found_by_its_new_certificate_only() -> None:
    world = World()
    grant = world.open(binding=tied())
    new = thumbprint("new")
    world.tasks.renew(world.at, replace(workload(API), certificates=frozenset({KEY, new})), grant.id, Bindings(new))
    assert find(world) is None
    assert ids(find(world, certificate=new)) == (grant.id,)


def end(world: World, grant: Grant) -> None:
    world.tasks.end(world.at, workload(CI), grant.id)
