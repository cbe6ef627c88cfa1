"""What a compiled SQLAlchemy statement does: which tables it touches and how, which columns it reads, what is raw in it.

A statement's tree does not show it: eager loads, association tables, defaults and inheritance appear only when it is
compiled, and aliases and correlation hide what is a table there. So the statement is compiled once more by a subclass of
the same compiler that notes what is rendered. If both texts are equal, what was noted is what is executed; if not, nothing
is known.
"""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass, field
from typing import Any

try:
    from sqlalchemy import select
    from sqlalchemy.schema import Table
    from sqlalchemy.sql import visitors
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.expression import SelectBase, TableClause
    from sqlalchemy.sql.functions import count
    from sqlalchemy.types import TypeDecorator, UserDefinedType
except ImportError as error:  # pragma: no cover  # the extra is installed where this is tested
    raise ImportError("pdp.sdk.sqlalchemy needs SQLAlchemy 2: install `bulkhead-pdp[sqlalchemy]`") from error

Key = tuple[str | None, str]  # schema and name, as the statement says them

#: A name that needs no quotes, or SQLAlchemy's own place for a schema that is translated when the statement is sent.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*|__\[SCHEMA_[A-Za-z0-9_]+\]")
#: Literal columns that name nothing: what SQLAlchemy itself puts into EXISTS and LIKE.
_CONSTANT = re.compile(r"[0-9]+|'[\w %/]*'|NULL", re.ASCII)
#: An operator of symbols, or one of these words; anything longer could be a piece of a statement.
_OPERATOR = re.compile(r"(?!.*(?:--|/\*))[!#%&*+\-/:<=>?@^|~]{1,5}|REGEXP|GLOB|MATCH|RLIKE|DIV|XOR", re.IGNORECASE)
_TYPE = re.compile(r"[\w ]+(\([\w ,]*\))?[\w ]*( COLLATE \"\w+\")?(\[\])*")
_COLLATION = re.compile(r"[\w.@-]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one compiled statement does. `columns` are those read, by table."""

    touches: tuple[tuple[Key, str], ...]
    columns: dict[Key, frozenset[str]]
    functions: frozenset[str]
    raw: tuple[str, ...]
    unknown: tuple[str, ...]  # why there may be more columns than these


def reads_rows(statement: Any) -> bool:
    """Whether a change of the schema holds a query, whose rows it copies or shows under another name."""
    return any(isinstance(part, SelectBase) for part in vars(statement).values())


def read(compiled: SQLCompiler) -> Reading | None:
    """None if the statement cannot be read: it does not compile to the same text twice."""
    found = _Found()
    if not _note(compiled, found):
        return None
    for default in found.defaults:  # compiled apart by SQLAlchemy when they are executed before the statement
        if not _note(select(default).compile(dialect=compiled.dialect), found):
            return None
    columns = {key: frozenset(names) for key, names in found.columns.items()}
    if found.reads_all:
        columns = {key: names | columns.get(key, frozenset()) for key, names in found.all_columns.items()}
        found.unknown |= found.light
    return Reading(tuple(found.touches), columns, frozenset(found.functions), tuple(found.raw), tuple(found.unknown))


@dataclass(slots=True)
class _Found:
    touches: dict[tuple[Key, str], None] = field(default_factory=dict)
    columns: dict[Key, set[str]] = field(default_factory=dict)
    all_columns: dict[Key, frozenset[str]] = field(default_factory=dict)
    reads_all: bool = False
    functions: set[str] = field(default_factory=set)
    raw: dict[str, None] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    light: dict[str, None] = field(default_factory=dict)  # tables of which nobody has said that these are all columns
    defaults: list[Any] = field(default_factory=list)

    def touch(self, table: Any, kind: str) -> None:
        key = _key(table)
        self.touches[key, kind] = None
        self.all_columns[key] = self.all_columns.get(key, frozenset()) | {str(c.name) for c in table.columns}
        if not isinstance(table, Table):
            self.light[f"every column of {table.name}"] = None


def _note(compiled: Any, found: _Found) -> bool:
    _note_own_compilers(compiled.statement, found)
    options: dict[str, Any] = {}
    if getattr(compiled, "schema_translate_map", None):
        options["schema_translate_map"] = compiled.schema_translate_map
    compiler: Any = type(compiled)
    again = _reader(compiler)(
        compiled.dialect,
        compiled.statement,
        column_keys=compiled.column_keys,
        for_executemany=compiled.for_executemany,
        found=found,
        **options,
    )
    return bool(again.string == compiled.string)


def _note_own_compilers(statement: Any, found: _Found) -> None:
    for element in visitors.iterate(statement):
        if hasattr(type(element), "_compiler_dispatcher"):  # `@compiles`: rendered by a function that nobody else sees
            found.raw[f"a construct with a compiler of its own, {type(element).__name__}"] = None


@functools.cache
def _reader(compiler: Any) -> Any:
    return type(f"Reading{compiler.__name__}", (_Reader, compiler), {})


def _key(table: Any) -> Key:
    return getattr(table, "schema", None), str(table.name)


def _tables_in(element: Any) -> list[Any]:
    return [e for e in visitors.iterate(element) if isinstance(e, TableClause)]


class _Reader:
    """In front of a dialect's compiler: notes what it is asked to render, and leaves the rendering to it."""

    def __init__(self, *args: Any, found: _Found, **options: Any) -> None:
        self._found = found
        self._targets: list[list[Key]] = []
        self._counting = False
        super().__init__(*args, **options)

    # ---- tables

    def visit_table(self, table: Any, **kw: Any) -> Any:
        if kw.get("asfrom") or kw.get("ashint") or kw.get("within_tstring"):
            key = _key(table)
            if kw.get("iscrud") and self._targets and key in self._targets[-1]:
                self._targets[-1].remove(key)  # the target itself; should it stand there again, it is read
            else:
                self._found.touch(table, "select")
        return super().visit_table(table, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_insert(self, statement: Any, *args: Any, **kw: Any) -> Any:
        self._write(statement, "insert", "default")
        conflict = statement._post_values_clause
        if conflict is not None and conflict.__visit_name__ != "on_conflict_do_nothing":
            self._write(statement, "update", "onupdate")
        text = super().visit_insert(statement, *args, **kw)  # type: ignore[misc]  # the compiler behind
        self._give_back(statement)
        return text

    def visit_update(self, statement: Any, *args: Any, **kw: Any) -> Any:
        self._targets.append(self._write(statement, "update", "onupdate"))
        text = super().visit_update(statement, *args, **kw)  # type: ignore[misc]  # the compiler behind
        self._targets.pop()
        self._give_back(statement)
        return text

    def visit_delete(self, statement: Any, *args: Any, **kw: Any) -> Any:
        self._targets.append(self._write(statement, "delete", ""))
        text = super().visit_delete(statement, *args, **kw)  # type: ignore[misc]  # the compiler behind
        self._targets.pop()
        self._give_back(statement)
        return text

    def _write(self, statement: Any, kind: str, default: str) -> list[Key]:
        targets = _tables_in(statement.table)
        for table in targets:
            self._found.touch(table, kind)
            for column in table.columns:
                value = getattr(column, default, None)
                if value is not None and getattr(value, "is_clause_element", False):
                    self._found.defaults.append(value.arg)
        return [_key(t) for t in targets]

    def _give_back(self, statement: Any) -> None:
        """What gives rows back reads them, whoever asked for it: `returning`, `return_defaults`, or a mapper. But for the
        keys of the rows that are inserted, which are told to whoever inserts in any case."""
        given = [*(statement._returning or ()), *(self.implicit_returning or ())]  # type: ignore[attr-defined]
        if statement.is_insert:
            keys = [k for table in _tables_in(statement.table) if isinstance(table, Table) for k in table.primary_key]
            given = [*(statement._returning or ()), *(c for c in given if not any(c is k for k in keys))]
        if given:
            for table in _tables_in(statement.table):
                self._found.touch(table, "select")

    # ---- columns and functions

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        table = column.table
        if column.is_literal:
            if column.name == "*":
                self._found.reads_all |= not self._counting
            elif not _CONSTANT.fullmatch(column.name):
                self._raw("literal_column()")
        elif table is None:
            self._found.unknown[f"column {column.name} of no table"] = None
        while table is not None and not isinstance(table, TableClause):
            table = getattr(table, "element", None)
        if table is not None:
            self._found.columns.setdefault(_key(table), set()).add(str(column.name))
        return super().visit_column(column, *args, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_function(self, function: Any, *args: Any, **kw: Any) -> Any:
        self._found.functions.add(".".join([*function.packagenames, function.name]).lower())
        before = self._counting
        # `count(*)` reads no column. The same star may stand beside it in the statement, and is read there.
        self._counting = isinstance(function, count) and all(getattr(c, "is_literal", False) for c in function.clauses)
        text = super().visit_function(function, *args, **kw)  # type: ignore[misc]  # the compiler behind
        self._counting = before
        return text

    def visit_table_valued_column(self, element: Any, **kw: Any) -> Any:
        self._found.reads_all = True  # a row as one value
        return super().visit_table_valued_column(element, **kw)  # type: ignore[misc]  # the compiler behind

    # ---- raw text

    def _raw(self, what: str) -> None:
        self._found.raw[what] = None

    def visit_textclause(self, *args: Any, **kw: Any) -> Any:
        self._raw("text()")
        return super().visit_textclause(*args, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_tstring(self, *args: Any, **kw: Any) -> Any:
        self._raw("tstring()")
        return super().visit_tstring(*args, **kw)  # type: ignore[misc]  # the compiler behind

    # What the ORM adds when it compiles is not in the tree that was executed, but it comes by here.
    def _compose_select_body(self, text: Any, statement: Any, *args: Any, **kw: Any) -> Any:
        _note_own_compilers(statement, self._found)
        return super()._compose_select_body(text, statement, *args, **kw)  # type: ignore[misc]  # the compiler behind

    def _literal(self, kind: Any) -> None:
        if isinstance(kind, TypeDecorator | UserDefinedType):  # writes its literals itself
            self._raw("a literal of a type of its own")

    def render_literal_value(self, value: Any, kind: Any, *args: Any, **kw: Any) -> Any:
        self._literal(kind)
        return super().render_literal_value(value, kind, *args, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_bindparam(self, parameter: Any, *args: Any, **kw: Any) -> Any:
        if parameter.literal_execute or kw.get("literal_execute"):
            self._literal(parameter.type)
        return super().visit_bindparam(parameter, *args, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_typeclause(self, clause: Any, **kw: Any) -> Any:
        text = super().visit_typeclause(clause, **kw)  # type: ignore[misc]  # the compiler behind
        if not _TYPE.fullmatch(text):
            self._raw("the name of a type")
        return text

    def visit_collation(self, element: Any, **kw: Any) -> Any:
        if not _COLLATION.fullmatch(element.collation):
            self._raw("collate()")
        return super().visit_collation(element, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_extract(self, extract: Any, *args: Any, **kw: Any) -> Any:
        if not _NAME.fullmatch(extract.field):
            self._raw("the field of extract()")
        return super().visit_extract(extract, *args, **kw)  # type: ignore[misc]  # the compiler behind

    def _operator(self, operator: Any) -> None:
        if not _OPERATOR.fullmatch(operator.opstring.strip()):
            self._raw("op()")

    def visit_custom_op_binary(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._operator(operator)
        return super().visit_custom_op_binary(element, operator, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._operator(operator)
        return super().visit_custom_op_unary_operator(element, operator, **kw)  # type: ignore[misc]  # the compiler behind

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **kw: Any) -> Any:
        self._operator(operator)
        return super().visit_custom_op_unary_modifier(element, operator, **kw)  # type: ignore[misc]  # the compiler behind

    def get_statement_hint_text(self, hint_texts: Any) -> Any:
        self._raw("with_statement_hint()")
        return super().get_statement_hint_text(hint_texts)  # type: ignore[misc]  # the compiler behind

    def get_select_hint_text(self, byfroms: Any) -> Any:
        if byfroms:
            self._raw("with_hint()")
        return super().get_select_hint_text(byfroms)  # type: ignore[misc]  # the compiler behind

    def get_from_hint_text(self, table: Any, text: Any) -> Any:
        if text:
            self._raw("with_hint()")
        return super().get_from_hint_text(table, text)  # type: ignore[misc]  # the compiler behind

    def get_crud_hint_text(self, table: Any, text: Any) -> Any:
        if text:
            self._raw("with_hint()")
        return super().get_crud_hint_text(table, text)  # type: ignore[misc]  # the compiler behind

    # A name may say that it is not to be quoted, and can then hold anything. All names go through the preparer.
    @property
    def preparer(self) -> Any:
        return self._watched

    @preparer.setter
    def preparer(self, preparer: Any) -> None:
        self._watched = copy.copy(preparer)
        self._watched.quote = functools.partial(self._quote, preparer.quote)

    def _quote(self, quote: Any, name: str, *args: Any, **kw: Any) -> Any:
        if getattr(name, "quote", None) is False and not _NAME.fullmatch(name):
            self._raw("a name that is not to be quoted")
        return quote(name, *args, **kw)
