"""The ends of time: which moments are taken, what is computed at them, and how what lies beyond is told (D10, D11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from language import LATEST, BadLiteral, Compiler, Directory, EntityData, RowData, Source, format_instant, parse_instant
from language.inputs import FOREVER
from language.syntax.literals import INT_MAX, INT_MIN
from language.testing.run import run_test
from language.types import Scalar
from language.values import BadValue, conform
from language.windows import CalendarWindow, load_zone, zone_names
from pdp.errors import PdpError
from pdp.model.request import moment
from pdp.wire.client import _moment as taken_by_a_client
from pdp.wire.messages import PDP
from pdp.wire.values import Values, put, put_moment, take

FIRST, LAST = "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
NEVER = "9999-12-31T23:59:59Z"
SENTINELS = [
    (FIRST, 0),
    ("1970-01-01T00:00:00.000001Z", 1),
    ("1970-01-01T01:00:00+01:00", 0),
    ("9999-12-31T00:00:00Z", LATEST + 1 - 86_400_000_000),
    (NEVER, LATEST - 999_999),
    (LAST, LATEST),
    ("9999-12-31T18:59:59.999999-05:00", LATEST),
]
OUTSIDE = [
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59.999999-00:01",
    "0001-01-01T00:00:00+12:00",
]


@pytest.mark.parametrize(("text", "microseconds"), SENTINELS)
def test_both_ends_of_the_calendar_are_moments_wherever_one_is_read(text: str, microseconds: int) -> None:
    """Finding D10: `9999-12-31T23:59:59Z` and `1970-01-01T00:00:00Z` are how real data says "never"."""
    told = datetime.fromisoformat(text)
    assert parse_instant(text) == microseconds
    assert conform(text, Scalar.TIME, "x") == conform(told, Scalar.TIME, "x") == microseconds
    assert moment(text, "x") == moment(told, "x") == moment(microseconds, "x") == microseconds
    on_the_wire = PDP.Value()
    put(on_the_wire, told)
    assert conform(take(on_the_wire, Values()), Scalar.TIME, "x") == microseconds


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_is_outside_is_refused_with_a_sentence_that_is_true(text: str) -> None:
    with pytest.raises(BadLiteral, match="is before 1970 or after 9999, in UTC"):
        parse_instant(text)
    with pytest.raises(BadValue, match="is before 1970 or after 9999, in UTC"):
        conform(text, Scalar.TIME, "x")
    with pytest.raises(PdpError, match="is before 1970 or after 9999, in UTC"):
        moment(text, "x")


AFTER = datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))


@pytest.mark.parametrize("value", [-1, LATEST + 1, datetime(1969, 12, 31, tzinfo=UTC), AFTER])
def test_moments_outside_are_refused(value: object) -> None:
    with pytest.raises(PdpError, match="before 1970 or after 9999, in UTC"):
        moment(value, "x")


POLICY = f"""
language 1
entity User
entity Doc {{ opens: Time, ends: Time }}
relation reader(User, Doc) expiring
action read on Doc
allow owners {{ for User do read on Doc
  when resource.opens < {LAST} and reader(user, resource) from resource.opens until resource.ends }}
test "never began and never ends" {{
  given now {FIRST}
  given user User "ada"
  given Doc "d" {{ opens: {FIRST}, ends: {NEVER} }}
  given reader(User "ada", Doc "d") until {LAST}
  at 0s read on Doc "d" allow until {NEVER} by owners
  at 9999-12-31T23:59:58.999999Z read on Doc "d" allow until {NEVER}
  at {NEVER} read on Doc "d" deny
  at {LAST} read on Doc "d" deny because default_deny
}}
test "ended before it began" {{
  given now {FIRST}
  given user User "ada"
  given Doc "d" {{ opens: {FIRST}, ends: {FIRST} }}
  given reader(User "ada", Doc "d") until {FIRST}
  at 0s read on Doc "d" deny
}}
"""


def test_policies_are_decided_at_the_ends_compiled_and_not() -> None:
    bundle = Compiler().compile([Source("a.policy", POLICY)])
    for test in bundle.tests:
        assert run_test(bundle, test).failures == ()


def test_a_row_ends_at_the_ends() -> None:
    bundle = Compiler().compile([Source("a.policy", POLICY)])
    directory = Directory(bundle.vocabulary)
    directory.upsert([EntityData("Doc", "d", {"opens": FIRST, "ends": NEVER}, ())])
    for until in (0, 1, LATEST, FOREVER):
        directory.put_rows([RowData("reader", (("User", "ada"), ("Doc", "d")), until)])
        assert list(directory.world.rows["reader"].values()) == [until]


@pytest.mark.parametrize("zone", sorted(zone_names()))
def test_windows_hold_at_both_ends_in_every_zone(zone: str) -> None:
    """A clock east of Greenwich left the calendar half a day early; the looking ahead left it everywhere."""
    window = CalendarWindow(0, 4, 9 * 60, 17 * 60, zone)
    for now in (0, 1, LATEST - 86_400_000_000, LATEST - 1, LATEST):
        life = window.life(now)
        assert abs(life) > now
        assert (life > 0) is window.contains(now)


def test_the_last_year_is_like_that_of_four_centuries_before() -> None:
    berlin, hour = load_zone("Europe/Berlin"), 3_600_000_000
    window = CalendarWindow(0, 4, 9 * 60, 17 * 60, "Europe/Berlin")
    for day, offset in (("9999-01-04", 1), ("9999-07-05", 2), ("9999-12-27", 1)):  # Mondays
        opens = parse_instant(f"{day}T09:00:00Z") - offset * hour
        assert datetime.fromisoformat(f"{day}T09:00:00").replace(tzinfo=berlin).utcoffset() == timedelta(hours=offset)
        assert window.life(opens - 1) == -opens
        assert window.life(opens) == opens + 8 * hour


def test_a_step_of_a_test_is_not_after_the_last_year() -> None:
    """A brother of D10: a step far away was an internal error of `pdp test`."""
    text = POLICY.replace("at 0s read", "at 500000w read", 1)
    found = Compiler().check([Source("a.policy", text)])[1]
    assert ("bad_literal", "this step is after the year 9999") in [(d.code, d.message) for d in found]


@pytest.mark.parametrize("beyond", [LATEST + 1, FOREVER - 1, INT_MAX])
def test_what_ends_after_the_last_year_is_told_as_its_last_moment(beyond: int) -> None:
    """Finding D11: it was told as `8641767225600000000us`, which no client can read."""
    assert format_instant(beyond) == LAST
    stamp = PDP.Decision().valid_until
    put_moment(stamp, beyond)
    assert (stamp.seconds, stamp.nanos) == (253_402_300_799, 999_999_000)
    assert stamp.ToJsonString() == LAST
    assert taken_by_a_client(stamp) == LATEST


def test_what_lies_before_the_calendar_is_told_as_its_first_moment() -> None:
    assert format_instant(INT_MIN) == "0001-01-01T00:00:00Z"
    assert format_instant(-1) == "1969-12-31T23:59:59.999999Z"
