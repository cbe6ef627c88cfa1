"""Claims and what can be left out: which denies and allows lean on them, and that each is told once and truly."""

from __future__ import annotations

import pytest

from language import Compiler, Diagnostic, Source, render

# ruff: noqa: E501  # the table of forms is read a row a line
HEAD = """language 1
entity Folder in Folder
entity User
entity Guest in Folder claimed { level: Int? }
entity Doc in Folder claimed { words: Int }
entity T { note: String? }
action read on T {
  approved: String?, reason: String, urgent: Bool, n: Int, tags: Set<String>, more: Set<String>?, map: Map<String, String>
}
action view on Doc
task job {
  carries memo: String from holder
  opened by spiffe://a.b/ci
  who spiffe://a.b/w
  may read on T
  lasts at most 1h
}
define is_ok(text: String) = text == "ok"
allow users { who spiffe://a.b/** for User do read on T during job proof key }
"""


def errors(text: str) -> list[Diagnostic]:
    return [d for d in Compiler().check([Source("p.policy", HEAD + text)])[1] if d.is_error]


def codes(text: str) -> list[str]:
    return [d.code for d in errors(text)]


def deny(clauses: str, trusting: str = "") -> str:
    return f"deny d {{\n  do read\n  on T\n  {clauses}\n{f'  trusting {trusting}' if trusting else ''}\n}}"


CLAIMS = [
    ("context.reason", ["unless context.reason == \"ok\"", "when not (context.reason == \"ok\")", "when context.reason != \"ok\""]),
    ("context.reason", ["unless is_ok(context.reason)", "when not is_ok(context.reason)", "unless context.reason in [\"ok\"]"]),
    ("context.reason", ["unless [\"ok\"].contains(context.reason)", "when not ([\"ok\"].overlaps([context.reason]))"]),
    ("context.reason", ["unless (any t in [\"ok\"]: t == context.reason)", "when (all t in [\"ok\"]: t != context.reason)"]),
    ("context.reason", ["when context.reason == \"no\"", "unless context.reason != \"no\"", "when not (context.reason != \"no\")"]),
    ("context.urgent", ["unless context.urgent", "when not context.urgent", "when context.urgent == false", "unless context.urgent == true"]),
    ("context.urgent", ["when context.urgent", "unless not context.urgent", "when context.urgent != false"]),
    ("context.n", ["when context.n < 5", "unless context.n >= 5", "when not (5 <= context.n)", "when 5 > context.n"]),
    ("context.n", ["unless resource has note and context.n == 1", "when not (resource has note) or context.n != 1"]),
    (
        "context.approved",
        [
            "unless context has approved and context.approved == \"yes\"",
            "when not (context has approved) or context.approved != \"yes\"",
            "when not (context has approved and is_ok(context.approved))",
            "unless context has approved",
            "unless (context has approved) == true",
            "unless [true].contains(context has approved)",
        ],
    ),
    ("context.tags", ["unless context.tags.contains(\"a\")", "unless (any t in context.tags: t == \"a\")", "unless \"a\" in context.tags"]),
    (
        "context.tags",
        [
            "unless not context.tags.is_empty() and [\"a\"].contains_all(context.tags)",
            "when context.tags.is_empty() or (any t in context.tags: t not in [\"a\"])",
            "unless context.tags.contains(\"a\") and (all t in context.tags: t == \"a\")",
        ],
    ),
    ("context.map", ["unless context.map has \"a\" and context.map[\"a\"] == \"b\"", "when not (context.map has \"a\")"]),
    ("task.memo", ["unless task is job and task.memo == \"ok\"", "when not (task is job) or task.memo != \"ok\""]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "form"), [pytest.param(p, f, id=f) for p, forms in CLAIMS for f in forms])
def test_a_claim_that_lifts_a_deny_is_trusted_however_it_is_written(path: str, form: str) -> None:
    """Finding D2: equal forms get equal verdicts, an error without `trusting` and none with it."""
    (found,) = errors(deny(form))
    assert found.code == "untrusted_claim"
    assert f"`{path}` is only claimed by the caller" in found.message
    assert "by saying something else" in found.message
    assert codes(deny(form, path)) == []
    assert codes('@escapable("a request may say nothing")\n' + deny(form)) == ["untrusted_claim"]
    assert "needless_trust" in codes(deny(form, f"{path}, context.other"))


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ("on Doc unless resource.words < 100", "resource.words"),
        ("on Doc when resource.words >= 100", "resource.words"),
        ('on Doc unless resource in Folder "good"', "resource"),
        ('on Doc when resource not in Folder "good"', "resource"),
    ],
)
def test_a_claimed_entity_lifts_no_deny_unseen(form: str, path: str) -> None:
    """Finding D2: attributes and parents of a type that is `claimed`."""
    allow = "allow guests { for Guest do view on Doc }\n"
    assert codes(allow + f"deny d {{ do view {form} }}") == ["untrusted_claim"]
    assert codes(allow + f"deny d {{ do view {form} trusting {path} }}") == []


@pytest.mark.parametrize(
    "head",
    ['for Guest in Folder "b"', 'when user is Guest and user in Folder "b"', 'when user is Guest and user in [Folder "b"]'],
)
def test_the_parents_of_a_claimed_user_are_not_left_out(head: str) -> None:
    """Finding D3: the path of a claimed user's parents was taken for the user as evidence."""
    allow = "allow guests { for Guest do read on T }\n"
    (found,) = errors(allow + deny(head))
    assert (found.code, found.message) == ("escapable_deny", "`d` is escaped by leaving out the parents of `user`")
    assert codes(allow + '@escapable("why")\n' + deny(head, "user")) == []


def test_the_parents_of_a_claimed_resource_are_not_left_out() -> None:
    assert codes('deny d { do view on Doc in Folder "b" }') == ["escapable_deny"]
    assert codes('deny d { do view on Doc when resource in Folder "b" }') == ["escapable_deny"]


ALLOWS = [
    ("for User do read on T", True),
    ("who anyone do read on T", True),
    ("for User do read on T when resource has note or workload has id", True),
    ("for User do read on T when not (workload has id) or workload.id in spiffe://a.b/*", True),
    ("for User do read on T during job proof key", False),  # a task belongs to a workload
    ("for User do read on T when workload has id", False),
    ("for User do read on T when workload has process and workload.process.kind == service", False),
    ("for User do read on T unless not (workload has id)", False),
    ("who spiffe://a.b/** do read on T", False),
    ("for Guest do view on Doc", False),  # of another action
]


@pytest.mark.parametrize(("allow", "escapes"), ALLOWS)
@pytest.mark.parametrize("form", ["who spiffe://x.y/bad", "when workload has id and workload.id in spiffe://x.y/bad"])
def test_a_deny_on_a_workload_is_not_escaped_without_one(allow: str, escapes: bool, form: str) -> None:
    """Finding D4: exactly where an allow can apply to a check without a workload."""
    found = errors(f"allow p {{ {allow} }}\n" + deny(form))
    assert [d.code for d in found] == (["escapable_deny"] if escapes else [])
    if escapes:
        assert found[0].message == "`d` is escaped by leaving out the workload; `p` would still allow"
        assert codes(f'allow p {{ {allow} }}\n@escapable("why")\n' + deny(form)) == []


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ('when context has approved and (context.approved == "a" or context.approved == "b")', "`context.approved`"),
        ('when context has more and (context.more.contains("a") or context.more.is_empty())', "`context.more`"),
        ('when context has more and context.more.contains("a") and context.more.contains("b")', "`context.more`"),
        ('when context.tags.contains("a") or context.tags.contains("b")', "all of `context.tags`"),
        ('unless ["a"].contains_all(context.tags)', "all of `context.tags`"),
        ('unless (all t in context.tags: t == "a")', "all of `context.tags`"),
        ("unless context.tags.is_empty()", "all of `context.tags`"),
        ('when context.map has "a" and context.map["a"] == "b"', "an entry of `context.map`"),
        ('when resource has note and resource.note == "x"', "`resource.note`"),
        ("when workload has process and workload.process.kind == shell", "`workload.process`"),
        ("when session in proof or proof.contains(request)", "the proof; `users` would still allow"),
    ],
)
def test_one_cause_is_one_error_and_true(form: str, message: str) -> None:
    """Finding D6: what is left out is named, and once, and never where it can only be said otherwise."""
    (found,) = errors(deny(form))
    assert (found.code, found.message) == ("escapable_deny", f"`d` is escaped by leaving out {message}")
    assert found.message in render(found)


NARROWING = [
    ('["id"].contains_all(context.tags)', True),
    ('(all t in context.tags: t in ["id"])', True),
    ('not (any t in context.tags: t != "id")', True),
    ('context has more and ["id"].contains_all(context.more)', True),
    ('not (context has more) or ["id"].contains_all(context.more)', True),
    ('["id"].contains_all(context.tags) or context.reason == "x"', True),
    ('not (any t in context.tags: t == "id")', True),
    ('not context.tags.overlaps(["id"])', True),
    ('not context.tags.contains("id")', True),
    ('not ("id" in context.tags)', True),
    ('(all t in context.tags: t != "id")', True),
    ('context.tags != ["id"]', True),
    ('not context.tags.is_empty() and not context.tags.contains("id")', False),
    ("context.tags == []", False),
    ("not (context.tags != [])", False),
    ('not context.tags.is_empty() and ["id"].contains_all(context.tags)', False),
    ('context.tags.contains("id") and (all t in context.tags: t in ["id", "n"])', False),
    ("context.tags.is_empty()", False),
    ('context.tags == ["id"]', False),
    ('context.tags.contains_all(["id"])', False),
    ('(any t in context.tags: t == "id")', False),
]


@pytest.mark.parametrize(("condition", "passes"), NARROWING)
def test_an_empty_set_that_passes_is_told(condition: str, passes: bool) -> None:
    """Finding D14: `contains_all` and `all` hold for a set with nothing in it, and so does every form that is equal."""
    claims = ", ".join(p for p in ("context.more", "context.reason", "context.tags") if p in condition or p[8:] in condition)
    text = f"allow a {{ for User do read on T when {condition} trusting {claims} }}"
    found = [d for d in Compiler().check([Source("p.policy", HEAD + text)])[1] if d.code != "unused_declaration"]
    assert [d.code for d in found] == (["empty_set_passes"] if passes else [])
    if passes:
        name = "context.more" if "more" in condition else "context.tags"
        assert (found[0].message, found[0].is_error) == (f"an empty `{name}` passes here", False)
        assert f"not {name}.is_empty()" in (found[0].hint or "")


def test_an_optional_set_of_the_directory_that_passes_empty_is_told() -> None:
    head = "language 1\nentity User\nentity T { a: Set<String>?, b: Set<String> }\naction read on T\n"
    text = 'allow a { for User do read on T when resource has a and ["x"].contains_all(resource.a) }\n'
    text += 'allow b { for User do read on T when ["x"].contains_all(resource.b) }\n'
    found = Compiler().check([Source("p.policy", head + text)])[1]
    assert [(d.code, d.message) for d in found] == [("empty_set_passes", "an empty `resource.a` passes here")]


BEHIND = """language 1
entity Team { roles: Set<String> }
entity User
entity T
action read on T { as_team: Team, of: { roles: Set<String> } }
allow users { for User do read on T }
"""


@pytest.mark.parametrize("form", ['.contains("banned")', '.overlaps(["banned"])'])
def test_a_set_behind_a_claimed_reference_is_not_left_out(form: str) -> None:
    """Finding D6: the team is the caller's claim and its roles are the directory's, so he can only say another team."""
    text = BEHIND + f"deny d {{ do read on T when context.as_team.roles{form} }}"
    found = [d for d in Compiler().check([Source("p.policy", text)])[1] if d.is_error]
    assert [d.code for d in found] == ["untrusted_claim"]
    assert "`context.as_team` is only claimed" in found[0].message
    trusting = text[:-1] + "trusting context.as_team }"
    assert not [d for d in Compiler().check([Source("p.policy", trusting)])[1] if d.is_error]
    found = [d for d in Compiler().check([Source("p.policy", text.replace("as_team.roles.", "of.roles."))])[1] if d.is_error]
    assert [d.code for d in found] == ["escapable_deny"]
    allow = BEHIND + f"allow a {{ for User do read on T when not context.as_team.roles{form} trusting context.as_team }}"
    assert "empty_set_passes" not in [d.code for d in Compiler().check([Source("p.policy", allow)])[1]]
