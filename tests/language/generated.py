"""Policy sets, data and requests, made at random and well-typed by construction.

Everything comes from one `random.Random`, which hypothesis owns, so that a failure shrinks and can be replayed. The texts
are real policy text: the whole walk from parser to function is under test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from language import Bundle, Compiler, Directory, EntityData, PolicyErrors, RequestData, RowData, Source, TaskData
from language.inputs import FOREVER

START = 1_767_225_600_000_000
MINUTE = 60_000_000
SCALARS = ("Bool", "Int", "String", "Time", "Duration", "Tier")
TIERS = ("prod", "staging", "dev")
PREFIX = "language 1\npackage generated\nenum Tier { prod, staging, dev }\n"


@dataclass
class FieldSpec:
    name: str
    type: str
    optional: bool


@dataclass
class EntitySpec:
    name: str
    parents: list[str]
    source: str  # "", "claimed", "from gate"
    fields: list[FieldSpec]


@dataclass
class World:
    entities: dict[str, EntitySpec]
    workload: EntitySpec
    relations: dict[str, tuple[list[str], bool]]
    actions: dict[str, tuple[list[str], list[FieldSpec]]]
    tasks: dict[str, list[FieldSpec]]
    vocabulary: list[str]  # statements
    rules: list[str]
    ids: list[str] = field(default_factory=lambda: ["a", "b", "c"])

    def text(self) -> str:
        return PREFIX + "\n".join([*self.vocabulary, *self.rules])


def make_world(random: Random, rules: int = 6) -> World:
    maker = _Maker(random)
    world = maker.vocabulary()
    for number in range(random.randint(1, rules)):
        world.rules.append(maker.rule(f"r{number}"))
    if random.random() < 0.4:
        world.rules += maker.family(random.randint(4, 8))
    return world


def compile_world(text: str) -> Bundle:
    """Compiles, adding what an author would add when told: `trusting` for each claim that a rule leans on."""
    for _ in range(4):
        try:
            return Compiler().compile([Source("generated.policy", text)])
        except PolicyErrors as errors:
            wanted: dict[int, set[str]] = {}
            for d in errors.diagnostics:
                if not d.is_error:
                    continue
                if d.code != "untrusted_claim" or d.span is None:
                    raise
                path = re.match(r"`([^`]+)`", d.message)
                assert path
                start = max(text.rfind(f"\n{effect} ", 0, d.span.start) for effect in ("allow", "deny"))
                wanted.setdefault(text.index("{", start) + 1, set()).add(path[1])
            if not wanted:
                raise
            for at in sorted(wanted, reverse=True):
                text = text[:at] + f"\n  trusting {', '.join(sorted(wanted[at]))}" + text[at:]
    raise AssertionError("claims keep coming")


class _Maker:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.world: World

    def chance(self, p: float) -> bool:
        return self.random.random() < p

    # ---- vocabulary

    def vocabulary(self) -> World:
        names = [f"E{i}" for i in range(self.random.randint(2, 4))]
        entities: dict[str, EntitySpec] = {}
        for i, name in enumerate(names):
            parents = [p for p in names[: i + 1] if self.chance(0.5)]
            source = "" if i < 2 or self.chance(0.7) else self.random.choice(["claimed", "from gate"])
            entities[name] = EntitySpec(name, parents, source, self.fields(names, 3))
        workload = EntitySpec("workload", [n for n in names if self.chance(0.4)], "", self.fields(names, 2))
        relations = {
            f"rel{i}": ([self.random.choice([*names, "workload"]), self.random.choice(names)], self.chance(0.5))
            for i in range(self.random.randint(0, 2))
        }
        actions = {
            f"act{i}": (sorted({self.random.choice(names) for _ in range(2)}), self.fields(names, 2))
            for i in range(self.random.randint(1, 3))
        }
        tasks = {f"job{i}": self.fields(names, 2) for i in range(self.random.randint(0, 2))}
        self.world = World(entities, workload, relations, actions, tasks, [], [])
        self.world.vocabulary = self.statements()
        return self.world

    def fields(self, names: list[str], most: int) -> list[FieldSpec]:
        found = []
        for i in range(self.random.randint(0, most)):
            kind = self.random.choice([*SCALARS, *SCALARS, "Ref", "Set", "SetRef", "Map"])
            if kind == "Ref":
                kind = self.random.choice(names)
            elif kind == "Set":
                kind = f"Set<{self.random.choice(['Int', 'String', 'Tier'])}>"
            elif kind == "SetRef":
                kind = f"Set<{self.random.choice(names)}>"
            elif kind == "Map":
                kind = "Map<String, String>"
            found.append(FieldSpec(f"f{i}", kind, self.chance(0.35)))
        return found

    def statements(self) -> list[str]:
        w = self.world
        found = [self._entity(e, f"entity {e.name}") for e in w.entities.values()]
        found.append(self._entity(w.workload, "workload"))
        for name, (of, expiring) in w.relations.items():
            found.append(f"relation {name}({', '.join(of)}){' expiring' * expiring}")
        for name, (on, context) in w.actions.items():
            listed = ", ".join(f"{_field(f)}{self.random.choice(['', ' claimed', ' from gate'])}" for f in context)
            found.append(f"action {name} on {', '.join(on)} {{ {listed} }}")
        for kind, facts in w.tasks.items():
            carries = f"  carries {', '.join(_field(f) for f in facts)}\n" if facts else ""
            mays = "\n".join(f"  may {a} on {', '.join(on)}" for a, (on, _) in w.actions.items())
            found.append(
                f"task {kind} {{\n{carries}  opened by spiffe://t.d/ci\n  who spiffe://t.d/**\n{mays}\n"
                "  lasts at most 20m\n}"
            )
        return found

    def _entity(self, spec: EntitySpec, head: str) -> str:
        parents = f" in {', '.join(spec.parents)}" if spec.parents else ""
        return f"{head}{parents} {spec.source} {{ {', '.join(_field(f) for f in spec.fields)} }}"

    # ---- rules

    def rule(self, name: str) -> str:
        effect = self.random.choice(["allow", "allow", "deny"])
        w = self.world
        action = self.random.choice(list(w.actions))
        resource = self.random.choice(w.actions[action][0])
        lines = []
        scope = _Scope(self, resource, w.actions[action][1])
        who = self.random.choice(["pattern", "user", "both", "in", "none"])
        if who == "in" and not w.workload.parents:
            who = "pattern"
        if effect == "allow" and who == "none":
            who = "pattern"
        if who in ("pattern", "both"):
            lines.append(
                "who " + self.random.choice(["spiffe://t.d/w/*", "spiffe://t.d/**", "spiffe://t.d/w/a", "spiffe://t.d/*/a"])
            )
            scope.workload = True
        if who == "in":
            lines.append(f"who workload in {self.random.choice(w.workload.parents)} {self.id()}")
            scope.workload = True
        if who in ("user", "both"):
            scope.user = self.random.choice(list(w.entities))
            lines.append(f"for {self._head(scope.user)}")
        lines.append(f"do {action}")
        lines.append(f"on {self._head(resource)}")
        if w.tasks and self.chance(0.3):
            scope.task = self.random.choice(list(w.tasks))
            lines.append(f"during {scope.task}")
        if self.chance(0.2):
            lines.append(f"proof {self.random.choice(['key', 'request', 'process'])}")
        if self.chance(0.8):
            lines.append(f"when {scope.condition(3)}")
        if self.chance(0.4):
            lines.append(f"unless {scope.condition(2)}")
        if self.chance(0.2):
            lines.append(f"from {scope.time(1)}")
        if self.chance(0.3):
            lines.append(f"until {scope.time(1)}")
        body = "\n  ".join(lines)
        return f"\n{_escapable(effect)}{effect} {name} {{\n  {body}\n}}"

    def family(self, count: int) -> list[str]:
        """Several rules that differ only in constants: what indexes are made for."""
        w = self.world
        action = self.random.choice(list(w.actions))
        resource = self.random.choice(w.actions[action][0])
        spec = w.entities[resource]
        effect = self.random.choice(["allow", "deny"])
        plain = [f for f in spec.fields if f.type in ("Int", "String", "Bool", "Tier")]
        kind = self.random.choice(["own", "parent", "who"])
        extra = _Scope(self, resource, w.actions[action][1], workload=True).condition(1) if self.chance(0.5) else "true"
        rules = []
        for number in range(count):
            on, who, when = resource, "spiffe://t.d/w/*", "true"
            if kind == "own" and plain:
                chosen = plain[0]
                guard = f"resource has {chosen.name} and " if chosen.optional else ""
                when = f"{guard}resource.{chosen.name} == {self.constant(chosen.type)}"
            elif kind == "parent" and spec.parents:
                on = f"{resource} in {spec.parents[0]} {self.id()}"
            else:
                who = f"spiffe://t.d/w/{self.random.choice('abcd')}"
            rules.append(
                f"\n{_escapable(effect)}{effect} fam{number} {{\n  who {who}\n"
                f"  do {action}\n  on {on}\n  when {when}\n  unless not ({extra})\n}}"
            )
        return rules

    def _head(self, type_name: str) -> str:
        spec = self.world.entities[type_name]
        choice = self.random.choice(["all", "one", "in"])
        if choice == "in" and spec.parents:
            return f"{type_name} in {self.random.choice(spec.parents)} {self.id()}"
        return f"{type_name} {self.id()}" if choice == "one" else type_name

    def id(self) -> str:
        return f'"{self.random.choice(self.world.ids)}"'

    def constant(self, kind: str) -> str:
        r = self.random
        match kind:
            case "Bool":
                return r.choice(["true", "false"])
            case "Int":
                return str(r.choice([0, 1, 2, -1, 9223372036854775807]))
            case "String":
                return r.choice(['""', '"a"', '"b"', '"true"', '"1"'])
            case "Time":
                return f"2026-01-01T00:{r.randint(0, 20):02d}:00Z"
            case "Duration":
                return f"{r.randint(0, 20)}m"
            case "Tier":
                return r.choice(TIERS)
            case _ if kind in self.world.entities:
                return f"{kind} {self.id()}"
        raise AssertionError(kind)


def _escapable(effect: str) -> str:
    return '@escapable("generated")\n' if effect == "deny" else ""


def _field(spec: FieldSpec) -> str:
    return f"{spec.name}: {spec.type}{'?' * spec.optional}"


@dataclass
class _Scope:
    """What an expression may read where it stands."""

    maker: _Maker
    resource: str
    context: list[FieldSpec]
    workload: bool = False
    user: str | None = None
    task: str | None = None
    variables: int = 0

    @property
    def random(self) -> Random:
        return self.maker.random

    def reads(self) -> list[tuple[str, str, str, bool]]:
        """(owner, field, type, optional) of everything readable."""
        w = self.maker.world
        found = [("resource", f) for f in w.entities[self.resource].fields] + [("context", f) for f in self.context]
        if self.workload:
            found += [("workload", f) for f in w.workload.fields]
        if self.user:
            found += [("user", f) for f in w.entities[self.user].fields]
        if self.task:
            found += [("task", f) for f in w.tasks[self.task]]
        reads = [(owner, f.name, f.type, f.optional) for owner, f in found]
        for owner, f in found:  # one step through a reference
            if f.type in w.entities and not f.optional and not w.entities[f.type].source:
                reads += [(f"{owner}.{f.name}", g.name, g.type, g.optional) for g in w.entities[f.type].fields]
        return reads

    def condition(self, depth: int) -> str:
        r = self.random
        if depth > 0 and r.random() < 0.55:
            match r.choice(["and", "or", "not", "and"]):
                case "not":
                    return f"not ({self.condition(depth - 1)})"
                case word:
                    return "(" + f" {word} ".join(self.condition(depth - 1) for _ in range(r.randint(2, 3))) + ")"
        return self.leaf()

    def leaf(self) -> str:
        r = self.random
        choice = r.random()
        if choice < 0.15:
            return self.clock()
        if choice < 0.2:
            return r.choice(["true", "false", "key in proof", "workload has process"])
        if choice < 0.3:
            return self.below() or self.clock()
        if choice < 0.4:
            return self.related() or "true"
        if choice < 0.45:
            word, operator = r.choice(["any", "all"]), r.choice(["==", "<"])
            return f"({word} x in [{self.maker.constant('Int')}, 1, 2]: x {operator} {self.int(1)})"
        reads = self.reads()
        if not reads:
            return self.clock()
        owner, name, kind, optional = r.choice(reads)
        test = self.test(f"{owner}.{name}", kind)
        if not optional:
            return test
        return r.choice([f"({owner} has {name} and {test})", f"(not ({owner} has {name}) or {test})", f"{owner} has {name}"])

    def test(self, path: str, kind: str) -> str:
        r = self.random
        w = self.maker.world
        match kind:
            case "Bool":
                return r.choice([path, f"{path} == {self.maker.constant('Bool')}", f"{path} == ({self.clock()})"])
            case "Int":
                return f"{path} {r.choice(['==', '!=', '<', '<=', '>', '>='])} {self.int(1)}"
            case "String":
                return r.choice(
                    [
                        f"{path} == {self.maker.constant('String')}",
                        f'{path}.starts_with("a")',
                        f'{path} in ["a", "b"]',
                        f'{path}.includes("")',
                    ]
                )
            case "Time":
                return r.choice([f"now < {path}", f"now >= {path} + {r.randint(0, 9)}m", f"{path} < {self.time(0)}"])
            case "Duration":
                return f"{path} > {r.randint(0, 20)}m"
            case "Tier":
                return r.choice([f"{path} == {r.choice(TIERS)}", f"{path} in [prod, dev]"])
            case "Map<String, String>":
                return f'({path} has "k" and {path}["k"] == "a")'
            case _ if kind in w.entities:
                return r.choice([f"{path} == {self.maker.constant(kind)}", self.entity_in(path, kind)])
            case _:
                of = kind[4:-1]
                member = self.maker.constant(of)
                options = [f"{path}.contains({member})", f"{path}.is_empty()", f"{path}.overlaps([{member}])"]
                if of not in w.entities or not w.entities[of].source:
                    options.append(f"{member} in {path}")
                if of in w.entities:
                    options.append(f"(any e in {path}: e == {member})")
                    options.append(self.quantified(path, w.entities[of]))
                    options += [f"resource in {path}"] if of == self.resource else []
                if of == "Tier":
                    options = [f"{path}.contains({member})", f"{path}.is_empty()"]
                return r.choice(options)

    def quantified(self, path: str, spec: EntitySpec) -> str:
        """Something for each element of a set, perhaps with each other one, that may be in error."""
        r = self.random
        parts = [self.clock(), "e == e"]
        parts += [
            f"e.{f.name} < {self.int(1)}" for f in spec.fields if f.type == "Int" and not f.optional and not spec.source
        ]
        parts += [
            f"(e has {f.name} and (any g in e.{f.name}.{h.name}: g == g))"
            for f in spec.fields
            if f.optional and f.type in self.maker.world.entities and not self.maker.world.entities[f.type].source
            for h in self.maker.world.entities[f.type].fields
            if h.type.startswith("Set<") and not h.optional and not spec.source
        ]
        deep = len(parts) > 2 and "has" in parts[-1]
        chosen = [parts[0], parts[-1]] if deep else r.sample(parts, min(2, len(parts)))
        body = f" {r.choice(['and', 'or'])} ".join(chosen)
        if r.random() < 0.5 and not deep:  # quantifiers stand in no more than one other
            body = (
                f"({r.choice(['any', 'all'])} f in {path}: e {r.choice(['==', '!='])} f {r.choice(['and', 'or'])} ({body}))"
            )
        return f"({r.choice(['any', 'all'])} e in {path}: {body})"

    def entity_in(self, path: str, kind: str) -> str:
        spec = self.maker.world.entities[kind]
        if spec.source:
            return f"{path} == {self.maker.constant(kind)}"
        return f"{path} in {self.random.choice([kind, *spec.parents])} {self.maker.id()}"

    def below(self) -> str | None:
        w = self.maker.world
        options = [("resource", w.entities[self.resource])]
        if self.user:
            options.append(("user", w.entities[self.user]))
        root, spec = self.random.choice(options)
        if not spec.parents:
            return None
        return f"{root} in {self.random.choice(spec.parents)} {self.maker.id()}"

    def related(self) -> str | None:
        w = self.maker.world
        fits = []
        for name, (of, _) in w.relations.items():
            arguments = []
            for kind in of:
                if kind == "workload":
                    arguments.append("workload" if self.workload else None)
                elif kind == self.resource:
                    arguments.append("resource")
                elif kind == self.user:
                    arguments.append("user")
                else:
                    arguments.append(f"{kind} {self.maker.id()}")
            if None not in arguments:
                fits.append(f"{name}({', '.join(a for a in arguments if a)})")
        return self.random.choice(fits) if fits else None

    def int(self, depth: int) -> str:
        r = self.random
        ints = [f"{o}.{n}" for o, n, k, opt in self.reads() if k == "Int" and not opt]
        if depth and r.random() < 0.3:
            return f"{self.int(0)} {r.choice('+-')} {self.int(0)}"
        return r.choice([*ints, self.maker.constant("Int")])

    def time(self, depth: int) -> str:
        r = self.random
        times = [f"{o}.{n}" for o, n, k, opt in self.reads() if k == "Time" and not opt]
        if self.task:
            times += ["task.started", "task.ends"]
        if depth and r.random() < 0.4:
            return f"{self.time(0)} {r.choice('+-')} {r.randint(0, 9)}m"
        return r.choice([*times, self.maker.constant("Time")])

    def clock(self) -> str:
        r = self.random
        if r.random() < 0.2:
            return f'now within thu..fri 00:{r.randint(0, 9):02d}..00:{r.randint(10, 20):02d} "Europe/Berlin"'
        return r.choice([f"now < {self.time(1)}", f"now >= {self.time(1)}"])


# ---- data and requests


def make_directory(random: Random, world: World, bundle: Bundle) -> Directory:
    directory = Directory(bundle.vocabulary)
    made: list[EntityData] = []
    for spec in world.entities.values():
        if spec.source:
            continue
        for i, entity_id in enumerate(world.ids):
            if random.random() < 0.85:
                parents = [
                    (p, e)
                    for p in spec.parents
                    for j, e in enumerate(world.ids)
                    if (p != spec.name or j < i) and random.random() < 0.4
                ]
                made.append(EntityData(spec.name, entity_id, values(random, world, spec.fields), tuple(parents)))
    for name in "abc":
        if random.random() < 0.8:
            above = [(p, e) for p in world.workload.parents for e in world.ids if random.random() < 0.4]
            attributes = values(random, world, world.workload.fields)
            made.append(EntityData("workload", f"spiffe://t.d/w/{name}", attributes, tuple(above)))
    directory.upsert(made)
    for relation, (of, expiring) in world.relations.items():
        for _ in range(6):
            row = tuple(
                (k, f"spiffe://t.d/w/{random.choice('abc')}" if k == "workload" else random.choice(world.ids)) for k in of
            )
            until = START + random.randint(-5, 30) * MINUTE if expiring and random.random() < 0.7 else FOREVER
            directory.put_rows([RowData(relation, row, until)])
    return directory


def values(random: Random, world: World, fields: list[FieldSpec]) -> dict[str, Any]:
    return {f.name: value(random, world, f.type) for f in fields if not (f.optional and random.random() < 0.5)}


def value(random: Random, world: World, kind: str) -> Any:
    match kind:
        case "Bool":
            return random.random() < 0.5
        case "Int":
            return random.choice([0, 1, 2, -1, 2**63 - 1])
        case "String":
            return random.choice(["", "a", "b", "true", "1"])
        case "Time":
            return f"2026-01-01T00:{random.randint(0, 20):02d}:00Z"
        case "Duration":
            return f"{random.randint(0, 20)}m"
        case "Tier":
            return random.choice(TIERS)
        case "Map<String, String>":
            return {k: random.choice("ab") for k in random.choice(["", "k", "kz"])}
        case _ if kind in world.entities:
            return [kind, random.choice(world.ids)]
        case _:
            return [value(random, world, kind[4:-1]) for _ in range(random.randint(0, 3))]


def make_request(random: Random, world: World) -> RequestData:
    action = random.choice(list(world.actions))
    on, context = world.actions[action]
    resource, told = _entity(random, world, random.choice(on))
    user, user_told = _entity(random, world, random.choice(list(world.entities))) if random.random() < 0.6 else (None, False)
    workload = f"spiffe://t.d/w/{random.choice('abc')}" if user is None or random.random() < 0.7 else None
    task = None
    if world.tasks and random.random() < 0.6 and workload:
        kind = random.choice(list(world.tasks))
        task = TaskData(
            kind,
            "t1",
            values(random, world, world.tasks[kind]),
            START - random.randint(0, 5) * MINUTE,
            START + random.randint(1, 30) * MINUTE,
            frozenset(random.sample(["key", "request", "process"], random.randint(0, 2))),
            "spiffe://t.d/ci",
        )
    return RequestData(
        action,
        resource,
        told,
        workload,
        {"kind": random.choice(["service", "shell"])} if workload and random.random() < 0.5 else None,
        user,
        user_told,
        task,
        values(random, world, context),
        proof=frozenset(random.sample(["key", "request"], random.randint(0, 1))),
    )


def _entity(random: Random, world: World, name: str) -> tuple[EntityData, bool]:
    spec = world.entities[name]
    entity_id = random.choice(world.ids)
    if not spec.source or not (spec.fields or spec.parents):
        return EntityData(name, entity_id, {}, ()), False
    parents = tuple((p, e) for p in spec.parents for e in world.ids if random.random() < 0.3)
    return EntityData(name, entity_id, values(random, world, spec.fields), parents), True
