"""A chart of lines as SVG, written by hand: no library, and the same bytes for the same figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 40, 48
COLOURS = ("#0b6e4f", "#b5651d", "#3b5b92", "#8a2d3b", "#6b6b6b", "#7a5ea8", "#c2a000", "#2c8c99")
_TEXT = 'font-family="sans-serif" font-size="12" fill="#222"'

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: tuple[Point, ...]
    dashed: bool = False  # a peer's


@dataclass(frozen=True, slots=True)
class Plot:
    """`name` is that of its file, without the ending."""

    name: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = True


@dataclass(frozen=True, slots=True)
class _Axis:
    """From a value to a place, and where its marks are."""

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def svg(plot: Plot) -> str:
    points = [p for line in plot.lines for p in line.points]
    across = _axis([x for x, _ in points], plot.log_x, LEFT, WIDTH - RIGHT)
    up = _axis([y for _, y in points], plot.log_y, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{escape(plot.title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 22, plot.title, 'font-weight="bold"'),
        *_grid(across, up),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, plot.x, 'text-anchor="middle"'),
        _text(LEFT, TOP - 4, plot.y),
        *_lines(plot.lines, across, up),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(across: _Axis, up: _Axis) -> list[str]:
    parts = []
    for tick in up.ticks:
        y = up.place(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, _label(tick), 'text-anchor="end"'))
    for tick in across.ticks:
        x = across.place(tick)
        parts.append(f'<path d="M{x:.1f} {HEIGHT - BOTTOM}v5" stroke="#888"/>')
        parts.append(_text(x, HEIGHT - BOTTOM + 18, _label(tick), 'text-anchor="middle"'))
    parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>')
    return parts


def _lines(lines: Sequence[Line], across: _Axis, up: _Axis) -> list[str]:
    parts = []
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        stroke = f'stroke="{colour}" stroke-width="2"' + (' stroke-dasharray="5 4"' if line.dashed else "")
        places = [(across.place(x), up.place(y)) for x, y in line.points]
        parts.append(f'<path d="M{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}" fill="none" {stroke}/>')
        if len(places) <= 20:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        key = TOP + 8 + 20 * number
        parts.append(f'<path d="M{WIDTH - RIGHT + 12} {key}h22" {stroke}/>')
        parts.append(_text(WIDTH - RIGHT + 40, key + 4, line.name))
    return parts


def _axis(values: Sequence[float], log: bool, first: float, last: float) -> _Axis:
    low, high = min(values), max(values)
    if log:
        ticks = _decades(low, high)
        low, high = math.log10(min(low, ticks[0])), math.log10(max(high, ticks[-1]))
        return _Axis(lambda v: first + (math.log10(v) - low) / ((high - low) or 1) * (last - first), ticks)
    ticks = _steps(min(low, 0.0), high)
    low, high = min(low, 0.0), max(high, ticks[-1])
    return _Axis(lambda v: first + (v - low) / ((high - low) or 1) * (last - first), ticks)


def _decades(low: float, high: float) -> tuple[float, ...]:
    return tuple(10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1))


def _steps(low: float, high: float) -> tuple[float, ...]:
    """About five round numbers."""
    rough = (high - low) / 5 or 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    return tuple(low + step * n for n in range(math.ceil((high - low) / step) + 1))


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 and value == int(value) else f"{value:g}"


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_TEXT} {more}>{escape(words)}</text>'
