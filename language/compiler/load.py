"""Plan -> Bundle: syntax trees become functions, in an empty namespace, and functions become answers.

A bundle is immutable and pure: inputs in, answer out. `decide` is the one place where compiled code is believed; when it
raises, whatever it raises, the plain evaluator settles that request (law L3).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

from language import typed as t
from language.answers import Answer, RuleError, out_of_steps
from language.compiler.candidates import Candidates
from language.compiler.effort import Effort
from language.compiler.footprint import Read
from language.compiler.functions import LeafCode, emit_leaf
from language.compiler.plan import LeafPlan, Plan
from language.compiler.positions import Listing
from language.compiler.runtime import HELPERS
from language.diagnostics import Diagnostic
from language.explain import evaluate
from language.inputs import FOREVER, Inputs
from language.meaning import Steps
from language.source import Source, Span
from language.testing.cases import PolicyTest
from language.vocabulary import Vocabulary
from language.work import CHECK_STEPS, EXPLAIN_FACTOR, QUICK_PLAIN_STEPS

Decide = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule's number means; made once, so that equal decisions are the same object."""

    allowed: bool
    reason: str  # allowed, denied, default_deny, error
    rule: str | None
    because: str | None
    span: Span | None
    annotations: tuple[tuple[str, str | None], ...] = ()


class Result(NamedTuple):
    """A decision of policy alone: no credential, grant or freshness bounds it yet."""

    outcome: Outcome
    until: int  # the end of [decided_at, policy_until)
    held_until: int  # until when reason and rule hold as well; what a cache may keep it for
    bound: str | None  # the rule that ends it
    errors: tuple[RuleError, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """The function for one action and resource type, with what it takes and what it can read."""

    action: str
    resource_type: str
    parameters: tuple[str, ...]
    function: Decide
    timed: bool
    footprint: tuple[Read, ...]
    code: LeafCode
    arguments: Callable[[Inputs], tuple[Any, ...]]  # picks the function's arguments from the inputs

    def show_python(self) -> str:
        """The generated function as text, to read; it is never compiled from it."""
        return ast.unparse(self.code.function)


DEFAULT_DENY = Outcome(False, "default_deny", None, None, None)
_ERROR = "error"


def _knows_none() -> None:
    """No allow is known beside those that were read."""


class Bundle:
    """A compiled policy set."""

    def __init__(
        self,
        program: t.Program,
        plan: Plan,
        listing: Listing,
        leaves: Mapping[tuple[str, str], Leaf],
        tests: tuple[PolicyTest, ...],
        warnings: tuple[Diagnostic, ...],
    ) -> None:
        self.program = program
        self.plan = plan
        self.leaves = leaves
        self.tests = tests
        self.warnings = warnings
        self.outcomes = (DEFAULT_DENY, *[_outcome(r) for r in program.rules])
        self._listing = listing
        self._candidates: dict[tuple[str, str], Candidates] = {}
        self._passing: dict[tuple[str, str], tuple[Callable[[Inputs], tuple[Any, ...]], Decide]] = {}
        self._unbounded = tuple(Result(o, FOREVER, FOREVER, None, ()) for o in self.outcomes)
        self._by_rule = {r.name: o for r, o in zip(program.rules, self.outcomes[1:], strict=True)}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.program.vocabulary

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._listing.sources

    @cached_property
    def digest(self) -> str:
        """Names this policy set by its content."""
        hasher = sha256()
        for digest in sorted(s.digest for s in self.sources):  # where a text lies says nothing about what it means
            hasher.update(f"{digest};".encode())
        hasher.update(";".join(self._data_versions).encode())
        return hasher.hexdigest()

    @cached_property
    def _data_versions(self) -> tuple[str, ...]:
        from language.windows import tzdata_version  # only policies with windows depend on it

        windows = any(
            isinstance(e, t.Within)
            for rule in self.program.rules
            for instances in rule.instances.values()
            for instance in instances
            for conjunct in instance.conjuncts
            for e in t.walk(conjunct.expr)
        )
        return (f"tzdata {tzdata_version()}",) if windows else ()

    def decide(self, action: str, resource_type: str, inputs: Inputs, steps: int = CHECK_STEPS) -> Result:
        """The decision for an action on a type of resource that the vocabulary knows. The steps are those of `settle`."""
        leaf = self.leaves[action, resource_type]
        try:
            found = leaf.function(*leaf.arguments(inputs))
        except Exception:  # noqa: BLE001  # law L3: whatever compiled code raises, the oracle settles
            return self.settle(action, resource_type, inputs, steps)
        return self.result(leaf, found)

    def result(self, leaf: Leaf, found: Any) -> Result:
        """What a leaf's function returned, in words."""
        if not leaf.timed:
            index: int = found
            return self._unbounded[index]
        rule, until, held, bound = found
        return Result(self.outcomes[rule], until, held, self.outcomes[bound].rule, ())

    def settle(
        self, action: str, resource_type: str, inputs: Inputs, steps: int = CHECK_STEPS, *, passing: bool = True
    ) -> Result:
        """The decision by the plain evaluator, in no more than so many steps. Where they end in the allows, compiled code
        that passes over what is in error says which of them still holds, unless `passing` is False."""
        pair, left = (action, resource_type), Steps(steps)
        if pair not in self._candidates:
            self._candidates[pair] = Candidates(self.plan.leaves[pair], self.vocabulary)
        rules = [self.program.rules[i] for i in sorted(self._candidates[pair].find(inputs, left))]
        allowing = partial(self._allowing, pair, inputs) if passing else _knows_none
        answer = evaluate(self.program, action, resource_type, inputs, rules, steps=left, allowing=allowing)
        return Result(self._outcome_of(answer), answer.until, answer.held_until, answer.bound, answer.errors)

    def settle_quickly(self, action: str, resource_type: str, inputs: Inputs, steps: int) -> Result | None:
        """The same where nothing may take long; None where it would."""
        if steps <= QUICK_PLAIN_STEPS:
            return self.settle(action, resource_type, inputs, steps)
        found = self.settle(action, resource_type, inputs, QUICK_PLAIN_STEPS, passing=False)
        return None if out_of_steps(found.errors) else found

    def effort(self, action: str, resource_type: str) -> Effort:
        return Effort(self.plan.leaves[action, resource_type])

    def _allowing(self, pair: tuple[str, str], inputs: Inputs) -> tuple[str, int] | None:
        """The allow that compiled code finds when it passes over what is in error, and for how long it is true; a negative
        life says how long there is none."""
        leaf = self.leaves[pair]
        if pair not in self._passing:
            plan = self.plan.leaves[pair]
            allows = replace(plan, families=tuple(f for f in plan.families if f.effect == "allow"))
            code = emit_leaf(allows, f"allows_of_{_function_name(plan)}", self._listing, passing=True)
            self._passing[pair] = picker(code.parameters), _compile(code, self._listing)[1]
        arguments, function = self._passing[pair]
        found = function(*arguments(inputs))
        rule, until, _, bound = found if leaf.timed else (found, FOREVER, FOREVER, 0)
        name = self.outcomes[rule or bound].rule
        return None if name is None else (name, until if rule else -until)

    def explain(
        self, action: str, resource_type: str, inputs: Inputs, *, detail: bool = True, steps: int = CHECK_STEPS
    ) -> Answer:
        """The same decision by the plain evaluator, with every rule that was considered. `steps` are those of a check; an
        explanation has more, and tells how far it came where they end."""
        rules, most = self.program.rules, steps * EXPLAIN_FACTOR
        return evaluate(self.program, action, resource_type, inputs, rules, steps=Steps(most), explain=detail)

    def _outcome_of(self, answer: Answer) -> Outcome:
        if answer.rule is None:
            return DEFAULT_DENY
        outcome = self._by_rule[answer.rule]
        if answer.reason == _ERROR:
            return Outcome(False, _ERROR, outcome.rule, None, outcome.span, outcome.annotations)
        return outcome

    def locate(self, error: BaseException) -> Span | None:
        """Where in the policies compiled code raised an exception."""
        return self._listing.locate(error)


def _outcome(rule: t.Rule) -> Outcome:
    allowed = rule.effect == "allow"
    return Outcome(allowed, "allowed" if allowed else "denied", rule.name, rule.because, rule.span, rule.annotations)


def load(
    program: t.Program,
    plan: Plan,
    sources: tuple[Source, ...],
    tests: tuple[PolicyTest, ...],
    warnings: tuple[Diagnostic, ...],
) -> Bundle:
    """Makes a function of every leaf; leaves with the same rules share one."""
    listing = Listing(sources, program_name(sources))
    listing.show_in_tracebacks()
    leaves: dict[tuple[str, str], Leaf] = {}
    functions: dict[Any, tuple[LeafCode, Decide]] = {}
    for pair, leaf_plan in plan.leaves.items():
        content = tuple((f.effect, tuple([(r.rule, id(r.exprs)) for r in f.rows])) for f in leaf_plan.families)
        if content not in functions:
            functions[content] = _compile(emit_leaf(leaf_plan, _function_name(leaf_plan), listing), listing)
        code, function = functions[content]
        take = picker(code.parameters)
        leaves[pair] = Leaf(*pair, code.parameters, function, leaf_plan.timed, leaf_plan.footprint, code, take)
    return Bundle(program, plan, listing, leaves, tests, warnings)


def program_name(sources: tuple[Source, ...]) -> str:
    hasher = sha256("".join(s.digest for s in sources).encode())
    return hasher.hexdigest()[:12]


def picker(parameters: tuple[str, ...]) -> Callable[[Inputs], tuple[Any, ...]]:
    """Picks what a function takes: fields of the inputs first, then tables of records and rows."""
    plain = tuple(p for p in parameters if ":" not in p)
    tables = [tuple(p.split(":")) for p in parameters if ":" in p]
    fields: Callable[[Inputs], tuple[Any, ...]]
    if len(plain) > 1:
        fields = attrgetter(*plain)
    elif plain:
        one = attrgetter(plain[0])
        fields = lambda inputs: (one(inputs),)  # noqa: E731  # one of three ways to make it
    else:
        fields = lambda inputs: ()  # noqa: E731
    if not tables:
        return fields
    return lambda inputs: (*fields(inputs), *[getattr(inputs, kind).get(of, {}) for kind, of in tables])


def _function_name(leaf: LeafPlan) -> str:
    return f"{leaf.action}_on_{leaf.resource_type}"


def _compile(code: LeafCode, listing: Listing) -> tuple[LeafCode, Decide]:
    module = ast.Module([code.function], [])
    # No builtins: generated code reaches the helpers and its own constants, and nothing else.
    namespace: dict[str, Any] = {"__builtins__": {}, **HELPERS, **code.globals}
    exec(compile(module, sys.intern(listing.name), "exec", dont_inherit=True, optimize=2), namespace)  # noqa: S102
    return code, namespace[code.function.name]
