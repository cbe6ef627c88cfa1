"""Conditions when something is left out: what they are worth then, and which of their parts turn on it.

A caller can leave out a whole piece of evidence (the user, the task, the workload, a proof), an optional value, the parents
of a claimed entity, and the elements of a claimed set. Everything else stays as it is and is not known here, so a condition
is worth true, false, or `UNKNOWN`; the logic is Kleene's. Forms that are equal by the laws of logic (De Morgan, `any` and
`all`, `x != y` and `not (x == y)`) are worth the same and turn on the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from language import typed as t
from language.checker.narrow import Path, key_path, label_of, path_of
from language.meaning import COMPARE, SET_CALLS
from language.types import MapType, SetType
from language.vocabulary import PROOF_FACT

Kind = Literal["user", "task", "workload", "proof", "optional", "parents", "elements"]

EVIDENCE: tuple[Kind, ...] = ("user", "task", "workload", "proof")
UNKNOWN: Any = object()
_EMPTY: frozenset[Any] = frozenset()
_EVERY_FACT = ("key",)  # each other fact implies it, so without it nothing is proven


class Withheld(NamedTuple):
    """What is left out: a kind of evidence, or a part of the request by its path. The path of a proof is its fact."""

    kind: Kind
    path: Path

    @property
    def label(self) -> str:
        """As a policy writes it."""
        return ".".join(part for part in self.path if not part.startswith("["))

    @property
    def place(self) -> Path:
        """Where it can be met at all; see `Places`."""
        return (*self.path, "") if self.kind == "parents" else (self.kind,) if self.kind in EVIDENCE else self.path


class Places:
    """What is asked for below each part of a condition, so that a part is looked into only for what is in it."""

    def __init__(self, expr: t.TypedExpr) -> None:
        self._parts: dict[int, dict[Path, list[t.TypedExpr]]] = {}  # by node and place, the parts to look into
        self._constants: dict[int, tuple[set[Any], int]] = {}
        self._put(expr)

    def __contains__(self, found: tuple[t.TypedExpr, Path]) -> bool:
        return found[1] in self._parts[id(found[0])]

    def parts(self, expr: t.And | t.Or, place: Path) -> list[t.TypedExpr]:
        """Those in which it can be met."""
        return self._parts[id(expr)].get(place, [])

    def others(self, expr: t.And | t.Or, place: Path) -> set[Any]:
        """What the rest of the parts are worth, whatever is left out."""
        constants, count = self._constants[id(expr)]
        is_all = len(self.parts(expr, place)) + count == len(expr.items)
        return constants if is_all else {*constants, UNKNOWN}

    def _put(self, expr: t.TypedExpr) -> Iterable[Path]:
        if id(expr) in self._parts:
            return self._parts[id(expr)]
        below: dict[Path, list[t.TypedExpr]] = {place: [] for place in _places_of(expr)}
        self._parts[id(expr)] = below
        for child in t.children(expr):
            for place in self._put(child):
                below.setdefault(place, []).append(child)
        if isinstance(expr, t.And | t.Or):
            values = [i.value for i in expr.items if isinstance(i, t.Constant)]
            self._constants[id(expr)] = set(values), len(values)
        return below


class Without:
    """Conditions without something that is left out."""

    __slots__ = ("_place", "_places", "kind", "path")

    def __init__(self, by: Withheld, places: Places | None = None) -> None:
        self.kind, self.path = by
        self._place, self._places = by.place, places

    def _is_elsewhere(self, expr: t.TypedExpr) -> bool:
        return self._places is not None and (expr, self._place) not in self._places

    def _parts(self, expr: t.And | t.Or) -> Sequence[t.TypedExpr]:
        return expr.items if self._places is None else self._places.parts(expr, self._place)

    def _values(self, expr: t.And | t.Or) -> set[Any]:
        others = set() if self._places is None else self._places.others(expr, self._place)
        return others.union(map(self.worth, self._parts(expr)))

    # ---- what an expression is worth without it

    def worth(self, expr: t.TypedExpr) -> Any:
        """The value of an expression, as far as it is known."""
        if self._is_elsewhere(expr):
            return expr.value if isinstance(expr, t.Constant) else UNKNOWN
        match expr:
            case t.Constant(value):
                return value
            case t.And():
                return _settle(False, self._values(expr))
            case t.Or():
                return _settle(True, self._values(expr))
            case t.Not(item):
                value = self.worth(item)
                return UNKNOWN if value is UNKNOWN else not value
            case t.Quantified(kind, _, over, body):
                elements, value = self.worth(over), self.worth(body)
                if elements == _EMPTY:
                    return kind == "all"
                return value if elements is not UNKNOWN or value is (kind == "all") else UNKNOWN
            case t.SetOf(items):
                values = [self.worth(i) for i in items]
                return UNKNOWN if UNKNOWN in values else frozenset(values)
            case t.Compare(operator, left, right):
                values = [self.worth(left), self.worth(right)]
                return UNKNOWN if UNKNOWN in values else COMPARE[operator](*values)
            case t.Member(item, container):
                return self._set_call("contains", container, item)
            case t.SetCall(method, of, argument):
                return self._set_call(method, of, argument)
            case t.BelowAny(targets=targets) if self.worth(targets) == _EMPTY:
                return False
            case t.Below(same_type=True) | t.BelowAny(same_type=True):
                return UNKNOWN  # an entity is in itself, whatever its parents are
            case t.IsPresent() | t.HasKey() if "$" in "".join(_presence(expr)):
                return UNKNOWN  # it may be left out of one element and not of another
            case _:
                if self._asks(expr):
                    return False
                return _EMPTY if self._empties(expr) else UNKNOWN

    def _set_call(self, method: str, of_expr: t.TypedExpr, argument_expr: t.TypedExpr | None) -> Any:
        of, argument = self.worth(of_expr), None if argument_expr is None else self.worth(argument_expr)
        if of == _EMPTY and method in ("contains", "overlaps"):
            return False
        if argument == _EMPTY and method in ("contains_all", "overlaps"):
            return method == "contains_all"
        if self.kind == "proof" and _is_proof(of_expr) and argument in (self.path[0], frozenset(self.path)):
            return False
        return UNKNOWN if UNKNOWN in (of, argument) else SET_CALLS[method](of, argument)

    # ---- which parts turn on it

    def turns(self, expr: t.TypedExpr, to: bool) -> list[t.TypedExpr]:
        """The parts of a condition by which leaving it out can turn the whole true, or false."""
        if self._is_elsewhere(expr):
            return []
        value = self.worth(expr)
        if value is not UNKNOWN and value is not to:
            return []  # whatever becomes of a part, the whole does not turn
        match expr:
            case t.And() | t.Or():
                return [part for item in self._parts(expr) for part in self.turns(item, to)]
            case t.Not(item):
                return self.turns(item, not to)
            case t.Compare("==" | "!=" as operator, item, t.Constant(bool() as constant)) | t.Compare(
                "==" | "!=" as operator, t.Constant(bool() as constant), item
            ):
                return self.turns(item, to if constant is (operator == "==") else not to)
            case t.Quantified(body=body):
                return [expr] if to in self._pushes(expr) else self.turns(body, to)
            case _ if value is to:
                return [expr] if self._is_in(expr) else []
            case _:
                return [expr] if to in self._pushes(expr) else []

    def _pushes(self, expr: t.TypedExpr) -> set[bool]:
        """What leaving it out may turn a part into. In an operand that is not known to push one way it may turn either."""
        if self._asks(expr):
            return {False}
        found: set[bool] = set()
        for operand, with_fewer in _operands(expr):
            if self._is_in(operand) and self._matters(expr):
                found |= {with_fewer} if with_fewer is not None and self._shrinks(operand) else {True, False}
        return found

    def _matters(self, expr: t.TypedExpr) -> bool:
        """Whether it is this fact that is looked for in the proof, and not another."""
        match expr:
            case t.Member(t.Constant(value), t.Root("proof")) | t.SetCall("contains", t.Root("proof"), t.Constant(value)):
                return self.path in (_EVERY_FACT, (value,))
            case t.SetCall("contains_all" | "overlaps", t.Root("proof"), t.Constant(value)):
                return self.path == _EVERY_FACT or self.path[0] in value
            case _:
                return True

    # ---- where it stands

    def _is_in(self, expr: t.TypedExpr) -> bool:
        if self._asks(expr) or self._shrinks(expr):
            return True
        # An empty set is there all the same.
        return not isinstance(expr, t.IsPresent | t.HasKey) and any(self._is_in(child) for child in t.children(expr))

    def _asks(self, expr: t.TypedExpr) -> bool:
        """Whether the expression itself asks for it, so that it can only become false without it."""
        match expr:
            case t.IsUser():
                return self.kind == "user"
            case t.IsTask() | t.Root("task_covers"):
                return self.kind in ("task", "workload")  # a task belongs to a workload
            case t.HasWorkload() | t.Matches(t.Root("workload")):
                return self.kind == "workload"
            case t.IsPresent() | t.HasKey():
                path, whole = _presence(expr), isinstance(expr, t.HasKey) and self._shrinks(expr.of)
                return whole or (self.kind in ("optional", *EVIDENCE) and path[: len(self.path)] == self.path)
            case t.Below(item, ancestors=ancestors) | t.BelowAny(item, ancestors=ancestors):
                return self.kind == "parents" and ancestors is not None and path_of(item) == self.path
            case _:
                return False

    def _shrinks(self, expr: t.TypedExpr) -> bool:
        """Whether the expression is a set or map that has fewer elements without it."""
        if _is_proof(expr):
            return self.kind == "proof"
        return self.kind == "elements" and isinstance(expr.type, SetType | MapType) and path_of(expr) == self.path

    def _empties(self, expr: t.TypedExpr) -> bool:
        return (
            isinstance(expr.type, SetType) and self._shrinks(expr) and (self.kind == "elements" or self.path == _EVERY_FACT)
        )


def _is_proof(expr: t.TypedExpr) -> bool:
    return isinstance(expr, t.Root) and expr.name == "proof"


def _settle(settling: bool, values: set[Any]) -> Any:
    """Strong Kleene logic: `and` is settled by one false, `or` by one true."""
    if settling in values:
        return settling
    return UNKNOWN if UNKNOWN in values else not settling


def withheld(expr: t.TypedExpr, *, deep: bool = True) -> Iterator[Withheld]:
    """Everything that a condition asks for and that can be left out; or that its topmost part does."""
    for each in t.walk(expr) if deep else [expr]:
        match each:
            case t.IsUser():
                yield Withheld("user", ("user",))
            case t.IsTask() | t.Root("task_covers"):
                yield Withheld("task", ("task",))
            case t.HasWorkload() | t.Matches(t.Root("workload")):
                yield Withheld("workload", ("workload",))
            case t.Root("proof"):
                yield from (Withheld("proof", (fact,)) for fact in PROOF_FACT.members)
            case t.IsPresent() | t.HasKey():
                yield Withheld("optional", _presence(each))
            case t.Below(t.Root(name), ancestors=int()) | t.BelowAny(t.Root(name), ancestors=int()):
                if name in each.claimed:
                    yield Withheld("parents", (name,))
            case t.FieldOf() | t.AttributeOf() if isinstance(each.type, SetType | MapType) and is_claimed(each):
                path = path_of(each)
                if path is not None:
                    yield Withheld("elements", path)


def is_claimed(expr: t.TypedExpr) -> bool:
    """Whether the caller says it. What stands behind a reference that he says is the directory's, and no claim."""
    match expr:
        case t.FieldOf(of):
            return label_of(expr) in expr.claimed or is_claimed(of)
        case t.AttributeOf():
            return label_of(expr) in expr.claimed
        case _:
            return False


def _places_of(expr: t.TypedExpr) -> Iterator[Path]:
    """The places of all that a part asks for itself, and of what takes that with it."""
    for by in withheld(expr, deep=False):
        yield by.place
        if by.kind == "task":
            yield ("workload",)
        elif by.kind == "optional":
            yield from (by.path[:length] for length in range(1, len(by.path)))
    if isinstance(expr, t.FieldOf | t.AttributeOf) and isinstance(expr.type, SetType | MapType):
        yield path_of(expr) or ()


def _presence(expr: t.IsPresent | t.HasKey) -> Path:
    """The path of what a test of presence asks for; where there is none, a name that nothing else has."""
    path = path_of(expr.of) if isinstance(expr, t.IsPresent) else key_path(expr.of, expr.key)
    return path or (f"$ {expr.span.location}",)


def _operands(expr: t.TypedExpr) -> list[tuple[t.TypedExpr, bool | None]]:
    """The operands, each with what the whole can become, and nothing else, when the operand has fewer elements."""
    match expr:
        case t.Quantified(kind, _, over):
            return [(over, kind == "all")]
        case t.Member(item, container):
            return [(item, None), (container, False)]
        case t.BelowAny(item, _, targets):
            return [(item, None), (targets, False)]
        case t.SetCall("is_empty", of):
            return [(of, True)]
        case t.SetCall("contains", of, argument) if argument is not None:
            return [(of, False), (argument, None)]
        case t.SetCall("overlaps", of, argument) if argument is not None:
            return [(of, False), (argument, False)]
        case t.SetCall("contains_all", of, argument) if argument is not None:
            return [(of, False), (argument, True)]
        case t.IsPresent() | t.HasKey():
            return []
        case _:
            return [(child, None) for child in t.children(expr)]
