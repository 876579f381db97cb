"""Plots of the page, as SVG: bars for shares of attention, lines over frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Of Okabe and Ito, which stay apart for people with a colour vision deficiency.
PROMPTED, TRACKED, POINTER, RECORDED, OTHER = "#d55e00", "#0072b2", "#009e73", "#767676", "#cc79a7"

_ROW, _NAME, _BAR, _NUMBER = 22, 260, 420, 76  # pixels: height of a row; widths of its parts
_LEFT, _WIDTH, _HEIGHT, _BOTTOM = 64, 720, 130, 22  # of a plot of lines


@dataclass(frozen=True)
class Bar:
    """A share of attention: mean, of each layer, and what it would be if all tokens got the same."""

    name: str
    colour: str
    share: float
    layers: Sequence[float]
    even: float


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars; dots are the layers, a line is the even share."""
    most = max((max(row.share, *row.layers) for row in rows), default=1.0) or 1.0
    height = _ROW * len(rows) + 4
    parts = []
    for index, row in enumerate(rows):
        top, middle = _ROW * index, _ROW * index + _ROW // 2
        even = _NAME + _BAR * row.even / most
        parts += [
            _text(_NAME - 8, middle + 4, row.name, anchor="end"),
            f'<rect x="{_NAME}" y="{top + 3}" width="{_BAR * row.share / most:.1f}" height="{_ROW - 6}" fill="{row.colour}" fill-opacity="0.8"/>',
            *(_dot(_NAME + _BAR * layer / most, middle, f"layer {number}: {layer:.1%}") for number, layer in enumerate(row.layers, 1)),
            f'<line x1="{even:.1f}" x2="{even:.1f}" y1="{top + 1}" y2="{top + _ROW - 1}" stroke="#222" stroke-dasharray="3 2"/>',
            _text(_NAME + _BAR + 16, middle + 4, f"{row.share:.1%}"),
        ]
    return _svg(_NAME + _BAR + _NUMBER, height, parts)


def _dot(x: float, y: float, told: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y}" r="3" fill="#fff" stroke="#222"><title>{told}</title></circle>'


@dataclass(frozen=True)
class Line:
    """Values by frame, in order; a value that is not known leaves a gap."""

    name: str
    colour: str
    points: Sequence[tuple[int, float | None]]
    dashed: bool = False


@dataclass(frozen=True)
class Marks:
    """Frames to mark: the one that is asked about, and those with prompts."""

    asked: int
    prompted: Sequence[int]


def lines(title: str, drawn: Sequence[Line], marks: Marks, *, low: float | None = None, high: float | None = None, level: float | None = None) -> str:
    """Lines over frames. `low`, `high`: ends of the axis, if fixed; `level`: a value that gets a line of its own."""
    frames = [frame for line in drawn for frame, _ in line.points]
    values = [value for line in drawn for _, value in line.points if value is not None] + ([] if level is None else [level])
    bottom, top = _axis(values, low, high)
    first, last = min(frames), max(frames)

    def x(frame: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 10) * (frame - first) / max(last - first, 1)

    def y(value: float) -> float:
        return 24 + (_HEIGHT - 24) * (top - value) / (top - bottom)

    parts = [_text(_LEFT, 14, title, bold=True), *_legend(drawn)]
    for value in _ticks(bottom, top, 4):
        parts += [_rule(_LEFT, _WIDTH - 10, y(value), "#ddd"), _text(_LEFT - 6, y(value) + 4, f"{value:,g}", anchor="end")]
    if level is not None:
        parts.append(_rule(_LEFT, _WIDTH - 10, y(level), "#222"))
    for tick in _ticks(first, last, 12):
        if tick == int(tick):
            parts.append(_text(x(tick), _HEIGHT + 16, f"{tick:g}", anchor="middle"))
    for frame in marks.prompted:
        parts.append(f'<path d="M{x(frame):.1f} {_HEIGHT} l-5 -9 h10 z" fill="{PROMPTED}"><title>prompted on frame {frame}</title></path>')
    parts.append(f'<line x1="{x(marks.asked):.1f}" x2="{x(marks.asked):.1f}" y1="20" y2="{_HEIGHT}" stroke="#222" stroke-width="1.5"/>')
    parts += [_path(line, x, y) for line in drawn]
    return _svg(_WIDTH, _HEIGHT + _BOTTOM, parts)


def _axis(values: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    bottom, top = min(values, default=0.0) if low is None else low, max(values, default=1.0) if high is None else high
    return (bottom, top) if top > bottom else (bottom - 1, top + 1)


def _ticks(first: float, last: float, most: int) -> list[float]:
    """Round numbers between both, at most so many and one."""
    step = next(number * 10.0**power for power in range(-9, 19) for number in (1, 2, 5) if (last - first) / (number * 10.0**power) <= most)
    return [step * index for index in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _path(line: Line, x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    runs: list[list[str]] = [[]]
    for frame, value in line.points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(frame):.1f},{y(value):.1f}")
    style = f'fill="none" stroke="{line.colour}" stroke-width="{1.5 if line.dashed else 2}"' + (' stroke-dasharray="5 3"' if line.dashed else "")
    dots = (f'<circle cx="{run[0].split(",")[0]}" cy="{run[0].split(",")[1]}" r="2" fill="{line.colour}"/>' for run in runs if len(run) == 1)
    return "".join([*(f'<polyline points="{" ".join(run)}" {style}/>' for run in runs if len(run) > 1), *dots])


def _legend(drawn: Sequence[Line]) -> list[str]:
    parts, right = [], _WIDTH - 10
    for line in reversed(drawn):
        right -= 8 * len(line.name) + 44
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<line x1="{right}" x2="{right + 24}" y1="10" y2="10" stroke="{line.colour}" stroke-width="2"{dash}/>')
        parts.append(_text(right + 28, 14, line.name))
    return parts


def _rule(left: float, right: float, height: float, colour: str) -> str:
    return f'<line x1="{left}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'
