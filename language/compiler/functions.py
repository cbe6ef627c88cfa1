"""LeafPlan -> one Python function.

An untimed function returns the number of the deciding rule, 0 for none. A timed one returns a `Verdict`. Rules that can
err are evaluated first and all of them, so that an error is never hidden by an answer that came earlier; then denies,
then allows. A rule's number is its place in the program plus one.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from language import typed as t
from language.compiler.expressions import (
    PARAMETERS,
    ExpressionEmitter,
    Names,
    both,
    call,
    compare,
    method,
    name,
    number,
    store,
)
from language.compiler.plan import EqualityIndex, Family, LeafPlan, MemberIndex, Row, equality_keys, is_timed
from language.compiler.positions import Listing
from language.compiler.shape import has_hole
from language.inputs import FOREVER
from language.source import Span

_Body = list[ast.stmt]


@dataclass(frozen=True, slots=True)
class LeafCode:
    """A function as syntax, with the constants that it refers to."""

    function: ast.FunctionDef
    parameters: tuple[str, ...]
    globals: dict[str, Any]


def emit_leaf(leaf: LeafPlan, function_name: str, listing: Listing, *, passing: bool = False) -> LeafCode:
    """`passing` makes a function that passes over a rule in error, where others raise."""
    return _LeafEmitter(leaf, listing, passing).emit(function_name)


class _LeafEmitter:
    def __init__(self, leaf: LeafPlan, listing: Listing, passing: bool) -> None:
        self.leaf = leaf
        self.listing = listing
        self.passing = passing
        self.names = Names()

    def emit(self, function_name: str) -> LeafCode:
        timed = self.leaf.timed
        careful = timed or any(f.fallible for f in self.leaf.families)
        body: _Body = []
        if careful:
            body += [_assign("deny", number(-FOREVER)), _assign("allow", number(-FOREVER))]
            body += [_assign("deny_rule", number(0)), _assign("allow_rule", number(0))]
        body += self._families(lambda f: f.fallible, keep=True)
        if careful:
            body.append(_if(compare(name("deny"), ast.Eq(), number(FOREVER)), self._return("deny", name("deny_rule"))))
        body += self._families(lambda f: f.effect == "deny" and not f.fallible and not f.timed, keep=False)
        body += self._families(lambda f: f.effect == "deny" and not f.fallible and f.timed, keep=True)
        body += self._families(lambda f: f.effect == "allow" and not f.fallible and not f.timed, keep=timed)
        if timed:
            late = self._families(lambda f: f.effect == "allow" and not f.fallible and f.timed, keep=True)
            if late:
                body.append(_if(compare(name("allow"), ast.Lt(), number(FOREVER)), late))
            body.append(ast.Return(self._verdict()))
        else:
            body.append(ast.Return(name("allow_rule") if careful else number(0)))
        if not self.passing:
            body = [*self._record_check(), *body]
        parameters = tuple(p for p in PARAMETERS if p in self.names.parameters)
        parameters += tuple(sorted(p for p in self.names.parameters if ":" in p))
        function = _function(function_name, [p.replace(":", "_") for p in parameters], body)
        ast.fix_missing_locations(function)
        return LeafCode(function, parameters, self.names.globals)

    def _record_check(self) -> _Body:
        """Law L11: where a record is read and is not there, the plain evaluator says which rules are in error."""
        roots = [r for r in ("resource", "workload", "user") if r in self.names.parameters]
        if not roots:
            return []
        missing: list[ast.expr] = [compare(name(r), ast.Is(), ast.Constant(None)) for r in roots]
        test = missing[0] if len(missing) == 1 else ast.BoolOp(ast.Or(), missing)
        return [_if(test, [ast.Raise(call(name("MissingRecord")), None)])]

    def _passed_over(self, body: _Body) -> _Body:
        if not self.passing:
            return body
        return [ast.Try(body, [ast.ExceptHandler(name("Exception"), None, [ast.Pass()])], [], [])]

    # ---- families

    def _families(self, wanted: Any, *, keep: bool) -> _Body:
        """Every row of the wanted families: `keep` notes the best so far, else the first that applies returns."""
        body: _Body = []
        for family in self.leaf.families:
            if wanted(family):
                if family.index is not None:
                    body += self._passed_over(self._indexed(family, keep=keep))
                else:
                    for row in family.rows:
                        body += self._row(family, row, keep=keep)
        return body

    def _row(self, family: Family, row: Row, *, keep: bool) -> _Body:
        """A rule written out, its constants in place."""
        emitter = ExpressionEmitter(self.names, self.listing)
        span = row.exprs[0].span if row.exprs else None
        body = self._passed_over(self._hit(family, emitter, row.exprs, number(row.rule + 1), keep=keep))
        return [self._place(s, span) for s in body]

    def _hit(
        self, family: Family, emitter: ExpressionEmitter, exprs: tuple[t.TypedExpr, ...], rule: ast.expr, *, keep: bool
    ) -> _Body:
        untimed = [emitter.condition(e) for e in exprs if not is_timed(e)]
        lives = [emitter.life(e) for e in exprs if is_timed(e)]
        life: ast.expr = number(FOREVER)
        if lives:
            life = call(name("min"), *lives) if len(lives) > 1 else lives[0]
        body = self._note(family.effect, life, rule) if keep else self._return(family.effect, rule)
        return [_if(both(*untimed), body)] if untimed else body

    def _note(self, effect: str, life: ast.expr, rule: ast.expr) -> _Body:
        """Remembers the rule when it lives longer than what is known so far."""
        better = compare(ast.NamedExpr(store("life"), life), ast.Gt(), name(effect))
        return [_if(better, [_assign(effect, name("life")), _assign(f"{effect}_rule", rule)])]

    def _indexed(self, family: Family, *, keep: bool) -> _Body:
        """A loop over the rows that the index finds; what does not depend on the row is tested once, before it. A set has
        no order, so of the rows under its elements the first rule in order of name is taken (law L2)."""
        index = family.index
        assert index is not None
        table, columns, rest = self._table(family, index)
        one_by_one = [s for row in rest for s in self._row(family, row, keep=keep)]
        settled = set(index.parts) if isinstance(index, EqualityIndex) else {index.part}
        emitter = ExpressionEmitter(self.names, self.listing)
        emitter.holes = {hole: name(f"c{hole}") for hole in columns}
        shared = [e for i, e in enumerate(family.shape) if i not in settled and not has_hole(e)]
        own = tuple(e for i, e in enumerate(family.shape) if i not in settled and has_hole(e))
        target = ast.Tuple([*[store(f"c{hole}") for hole in columns], store("rule")], ast.Store())
        rows = self.names.constant(table)
        if isinstance(index, EqualityIndex):
            operands = [emitter.value(o) for o in index.operands]
            key = operands[0] if len(operands) == 1 else ast.Tuple(operands, ast.Load())
            inner = self._passed_over(self._hit(family, emitter, own, name("rule"), keep=keep))
            body: _Body = [_for(target, method(rows, "get", key, ast.Tuple([], ast.Load())), inner)]
        else:
            tests = [compare(name("rule"), ast.Lt(), name("first")), *[emitter.condition(e) for e in own]]
            if family.fallible:
                tests.append(tests.pop(0))  # what can err is evaluated, whatever was found before
            inner = self._passed_over([_if(both(*tests), [_assign("first", name("rule"))])])
            found = _for(target, method(name("rows"), "get", name("key"), ast.Tuple([], ast.Load())), inner)
            loop = _for(store("key"), self._elements(emitter, index), [found])
            hit = compare(name("first"), ast.Lt(), number(FOREVER))
            ending = self._hit(family, emitter, (), name("first"), keep=keep)
            body = [_assign("rows", rows), _assign("first", number(FOREVER)), loop, _if(hit, ending)]
        span = family.shape[0].span
        if shared:
            body = [_if(both(*[emitter.condition(e) for e in shared]), body)]
        return [self._place(s, span) for s in [*body, *one_by_one]]

    def _elements(self, emitter: ExpressionEmitter, index: MemberIndex) -> ast.expr:
        match index.elements:
            case t.Below() as below:
                return emitter.ancestors(below)
            case t.Member(_, container):
                return emitter.value(container)
            case t.SetCall(_, of):
                return emitter.value(of)
            case _:
                raise AssertionError(index.elements)

    def _table(self, family: Family, index: EqualityIndex | MemberIndex) -> tuple[dict[Any, Any], list[int], list[Row]]:
        """The rows by key, which constants each carries, and the rows that the index cannot take."""
        settled = set(index.parts) if isinstance(index, EqualityIndex) else {index.part}
        holes = sorted(
            {e.index for i, s in enumerate(family.shape) if i not in settled for e in t.walk(s) if isinstance(e, t.Hole)}
        )
        table: dict[Any, list[tuple[Any, ...]]] = {}
        rest: list[Row] = []
        for row in family.rows:
            if isinstance(index, EqualityIndex):
                keys: list[Any] | None = equality_keys(row, index)
                if keys is not None and len(index.operands) == 1:
                    keys = [k for (k,) in keys]
            else:
                keys = [row.constants[index.hole]]
            if keys is None:
                rest.append(row)
                continue
            entry = (*[row.constants[h] for h in holes], row.rule + 1)
            for key in keys:
                table.setdefault(key, []).append(entry)
        return {k: tuple(v) for k, v in table.items()}, holes, rest

    # ---- endings

    def _decided(self, effect: str, rule: ast.expr) -> ast.expr:
        """What is returned at once: an untimed deny, or in an untimed leaf an untimed allow."""
        if not self.leaf.timed:
            return rule
        assert effect == "deny"
        return ast.Tuple([rule, number(FOREVER), number(FOREVER), number(0)], ast.Load())

    def _return(self, effect: str, rule: ast.expr) -> _Body:
        return [ast.Return(self._decided(effect, rule))]

    def _verdict(self) -> ast.expr:
        return call(name("verdict"), name("deny"), name("deny_rule"), name("allow"), name("allow_rule"))

    def _place(self, statement: ast.stmt, span: Span | None) -> ast.stmt:
        return self.listing.place(statement, span) if span is not None else statement


def _assign(word: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([store(word)], value)


def _if(test: ast.expr, body: _Body) -> ast.stmt:
    return ast.If(test, body, [])


def _for(target: ast.expr, over: ast.expr, body: _Body) -> ast.stmt:
    return ast.For(target, over, body, [])


def _function(word: str, parameters: list[str], body: _Body) -> ast.FunctionDef:
    arguments = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
    return ast.FunctionDef(word, arguments, body, [], None)
