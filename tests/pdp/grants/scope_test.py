"""One meaning of a scope: what is within a parent covers nothing that the parent does not, over everything there is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language import EntityData
from pdp.grants.grant import Permit, Reference, Scope, Target
from pdp.grants.scope import Ancestors, above_in, ceiling, covers, matches, resource_ancestors, within
from tests.pdp.service.world import World

#: A little directory: folders in folders, documents in folders.
PARENTS: Mapping[Reference, tuple[Reference, ...]] = {
    ("F", "a"): (),
    ("F", "b"): (("F", "a"),),
    ("F", "c"): (("F", "b"),),
    ("F", "z"): (),
    ("D", "1"): (("F", "a"),),
    ("D", "2"): (("F", "b"),),
    ("D", "3"): (("F", "c"), ("F", "z")),
    ("D", "4"): (),
}
ACTIONS = ("read", "write")


def above(entity: Reference) -> Ancestors:
    found: dict[str, set[str]] = {}
    waiting = list(PARENTS.get(entity, ()))
    while waiting:
        parent = waiting.pop()
        found.setdefault(parent[0], set()).add(parent[1])
        waiting += PARENTS.get(parent, ())
    return {name: frozenset(ids) for name, ids in found.items()}


FOLDERS = st.sampled_from(["a", "b", "c", "z", "gone"])
TARGETS = st.one_of(
    st.builds(Target, st.sampled_from(["D", "F"])),
    st.builds(Target, st.sampled_from(["D", "F"]), st.sampled_from(["1", "2", "3", "a", "b", "gone"])),
    st.builds(lambda t, f: Target(t, None, ("F", f)), st.sampled_from(["D", "F"]), FOLDERS),
)
PERMITS = st.builds(
    Permit,
    st.frozensets(st.sampled_from(ACTIONS), max_size=2),
    st.lists(TARGETS, max_size=3).map(tuple),
    st.sampled_from([(), (), (), ("columns",)]),
)
SCOPES = st.lists(PERMITS, max_size=3).map(lambda permits: Scope(tuple(permits)))
EVERYTHING = [(action, entity) for action in ACTIONS for entity in PARENTS]


@settings(max_examples=600, deadline=None)
@given(SCOPES, SCOPES)
def test_what_is_within_a_parent_covers_nothing_more(child: Scope, parent: Scope) -> None:
    if within(child, parent, above):
        for action, entity in EVERYTHING:
            if covers(child, action, entity, above(entity)):
                assert covers(parent, action, entity, above(entity))


@settings(deadline=None)
@given(SCOPES)
def test_a_scope_that_is_understood_is_within_itself(scope: Scope) -> None:
    assert within(scope, scope, above) is all(not permit.constraints for permit in scope.permits)


@settings(max_examples=300, deadline=None)
@given(SCOPES, SCOPES, SCOPES)
def test_within_is_transitive(one: Scope, two: Scope, three: Scope) -> None:
    if within(one, two, above) and within(two, three, above):
        assert within(one, three, above)


@settings(deadline=None)
@given(SCOPES, st.sampled_from(EVERYTHING))
def test_a_constraint_that_is_not_understood_covers_nothing(scope: Scope, asked: tuple[str, Reference]) -> None:
    odd = Scope(tuple(Permit(permit.actions, permit.on, ("columns",)) for permit in scope.permits))
    assert not covers(odd, asked[0], asked[1], above(asked[1]))


@pytest.mark.parametrize(
    ("target", "entity", "found"),
    [
        (Target("D"), ("D", "1"), True),
        (Target("D"), ("F", "a"), False),
        (Target("D", "1"), ("D", "1"), True),
        (Target("D", "1"), ("D", "2"), False),
        (Target("D", None, ("F", "a")), ("D", "3"), True),
        (Target("D", None, ("F", "c")), ("D", "2"), False),
        (Target("D", None, ("F", "a")), ("D", "4"), False),
        (Target("F", None, ("F", "a")), ("F", "a"), True),
        (Target("D", "2", ("F", "c")), ("D", "2"), False),
    ],
)
def test_what_a_target_means(target: Target, entity: Reference, found: bool) -> None:
    assert matches(target, entity, above(entity)) is found


def test_the_ceiling_is_the_declaration() -> None:
    world = World().snapshot.world
    scope = ceiling(world.vocabulary.tasks["invoicing"])
    over = above_in(world)
    for table, expected in (("invoices", True), ("payments", True), ("foreign", False), ("nowhere", False)):
        assert covers(scope, "select", ("Table", table), over(("Table", table))) is expected
    assert not covers(scope, "ship", ("Service", "shop"), {})


def test_a_claimed_parent_is_not_believed() -> None:
    """Whoever holds a narrow grant would say that everything is in it."""
    world = World().snapshot.world
    parcel = EntityData("Parcel", "p", {"weight": 1}, (("Database", "ledger"),))
    scope = Scope((Permit(frozenset({"weigh"}), (Target("Parcel", None, ("Database", "ledger")),)),))
    assert not covers(scope, "weigh", ("Parcel", "p"), resource_ancestors(world, parcel, True))


def test_a_directory_entity_has_the_directorys_parents_whatever_is_told() -> None:
    world = World().snapshot.world
    lie = EntityData("Table", "foreign", {}, (("Database", "ledger"),))
    assert resource_ancestors(world, lie, True) == {"Database": frozenset({"other"}), "Schema": frozenset()}
