"""Entities and relations, typed against a vocabulary, with every entity's ancestors ready to look into.

A change makes new records and never alters one, so that whoever holds a record holds a consistent one. An entity's
version changes when its attributes or any of its transitive ancestors change: a parent's edit re-versions what is below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from language.inputs import FOREVER
from language.spiffe import is_spiffe_id
from language.types import Trust
from language.values import BadValue, conform_id, conform_record, conform_reference, describe, shorten
from language.vocabulary import ID, VERSION, WORKLOAD, EntityDecl, EntityRecord, Vocabulary

Key = tuple[str, str]


class DirectoryError(ValueError):
    """Data that the vocabulary does not allow; `code` says which law it breaks."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class EntityData:
    """An entity as it is told from outside."""

    type: str
    id: str
    attributes: Mapping[str, Any]
    parents: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class RowData:
    relation: str
    of: tuple[Key, ...]
    until: int = FOREVER


class Directory:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.records: dict[str, dict[str, EntityRecord]] = {name: {} for name in (*vocabulary.entities, WORKLOAD)}
        self.rows: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in vocabulary.relations}
        self.epochs: dict[str, int] = dict.fromkeys([*self.records, *(f"rows {name}" for name in self.rows)], 0)
        self._parents: dict[Key, tuple[Key, ...]] = {}
        self._children: dict[Key, set[Key]] = {}
        self._versions = 0
        self._shared: dict[frozenset[str], frozenset[str]] = {}

    # ---- changes: each is checked whole before anything is changed

    def upsert(self, entities: Iterable[EntityData]) -> None:
        """Puts entities, new or known; all of them or, when one is wrong, none."""
        fresh: dict[Key, tuple[EntityData, tuple[Any, ...]]] = {}
        for entity in entities:
            fresh[entity.type, entity.id] = (entity, self._conform(entity))
        self._refuse_cycles({key: e.parents for key, (e, _) in fresh.items()})
        for key, (entity, _) in fresh.items():
            self._link(key, entity.parents)
        affected = self._below(fresh)
        ancestors: dict[Key, dict[str, frozenset[str]]] = {}
        for key in affected:
            values = fresh[key][1] if key in fresh else self._values(key)
            self._put(key, values, self._ancestors(key, ancestors))

    def remove(self, keys: Iterable[Key]) -> None:
        """Takes entities away; whatever was below them loses what it had through them."""
        gone = set(keys)
        for type_name, entity_id in gone:
            self._decl(type_name)
            if self.records[type_name].pop(entity_id, None) is not None:
                self.epochs[type_name] += 1
            self._link((type_name, entity_id), ())
            self._parents.pop((type_name, entity_id), None)
        ancestors: dict[Key, dict[str, frozenset[str]]] = {}
        for key in self._below(dict.fromkeys(gone)):
            if key not in gone and key[1] in self.records[key[0]]:
                self._put(key, self._values(key), self._ancestors(key, ancestors))

    def put_rows(self, rows: Iterable[RowData]) -> None:
        checked = [(row.relation, self._row_key(row), row.until) for row in rows]
        for relation, key, until in checked:
            self.rows[relation][key] = until
            self.epochs[f"rows {relation}"] += 1

    def remove_rows(self, rows: Iterable[RowData]) -> None:
        for relation, key in [(row.relation, self._row_key(row)) for row in rows]:
            self.rows[relation].pop(key, None)
            self.epochs[f"rows {relation}"] += 1

    # ---- conforming

    def _decl(self, type_name: str) -> EntityDecl:
        if type_name != WORKLOAD and type_name not in self.vocabulary.entities:
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

    def _row_key(self, row: RowData) -> tuple[str, ...]:
        decl = self.vocabulary.relations.get(row.relation)
        if decl is None:
            raise DirectoryError("unknown_relation", f"there is no relation `{shorten(row.relation)}`")
        if len(row.of) != len(decl.of):
            raise DirectoryError("bad_value", f"{row.relation}: relates {len(decl.of)} things, found {len(row.of)}")
        if row.until != FOREVER and not decl.expiring:
            raise DirectoryError("bad_value", f"{row.relation}: is not declared `expiring`, so its rows have no end")
        try:
            return tuple([conform_reference(of, name, row.relation) for of, name in zip(row.of, decl.of, strict=True)])
        except BadValue as error:
            raise DirectoryError("bad_value", str(error)) from None

    # ---- closure

    def _link(self, key: Key, parents: tuple[Key, ...]) -> None:
        parents = tuple(dict.fromkeys(parents))  # a parent named twice is one parent
        for parent in self._parents.get(key, ()):
            self._children[parent].discard(key)
            if not self._children[parent]:
                del self._children[parent]
        for parent in parents:
            self._children.setdefault(parent, set()).add(key)
        self._parents[key] = parents

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

    def _below(self, start: Mapping[Key, Any]) -> list[Key]:
        """The given entities and every entity below them."""
        found = dict.fromkeys(start)
        for key in (waiting := list(found)):
            for child in self._children.get(key, ()):
                if child not in found:
                    found[child] = None
                    waiting.append(child)
        return list(found)

    def _ancestors(self, key: Key, memory: dict[Key, dict[str, frozenset[str]]]) -> dict[str, frozenset[str]]:
        """Ancestor ids by type. Iterative, since a chain may be longer than Python's stack."""
        waiting = [key]
        while waiting:
            top = waiting[-1]
            if top in memory:
                waiting.pop()
                continue
            parents = self._parents.get(top, ())
            missing = [p for p in parents if p not in memory]
            if missing:
                waiting += missing
                continue
            collected: dict[str, set[str]] = {}
            for parent in parents:
                collected.setdefault(parent[0], set()).add(parent[1])
                for type_name, ids in memory[parent].items():
                    collected.setdefault(type_name, set()).update(ids)
            memory[top] = {name: self._share(frozenset(ids)) for name, ids in collected.items()}
            waiting.pop()
        return memory[key]

    def _share(self, ids: frozenset[str]) -> frozenset[str]:
        """Siblings share one set: a million records have far fewer different ancestries."""
        return self._shared.setdefault(ids, ids)

    def _values(self, key: Key) -> tuple[Any, ...]:
        decl = self._decl(key[0])
        return self.records[key[0]][key[1]][2 + len(decl.ancestors) :]

    def _put(self, key: Key, values: tuple[Any, ...], ancestors: Mapping[str, frozenset[str]]) -> None:
        decl = self._decl(key[0])
        self._versions += 1
        self.epochs[key[0]] += 1
        self.records[key[0]][key[1]] = make_record(decl, key[1], self._versions, values, ancestors)


_NONE: frozenset[str] = frozenset()


def make_record(
    decl: EntityDecl, entity_id: str, version: int, values: tuple[Any, ...], ancestors: Mapping[str, frozenset[str]]
) -> EntityRecord:
    above = [ancestors.get(name, _NONE) for name in decl.ancestors]
    return (version, entity_id, *above, *values)


def conform_entity(decl: EntityDecl, entity: EntityData, where: str) -> tuple[Any, ...]:
    """An entity's attributes as values, its id and parents checked."""
    try:
        if decl.name == WORKLOAD:
            if not is_spiffe_id(entity.id):
                raise BadValue(f"{where}: a workload's id is a SPIFFE ID")
        else:
            conform_id(entity.id, where)
        for parent in entity.parents:
            if parent[0] not in decl.parents:
                known = ", ".join(decl.parents) or "nothing"
                raise BadValue(f"{where}: a parent of type {describe(parent[0])}; `{decl.name}` is declared in {known}")
            conform_id(parent[1], f"{where}.parents")
        return conform_record(entity.attributes, decl.attributes, where)
    except BadValue as error:
        raise DirectoryError("bad_value", str(error)) from None


assert (VERSION, ID) == (0, 1)
