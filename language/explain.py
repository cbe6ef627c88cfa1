"""The meaning of the language, as plainly as it can be written: the oracle, and what `pdp explain` shows.

A condition's value is a pair (low, high) of signed lives. `+t` is true until t, `-t` is false until t, and in the order
false-forever < false-until-soon < true-until-soon < true-forever `and` is min, `or` is max, `not` negates (law L8). What
is in error may be anything, so it is the whole range (-FOREVER, +FOREVER); strong Kleene logic (law L3) and the life of
every answer follow from that and need no other rule. Compiled code must agree with this file, whatever it costs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from language import typed as t
from language.inputs import FOREVER, Inputs
from language.source import Span
from language.syntax.literals import INT_MAX, INT_MIN
from language.types import BOOL, EntityType, TaskType
from language.values import show_value
from language.vocabulary import ID, WORKLOAD, Vocabulary

Truth = tuple[int, int]
TRUE: Truth = (FOREVER, FOREVER)
FALSE: Truth = (-FOREVER, -FOREVER)
ERROR: Truth = (-FOREVER, FOREVER)


class Unanswerable(Exception):
    """An expression without a value: its code says why, its span where."""

    def __init__(self, code: str, message: str, span: Span) -> None:
        super().__init__(message)
        self.code, self.message, self.span = code, message, span


@dataclass(frozen=True, slots=True)
class RuleError:
    """A rule whose value is an error, and the first cause."""

    rule: str
    code: str
    message: str
    span: Span


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a condition read, as text."""

    source: str
    value: str


@dataclass(frozen=True, slots=True)
class ExplainedConjunct:
    clause: str
    text: str
    span: Span
    truth: str  # true, false, error
    until: int | None
    readings: tuple[Reading, ...]
    error: str | None
    parts: tuple[tuple[Span, bool], ...]  # the conditions that it is made of, and which of them were true


@dataclass(frozen=True, slots=True)
class ExplainedRule:
    rule: str
    effect: str
    because: str | None
    span: Span
    truth: str
    until: int | None
    conjuncts: tuple[ExplainedConjunct, ...]

    @property
    def failing(self) -> tuple[ExplainedConjunct, ...]:
        return tuple(c for c in self.conjuncts if c.truth != "true")


@dataclass(frozen=True, slots=True)
class Answer:
    """What policy says: the decision, every rule that applies and every one in error, and until when."""

    allowed: bool
    reason: str  # allowed, denied, default_deny, error
    rules: tuple[str, ...]  # all that decided, in order of name
    rule: str | None  # the one of them that applies the longest
    errors: tuple[RuleError, ...]
    until: int
    held_until: int  # until when reason and rule stay true as well
    bound: str | None  # the rule whose life is `until`
    considered: tuple[ExplainedRule, ...] = ()


def evaluate(program: t.Program, action: str, resource_type: str, inputs: Inputs, *, explain: bool = False) -> Answer:
    """One decision by reading every rule; order never matters because nothing here stops early."""
    considered: list[ExplainedRule] = []
    errors: list[RuleError] = []
    lives: dict[str, list[tuple[str, Truth]]] = {"allow": [], "deny": []}
    for rule in program.rules:
        truth = FALSE
        for instance in rule.instances.get((action, resource_type), ()):
            evaluator = _Evaluator(program.vocabulary, inputs)
            values = [evaluator.truth(c.expr) for c in instance.conjuncts]
            value = _all(values)
            truth = _any((truth, value))
            if is_error(value) and evaluator.error is not None:
                errors.append(_rule_error(rule.name, evaluator.error))
            if explain:
                considered.append(_explained(rule, instance, values, value, program.vocabulary, inputs))
        if rule.instances.get((action, resource_type)):
            lives[rule.effect].append((rule.name, truth))
    return _answer(lives, tuple(errors), _nearest_first(considered))


def _rule_error(rule: str, error: Unanswerable) -> RuleError:
    return RuleError(rule, error.code, error.message, error.span)


def _answer(
    lives: dict[str, list[tuple[str, Truth]]], errors: tuple[RuleError, ...], considered: tuple[ExplainedRule, ...]
) -> Answer:
    allow_low, allow_high = _any(v for _, v in lives["allow"])
    deny_low, deny_high = _any(v for _, v in lives["deny"])
    low = min(allow_low, -deny_high)
    allowed = low > 0
    errors = tuple({e.rule: e for e in sorted(errors, key=lambda e: (e.rule, e.span.start))}.values())
    longest = _longest(lives["deny"] if deny_high > 0 else lives["allow"])
    if deny_low > 0:
        reason, rules, held = "denied", _true(lives["deny"]), deny_low
    elif deny_high > 0:
        reason, rules, held = "error", tuple(n for n, v in lives["deny"] if is_error(v)), 0
    elif allow_low > 0:
        reason, rules, held = "allowed", _true(lives["allow"]), low
    elif allow_high > 0:
        reason, rules, held = "error", tuple(n for n, v in lives["allow"] if is_error(v)), 0
    else:
        reason, rules, held, longest = "default_deny", (), min(-allow_high, -deny_high), None
    return Answer(allowed, reason, rules, longest, errors, abs(low), held, _bound(lives, low), considered)


def _longest(lives: list[tuple[str, Truth]]) -> str | None:
    """The rule that is true the longest, the first by name of equals; else the first in error."""
    applying = [(-low, name) for name, (low, _) in lives if low > 0]
    in_error = [(0, name) for name, value in lives if is_error(value)]
    return min(applying or in_error, default=(0, None))[1]


def _true(lives: list[tuple[str, Truth]]) -> tuple[str, ...]:
    return tuple(name for name, (low, _) in lives if low > 0)


def _bound(lives: dict[str, list[tuple[str, Truth]]], low: int) -> str | None:
    """The rule whose own end is the end of the answer."""
    if abs(low) == FOREVER:
        return None
    names = [n for n, v in lives["allow"] if v[0] == low] + [n for n, v in lives["deny"] if -v[1] == low]
    return min(names, default=None)


# ---- Kleene logic with lives


def _all(values: Iterable[Truth]) -> Truth:
    lows, highs = _columns(values, TRUE)
    return min(lows), min(highs)


def _any(values: Iterable[Truth]) -> Truth:
    lows, highs = _columns(values, FALSE)
    return max(lows), max(highs)


def _columns(values: Iterable[Truth], neutral: Truth) -> tuple[list[int], list[int]]:
    pairs = [neutral, *values]
    return [low for low, _ in pairs], [high for _, high in pairs]


def _certain(value: bool, life: int = FOREVER) -> Truth:
    return (life, life) if value else (-life, -life)


def _clamp(value: int, life: int) -> int:
    return max(-life, min(value, life))


def is_error(value: Truth) -> bool:
    return value[0] < 0 < value[1]


class _Evaluator:
    """Evaluates one rule's conditions and remembers the first error it met."""

    def __init__(self, vocabulary: Vocabulary, inputs: Inputs) -> None:
        self.vocabulary = vocabulary
        self.inputs = inputs
        self.variables: dict[int, Any] = {}
        self.error: Unanswerable | None = None

    # ---- conditions

    def truth(self, expr: t.TypedExpr) -> Truth:
        try:
            return self._truth(expr)
        except Unanswerable as error:
            self.error = self.error or error
            return ERROR

    def _truth(self, expr: t.TypedExpr) -> Truth:
        inputs = self.inputs
        match expr:
            case t.And(items):
                return _all([self.truth(i) for i in items])
            case t.Or(items):
                return _any([self.truth(i) for i in items])
            case t.Not(item):
                low, high = self.truth(item)
                return -high, -low
            case t.Quantified(kind, variable, over, body):
                values = []
                elements, life = self._value(over)
                for element in elements:
                    self.variables[variable.number] = element
                    values.append(self.truth(body))
                low, high = _any(values) if kind == "any" else _all(values)
                return _clamp(low, life), _clamp(high, life)
            case t.Before(moment):
                until, _ = self._value(moment)
                return _certain(True, until) if inputs.now < until else FALSE
            case t.Since(moment):
                start, _ = self._value(moment)
                return TRUE if inputs.now >= start else _certain(False, start)
            case t.Within(window):
                life = window.life(inputs.now)
                return life, life
            case t.Related(relation, arguments, expiring):
                key = tuple(self._value(a)[0] for a in arguments)
                end = inputs.rows.get(relation, {}).get(key)
                if end is None or (expiring and inputs.now >= end):
                    return FALSE
                return _certain(True, end) if expiring else TRUE
            case t.IsPresent(of):
                return _certain(self._is_present(of))
            case _:
                value, life = self._value(expr)
                return _certain(value, life)

    def _is_present(self, of: t.TypedExpr) -> bool:
        match of:
            case t.Root("process"):
                return self.inputs.process is not None
            case t.FieldOf(t.Root("gate")) if self.inputs.gate is None:
                return False
            case t.AttributeOf(t.Root("workload")) if self.inputs.workload_id is None:
                return False
            case t.AttributeOf(inner, entity, _, index):
                return self._record(inner, entity, of.span)[index] is not None
            case t.FieldOf(inner, _, index):
                return self._value(inner)[0][index] is not None
            case _:
                return self._value(of)[0] is not None

    # ---- values, each with the least life of what it was computed from

    def _value(self, expr: t.TypedExpr) -> tuple[Any, int]:
        match expr:
            case t.Constant(value):
                return value, FOREVER
            case t.Variable(_, number):
                return self.variables[number], FOREVER
            case t.Root():
                return self._root(expr), FOREVER
            case t.FieldOf(of, name, index):
                record, life = self._value(of)
                return self._there(record[index], name, expr.span), life
            case t.AttributeOf(of, entity, name, index):
                return self._there(self._record(of, entity, expr.span)[index], name, expr.span), FOREVER
            case t.IdOf(of):
                return self._value(of)
            case t.KeyOf(of, key):
                found, life = self._value(of)
                return self._there(found.get(self._value(key)[0]), "this entry", expr.span), life
            case t.SetOf(items):
                pairs = [self._value(i) for i in items]
                return frozenset(v for v, _ in pairs), min((life for _, life in pairs), default=FOREVER)
            case t.Arithmetic(operator, left, right):
                a, b = self._value(left)[0], self._value(right)[0]
                result = a + b if operator == "+" else a - b
                if not INT_MIN <= result <= INT_MAX:
                    raise Unanswerable("overflow", "the result does not fit into 64 bits", expr.span)
                return result, FOREVER
            case t.Hole() | t.PathAbove():
                raise AssertionError("only the planner makes these, for compiled code")
            case _ if expr.type == BOOL:
                return self._bool(expr)
            case _:
                raise AssertionError(expr)

    def _bool(self, expr: t.TypedExpr) -> tuple[bool, int]:
        """The operators that are neither logic nor clock: true or false, with the least life of their operands."""
        inputs = self.inputs
        match expr:
            case t.HasSubject():
                return True, FOREVER
            case t.HasWorkload():
                return inputs.workload_id is not None, FOREVER
            case t.IsUser(entity):
                return inputs.user_type == entity, FOREVER
            case t.IsTask(kind):
                return inputs.task_kind == kind, FOREVER
            case t.Matches(t.Root("workload"), pattern):
                return inputs.workload_id is not None and pattern.matches(inputs.workload_id), FOREVER
            case t.Matches(of, pattern):
                return pattern.matches(self._value(of)[0]), FOREVER
            case t.Compare(operator, left, right):
                (a, first), (b, second) = self._value(left), self._value(right)
                return _COMPARE[operator](a, b), min(first, second)
            case t.Below(item, entity, target, ancestors, same_type):
                wanted, life = self._value(target)
                own = self._value(item)[0]
                if same_type and own == wanted:
                    return True, life
                return ancestors is not None and wanted in self._record(item, entity, expr.span)[ancestors], life
            case t.BelowAny(item, entity, targets, ancestors, same_type):
                wanted, life = self._value(targets)
                own = self._value(item)[0]
                if same_type and own in wanted:
                    return True, life
                return ancestors is not None and bool(self._record(item, entity, expr.span)[ancestors] & wanted), life
            case t.Member(item, container):
                (a, first), (s, second) = self._value(item), self._value(container)
                return a in s, min(first, second)
            case t.InNetwork(address, network):
                return self._value(address)[0] in self._value(network)[0], FOREVER
            case t.HasKey(of, key):
                return self._value(key)[0] in self._value(of)[0], FOREVER
            case t.SetCall(method, of, argument):
                (s, first), (a, second) = self._value(of), self._value(argument) if argument else (None, FOREVER)
                return _SET_CALLS[method](s, a), min(first, second)
            case t.TextCall(method, of, argument):
                text, part = self._value(of)[0], self._value(argument)[0]
                return _TEXT_CALLS[method](text, part), FOREVER
            case _:
                low, high = self._truth(expr)
                if is_error((low, high)):
                    raise self.error or Unanswerable("error", "the condition is in error", expr.span)
                return low > 0, min(abs(low), abs(high))

    def _root(self, root: t.Root) -> Any:
        inputs = self.inputs
        match root.name:
            case "resource":
                return inputs.resource_id
            case "user":
                same_type = root.type == EntityType(inputs.user_type or "")
                return self._there(inputs.user_id if same_type else None, "the user", root.span)
            case "workload":
                return self._there(inputs.workload_id, "the workload", root.span)
            case "task":
                same_kind = root.type == TaskType(inputs.task_kind or "")
                return self._there(inputs.task if same_kind else None, "the task", root.span)
            case "process":
                return self._there(inputs.process, "the process", root.span)
            case "gate":
                return self._there(inputs.gate, "the gate", root.span)
            case "task_covers":
                return inputs.task_covers
            case "context":
                return inputs.context
            case "location":
                return inputs.location
            case "proof":
                return inputs.proof
            case _:
                assert_never(root.name)

    def _there(self, value: Any, what: str, span: Span) -> Any:
        if value is None:
            raise Unanswerable("absent", f"{what} is absent", span)
        return value

    def _record(self, of: t.TypedExpr, entity: str, span: Span) -> Any:
        """An entity's record; law L11: where attributes or ancestors are asked for, no record is an error."""
        entity_id = self._value(of)[0]
        if isinstance(of, t.Root):
            record = {"resource": self.inputs.resource, "user": self.inputs.user, "workload": self.inputs.workload}[of.name]
        else:
            record = self.inputs.records.get(entity, {}).get(entity_id)
        if not record:
            shown = entity_id if entity == WORKLOAD else show_value(entity_id, EntityType(entity))
            raise Unanswerable("unknown_entity", f"there is no record of {shown}", span)
        assert record[ID] == entity_id
        return record


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_SET_CALLS: Mapping[str, Callable[[Any, Any], bool]] = {
    "contains": lambda s, a: a in s,
    "contains_all": lambda s, a: a <= s,
    "overlaps": lambda s, a: bool(s & a),
    "is_empty": lambda s, a: not s,
}
_TEXT_CALLS: Mapping[str, Callable[[Any, Any], bool]] = {
    "starts_with": lambda s, a: s.startswith(a),
    "ends_with": lambda s, a: s.endswith(a),
    "includes": lambda s, a: a in s,
}


# ---- explanations


def _explained(
    rule: t.Rule, instance: t.Instance, values: list[Truth], value: Truth, vocabulary: Vocabulary, inputs: Inputs
) -> ExplainedRule:
    conjuncts = tuple(_explained_conjunct(c, v, vocabulary, inputs) for c, v in zip(instance.conjuncts, values, strict=True))
    return ExplainedRule(rule.name, rule.effect, rule.because, rule.span, _truth_word(value), _until(value), conjuncts)


def _explained_conjunct(conjunct: t.Conjunct, value: Truth, vocabulary: Vocabulary, inputs: Inputs) -> ExplainedConjunct:
    evaluator = _Evaluator(vocabulary, inputs)
    evaluator.truth(conjunct.expr)
    error = evaluator.error.message if is_error(value) and evaluator.error else None
    return ExplainedConjunct(
        conjunct.clause,
        " ".join(conjunct.span.text.split()),
        conjunct.span,
        _truth_word(value),
        _until(value),
        tuple(_readings(conjunct.expr, vocabulary, inputs)),
        error,
        tuple((part.span, evaluator.truth(part)[0] > 0) for part in conditions(conjunct.expr)),
    )


def conditions(expr: t.TypedExpr) -> list[t.TypedExpr]:
    """The conditions that `and`, `or` and `not` put together."""
    match expr:
        case t.And(items) | t.Or(items):
            return [part for item in items for part in conditions(item)]
        case t.Not(item):
            return conditions(item)
        case _:
            return [expr]


def _truth_word(value: Truth) -> str:
    return "error" if is_error(value) else "true" if value[0] > 0 else "false"


def _until(value: Truth) -> int | None:
    until = min(abs(value[0]), abs(value[1]))
    return until if until < FOREVER and not is_error(value) else None


def _readings(expr: t.TypedExpr, vocabulary: Vocabulary, inputs: Inputs) -> list[Reading]:
    """What the condition read from the request and the directory, outermost reads only."""
    if isinstance(expr, t.FieldOf | t.AttributeOf | t.KeyOf | t.IdOf | t.Root):
        evaluator = _Evaluator(vocabulary, inputs)
        try:
            value, _ = evaluator._value(expr)
        except Unanswerable as error:
            return [Reading(_source(expr), "absent" if error.code == "absent" else error.message)]
        return [Reading(_source(expr), show_value(value, expr.type))]
    if isinstance(expr, t.IsUser):
        return [Reading("user", inputs.user_type or "absent")]
    if isinstance(expr, t.IsTask):
        return [Reading("task", inputs.task_kind or "absent")]
    if isinstance(expr, t.Matches):
        return [Reading("workload", inputs.workload_id or "absent")]
    if isinstance(expr, t.Quantified):
        return _readings(expr.over, vocabulary, inputs)
    found: list[Reading] = []
    for child in t.children(expr):
        found += [r for r in _readings(child, vocabulary, inputs) if r not in found]
    return found


def _source(expr: t.TypedExpr) -> str:
    match expr:
        case t.Root("task_covers"):
            return "the grant covers this"
        case t.Root(name):
            return name
        case t.FieldOf(of, name) | t.AttributeOf(of, _, name):
            return f"{_source(of)}.{name}"
        case t.IdOf(of):
            return f"{_source(of)}.id"
        case _:
            return expr.span.text


def _nearest_first(considered: list[ExplainedRule]) -> tuple[ExplainedRule, ...]:
    """Denies that apply, then allows that apply, then by how little was missing."""

    def rank(rule: ExplainedRule) -> tuple[int, int, str]:
        if rule.truth == "true":
            return (0 if rule.effect == "deny" else 1, 0, rule.rule)
        if rule.truth == "error":
            return (2, len(rule.failing), rule.rule)
        return (3 if rule.effect == "allow" else 4, len(rule.failing), rule.rule)

    return tuple(sorted(considered, key=rank))
