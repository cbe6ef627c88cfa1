"""`pdp.guard`: what it asks, when, and what it refuses to decorate."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import pdp
from tests.pdp.sdk.conftest import API

ADA, BOB = ("User", "ada"), ("User", "bob")


def by_name(name: str) -> tuple[str, str]:
    return "User", name


def test_runs_what_is_allowed_and_only_that(engine: pdp.Engine) -> None:
    ran: list[str] = []

    @pdp.guard(engine, action="read", resource=lambda table: ("Table", table), user=lambda who: by_name(who))
    def read(table: str, *, who: str = "bob") -> str:
        """Reads."""
        ran.append(table)
        return table.upper()

    assert read("invoices") == "INVOICES"
    assert read(table="people", who="ada") == "PEOPLE"
    with pytest.raises(pdp.Denied) as denied:
        read("people")
    assert ran == ["invoices", "people"]
    assert denied.value.decision is not None
    assert denied.value.decision.reason == "denied"
    assert str(denied.value) == (f"denied by personal: personal data is not for bob (decision {denied.value.decision.id})")
    assert isinstance(denied.value, PermissionError)
    assert (read.__name__, read.__doc__) == ("read", "Reads.")
    assert list(inspect.signature(read).parameters) == ["table", "who"]


def test_a_denial_survives_another_process(engine: pdp.Engine) -> None:
    denied = pdp.Denied(engine.check(action="read", resource=("Table", "people"), user=BOB), asked="x\ny")
    again = pickle.loads(pickle.dumps(denied))
    assert (str(again), again.decision, again.rule) == (str(denied), denied.decision, "personal")
    assert "\n" not in str(denied)


def test_asks_when_a_coroutine_is_awaited(engine: pdp.Engine) -> None:
    ran: list[str] = []

    @pdp.guard(engine, action="read", resource=lambda t: ("Table", t), user=BOB)
    async def read(t: str) -> str:
        ran.append(t)
        return t

    assert inspect.iscoroutinefunction(read)
    assert asyncio.run(read("invoices")) == "invoices"
    with pytest.raises(pdp.Denied):
        asyncio.run(read("people"))
    assert ran == ["invoices"]


def test_methods_of_every_kind(engine: pdp.Engine) -> None:
    class Desk:
        who = "bob"

        def __init__(self, who: str) -> None:
            self.who = who

        @pdp.guard(engine, action="read", resource=("Table", "people"), user=lambda self: by_name(self.who))
        def read(self) -> str:
            return "read"

        @classmethod
        @pdp.guard(engine, action="read", resource=("Table", "people"), user=lambda cls: by_name(cls.who))
        def of_class(cls) -> str:
            return "read"

        @staticmethod
        @pdp.guard(engine, action="read", resource=("Table", "people"), user=lambda who, /: by_name(who))
        def of_nobody(who: str) -> str:
            return "read"

    assert Desk("ada").read() == Desk.of_nobody("ada") == "read"
    calls: list[Callable[[], str]] = [Desk("bob").read, Desk.of_class, lambda: Desk.of_nobody("bob")]
    for call in calls:
        with pytest.raises(pdp.Denied):
            call()


def test_every_part_of_the_question_is_told(engine: pdp.Engine) -> None:
    task = pdp.Task(
        "close_month", "t1", {"month": "may"}, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", ["key"], holder=API
    )
    asked: list[pdp.Request] = []

    class Recorded:
        def check(self, request: pdp.Request, /) -> pdp.Decision:
            asked.append(request)
            return engine.check(request, now="2026-01-01T00:30:00Z")

    @pdp.guard(
        Recorded(),
        action=lambda verb: verb,
        resource=lambda **all: pdp.Resource("Table", all["rest"]["table"]),
        workload=API,
        task=lambda job: job,
        context=lambda rest: {"columns": rest["columns"]},
        location={"ip": "10.0.0.1"},
        proof=["key"],
    )
    def run(verb: str, job: pdp.Task | None = None, **rest: Any) -> str:
        return verb

    assert run("delete", task, table="invoices", columns=["id"]) == "delete"
    assert asked == [
        pdp.Request(
            "delete",
            pdp.Resource("Table", "invoices"),
            API,
            None,
            task,
            {"columns": ["id"]},
            None,
            {"ip": "10.0.0.1"},
            ["key"],
        )
    ]
    with pytest.raises(pdp.Denied, match="default_deny"):
        run("delete", table="invoices", columns=["id"])


def test_two_guards_must_both_allow(engine: pdp.Engine) -> None:
    def guarded(outer: str, inner: str) -> Callable[[str], str]:
        @pdp.guard(engine, action="read", resource=lambda t: ("Table", t), user=by_name(outer))
        @pdp.guard(engine, action="read", resource=lambda t: ("Table", t), user=by_name(inner))
        def read(t: str) -> str:
            return t

        return read

    assert guarded("ada", "ada")("people") == "people"
    for who in (("ada", "bob"), ("bob", "ada")):
        with pytest.raises(pdp.Denied):
            guarded(*who)("people")


def test_what_is_no_question_is_no_answer(engine: pdp.Engine) -> None:
    ran: list[int] = []

    def attempt(told: object) -> None:
        @pdp.guard(engine, action="read", resource=lambda: told, user=ADA)  # type: ignore[arg-type, return-value]  # the point
        def read() -> None:
            ran.append(1)

        read()

    for told in ("invoices", None, ("Table",), ("Table", 7), asyncio.sleep):
        with pytest.raises(pdp.PdpError, match="invalid_request"):
            attempt(told)
    assert ran == []


@pytest.mark.parametrize("answer", [None, 1, "yes", object()])
def test_only_true_is_a_yes(answer: object) -> None:
    class Odd:
        allowed = answer
        reason, rule, because, id = "odd", None, None, "1"

    class Stand:
        def check(self, request: pdp.Request, /) -> Any:
            return Odd()

    @pdp.guard(Stand(), action="read", resource=("Table", "invoices"))
    def read() -> None:
        raise AssertionError

    with pytest.raises(pdp.Denied):
        read()


def test_an_error_while_telling_stops_the_call(engine: pdp.Engine) -> None:
    @pdp.guard(engine, action="read", resource=lambda t: {"a": ("Table", "invoices")}[t], user=ADA)
    def read(t: str) -> str:
        return t

    assert read("a") == "a"
    with pytest.raises(KeyError):
        read("b")
    with pytest.raises(TypeError):
        read()  # type: ignore[call-arg]  # what the function would say of itself


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def wrapped_with_more(table: str = "invoices") -> Callable[..., Any]:
    """A wrapper that puts an argument before those of its caller, and still names the function beneath."""

    @functools.wraps(wrapped_with_more)
    def wrapper(*args: Any) -> Any:
        return args

    return wrapper


def wrapped_that_tells() -> Any:
    """Says that it takes what it does not pass on."""

    def told(*args: Any) -> Any:
        return args

    told.__signature__ = inspect.signature(lambda table: table)  # type: ignore[attr-defined]
    return told


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (generator, "a generator runs after the answer"),
        (async_generator, "a generator runs after the answer"),
        (type("Desk", (), {}), "it is no function"),
        (classmethod(generator), "it is no function"),
        (staticmethod(generator), "it is no function"),
        (property(generator), "it is no function"),
        (7, "it is no function"),
        (functools.lru_cache(lambda table: table), "directly above `def`"),
        (wrapped_with_more(), "a decorator below"),
        (wrapped_that_tells(), "a decorator below"),
        (functools.wraps(lambda table: table)(lambda *args: args), "a decorator below"),
        (lambda tabel: tabel, "takes `table`, which the function does not have; it has tabel"),
        (lambda: 1, "it has none"),
    ],
)
def test_refuses_to_decorate(engine: pdp.Engine, function: Any, words: str) -> None:
    with pytest.raises(pdp.PdpError, match=words):
        pdp.guard(engine, action="read", resource=lambda table: ("Table", table))(function)


async def coroutine() -> Any:
    return ADA


@pytest.mark.parametrize(
    "told", [coroutine, async_generator, generator, lambda *all: ADA, lambda who="ada": by_name(who), str]
)
def test_refuses_functions_that_cannot_tell(engine: pdp.Engine, told: Any) -> None:
    with pytest.raises(pdp.PdpError, match="guard: "):
        pdp.guard(engine, action="read", resource=("Table", "x"), user=told)(lambda table: table)
