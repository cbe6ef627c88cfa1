"""SPIFFE IDs and the patterns of `who`.

One validator, used for policies, data and requests alike. Nothing is normalised and nothing is trimmed: an ID is
either canonical or refused (ID-1 to ID-6). Patterns compare whole segments, never prefixes of text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ID_BYTES_MAX = 2048

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+"
_ID = re.compile(rf"spiffe://([a-z0-9._-]{{1,255}})((?:/{_SEGMENT})*)", re.ASCII)
_PATTERN = re.compile(rf"spiffe://([a-z0-9._-]{{1,255}})((?:/(?:\*|{_SEGMENT}))*)(/\*\*)?", re.ASCII)


def is_spiffe_id(text: str) -> bool:
    """Whether a text is a canonical workload ID: a trust domain and a path that is not empty."""
    match = _ID.fullmatch(text) if len(text) <= ID_BYTES_MAX else None
    return match is not None and match[2] != ""


def spiffe_segments(text: str) -> tuple[str, ...] | None:
    """The parts of a canonical ID, trust domain first; one part alone names a trust domain. Nothing when it is none."""
    match = _ID.fullmatch(text) if len(text) <= ID_BYTES_MAX else None
    return None if match is None else tuple(text[len("spiffe://") :].split("/"))


@dataclass(frozen=True, slots=True)
class SpiffePattern:
    """`*` is one whole segment, `**` is the rest (at least one segment); the trust domain is literal."""

    text: str
    segments: tuple[str, ...]  # trust domain first
    rest: bool

    @property
    def is_exact(self) -> bool:
        return not self.rest and "*" not in self.segments

    @property
    def is_one_below(self) -> bool:
        """`…/*` with no other wildcard: any ID one segment below a fixed one."""
        return not self.rest and self.segments[-1] == "*" and "*" not in self.segments[:-1]

    def matches(self, spiffe_id: str) -> bool:
        if not spiffe_id.startswith("spiffe://"):
            return False
        parts = spiffe_id[9:].split("/")
        count = len(self.segments)
        if len(parts) <= count if self.rest else len(parts) != count:
            return False
        return all(want in ("*", part) for want, part in zip(self.segments, parts, strict=False))


def parse_pattern(text: str) -> SpiffePattern | None:
    """The pattern, or nothing when the text is not one."""
    match = _PATTERN.fullmatch(text) if len(text) <= ID_BYTES_MAX else None
    if match is None or not (match[2] or match[3]):
        return None
    segments = (match[1], *match[2].split("/")[1:])
    return SpiffePattern(text, segments, match[3] is not None)
