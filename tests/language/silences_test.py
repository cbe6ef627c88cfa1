"""Silences: what they cover, that formatting keeps it, and that one too many is told (finding D5)."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given

from language import Compiler, Source, format_source
from tests.language.generated import compile_world, make_world
from tests.language.laws_test import law, randoms

VOCABULARY = """\
language 1
entity User
entity Doc { n: Int }
action read on Doc
task job { carries n: Int opened by spiffe://a.b/ci who spiffe://a.b/** may read on Doc lasts at most 1h }
"""
BEARER = "who spiffe://a.b/** do read on Doc during job"


def findings(text: str) -> Counter[tuple[str, str]]:
    """Codes and messages of all findings; their places are not compared, since lines are what formatting moves."""
    found = Compiler().check([Source("a.policy", text)])[1]
    return Counter((d.code, re.sub(r"a\.policy:\d+:\d+", "a.policy", d.message)) for d in found)


def codes(text: str) -> list[str]:
    return sorted(code for code, _ in findings(text).elements())


@pytest.mark.parametrize(
    "rule",
    [
        f"allow a {{ {BEARER} when task.n > 1 }} # silence bearer_accepted: why",
        f"# silence bearer_accepted: why\nallow a {{ {BEARER} when task.n > 1 }}",
        f"# silence bearer_accepted: why\n# another comment\n\nallow a {{ {BEARER} when task.n > 1 }}",
        f"allow a {{ # silence bearer_accepted: why\n {BEARER}\n}}",
        f"allow a\n{{\n {BEARER}\n # silence bearer_accepted: why\n}}",
        f'# silence bearer_accepted: why\n@owner("x")\nallow a {{ {BEARER} }}',
        f'@owner("x") # silence bearer_accepted: why\nallow a {{ {BEARER} }}',
        f'@owner("x")\n# silence bearer_accepted: why\nallow a {{ {BEARER} }}',
        f"allow a {{ {BEARER} proof key }}\ndeny d {{ do read when false }} # silence deny_never_matches: why",
        f"allow a {{ {BEARER} proof key }}\n# silence deny_never_matches: why\ndeny d {{ do read when false }}",
        f"allow a {{ {BEARER} proof key }}\ndeny d {{ do read\n when # silence deny_never_matches: why\n false }}",
    ],
)
def test_a_silence_covers_what_it_is_laid_out_with(rule: str) -> None:
    text = VOCABULARY + "allow users { for User do read on Doc }\n" + rule + "\n"
    assert codes(text) == []
    assert codes(format_source(Source("a.policy", text))) == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("allow a {{ {0} proof key }} # silence bearer_accepted: why", None),
        ("# silence redundant_rule: why\nallow a {{ {0} }}", "bearer_accepted"),
        ("allow a {{ {0} }}\n# silence bearer_accepted: why", "bearer_accepted"),  # below: it is about what comes next
        (
            "allow a {{\n who spiffe://a.b/** # silence bearer_accepted: why\n do read on Doc during job\n}}",
            "bearer_accepted",
        ),
    ],
)
def test_a_silence_that_silences_nothing_is_a_finding(rule: str, code: str | None) -> None:
    text = VOCABULARY + "allow users { for User do read on Doc }\n" + rule.format(BEARER) + "\n"
    expected = sorted({"unused_silence", code} - {None})  # type: ignore[type-var]  # None has just been taken out
    assert codes(text) == expected
    assert codes(format_source(Source("a.policy", text))) == expected


def test_a_silence_is_not_called_unused_while_errors_keep_warnings_from_being_looked_for() -> None:
    text = VOCABULARY + "# silence unused_declaration: why\nentity Other\nallow a { for User do read on Nothing }\n"
    assert "unused_silence" not in codes(text)


def test_two_rules_say_the_same_however_they_are_laid_out() -> None:
    """A brother of D5: `redundant_rule` compared the text, so that formatting a file made one appear."""
    text = VOCABULARY + "allow a { for User do read on Doc when resource.n==1 }\n"
    text += "allow b { for User do read on Doc when (resource.n == 1) }\n"
    assert "redundant_rule" in codes(text)
    assert findings(text) == findings(format_source(Source("a.policy", text)))


@law
@given(randoms)
def test_formatting_a_file_changes_none_of_its_findings(random: Random) -> None:
    """Comments and silences anywhere between two words, rules on one line or on many."""
    (source,) = compile_world(make_world(random).text()).sources
    text = "\n".join(_on_one_line(part, random) for part in source.text.split("\n\n"))
    known = [code for code, _ in findings(text)] or ["bearer_accepted"]
    for _ in range(random.randint(1, 8)):
        text = _with_comment(text, random, known)
    formatted = format_source(Source("a.policy", text))
    assert findings(formatted) == findings(text)


def _on_one_line(statement: str, random: Random) -> str:
    return statement.replace("\n", " ") + "\n" if random.random() < 0.5 else statement


def _with_comment(text: str, random: Random, known: list[str]) -> str:
    """A comment where there is white space, or at the end of a line, or a line of its own."""
    code = random.choice([*known, *known, "redundant_rule", "mixed_script"])
    comment = random.choice([f"# silence {code}: why", f"# silence {code}: why", "# plain", "# of tw\u043e scripts"])
    places = [m.start() for m in re.finditer(r'"[^"\n]*"|#.*|(?P<space>\s)', text) if m["space"]]
    at = random.choice(places)
    return f"{text[:at]} {comment}\n{text[at:]}"
