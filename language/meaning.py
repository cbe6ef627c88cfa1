"""The meaning of conditions, as plainly as it can be written: the heart of the oracle.

A condition's value is a pair (low, high) of signed lives. `+t` is true until t, `-t` is false until t, and in the order
false-forever < false-until-soon < true-until-soon < true-forever `and` is min, `or` is max, `not` negates (law L8). What
is in error may be anything, so it is the whole range (-FOREVER, +FOREVER); strong Kleene logic (law L3) and the life of
every answer follow from that and need no other rule. Compiled code must agree with this file, whatever it costs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never

from language import typed as t
from language.inputs import FOREVER, Inputs
from language.source import Span
from language.syntax.literals import INT_MAX, INT_MIN
from language.texts import includes, search_steps
from language.types import BOOL, EntityType, SetType, TaskType
from language.values import show_value
from language.vocabulary import ID, WORKLOAD, Vocabulary
from language.work import QUANTIFIER_STEPS_MAX, Work, size, work_of

Truth = tuple[int, int]
TRUE: Truth = (FOREVER, FOREVER)
FALSE: Truth = (-FOREVER, -FOREVER)
ERROR: Truth = (-FOREVER, FOREVER)

_STEPS_OF_AN_ERROR = 8  # to raise it, to say it in words and to tell it


class Unanswerable(Exception):
    """An expression without a value: its code says why, its span where."""

    def __init__(self, code: str, message: str, span: Span) -> None:
        super().__init__(message)
        self.code, self.message, self.span = code, message, span


class StepsEnded(Exception):
    """More steps were taken than this evaluation may take. No condition catches it: it ends the whole evaluation."""


class Steps:
    """How many steps are left, for all that shares them. The order of nothing changes how many are needed."""

    __slots__ = ("left", "most")

    def __init__(self, most: int) -> None:
        self.most = self.left = most

    def take(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise StepsEnded


# ---- Kleene logic with lives


def all_of(values: Iterable[Truth]) -> Truth:
    lows, highs = _columns(values, TRUE)
    return min(lows), min(highs)


def any_of(values: Iterable[Truth]) -> Truth:
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


class Evaluator:
    """Evaluates one rule's conditions and remembers the first error it met."""

    def __init__(self, vocabulary: Vocabulary, inputs: Inputs, steps: Steps) -> None:
        self.vocabulary = vocabulary
        self.inputs = inputs
        self.steps = steps
        self.quantified = False  # inside a quantifier
        self.variables: dict[int, Any] = {}
        self.error: Unanswerable | None = None

    def anew(self) -> Evaluator:
        """The same, with no error yet; the steps are those that are left."""
        return Evaluator(self.vocabulary, self.inputs, self.steps)

    # ---- conditions

    def truth(self, expr: t.TypedExpr) -> Truth:
        self.steps.take(1)
        before = self.error
        try:
            value = self._truth(expr)
        except Unanswerable as error:
            self.error = before or error
            self.steps.take(_STEPS_OF_AN_ERROR)
            return ERROR
        if not is_error(value):
            self.error = before  # what erred inside made no difference, so it is the cause of nothing
        return value

    def _truth(self, expr: t.TypedExpr) -> Truth:
        inputs = self.inputs
        match expr:
            case t.And(items):
                return all_of([self.truth(i) for i in items])
            case t.Or(items):
                return any_of([self.truth(i) for i in items])
            case t.Not(item):
                low, high = self.truth(item)
                return -high, -low
            case t.Quantified():
                return self._quantified(expr)
            case t.Before(moment):
                until, _ = self.value(moment)
                return _certain(True, until) if inputs.now < until else FALSE
            case t.Since(moment):
                start, _ = self.value(moment)
                return TRUE if inputs.now >= start else _certain(False, start)
            case t.Within(window):
                life = window.life(inputs.now)
                return life, life
            case t.Related(relation, arguments, expiring):
                key = tuple(self.value(a)[0] for a in arguments)
                end = inputs.rows.get(relation, {}).get(key)
                if end is None or (expiring and inputs.now >= end):
                    return FALSE
                return _certain(True, end) if expiring else TRUE
            case t.IsPresent(of):
                return _certain(self._is_present(of))
            case _:
                value, life = self.value(expr)
                return _certain(value, life)

    def _quantified(self, expr: t.Quantified) -> Truth:
        elements, life = self.value(expr.over)
        outermost = not self.quantified
        if outermost and self.work(work_of(expr)) > QUANTIFIER_STEPS_MAX:
            message = f"it takes more than {QUANTIFIER_STEPS_MAX} steps for sets of these sizes"
            raise Unanswerable("sets_too_large", message, expr.span)
        self.quantified = True
        values = []
        for element in elements:
            self.variables[expr.variable.number] = element
            values.append(self.truth(expr.body))
        self.quantified = not outermost
        low, high = any_of(values) if expr.kind == "any" else all_of(values)
        return _clamp(low, life), _clamp(high, life)

    def work(self, work: Work) -> int:
        """How many steps it takes, for the sizes that the sets have; what has no value is not gone through."""
        steps = work.fixed
        for part in work.parts:
            try:
                elements, _ = self.value(part.of)
            except Unanswerable:
                continue
            if not part.differs:
                times = size(elements) if part.sought is None else search_steps(elements, self._sought(part.sought))
                steps += times * self.work(part.each)
                continue
            assert part.variable is not None
            for element in elements:
                self.variables[part.variable.number] = element
                steps += self.work(part.each)
        return steps

    def _sought(self, text: t.TypedExpr) -> str | None:
        try:
            found: str = self.value(text)[0]
        except Unanswerable:
            return None
        return found

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
                return self.value(inner)[0][index] is not None
            case _:
                return self.value(of)[0] is not None

    # ---- values, each with the least life of what it was computed from

    def value(self, expr: t.TypedExpr) -> tuple[Any, int]:
        self.steps.take(1)
        match expr:
            case t.Constant(value):
                return value, FOREVER
            case t.Variable(_, number):
                return self.variables[number], FOREVER
            case t.Root():
                return self._root(expr), FOREVER
            case t.FieldOf(of, name, index):
                record, life = self.value(of)
                return self._there(record[index], name, expr.span), life
            case t.AttributeOf(of, entity, name, index):
                return self._there(self._record(of, entity, expr.span)[index], name, expr.span), FOREVER
            case t.IdOf(of):
                return self.value(of)
            case t.KeyOf(of, key):
                found, life = self.value(of)
                return self._there(found.get(self.value(key)[0]), "this entry", expr.span), life
            case t.SetOf(items):
                pairs = [self.value(i) for i in items]
                return frozenset(v for v, _ in pairs), min((life for _, life in pairs), default=FOREVER)
            case t.Arithmetic(operator, left, right):
                a, b = self.value(left)[0], self.value(right)[0]
                result = a + b if operator == "+" else a - b
                if not INT_MIN <= result <= INT_MAX:
                    raise Unanswerable("overflow", "the result does not fit into 64 bits", expr.span)
                return result, FOREVER
            case t.PathAbove(of):
                return self.value(of)[0].rpartition("/")[0], FOREVER
            case t.Hole():
                raise AssertionError("a shape is not evaluated")
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
                return pattern.matches(self.value(of)[0]), FOREVER
            case t.Compare(operator, left, right):
                (a, first), (b, second) = self.value(left), self.value(right)
                if isinstance(left.type, SetType):
                    self._go_through(size(a))
                return COMPARE[operator](a, b), min(first, second)
            case t.Below(item, entity, target, ancestors, same_type):
                wanted, life = self.value(target)
                own = self.value(item)[0]
                if same_type and own == wanted:
                    return True, life
                return ancestors is not None and wanted in self._record(item, entity, expr.span)[ancestors], life
            case t.BelowAny(item, entity, targets, ancestors, same_type):
                wanted, life = self.value(targets)
                self._go_through(size(wanted))
                own = self.value(item)[0]
                if same_type and own in wanted:
                    return True, life
                return ancestors is not None and bool(self._record(item, entity, expr.span)[ancestors] & wanted), life
            case t.Member(item, container):
                (a, first), (s, second) = self.value(item), self.value(container)
                return a in s, min(first, second)
            case t.InNetwork(address, network):
                return self.value(address)[0] in self.value(network)[0], FOREVER
            case t.HasKey(of, key):
                return self.value(key)[0] in self.value(of)[0], FOREVER
            case t.SetCall(method, of, argument):
                (s, first), (a, second) = self.value(of), self.value(argument) if argument else (None, FOREVER)
                self._go_through(size(s))
                return SET_CALLS[method](s, a), min(first, second)
            case t.TextCall(method, of, argument):
                text, part = self.value(of)[0], self.value(argument)[0]
                self._go_through(search_steps(text, part) if method == "includes" else size(part))
                return _TEXT_CALLS[method](text, part), FOREVER
            case _:
                low, high = self._truth(expr)
                if is_error((low, high)):
                    raise self.error or Unanswerable("error", "the condition is in error", expr.span)
                return low > 0, min(abs(low), abs(high))

    def _go_through(self, steps: int) -> None:
        """A set or a text that one operator goes through, in C: about thirty times as fast as steps."""
        self.steps.take(steps >> 5)

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
        entity_id = self.value(of)[0]
        if isinstance(of, t.Root):
            record = {"resource": self.inputs.resource, "user": self.inputs.user, "workload": self.inputs.workload}[of.name]
        else:
            record = self.inputs.records.get(entity, {}).get(entity_id)
        if not record:
            shown = entity_id if entity == WORKLOAD else show_value(entity_id, EntityType(entity))
            raise Unanswerable("unknown_entity", f"there is no record of {shown}", span)
        assert record[ID] == entity_id
        return record


COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
SET_CALLS: Mapping[str, Callable[[Any, Any], bool]] = {
    "contains": lambda s, a: a in s,
    "contains_all": lambda s, a: a <= s,
    "overlaps": lambda s, a: bool(s & a),
    "is_empty": lambda s, a: not s,
}
_TEXT_CALLS: Mapping[str, Callable[[Any, Any], bool]] = {
    "starts_with": lambda s, a: s.startswith(a),
    "ends_with": lambda s, a: s.endswith(a),
    "includes": includes,
}
