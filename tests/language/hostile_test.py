"""Any bytes as a policy file end in coded diagnostics: never a traceback, never a hang, never much memory."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from language import CODES, Compiler, Diagnostic, PolicyErrors, Source, compile_policies, render
from pdp.store.files import read_sources
from tests.language.generated import make_world

CASES = int(os.environ.get("PDP_TEST_CASES", "200"))
# ruff: noqa: E501  # the table of mistakes is read a row a line
fuzz = settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
ROOT = Path(__file__).resolve().parents[2]
SEEDS = [p.read_text("utf-8") for p in sorted((ROOT / "policies").rglob("*.policy"))]


def diagnose(text: str) -> tuple[Diagnostic, ...]:
    """What is said about a text; rendering it is part of the promise."""
    _, diagnostics = Compiler().check([Source("x.policy", text)])
    for diagnostic in diagnostics:
        assert diagnostic.code in CODES
        assert render(diagnostic).isprintable() or "\n" in render(diagnostic)
        diagnostic.as_json()
    if not any(d.is_error for d in diagnostics):
        compile_policies([Source("x.policy", text)])
    return diagnostics


def codes(text: str) -> set[str]:
    return {d.code for d in diagnose(text) if d.is_error}


BASE = """language 1
entity Team in Team
entity User in Team { level: Int }
entity Doc in Doc { owner: User, tags: Set<String>, note: String? }
action read on Doc { n: Int? claimed, s: Set<Int>? claimed }
"""


def rule(clauses: str, effect: str = "allow", head: str = "for User\n do read\n on Doc\n") -> str:
    return f"{BASE}{effect} r {{\n{head} {clauses}\n}}\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("allow \x00 {}", "forbidden_character"),
        ("# \u202e hidden", "forbidden_character"),
        ("# zero\u200bwidth", "forbidden_character"),
        ('define a() = "\ud800"', "forbidden_character"),
        ("x" * 70_000, "line_too_long"),
        ("a " * 5_000_000, "file_too_large"),
        ("# x\n" * 1_000_000, "file_too_large"),
        ("entity T { " + "a: Int,\n" * 60_000 + "}", "statement_too_large"),
        ("(" * 100_000, "line_too_long"),
        ("(\n" * 1000, "nesting_too_deep"),
        (rule("when " + "(" * 63 + "true" + ")" * 63), ""),
        (rule("when " + "not " * 200 + "true"), "nesting_too_deep"),
        (rule("when " + "- " * 200 + "1 == 1"), "nesting_too_deep"),
        (rule("when user" + ".level" * 200 + " == 1"), "nesting_too_deep"),
        (rule("when " + " + ".join(["1"] * 500) + " == 1"), "nesting_too_deep"),
        (rule("when 1 in [" + ", ".join(["1"] * 1001) + "]"), "too_many_elements"),
        (rule("when " + " or ".join(["true"] * 5000)), ""),
        ('test "a', "unterminated_string"),
        ('define a() = "\\q"', "bad_literal"),
        ('define a() = "\\u{110000}"', "bad_literal"),
        ('define a() = "\\u{d800}"', "bad_literal"),
        ("define a() = 9223372036854775808", "bad_literal"),
        ("define a() = -9223372036854775808", ""),
        ("define a() = 99999999999999999999999999999", "bad_literal"),
        ("define a() = 007", "bad_literal"),
        ("define a() = 1.5", "bad_number"),
        ("define a() = 15min", "bad_number"),
        ("define a() = 1_000", "bad_number"),
        ("define a() = 2026-13-01T00:00:00Z", "bad_literal"),
        ("define a() = 2026-02-30T00:00:00Z", "bad_literal"),
        ("define a() = 9999-12-31T23:59:59-23:00", "bad_literal"),
        ("define a() = 99999999999999999w", "bad_literal"),
        ("define é() = 1", "non_ascii_name"),
        ("language 2", "unknown_language"),
        ("@owner", "dangling_annotation"),
        ("entity", "unexpected_end"),
        ("allow x {\n who anyone", "unexpected_end"),
        ("allow x { when a == 'b' }", "unexpected_character"),
        ("entiti T", "unexpected_word"),
        ("entity String", "reserved_name"),
        ("entity user", "reserved_name"),
        ("enum E { a, a }", "duplicate_declaration"),
        ("enum E {}", "empty_enum"),
        ("entity A\nentity A", "duplicate_declaration"),
        ("entity A { x: Float }", "unknown_name"),
        ("entity A { x: Set<Set<Int>> }", "bad_type"),
        ("entity A { x: Map<String, Int> }", "bad_type"),
        ("entity A { x: Int claimed }", "field_source"),
        ("entity A in B", "unknown_name"),
        ("action a on A", "unknown_name"),
        ("entity A\naction a on A\naction g = g", "cyclic_group"),
        ("entity A\naction a on A\naction g = h\naction h = g", "cyclic_group"),
        ("define f() = g()\ndefine g() = f()", "recursive_definition"),
        ("define f() = f()", "recursive_definition"),
        ("define f(x: Int) = resource == 1", "unknown_name"),
        (rule("when user.lvel == 1"), "unknown_attribute"),
        (rule("when usr.level == 1"), "unknown_name"),
        (rule("when user.level == true"), "type_mismatch"),
        (rule('when user.level == "1"'), "type_mismatch"),
        (rule("when user.level"), "type_mismatch"),
        (rule("when user.level == 1\n when true"), "duplicate_clause"),
        (rule("when resource.note == \"x\""), "unguarded_optional"),
        (rule("when not (resource has note) and resource.note == \"x\""), "unguarded_optional"),
        (rule("when resource has note and resource.note == \"x\""), ""),
        (rule("when not (resource has note) or resource.note == \"x\""), ""),
        (rule("unless not (resource has note)\n until 2026-01-01T00:00:00Z"), ""),
        (rule("when task.tenant == \"x\""), "unguarded_task"),
        (rule("when workload has process and workload.process.kind == service"), ""),
        (rule("when workload.process.kind == service"), "unguarded_optional"),
        (rule("when gate.id == spiffe://a/b"), "unguarded_gate"),
        (rule("when gate has id and gate.id == spiffe://a/b"), ""),
        (rule("when now == 2026-01-01T00:00:00Z"), "clock_form"),
        (rule("when now > 2026-01-01T00:00:00Z"), "clock_form"),
        (rule("when now + 1m < 2026-01-01T00:00:00Z"), "clock_form"),
        (rule("when now < now"), "clock_form"),
        (rule("when (now < 2026-01-01T00:00:00Z) in [true]"), "clock_value"),
        (rule("when (now < 2026-01-01T00:00:00Z) == true"), ""),
        (rule('when now within mon..fri 09:00..17:00 "Mars/Olympus"'), "unknown_zone"),
        (rule('when now within mon..fri 17:00..09:00 "UTC"'), "bad_window"),
        (rule('when now within mon..fri 09:60..17:00 "UTC"'), "bad_literal"),
        (rule("when user in Doc \"x\""), "never_below"),
        (rule("when resource.owner in [1]"), "type_mismatch"),
        (rule("when \"a\" in \"abc\""), "type_mismatch"),
        (rule("when resource.tags.contans(\"x\")"), "unknown_method"),
        (rule("when resource.tags.contains(1)"), "type_mismatch"),
        (rule("when resource.tags.contains()"), "wrong_arguments"),
        (rule("when nothing(1)"), "unknown_name"),
        (rule("when ip(\"010.0.0.1\") in cidr(\"10.0.0.0/8\")"), "bad_literal"),
        (rule("when ip(\"10.0.0.1\") in cidr(\"10.0.0.1/8\")"), "bad_literal"),
        (rule("when context has n and context.n == 1"), "untrusted_claim"),
        (rule("when context has n and context.n == 1\n trusting context.n"), ""),
        (rule("trusting context.n"), "needless_trust"),
        (rule("when (any a in [1]: (any b in [1]: (any c in [1]: a == b)))"), "nesting_too_deep"),
        (rule("proof keys"), "unknown_proof"),
        (rule("during nothing"), "unknown_name"),
        (rule("", head="do read\n on Doc\n"), "missing_clause"),
        (rule("", head="for User\n do read\n"), "missing_clause"),
        (rule("", head="for User\n do write\n on Doc\n"), "unknown_action"),
        (rule("", head="for User\n do read\n on User\n"), "action_not_on_type"),
        (rule("", head="who spiffe://Acme/x\n do read\n on Doc\n"), "bad_spiffe_pattern"),
        (rule("", head="who spiffe://acme/a/**/b\n do read\n on Doc\n"), "bad_spiffe_pattern"),
        (rule("", head="who spiffe://*/a\n do read\n on Doc\n"), "bad_spiffe_pattern"),
        (rule("when location has ip and location.ip in cidr(\"10.0.0.0/8\")", head="who anyone\n do read\n on Doc\n"), "location_alone"),
        (BASE + "deny d { when resource has note }\n", "escapable_deny"),
        (BASE + "deny d { unless resource has note }\n", ""),
        (BASE + "@escapable\ndeny d { when resource has note }\n", "escapable_without_reason"),
        (BASE + '@escapable("a comment is no secret")\ndeny d { when resource has note }\n', ""),
        (BASE + "deny d { when context has s and context.s.contains(1) }\n", "escapable_deny"),
        (BASE + "deny d { when resource.owner.level > 1\n trusting context.n }\n", "needless_trust"),
        (rule("") + "allow r { for User\n do read\n on Doc\n when false }\n", "duplicate_rule"),
        ('test "t" { }', "test_without_check"),
        (BASE + 'test "t" { at 0s read on Dok "x"\n at 0s read on Doc "x" }', "action_not_on_type"),
        (BASE + 'test "t" { given Doc "x" { ownr: User "a", owner: User "a", tags: [] } at 0s read on Doc "x" }', "unknown_attribute"),
        (BASE + 'test "t" { given Doc "x" { tags: [] } at 0s read on Doc "x" }', "missing_field"),
        (BASE + 'test "t" { at 1m read on Doc "x"\n at 0s read on Doc "x" }', "time_goes_back"),
        (BASE + 'test "t" { at 0s read on Doc "x" allow by nobody }', "unknown_rule"),
        ('entity A\naction a on A\nroutes http "H.example" { GET /x -> a on A("x") }', "bad_route"),
        ('entity A\naction a on A\nroutes http "h" { GET /x/../y -> a on A("x") }', "bad_route"),
        ('entity A\naction a on A\nroutes http "h" { CONNECT /pub/{id} -> a on A(path.id) }', "bad_route"),
        ('entity A\naction a on A\nroutes http "h" { GET /{a} -> a on A(path.b) }', "unknown_name"),
        ('entity A\naction a on A\nroutes http "h" { GET /{a} -> a on A(path.a)\n GET /{b} -> a on A(path.b) }', "overlapping_routes"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_code(text: str, code: str) -> None:
    """One mistake, one code; an empty code is the twin that is right."""
    found = codes(text)
    assert found == ({code} if code else set())


def test_all_errors_of_all_files_at_once() -> None:
    sources = [
        Source("a.policy", BASE + rule("when user.x")[len(BASE) :]),
        Source("b.policy", "entity E { y: Nothing }\nallow ("),
    ]
    with pytest.raises(PolicyErrors) as caught:
        compile_policies(sources)
    found = [(d.span.source.path if d.span else None, d.code) for d in caught.value.diagnostics if d.is_error]
    assert found == [("a.policy", "unknown_attribute"), ("b.policy", "unknown_name"), ("b.policy", "unexpected_word")]


def test_a_mistake_in_each_clause_is_told_in_one_run() -> None:
    text = rule("when user.level = 1\n unless resource.tag.is_empty()\n until 5mins\n because nothing")
    assert codes(text) == {"unexpected_word", "bad_number", "unexpected_character"} or len(diagnose(text)) >= 3


@pytest.mark.parametrize("content", [b"\xff\xfe", b"allow \xc0\xaf", b"\x80" * 100, b"\xed\xa0\x80"])
def test_what_is_not_utf8_is_said_to_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.policy").write_bytes(content)
    with pytest.raises(PolicyErrors) as caught:
        read_sources([tmp_path / "x.policy"])
    assert [d.code for d in caught.value.diagnostics] == ["bad_encoding"]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 3_000_000,
        "[" + "1,\n" * 1_000_000,
        "allow x {\n when a\n" + " or a\n" * 400_000 + "}",
        "entity A\n" * 300_000,
        '"' * 3_000_000,
        "#" * 60_000 + "\n" + "{\n" * 1_000_000,
        "".join(f"define d{i}() = d{i + 1}() and d{i + 1}()\n" for i in range(30)) + "define d30() = true\n"
        + rule("when d0()"),
        BASE + "define big(x: Int) = " + " and ".join(["x == 1"] * 1200) + "\n"
        + "".join(f"allow r{i} {{ for User do read on Doc when big(1) }}\n" for i in range(19_000)),
    ],
    ids=["word", "set", "or", "statements", "quotes", "braces", "doubling definitions", "a large definition"],
)  # fmt: skip
def test_large_nonsense_costs_little(text: str) -> None:
    """In a process of its own, with 500 MiB of memory and 20 s of processor time, beyond which the kernel ends it."""
    script = (
        "import resource, sys\n"
        "from language import PolicyErrors, Source, compile_policies\n"
        "resource.setrlimit(resource.RLIMIT_AS, (500 * 2**20, 500 * 2**20))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "try:\n    compile_policies([Source('x.policy', sys.stdin.read())])\n"
        "except PolicyErrors as errors:\n    print(len(errors.diagnostics))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], input=text, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr[-500:]
    assert int(run.stdout) > 0


def test_a_literal_or_a_name_never_becomes_code() -> None:
    """K81, K82: constants are constants, and names of a policy are not names in Python."""
    evil = '"); __import__(\\"os\\").system(\\"true\\") #'
    text = f"""language 1
entity __class__ {{ f_globals: String, __builtins__: Int, lambda: Bool }}
entity User
action import on __class__
allow exec {{
  for User
  do import
  on __class__ {evil}"
  when resource.f_globals == {evil}" and resource.__builtins__ == 1 and resource.lambda
}}"""
    bundle = compile_policies([Source("evil.policy", text)])
    leaf = bundle.leaves["import", "__class__"]
    module = ast.parse(leaf.show_python())
    names = {n.id for n in ast.walk(module) if isinstance(n, ast.Name)}
    assert names <= {"resource", "resource_id", "user_type", "MissingRecord"}
    calls = [n for n in ast.walk(module) if isinstance(n, ast.Call)]
    assert all(isinstance(c.func, ast.Name) and c.func.id == "MissingRecord" for c in calls)
    assert leaf.function.__globals__["__builtins__"] == {}


@fuzz
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    diagnose(text)


WORDS = [
    *[
        "allow",
        "deny",
        "r",
        "who",
        "for",
        "on",
        "do",
        "any",
        "all",
        "during",
        "proof",
        "when",
        "unless",
        "from",
        "until",
        "trusting",
        "because",
        "entity",
        "User",
        "Doc",
        "action",
    ],
    *[
        "read",
        "task",
        "define",
        "enum",
        "relation",
        "routes",
        "http",
        "tcp",
        "test",
        "given",
        "at",
        "in",
        "not",
        "and",
        "or",
        "has",
        "is",
        "now",
        "within",
        "language",
        "package",
    ],
    *[
        "spiffe://a/b/**",
        "spiffe://a",
        '"x"',
        "1",
        "15m",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "=",
        "==",
        "<",
        ">=",
        "+",
        "-",
        "->",
        "..",
        "?",
        ".",
        "#",
        "@x",
        "09:00",
        "mon",
    ],
    *["2026-01-01T00:00:00Z", "resource", "user", "task", "workload", "context"],
]


@fuzz
@given(st.lists(st.sampled_from([*WORDS, "\n"]), max_size=60).map(" ".join))
def test_any_words(text: str) -> None:
    diagnose(BASE + text)


@fuzz
@given(st.integers(0, 2**63).map(Random))
def test_damaged_policies(random: Random) -> None:
    """Real policies with pieces cut out, doubled, swapped and overwritten."""
    text = random.choice([*SEEDS, make_world(random).text()])
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(text))
        end = min(len(text), start + random.randint(0, 20))
        other = random.randrange(len(text))
        piece = random.choice(
            ["", text[start:end] * 2, text[other : other + 15], random.choice(WORDS), "\x00", "é", '"', "\n"]
        )
        text = text[:start] + piece + text[end:]
    diagnose(text)


def test_one_compiler_used_again_is_not_fooled_by_what_it_remembers() -> None:
    compiler = Compiler()
    first = compiler.compile([Source("a.policy", rule("when user.level == 1"))])
    second = compiler.compile([Source("a.policy", rule("when user.level == 2"))])
    assert first.digest != second.digest
    with pytest.raises(PolicyErrors):
        compiler.compile([Source("a.policy", rule("when user.level == 2").replace("level: Int", "level: String"))])
