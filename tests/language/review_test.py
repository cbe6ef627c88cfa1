"""What hostile readers found, each with the smallest policy that showed it. None of it may come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from language import (
    CHECK_STEPS,
    BadValue,
    Bundle,
    Compiler,
    Directory,
    EntityData,
    Inputs,
    Refusal,
    RequestData,
    Source,
    TaskData,
    assemble,
    compile_policies,
)
from language.meaning import Steps
from language.types import CIDR
from language.values import conform
from pdp.engine.cache import DecisionCache
from pdp.engine.ways import through_cache
from tests.language.hostile_test import codes

P = "language 1\nentity User\nentity T\naction read on T\n"
RULE = P + "allow x {{ for User do read on T when {} }}"


def inputs_for(bundle: Bundle, request: RequestData, directory: Directory | None = None, now: int = 10) -> Inputs:
    directory = directory or Directory(bundle.vocabulary)
    return assemble(directory.world, request, now, lambda a, r: bundle.leaves[a, r].footprint)


def request(**told: Any) -> RequestData:
    return RequestData("read", EntityData("T", "t", {}, ()), **{"user": EntityData("User", "u", {}, ()), **told})


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("workload == workload", "unguarded_workload"),
        ("not [workload].is_empty()", "unguarded_workload"),
        ("(any w in [workload]: true)", "unguarded_workload"),
        ("[workload].contains(workload)", "unguarded_workload"),
        ("gate == gate", "bare_root"),
        ("[gate] == [gate]", "bare_root"),
        ("(any l in [location]: l has ip)", "bare_root"),
        ("(any c in [context]: true)", "bare_root"),
        ("context in [context]", "bare_root"),
        ("workload has process and workload.process == workload.process", "bare_root"),
    ],
)
def test_what_may_be_absent_is_no_value(condition: str, code: str) -> None:
    assert codes(RULE.format(condition)) == {code}


def test_a_definition_demands_its_workload() -> None:
    text = P + "define f(w: workload) = w == w\nallow x { for User do read on T when f(workload) }"
    assert codes(text) == {"unguarded_workload"}


def test_an_attribute_cannot_pass_for_a_fact_about_a_type() -> None:
    text = """language 1
entity Admin { a: Int, b: String }
entity User { is: { Admin: Int? }, x: String }
entity T
action read on T
allow x { who anyone do read on T when user is User and user.is has Admin and user.b == "z" }"""
    assert codes(text) == {"unknown_attribute"}


def test_what_a_user_is_does_not_depend_on_a_hash() -> None:
    text = """language 1
entity A { a: Int }
entity B { b: Int }
entity T
action read on T
allow x { who anyone do read on T when user is A and user is B and user.a == 1 }
allow y { who anyone do read on T when user is A or user is B }"""
    assert codes(text) == set()


JOB = """language 1
entity T
action read on T
task job { opened by spiffe://p/ci/** who spiffe://p/w/* may read on T lasts at most 15m }
allow x { who spiffe://p/w/* do read on T during job proof key }"""


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"opener": "evil!!!!!p/ci/x"}, "task_malformed"),
        ({"opener": "spiffe://p/ci//"}, "task_malformed"),
        ({"opener": "spiffe://p/ci/"}, "task_malformed"),
        ({"opener": "spiffe://p/ci"}, "grant_outdated"),
        ({"opener": "spiffe://p/w/a"}, "grant_outdated"),
        ({"holder": "spiffe://p/w/b"}, "task_misheld"),
        ({"holder": "x"}, "task_misheld"),
        ({"depth": -1}, "task_malformed"),
        ({"depth": True}, "task_malformed"),
        ({"kind": "other"}, "grant_outdated"),
        ({"attributes": {"x": 1}}, "grant_outdated"),
        ({"ends": 10}, "task_ended"),
        ({"started": 11}, "task_not_started"),
        ({"state": "ended"}, "task_ended"),
        ({"state": "suspended"}, "task_suspended"),
        ({}, None),
    ],
)
def test_a_task_is_one_thing_away_from_being_accepted(told: dict[str, Any], code: str | None) -> None:
    bundle = compile_policies([Source("j.policy", JOB)])
    task = replace(TaskData("job", "t1", {}, 1, 100, frozenset({"key"}), "spiffe://p/ci/x"), **told)
    asked = request(user=None, workload="spiffe://p/w/a", task=task)
    if code is None:
        assert bundle.decide("read", "T", inputs_for(bundle, asked)).outcome.allowed
        return
    with pytest.raises(Refusal) as caught:
        inputs_for(bundle, asked)
    assert caught.value.code == code


def test_a_task_needs_a_workload() -> None:
    bundle = compile_policies([Source("j.policy", JOB.replace("who spiffe://p/w/* do", "for T do"))])
    task = TaskData("job", "t1", {}, 1, 100, frozenset({"key"}), "spiffe://p/ci/x")
    with pytest.raises(Refusal) as caught:
        inputs_for(bundle, request(user=EntityData("T", "u", {}, ()), task=task))
    assert caught.value.code == "task_misheld"


def test_a_network_that_can_hold_nothing_is_refused() -> None:
    assert codes(RULE.format('location has ip and location.ip in cidr("::ffff:10.0.0.0/104")')) == {"bad_literal"}
    with pytest.raises(BadValue):
        conform("::ffff:10.0.0.0/104", CIDR, "x")


def test_arguments_that_double_are_counted() -> None:
    text = P + "define d0(x: Int) = x\n" + "".join(f"define d{i}(x: Int) = d{i - 1}(x+x)\n" for i in range(1, 31))
    assert codes(text + "allow x { for User do read on T when d30(1) == 2 }") == {"too_costly"}


def test_combinations_are_counted() -> None:
    names = [f"E{i}" for i in range(40)]
    tasks = "".join(
        f"task k{i} {{ opened by spiffe://a/b who spiffe://a/c may a on {', '.join(names)} lasts at most 1m }}\n"
        for i in range(40)
    )
    text = "language 1\n" + "".join(f"entity {n}\n" for n in names) + f"action a on {', '.join(names)}\n" + tasks
    text += f"allow x {{ for {', '.join(names)} do any on any during {', '.join(f'k{i}' for i in range(40))} proof key }}"
    assert codes(text) == {"too_costly"}


def test_types_nest_only_so_deep() -> None:
    assert codes("language 1\nentity T { a: " + "Set<" * 5000 + "Int" + ">" * 5000 + " }") == {"nesting_too_deep"}


def test_types_are_only_so_many() -> None:
    text = "language 1\n" + "".join(f"entity E{i} in E{(i + 1) % 3000}\n" for i in range(3000))
    assert "too_many_elements" in codes(text)


@pytest.mark.parametrize(
    ("deny", "code"),
    [
        ("unless (all c in context.c: c in [\"id\"])", "escapable_deny"),
        ("unless [\"id\"].contains_all(context.c)", "escapable_deny"),
        ("unless context.c.is_empty()", "escapable_deny"),
        ("unless context.c == [\"id\"]", "untrusted_claim"),
        ("unless context.c.contains(\"id\")", "untrusted_claim"),
        ("unless context.c.overlaps([\"id\"])", "untrusted_claim"),
        ("unless (any c in context.c: c == \"id\")", "untrusted_claim"),
        ("when (workload has process and workload.process.kind == shell) == true", "escapable_deny"),
        ("when [true].contains(workload has process)", "escapable_deny"),
        ("when proof.contains(session)", "escapable_deny"),
        ("when (any p in proof: p == session)", "escapable_deny"),
        ("when proof == [key]", "escapable_deny"),
        ("when not proof.is_empty()", "escapable_deny"),
        ("unless proof.contains(session)", ""),
        ("when user is User", ""),  # no allow is left to who leaves the user out
        ("when workload has id and workload.id == spiffe://a/b", "escapable_deny"),
    ],
)  # fmt: skip
def test_no_spelling_of_a_deny_is_escaped(deny: str, code: str) -> None:
    text = "language 1\nentity User\nentity T\naction read on T { c: Set<String> claimed }\n"
    text += f"allow a {{ for User do read on T }}\ndeny d {{ do read on T {deny} }}"
    assert codes(text) == ({code} if code else set())


def test_the_user_is_evidence_where_an_allow_needs_none() -> None:
    deny = "deny d { for User }\n"
    assert codes(P + "allow a { for User do read on T }\n" + deny) == set()
    assert codes(P + "allow a { who spiffe://a/* do read on T }\n" + deny) == {"escapable_deny"}


def test_a_missing_record_does_not_make_every_rule_be_read() -> None:
    rules = "".join(f'allow r{i} {{ for User "u{i}" do read on T when resource.n == {i} }}\n' for i in range(200))
    bundle = compile_policies(
        [Source("w.policy", "language 1\nentity User\nentity T { n: Int }\naction read on T\n" + rules)]
    )
    inputs = inputs_for(bundle, request(user=EntityData("User", "u7", {}, ())))
    result = bundle.decide("read", "T", inputs)
    assert [e.rule for e in result.errors] == ["r7"]
    assert bundle._candidates["read", "T"].find(inputs, Steps(CHECK_STEPS)) == {
        next(i for i, r in enumerate(bundle.program.rules) if r.name == "r7")
    }


def test_a_set_can_be_the_key_of_an_index() -> None:
    rules = "".join(f"allow r{i} {{ for User do read on T when [resource.a, resource.b] == [1, {i}] }}\n" for i in range(6))
    text = "language 1\nentity User\nentity T { a: Int, b: Int }\naction read on T\n" + rules
    bundle = compile_policies([Source("s.policy", text)])
    directory = Directory(bundle.vocabulary)
    directory.upsert([EntityData("T", "t", {"a": 1, "b": 3}, ())])
    inputs = inputs_for(bundle, request(), directory)
    leaf = bundle.leaves["read", "T"]
    assert bundle.outcomes[leaf.function(*leaf.arguments(inputs))].rule == "r3"


def test_rows_and_referred_records_that_change_are_seen_through_the_cache() -> None:
    text = """language 1
entity Org { open: Bool }
entity User
entity T { org: Org }
relation reads(User, T)
action read on T
allow by-org { for User do read on T when resource.org.open }
allow by-row { for User do read on T when reads(user, resource) }"""
    bundle = compile_policies([Source("c.policy", text)])
    directory, cache = Directory(bundle.vocabulary), DecisionCache()
    directory.upsert([EntityData("Org", "o", {"open": True}, ()), EntityData("T", "t", {"org": ["Org", "o"]}, ())])

    def ask() -> str | None:
        return through_cache(
            cache, bundle, bundle.leaves["read", "T"], inputs_for(bundle, request(), directory)
        ).outcome.rule

    from language import RowData

    assert ask() == "by-org"
    directory.upsert([EntityData("Org", "o", {"open": False}, ())])
    assert ask() is None
    directory.put_rows([RowData("reads", (("User", "u"), ("T", "t")))])
    assert ask() == "by-row"


def test_the_same_texts_as_new_objects_compile_again() -> None:
    compiler = Compiler()
    text = RULE.format("true")
    compiler.compile([Source("a.policy", text)])
    again = compiler.compile(
        [Source("a.policy", text), Source("b.policy", "language 1\nallow y { for User do read on T when true }")]
    )
    assert {r.name for r in again.program.rules} == {"x", "y"}


def test_two_timed_rules_in_one_leaf() -> None:
    text = (
        P
        + """allow w { for User do read on T until 2026-01-02T00:00:00Z }
allow v { for User do read on T until 2026-01-03T00:00:00Z }
deny hours { unless now within mon..fri 09:00..17:00 "UTC" }"""
    )
    bundle = compile_policies([Source("t.policy", text)])
    monday = 1_767_603_600_000_000  # 2026-01-05T09:00:00Z
    thursday = 1_767_258_000_000_000  # 2026-01-01T09:00:00Z
    assert bundle.decide("read", "T", inputs_for(bundle, request(), now=monday)).outcome.reason == "default_deny"
    found = bundle.decide("read", "T", inputs_for(bundle, request(), now=thursday))
    assert (found.outcome.rule, found.until, found.bound) == ("v", thursday + 8 * 3_600_000_000, "hours")
