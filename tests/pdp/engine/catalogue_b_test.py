"""Section B of the catalogue of faults, asked of the engine: what a program tells it, in keywords and in requests.

Each row is one thing away from the request that is allowed. The answer is a refusal to decide, `invalid_request`, or another
value that no rule takes for the one it names. What files tell is in `catalogue_b_files_test.py`.
"""

# ruff: noqa: E501, RUF001  # tables are read a row a line; the odd letters are the point
from __future__ import annotations

from collections import UserList
from datetime import datetime
from ipaddress import IPv6Address
from typing import Any

import pytest

import pdp
from language import Compiler, Source
from pdp.model.frozen import DEPTH_MAX
from tests.pdp.engine.remembering import MINUTE, T0, ask, engine_of

POLICY = """language 1
enum Tier { prod, staging }
entity Team
entity User in Team { level: Int }
entity Doc
entity Page
entity Note in Team claimed { n: Int? }
relation reader(User, Doc) expiring
action read on Doc, Page, Note {
  n: Int? from gate, b: Bool? from gate, s: String? from gate, at: Time? from gate, wait: Duration? from gate
  tags: Set<String>? from gate, nums: Set<Int>? from gate, m: Map<String, String>? from gate, ip: Ip? from gate
  net: Cidr? from gate, tier: Tier? from gate, owner: User? from gate, who: SpiffeId? from gate
}
action write on Doc { s: String from gate }
task job { carries n: Int
  opened by spiffe://a/ci
  who anyone
  may read on Doc
  lasts at most 15m }
""".replace(" from gate\n  ", " from gate,\n  ")
USER, RESOURCE = ("User", "ada"), ("Doc", "d")
API, CI = "spiffe://a/api", "spiffe://a/ci"
ADA = {"type": "User", "id": "ada", "attributes": {"level": 1}}


def engine(when: str = "", head: str = "for User", on: str = "Doc") -> pdp.Engine:
    return engine_of(f"{POLICY}allow ok {{ {head}\n do read\n on {on}\n{when and f' when {when}'} }}\n", ADA)


def told(**changed: Any) -> dict[str, Any]:
    return {"action": "read", "resource": RESOURCE, "user": USER, **changed}


def context(**values: Any) -> dict[str, Any]:
    return {"context": values}


def task(**changed: Any) -> dict[str, Any]:
    given = {"kind": "job", "id": "t", "attributes": {"n": 1}, "started": T0, "ends": T0 + MINUTE, "proof": ["key"]}
    return {"workload": API, "task": pdp.Task(**{**given, **changed})}


def refused(engine: pdp.Engine, **changed: Any) -> pdp.PdpError:
    """In keywords and prebuilt, asked and explained: no decision."""
    asked = told(**changed)
    at = asked.pop("now", T0)
    with pytest.raises(pdp.PdpError) as caught:
        engine.check(**asked, now=at)
    for ask_again in (engine.check, engine.explain, engine.explain_cache, lambda r, now: engine.check_many([r], now=now)):
        with pytest.raises(pdp.PdpError):
            ask_again(pdp.Request(**asked), now=at)
    assert caught.value.code == "invalid_request"
    assert len(caught.value.message.encode()) < 600  # no log has to choke on it
    return caught.value


NEIGHBOURS = {
    "n": 1, "b": True, "s": "x", "at": "2026-01-01T00:00:00Z", "wait": "15m", "tags": ["a"], "nums": [1], "m": {"a": "b"},
    "ip": "10.0.0.1", "net": "10.0.0.0/8", "tier": "prod", "owner": ("User", "ada"), "who": API,
}  # fmt: skip


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_neighbours_of_all_refusals_are_allowed(name: str) -> None:
    assert ask(engine(), pdp.Request(**told(**context(**{name: NEIGHBOURS[name]}))), T0).allowed


INF, NAN = float("inf"), float("nan")
VALUES: list[tuple[str, str, Any]] = [
    *[("28-nan-inf", "n", v) for v in (NAN, INF, -INF, 1e999, 1.0, 0.5)],
    *[("28-nan-inf", name, NAN) for name in ("b", "s", "at", "wait", "ip", "tier")],
    ("28-nan-inf-in-a-set", "nums", [NAN]),
    ("29-bigint", "n", 10**5000),
    ("29-bigint", "nums", [10**5000]),
    ("29-bigint-text", "n", "9" * 5000),
    ("29-bigint-duration", "wait", "9" * 5000 + "m"),
    *[("30-int-forms", "n", v) for v in ("1_000", "１２", " 7 ", "+7", "0x10", "7", "", "٣")],
    *[("30-duration-forms", "wait", v) for v in ("1_0m", "１5m", " 15m", "+15m", "15", 15, "15 m", "15m\n")],
    *[("31-int-overflow", "n", v) for v in (2**63, -(2**63) - 1)],
    *[("32-bool-int", "n", v) for v in (True, False)],
    *[("32-bool-int", "b", v) for v in (1, 0, 1.0, "1", "true", "True", None)],
    ("32-bool-int-in-a-set", "nums", [True]),
    ("33-neg-zero", "n", -0.0),
    ("34-string-vs-list", "tags", "admin"),
    ("34-string-vs-list", "tags", {"admin": True}),
    ("34-string-vs-list", "tags", b"admin"),
    ("34-string-vs-list", "tags", UserList(["admin"])),
    ("34-string-vs-list", "s", ["x"]),
    ("34-string-vs-list", "owner", "User"),
    ("34-string-vs-list", "owner", "Us"),
    ("34-string-vs-list-map", "m", [["a", "b"]]),
    *[("35-null", name, None) for name in NEIGHBOURS],
    ("35-null-in-a-set", "tags", [None]),
    ("35-null-in-a-map", "m", {"a": None}),
    ("36-nfc-reference", "owner", ("User", "e\u0301")),
    *[("38-case", "tier", v) for v in ("PROD", "Prod", "prod\u200b")],
    ("38-case-of-a-trust-domain", "who", "spiffe://A/api"),
    ("39-bidi-in-a-reference", "owner", ("User", "a\u202e")),
    ("39-zero-width-in-a-reference", "owner", ("User", "a\u200b")),
    ("40-surrogate", "s", "\ud800"),
    ("40-surrogate", "tags", ["\udfff"]),
    ("40-surrogate", "m", {"\ud800": "b"}),
    ("40-surrogate", "m", {"a": "\ud800"}),
    ("40-surrogate", "tier", "\ud800"),
    ("40-surrogate", "who", "spiffe://a/\ud800"),
    *[("41-newline", name, f"{NEIGHBOURS[name]}\n") for name in ("at", "wait", "ip", "net", "tier", "who")],
    ("43-redos", "who", "spiffe://a/" + "a/" * 500_000 + "!"),
    ("43-redos", "at", "2026-01-01T00:00:00." + "0" * 1_000_000),
    ("43-redos", "wait", "1m" * 500_000 + "!"),
    *[("45-ip", "ip", v) for v in ("010.0.0.1", "10.1", "fe80::1%eth0", "1.2.3.4.5", "10.0.0.256", "0x0a.0.0.1", "167772161", 167772161, "::ffff:010.0.0.1", "1０.0.0.1", "[::1]", "10.0.0.1:80", " 10.0.0.1", IPv6Address("fe80::1%1"))],
    *[("45-cidr", "net", v) for v in ("10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/８", "10/8", "::ffff:10.0.0.0/104", "fe80::/64%eth0")],
    ("47-wide-set", "tags", [str(i) for i in range(1001)]),
    ("47-wide-set", "nums", range(1_000_000)),
    ("47-wide-set", "nums", list(range(200_000))),
    ("47-wide-map", "m", {str(i): "" for i in range(200_000)}),
    ("47-wide-text", "s", "x" * 50_000_000),
    ("47-wide-text", "s", "é" * 32_769),
    ("48-hash-flood", "nums", [i * (2**61 - 1) for i in range(1_001)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(n, v, id=f"{row}-{n}-{i}") for i, (row, n, v) in enumerate(VALUES)]
)
def test_a_value_that_is_not_of_its_type(name: str, value: object) -> None:
    refused(engine(), **context(**{name: value}))


@pytest.mark.parametrize(
    ("name", "value"), [("at", "2026-01-01T00:00:00Z\n"), ("wait", "15m\n"), ("at", "\x1b[31m"), ("at", "\ud800")], ids=ascii
)
def test_40_messages_repeat_nothing_that_no_log_can_take(name: str, value: str) -> None:
    """As of every other value: what does not print is shown as U+FFFD."""
    message = refused(engine(), **context(**{name: value})).message
    assert message.isprintable()


@pytest.mark.parametrize("value", ["10.0.0.0/08", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "fe80::%eth0/64"])
def test_45_cidr_has_one_form(value: str) -> None:
    refused(engine(), **context(net=value))


class AnyCase(str):
    """A text that is equal to another of other case, as some libraries' header names are."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


@pytest.mark.parametrize("name", ["s", "tags", "who"])
def test_38_case_of_a_text_with_its_own_equality(name: str) -> None:
    refused(engine(), **context(**{name: [AnyCase("A")] if name == "tags" else AnyCase("spiffe://a/API")}))


def test_38_case_of_a_member_with_its_own_equality() -> None:
    refused(engine(), **context(tier=AnyCase("PROD")))


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(context(N=1), id="27-case-keys"),
        pytest.param(context(n=1, N=1), id="27-case-keys-both"),
        pytest.param(context(**{"n\n": 1}), id="27-unknown-key-newline"),
        pytest.param({"context": {"\ud800": 1}}, id="40-surrogate-key"),
        pytest.param({"context": {"n\u202e": 1}}, id="39-bidi-key"),
        pytest.param({"context": {1: 1}}, id="27-key-no-text"),
        pytest.param({"context": [("n", 1)]}, id="34-pairs-for-an-object"),
        pytest.param({"context": dict.fromkeys(map(str, range(200_000)), 1)}, id="47-wide-keys"),
        pytest.param({"action": "write", **context()}, id="35-missing"),
        pytest.param({"action": "write", **context(s=None)}, id="35-null-for-missing"),
        pytest.param({"action": b"read"}, id="32-bytes-action"),
        pytest.param({"action": None}, id="53-no-action"),
        pytest.param({"resource": None}, id="53-no-resource"),
        *[pytest.param({"resource": r}, id=f"34-resource-{ascii(r)[:20]}") for r in ("Doc", "Dd", ("Doc",), ("Doc", "d", "e"), ("Doc", 1), ("Doc", True), ("Doc", b"d"), ("Doc", None))],
        *[pytest.param({"user": ("User", i)}, id=f"{row}-user-{ascii(i)[:20]}") for row, i in (("36-nfc", "e\u0301"), ("39-bidi", "a\u202e"), ("39-bidi", "\u2066a"), ("39-zero-width", "a\u200b"), ("39-bom", "\ufeffa"), ("40-surrogate", "\ud800"), ("41-newline", "ada\n"), ("41-nul", "ada\x00"), ("35-empty", ""), ("47-wide", "x" * 2049), ("47-wide", "x" * 50_000_000))],
        *[pytest.param({"workload": w}, id=f"{row}-workload-{ascii(w)[:20]}") for row, w in (("38-case", "SPIFFE://a/api"), ("38-case", "spiffe://A/api"), ("38-kelvin", "spiffe://\u212a/api"), ("41-newline", f"{API}\n"), ("44-empty-segment", "spiffe://a//api"), ("39-zero-width", f"{API}\u200b"), ("40-surrogate", f"{API}\ud800"), ("43-redos", "spiffe://" + "a" * 1_000_000), ("35-empty", ""), ("32-bytes", b"spiffe://a/api"))],
        pytest.param({"proof": "key"}, id="34-string-vs-list-proof"),
        pytest.param({"proof": ["key\n"]}, id="41-newline-proof"),
        pytest.param({"proof": ["KEY"]}, id="38-case-proof"),
        pytest.param({"proof": [1]}, id="32-proof"),
        pytest.param({"proof": None}, id="35-null-proof"),
        pytest.param({"location": {"ip": "010.0.0.1"}}, id="45-location"),
        pytest.param({"location": {"ip": None}}, id="35-null-location"),
        pytest.param({"location": {"port": True}}, id="32-location-port"),
        pytest.param({"gate": {}}, id="35-missing-gate-id"),
        pytest.param({"gate": {"id": None}}, id="35-null-gate-id"),
        pytest.param({"workload": pdp.Workload(API, process={"kind": "Service"})}, id="38-case-process"),
        pytest.param({"workload": pdp.Workload(API, process={"kind": "service", "executable": None})}, id="35-null-process"),
        pytest.param({"workload": pdp.Workload(API, ends=NAN)}, id="28-nan-credential-end"),  # type: ignore[arg-type]
        pytest.param({"workload": pdp.Workload(API, ends=True)}, id="32-bool-credential-end"),
        pytest.param({"workload": pdp.Workload(API, ends=datetime(2027, 1, 1))}, id="30-naive-credential-end"),
        pytest.param({"resource": pdp.Resource("Note", "x", {"n": True})}, id="32-told-attribute"),
        pytest.param({"resource": pdp.Resource("Note", "x", {"n": None})}, id="35-null-told-attribute"),
        pytest.param({"resource": pdp.Resource("Note", "x", {}, "Team")}, id="34-string-vs-list-parents"),  # type: ignore[arg-type]
        pytest.param({"resource": pdp.Resource("Note", "x", {}, [("Team", "a\u202e")])}, id="39-bidi-parent"),
        *[pytest.param({"now": n}, id=f"28-now-{i}") for i, n in enumerate((NAN, INF, True, -1, 2**63, 10**5000, "2026-01-01", "2026-01-01T00:00:00Z\n", datetime(2026, 1, 1)))],
        *[pytest.param(task(**{k: v}), id=f"{row}-task-{k}") for row, k, v in (("32", "id", 1), ("41-newline", "id", "t\n"), ("32", "parent", 1), ("34", "proof", "key"), ("41-newline", "proof", ["key\n"]), ("28-nan", "ends", NAN), ("32", "started", True), ("35-null", "started", None), ("35-null", "ends", None), ("35-null", "attributes", None), ("34", "attributes", [("n", 1)]))],
        pytest.param({"task": {"kind": "job"}}, id="34-task-no-task"),
    ],
)  # fmt: skip
def test_a_request_that_is_none(changed: dict[str, Any]) -> None:
    refused(engine(on="Doc, Page, Note"), **changed)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        *[pytest.param(task(attributes=a), "grant_outdated", id=f"task-carries-{i}") for i, a in enumerate(({}, {"n": True}, {"n": "1"}, {"n": 1.0}, {"n": None}, {"n": 1, "N": 1}))],
        *[pytest.param(task(depth=d), "task_malformed", id=f"task-depth-{i}") for i, d in enumerate((True, 1.0, "1", -1, 10**5000))],
        pytest.param(task(opener="spiffe://a/ci\n"), "task_malformed", id="41-newline-opener"),
        pytest.param(task(opener="spiffe://A/ci"), "task_malformed", id="38-case-opener"),
        pytest.param(task(state="Active"), "task_malformed", id="38-case-state"),
        pytest.param({"user": None}, "no_subject", id="53-empty"),
        pytest.param({"action": "Read"}, "unknown_action", id="38-case-action"),
        pytest.param({"action": "re\u0430d"}, "unknown_action", id="37-confusable-action"),
        pytest.param({"action": "\ud800"}, "unknown_action", id="40-surrogate-action"),
        pytest.param({"resource": ("doc", "d")}, "unknown_type", id="38-case-type"),
    ],
)  # fmt: skip
def test_a_request_that_is_denied_before_policy(changed: dict[str, Any], reason: str) -> None:
    asked = engine("", "who anyone\n for User")
    assert ask(asked, pdp.Request(**told(**task(opener=CI))), T0).allowed
    decision = ask(asked, pdp.Request(**told(**changed)), T0)
    assert (decision.allowed, decision.reason) == (False, reason)
    assert (decision.because or "").isprintable()


@pytest.mark.parametrize(
    ("name", "value"), [("kind", ["job"]), ("kind", {}), ("opener", 1), ("holder", 1), ("holder", ["x"])], ids=repr
)
def test_34_a_task_of_wrong_types_is_refused_with_a_code(name: str, value: Any) -> None:
    refused(engine("", "who anyone\n for User"), **task(**{name: value}))


@pytest.mark.parametrize(
    ("when", "first", "second"),
    [
        pytest.param("context has n and context.n == 0", context(n=0), context(n=1), id="33-zero"),
        pytest.param("context has n and context.n == 0", context(n=-0), context(n=-1), id="33-neg-zero"),
        pytest.param('context has s and context.s == ""', context(s=""), {}, id="35-empty-is-not-absent"),
        pytest.param("context has tags and context.tags.is_empty()", context(tags=[]), {}, id="35-empty-list-is-not-absent"),
        pytest.param('not (context has s) and user == User "ada"', {}, context(s=""), id="35-absent-is-not-empty"),
        pytest.param('context has tags and context.tags.contains("admin")', context(tags=["admin"]), context(tags=["administrator"]), id="34-no-substrings"),
        pytest.param('context has s and context.s == "é"', context(s="\u00e9"), context(s="e\u0301"), id="36-values-are-not-normalised"),
        pytest.param('user == User "\u00e9"', {"user": ("User", "\u00e9")}, {"user": ("User", "e")}, id="36-nfc"),
        pytest.param('user == User "ada"', {}, {"user": ("User", "\u0430da")}, id="37-confusable"),
        pytest.param('user == User "admin"', {"user": ("User", "admin")}, {"user": ("User", "Admin")}, id="38-case"),
        pytest.param('context has s and context.s == "K"', context(s="K"), context(s="\u212a"), id="38-kelvin"),
        pytest.param('context has s and context.s == "i"', context(s="i"), context(s="\u0130"), id="38-dotted-i"),
        pytest.param('context has s and context.s == "s"', context(s="s"), context(s="\u017f"), id="38-long-s"),
        pytest.param('context has s and context.s == "ss"', context(s="ss"), context(s="ß"), id="38-sharp-s"),
        pytest.param('context has s and context.s == "admin"', context(s="admin"), context(s="admin\n"), id="41-newline"),
        pytest.param('context has s and context.s.ends_with("admin")', context(s="admin"), context(s="admin\n"), id="41-newline-ends"),
        pytest.param('context has s and context.s.starts_with("cert-manager.io")', context(s="cert-manager.io/x"), context(s="cert-managerXio/x"), id="42-dot"),
        pytest.param('context has s and context.s.includes("a.*b")', context(s="xa.*by"), context(s="xaxby"), id="42-star"),
        pytest.param('context has s and context.s.ends_with("$")', context(s="a$"), context(s="a"), id="42-dollar"),
        pytest.param('context has s and context.s.includes("(a+)+$")', context(s="(a+)+$"), context(s="a" * 65_536), id="43-redos"),
        pytest.param('context has ip and context.ip in cidr("10.0.0.0/8")', context(ip="::ffff:10.0.0.1"), context(ip="::10.0.0.1"), id="45-mapped"),
        pytest.param('context has ip and context.ip in cidr("10.0.0.0/8")', context(ip="::ffff:a00:1"), context(ip="64:ff9b::a00:1"), id="45-mapped-hex"),
        pytest.param("context has tags", context(tags=[str(i) for i in range(1000)]), {}, id="47-as-wide-as-allowed"),
        pytest.param("context has s", context(s="x" * 65_536), {}, id="47-as-long-as-allowed"),
        pytest.param("context has nums and context.nums.contains(0)", context(nums=[0]), context(nums=[2**61 - 1]), id="48-one-hash"),
    ],
)  # fmt: skip
def test_a_value_is_that_value_and_no_other(when: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    asked = engine(when)
    for _ in range(2):  # and remembered, where it is small enough
        assert ask(asked, pdp.Request(**told(**first)), T0).allowed
        assert not ask(asked, pdp.Request(**told(**second)), T0).allowed


@pytest.mark.parametrize(
    ("who", "yes", "no"),
    [
        pytest.param("spiffe://a/ns/*", "spiffe://a/ns/b", ["spiffe://a/ns/b/c", "spiffe://a/ns", "spiffe://a/nsx/b"], id="44-star"),
        pytest.param("spiffe://a/*/c", "spiffe://a/b/c", ["spiffe://a/c", "spiffe://a/b/b/c"], id="44-star-inside"),
        pytest.param("spiffe://a/ns/**", "spiffe://a/ns/b/c", ["spiffe://a/ns", "spiffe://a/nsx/b"], id="44-rest"),
        pytest.param("spiffe://a.b/x.y", "spiffe://a.b/x.y", ["spiffe://axb/x.y", "spiffe://a.b/xzy"], id="42-dot"),
    ],
)  # fmt: skip
def test_44_patterns(who: str, yes: str, no: list[str]) -> None:
    asked = engine(head=f"who {who}")
    assert ask(asked, pdp.Request(**told(workload=yes, user=None)), T0).allowed
    for other in no:
        assert not ask(asked, pdp.Request(**told(workload=other, user=None)), T0).allowed


@pytest.mark.parametrize("letters", ["\u202e", "\u2066", "\u200b", "\ufeff"], ids=ascii)
def test_39_bidi_and_zero_width_in_policy(letters: str) -> None:
    with pytest.raises(pdp.PolicyErrors, match="forbidden_character"):
        engine(f'context has s and context.s == "{letters}"')


def test_37_confusable_in_policy_is_flagged() -> None:
    _, found = Compiler().check([Source("p.policy", f'{POLICY}allow x {{ for User "\u0430da"\n do read\n on Doc }}\n')])
    assert "mixed_script" in {d.code for d in found}


def deep(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 10_000])
def test_46_deep(kind: type, levels: int) -> None:
    """Before anything recurses, wherever it stands; and the process lives."""
    asked, value = engine(on="Doc, Note"), deep(levels, kind)
    for changed in (
        context(n=value),
        context(m={"a": value}),
        context(tags=[value]),
        {"location": {"ip": value}},
        {"gate": {"id": value}},
    ):
        refused(asked, **changed)
    for build in (
        lambda: pdp.Resource("Note", "x", {"n": value}),
        lambda: pdp.Task("job", "t", {"n": value}),
        lambda: pdp.Workload(API, {"kind": value}),
        lambda: pdp.Request("read", RESOURCE, context={"n": value}),
    ):
        with pytest.raises(pdp.PdpError, match="nested more than 32 deep"):
            build()
    with pytest.raises(pdp.PdpError, match="invalid_data"):
        asked.directory.upsert({"type": "User", "id": "x", "attributes": {"level": value}})
    assert ask(asked, pdp.Request(**told()), T0).allowed


def test_47_what_is_large_is_decided_and_not_remembered() -> None:
    asked = engine('context has s and context.s.starts_with("x")')
    large = pdp.Request(**told(**context(s="x" * 5000)))
    assert ask(asked, large, T0).allowed
    assert (asked.explain_cache(large, now=T0).hit, asked.explain_cache(large, now=T0).why) == (
        False,
        "the request tells too much to be remembered",
    )


# ---- one request told twice


@pytest.mark.parametrize(
    "extra",
    [
        {"action": "write"},
        {"workload": API},
        {"user": ("User", "max")},
        {"context": {"n": 1}},
        {"proof": ["key"]},
        {"task": task()["task"]},
    ],
    ids=lambda e: next(iter(e)),
)
def test_26_a_request_told_twice(extra: dict[str, Any]) -> None:
    """Prebuilt and in keywords: refused, whether it was asked before or not; never the one for the other."""
    asked, request = engine(), pdp.Request(**told())
    assert asked.check(request, now=T0).allowed
    with pytest.raises(pdp.PdpError, match="not both"):
        asked.check(request, **extra, now=T0)
