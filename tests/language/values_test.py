"""IDs, windows, foreign values, the directory and routes: the parts below the pipeline."""

# ruff: noqa: E501, RUF001  # tables are read a row a line; the odd digits are the point
from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language import (
    BadValue,
    Directory,
    DirectoryError,
    EntityData,
    NotRouted,
    RowData,
    Source,
    compile_policies,
    is_spiffe_id,
    parse_pattern,
    route_http,
    route_tcp,
)
from language.types import (
    BOOL,
    CIDR,
    DURATION,
    INT,
    IP,
    SPIFFE_ID,
    STRING,
    TIME,
    EnumType,
    Field,
    MapType,
    RecordType,
    SetType,
    Type,
)
from language.values import conform
from language.windows import CalendarWindow

# ---- SPIFFE IDs


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_in_both_places(byte: int) -> None:
    """ID-6: the sweep over all bytes in the trust domain and in the path."""
    c = chr(byte)
    assert is_spiffe_id(f"spiffe://a{c}b/x") == (c in "abcdefghijklmnopqrstuvwxyz0123456789._-" or c == "/")
    path = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
    assert is_spiffe_id(f"spiffe://a/x{c}y") == (c in path)


@pytest.mark.parametrize(
    "text",
    [
        "", "spiffe://", "spiffe://a", "spiffe://a/", "spiffe://a//b", "spiffe://a/b/", "spiffe://a/./b", "spiffe://a/../b",
        "SPIFFE://a/b", "spiffe://A/b", "spiffe://a/b\n", " spiffe://a/b", "spiffe://u@a/b", "spiffe://a:1/b", "spiffe://a/b?c",
        "spiffe://a/b#c", "spiffe://a/%62", "spiffe://a/é", "http://a/b", "spiffe:/a/b", "spiffe://a/" + "b" * 2048,
    ],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    assert not is_spiffe_id(text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("spiffe://a/b", ["spiffe://a/b"], ["spiffe://a/bc", "spiffe://a/b/c", "spiffe://x/b"]),
        ("spiffe://a/*", ["spiffe://a/b"], ["spiffe://a/b/c"]),
        ("spiffe://a/**", ["spiffe://a/b", "spiffe://a/b/c"], ["spiffe://ab/c"]),
        ("spiffe://a/b/**", ["spiffe://a/b/c", "spiffe://a/b/c/d"], ["spiffe://a/b", "spiffe://a/bc/d"]),
        ("spiffe://a/*/c", ["spiffe://a/b/c"], ["spiffe://a/c", "spiffe://a/b/b/c", "spiffe://a/b/d"]),
        ("spiffe://a/*/**", ["spiffe://a/b/c"], ["spiffe://a/b"]),
    ],
)
def test_patterns_compare_whole_segments(pattern: str, yes: list[str], no: list[str]) -> None:
    parsed = parse_pattern(pattern)
    assert parsed
    assert all(parsed.matches(i) for i in yes)
    assert not any(parsed.matches(i) for i in no)


@pytest.mark.parametrize(
    "text", ["spiffe://*/a", "spiffe://a/**/b", "spiffe://a/b*", "spiffe://a", "spiffe://a/", "spiffe://A/*"]
)
def test_what_is_no_pattern(text: str) -> None:
    assert parse_pattern(text) is None


# ---- windows


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("moment", "life"),
    [
        ("2026-01-05T08:00:00+00:00", "2026-01-05T16:00:00+00:00"),  # Monday 09:00 in Berlin, the first instant
        ("2026-01-05T07:59:59+00:00", "-2026-01-05T08:00:00+00:00"),
        ("2026-01-05T16:00:00+00:00", "-2026-01-06T08:00:00+00:00"),  # 17:00 is outside, until the next morning
        ("2026-01-09T16:30:00+00:00", "-2026-01-12T08:00:00+00:00"),  # Friday evening, until Monday
        ("2026-07-06T07:00:00+00:00", "2026-07-06T15:00:00+00:00"),  # summer time
    ],
)
def test_working_hours(moment: str, life: str) -> None:
    window = CalendarWindow(0, 4, 9 * 60, 17 * 60, "Europe/Berlin")
    expected = -at(life[1:]) if life[0] == "-" else at(life)
    assert window.life(at(moment)) == expected


def test_a_repeated_hour_counts_twice_and_a_skipped_one_never() -> None:
    window = CalendarWindow(0, 6, 2 * 60, 3 * 60, "Europe/Berlin")
    repeated = [at("2026-10-25T00:30:00+00:00"), at("2026-10-25T01:30:00+00:00")]
    assert [window.contains(m) for m in repeated] == [True, True]
    start = at("2026-03-29T00:00:00+00:00")
    assert not any(window.contains(start + m * 60_000_000) for m in range(3 * 60))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 1439),
    st.integers(1, 600),
    st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC", "Africa/Casablanca"]
    ),
    st.integers(at("2026-01-01T00:00:00+00:00"), at("2027-01-01T00:00:00+00:00")),
    st.floats(0, 1),
)
def test_a_window_keeps_its_word(first: int, last: int, start: int, length: int, zone: str, now: int, part: float) -> None:
    """At every instant before the end of its life the answer is the same."""
    window = CalendarWindow(first, last, start, min(start + length, 1440), zone)
    life = CalendarWindow(first, last, start, min(start + length, 1440), zone).life(now)
    later = now + int((abs(life) - 1 - now) * part)
    assert abs(life) > now
    assert window.contains(now) == window.contains(later) == (life > 0) == window.contains(abs(life) - 1)


# ---- foreign values

RECORD = RecordType((Field("a", INT, False), Field("b", STRING, True)))


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (True, BOOL, True),
        (2**63 - 1, INT, 2**63 - 1),
        ("", STRING, ""),
        ("2026-01-01T00:00:00Z", TIME, 1_767_225_600_000_000),
        (datetime(2026, 1, 1, tzinfo=UTC), TIME, 1_767_225_600_000_000),
        ("15m", DURATION, 900_000_000),
        (timedelta(minutes=15), DURATION, 900_000_000),
        ("::ffff:10.0.0.1", IP, IPv4Address("10.0.0.1")),
        (["a", "a"], SetType(STRING), frozenset("a")),
        ({"a": 1}, RECORD, (1, None)),
        ({"k": "v"}, MapType(), {"k": "v"}),
    ],
)
def test_what_conforms(value: Any, type_: Type, expected: Any) -> None:
    found = conform(value, type_, "x")
    assert found == expected
    assert type(found) is type(expected) or type_ == MapType()


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (1, BOOL), ("true", BOOL), (None, BOOL), (0, BOOL),
        (True, INT), (1.0, INT), ("1", INT), (2**63, INT), (-(2**63) - 1, INT), (float("nan"), INT),
        (1, STRING), (None, STRING), (b"a", STRING), ("\ud800", STRING), ("a" * 65_537, STRING), ("é" * 32_769, STRING),
        ("2026-01-01", TIME), ("2026-01-01T00:00:00", TIME), ("2026-01-01T23:59:60Z", TIME), (1767225600, TIME),
        (datetime(2026, 1, 1), TIME), ("1969-12-31T23:59:59Z", TIME), ("２026-01-01T00:00:00Z", TIME),
        ("15", DURATION), (15, DURATION), ("15min", DURATION), ("-5m", DURATION), ("１5m", DURATION),
        ("010.0.0.1", IP), ("10.1", IP), ("fe80::1%eth0", IP), (1, IP), ("10.0.0.0/8", IP),
        ("10.0.0.1/8", CIDR), ("10.0.0.1", CIDR),
        ("spiffe://a/b\n", SPIFFE_ID), ("spiffe://a", SPIFFE_ID),
        ("c", EnumType("E", ("a", "b"))), (0, EnumType("E", ("a", "b"))),
        ("admin", SetType(STRING)), ([1], SetType(STRING)), ([True], SetType(INT)), (list(range(1001)), SetType(INT)),
        ({}, RECORD), ({"a": 1, "c": 2}, RECORD), ({"a": 1, "b": None}, RECORD), ({"A": 1}, RECORD), ([1], RECORD),
        ({"k": 1}, MapType()), ({1: "v"}, MapType()),
    ],
)  # fmt: skip
def test_what_does_not(value: Any, type_: Type) -> None:
    """Catalogue B: nothing is converted, trimmed, or taken for something near it."""
    with pytest.raises(BadValue):
        conform(value, type_, "x")


# ---- the directory

VOCABULARY = compile_policies(
    [
        Source(
            "v.policy",
            "language 1\nentity Team in Team\nentity User in Team { level: Int }\nentity Doc claimed { a: Int }\nworkload in Team\n"
            "relation reads(User, Team) expiring\nrelation owns(User, Team)\n",
        )
    ]
).vocabulary


def user(name: str, *teams: str, level: object = 1) -> EntityData:
    return EntityData("User", name, {"level": level}, tuple(("Team", t) for t in teams))


def team(name: str, *above: str) -> EntityData:
    return EntityData("Team", name, {}, tuple(("Team", t) for t in above))


def test_ancestors_are_closed_and_versions_follow_them() -> None:
    directory = Directory(VOCABULARY)
    directory.upsert([user("ada", "a"), team("a", "b"), team("b", "c"), team("x")])
    before = dict(directory.records["User"])
    assert before["ada"][2] == {"a", "b", "c"}
    directory.upsert([team("x", "y")])
    assert directory.records["User"] == before  # nothing below `x`
    directory.upsert([team("b", "d")])
    after = directory.records["User"]["ada"]
    assert after[2] == {"a", "b", "d"}
    assert after[0] > before["ada"][0]
    assert before["ada"][2] == {"a", "b", "c"}  # who holds the old record holds it whole
    directory.remove([("Team", "a")])
    assert directory.records["User"]["ada"][2] == {"a"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=3), st.booleans()), max_size=15))
def test_repair_equals_recomputation(steps: list[tuple[int, list[int], bool]]) -> None:
    """After any history the closure is what loading the end state at once gives."""
    directory, now = Directory(VOCABULARY), {}
    for child, above, removed in steps:
        entity = team(str(child), *[str(a) for a in above])
        if removed:
            directory.remove([("Team", str(child))])
            now.pop(str(child), None)
            continue
        with suppress(DirectoryError):  # it would close a cycle, and changes nothing
            directory.upsert([entity])
            now[str(child)] = entity
    fresh = Directory(VOCABULARY)
    fresh.upsert(now.values())
    assert {k: r[1:] for k, r in directory.records["Team"].items()} == {k: r[1:] for k, r in fresh.records["Team"].items()}


@pytest.mark.parametrize(
    ("entities", "code"),
    [
        ([team("a", "a")], "entity_cycle"),
        ([team("a", "b"), team("b", "a")], "entity_cycle"),
        ([user("a", level=True)], "bad_value"),
        ([EntityData("User", "a", {}, ())], "bad_value"),
        ([EntityData("User", "a", {"level": 1}, (("User", "b"),))], "bad_value"),
        ([EntityData("Nothing", "a", {}, ())], "unknown_type"),
        ([EntityData("Doc", "a", {"a": 1}, ())], "wrong_source"),
        ([EntityData("workload", "ada", {}, ())], "bad_value"),
        ([EntityData("Team", "", {}, ())], "bad_value"),
        ([EntityData("Team", "a\u202e", {}, ())], "bad_value"),
        ([EntityData("Team", "e\u0301", {}, ())], "bad_value"),
        ([EntityData("Team", "\ud800", {}, ())], "bad_value"),
    ],
)
def test_a_bad_change_is_refused_whole(entities: list[EntityData], code: str) -> None:
    directory = Directory(VOCABULARY)
    with pytest.raises(DirectoryError) as caught:
        directory.upsert([team("good"), *entities])
    assert caught.value.code == code
    assert directory.records["Team"] == {}


@pytest.mark.parametrize(
    "row",
    [
        RowData("nothing", (("User", "a"), ("Team", "b"))),
        RowData("reads", (("User", "a"),)),
        RowData("reads", (("Team", "a"), ("User", "b"))),
        RowData("owns", (("User", "a"), ("Team", "b")), 5),
    ],
)
def test_a_bad_row_is_refused(row: RowData) -> None:
    with pytest.raises(DirectoryError):
        Directory(VOCABULARY).put_rows([row])


# ---- routes

ROUTED = compile_policies(
    [
        Source(
            "r.policy",
            """language 1
entity Doc
action read on Doc { columns: Set<String>?, sort: String?, trace: String? }
routes http "api.example" {
  GET /docs/{id} -> read on Doc(path.id) { columns: query.columns, sort: query["sort"], trace: header["X-Trace"] }
  GET /docs/new -> read on Doc("template")
  GET / -> read on Doc("root")
}
routes tcp {
  spiffe://a/db -> read on Doc("db")
}
""",
        )
    ]
).program


@pytest.mark.parametrize(
    ("target", "resource", "context"),
    [
        ("/docs/7", "7", {}),
        ("/docs/new", "template", {}),
        ("/", "root", {}),
        ("/docs/a%20b", "a b", {}),
        ("/docs/a;x=1", "a;x=1", {}),
        ("/docs/7?columns=a&columns=b&sort=up", "7", {"columns": ["a", "b"], "sort": "up"}),
    ],
)
def test_what_is_routed(target: str, resource: str, context: dict[str, object]) -> None:
    routed = route_http(ROUTED, "GET", "API.example.:443", target)
    assert (routed.action, routed.resource_type, routed.resource_id, routed.context) == ("read", "Doc", resource, context)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("//docs/7", "non_canonical_path"), ("/docs//7", "non_canonical_path"), ("/docs/../x", "non_canonical_path"),
        ("/docs/%2e%2e", "non_canonical_path"), ("/docs/a%2Fb", "non_canonical_path"), ("/docs/a%5Cb", "non_canonical_path"),
        ("/docs/a\\b", "malformed_path"), ("/docs/%252e", "non_canonical_path"), ("/docs/%zz", "malformed_path"),
        ("/docs/%", "malformed_path"), ("/docs/%00", "malformed_path"), ("/docs/7#x", "malformed_path"),
        ("/docs/%23", "non_canonical_path"), ("docs/7", "malformed_path"), ("*", "malformed_path"),
        ("http://api.example/docs/7", "malformed_path"), ("/docs/%c0%af", "malformed_path"), ("/docs/7/", "non_canonical_path"),
        ("/docs", "no_route"), ("/docs/7/x", "no_route"), ("/docs/7?sort=a&sort=b", "ambiguous_value"),
        ("/docs/7?sort=%zz", "malformed_query"), ("/docs/é", "malformed_path"), ("/docs/a b", "malformed_path"),
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_not_routed(target: str, code: str) -> None:
    """Catalogue A, as far as it concerns the meaning of a path."""
    with pytest.raises(NotRouted) as caught:
        route_http(ROUTED, "GET", "api.example", target)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("method", "host"), [("get", "api.example"), ("GET ", "api.example"), ("GET", "u@api.example"), ("GET", "x")]
)
def test_method_and_host_are_exact(method: str, host: str) -> None:
    with pytest.raises(NotRouted):
        route_http(ROUTED, method, host, "/docs/7")


def test_a_connect_is_for_a_host() -> None:
    """Finding S9: what a back end gets of a CONNECT has no path, so none may be what was decided on."""
    text = 'entity A\naction a on A\nallow x { who anyone do a on A }\nroutes http "h" { CONNECT / -> a on A("h") }'
    program = compile_policies([Source("r.policy", text)]).program
    assert route_http(program, "CONNECT", "H:443", "").resource_id == "h"
    for target in ("/", "/pub/a", "*", "?q=1", "h:443"):
        with pytest.raises(NotRouted) as caught:
            route_http(program, "CONNECT", "h", target)
        assert caught.value.code == "connect_with_path"


def test_headers_and_destinations() -> None:
    assert route_http(ROUTED, "GET", "api.example", "/docs/7", {"x-trace": ["t"]}).context == {"trace": "t"}
    with pytest.raises(NotRouted):
        route_http(ROUTED, "GET", "api.example", "/docs/7", {"x-trace": ["t", "u"]})
    assert route_tcp(ROUTED, "spiffe://a/db").resource_id == "db"
    with pytest.raises(NotRouted):
        route_tcp(ROUTED, "spiffe://a/db2")
