"""Rows D and K of the catalogue of faults (and the laws they stand for), each with the answer that it names."""

# ruff: noqa: E501  # tables are read a row a line
from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pdp
from language import (
    Compiler,
    Directory,
    EntityData,
    PolicyErrors,
    RequestData,
    Source,
    assemble,
    clause_coverage,
    compile_policies,
    run_test,
)
from language.testing.run import Coverage

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY = """language 1
entity Team
entity User in Team { level: Int, boss: User, nick: String? }
entity Doc { owner: User, n: Int, secret: Bool }
action read, write on Doc { n: Int? claimed }
"""
DATA = """[
  {"type": "User", "id": "ada", "attributes": {"level": 3, "boss": ["User", "gone"]}, "parents": [["Team", "a"]]},
  {"type": "User", "id": "max", "attributes": {"level": 9223372036854775807, "boss": ["User", "ada"]}},
  {"type": "Doc", "id": "d", "attributes": {"owner": ["User", "ada"], "n": 1, "secret": false}}
]"""
ALLOW = "allow ok { for User\n do read\n on Doc }\n"
ERRS = "user.boss.level > 1"  # ada's boss has no record


def engine(tmp_path: Path, rules: str) -> pdp.Engine:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "p.policy").write_text(VOCABULARY + rules)
    (tmp_path / "data" / "d.json").write_text(DATA)
    return pdp.Engine.load(tmp_path)


def ask(tmp_path: Path, rules: str, **request: Any) -> pdp.Decision:
    told = {"action": "read", "resource": ("Doc", "d"), "user": ("User", "ada"), **request}
    return engine(tmp_path, rules).check(**told)


@pytest.mark.parametrize(
    ("rules", "allowed", "reason", "errors"),
    [
        (f"{ALLOW}deny d {{ unless user is User and not ({ERRS}) }}", False, "error", {"d"}),  # 74
        (f"allow bad {{ for User\n do read\n on Doc\n when {ERRS} }}\n{ALLOW}", True, "allowed", {"bad"}),  # 75
        (f"allow bad {{ for User\n do read\n on Doc\n when {ERRS} }}", False, "error", {"bad"}),
        (f"allow x {{ for User\n do read\n on Doc\n when {ERRS} or true }}", True, "allowed", set()),  # 76
        (f"allow x {{ for User\n do read\n on Doc\n when true or {ERRS} }}", True, "allowed", set()),
        (f"allow x {{ for User\n do read\n on Doc\n when {ERRS} and false }}", False, "default_deny", set()),
        (f"allow x {{ for User\n do read\n on Doc\n when false and {ERRS} }}", False, "default_deny", set()),
        (f"allow x {{ for User\n do read\n on Doc\n when not ({ERRS}) }}", False, "error", {"x"}),  # 77
        (f"allow x {{ for User\n do read\n on Doc\n unless {ERRS} }}", False, "error", {"x"}),
        ("allow x { for User\n do read\n on Doc\n when (all u in [user]: u.level == 3) }", True, "allowed", set()),
        (f"{ALLOW}deny a {{ do read }}\ndeny d {{ unless user is User and not ({ERRS}) }}", False, "denied", {"d"}),
        ("", False, "default_deny", set()),
        ("deny d { do read\n when resource.secret }", False, "default_deny", set()),
    ],
)  # fmt: skip
def test_errors(tmp_path: Path, rules: str, allowed: bool, reason: str, errors: set[str]) -> None:
    """L3: a deny in error denies, an allow in error does not apply, order hides nothing."""
    decision = ask(tmp_path, rules)
    assert (decision.allowed, decision.reason, {e.rule for e in decision.errors}) == (allowed, reason, errors)


def test_overflow_is_an_error_and_never_wraps(tmp_path: Path) -> None:
    rules = "allow x { for User\n do read\n on Doc\n when user.level + 1 > 0 }"
    decision = ask(tmp_path, rules, user=("User", "max"))
    assert (decision.reason, [e.code for e in decision.errors]) == ("error", ["overflow"])
    assert ask(tmp_path, rules).allowed


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"action": "raed"}, "unknown_action"),  # 79
        ({"action": "__class__"}, "unknown_action"),
        ({"resource": ("Dok", "d")}, "unknown_type"),
        ({"resource": ("User", "ada")}, "unknown_action"),
        ({"user": ("Usr", "ada")}, "unknown_type"),
        ({"user": None}, "no_subject"),
        ({"resource": ("Doc", "none")}, "default_deny"),
        ({"user": ("User", "none")}, "default_deny"),
    ],
)
def test_questions_that_policy_does_not_know(tmp_path: Path, request_: dict[str, Any], reason: str) -> None:
    decision = ask(tmp_path, "allow x { for User\n do write\n on Doc }", **request_)
    assert (decision.allowed, decision.reason) == (False, reason)


def test_a_record_that_is_missing_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    """L11, in a clause head too; a rule that does not read it does not care."""
    head = 'allow x { for User in Team "a"\n do read\n on Doc }'
    assert ask(tmp_path, head, user=("User", "none")).errors[0].code == "unknown_entity"
    assert ask(tmp_path, ALLOW, user=("User", "none"), resource=("Doc", "none")).allowed
    deny = f"{ALLOW}deny d {{ do read\n when resource.secret }}"
    assert ask(tmp_path, deny, resource=("Doc", "none")).reason == "error"


@pytest.mark.parametrize(
    "request_",
    [
        {"context": {"n": True}},
        {"context": {"n": 1.0}},
        {"context": {"n": "1"}},
        {"context": {"n": None}},
        {"context": {"m": 1}},
        {"context": []},
        {"resource": "d"},
        {"resource": ("Doc", 1)},
        {"resource": ("Doc", "")},
        {"resource": pdp.Resource("Doc", "d", attributes={"secret": False})},
        {"workload": "ada"},
        {"workload": "spiffe://a/b\n"},
        {"action": 1},
        {"proof": "key"},
        {"proof": ["keys"]},
        {"task": {"kind": "x"}},
        {"now": "yesterday"},
    ],
)
def test_what_is_no_request_is_no_decision(tmp_path: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(pdp.PdpError) as caught:
        ask(tmp_path, ALLOW, **request_)
    assert caught.value.code == "invalid_request"


def test_a_decision_has_no_truth(tmp_path: Path) -> None:
    decision = ask(tmp_path, ALLOW)
    with pytest.raises(TypeError):
        bool(decision)
    assert str(decision) == "allow: allowed by ok"


def test_the_same_rule_twice_means_nothing_and_two_of_one_name_are_refused() -> None:
    """83."""
    bundle = compile_policies([Source("a.policy", VOCABULARY + ALLOW), Source("b.policy", ALLOW)])
    assert [w.code for w in bundle.warnings if w.code == "repeated_rule"] == ["repeated_rule"]
    with pytest.raises(PolicyErrors, match="duplicate_rule"):
        compile_policies([Source("a.policy", VOCABULARY + ALLOW), Source("b.policy", ALLOW.replace("read", "write"))])


def test_a_type_that_is_gone_refuses_the_set() -> None:
    """84."""
    with pytest.raises(PolicyErrors):
        compile_policies([Source("a.policy", VOCABULARY.replace("entity Doc", "entity Dok") + ALLOW)])


COLLIDING = ["true", "false"]


@pytest.mark.parametrize("kind", ["Int", "String", "Bool"])
def test_an_index_neither_over_nor_under_matches(kind: str) -> None:
    """88: constants that collide in Python's hashes, and those that nearly do, through the index and without it."""
    constants = {
        "Int": ["0", "1", "-1", "-2", "2", "9223372036854775807"],
        "String": ['""', '"1"', '"true"', '"Aa"', '"BB"'],
    }
    values = constants.get(kind, COLLIDING * 3)
    text = f"language 1\nentity U\nentity D {{ f: {kind} }}\naction a on D\n"
    text += "".join(
        f'allow r{i} {{ for U "u{i % 2}"\n do a\n on D\n when resource.f == {v} }}\n' for i, v in enumerate(values)
    )
    bundle = compile_policies([Source("i.policy", text)])
    assert bundle.plan.leaves["a", "D"].families[0].index is not None
    for value in values:
        directory = Directory(bundle.vocabulary)
        foreign: Any = {"String": value.strip('"'), "Bool": value == "true"}.get(kind) if kind != "Int" else int(value)
        directory.upsert([EntityData("D", "d", {"f": foreign}, ())])
        for user in ("u0", "u1"):
            request = RequestData("a", EntityData("D", "d", {}, ()), user=EntityData("U", user, {}, ()))
            inputs = assemble(directory.world, request, 1, lambda a, r: bundle.leaves[a, r].footprint)
            answer, result = bundle.explain("a", "D", inputs), bundle.decide("a", "D", inputs)
            assert (result.outcome.allowed, result.outcome.rule in answer.rules or not answer.rules) == (
                answer.allowed,
                True,
            )


def test_forty_predicates_do_not_blow_up() -> None:
    """89."""
    fields = ", ".join(f"f{i}: Bool" for i in range(40))
    rules = "".join(
        f"allow r{i} {{ for U\n do a\n on D\n when {' and '.join(f'resource.f{j} == {str((i >> j % 8) & 1 == 1).lower()}' for j in range(40))} }}\n"
        for i in range(256)
    )
    bundle = compile_policies([Source("x.policy", f"language 1\nentity U\nentity D {{ {fields} }}\naction a on D\n{rules}")])
    assert len(bundle.leaves["a", "D"].show_python()) < 10_000


def test_answers_do_not_depend_on_the_seed_of_hashes() -> None:
    """91: the same bytes from different interpreters."""
    script = (
        "from language import *\nfrom random import Random\n"
        "from tests.language.generated import *\nfrom tests.language.laws_test import questions, answer_of, said\n"
        "for n in range(6):\n    r = Random(n)\n    w = make_world(r)\n    b = compile_world(w.text())\n"
        "    print(b.plan.show())\n"
        "    for leaf in b.leaves.values():\n        print(leaf.show_python())\n"
        "    for q, i, _ in questions(r, w, b):\n"
        "        a = answer_of(b, q, i)\n        print(a.allowed, a.reason, a.rules, a.rule, sorted(e.rule for e in a.errors), a.until)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "77", "4242")
    }
    assert len(outputs) == 1


TESTED = VOCABULARY + ALLOW + 'deny never { do read\n when resource.secret\n because "secret" }\n'


@pytest.mark.parametrize(
    ("steps", "failure"),
    [
        ('at 0s read on Doc "d" allow', None),
        ('at 0s read on Doc "d" allow by ok', None),
        ('at 0s read on Doc "d" allow by never', "expected `never` to apply"),
        ('at 0s read on Doc "d"', "expected deny, found allow"),
        ('at 0s read on Doc "d" deny because default_deny', "expected deny, found allow"),
        ('at 0s write on Doc "d" allow', "expected allow, found deny because default_deny"),
        ('at 0s write on Doc "d" deny because denied', "expected because denied"),
        ('at 0s read on Doc "s" deny because "secret"', None),
        ('at 0s read on Doc "s" deny because "other"', "expected because"),
        ('at 0s read on Doc "d" allow until 5m', "expected until 5m"),
        ('at 0s read on Doc "d" allow\n at 1m remove Doc "d"\n at 1m read on Doc "d" deny because error', None),
        ('at 0s read on Doc "s" deny\n at 1m given Doc "s" { owner: User "ada", n: 1, secret: false }\n at 1m read on Doc "s" allow', None),
    ],
)  # fmt: skip
def test_a_test_fails_when_it_should(steps: str, failure: str | None) -> None:
    """K: the runner itself."""
    text = TESTED + (
        'test "t" {\n given user User "ada" { level: 1, boss: User "ada" }\n'
        ' given Doc "d" { owner: User "ada", n: 1, secret: false }\n'
        f' given Doc "s" {{ owner: User "ada", n: 1, secret: true }}\n {steps}\n}}\n'
    )
    bundle = compile_policies([Source("t.policy", text)])
    result = run_test(bundle, bundle.tests[0])
    assert result.passed == (failure is None), result.failures
    if failure:
        assert failure in result.failures[0].message


def test_a_deny_that_was_never_true_shows_in_the_coverage() -> None:
    """176."""
    text = TESTED + (
        'test "t" {\n given user User "ada" { level: 1, boss: User "ada" }\n'
        ' given Doc "d" { owner: User "ada", n: 1, secret: false }\n at 0s read on Doc "d" allow\n}\n'
    )
    bundle = compile_policies([Source("t.policy", text)])
    coverage = Coverage()
    run_test(bundle, bundle.tests[0], coverage=coverage)
    clauses = {(c.rule, c.clause): (c.seen_true, c.seen_false) for c in clause_coverage(bundle, coverage)}
    assert clauses == {("ok", "for"): (True, False), ("never", "when"): (False, True)}


def test_what_did_not_change_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from language import compile as compiling

    parsed: list[str] = []
    original = compiling.parse
    monkeypatch.setattr(compiling, "parse", lambda source: (parsed.append(source.path), original(source))[1])
    compiler = Compiler()
    files = [Source("v.policy", VOCABULARY), *[Source(f"{i}.policy", ALLOW.replace("ok", f"ok{i}")) for i in range(5)]]
    first = compiler.compile(files)
    files[3] = Source("2.policy", "# moved\n" + ALLOW.replace("ok", "other"))
    second = compiler.compile([Source(f.path, f.text) for f in files])
    assert sorted(parsed) == sorted([f.path for f in files] + ["2.policy"])
    assert first.digest != second.digest
    assert {r.name for r in second.program.rules} == {"ok0", "ok1", "other", "ok3", "ok4"}


def test_an_exception_in_compiled_code_is_located_in_the_policy(tmp_path: Path) -> None:
    """Tracebacks point into the policy, across files and after characters of several bytes."""
    text = "allow é_not { }".replace(
        "é_not { }", 'x {\n  for User # ééé\n  do read\n  on Doc\n  when "é" == "é" and user.boss.level > 1\n}\n'
    )
    bundle = compile_policies([Source("a.policy", VOCABULARY), Source("b.policy", text)])
    leaf = bundle.leaves["read", "Doc"]
    arguments = {"user_type": "User", "user_id": "ada", "user": (1, "ada", frozenset(), 1, "gone", None), "records:User": {}}
    with pytest.raises(KeyError) as caught:
        leaf.function(*[arguments[p] for p in leaf.parameters])
    span = bundle.locate(caught.value)
    assert span is not None
    assert (span.source.path, span.text) == ("b.policy", "user.boss.level")
