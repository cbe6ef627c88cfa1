"""Files: statements and comments."""

from __future__ import annotations

from language.source import Source, Span
from language.syntax.nodes.scenarios import Test
from language.syntax.nodes.statements import (
    Action,
    Define,
    Entity,
    Enum,
    Group,
    HttpRoutes,
    Relation,
    Rule,
    Task,
    TcpRoutes,
    Workload,
)
from language.tree import Tree, node

Statement = Enum | Entity | Workload | Relation | Action | Group | Task | Define | Rule | HttpRoutes | TcpRoutes | Test


@node
class Comment(Tree):
    start: int
    end: int
    text: str
    own_line: bool


@node
class Module(Tree):
    """One parsed file."""

    source: Source
    version: int | None
    package: tuple[str, ...]
    package_span: Span | None
    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...]
    pin_span: Span | None = None
    broken: bool = False  # a syntax error took a piece of it away
