"""Entities and relations, typed against a vocabulary, with every entity's ancestors ready to look into.

A change makes new records and a new `World` and never alters one, so that whoever holds a world holds a consistent one.
An entity's version changes when its attributes or any of its transitive ancestors change: a parent's edit re-versions
what is below, in the same step. What is told again as it was changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from language.collecting import without_collection
from language.inputs import FOREVER
from language.spiffe import is_spiffe_id
from language.syntax.literals import LATEST
from language.telling import tell_record
from language.types import Trust
from language.values import BadValue, conform_id, conform_record, conform_reference, describe, shorten
from language.vocabulary import ID, VERSION, WORKLOAD, EntityDecl, EntityRecord, Vocabulary
from language.world import World, changed

Key = tuple[str, str]
RowKey = tuple[str, ...]


class DirectoryError(ValueError):
    """Data that the vocabulary does not allow; `code` says which law it breaks."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


NOTHING_TOLD: Mapping[str, Any] = MappingProxyType({})


class EntityData(NamedTuple):
    """An entity as it is told from outside."""

    type: str
    id: str
    attributes: Mapping[str, Any] = NOTHING_TOLD
    parents: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class RowData:
    relation: str
    of: tuple[Key, ...]
    until: int = FOREVER


#: Where versions come from. INVARIANT: none is given twice in a process, so that a cache's key may hold a version and need
#: not say of which directory.
_VERSIONS = count(1)

#: How many steps of parents are above an entity, and the ids of all of them by type.
Ancestry = tuple[int, dict[str, frozenset[str]]]

#: How many of these steps there may be. Each holds the names of all above it, in every record below.
ANCESTRY_MAX = 64


@dataclass(frozen=True, slots=True)
class Change:
    """What is put and what is taken away, in one step."""

    put: Iterable[EntityData] = ()
    remove: Iterable[Key] = ()
    put_rows: Iterable[RowData] = ()
    remove_rows: Iterable[RowData] = ()


class Directory:
    """The one who changes data. Whoever reads takes `world`, which is whole at every moment and never changes.

    Changes come from one thread at a time; readers may be many.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        names = (*vocabulary.entities, WORKLOAD)
        epochs = dict.fromkeys([*names, *(f"rows {name}" for name in vocabulary.relations)], 0)
        empty: dict[str, Any] = {name: {} for name in names}
        world = World(vocabulary, empty, {name: {} for name in vocabulary.relations}, epochs, next(_VERSIONS))
        #: What is in force, and what its last change linked: that may not have been entered into the two below.
        self._state: tuple[World, Mapping[Key, tuple[Key, ...] | None]] = (world, {})
        self._parents: dict[Key, tuple[Key, ...]] = {}
        self._children: dict[Key, set[Key]] = {}
        self._shared: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    @property
    def world(self) -> World:
        return self._state[0]

    @property
    def vocabulary(self) -> Vocabulary:
        return self.world.vocabulary

    @property
    def records(self) -> Mapping[str, Mapping[str, EntityRecord]]:
        return self.world.records

    def entities(self) -> Iterator[EntityData]:
        """Every entity as it could be told again, to a directory of another vocabulary."""
        self._settle_links()
        for type_name, table in self.records.items():
            decl = self._decl(type_name)
            for entity_id, record in table.items():
                attributes = tell_record(record[2 + len(decl.ancestors) :], decl.attributes)
                yield EntityData(type_name, entity_id, attributes, self._parents.get((type_name, entity_id), ()))

    def told_rows(self) -> Iterator[RowData]:
        for name, table in self.world.rows.items():
            for key, until in table.items():
                yield RowData(name, self._told_row(name, key), until)

    # ---- changes: each is checked whole before anything is changed

    def upsert(self, entities: Iterable[EntityData]) -> None:
        """Puts entities, new or known; all of them or, when one is wrong, none."""
        self.change(Change(put=entities))

    def remove(self, keys: Iterable[Key]) -> None:
        """Takes entities away; whatever was below them loses what it had through them."""
        self.change(Change(remove=keys))

    def put_rows(self, rows: Iterable[RowData]) -> None:
        self.change(Change(put_rows=rows))

    def remove_rows(self, rows: Iterable[RowData]) -> None:
        self.change(Change(remove_rows=rows))

    def replace(self, entities: Iterable[EntityData], rows: Iterable[RowData] = ()) -> None:
        """Holds these and nothing else. What is as it was keeps its version."""
        entities, rows = tuple(entities), tuple(rows)
        kept, kept_rows = {(e.type, e.id) for e in entities}, {(r.relation, self._row_key(r)) for r in rows}
        gone = [(t, i) for t, table in self.records.items() for i in table if (t, i) not in kept]
        gone_rows = [
            RowData(name, self._told_row(name, key))
            for name, table in self.world.rows.items()
            for key in table
            if (name, key) not in kept_rows
        ]
        self.change(Change(entities, gone, rows, gone_rows))

    def change(self, change: Change) -> None:
        """One step from a world to the next: removals, then what is put. All of it or, when a part is wrong, nothing."""
        with without_collection():
            self._change(change)

    def _change(self, change: Change) -> None:
        """Works everything out beside what is in force. The one assignment of world and links together is the
        step: whoever is interrupted before it has changed nothing, and after it everything."""
        self._settle_links()
        put = self._told_once(change.put)
        gone = {key for key in change.remove if self._is_held(key) and key not in put}
        put_rows = self._told_rows_once(change.put_rows)
        gone_rows = [(row.relation, self._row_key(row)) for row in change.remove_rows]
        put = {key: told for key, told in put.items() if not self._is_as_told(key, *told)}
        links = {key: _once(entity.parents) for key, (entity, _) in put.items()}
        above = {**dict.fromkeys(gone, ()), **links}
        self._refuse_cycles(above)
        records = self._next_records(put, gone, above)
        rows = self._next_rows(put_rows, gone_rows)
        if records or rows:
            self._advance(records, rows, {**dict.fromkeys(gone), **links})
            self._settle_links()

    def _told_once(self, entities: Iterable[EntityData]) -> dict[Key, tuple[EntityData, tuple[Any, ...]]]:
        found: dict[Key, tuple[EntityData, tuple[Any, ...]]] = {}
        for entity in entities:
            key, values = (entity.type, entity.id), self._conform(entity)
            before = found.setdefault(key, (entity, values))
            if before[0] is not entity and (before[1], before[0].parents) != (values, entity.parents):
                raise DirectoryError("told_twice", f"{key[0]} {shorten(key[1])} is told twice, and not as the same")
        return found

    def _told_rows_once(self, rows: Iterable[RowData]) -> list[tuple[str, RowKey, int]]:
        found: dict[tuple[str, RowKey], int] = {}
        for row in rows:
            key = self._row_key(row)
            if found.setdefault((row.relation, key), row.until) != row.until:
                told = f"{row.relation}({', '.join(map(shorten, key))})"
                raise DirectoryError("told_twice", f"{told} is told twice, with different ends")
        return [(*key, until) for key, until in found.items()]

    def _is_held(self, key: Key) -> bool:
        self._decl(key[0])
        return key[1] in self.records[key[0]]

    def _is_as_told(self, key: Key, entity: EntityData, values: tuple[Any, ...]) -> bool:
        return self._is_held(key) and self._parents.get(key, ()) == _once(entity.parents) and self._values(key) == values

    def _next_records(
        self, put: Mapping[Key, tuple[EntityData, tuple[Any, ...]]], gone: set[Key], above: Mapping[Key, tuple[Key, ...]]
    ) -> dict[str, Mapping[str, EntityRecord]]:
        """The tables that change. What is put, and everything below what is put or gone, becomes a new record. `above`
        has the parents of what is put or gone; those of others are as they were."""
        fresh: dict[str, dict[str, EntityRecord]] = {}
        ancestors: dict[Key, Ancestry] = {}
        for key in self._below(above):
            if key in put or (key not in gone and key[1] in self.records[key[0]]):
                values = put[key][1] if key in put else self._values(key)
                record = make_record(
                    self._decl(key[0]), key[1], next(_VERSIONS), values, self._ancestors(key, above, ancestors)
                )
                fresh.setdefault(key[0], {})[key[1]] = record
        old: dict[str, list[str]] = {}
        for type_name, entity_id in gone:
            old.setdefault(type_name, []).append(entity_id)
        return {n: changed(self.records[n], fresh.get(n, {}), old.get(n, ())) for n in {**fresh, **old}}

    def _next_rows(
        self, put: Iterable[tuple[str, RowKey, int]], gone: Iterable[tuple[str, RowKey]]
    ) -> dict[str, Mapping[RowKey, int]]:
        fresh: dict[str, dict[RowKey, int]] = {}
        old: dict[str, dict[RowKey, None]] = {}
        for relation, key in gone:
            if key in self.world.rows[relation]:
                old.setdefault(relation, {})[key] = None
        for relation, key, until in put:
            old.get(relation, {}).pop(key, None)
            if self.world.rows[relation].get(key) != until:
                fresh.setdefault(relation, {})[key] = until
        found = {n: changed(self.world.rows[n], fresh.get(n, {}), old.get(n, ())) for n in {**fresh, **old}}
        return {name: table for name, table in found.items() if fresh.get(name) or old.get(name)}

    def _advance(
        self,
        records: Mapping[str, Mapping[str, EntityRecord]],
        rows: Mapping[str, Mapping[RowKey, int]],
        links: Mapping[Key, tuple[Key, ...] | None],
    ) -> None:
        version = next(_VERSIONS)
        epochs = {**self.world.epochs, **dict.fromkeys([*records, *(f"rows {name}" for name in rows)], version)}
        world = World(self.vocabulary, {**self.world.records, **records}, {**self.world.rows, **rows}, epochs, version)
        self._state = (world, links)

    # ---- conforming

    def _decl(self, type_name: str) -> EntityDecl:
        if type(type_name) is not str or (type_name != WORKLOAD and type_name not in self.vocabulary.entities):
            raise DirectoryError("unknown_type", f"there is no entity type `{shorten(type_name)}`")
        return self.vocabulary.entity(type_name)

    def _conform(self, entity: EntityData) -> tuple[Any, ...]:
        decl = self._decl(entity.type)
        where = f"{entity.type} {shorten(entity.id)}"
        if decl.trust is not Trust.VERIFIED:
            source = "the caller" if decl.trust is Trust.CLAIMED else "the gate"
            message = f"{where}: `{entity.type}` comes from {source} with each request, not from the directory"
            raise DirectoryError("wrong_source", message)
        return conform_entity(decl, entity, where)

    def _row_key(self, row: RowData) -> RowKey:
        decl = self.vocabulary.relations.get(row.relation) if type(row.relation) is str else None
        if decl is None:
            raise DirectoryError("unknown_relation", f"there is no relation `{shorten(row.relation)}`")
        if type(row.of) is not tuple:
            raise DirectoryError("bad_value", f"{row.relation}: found {describe(row.of)}, expected a tuple of references")
        if type(row.until) is not int or not (row.until == FOREVER or 0 <= row.until <= LATEST):
            raise DirectoryError("bad_value", f"{row.relation}: `until` is no moment in microseconds since the epoch")
        if len(row.of) != len(decl.of):
            raise DirectoryError("bad_value", f"{row.relation}: relates {len(decl.of)} things, found {len(row.of)}")
        if row.until != FOREVER and not decl.expiring:
            raise DirectoryError("bad_value", f"{row.relation}: is not declared `expiring`, so its rows have no end")
        try:
            return tuple([conform_reference(of, name, row.relation) for of, name in zip(row.of, decl.of, strict=True)])
        except BadValue as error:
            raise DirectoryError("bad_value", str(error)) from None

    # ---- closure

    def _settle_links(self) -> None:
        """Enters the links of the last change. May be done again, from wherever it was interrupted."""
        world, links = self._state
        for key, parents in links.items():
            for parent in self._parents.get(key, ()):
                children = self._children.get(parent, set())
                children.discard(key)
                if not children:
                    self._children.pop(parent, None)
            for parent in parents or ():
                self._children.setdefault(parent, set()).add(key)
            if parents is None:
                self._parents.pop(key, None)
            else:
                self._parents[key] = parents
        self._state = (world, {})

    def _refuse_cycles(self, fresh: Mapping[Key, tuple[Key, ...]]) -> None:
        state: dict[Key, int] = {}  # 1 on the path, 2 done
        for start in fresh:
            if state.get(start):
                continue
            path: list[tuple[Key, list[Key]]] = [(start, list(fresh[start]))]
            state[start] = 1
            while path:
                key, waiting = path[-1]
                if not waiting:
                    state[key] = 2
                    path.pop()
                    continue
                parent = waiting.pop()
                if state.get(parent) == 1:
                    raise DirectoryError("entity_cycle", f"{parent[0]} {shorten(parent[1])} would be above itself")
                if not state.get(parent):
                    state[parent] = 1
                    path.append((parent, list(fresh.get(parent, self._parents.get(parent, ())))))

    def _below(self, above: Mapping[Key, tuple[Key, ...]]) -> list[Key]:
        """What gets new parents, and every entity below it. Old links are enough: below new ones it stands itself."""
        found = dict.fromkeys(above)
        for key in (waiting := list(found)):
            for child in self._children.get(key, ()):
                if child not in found:
                    found[child] = None
                    waiting.append(child)
        return list(found)

    def _ancestors(
        self, key: Key, above: Mapping[Key, tuple[Key, ...]], memory: dict[Key, Ancestry]
    ) -> dict[str, frozenset[str]]:
        """Ancestor ids by type."""
        waiting = [key]
        while waiting:
            top = waiting[-1]
            if top in memory:
                waiting.pop()
                continue
            parents = above[top] if top in above else self._parents.get(top, ())
            missing = [p for p in parents if p not in memory]
            if missing:
                waiting += missing
                continue
            collected: dict[str, set[str]] = {}
            depth = 0
            for parent in parents:
                collected.setdefault(parent[0], set()).add(parent[1])
                depth = max(depth, memory[parent][0] + 1)
                for type_name, ids in memory[parent][1].items():
                    collected.setdefault(type_name, set()).update(ids)
            if depth > ANCESTRY_MAX:
                message = f"{top[0]} {shorten(top[1])} would have more than {ANCESTRY_MAX} steps of parents above it"
                raise DirectoryError("too_deep", message)
            memory[top] = (depth, {name: self._share(frozenset(ids)) for name, ids in collected.items()})
            waiting.pop()
        return memory[key][1]

    def _share(self, ids: frozenset[str]) -> frozenset[str]:
        """Siblings share one set: a million records have far fewer different ancestries."""
        known = self._shared.get(mark := hash(ids))
        if known == ids:
            return known
        self._shared[mark] = ids
        return ids

    def _values(self, key: Key) -> tuple[Any, ...]:
        decl = self._decl(key[0])
        return self.records[key[0]][key[1]][2 + len(decl.ancestors) :]

    def _told_row(self, relation: str, key: RowKey) -> tuple[Key, ...]:
        return tuple(zip(self.vocabulary.relations[relation].of, key, strict=True))


def _once(parents: tuple[Key, ...]) -> tuple[Key, ...]:
    """A parent named twice is one parent."""
    return tuple(dict.fromkeys(parents))


_NONE: frozenset[str] = frozenset()


def make_record(
    decl: EntityDecl, entity_id: str, version: int, values: tuple[Any, ...], ancestors: Mapping[str, frozenset[str]]
) -> EntityRecord:
    above = [ancestors.get(name, _NONE) for name in decl.ancestors]
    return (version, entity_id, *above, *values)


def conform_entity(decl: EntityDecl, entity: EntityData, where: str) -> tuple[Any, ...]:
    """An entity's attributes as values, its id and parents checked."""
    try:
        if type(entity.parents) is not tuple or not all(type(p) is tuple and len(p) == 2 for p in entity.parents):
            raise BadValue(f'{where}: parents are references such as ("Type", "id")')
        if decl.name == WORKLOAD:
            if not is_spiffe_id(entity.id):
                raise BadValue(f"{where}: a workload's id is a SPIFFE ID")
        else:
            conform_id(entity.id, where)
        for parent in entity.parents:
            if type(parent[0]) is not str or parent[0] not in decl.parents:
                known = ", ".join(decl.parents) or "nothing"
                raise BadValue(f"{where}: a parent of type {describe(parent[0])}; `{decl.name}` is declared in {known}")
            conform_id(parent[1], f"{where}.parents")
        return conform_record(entity.attributes, decl.attributes, where)
    except BadValue as error:
        raise DirectoryError("bad_value", str(error)) from None


assert (VERSION, ID) == (0, 1)
