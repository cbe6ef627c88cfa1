"""Test blocks -> policy tests: every name and value checked against the vocabulary, tables opened row by row.

A typo in a fixture is an error here, never a denial that happens to pass (catalogue K174).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from language import typed as t
from language.asked import RequestData, TaskData
from language.checker.base import Surroundings
from language.checker.expressions import ExpressionChecker
from language.checker.narrow import NOTHING
from language.checker.report import Report
from language.diagnostics import did_you_mean
from language.directory import EntityData, RowData
from language.inputs import FOREVER
from language.source import Span
from language.spiffe import is_spiffe_id
from language.syntax import nodes as n
from language.syntax.literals import LATEST, format_duration, format_instant
from language.testing.cases import Check, DataChange, Event, Expected, PolicyTest, TaskChange
from language.types import (
    CIDR,
    DURATION,
    IP,
    SPIFFE_ID,
    STRING,
    TIME,
    UNKNOWN,
    EntityType,
    Field,
    MapType,
    RecordType,
    SetType,
    Trust,
    Type,
)
from language.values import show_value
from language.vocabulary import GATE, LOCATION, PROCESS, PROOF_FACT, WORKLOAD, EntityDecl, TaskDecl, Vocabulary

START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z, a Thursday: where a test that does not say starts
NO_END = 10 * 365 * 86_400_000_000


class TestChecker:
    __test__ = False  # not a test of ours, whatever its name says to pytest

    def __init__(
        self, vocabulary: Vocabulary, expressions: ExpressionChecker, rules: Mapping[str, Mapping[str, str]], report: Report
    ) -> None:
        self.vocabulary = vocabulary
        self.expressions = expressions
        self.rules = rules  # by package: short name -> name in decisions
        self.report = report

    def check(self, node: n.Test, package: str) -> tuple[PolicyTest, ...]:
        if node.cases is None:
            return (_Case(self, node, package, {}, None).build(),)
        if not node.cases.values:
            self.report.say("empty_table", "a table without rows tests nothing", node.cases.span)
        found = []
        for value in node.cases.values:
            typed = self.expressions.value(value, Surroundings(roots_visible=False), NOTHING, UNKNOWN)
            if not isinstance(typed, t.Constant):
                self.report.say("not_constant", "a row is a constant", value.span)
                continue
            shown = show_value(typed.value, typed.type)
            found.append(_Case(self, node, package, {node.cases.variable.text: typed}, shown).build())
        return tuple(found)


class _Case:
    """One test with its table variable bound."""

    def __init__(
        self, checker: TestChecker, node: n.Test, package: str, variables: Mapping[str, t.TypedExpr], case: str | None
    ) -> None:
        self.checker = checker
        self.vocabulary = checker.vocabulary
        self.report = checker.report
        self.node = node
        self.package = package
        self.variables = variables
        self.case = case
        self.starts = START
        self.entities: list[EntityData] = []
        self.rows: list[RowData] = []
        self.tasks: dict[str, TaskData] = {}
        self.told: dict[tuple[str, str], EntityData] = {}  # what goes with each request and is in no directory
        self.base = RequestData("", EntityData("", "", {}, ()))

    def build(self) -> PolicyTest:
        for given in self.node.givens:
            if isinstance(given, n.GivenNow):
                self.starts = given.instant
        for given in self.node.givens:
            self._given(given)
        events: list[Event] = []
        last = -1
        for step in self.node.steps:
            at = self._moment(step.at)
            if at > LATEST:
                self.report.say("bad_literal", "this step is after the year 9999", step.at.span)
            if at < last:
                self.report.say("time_goes_back", "steps stand in order of time", step.at.span)
            last = max(last, at)
            event = self._step(step, at)
            if event is not None:
                events.append(event)
        if not any(isinstance(e, Check) for e in events):
            self.report.say("test_without_check", f"`{self.node.name}` checks nothing", self.node.span)
        return PolicyTest(
            self.node.name,
            self.case,
            self.package,
            self.node.span,
            self.starts,
            tuple(self.entities),
            tuple(self.rows),
            self.tasks,
            tuple(events),
        )

    def _moment(self, moment: n.Moment) -> int:
        return moment.microseconds if moment.absolute else self.starts + moment.microseconds

    # ---- givens

    def _given(self, given: n.Given) -> None:
        match given:
            case n.GivenNow():
                return
            case n.GivenWorkload():
                self._given_workload(given)
            case n.GivenEntity():
                entity = self._entity(given)
                if entity is None:
                    return
                told = self._is_told(entity.type)
                if given.is_subject:
                    self.base = self.base._replace(user=entity, user_told=told)
                if self._is_recorded(entity.type, given):
                    self.entities.append(entity)
                elif told:
                    self.told[entity.type, entity.id] = entity
            case n.GivenRow():
                row = self._row(given)
                if row is not None:
                    self.rows.append(row)
            case n.GivenTask():
                self._given_task(given)
            case n.GivenGate(gate_id, attributes):
                self._spiffe_id(gate_id, given.span)
                fields = RecordType(tuple(f for f in GATE.fields if f.name != "id"), "gate")
                self.base = self.base._replace(gate={"id": gate_id, **self._record(attributes, fields, given.span)})
            case n.GivenLocation(attributes):
                self.base = self.base._replace(location=self._record(attributes, LOCATION, given.span))
            case n.GivenProof(facts):
                self.base = self.base._replace(proof=self._proofs(facts))

    def _is_told(self, type_name: str) -> bool:
        decl = self.vocabulary.entities.get(type_name)
        return decl is not None and decl.needs_record and decl.trust is not Trust.VERIFIED

    def _is_recorded(self, type_name: str, given: n.GivenEntity) -> bool:
        decl = self.vocabulary.entities.get(type_name)
        if decl is None or decl.trust is not Trust.VERIFIED or not decl.needs_record:
            return False
        # `given user User "ada"` with nothing more names the subject; a record needs its fields
        return bool(given.attributes or given.parents) or all(f.optional for f in decl.fields)

    def _given_workload(self, given: n.GivenWorkload) -> None:
        self._spiffe_id(given.id, given.span)
        decl = self.vocabulary.workload
        fields = RecordType((*decl.fields, Field("process", PROCESS, True)), WORKLOAD)
        wanted = given.attributes is not None or bool(given.parents)
        attributes = self._record(given.attributes, fields, given.span) if wanted else {}
        process = attributes.pop("process", None)
        told_nothing = not attributes and not given.parents and any(not f.optional for f in decl.fields)
        if decl.needs_record and not told_nothing:
            parents = self._parents(given.parents, decl)
            self.entities.append(EntityData(WORKLOAD, given.id, attributes, parents))
        if self.base.workload is None:
            self.base = self.base._replace(workload=given.id, process=process)

    def _spiffe_id(self, text: str, span: Span) -> None:
        if not is_spiffe_id(text):
            self.report.say("bad_spiffe_pattern", f"`{text}` is not a SPIFFE ID", span)

    def _entity(self, given: n.GivenEntity) -> EntityData | None:
        decl = self.vocabulary.entities.get(given.type.text)
        if decl is None:
            self.report.unknown("entity type", given.type.text, given.type.span, self.vocabulary.entities)
            return None
        only_named = given.is_subject and given.attributes is None and not given.parents
        attributes = {} if only_named else self._record(given.attributes, decl.attributes, given.span)
        return EntityData(decl.name, self._text(given.id), attributes, self._parents(given.parents, decl))

    def _parents(self, nodes: tuple[n.ParentRef, ...], decl: EntityDecl) -> tuple[tuple[str, str], ...]:
        found = []
        for node in nodes:
            if node.type.text not in decl.parents:
                hint = did_you_mean(node.type.text, decl.parents)
                self.report.say("never_below", f"a `{decl.name}` is never in a `{node.type}`", node.span, hint)
                continue
            found.append((node.type.text, self._text(node.id)))
        return tuple(found)

    def _row(self, given: n.GivenRow) -> RowData | None:
        decl = self.vocabulary.relations.get(given.relation.text)
        if decl is None:
            self.report.unknown("relation", given.relation.text, given.relation.span, self.vocabulary.relations)
            return None
        if len(given.arguments) != len(decl.of):
            message = f"`{decl.name}` relates {len(decl.of)} things, found {len(given.arguments)}"
            self.report.say("wrong_arguments", message, given.span)
            return None
        if given.until is not None and not decl.expiring:
            self.report.say("bad_fixture", f"`{decl.name}` is not declared `expiring`", given.until.span)
        of = []
        for node, type_name in zip(given.arguments, decl.of, strict=True):
            value = self._constant(node, SPIFFE_ID if type_name == WORKLOAD else EntityType(type_name))
            of.append((type_name, str(value)))
        until = FOREVER if given.until is None else self._moment(given.until)
        return RowData(decl.name, tuple(of), until)

    def _given_task(self, given: n.GivenTask) -> None:
        decl = self.vocabulary.tasks.get(given.kind.text)
        if decl is None:
            self.report.unknown("task", given.kind.text, given.kind.span, self.vocabulary.tasks)
            return
        if given.name.text in self.tasks:
            self.report.say("duplicate_declaration", f"`{given.name}` stands twice", given.name.span)
        facts = self._record(given.facts, decl.facts, given.span)
        lasting = given.lasting if given.lasting is not None else decl.lasts or NO_END
        for spiffe_id in (given.holder, given.opener):
            if spiffe_id is not None:
                self._spiffe_id(spiffe_id, given.span)
        holder = given.holder or self.base.workload
        opener = given.opener or _some_opener(decl, holder)
        self.tasks[given.name.text] = TaskData(
            decl.kind,
            given.name.text,
            facts,
            self.starts,
            self.starts + lasting,
            self._proofs(given.proof),
            opener,
            given.holder,
            given.depth,
            "parent" if given.depth else None,
        )

    def _proofs(self, nodes: tuple[n.Ident, ...]) -> frozenset[str]:
        for node in nodes:
            if node.text not in PROOF_FACT.members:
                self.report.unknown("proven fact", node.text, node.span, PROOF_FACT.members, "unknown_proof")
        return frozenset(node.text for node in nodes)

    # ---- steps

    def _step(self, step: n.Step, at: int) -> Event | None:
        match step:
            case n.CheckStep():
                return self._check(step, at)
            case n.TaskStep(_, verb, name):
                self._known_task(name)
                return TaskChange(at, verb, name.text)
            case n.DataStep(_, n.GivenEntity() as given, _):
                entity = self._entity(given)
                return DataChange(at, put=entity) if entity else None
            case n.DataStep(_, n.GivenRow() as row, _):
                data = self._row(row)
                return DataChange(at, put_row=data) if data else None
            case n.DataStep(_, _, n.GivenRow() as row):
                data = self._row(row)
                return DataChange(at, remove_row=data) if data else None
            case n.DataStep(_, _, removed):
                assert isinstance(removed, n.ParentRef)
                if removed.type.text not in self.vocabulary.entities:
                    self.report.unknown("entity type", removed.type.text, removed.type.span, self.vocabulary.entities)
                    return None
                return DataChange(at, remove=(removed.type.text, self._text(removed.id)))

    def _known_task(self, name: n.Ident) -> None:
        if name.text not in self.tasks:
            self.report.unknown("task in this test", name.text, name.span, self.tasks)

    def _check(self, step: n.CheckStep, at: int) -> Check | None:
        action = self.vocabulary.actions.get(step.action.text)
        if action is None:
            self.report.unknown("action", step.action.text, step.action.span, self.vocabulary.actions, "unknown_action")
            return None
        if step.type.text not in action.on:
            known = ", ".join(f"`{r}`" for r in action.on)
            self.report.say("action_not_on_type", f"`{action.name}` is an action on {known}", step.type.span)
            return None
        context = self._record(step.context, action.context, step.span)
        key = (step.type.text, self._text(step.id))
        resource = self.told.get(key, EntityData(*key, {}, ()))
        request = self.base._replace(
            action=action.name,
            resource=resource,
            resource_told=self._is_told(step.type.text),
            context=context,
            proof=self.base.proof if step.proof is None else self._proofs(step.proof),
        )
        if step.workload is not None:
            self._spiffe_id(step.workload, step.span)
            process = request.process if step.workload == request.workload else None
            request = request._replace(workload=step.workload, process=process)
        if step.user is not None:
            request = self._with_user(request, step.user)
        return Check(at, request, self._task_of(step), self._expected(step), step.span)

    def _with_user(self, request: RequestData, node: n.ParentRef) -> RequestData:
        if node.type.text not in self.vocabulary.entities:
            self.report.unknown("entity type", node.type.text, node.type.span, self.vocabulary.entities)
            return request
        key = (node.type.text, self._text(node.id))
        user = self.told.get(key, EntityData(*key, {}, ()))
        return request._replace(user=user, user_told=self._is_told(key[0]))

    def _task_of(self, step: n.CheckStep) -> str | None:
        if step.without_task:
            return None
        if step.task is not None:
            self._known_task(step.task)
            return step.task.text
        if len(self.tasks) > 1:
            names = ", ".join(f"`{name}`" for name in self.tasks)
            hint = "add `during t` or `without task`"
            self.report.say("ambiguous_task", f"which task does this step carry: {names}", step.span, hint)
        return next(iter(self.tasks), None)

    def _expected(self, step: n.CheckStep) -> Expected:
        outcome = step.outcome
        if outcome is None:
            return Expected(False, None, None, None, None)
        rule = None
        if outcome.rule is not None:
            rule = self._rule(outcome.rule)
        if outcome.effect == "allow" and (outcome.reason or outcome.because is not None):
            self.report.say("bad_fixture", "`because` goes with `deny`", outcome.span)
        until = None if outcome.until is None else self._moment(outcome.until)
        reason = outcome.reason.text if outcome.reason else None
        return Expected(outcome.effect == "allow", until, rule, reason, outcome.because)

    def _rule(self, node: n.Ident) -> str | None:
        package, _, short = node.text.rpartition(".")
        own = self.checker.rules.get(package or self.package, {})
        if short in own:
            return own[short]
        everywhere = [names[short] for names in self.checker.rules.values() if short in names]
        if not package and len(everywhere) == 1:
            return everywhere[0]
        known = [name for names in self.checker.rules.values() for name in names]
        self.report.unknown("rule", node.text, node.span, known, "unknown_rule")
        return None

    # ---- values

    def _text(self, node: n.Text) -> str:
        if not node.is_variable:
            return node.value
        variable = self.variables.get(node.value)
        if isinstance(variable, t.Constant) and variable.type == STRING:
            return str(variable.value)
        self.report.unknown("table variable with a string", node.value, node.span, self.variables)
        return ""

    def _record(self, node: n.Record | None, type_: RecordType, span: Span) -> dict[str, Any]:
        """The entries of a record, in the form in which data comes from outside."""
        entries = {e.name.text: e for e in (node.entries if node else ())}
        found: dict[str, Any] = {}
        for name, entry in entries.items():
            hit = type_.find(name)
            if hit is None:
                known = [f.name for f in type_.fields]
                message = f"`{type_.name or 'this record'}` has no `{name}`"
                self.report.say("unknown_attribute", message, entry.name.span, did_you_mean(name, known))
                continue
            found[name] = self._entry(entry.value, hit[1].type)
        for field in type_.fields:
            if field.name not in entries and not field.optional:
                self.report.say("missing_field", f"`{type_.name or 'this record'}` needs `{field.name}`", span)
        return found

    def _entry(self, node: n.Expr | n.Record, type_: Type) -> Any:
        if isinstance(node, n.Record):
            if isinstance(type_, RecordType):
                return self._record(node, type_, node.span)
            if isinstance(type_, MapType):
                return {e.name.text: self._entry(e.value, STRING) for e in node.entries}
            self.report.say("type_mismatch", "a record does not stand here", node.span)
            return None
        if isinstance(node, n.SetOf) and isinstance(type_, SetType) and isinstance(type_.of, RecordType):
            return [self._entry(item, type_.of) for item in node.items]
        return _foreign(self._constant(node, type_), type_)

    def _constant(self, node: n.Expr, type_: Type) -> Any:
        around = Surroundings(roots_visible=False, variables=self.variables)
        typed = self.checker.expressions.value(node, around, NOTHING, type_)
        if not isinstance(typed, t.Constant):
            self.report.say("not_constant", "a test's data is constant", node.span)
            return None
        return typed.value


def _some_opener(decl: TaskDecl, holder: str | None) -> str | None:
    """Who opened a task when a test does not say: somebody who may."""
    for opener in decl.openers:
        if opener.is_anyone:
            return "spiffe://opener.test/of/tests"
        if opener.pattern is not None:
            segments = ["any" if s == "*" else s for s in opener.pattern.segments]
            return "spiffe://" + "/".join([*segments, "any"] if opener.pattern.rest else segments)
    return holder if decl.holder_opens else None


def _foreign(value: Any, type_: Type) -> Any:
    """A constant as outside data would spell it, so that fixtures go the same way as real requests."""
    if value is None:
        return None
    match type_:
        case EntityType(name):
            return [name, value]
        case SetType(of):
            return [_foreign(v, of) for v in sorted(value, key=str)]
        case _ if type_ == TIME:
            return format_instant(value)
        case _ if type_ == DURATION:
            return format_duration(value)
        case _ if type_ in (IP, CIDR):
            return str(value)
        case _:
            return value
