"""Rules -> typed rules: every clause checked once for each combination of types that the rule can meet.

A rule is told apart by (action, resource type), and inside that by kind of user and kind of task; each such instance is
a list of conjuncts that must all be true. What does not depend on a part of the combination is checked once for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from language import typed as t
from language.checker.base import Surroundings
from language.checker.declare import expand_actions, scope_decl, subject_decl
from language.checker.expressions import ExpressionChecker
from language.checker.heads import covering, proof_condition, scope_condition, subject_condition
from language.checker.narrow import NOTHING, Facts
from language.checker.report import Report
from language.source import Span
from language.syntax import nodes as n
from language.types import BOOL, TIME, EntityType
from language.vocabulary import PROOF_FACT, ScopeDecl, SubjectDecl, Vocabulary

INSTANCES_MAX = 5_000


@dataclass(frozen=True, slots=True)
class _Heads:
    """A rule's clauses with their names resolved, before anything is combined."""

    who: tuple[SubjectDecl, ...] | None
    who_span: Span
    users: tuple[ScopeDecl, ...] | None
    users_span: Span
    on: tuple[ScopeDecl, ...] | None
    on_span: Span
    kinds: tuple[str, ...] | None
    kinds_span: Span
    proofs: tuple[n.Ident, ...]
    conditions: tuple[n.Condition, ...]


class RuleChecker:
    def __init__(self, vocabulary: Vocabulary, expressions: ExpressionChecker, report: Report) -> None:
        self.vocabulary = vocabulary
        self.expressions = expressions
        self.report = report

    def check(self, node: n.Rule, name: str, package: str) -> t.Rule:
        """The typed rule; what is wrong with it is in the report."""
        clauses: dict[str, n.Clause] = {}
        for clause in node.clauses:
            word = n.clause_word(clause)
            if word in clauses:
                self.report.say("duplicate_clause", f"`{word}` stands twice in `{node.name}`", clause.span)
            clauses.setdefault(word, clause)
        self._demand_clauses(node, clauses)
        heads = self._heads(node, clauses)
        pairs = self._pairs(node, clauses, heads)
        instances = self._instances(node, heads, pairs)
        self._check_locations(node, instances)
        because = clauses.get("because")
        return t.Rule(
            name,
            node.name.text,
            package,
            node.effect,
            node.span,
            because.text if isinstance(because, n.Because) else None,
            node.doc,
            tuple((a.name.text, a.value) for a in node.annotations),
            instances,
        )

    # ---- clauses

    def _demand_clauses(self, node: n.Rule, clauses: dict[str, n.Clause]) -> None:
        """An allow spells out its breadth; in a deny an omitted clause means everything."""
        if node.effect == "deny":
            return
        for word, hint in (("do", "`do any` is every action"), ("on", "`on any` is every resource")):
            if word not in clauses:
                self.report.say("missing_clause", f"`{node.name}` does not say `{word}`", node.name.span, hint)
        if "who" not in clauses and "for" not in clauses:
            hint = "`who` names workloads, `for` users; `who anyone` is everyone"
            self.report.say("missing_clause", f"`{node.name}` says neither `who` nor `for`", node.name.span, hint)

    def _heads(self, node: n.Rule, clauses: dict[str, n.Clause]) -> _Heads:
        who, users, on, kinds = clauses.get("who"), clauses.get("for"), clauses.get("on"), clauses.get("during")
        proof = clauses.get("proof")
        facts: tuple[n.Ident, ...] = ()
        if isinstance(proof, n.Proof):
            facts = proof.facts
            for fact in facts:
                if fact.text not in PROOF_FACT.members:
                    self.report.unknown("proven fact", fact.text, fact.span, PROOF_FACT.members, "unknown_proof")
        task_kinds: tuple[str, ...] | None = None
        if isinstance(kinds, n.During):
            for kind in kinds.kinds:
                self.expressions.used.add(kind.text)
                if kind.text not in self.vocabulary.tasks:
                    self.report.unknown("task", kind.text, kind.span, self.vocabulary.tasks)
            task_kinds = tuple(k.text for k in kinds.kinds if k.text in self.vocabulary.tasks)
        own = node.name.span
        return _Heads(
            tuple(subject_decl(s, self.vocabulary, self.report) for s in who.subjects) if isinstance(who, n.Who) else None,
            who.span if who else own,
            self._scopes(users.scopes) if isinstance(users, n.For) else None,
            users.span if users else own,
            self._scopes(on.scopes) if isinstance(on, n.On) and on.scopes is not None else None,
            on.span if on else own,
            task_kinds,
            kinds.span if kinds else own,
            tuple(f for f in facts if f.text in PROOF_FACT.members),
            tuple(c for c in clauses.values() if isinstance(c, n.Condition)),
        )

    def _scopes(self, nodes: tuple[n.Scope, ...]) -> tuple[ScopeDecl, ...]:
        scopes = tuple(scope_decl(s, self.vocabulary, self.report) for s in nodes)
        for scope in scopes:
            self.expressions.used.add(scope.type)
            if scope.within:
                self.expressions.used.add(scope.within[0])
        return tuple(s for s in scopes if s.type in self.vocabulary.entities)

    def _pairs(self, node: n.Rule, clauses: dict[str, n.Clause], heads: _Heads) -> list[tuple[str, str]]:
        """Every (action, resource type) that the rule can meet, in a fixed order."""
        do = clauses.get("do")
        named = do.actions if isinstance(do, n.Do) else None
        actions = self.vocabulary.actions
        wanted = set(actions) if named is None else expand_actions(named, self.vocabulary, self.report)
        types = set(self.vocabulary.entities) if heads.on is None else {s.type for s in heads.on}
        pairs = [(a, r) for a in sorted(wanted) for r in sorted(types & set(actions[a].on))]
        if named is not None:
            self._check_reach(named, types, heads)
        if heads.on is not None and isinstance(clauses.get("on"), n.On):
            for scope in clauses["on"].scopes or ():  # type: ignore[union-attr]  # it is an On, said the line above
                if scope.type.text in types and wanted and not any(r == scope.type.text for _, r in pairs):
                    message = f"none of these actions is on `{scope.type}`"
                    self.report.say("action_not_on_type", message, scope.type.span)
        return pairs

    def _check_reach(self, named: tuple[n.Ident, ...], types: set[str], heads: _Heads) -> None:
        for name in named:
            self.expressions.used.add(f"action {name}")
            own = expand_actions((name,), self.vocabulary, Report())
            if own and types and not any(types & set(self.vocabulary.actions[a].on) for a in own):
                known = ", ".join(f"`{r}`" for a in sorted(own) for r in self.vocabulary.actions[a].on)
                message = f"`{name}` is an action on {known}"
                self.report.say("action_not_on_type", message, name.span)

    # ---- instances

    def _instances(
        self, node: n.Rule, heads: _Heads, pairs: list[tuple[str, str]]
    ) -> dict[tuple[str, str], tuple[t.Instance, ...]]:
        user_types = sorted({s.type for s in heads.users}) if heads.users is not None else [None]
        kinds = list(heads.kinds) if heads.kinds is not None else [None]
        if len(pairs) * len(user_types) * len(kinds) > INSTANCES_MAX:
            message = f"`{node.name}` meets more than {INSTANCES_MAX} combinations of action, type, user and task"
            self.report.say("too_costly", message, node.name.span, "split it, or name fewer kinds of task")
            return {}
        memory: dict[tuple[object, ...], tuple[t.Conjunct, ...]] = {}
        head_memory: dict[tuple[object, ...], tuple[t.Conjunct, ...] | None] = {}
        words = _root_words(heads.conditions)
        instances: dict[tuple[str, str], tuple[t.Instance, ...]] = {}
        for action, resource_type in pairs:
            found = []
            for user_type, kind in product(user_types, kinds):
                head_key = (action if kind else None, resource_type, user_type, kind)
                if head_key not in head_memory:
                    head_memory[head_key] = self._head_conjuncts(heads, action, resource_type, user_type, kind)
                head = head_memory[head_key]
                if head is None:
                    continue
                key = (
                    self.vocabulary.actions[action].context if "context" in words else None,
                    resource_type if "resource" in words else None,
                    user_type,
                    kind,
                )
                if key not in memory:
                    memory[key] = self._conditions(heads, action, resource_type, user_type, kind)
                proofs = frozenset(f.text for f in heads.proofs)
                found.append(t.Instance(user_type, kind, proofs, (*head, *memory[key])))
            if found:
                instances[action, resource_type] = tuple(found)
        if heads.kinds and pairs and not instances:
            message = f"no task of {', '.join(f'`{k}`' for k in heads.kinds)} covers what this rule is about"
            hint = "the task's `may` lists the actions and resources that it covers"
            self.report.say("task_never_covers", message, heads.kinds_span, hint)
        return instances

    def _head_conjuncts(
        self, heads: _Heads, action: str, resource_type: str, user_type: str | None, kind: str | None
    ) -> tuple[t.Conjunct, ...] | None:
        found: list[t.Conjunct] = []
        if heads.who is not None:
            who = subject_condition(heads.who, self.vocabulary, heads.who_span)
            if who is not None:
                found.append(t.Conjunct("who", who, heads.who_span))
        if heads.users is not None and user_type is not None:
            span = heads.users_span
            found.append(t.Conjunct("for", t.IsUser(user_type, span=span), span))
            root = t.Root("user", EntityType(user_type), span=span)
            scope = scope_condition(heads.users, root, user_type, self.vocabulary, span)
            if scope is not None:
                found.append(t.Conjunct("for", scope, span))
        if heads.on is not None:
            root = t.Root("resource", EntityType(resource_type), span=heads.on_span)
            scope = scope_condition(heads.on, root, resource_type, self.vocabulary, heads.on_span)
            if scope is not None:
                found.append(t.Conjunct("on", scope, heads.on_span))
        if kind is not None:
            span = heads.kinds_span
            covers = covering(self.vocabulary.tasks[kind], action, resource_type, self.vocabulary, span)
            if covers is None:
                return None
            found.append(t.Conjunct("during", t.IsTask(kind, span=span), span))
            found.append(t.Conjunct("during", t.Root("task_covers", BOOL, span=span), span))
            if not isinstance(covers, t.HasSubject):
                found.append(t.Conjunct("during", covers, span))
        for fact in heads.proofs:
            found.append(t.Conjunct("proof", proof_condition(fact.text, fact.span), fact.span))
        return tuple(found)

    def _conditions(
        self, heads: _Heads, action: str, resource_type: str, user_type: str | None, kind: str | None
    ) -> tuple[t.Conjunct, ...]:
        around = Surroundings(
            resource_type,
            user_type,
            kind,
            self.vocabulary.actions[action].context,
            workload_present=heads.who is not None and not any(s.is_anyone for s in heads.who),
        )
        facts: Facts = NOTHING
        found: list[t.Conjunct] = []
        order = {"when": 0, "unless": 1, "from": 2, "until": 3}
        for node in sorted(heads.conditions, key=lambda c: order[c.clause]):
            expression = node.expression
            match node.clause:
                case "when":
                    typed, known = self.expressions.condition(expression, around, facts)
                    facts |= known.if_true
                    found += _split(node.clause, typed)
                case "unless":
                    typed, known = self.expressions.condition(expression, around, facts)
                    facts |= known.if_false
                    negated = t.Not(typed, span=expression.span, claimed=typed.claimed)
                    found.append(t.Conjunct(node.clause, negated, expression.span))
                case "from" | "until":
                    moment = self.expressions.value(expression, around, facts, TIME)
                    cls = t.Since if node.clause == "from" else t.Before
                    bound = cls(moment, span=expression.span, claimed=moment.claimed)
                    found.append(t.Conjunct(node.clause, bound, expression.span))
        return tuple(found)

    # ---- location

    def _check_locations(self, node: n.Rule, instances: dict[tuple[str, str], tuple[t.Instance, ...]]) -> None:
        if node.effect == "allow" and "location" in node.span.text:
            for found in instances.values():
                for instance in found:
                    self._check_location(node, instance)

    def _check_location(self, node: n.Rule, instance: t.Instance) -> None:
        """Where a request comes from is not who it comes from (L9)."""
        named = any(c.clause in ("who", "for", "during", "proof") for c in instance.conjuncts)
        for conjunct in instance.conjuncts:
            reads = [e for e in t.walk(conjunct.expr) if isinstance(e, t.Root) and e.name == "location"]
            if reads and not named:
                hint = "add `who`, `for`, `during` or `proof`"
                self.report.say("location_alone", "location alone never satisfies an `allow`", reads[0].span, hint)
            elif reads and conjunct.clause == "when" and _as_identity(conjunct.expr):
                self.report.say("location_as_identity", "one address stands for an identity here", reads[0].span)


def _as_identity(expr: t.TypedExpr) -> bool:
    return any(
        isinstance(e, t.Compare) and any(isinstance(r, t.Root) and r.name == "location" for r in t.walk(e))
        for e in t.walk(expr)
    )


def _split(clause: str, expr: t.TypedExpr) -> list[t.Conjunct]:
    """A conjunction as its parts, so that explanations and indexes see each."""
    items = expr.items if isinstance(expr, t.And) else (expr,)
    return [t.Conjunct(clause, item, item.span) for item in items]


def _root_words(conditions: tuple[n.Condition, ...]) -> set[str]:
    """The roots that the conditions may read, by their written names; an enum member of that name does no harm."""
    text = " ".join(c.span.text for c in conditions)
    return {word for word in ("context", "resource") if word in text}
