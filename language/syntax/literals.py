"""The written forms of literals: strings, durations, instants. One reader each, used by policies, tests and data."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from language.diagnostics import printable

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
STRING_BYTES_MAX = 64 * 1024
ELEMENTS_MAX = 1000  # of a set, whether written or sent; the worst cost of a condition is computed with it

#: Characters that hide, join or reorder others, as the inside of a character class: refused in policy text and in ids.
HIDDEN = "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_DURATION_PART = re.compile(r"([0-9]{1,19})(us|ms|s|m|h|d|w)")
_DURATION = re.compile(r"(?:[0-9]{1,19}(?:us|ms|s|m|h|d|w))+", re.ASCII)
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
    r"(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CALENDAR_BEGINS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_ESCAPE = re.compile(r"\\(u\{[0-9A-Fa-f]{1,6}\}|.)", re.DOTALL)
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}


#: The last moment of the year 9999, inclusive: the last that RFC 3339 can say. The first is that of 1970, which is 0.
LATEST = 253_402_300_799_999_999


class BadLiteral(ValueError):
    """A literal of the right shape and the wrong content; its text says why, as a diagnostic would."""


def unquote(token: str) -> str:
    """The value of a quoted string."""
    body = token[1:-1]
    if "\\" in body:
        body = _ESCAPE.sub(_unescape, body)
    if len(body) * 4 > STRING_BYTES_MAX and len(body.encode("utf-8", "surrogatepass")) > STRING_BYTES_MAX:
        raise BadLiteral("a string holds at most 64 KiB")
    return body


def _unescape(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] == "u" and len(escape) > 1:
        point = int(escape[2:-1], 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise BadLiteral(f"`\\{escape}` is not a character")
        return chr(point)
    if escape not in _ESCAPES:
        raise BadLiteral(f'unknown escape `\\{escape}`; known are \\" \\\\ \\n \\r \\t \\u{{…}}')
    return _ESCAPES[escape]


def quote(value: str) -> str:
    """The one canonical spelling of a string."""
    out = []
    for c in value:
        if c in '"\\':
            out.append("\\" + c)
        elif c in "\n\r\t":
            out.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[c])
        elif not c.isprintable():
            out.append(f"\\u{{{ord(c):x}}}")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def parse_duration(text: str) -> int:
    """Microseconds of `15m`, `1h30m`."""
    if not _DURATION.fullmatch(text):
        raise BadLiteral(f"`{printable(text[:60])}` is not a duration such as `15m` or `1h30m`")
    total = sum(int(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text))
    if total > INT_MAX:
        raise BadLiteral("a duration of more than 292,000 years")
    return total


def format_duration(microseconds: int) -> str:
    if microseconds == 0:
        return "0s"
    sign, rest = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    parts = []
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def parse_instant(text: str) -> int:
    """Microseconds since the epoch, UTC, of an RFC 3339 instant; an offset is demanded, a leap second refused."""
    match = _INSTANT.fullmatch(text)
    if not match:
        raise BadLiteral(f"`{printable(text[:60])}` is not an instant such as `2026-01-31T09:00:00Z`; the offset is needed")
    year, month, day, hour, minute = (int(match[i]) for i in range(1, 6))
    second, fraction = int(match[6] or 0), int((match[7] or "").ljust(6, "0"))
    try:
        microseconds = (datetime(year, month, day, hour, minute, second, fraction, tzinfo=UTC) - _EPOCH) // _MICROSECOND
        if match[9]:
            hours, minutes = int(match[10]), int(match[11])
            if hours > 23 or minutes > 59:
                raise ValueError("offset")
            offset = hours * _UNITS["h"] + minutes * _UNITS["m"]
            microseconds -= offset if match[9] == "+" else -offset
    except ValueError as error:
        raise BadLiteral(f"`{printable(text)}` is not a moment of the calendar") from error
    if not 0 <= microseconds <= LATEST:
        raise BadLiteral(f"`{printable(text)}` is before 1970 or after 9999, in UTC")
    return microseconds


@lru_cache(maxsize=1_024)  # ends of certificates and grants, which are told with every answer
def format_instant(microseconds: int) -> str:
    """An instant in RFC 3339. One beyond the calendar, as a sum can be, is the last moment of it, or the first."""
    moment = _EPOCH + timedelta(microseconds=max(_CALENDAR_BEGINS, min(microseconds, LATEST)))
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    return text + "Z"


def parse_int(text: str) -> int:
    if len(text) > 1 and text[0] == "0":
        raise BadLiteral(f"`{text[:40]}` starts with a zero")
    if len(text) > 19 or int(text) > INT_MAX + 1:  # one more than fits: `-9223372036854775808` is read as its negation
        raise BadLiteral(f"`{text[:40]}` does not fit into 64 bits")
    return int(text)


def parse_clock(text: str, *, end: bool) -> int:
    """Minutes of the day of `09:00`; `24:00` may end a window."""
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours > 24 or (hours == 24 and (minutes or not end)):
        raise BadLiteral(f"`{printable(text)}` is not a time of day")
    return hours * 60 + minutes
