"""Typed expressions -> Python expressions, as syntax-tree nodes that carry the policy's positions.

No text is ever joined and no name of a policy becomes a name in Python. An untimed condition becomes a Python bool; a
timed one a signed life (law L8), where `and` is `min`, `or` is `max` and `not` is `-`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, assert_never

from language import typed as t
from language.compiler.plan import is_fallible, is_timed
from language.compiler.positions import Listing
from language.inputs import FOREVER
from language.source import Span
from language.spiffe import SpiffePattern
from language.types import BOOL
from language.work import Work, can_be_too_costly, work_of

PARAMETERS = (
    "now",  # first: it alone changes from one call of the same request to the next
    "resource_id",
    "resource",
    "workload_id",
    "workload",
    "process",
    "user_type",
    "user_id",
    "user",
    "task_kind",
    "task",
    "task_covers",
    "context",
    "gate",
    "location",
    "proof",
)

_COMPARE: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}


def name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def store(text: str) -> ast.Name:
    return ast.Name(text, ast.Store())


def number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def call(function: ast.expr, *arguments: ast.expr) -> ast.Call:
    return ast.Call(function, list(arguments), [])


def method(of: ast.expr, word: str, *arguments: ast.expr) -> ast.Call:
    return call(ast.Attribute(of, word, ast.Load()), *arguments)


def compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.Compare:
    return ast.Compare(left, [operator], [right])


def item(of: ast.expr, index: int) -> ast.Subscript:
    return ast.Subscript(of, ast.Constant(index), ast.Load())


def both(*parts: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.And(), list(parts)) if len(parts) > 1 else parts[0]


def either(*parts: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.Or(), list(parts)) if len(parts) > 1 else parts[0]


def _loop(variable: t.Variable, over: ast.expr) -> ast.comprehension:
    return ast.comprehension(store(f"v{variable.number}"), over, [], 0)


class Names:
    """What a function uses from outside: its parameters, and the constants that Python's syntax has no literal for."""

    def __init__(self) -> None:
        self.parameters: set[str] = set()
        self.globals: dict[str, Any] = {}
        self.locals = 0

    def parameter(self, word: str) -> ast.Name:
        self.parameters.add(word)
        return name(word)

    def table(self, kind: str, of: str) -> ast.Name:
        """A directory table, mangled so that no declared name can meet another."""
        self.parameters.add(f"{kind}:{of}")
        return name(f"{kind}_{of}")

    def constant(self, value: Any) -> ast.Name:
        for word, known in self.globals.items():
            if known is value:
                return name(word)
        word = f"K{len(self.globals)}"
        self.globals[word] = value
        return name(word)

    def local(self) -> str:
        self.locals += 1
        return f"x{self.locals}"


class ExpressionEmitter:
    def __init__(self, names: Names, listing: Listing) -> None:
        self.names = names
        self.listing = listing
        self.holes: dict[int, ast.expr] = {}
        self.aliases: dict[t.TypedExpr, str] = {}
        self.quantified = False  # inside a quantifier

    def condition(self, expr: t.TypedExpr) -> ast.expr:
        """An untimed condition, as a bool."""
        return self.value(expr)

    # ---- timed conditions

    def life(self, expr: t.TypedExpr) -> ast.expr:
        """A condition as a signed life."""
        return self._at(expr.span, self._life(expr))

    def _life(self, expr: t.TypedExpr) -> ast.expr:
        if not is_timed(expr):
            return ast.IfExp(self.value(expr), number(FOREVER), number(-FOREVER))
        match expr:
            case t.And(items):
                return call(name("min"), *[self.life(i) for i in items])
            case t.Or(items):
                return call(name("max"), *[self.life(i) for i in items])
            case t.Not(inner):
                return ast.UnaryOp(ast.USub(), self.life(inner))
            case t.Before(moment):
                test, again = self._twice(moment)
                return ast.IfExp(compare(self.names.parameter("now"), ast.Lt(), test), again, number(-FOREVER))
            case t.Since(moment):
                test, again = self._twice(moment)
                reached = compare(self.names.parameter("now"), ast.GtE(), test)
                return ast.IfExp(reached, number(FOREVER), ast.UnaryOp(ast.USub(), again))
            case t.Within(window):
                return call(self.names.constant(window.life), self.names.parameter("now"))
            case t.Related():
                word = self.names.local()
                row = method(self._rows(expr), "get", self._row_key(expr), number(0))
                alive = compare(self.names.parameter("now"), ast.Lt(), ast.NamedExpr(store(word), row))
                return ast.IfExp(alive, name(word), number(-FOREVER))
            case t.Quantified(kind):
                each = self._elements(expr, self.life)
                neutral = number(-FOREVER if kind == "any" else FOREVER)
                function = name("max" if kind == "any" else "min")
                return ast.Call(function, [each], [ast.keyword("default", neutral)])
            case t.Compare(operator, left, right) if left.type == BOOL:
                result = call(name("same"), self.life(left), self.life(right))
                return result if operator == "==" else ast.UnaryOp(ast.USub(), result)
            case _:
                raise AssertionError(expr)  # the checker lets the clock stand nowhere else

    def _twice(self, moment: t.TypedExpr) -> tuple[ast.expr, ast.expr]:
        """A value that is needed twice: its first use names it."""
        if isinstance(moment, t.Constant | t.Hole):
            return self.value(moment), self.value(moment)
        word = self.names.local()
        return ast.NamedExpr(store(word), self.value(moment)), name(word)

    # ---- values and untimed conditions

    def value(self, expr: t.TypedExpr) -> ast.expr:
        alias = self.aliases.get(expr)
        return self._at(expr.span, name(alias) if alias else self._value(expr))

    def _at(self, span: Span, node: ast.expr) -> ast.expr:
        return self.listing.place(node, span)

    def _value(self, expr: t.TypedExpr) -> ast.expr:
        match expr:
            case t.Constant(value):
                return self._constant(value)
            case t.Hole(index):
                return self.holes[index]
            case t.Variable(_, index):
                return name(f"v{index}")
            case t.Root():
                return self._root(expr)
            case t.FieldOf(of, _, index):
                return item(self.value(of), index)
            case t.AttributeOf(of, entity, _, index):
                return item(self._record(of, entity), index)
            case t.IdOf(of):
                return self.value(of)
            case t.KeyOf(of, key):
                return ast.Subscript(self.value(of), self.value(key), ast.Load())
            case t.IsPresent(of):
                return self._present(of)
            case t.HasKey(of, key):
                return compare(self.value(key), ast.In(), self.value(of))
            case t.IsUser(entity):
                return compare(self.names.parameter("user_type"), ast.Eq(), ast.Constant(entity))
            case t.IsTask(kind):
                return compare(self.names.parameter("task_kind"), ast.Eq(), ast.Constant(kind))
            case t.HasWorkload():
                return compare(self.names.parameter("workload_id"), ast.IsNot(), ast.Constant(None))
            case t.HasSubject():
                return ast.Constant(True)
            case t.Matches(of, pattern):
                return self._matches(of, pattern)
            case t.PathAbove(of):
                return item(method(self.value(of), "rpartition", ast.Constant("/")), 0)
            case t.Compare(operator, left, right):
                return compare(self.value(left), _COMPARE[operator](), self.value(right))
            case t.Below():
                return self._below(expr)
            case t.BelowAny():
                return self._below_any(expr)
            case t.Member(inner, container) | t.InNetwork(inner, container):
                return compare(self.value(inner), ast.In(), self.value(container))
            case t.And(items):
                return both(*[self.value(i) for i in items])
            case t.Or(items):
                return either(*[self.value(i) for i in items])
            case t.Not(inner):
                return ast.UnaryOp(ast.Not(), self.value(inner))
            case t.Arithmetic(operator, left, right):
                sign: ast.operator = ast.Add() if operator == "+" else ast.Sub()
                return call(name("bounded"), ast.BinOp(self.value(left), sign, self.value(right)))
            case t.Quantified(kind):
                return call(name(kind), self._elements(expr, self.value))
            case t.SetOf(items):
                return call(name("frozenset"), ast.Tuple([self.value(i) for i in items], ast.Load()))
            case t.SetCall():
                return self._set_call(expr)
            case t.TextCall(word, of, argument):
                text, part = self.value(of), self.value(argument)
                if word == "includes":
                    return call(name("includes"), text, part)
                return method(text, "startswith" if word == "starts_with" else "endswith", part)
            case t.Related():
                return compare(self._row_key(expr), ast.In(), self._rows(expr))
            case t.Before() | t.Since() | t.Within():
                return compare(self.life(expr), ast.Gt(), number(0))
            case _:
                assert_never(expr)

    def _constant(self, value: Any) -> ast.expr:
        if isinstance(value, bool | str):
            return ast.Constant(value)
        return number(value) if isinstance(value, int) else self.names.constant(value)

    def _root(self, root: t.Root) -> ast.expr:
        if root.name in ("resource", "user", "workload"):
            return self.names.parameter(f"{root.name}_id")
        return self.names.parameter(root.name)

    def _record(self, of: t.TypedExpr, entity: str) -> ast.expr:
        if isinstance(of, t.Root):
            return self.names.parameter(of.name)
        return ast.Subscript(self.names.table("records", entity), self.value(of), ast.Load())

    def _present(self, of: t.TypedExpr) -> ast.expr:
        there = compare(self.value(of), ast.IsNot(), ast.Constant(None))
        match of:
            case t.FieldOf(t.Root("gate")):
                return both(compare(self.names.parameter("gate"), ast.IsNot(), ast.Constant(None)), there)
            case t.AttributeOf(t.Root("workload")):
                return both(compare(self.names.parameter("workload_id"), ast.IsNot(), ast.Constant(None)), there)
            case _:
                return there

    def _matches(self, of: t.TypedExpr, pattern: SpiffePattern) -> ast.expr:
        subject = self.value(of)
        parts: list[ast.expr] = []
        if isinstance(of, t.Root):
            parts.append(compare(self.value(of), ast.IsNot(), ast.Constant(None)))
        if pattern.is_exact:
            parts.append(compare(subject, ast.Eq(), ast.Constant(pattern.text)))
        elif pattern.rest and "*" not in pattern.segments:
            parts.append(method(subject, "startswith", ast.Constant(pattern.text.removesuffix("**"))))
        elif pattern.is_one_below:
            prefix = pattern.text.removesuffix("*")
            parts.append(method(subject, "startswith", ast.Constant(prefix)))
            more = method(self.value(of), "find", ast.Constant("/"), number(len(prefix)))
            parts.append(compare(more, ast.Lt(), number(0)))
        else:
            parts.append(call(self.names.constant(pattern.matches), subject))
        return both(*parts)

    def _below(self, expr: t.Below) -> ast.expr:
        parts: list[ast.expr] = []
        if expr.same_type:
            parts.append(compare(self.value(expr.item), ast.Eq(), self.value(expr.target)))
        if expr.ancestors is not None:
            parts.append(
                compare(self.value(expr.target), ast.In(), item(self._record(expr.item, expr.entity), expr.ancestors))
            )
        return either(*parts)

    def _below_any(self, expr: t.BelowAny) -> ast.expr:
        parts: list[ast.expr] = []
        if expr.same_type:
            parts.append(compare(self.value(expr.item), ast.In(), self.value(expr.targets)))
        if expr.ancestors is not None:
            above = item(self._record(expr.item, expr.entity), expr.ancestors)
            parts.append(ast.UnaryOp(ast.Not(), method(above, "isdisjoint", self.value(expr.targets))))
        return either(*parts)

    def ancestors(self, expr: t.Below) -> ast.expr:
        """The set in which a `Below` looks, for an index that goes through it; the item itself comes with it."""
        parts: list[ast.expr] = []
        if expr.ancestors is not None:
            parts.append(ast.Starred(item(self._record(expr.item, expr.entity), expr.ancestors), ast.Load()))
        if expr.same_type:
            parts.append(self.value(expr.item))
        if len(parts) == 1 and isinstance(parts[0], ast.Starred):
            return parts[0].value
        return ast.Tuple(parts, ast.Load())

    def _set_call(self, expr: t.SetCall) -> ast.expr:
        of = self.value(expr.of)
        argument = self.value(expr.argument) if expr.argument is not None else None
        match expr.method, argument:
            case "contains", ast.expr():
                return compare(argument, ast.In(), of)
            case "contains_all", ast.expr():
                return method(of, "issuperset", argument)
            case "overlaps", ast.expr():
                return ast.UnaryOp(ast.Not(), method(of, "isdisjoint", argument))
            case _:
                return ast.UnaryOp(ast.Not(), of)

    def _elements(self, expr: t.Quantified, condition: Callable[[t.TypedExpr], ast.expr]) -> ast.expr:
        """The condition for each element. Where it can be in error it is worked out for all, or it would depend on the
        order of a set whether the plain evaluator is asked."""
        over = self.value(expr.over)
        outermost, self.quantified = not self.quantified, True
        each = condition(expr.body)
        if outermost:
            self.quantified = False
            if can_be_too_costly(expr):
                over = call(name("afford"), over, self._work(work_of(expr)))
        loop = [_loop(expr.variable, over)]
        return ast.ListComp(each, loop) if is_fallible(expr.body) else ast.GeneratorExp(each, loop)

    def _work(self, work: Work) -> ast.expr:
        """How many steps it takes, for the sizes that the sets have. A set is read here without the guards around it, so
        what is absent or has no record is read as None, and costs nothing."""
        found: ast.expr = number(work.fixed)
        for part in work.parts:
            each = self._work(part.each)
            if part.differs:
                assert part.variable is not None
                over = either(self._if_there(part.of), ast.Tuple([], ast.Load()))
                steps: ast.expr = call(name("sum"), ast.ListComp(each, [_loop(part.variable, over)]))
            else:
                of = self._if_there(part.of)
                if part.sought is None:
                    times = call(name("size"), of)
                else:
                    times = call(name("search_steps"), of, self._if_there(part.sought))
                steps = ast.BinOp(times, ast.Mult(), each)
            found = ast.BinOp(found, ast.Add(), steps)
        return found

    def _if_there(self, expr: t.TypedExpr) -> ast.expr:
        """A value, or None where the plain evaluator finds that there is none."""
        match expr:
            case t.FieldOf(of, _, index):
                return call(name("part"), self._if_there(of), number(index))
            case t.AttributeOf(t.Root(word), _, _, index):
                return call(name("part"), self.names.parameter(word), number(index))
            case t.AttributeOf(of, entity, _, index):
                record = method(self.names.table("records", entity), "get", self._if_there(of))
                return call(name("part"), record, number(index))
            case t.KeyOf(of, key):
                return call(name("entry"), self._if_there(of), self._if_there(key))
            case t.IdOf(of):
                return self._if_there(of)
            case _:
                return self.value(expr)

    def _rows(self, expr: t.Related) -> ast.expr:
        return self.names.table("rows", expr.relation)

    def _row_key(self, expr: t.Related) -> ast.expr:
        return ast.Tuple([self.value(a) for a in expr.arguments], ast.Load())
