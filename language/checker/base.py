"""What every part of the expression checker has: where it stands, the making of nodes, and the ways down.

The checker is one class in four layers, each a file: this one, then `reading` (names, attributes, guards), `operators`,
`calls`, and on top `expressions` (conditions, and the dispatch that leads back down).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from language import typed as t
from language.checker.narrow import Facts, Known
from language.checker.report import Report
from language.source import Span
from language.syntax import nodes as n
from language.types import UNKNOWN, EntityType, RecordType, Scalar, Type, agree, show
from language.vocabulary import Vocabulary

N = TypeVar("N", bound=t.Node)

EXPANDED_NODES_MAX = 5_000
ROOTS = ("resource", "workload", "user", "task", "context", "gate", "location", "proof")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an expression stands in: which resource, user, task and context its roots are."""

    resource_type: str | None = None
    user_type: str | None = None
    task_kind: str | None = None
    context: RecordType | None = None
    workload_present: bool = False
    roots_visible: bool = True  # a definition sees only its parameters
    variables: Mapping[str, t.TypedExpr] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # how many nodes stand behind a parameter
    quantifiers: int = 0


class CheckerBase(ABC):
    def __init__(self, vocabulary: Vocabulary, definitions: Mapping[str, n.Define], report: Report) -> None:
        self.vocabulary = vocabulary
        self.definitions = definitions
        self.report = report
        self.around = Surroundings()
        self._expanding: list[str] = []
        self._nodes = 0
        self.used: set[str] = set()
        self.expanded = 0  # nodes made by writing definitions out

    @abstractmethod
    def _condition(self, node: n.Expr, facts: Facts) -> tuple[t.TypedExpr, Known]:
        """A Bool, with what is known when it is true and when it is false."""

    @abstractmethod
    def _value(self, node: n.Expr, facts: Facts, expected: Type = UNKNOWN) -> t.TypedExpr:
        """Any expression; `expected` is a help and not a demand."""

    def _expect(self, node: n.Expr, facts: Facts, expected: Type) -> t.TypedExpr:
        typed = self._value(node, facts, expected)
        if not agree(typed.type, expected):
            found = f"expected `{show(expected)}`, found `{show(typed.type)}`"
            self.report.say("type_mismatch", found, node.span, mismatch_hint(typed.type, expected))
        return typed

    def _root_visible(self, node: n.Name) -> bool:
        return node.text not in self.around.variables and self.around.roots_visible

    # ---- making nodes

    def _make(self, cls: type[N], span: Span, *parts: Any, claimed: frozenset[str] = frozenset()) -> N:
        """A node whose labels are its own and those of everything below it (law L9)."""
        self._nodes += 1
        labels = []
        for part in parts:
            for each in part if isinstance(part, tuple) else (part,):
                if isinstance(each, t.Node) and each.claimed:
                    labels.append(each.claimed)
        if labels:
            claimed = claimed.union(*labels)
        return cls(*parts, span=span, claimed=claimed)

    def _constant(self, value: Any, type_: Type, span: Span, shown: Type | None = None) -> t.Constant:
        self._nodes += 1
        return t.Constant(value, shown if shown is not None else type_, span=span)

    def _wrong(self, code: str, message: str, span: Span, hint: str | None = None) -> t.Constant:
        """Reports, and stands in for what could not be checked."""
        self.report.say(code, message, span, hint)
        return self._constant(None, UNKNOWN, span)


def mismatch_hint(found: Type, expected: Type) -> str | None:
    match found, expected:
        case (Scalar.STRING, Scalar.INT) | (Scalar.INT, Scalar.STRING):
            return 'nothing is converted: `1` and `"1"` are different values'
        case Scalar.STRING, EntityType(name):
            return f'an entity is written `{name} "id"`'
        case Scalar.STRING, Scalar.SPIFFE_ID:
            return "a SPIFFE ID is written without quotes"
        case Scalar.STRING, Scalar.IP | Scalar.CIDR:
            return 'addresses are written `ip("10.0.0.1")` and `cidr("10.0.0.0/8")`'
        case _:
            return None
