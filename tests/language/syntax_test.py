"""Reading and laying out policy text."""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from language import Source, format_source
from language.syntax import parse as parsing
from language.syntax.build import Build
from language.syntax.literals import format_duration, format_instant, parse_duration, parse_instant, quote, unquote
from language.syntax.parse import make_parser, parse
from language.syntax.reductions import current_diagnostics, current_source
from tests.language.generated import make_world

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "policies").rglob("*.policy"))


def test_the_stored_tables_are_the_grammar() -> None:
    """A parser made afresh from the grammar reads every policy as the stored one does."""
    fresh = make_parser(transformer=Build())
    texts = [p.read_text("utf-8") for p in SHIPPED] + [make_world(Random(n)).text() for n in range(20)]
    for text in texts:
        source = Source("x.policy", text)
        current_source.set(source)
        current_diagnostics.set([])
        assert parsing._parse_text(source, text, []) == fresh.parse(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_policies_are_canonical(path: Path) -> None:
    text = path.read_text("utf-8")
    assert format_source(Source(path.name, text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("resource   island", None),
        ("define f(a:Int,b:Int)=a==b and(not(b==a))or(a)<b", "define f(a: Int, b: Int) = a == b and not (b == a) or a < b\n"),
        ("define f() = ((true))", "define f() = true\n"),
        ("define f() = not not true", "define f() = not (not true)\n"),
        ("define f() = 1-(2-3)==1-2-3", "define f() = 1 - (2 - 3) == 1 - 2 - 3\n"),
        ("define f() = -(5) == - -5", "define f() = -5 == -(-5)\n"),
        ("define f() = (any x in [1,2]:x==1)", "define f() = (any x in [1, 2]: x == 1)\n"),
        ("define f() = (true or false) and true", "define f() = (true or false) and true\n"),
        ('define f() = "a\\u{202e}\\n\\"" == "é"', 'define f() = "a\\u{202e}\\n\\"" == "é"\n'),
        ("enum E{a,b,}", "enum E { a, b }\n"),
        ("entity T in A,B claimed{x:Int?,}", "entity T in A, B claimed { x: Int? }\n"),
        ("entity T {\n a: Int\n}", "entity T {\n  a: Int,\n}\n"),
        ("entity T { # open\na: Int, # about a\nb: Int # about b\n# last\n}", None),
        ("# only a comment", "# only a comment\n"),
        ("", ""),
        ("\n\n# a\n\n\n# b\nenum E { a } # c\n", "# a\n\n# b\nenum E { a }  # c\n"),
        ("allow r { # head\n who anyone # who\n # before do\n do any\n\n\n on any # on\n # end\n} # after\n", None),
        ("define f() = true and # one\n true # two\n", None),
        ("task t { who anyone opened by holder may a on T lasts at most 90m approved by 2 of T \"x\" }", None),
        ("routes http \"h\" { GET /a/{b} -> a on T(path.b) { c: query.d } }", None),
        ("test \"t\" for x in [1,\"a\"] { given now 2026-01-01T00:00:00+01:00 at 0s a on T x allow until 1h by a.b }", None),
        ("test \"t\" { given T \"x\" { m: { \"a b\": \"c\" }, s: [{ a: 1 }] } at 1m remove r(T \"x\") at 1m remove T \"x\" }", None),
    ],
)  # fmt: skip
def test_the_canonical_form(text: str, canonical: str | None) -> None:
    """Formatting is done after one time, keeps the tree and every comment; some layouts are spelled out here."""
    source = Source("x.policy", text)
    module, found = parse(source)
    if found:
        assert canonical is None
        return
    once = format_source(source)
    again, found = parse(Source("x.policy", once))
    assert not found
    assert again.statements == module.statements
    assert sorted(c.text for c in again.comments) == sorted(c.text for c in module.comments)
    assert format_source(Source("x.policy", once)) == once
    if canonical is not None:
        assert once == canonical


def test_a_comment_behind_a_field_stays_behind_it() -> None:
    text = "entity T {  # open\n  a: Int,  # about a\n  b: String,  # about b\n  # last\n}\n"
    assert format_source(Source("x.policy", text)) == text


@pytest.mark.parametrize("microseconds", [0, 1, 999, 1_000, 90_000_000, 3_600_000_000, 86_400_000_001, 10**15])
def test_durations_are_written_as_they_are_read(microseconds: int) -> None:
    assert parse_duration(format_duration(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31t09:00:00.5z", "2026-01-31T09:00:00.5Z"),
        ("2026-01-31T09:00:00+02:00", "2026-01-31T07:00:00Z"),
        ("1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000001Z"),
        ("9998-12-31T23:59:59.999999Z", "9998-12-31T23:59:59.999999Z"),
    ],
)
def test_instants(text: str, canonical: str) -> None:
    assert format_instant(parse_instant(text)) == canonical


@pytest.mark.parametrize("text", ["", "a", 'a"b\\c', "line\nline\ttab\r", "é\u202e\u200b\x00", "\U0001f512"])
def test_strings_are_quoted_so_that_they_read_back(text: str) -> None:
    assert unquote(quote(text)) == text
    assert quote(text).isprintable()
