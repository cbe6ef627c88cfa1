"""What a condition can cost, in steps: one for each node of its tree, more where a set is gone through or a text searched.

The cost is known before anything is evaluated: from the tree alone at the worst (law L4), from the sizes of this request's
sets exactly. It depends neither on the order of a set nor on what turns out true. So the compiled code and the plain
evaluator agree on which quantifier is in error because it would cost too much (P7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from language import typed as t
from language.syntax.literals import ELEMENTS_MAX, STRING_BYTES_MAX
from language.texts import search_steps_max
from language.types import SetType

#: What one quantifier, with those inside it, may cost. Beyond it the quantifier is in error: `sets_too_large`.
#: A step of compiled code takes about 25 ns or less (`DECISIONS.md` has the times).
QUANTIFIER_STEPS_MAX: Final = 100_000

#: What the rules for one action and type may cost together at the worst: a policy set beyond it does not compile.
LEAF_STEPS_MAX: Final = 1_000_000

#: What the plain evaluator may spend on one check, if nobody says another number. Its steps take one or two microseconds.
CHECK_STEPS: Final = 25_000

#: What one check may spend where it holds up all others, about a millisecond of each: by the plain evaluator, and compiled.
QUICK_PLAIN_STEPS: Final = 1_000
QUICK_STEPS: Final = 40_000

#: An explanation reads every rule, and most conditions three times. It is never made in the thread of all calls.
EXPLAIN_FACTOR: Final = 40

_LETTERS_A_STEP: Final = 3  # as a power of two: a text is searched by eight letters a step


@dataclass(frozen=True, slots=True)
class Work:
    """Steps that are always taken, and parts that are taken once for each element of something."""

    fixed: int
    parts: tuple[Part, ...] = ()

    def __add__(self, other: Work) -> Work:
        return Work(self.fixed + other.fixed, self.parts + other.parts)

    @property
    def worst(self) -> int:
        return self.fixed + sum(part.times_max * part.each.worst for part in self.parts)


@dataclass(frozen=True, slots=True)
class Part:
    of: t.TypedExpr  # a set, or a text
    each: Work
    variable: t.Variable | None = None  # stands for the element in `each`
    sought: t.TypedExpr | None = None  # a text that is searched for in `of`

    @property
    def times_max(self) -> int:
        if self.sought is not None:
            return search_steps_max(_letters_max(self.of), _letters_max(self.sought))
        return size_max(self.of)

    @property
    def differs(self) -> bool:
        """Whether the elements can differ in what they cost."""
        return self.variable is not None and any(_mentions(p, self.variable.number) for p in self.each.parts)


def _mentions(part: Part, variable: int) -> bool:
    own = any(isinstance(e, t.Variable) and e.number == variable for e in t.walk(part.of))
    return own or any(_mentions(p, variable) for p in part.each.parts)


def size(value: Any) -> int:
    """How much a set or a text counts; what is absent costs nothing."""
    if value is None:
        return 0
    return len(value) >> _LETTERS_A_STEP if value.__class__ is str else len(value)


def _letters_max(text: t.TypedExpr) -> int:
    return len(text.value) if isinstance(text, t.Constant) else STRING_BYTES_MAX


def size_max(of: t.TypedExpr) -> int:
    if isinstance(of, t.Constant):
        return size(of.value)
    if isinstance(of, t.SetOf):
        return len(of.items)
    return ELEMENTS_MAX if isinstance(of.type, SetType) else STRING_BYTES_MAX >> _LETTERS_A_STEP


def work_of(expr: t.TypedExpr) -> Work:
    match expr:
        case t.Quantified(_, variable, over, body):
            return work_of(over) + Work(10, (Part(over, Work(2) + work_of(body), variable),))
        case t.SetCall("contains_all", of, argument) if argument is not None:
            own = Work(4, (Part(argument, Work(2)),))
        case t.SetCall("overlaps", of, argument) if argument is not None:
            own = Work(4, (Part(_smaller(of, argument), Work(2)),))
        case t.Compare(_, left, right) if isinstance(left.type, SetType):
            own = Work(4, (Part(_smaller(left, right), Work(2)),))
        case t.BelowAny(_, _, targets):
            own = Work(4, (Part(targets, Work(2)),))
        case t.TextCall("includes", of, argument):
            own = Work(8, (Part(of, Work(1), sought=argument),))
        case t.TextCall(_, _, argument) if argument is not None:
            own = Work(4, (Part(argument, Work(1)),))
        case t.Matches() | t.Within():
            own = Work(40)
        case t.InNetwork():
            own = Work(10)
        case t.Related() | t.PathAbove() | t.Arithmetic():
            own = Work(4)
        case _:
            own = Work(1)
    for child in t.children(expr):
        own += work_of(child)
    return own


def _smaller(one: t.TypedExpr, other: t.TypedExpr) -> t.TypedExpr:
    """Which of two sets is gone through: the smaller, as far as the text says."""
    return other if size_max(other) < size_max(one) else one


def outermost(expr: t.TypedExpr) -> list[t.Quantified]:
    """The quantifiers in a condition that stand in no other."""
    if isinstance(expr, t.Quantified):
        return [expr]
    return [found for child in t.children(expr) for found in outermost(child)]


def can_be_too_costly(expr: t.TypedExpr) -> bool:
    """Whether some sizes of sets put one of its quantifiers in error."""
    return any(work_of(q).worst > QUANTIFIER_STEPS_MAX for q in outermost(expr))


def cost_of(expr: t.TypedExpr) -> int:
    """The worst cost of a condition. A quantifier ends at its bound, so it costs no more than that."""
    if isinstance(expr, t.Quantified):
        return min(work_of(expr).worst, QUANTIFIER_STEPS_MAX)
    children = t.children(expr)
    own = work_of(expr).worst - sum(work_of(child).worst for child in children)
    return own + sum(cost_of(child) for child in children)
