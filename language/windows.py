"""Calendar windows: `mon..fri 09:00..17:00 "Europe/Berlin"`.

An instant is inside iff its local weekday and wall time are: a repeated hour counts twice, a skipped one never. Zones
come from the package `tzdata` and never from the machine; its version is part of what names a policy set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from importlib.resources import files
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR, _MINUTE = 3_600_000_000, 60_000_000
_DAY = 24 * 60
_FOUR_CENTURIES = 146_097 * _DAY * _MINUTE  # after which the calendar repeats itself, days of the week included
_LAST_YEAR = 253_370_764_800_000_000  # 9999-01-01T00:00:00Z: what is computed from there on would leave the calendar
_BOUNDARIES_MAX = 24  # more than a week has of them; where nothing ever changes, the answer is good for that long


@cache
def zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text("ascii").split())


def tzdata_version() -> str:
    """The version of the zones, which is part of a policy set's generation: of the very package that they are read from."""
    return str(import_module("tzdata").__version__)


@cache
def load_zone(name: str) -> ZoneInfo:
    if name not in zone_names():
        raise KeyError(name)
    with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def _local(now: int, zone: ZoneInfo) -> datetime:
    """The wall clock at an instant; in the last year of the calendar that of four centuries before, which is the same."""
    return (_EPOCH + timedelta(microseconds=now if now < _LAST_YEAR else now - _FOUR_CENTURIES)).astimezone(zone)


@dataclass(frozen=True, slots=True)
class CalendarWindow:
    first_day: int  # Monday is 0; the range of days may wrap
    last_day: int
    starts: int  # minutes of the day
    ends: int
    zone: str
    _segment: list[tuple[int, int, bool]] = field(default_factory=list, init=False, compare=False, repr=False)

    def contains(self, now: int) -> bool:
        local = _local(now, load_zone(self.zone))
        return self._has_day(local.weekday()) and self.starts <= local.hour * 60 + local.minute < self.ends

    def _has_day(self, day: int) -> bool:
        if self.first_day <= self.last_day:
            return self.first_day <= day <= self.last_day
        return day >= self.first_day or day <= self.last_day

    def life(self, now: int) -> int:
        """Signed life at `now`: `+t` is inside until t, `-t` outside until t. The last stretch of time is remembered."""
        for low, high, inside in self._segment:
            if low <= now < high:
                return high if inside else -high
        inside, high = self.contains(now), self._next_boundary(now)
        for _ in range(_BOUNDARIES_MAX):  # midnights and clock changes that change nothing are passed over
            if self.contains(high) is not inside:
                break
            high = self._next_boundary(high)
        self._segment[:] = [(now, high, inside)]
        return high if inside else -high

    def _next_boundary(self, now: int) -> int:
        """An instant after `now` before which nothing changes: the next start, end or midnight of the wall clock, or
        the next change of its offset, whichever is first."""
        zone = load_zone(self.zone)
        local = _local(now, zone)
        minute = local.hour * 60 + local.minute
        ahead = min(mark - minute for mark in (self.starts, self.ends, _DAY) if mark > minute)
        into_minute = local.second * 1_000_000 + local.microsecond
        boundary = now + ahead * _MINUTE - into_minute
        return self._offset_change(zone, now, boundary) or boundary

    def _offset_change(self, zone: ZoneInfo, start: int, end: int) -> int | None:
        def offset(at: int) -> timedelta | None:
            return _local(at, zone).utcoffset()

        low = start
        while low < end:
            high = min(low + _HOUR, end)
            if offset(high) != offset(low):
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
                return high
            low = high
        return None
