"""What a scope means: one function when a grant is given, when it is delegated and when it is used.

The vocabulary types it: actions, types and ids exist and groups of actions are opened when a scope is made; after that, a
scope is sets and names. `in` means what it means in the language: an entity is in itself and in everything above it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from language import BadValue, EntityData, ScopeDecl, TaskDecl, Trust, Vocabulary, World, conform_id, describe, shorten
from pdp.grants.grant import Permit, Reference, Scope, Target
from pdp.grants.reasons import Refused

#: The ids above an entity, by type.
Ancestors = Mapping[str, frozenset[str]]
Above = Callable[[Reference], Ancestors]

#: Constraints of a permit that this version understands. None so far: all others cover nothing.
UNDERSTOOD: frozenset[str] = frozenset()

PERMITS_MAX = 100
TARGETS_MAX = 1_000
NONE: frozenset[str] = frozenset()


def covers(scope: Scope, action: str, resource: Reference, ancestors: Ancestors) -> bool:
    """Whether a scope covers an action on a resource."""
    for permit in scope.permits:
        if action in permit.actions and UNDERSTOOD.issuperset(permit.constraints):
            for target in permit.on:
                if matches(target, resource, ancestors):
                    return True
    return False


def matches(target: Target, entity: Reference, ancestors: Ancestors) -> bool:
    """Whether an entity is one that a target means."""
    if target.type != entity[0]:
        return False
    if target.id is not None and target.id != entity[1]:
        return False
    return target.within is None or is_in(entity, ancestors, target.within)


def is_in(entity: Reference, ancestors: Ancestors, above: Reference) -> bool:
    return entity == above or above[1] in ancestors.get(above[0], NONE)


def within(child: Scope, parent: Scope, above: Above) -> bool:
    """Whether everything that the child covers, whatever it is, is covered by the parent. In doubt it is not."""
    return all(
        any(_target_within(action, target, permit, above) for permit in parent.permits)
        for one in child.permits
        for action in one.actions
        for target in one.on
    ) and all(UNDERSTOOD.issuperset(one.constraints) for one in child.permits)


def _target_within(action: str, target: Target, permit: Permit, above: Above) -> bool:
    return (
        action in permit.actions
        and UNDERSTOOD.issuperset(permit.constraints)
        and any(_narrower(target, wide, above) for wide in permit.on)
    )


def _narrower(narrow: Target, wide: Target, above: Above) -> bool:
    if narrow.type != wide.type:
        return False
    if wide.id is not None and narrow.id != wide.id:
        return False
    if wide.within is None or narrow.within == wide.within:
        return True
    places = [(narrow.type, narrow.id) if narrow.id is not None else None, narrow.within]
    return any(place is not None and is_in(place, above(place), wide.within) for place in places)


def is_empty(scope: Scope) -> bool:
    return not any(permit.actions and permit.on for permit in scope.permits)


# ---- where scopes come from


def ceiling(decl: TaskDecl) -> Scope:
    """What a kind of task may do at all, by the policy of today."""
    return Scope(tuple(Permit(may.actions, tuple(target_of(on) for on in may.on)) for may in decl.may))


def target_of(decl: ScopeDecl) -> Target:
    return Target(decl.type, decl.id, decl.within)


def make_scope(vocabulary: Vocabulary, permits: Sequence[Permit]) -> Scope:
    """A scope that somebody asks for, with groups of actions opened; `scope_malformed` when a name means nothing."""
    if not isinstance(permits, Sequence) or isinstance(permits, str) or len(permits) > PERMITS_MAX:
        raise Refused("scope_malformed", f"at most {PERMITS_MAX} permits")
    made = Scope(tuple(_permit(vocabulary, permit) for permit in permits))
    if is_empty(made):
        raise Refused("scope_empty")
    return made


def _permit(vocabulary: Vocabulary, permit: object) -> Permit:
    if not isinstance(permit, Permit):
        raise Refused("scope_malformed", f"found {describe(permit)}, expected a permit")
    for name in permit.constraints:
        if name not in UNDERSTOOD:
            raise Refused("scope_malformed", f"`{shorten(name)}` is not a constraint that is understood here")
    actions = _actions(vocabulary, permit.actions)
    if len(permit.on) > TARGETS_MAX:
        raise Refused("scope_malformed", f"at most {TARGETS_MAX} resources in a permit")
    on = tuple(_target(vocabulary, target) for target in permit.on)
    types = {target.type for target in on}
    for action in sorted(actions):
        if not types & set(vocabulary.actions[action].on):
            raise Refused("scope_malformed", f"`{action}` is no action on {', '.join(sorted(types)) or 'nothing'}")
    return Permit(actions, on)


def _actions(vocabulary: Vocabulary, names: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        if name in vocabulary.actions:
            found.add(name)
        elif name in vocabulary.groups:
            found |= vocabulary.groups[name]
        else:
            raise Refused("scope_malformed", f"there is no action `{shorten(name)}`")
    return frozenset(found)


def _target(vocabulary: Vocabulary, target: object) -> Target:
    if not isinstance(target, Target):
        raise Refused("scope_malformed", f"found {describe(target)}, expected resources")
    decl = vocabulary.entities.get(target.type)
    if decl is None:
        raise Refused("scope_malformed", f"there is no entity type `{shorten(target.type)}`")
    try:
        if target.id is not None:
            conform_id(target.id, target.type)
        if target.within is not None:
            above, above_id = target.within
            conform_id(above_id, "within")
            if above != target.type and above not in decl.ancestors:
                raise Refused("scope_malformed", f"a `{target.type}` is never in a `{shorten(above)}`")
    except BadValue as error:
        raise Refused("scope_malformed", str(error)) from None
    return target


# ---- the directory's side


def above_in(world: World) -> Above:
    """What stands above an entity, by the directory. An entity without a record is in nothing but itself."""

    def above(entity: Reference) -> Ancestors:
        type_name, entity_id = entity
        record = world.records.get(type_name, {}).get(entity_id)
        if not record:
            return {}
        decl = world.vocabulary.entity(type_name)
        return {name: record[index] for name, index in decl.ancestor_indexes.items()}

    return above


def resource_ancestors(world: World, resource: EntityData, told: bool) -> Ancestors:
    """What stands above the resource of a request.

    The parents of a type that is `from gate` come with the request and are believed, as the language believes them. Those
    of a claimed type are not: whoever is held to a narrow grant would say that everything is in it.
    """
    decl = world.vocabulary.entities.get(resource.type)
    above = above_in(world)
    if decl is None or decl.trust is Trust.CLAIMED:
        return {}
    if decl.trust is Trust.VERIFIED:
        return above((resource.type, resource.id))
    found: dict[str, set[str]] = {}
    for parent in _believed(resource.parents) if told else ():
        found.setdefault(parent[0], set()).add(parent[1])
        for type_name, ids in above(parent).items():
            found.setdefault(type_name, set()).update(ids)
    return {type_name: frozenset(ids) for type_name, ids in found.items()}


def _believed(parents: Any) -> list[Reference]:
    return [(p[0], p[1]) for p in parents if isinstance(p, tuple | list) and len(p) == 2 and all(type(x) is str for x in p)]
