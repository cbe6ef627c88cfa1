"""The SQLAlchemy gate against a real SQLite: what a statement touches, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mssql, mysql, oracle, postgresql
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement, UnaryExpression
from sqlalchemy.sql.operators import custom_op

import pdp
from pdp.sdk.sqlalchemy import Touch, gate, ungate
from pdp.sdk.statements import read
from pdp.sdk.subject import Subject

TABLES = ("invoices", "people", "tags", "links")
RESOURCE = {name: ("Table", name) for name in TABLES}
ADA, BOB = Subject(user=("User", "ada")), Subject(user=("User", "bob"))


class Base(orm.DeclarativeBase):
    pass


links = sa.Table(
    "links",
    Base.metadata,
    sa.Column("invoice", sa.ForeignKey("invoices.id"), primary_key=True),
    sa.Column("tag", sa.ForeignKey("tags.id"), primary_key=True),
)


class Person(Base):
    __tablename__ = "people"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str]


class Inlined(sa.types.TypeDecorator[Any]):
    impl = sa.String
    cache_ok = True

    def process_literal_param(self, value: Any, dialect: Any) -> str:
        return "(SELECT name FROM people)"


class Own(ColumnElement[Any]):
    inherit_cache = True


@compiles(Own)
def _own(element: Any, compiler: Any, **kw: Any) -> str:
    return "(SELECT name FROM people)"


class OwnFunction(sa.sql.functions.FunctionElement[Any]):
    inherit_cache = True


compiles(OwnFunction)(_own)


class Sly(Base):
    """A property of it is rendered by a function that only SQLAlchemy calls."""

    __tablename__ = "sly"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name = orm.column_property(Own())


class Tag(Base):
    __tablename__ = "tags"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(default="t")


class Invoice(Base):
    __tablename__ = "invoices"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    note: orm.Mapped[str] = orm.mapped_column(default="n")
    person_id: orm.Mapped[int | None] = orm.mapped_column(sa.ForeignKey("people.id"))
    person: orm.Mapped[Person | None] = orm.relationship()
    tags: orm.Mapped[list[Tag]] = orm.relationship(secondary=links)


class Eager(Base):
    """Asks for what the database has made of it."""

    __table__ = sa.Table(
        "invoices",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("note", sa.String),
        sa.Column("person_id", sa.Integer, server_default="1"),
    )
    __mapper_args__ = {"eager_defaults": True}  # SQLAlchemy reads it


invoices: Any = Invoice.__table__
people: Any = Person.__table__
tags: Any = Tag.__table__

other = sa.MetaData()
quoting = sa.Table(
    "tags",
    other,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, default=sa.select(sa.func.max(people.c.name)).scalar_subquery()),
)


class Recorded:
    """Allows everything, and remembers what was asked."""

    def __init__(self, engine: pdp.Engine) -> None:
        self.engine = engine
        self.asked: list[pdp.Request] = []

    def check_many(self, requests: list[pdp.Request], /) -> list[pdp.Decision]:
        self.asked += requests
        yes = self.engine.check(action="select", resource=("Table", "tags"), user=("User", "ada"))
        return [yes for _ in requests]

    def take(self) -> set[str]:
        found = {f"{r.action} {r.resource[1]}" for r in self.asked}  # type: ignore[index]  # pairs, see RESOURCE
        self.asked.clear()
        return found


@pytest.fixture
def database() -> Iterator[sa.Engine]:
    made = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    Base.metadata.create_all(made)
    with orm.Session(made) as session:
        session.add(Invoice(id=1, person=Person(id=1, name="p"), tags=[Tag(id=1)]))
        session.commit()
    yield made
    made.dispose()


@pytest.fixture
def recorded(database: sa.Engine, engine: pdp.Engine) -> Recorded:
    stand = Recorded(engine)
    gate(database, stand, subject=lambda _: ADA, resource=RESOURCE)
    return stand


i, p = invoices.alias("i"), people.alias("invoices2")
newest = sa.select(people).cte("newest")
changed = sa.select(sa.func.max(people.c.name)).scalar_subquery()

STATEMENTS: list[tuple[Any, str]] = [
    (sa.select(1), ""),
    (sa.select(sa.func.now()), ""),
    (sa.select(invoices), "select invoices"),
    (sa.select(invoices.c.id), "select invoices"),
    (sa.select(sa.func.count()).select_from(i), "select invoices"),
    (sa.select(p.c.id), "select people"),
    (sa.select(sa.table("people", sa.column("id"))), "select people"),
    (sa.select(invoices).join(people), "select invoices, select people"),
    (sa.select(i).outerjoin(p, p.c.id == i.c.person_id), "select invoices, select people"),
    (sa.select(invoices, people), "select invoices, select people"),
    (sa.select(invoices).where(invoices.c.note.in_(sa.select(people.c.name))), "select invoices, select people"),
    (sa.select(invoices).where(sa.exists().where(people.c.id == invoices.c.person_id)), "select invoices, select people"),
    (sa.select(sa.exists(sa.select(people.c.id))), "select people"),
    (sa.select(changed), "select people"),
    (sa.select(invoices).order_by(changed), "select invoices, select people"),
    (sa.select(sa.case((changed == "x", 1), else_=2)), "select people"),
    (sa.select(sa.select(people).subquery().c.name), "select people"),
    (sa.select(newest.c.id), "select people"),
    (sa.select(invoices).add_cte(newest), "select invoices, select people"),
    (sa.union_all(sa.select(invoices.c.id), sa.select(people.c.id)), "select invoices, select people"),
    (sa.select(invoices.c.id).except_(sa.select(people.c.id)), "select invoices, select people"),
    (sa.select(sa.func.max(people.c.name).over(partition_by=people.c.id)), "select people"),
    (sa.select(sa.cast(people.c.name, sa.Integer) + 1), "select people"),
    (sa.select(people.c.name.contains("x"), people.c.name.op("||")("y"), people.c.name.op("GLOB")("*")), "select people"),
    (sa.insert(tags).values(name="x"), "insert tags"),
    (sa.insert(tags).values([{"name": "x"}, {"name": "y"}]), "insert tags"),
    (sa.insert(tags).values(name=changed), "insert tags, select people"),
    (sa.insert(tags).from_select(["name"], sa.select(people.c.name)), "insert tags, select people"),
    (sa.insert(tags).from_select(["name"], sa.select(tags.c.name)), "insert tags, select tags"),
    (sa.insert(tags).values(name="x").returning(tags.c.id), "insert tags, select tags"),
    (sa.insert(quoting).values(id=7), "insert tags, select people"),
    (sa.insert(quoting).values(name="x"), "insert tags, select people"),
    (sqlite_insert(tags).values(id=1, name="x").on_conflict_do_nothing(), "insert tags"),
    (sqlite_insert(tags).values(id=1, name="x").on_conflict_do_update(set_={"name": "y"}), "insert tags, update tags"),
    (
        sqlite_insert(tags).values(id=1, name="x").on_conflict_do_update(set_={"name": changed}),
        "insert tags, select people, update tags",
    ),
    (sa.update(tags).values(name="x"), "update tags"),
    (sa.update(tags).where(tags.c.id == 1).values(name=tags.c.name + "x"), "update tags"),
    (sa.update(tags).values(name=changed), "select people, update tags"),
    (sa.update(tags).where(tags.c.id == people.c.id).values(name=people.c.name), "select people, update tags"),
    (sa.update(tags).where(sa.exists().where(people.c.id == tags.c.id)).values(name="x"), "select people, update tags"),
    (sa.update(tags).where(tags.c.id == tags.alias().c.id).values(name="x"), "select tags, update tags"),
    (sa.update(tags).where(tags.c.id.in_(sa.select(tags.alias().c.id))).values(name="x"), "select tags, update tags"),
    (sa.update(tags).values(name="x").returning(tags.c.id), "select tags, update tags"),
    (sa.delete(tags), "delete tags"),
    (sa.delete(tags).where(tags.c.id.in_(sa.select(people.c.id))), "delete tags, select people"),
    (sa.delete(tags).returning(tags), "delete tags, select tags"),
    (sa.lambda_stmt(lambda: sa.select(people)), "select people"),
    (sa.select(Invoice), "select invoices"),
    (sa.select(orm.aliased(Person)), "select people"),
    (sa.select(Invoice).options(orm.joinedload(Invoice.person)), "select invoices, select people"),
    (sa.select(Invoice).join(Invoice.tags), "select invoices, select links, select tags"),
    (sa.select(Invoice.id).join(Invoice.tags).subquery().select(), "select invoices, select links, select tags"),
    (sa.select(Invoice).where(Invoice.tags.any()), "select invoices, select links, select tags"),
    (sa.select(Invoice).where(Invoice.person.has(name="p")), "select invoices, select people"),
    (
        sa.select(Tag).options(orm.with_loader_criteria(Tag, Tag.id.in_(sa.select(people.c.id)))),
        "select people, select tags",
    ),
    (sa.insert(Tag).values(name="x"), "insert tags"),
    (sa.update(Tag).values(name="x"), "update tags"),
    (sa.delete(Tag).where(Tag.id == 1), "delete tags"),
]


@pytest.mark.parametrize(("statement", "touches"), [pytest.param(*s, id=str(n)) for n, s in enumerate(STATEMENTS)])
def test_every_table_that_a_statement_touches(database: sa.Engine, recorded: Recorded, statement: Any, touches: str) -> None:
    with orm.Session(database) as session:
        for _ in range(2):  # the second time it comes from the cache
            session.execute(statement)
            assert ", ".join(sorted(recorded.take())) == touches
            session.rollback()


def flush(session: orm.Session) -> None:
    tag = Tag(id=5)
    session.add(tag)
    session.flush()
    tag.name = "x"
    session.flush()
    session.delete(tag)
    session.flush()


def lazy(session: orm.Session) -> None:
    invoice = session.get_one(Invoice, 1)
    assert invoice.person is not None
    assert [t.id for t in invoice.tags] == [1]


ACTS: list[tuple[Callable[[orm.Session], Any], str]] = [
    (flush, "delete tags, insert tags, update tags"),
    (lazy, "select invoices, select links, select people, select tags"),
    (lambda s: s.scalars(sa.select(Invoice).options(orm.selectinload(Invoice.tags))).all(),
     "select invoices, select links, select tags"),
    (lambda s: s.query(Invoice).filter_by(id=1).one(), "select invoices"),
    (lambda s: s.query(Tag).filter_by(id=1).delete(), "delete tags"),
    (lambda s: s.bulk_save_objects([Tag(id=8), Tag(id=9)]), "insert tags"),
    (lambda s: s.bulk_insert_mappings(Tag.__mapper__, [{"id": 8}, {"id": 9}]), "insert tags"),
    (lambda s: s.bulk_update_mappings(Tag.__mapper__, [{"id": 1, "name": "x"}]), "update tags"),
    (lambda s: s.execute(sa.insert(Tag), [{"id": 8}, {"id": 9}]), "insert tags"),
    (lambda s: s.scalars(sa.insert(Tag).returning(Tag), [{"name": "a"}, {"name": "b"}]).all(), "insert tags, select tags"),
    (lambda s: s.add_all([Tag(name="a"), Tag(name="b")]) or s.flush(), "insert tags"),
    (lambda s: s.add(Eager(id=7, note="x")) or s.flush(), "insert invoices, select invoices"),
    (lambda s: s.connection().execute(sa.update(tags).values(id=1).return_defaults(tags.c.name)),
     "select tags, update tags"),
    (lambda s: s.connection().execute(sa.delete(tags).return_defaults(tags.c.name)), "delete tags, select tags"),
    (lambda s: s.connection().execute(sa.insert(invoices).values(id=7, note="x").return_defaults(invoices.c.person_id)),
     "insert invoices, select invoices"),
    (lambda s: s.connection().execute(sa.insert(tags).values(name="x")), "insert tags"),
    (lambda s: s.execute(sa.update(Tag).values(name="x"), execution_options={"synchronize_session": "fetch"}),
     "select tags, update tags"),
    (lambda s: s.connection().execute(sa.insert(tags), [{"id": 8, "name": "a"}, {"id": 9, "name": "b"}]), "insert tags"),
    (lambda s: s.begin_nested().rollback(), ""),
    (lambda s: s.scalars(sa.select(people).execution_options(yield_per=1)).all(), "select people"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "touches"), [pytest.param(*a, id=str(n)) for n, a in enumerate(ACTS)])
def test_every_way_through_the_orm(
    database: sa.Engine, recorded: Recorded, act: Callable[[orm.Session], Any], touches: str
) -> None:
    with orm.Session(database) as session:
        act(session)
        assert ", ".join(sorted(recorded.take())) == touches


# ---- refusals

plain = sa.select(people.c.name)


class Spelt(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "INTEGER) FROM people --"


def unquoted(text: str) -> sa.sql.quoted_name:
    return sa.sql.quoted_name(text, quote=False)


REFUSED: list[tuple[Any, str]] = [
    (sa.text("SELECT 1"), "text(): raw_sql"),
    (sa.text("SELECT name FROM people").columns(sa.column("name")), "text(): raw_sql"),
    (sa.select(sa.text("1")), "text(): raw_sql"),
    (sa.select(Invoice).from_statement(sa.text("SELECT * FROM invoices")), "text(): raw_sql"),
    (sa.select(invoices).where(sa.text("1 = 1")), "text(): raw_sql"),
    (sa.select(invoices).order_by(sa.text("id")), "text(): raw_sql"),
    (sa.select(sa.literal_column("(SELECT name FROM people)")), "literal_column(): raw_sql"),
    (sa.select(sa.column("(SELECT 1)", is_literal=True)), "literal_column(): raw_sql"),
    (sa.select(invoices.c.id).prefix_with("(SELECT name FROM people),"), "text(): raw_sql"),
    (sa.select(invoices.c.id).suffix_with("UNION SELECT name FROM people"), "text(): raw_sql"),
    (sa.insert(tags).prefix_with("OR REPLACE").values(id=1), "text(): raw_sql"),
    (sa.select(invoices.c.id).with_statement_hint("UNION SELECT name FROM people"), "with_statement_hint(): raw_sql"),
    (sa.select(invoices.c.id.op("= (SELECT id FROM people) OR 1 =")(1)), "op(): raw_sql"),
    (sa.select(sa.literal(1).op("FROM people WHERE 1 =")(1)), "op(): raw_sql"),
    (sa.select(sa.literal(1).op("--")(1)), "op(): raw_sql"),
    (sa.select(sa.table(unquoted("invoices, people"), sa.column("id"))), "a name that is not to be quoted: raw_sql"),
    (sa.select(invoices.c.id.label(unquoted("x, (SELECT name FROM people)"))), "a name that is not to be quoted: raw_sql"),
    (sa.select(Own()), "a construct with a compiler of its own, Own: raw_sql"),
    (sa.select(Sly), "a construct with a compiler of its own, Own: raw_sql"),
    (sa.select(sa.select(Sly).subquery().c.id), "a construct with a compiler of its own, Own: raw_sql"),
    (
        sa.select(Tag).options(orm.with_loader_criteria(Tag, Tag.name == OwnFunction())),
        "a construct with a compiler of its own, AnnotatedOwnFunction: raw_sql",
    ),
    (
        sa.select(sa.values(sa.column("x", Inlined()), name="v", literal_binds=True).data([("x",)])),
        "a literal of a type of its own: raw_sql",
    ),
    (sa.select(UnaryExpression(people.c.id, operator=custom_op("(SELECT 1) +"))), "op(): raw_sql"),
    (sa.select(UnaryExpression(people.c.id, modifier=custom_op("FROM people --"))), "op(): raw_sql"),
    (sa.select(sa.literal("x", Inlined(), literal_execute=True)), "a literal of a type of its own: raw_sql"),
    (sa.select(sa.cast(1, Spelt())), "the name of a type: raw_sql"),
    (sa.schema.CreateTable(people), "CreateTable: ddl"),
    (sa.schema.DropTable(people), "DropTable: ddl"),
    (sa.DDL("DROP TABLE people"), "DDL: ddl"),
    (sa.select(sa.func.load_extension("x")), "function load_extension: unknown_function"),
    (sa.select(sa.func.main.lower("x")), "function main.lower: unknown_function"),
    (
        sa.select(getattr(sa.func, "lower(name) FROM people --")("x")),
        "function lower(name) from people --: unknown_function",
    ),
    (sa.select(sa.func.json_each("[]").table_valued("value")), "function json_each: unknown_function"),
    (sa.select(sa.table("sqlite_master", sa.column("sql"))), "select on table sqlite_master: unknown_table"),
    (sa.select(sa.table("INVOICES", sa.column("id"))), "select on table INVOICES: unknown_table"),
    (sa.select(sa.table("invoices", sa.column("id"), schema="main")), "select on table main.invoices: unknown_table"),
    (sa.select(sa.table("x.invoices", sa.column("id"))), "select on table x.invoices: unknown_table"),
    (sa.insert(sa.table("unknown", sa.column("id"))).values(id=1), "insert on table unknown: unknown_table"),
    (plain, "select on table people: denied by personal: personal data is not for bob"),
    (sa.select(invoices).join(people), "select on table people: denied by personal"),
    (sa.insert(tags).values(name="x"), "insert on table tags: default_deny"),
    (sa.update(tags).values(name="x"), "update on table tags: default_deny"),
    (sa.delete(tags), "delete on table tags: default_deny"),
]


@pytest.mark.parametrize(("statement", "words"), [pytest.param(*r, id=r[1]) for r in REFUSED])
def test_refused(database: sa.Engine, engine: pdp.Engine, statement: Any, words: str) -> None:
    sent: list[str] = []
    gate(database, engine, subject=lambda _: BOB, resource={**RESOURCE, "x.invoices": ("Table", "invoices")})
    sa.event.listen(database, "after_cursor_execute", lambda conn, cursor, statement, *rest: sent.append(statement))
    for run in (orm.Session(database), database.connect(), database.execution_options(logging_token="x").connect()):
        with run as way, pytest.raises(pdp.Denied) as denied:
            way.execute(statement)
        assert str(denied.value).startswith(words)
    assert sent == []


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.connection().exec_driver_sql("SELECT 1"),
        lambda s: s.connection().exec_driver_sql("INSERT INTO tags VALUES (?, ?)", [(8, "a"), (9, "b")]),
        lambda s: sa.inspect(s.connection()).get_table_names(),
        lambda s: Base.metadata.drop_all(s.connection()),
        lambda s: people.drop(s.connection()),
        lambda s: sa.Table("people", sa.MetaData(), autoload_with=s.connection()),
    ],
)
def test_nothing_reaches_the_driver_by_another_way(database: sa.Engine, engine: pdp.Engine, act: Any) -> None:
    gate(database, engine, subject=lambda _: ADA, resource=RESOURCE)
    with orm.Session(database) as session, pytest.raises((pdp.Denied, sa.exc.SQLAlchemyError, AttributeError)):
        act(session)
    ungate(database)
    with orm.Session(database) as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Tag)) == 1


@pytest.mark.parametrize(
    ("statement", "dialect", "touches", "raw"),
    [
        (sa.select(sa.extract("year FROM x) FROM people --", invoices.c.note)), postgresql, "select invoices", True),
        (sa.select(sa.extract("year", invoices.c.note)), postgresql, "select invoices", False),
        (sa.select(invoices).with_hint(invoices, "USE INDEX (x) JOIN people"), mysql, "select invoices", True),
        (sa.select(invoices).with_hint(invoices, "x"), oracle, "select invoices", True),
        (sa.update(tags).values(name="x").with_hint("x"), mssql, "update tags", True),
        (sa.select(sa.delete(tags).returning(tags.c.id).cte().c.id), postgresql, "delete tags, select tags", False),
        (sa.select(people.lateral()), postgresql, "select people", False),
        (sa.delete(tags).where(tags.c.id == people.c.id), postgresql, "delete tags, select people", False),
        (mysql.insert(tags).values(id=1).on_duplicate_key_update(name=changed), mysql,
         "insert tags, select people, update tags", False),
        (sa.select(sa.cast(people.c.name, sa.Numeric(3, 1)), sa.cast(people.c.id, sa.ARRAY(sa.String(9)))), postgresql,
         "select people", False),
        (sa.select(people.c.name.collate("x) UNION SELECT 1 --")), mysql, "select people", True),
        (sa.select(people.c.name.collate("utf8mb4_bin")), mysql, "select people", False),
    ],
)  # fmt: skip
def test_other_dialects_are_read_by_their_own_compilers(statement: Any, dialect: Any, touches: str, raw: bool) -> None:
    found = read(statement.compile(dialect=dialect.dialect()))
    assert found is not None
    assert (", ".join(sorted(f"{kind} {key[1]}" for key, kind in found.touches)), bool(found.raw)) == (touches, raw)


def test_what_compiles_differently_is_not_known() -> None:
    compiled: Any = plain.compile()
    assert read(compiled) is not None
    compiled.string += " UNION SELECT 1"
    assert read(compiled) is None


def test_the_switches_let_pass_what_they_name(database: sa.Engine, engine: pdp.Engine) -> None:
    gate(database, engine, subject=lambda _: BOB, resource=RESOURCE, allow_raw_sql=True, functions=["Load_Extension"])
    with database.connect() as connection:
        assert connection.execute(sa.text("SELECT name FROM people")).scalar() == "p"
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        for statement in (sa.select(people).where(sa.text("1")), sa.insert(tags).prefix_with("OR REPLACE").values(id=1)):
            with pytest.raises(pdp.Denied):  # what can be read of it is still decided
                connection.execute(statement)
        with pytest.raises(pdp.Denied, match="ddl"):
            connection.execute(sa.DDL("DROP TABLE people"))
    ungate(database)
    gate(database, engine, subject=lambda _: BOB, resource=RESOURCE, allow_ddl=True)
    with database.connect() as connection:
        connection.execute(sa.schema.DropTable(links))
        with pytest.raises(pdp.Denied, match="raw_sql"):
            connection.execute(sa.text("SELECT 1"))


def test_a_cached_statement_is_decided_for_each_subject(database: sa.Engine, engine: pdp.Engine) -> None:
    who: list[Subject | None] = [ADA]
    with database.connect() as connection:
        connection.execute(plain)  # compiled before there was a gate
    gate(database, engine, subject=lambda _: who[0], resource=RESOURCE)
    with database.connect() as connection:
        assert connection.execute(plain).scalar() == "p"
        for subject, words in ((BOB, "personal"), (None, "no_subject")):
            who[0] = subject
            with pytest.raises(pdp.Denied, match=words):
                connection.execute(plain)
        who[0] = ADA
        assert connection.execute(plain).scalar() == "p"


@pytest.mark.parametrize("gives", ["ada", True, {"user": "ada"}])
def test_a_subject_is_a_subject(database: sa.Engine, engine: pdp.Engine, gives: Any) -> None:
    gate(database, engine, subject=lambda _: gives, resource=RESOURCE)
    with database.connect() as connection, pytest.raises(pdp.PdpError, match="expected a Subject"):
        connection.execute(plain)


def test_subject_can_stand_on_the_connection(database: sa.Engine, engine: pdp.Engine) -> None:
    gate(database, engine, subject=lambda c: c.get_execution_options().get("subject"), resource=RESOURCE)
    with orm.Session(database) as session:
        session.connection(execution_options={"subject": ADA})
        assert session.scalar(plain) == "p"


def test_schemas_are_those_that_are_sent(database: sa.Engine, engine: pdp.Engine) -> None:
    """A translation of schemas would send a statement about one table to another."""
    gate(database, engine, subject=lambda _: ADA, resource=RESOURCE)
    with database.connect() as connection:
        moved = connection.execution_options(schema_translate_map={None: "main"})
        with pytest.raises(pdp.Denied, match=r"select on table main\.people: unknown_table"):
            moved.execute(plain)
    ungate(database)
    gate(database, engine, subject=lambda _: ADA, resource={"main.people": ("Table", "people")})
    with database.connect() as connection:
        moved = connection.execution_options(schema_translate_map={None: "main"})
        assert moved.execute(plain).scalar() == "p"


def test_names_and_columns_are_told(database: sa.Engine, engine: pdp.Engine) -> None:
    stand, seen = Recorded(engine), []

    def context(touch: Touch) -> dict[str, Any]:
        seen.append((touch.kind, touch.table, set(touch.columns)))
        return {"columns": sorted(touch.columns)}

    gate(
        database,
        stand,
        subject=lambda _: ADA,
        resource=lambda name: ("Table", name.upper()),
        actions={"select": "read"},
        context=context,
    )
    with database.connect() as connection:
        connection.execute(sa.select(i.c.id).join(people, people.c.id == i.c.person_id).where(people.c.name == "p"))
        assert seen == [("select", "invoices", {"id", "person_id"}), ("select", "people", {"id", "name"})]
        assert [(r.action, r.resource, dict(r.context)) for r in stand.asked] == [
            ("read", ("Table", "INVOICES"), {"columns": ("id", "person_id")}),
            ("read", ("Table", "PEOPLE"), {"columns": ("id", "name")}),
        ]
        for statement, columns in (
            (sa.select(sa.func.count()).select_from(people), set()),
            (sa.select(sa.literal_column("*")).select_from(people), {"id", "name"}),
            (sa.select(sa.select(people).subquery().c.id), {"id", "name"}),
            (sa.update(people).values(name="x").where(people.c.id == 2), {"id"}),
            (sa.insert(people).values(name="x").returning(people.c.id), {"id"}),
        ):
            seen.clear()
            connection.execute(statement)
            assert columns <= seen[0][2] <= columns | {"name"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"actions": {"read": "select"}}, "no kind of statement"),
        ({"functions": "lower"}, "collection"),
    ],
)
def test_refuses_what_says_nothing(database: sa.Engine, engine: pdp.Engine, options: Any, words: str) -> None:
    with pytest.raises(pdp.PdpError, match=words):
        gate(database, engine, subject=lambda _: ADA, resource=RESOURCE, **options)


def test_gate_and_ungate(database: sa.Engine, engine: pdp.Engine) -> None:
    with pytest.raises(pdp.PdpError, match="not gated"):
        ungate(database)
    with pytest.raises(pdp.PdpError, match="expected an SQLAlchemy Engine"):
        gate(orm.Session(database), engine, subject=lambda _: ADA, resource=RESOURCE)
    gate(SimpleNamespace(sync_engine=database), engine, subject=lambda _: BOB, resource=RESOURCE)  # as an AsyncEngine has
    with pytest.raises(pdp.PdpError, match="gated already"):
        gate(database, engine, subject=lambda _: ADA, resource=RESOURCE)
    with database.connect() as connection, pytest.raises(pdp.Denied):
        connection.execute(plain)
    ungate(database)
    with database.connect() as connection:
        assert connection.execute(plain).scalar() == "p"


def test_a_first_connection_may_ask_the_server_what_it_is(engine: pdp.Engine) -> None:
    """Dialects do so in raw SQL, which nobody else may send."""
    made = sa.create_engine("sqlite://")
    asked: list[Any] = []

    def initialize(connection: sa.Connection) -> None:
        asked.append(connection.exec_driver_sql("SELECT sqlite_version()").scalar())

    made.dialect.initialize = initialize  # type: ignore[method-assign]  # what other dialects do
    gate(made, engine, subject=lambda _: BOB, resource=RESOURCE)
    with made.connect() as connection, pytest.raises(pdp.Denied):
        connection.exec_driver_sql("SELECT sqlite_version()")
    assert len(asked) == 1


def test_async_engine(engine: pdp.Engine) -> None:
    pytest.importorskip("aiosqlite")
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import create_async_engine

    async def run() -> None:
        made = create_async_engine("sqlite+aiosqlite://", poolclass=sa.StaticPool)
        async with made.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        gate(made, engine, subject=lambda _: BOB, resource=RESOURCE)
        async with made.connect() as connection:
            assert (await connection.execute(sa.select(invoices))).all() == []
            with pytest.raises(pdp.Denied, match="select on table people: denied by personal"):
                await connection.execute(plain)
            with pytest.raises(pdp.Denied, match="raw_sql"):
                await connection.exec_driver_sql("SELECT 1")
        ungate(made)
        async with made.connect() as connection:
            await connection.execute(plain)
        await made.dispose()

    asyncio.run(run())


star = sa.literal_column("*")
UNKNOWN = [
    sa.select(sa.column("name")).select_from(people),
    sa.select(people.c.id).order_by(sa.column("name")),
    sa.select(star).select_from(sa.table("people")),
    sa.select(star).select_from(sa.table("people").alias("q")),
    sa.insert(tags).from_select(["name"], sa.select(sa.column("name")).select_from(people)),
]


@pytest.mark.parametrize("statement", [pytest.param(s, id=str(n)) for n, s in enumerate(UNKNOWN)])
def test_columns_that_are_not_known_are_refused_where_they_are_asked_for(
    database: sa.Engine, engine: pdp.Engine, statement: Any
) -> None:
    gate(
        database, engine, subject=lambda _: ADA, resource=RESOURCE, context=lambda touch: {"columns": sorted(touch.columns)}
    )
    with pytest.raises(pdp.Denied, match="unknown_columns"), database.connect() as connection:
        connection.execute(statement)
    ungate(database)
    gate(database, engine, subject=lambda _: ADA, resource=RESOURCE)
    with database.connect() as connection:
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        sa.select(sa.func.count(star).over(), star).select_from(people),
        sa.select(star).select_from(people),
        sa.select(people.table_valued()),
    ],
    ids=["counted-beside", "star", "row"],
)
def test_all_columns_are_read(statement: Any) -> None:
    found = read(statement.compile(dialect=postgresql.dialect()))
    assert found is not None
    assert found.columns[None, "people"] >= {"id", "name"}
    assert all(type(name) is str for name in found.columns[None, "people"])


def test_a_count_reads_no_column() -> None:
    found = read(sa.select(sa.func.count(star)).select_from(people).compile())
    assert found is not None
    assert found.columns.get((None, "people"), frozenset()) == frozenset()


@pytest.mark.parametrize(
    "statement",
    [sa.CreateTableAs(sa.select(people), "copy"), sa.select(people).into("copy"), sa.CreateView(sa.select(people), "seen")],
    ids=["table", "into", "view"],
)
def test_a_change_of_the_schema_that_holds_a_query_is_refused(
    database: sa.Engine, engine: pdp.Engine, statement: Any
) -> None:
    gate(database, engine, subject=lambda _: BOB, resource=RESOURCE, allow_ddl=True)
    with database.connect() as connection:
        with pytest.raises(pdp.Denied, match="ddl"):
            connection.execute(statement)
        with pytest.raises(pdp.Denied, match="raw_sql"):
            connection.execute(sa.DDL("CREATE TABLE copy AS SELECT * FROM people"))
        connection.execute(sa.schema.CreateTable(sa.Table("plain", sa.MetaData(), sa.Column("id", sa.Integer))))
