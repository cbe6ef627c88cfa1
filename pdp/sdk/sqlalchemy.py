"""`gate`: every statement that an SQLAlchemy engine sends is decided first, for each table that it touches.

Raw SQL cannot be read, so it is refused unless it is allowed by name; so is DDL. Unknown tables and functions are denied.

A check inside a process that an attacker controls contains nothing: whoever executes code here takes the driver's own
connection. This one judges what a program does for others, such as queries that its users compose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from weakref import WeakKeyDictionary

from pdp.errors import PdpError
from pdp.model.decision import Decision
from pdp.model.denied import Denied
from pdp.model.request import EntityLike, Request
from pdp.sdk.subject import Subject, told

try:
    from sqlalchemy import DDL, Connection, Engine, event
    from sqlalchemy.pool import _AdhocProxiedConnection
    from sqlalchemy.sql.compiler import SQLCompiler
except ImportError as error:  # pragma: no cover  # the extra is installed where this is tested
    raise ImportError("pdp.sdk.sqlalchemy needs SQLAlchemy 2: install `bulkhead-pdp[sqlalchemy]`") from error

from pdp.sdk.statements import Reading, read, reads_rows

#: Reasons of this gate's own, beside those of decisions.
REASONS = {
    "raw_sql": "raw SQL may touch any table; `allow_raw_sql` lets it pass undecided",
    "ddl": "it changes the schema; `allow_ddl` lets it pass undecided, unless it holds a query",
    "unknown_columns": "it may read columns that it does not name, and `context` asks for those that are read",
    "unknown_table": "`resource` says nothing about it",
    "unknown_function": "a function of the database may read any table; `functions` names those that do not",
    "unreadable_statement": "it does not compile to the same SQL twice, so what it touches is not known",
}

#: What is done to a table, and the action that it is unless `actions` says otherwise.
KINDS = ("select", "insert", "update", "delete")

#: Functions that compute from their arguments alone, or from the rows that the statement reads anyway.
_WORDS = """
abs avg cast ceil ceiling char_length coalesce concat count cume_dist current_date current_time
current_timestamp date datetime dense_rank exp extract first_value floor greatest group_concat ifnull
julianday lag last_value lead least length ln localtime localtimestamp log lower ltrim max min mod now
nth_value ntile nullif percent_rank percentile_cont percentile_disc power random rank replace round row_number
rtrim sqrt strftime string_agg substr substring sum time total trim upper
"""
FUNCTIONS = frozenset(_WORDS.split())


class DecidesMany(Protocol):
    """What a gate needs of an engine: several questions, answered at one moment by one state."""

    def check_many(self, requests: list[Request], /) -> list[Decision]: ...


@dataclass(frozen=True, slots=True)
class Touch:
    """One table in one statement, for `context`: how it is touched, and which of its columns are read."""

    table: str
    kind: str
    columns: frozenset[str]


TellsResource = Mapping[str, EntityLike] | Callable[[str], EntityLike | None]

_gates: WeakKeyDictionary[Engine, _Gate]


def gate(
    sqlalchemy_engine: Any,
    engine: DecidesMany,
    *,
    subject: Callable[[Connection], Subject | None],
    resource: TellsResource,
    actions: Mapping[str, str] | None = None,
    context: Callable[[Touch], Mapping[str, Any]] | None = None,
    functions: Collection[str] = (),
    allow_raw_sql: bool = False,
    allow_ddl: bool = False,
) -> None:
    """From now on each statement of this engine needs a decision; without one it raises `Denied` and is not sent.

    `resource` names the tables that are known, by full name (`schema.table`): a mapping, or a function that gives None for
    the others. `actions` renames the actions `select`, `insert`, `update`, `delete`. An AsyncEngine is gated through its
    `sync_engine`. Connections that are open already are not gated.
    """
    target = _sync(sqlalchemy_engine)
    if target in _gates:
        raise PdpError("invalid_argument", "the engine is gated already; `ungate` it first")
    if isinstance(functions, str):
        raise PdpError("invalid_argument", "functions: found a text, expected a collection of names")
    if unknown := sorted(set(actions or ()) - set(KINDS)):
        raise PdpError("invalid_argument", f"actions: `{unknown[0]}` is no kind of statement; known are {', '.join(KINDS)}")
    named = {**{kind: kind for kind in KINDS}, **(actions or {})}
    known = FUNCTIONS | {f.lower() for f in functions}
    made = _Gate(engine, subject, _lookup(resource), named, context, known, allow_raw_sql, allow_ddl)
    event.listen(target, "before_cursor_execute", made)
    _gates[target] = made


def ungate(sqlalchemy_engine: Any) -> None:
    """Takes the gate away again."""
    target = _sync(sqlalchemy_engine)
    if target not in _gates:
        raise PdpError("invalid_argument", "the engine is not gated")
    event.remove(target, "before_cursor_execute", _gates.pop(target))


def _sync(engine: Any) -> Engine:
    found = getattr(engine, "sync_engine", engine)
    if not isinstance(found, Engine):
        raise PdpError("invalid_argument", f"found {type(engine).__name__}, expected an SQLAlchemy Engine or AsyncEngine")
    return found


def _lookup(resource: TellsResource) -> Callable[[str], EntityLike | None]:
    return dict(resource).get if isinstance(resource, Mapping) else resource


class _Gate:
    """The event hook. At the cursor, because everything arrives there: ORM, Core, compiled, cached, and raw."""

    def __init__(
        self,
        engine: DecidesMany,
        subject: Callable[[Connection], Subject | None],
        resource: Callable[[str], EntityLike | None],
        actions: Mapping[str, str],
        context: Callable[[Touch], Mapping[str, Any]] | None,
        functions: frozenset[str],
        allow_raw_sql: bool,
        allow_ddl: bool,
    ) -> None:
        self._engine = engine
        self._subject = subject
        self._resource = resource
        self._actions = actions
        self._context = context
        self._functions = functions
        self._allow_raw_sql = allow_raw_sql
        self._allow_ddl = allow_ddl
        self._readings: WeakKeyDictionary[SQLCompiler, Reading | None] = WeakKeyDictionary()

    def __call__(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        if isinstance(connection.connection, _AdhocProxiedConnection):
            return  # the dialect asks the server for its version, once, before anybody has the connection
        compiled = getattr(context, "compiled", None)
        if compiled is None:
            if not self._allow_raw_sql:
                _refuse("driver-level SQL", "raw_sql")
            return
        if not isinstance(compiled, SQLCompiler):
            if not self._allow_ddl or reads_rows(compiled.statement):
                _refuse(type(compiled.statement).__name__, "ddl")
            if isinstance(compiled.statement, DDL) and not self._allow_raw_sql:
                _refuse("DDL()", "raw_sql")
            return
        reading = self._read(compiled)
        if reading is None:
            _refuse(type(compiled.statement).__name__, "unreadable_statement")
        if reading.raw and not self._allow_raw_sql:
            _refuse(reading.raw[0], "raw_sql")
        if unknown := sorted(reading.functions - self._functions):
            _refuse(f"function {unknown[0]}", "unknown_function")
        if reading.unknown and self._context is not None:
            _refuse(reading.unknown[0], "unknown_columns")
        if reading.touches:
            self._ask(reading, connection, context.execution_options.get("schema_translate_map") or {})

    def _read(self, compiled: SQLCompiler) -> Reading | None:
        # A compiled statement is cached by SQLAlchemy and used again with other parameters; what it does stays the same.
        if compiled not in self._readings:
            self._readings[compiled] = read(compiled)
        return self._readings[compiled]

    def _ask(self, reading: Reading, connection: Connection, schemas: Mapping[str | None, str | None]) -> None:
        who = told(self._subject(connection))
        asked: list[str] = []
        requests: list[Request] = []
        for (schema, name), kind in reading.touches:
            schema_sent = schemas.get(schema, schema)
            full_name = f"{schema_sent!s}.{name!s}" if schema_sent else name
            what = f"{self._actions[kind]} on table {full_name}"
            # A dot inside a name would make it the full name of another table; a schema that is never quoted, anything.
            odd = "." in name or getattr(schema_sent, "quote", None) is False
            resource = None if odd else self._resource(full_name)
            if resource is None:
                _refuse(what, "unknown_table")
            columns = reading.columns.get((schema, name), frozenset())
            context = self._context(Touch(full_name, kind, columns)) if self._context is not None else {}
            asked.append(what)
            requests.append(
                Request(
                    self._actions[kind],
                    resource,
                    who.workload,
                    who.user,
                    who.task,
                    context,
                    location=who.location,
                    proof=who.proof,
                )
            )
        decisions = self._engine.check_many(requests)
        for what, decision in zip(asked, decisions, strict=True):
            if decision.allowed is not True:
                raise Denied(decision, asked=what)


def _refuse(what: str, reason: str) -> NoReturn:
    raise Denied(None, asked=what, reason=reason, because=REASONS[reason])


_gates = WeakKeyDictionary()
