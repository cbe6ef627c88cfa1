"""Modules -> Vocabulary: every declaration of every file, names bound, duplicates and cycles refused.

Vocabulary is global: it may be spread over files and packages, and each thing is declared once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from language.checker.report import Report
from language.spiffe import parse_pattern
from language.syntax import nodes as n
from language.types import (
    BOOL,
    CIDR,
    DURATION,
    INT,
    IP,
    SPIFFE_ID,
    STRING,
    TIME,
    UNKNOWN,
    EntityType,
    EnumType,
    MapType,
    RecordType,
    SetType,
    Trust,
    Type,
)
from language.types import Field as TypedField
from language.vocabulary import (
    BUILTIN_ENUMS,
    BUILTIN_TYPES,
    PROCESS,
    TASK_FIELDS,
    WORKLOAD,
    ActionDecl,
    ApprovalDecl,
    EntityDecl,
    MayDecl,
    RelationDecl,
    ScopeDecl,
    SubjectDecl,
    TaskDecl,
    Vocabulary,
    entity_decl,
)

_SCALARS: dict[str, Type] = {
    "Bool": BOOL,
    "Int": INT,
    "String": STRING,
    "Time": TIME,
    "Duration": DURATION,
    "Ip": IP,
    "Cidr": CIDR,
    "SpiffeId": SPIFFE_ID,
}
_TRUST = {None: Trust.VERIFIED, "gate": Trust.GATE, "claimed": Trust.CLAIMED}
_RESERVED_NAMES = frozenset(
    ["resource", "user", "workload", "task", "context", "gate", "location", "proof", "now", "any", "all", "true", "false"]
)
FIELDS_MAX = 200
ENTITY_TYPES_MAX = 1_000


def declare(modules: Iterable[n.Module], report: Report) -> Vocabulary:
    """The vocabulary of a policy set; what is wrong with it goes to the report, and a stand-in into the vocabulary."""
    declarer = _Declarer(modules, report)
    return declarer.vocabulary()


class _Declarer:
    def __init__(self, modules: Iterable[n.Module], report: Report) -> None:
        self.report = report
        self.statements = [s for module in modules for s in module.statements]
        self.enum_types: dict[str, EnumType] = {e.name: e for e in BUILTIN_ENUMS}
        self.entity_nodes: dict[str, n.Entity] = {}
        self.task_nodes: dict[str, n.Task] = {}
        self.first: dict[str, n.Ident] = {}

    def vocabulary(self) -> Vocabulary:
        for statement in self.statements:
            match statement:
                case n.Enum():
                    if self._declare_name(statement.name):
                        self.enum_types[statement.name.text] = self._enum(statement)
                case n.Entity():
                    if self._declare_name(statement.name):
                        self.entity_nodes[statement.name.text] = statement
                case n.Task():
                    if self._declare_name(statement.name):
                        self.task_nodes[statement.name.text] = statement
        if len(self.entity_nodes) > ENTITY_TYPES_MAX:
            last = list(self.entity_nodes.values())[ENTITY_TYPES_MAX]
            self.report.say("too_many_elements", f"at most {ENTITY_TYPES_MAX} types of entity", last.name.span)
            self.entity_nodes = dict(list(self.entity_nodes.items())[:ENTITY_TYPES_MAX])
        entities = self._entities()
        workload = self._workload()
        relations = self._relations()
        actions, groups = self._actions()
        partial = Vocabulary(self.enum_types, entities, workload, relations, actions, groups, {})
        tasks = {name: self._task(node, partial) for name, node in self.task_nodes.items()}
        return Vocabulary(self.enum_types, entities, workload, relations, actions, groups, tasks)

    # ---- names

    def _declare_name(self, name: n.Ident, space: str = "") -> bool:
        if name.text in BUILTIN_TYPES or name.text in _RESERVED_NAMES or name.text in (e.name for e in BUILTIN_ENUMS):
            self.report.say("reserved_name", f"`{name}` belongs to the language", name.span)
            return False
        key = space + name.text
        if key in self.first:
            place = self.first[key].span.location
            self.report.say("duplicate_declaration", f"`{name}` is declared twice; first at {place}", name.span)
            return False
        self.first[key] = name
        return True

    def _enum(self, node: n.Enum) -> EnumType:
        members: list[str] = []
        for member in node.members:
            if member.text in members:
                self.report.say("duplicate_declaration", f"`{member}` stands twice in `{node.name}`", member.span)
            elif member.text in _RESERVED_NAMES:
                self.report.say("reserved_name", f"`{member}` belongs to the language", member.span)
            else:
                members.append(member.text)
        if not members:
            self.report.say("empty_enum", f"`{node.name}` has no members", node.name.span)
        return EnumType(node.name.text, tuple(members))

    # ---- entities

    def _entities(self) -> dict[str, EntityDecl]:
        parents = {name: self._parents(node.parents) for name, node in self.entity_nodes.items()}
        return {
            name: entity_decl(
                name,
                parents[name],
                _ancestors(name, parents),
                _TRUST[node.source if node.source != "holder" else None],
                self._fields(node.fields or (), own_trust=False, of=name),
            )
            for name, node in self.entity_nodes.items()
        }

    def _parents(self, names: tuple[n.Ident, ...]) -> tuple[str, ...]:
        found: list[str] = []
        for name in names:
            if name.text not in self.entity_nodes:
                self.report.unknown("entity type", name.text, name.span, self.entity_nodes)
            elif name.text not in found:
                found.append(name.text)
        return tuple(found)

    def _workload(self) -> EntityDecl:
        nodes = [s for s in self.statements if isinstance(s, n.Workload)]
        for extra in nodes[1:]:
            place = nodes[0].span.location
            self.report.say("duplicate_declaration", f"`workload` is declared twice; first at {place}", extra.span)
        if not nodes:
            return entity_decl(WORKLOAD, (), (), Trust.VERIFIED, ())
        parents = {name: self._parents(node.parents) for name, node in self.entity_nodes.items()}
        own = self._parents(nodes[0].parents)
        fields = self._fields(nodes[0].fields or (), own_trust=False, of=WORKLOAD)
        for field in fields:
            if field.name == "process":
                self.report.say("reserved_name", "`workload.process` belongs to the language", nodes[0].span)
        return entity_decl(WORKLOAD, own, _ancestors(WORKLOAD, {**parents, WORKLOAD: own}), Trust.VERIFIED, fields)

    def _fields(self, nodes: tuple[n.Field, ...], *, own_trust: bool, of: str) -> tuple[TypedField, ...]:
        fields: dict[str, TypedField] = {}
        for node in nodes:
            name = node.name.text
            if name in fields:
                self.report.say("duplicate_declaration", f"`{name}` stands twice in `{of}`", node.name.span)
                continue
            if name == "id" and of != "a record":
                self.report.say("reserved_name", "`id` is there already: every entity and task has it", node.name.span)
                continue
            if node.source is not None and not own_trust:
                hint = "say where the whole entity comes from: `entity T from gate { … }` or `entity T claimed { … }`"
                self.report.say("field_source", "a single attribute has no source of its own", node.span, hint)
            fields[name] = TypedField(name, self._type(node.type), node.type.optional, Trust.VERIFIED)
        if len(fields) > FIELDS_MAX:
            self.report.say("too_many_elements", f"at most {FIELDS_MAX} fields", nodes[0].span)
        return tuple(fields.values())

    # ---- types

    def _type(self, node: n.TypeExpr) -> Type:
        match node:
            case n.NamedType(name):
                return self._named(name)
            case n.RecordType(fields):
                return RecordType(self._fields(fields, own_trust=False, of="a record"))
            case n.GenericType(name, arguments):
                return self._generic(name, arguments)

    def _generic(self, name: n.Ident, arguments: tuple[n.TypeExpr, ...]) -> Type:
        inner = [self._type(a) for a in arguments]
        for argument in arguments:
            if argument.optional:
                self.report.say("bad_type", "what is inside cannot be optional", argument.span)
        match name.text, inner:
            case "Set", [SetType() | MapType()]:
                self.report.say("bad_type", "a set of sets or maps is not possible", name.span)
            case "Set", [of]:
                return SetType(of)
            case "Map", [key, value]:
                if key == STRING and value == STRING:
                    return MapType()
                self.report.say("bad_type", "the only map is `Map<String, String>`", name.span)
            case _:
                self.report.say("bad_type", f"`{name}` is not `Set<T>` or `Map<String, String>`", name.span)
        return UNKNOWN

    def _named(self, name: n.Ident) -> Type:
        if name.text in _SCALARS:
            return _SCALARS[name.text]
        if name.text in self.enum_types:
            return self.enum_types[name.text]
        if name.text in self.entity_nodes:
            return EntityType(name.text)
        if name.text == "Process":
            return PROCESS
        self.report.unknown("type", name.text, name.span, [*_SCALARS, *self.enum_types, *self.entity_nodes])
        return UNKNOWN

    # ---- relations, actions

    def _relations(self) -> dict[str, RelationDecl]:
        relations: dict[str, RelationDecl] = {}
        for node in self.statements:
            if not isinstance(node, n.Relation) or not self._declare_name(node.name, "call "):
                continue
            for of in node.of:
                if of.text not in self.entity_nodes and of.text != WORKLOAD:
                    self.report.unknown("entity type", of.text, of.span, self.entity_nodes)
            relations[node.name.text] = RelationDecl(node.name.text, tuple(i.text for i in node.of), node.expiring)
        return relations

    def _actions(self) -> tuple[dict[str, ActionDecl], dict[str, frozenset[str]]]:
        actions: dict[str, ActionDecl] = {}
        for node in self.statements:
            if isinstance(node, n.Action):
                on = self._parents(node.on)
                context = self._context(node.context or ())
                for name in node.names:
                    if self._declare_name(name, "action "):
                        actions[name.text] = ActionDecl(name.text, on, context)
        nodes = [s for s in self.statements if isinstance(s, n.Group) and self._declare_name(s.name, "action ")]
        members = {g.name.text: g for g in nodes}
        groups: dict[str, frozenset[str]] = {}
        for group in members:
            groups[group] = self._group(group, members, actions, ())
        return actions, groups

    def _context(self, nodes: tuple[n.Field, ...]) -> RecordType:
        fields = self._fields(nodes, own_trust=True, of="context")
        trusts = {node.name.text: self._context_trust(node) for node in nodes}
        return RecordType(
            tuple(TypedField(f.name, f.type, f.optional, trusts[f.name]) for f in fields),
            "context",
        )

    def _context_trust(self, node: n.Field) -> Trust:
        if node.source == "holder":
            self.report.say("field_source", "`from holder` is for what a task carries", node.span)
        return Trust.GATE if node.source == "gate" else Trust.CLAIMED

    def _group(
        self, name: str, members: Mapping[str, n.Group], actions: Mapping[str, ActionDecl], above: tuple[str, ...]
    ) -> frozenset[str]:
        if name in above:
            if name == above[0]:
                cycle = " -> ".join([*above, name])
                self.report.say("cyclic_group", f"a group contains itself: {cycle}", members[name].name.span)
            return frozenset()
        found: set[str] = set()
        for member in members[name].members:
            if member.text in actions:
                found.add(member.text)
            elif member.text in members:
                found |= self._group(member.text, members, actions, (*above, name))
            elif not above:
                self.report.unknown("action", member.text, member.span, [*actions, *members], "unknown_action")
        return frozenset(found)

    # ---- tasks

    def _task(self, node: n.Task, vocabulary: Vocabulary) -> TaskDecl:
        self._once(node, n.Carries, "carries")
        self._once(node, n.OpenedBy, "opened by")
        self._once(node, n.TaskWho, "who")
        self._once(node, n.Lasts, "lasts")
        self._once(node, n.Approval, "approved by")
        carries: tuple[TypedField, ...] = ()
        openers: tuple[SubjectDecl, ...] = ()
        who: tuple[SubjectDecl, ...] = ()
        may: list[MayDecl] = []
        holder_opens, lasts, approval = False, None, None
        for clause in node.clauses:
            match clause:
                case n.Carries(fields):
                    carries = self._carried(fields)
                case n.OpenedBy(words):
                    holder_opens = any(isinstance(w, n.Ident) for w in words)
                    openers = tuple(subject_decl(w, vocabulary, self.report) for w in words if not isinstance(w, n.Ident))
                case n.TaskWho(subjects):
                    who = tuple(subject_decl(s, vocabulary, self.report) for s in subjects)
                case n.May(names, scopes):
                    may.append(self._may(names, scopes, vocabulary))
                case n.Lasts(at_most):
                    lasts = at_most
                    if at_most <= 0:
                        self.report.say("bad_literal", "a task lasts longer than nothing", clause.span)
                case n.Approval(count, of):
                    approval = ApprovalDecl(count, scope_decl(of, vocabulary, self.report))
                    if count < 1:
                        self.report.say("bad_literal", "an approval needs at least one approver", clause.span)
        name = node.name
        if not who:
            self.report.say("task_without_holder", f"`{name}` does not say `who` may hold it", name.span)
        if not openers and not holder_opens:
            self.report.say("task_without_opener", f"`{name}` does not say who it is `opened by`", name.span)
        if lasts is None:
            self.report.say("task_without_end", f"`{name}` does not say how long it `lasts at most`", name.span)
        if not may:
            self.report.say("task_without_scope", f"`{name}` `may` do nothing, so `during {name}` is never true", name.span)
        return TaskDecl(name.text, carries, openers, holder_opens, who, tuple(may), lasts, approval)

    def _once(self, node: n.Task, kind: type[n.TaskClause], word: str) -> None:
        for extra in [c for c in node.clauses if isinstance(c, kind)][1:]:
            self.report.say("duplicate_clause", f"`{word}` stands twice in `{node.name}`", extra.span)

    def _carried(self, nodes: tuple[n.Field, ...]) -> tuple[TypedField, ...]:
        fields = self._fields(nodes, own_trust=True, of="carries")
        sources = {node.name.text: node for node in nodes}
        builtin = {f.name for f in TASK_FIELDS}
        carried = []
        for field in fields:
            node = sources[field.name]
            if field.name in builtin:
                self.report.say("reserved_name", f"every task has `{field.name}` already", node.name.span)
                continue
            if node.source in ("gate", "claimed"):
                self.report.say("field_source", "a fact is set by the opener, or `from holder`", node.span)
            trust = Trust.CLAIMED if node.source == "holder" else Trust.VERIFIED
            carried.append(TypedField(field.name, field.type, field.optional, trust))
        return tuple(carried)

    def _may(self, names: tuple[n.Ident, ...], scopes: tuple[n.Scope, ...], vocabulary: Vocabulary) -> MayDecl:
        actions = expand_actions(names, vocabulary, self.report)
        on = tuple(scope_decl(s, vocabulary, self.report) for s in scopes)
        types = {s.type for s in on}
        for name in names:
            own = expand_actions((name,), vocabulary, Report())
            if own and not any(types & set(vocabulary.actions[a].on) for a in own):
                self.report.say("action_not_on_type", f"`{name}` is no action on {', '.join(sorted(types))}", name.span)
        return MayDecl(actions, on)


def _ancestors(name: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    found: set[str] = set()
    waiting = list(parents[name])
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting += parents.get(parent, ())
    return tuple(sorted(found))


# ---- shared by tasks and rules


def expand_actions(names: Iterable[n.Ident], vocabulary: Vocabulary, report: Report) -> frozenset[str]:
    """Every action that the names mean, groups opened."""
    found: set[str] = set()
    for name in names:
        if name.text in vocabulary.actions:
            found.add(name.text)
        elif name.text in vocabulary.groups:
            found |= vocabulary.groups[name.text]
        else:
            known = [*vocabulary.actions, *vocabulary.groups]
            report.unknown("action", name.text, name.span, known, "unknown_action")
    return frozenset(found)


def scope_decl(node: n.Scope, vocabulary: Vocabulary, report: Report) -> ScopeDecl:
    """A scope whose types exist and whose `in` can ever be true."""
    type_name = node.type.text
    if type_name not in vocabulary.entities:
        report.unknown("entity type", type_name, node.type.span, vocabulary.entities)
        return ScopeDecl(type_name, node.id)
    if node.within is None:
        return ScopeDecl(type_name, node.id)
    above, above_id = node.within
    check_below(type_name, above, vocabulary, report)
    return ScopeDecl(type_name, None, (above.text, above_id))


def subject_decl(node: n.Subject, vocabulary: Vocabulary, report: Report) -> SubjectDecl:
    match node:
        case n.Anyone():
            return SubjectDecl()
        case n.Pattern(text):
            pattern = parse_pattern(text)
            if pattern is None:
                hint = (
                    "lower-case trust domain, segments of letters, digits, `.`, `_`, `-`; `*` is one segment, `**` the rest"
                )
                report.say("bad_spiffe_pattern", f"`{text}` is not a SPIFFE ID or pattern", node.span, hint)
            return SubjectDecl(pattern=pattern)
        case n.WorkloadIn(type_, id_):
            check_below(WORKLOAD, type_, vocabulary, report)
            return SubjectDecl(within=(type_.text, id_))


def check_below(type_name: str, above: n.Ident, vocabulary: Vocabulary, report: Report) -> None:
    if above.text not in vocabulary.entities:
        report.unknown("entity type", above.text, above.span, vocabulary.entities)
    elif above.text != type_name and above.text not in vocabulary.entity(type_name).ancestors:
        hint = f"declare it: `entity {type_name} in {above}`" if type_name != WORKLOAD else f"`workload in {above}`"
        report.say("never_below", f"a `{type_name}` is never in a `{above}`", above.span, hint)
