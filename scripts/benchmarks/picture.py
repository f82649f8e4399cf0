"""One picture of all ratios: a bar for each goal, on a scale of times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from scripts.benchmarks.goals import Goal
from scripts.benchmarks.report import figure

_LEAST, _MOST = 1 / 32, 32.0
_LEFT, _WIDE, _RIGHT = 470, 420, 110
_TOP, _ROW, _BAR = 78, 22, 12
_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}"
 font-family="system-ui, sans-serif" font-size="12" fill="#1c2430">
<rect width="{wide}" height="{high}" fill="#fff"/>"""
_MET, _MISSED, _INK, _FAINT = "#2c7a51", "#c2452d", "#1c2430", "#c9d0d8"


def svg(goals: Sequence[Goal], title: str) -> str:
    """Return the picture; a bar that ends left of its mark has met its goal.

    What lies beyond the scale ends with it; the figure beside it is exact.
    """
    wide, high = _LEFT + _WIDE + _RIGHT, _TOP + _ROW * len(goals) + 16
    head = "Ours to theirs, and the goal of each (|): less is better"
    lines = [
        _HEAD.format(wide=wide, high=high),
        f'<text x="16" y="26" font-size="16" font-weight="600">{head}</text>',
        f'<text x="16" y="46">{escape(title)}</text>',
        *_scale(high),
    ]
    for number, goal in enumerate(goals):
        lines += _bar(goal, _TOP + _ROW * number)
    return "\n".join([*lines, "</svg>", ""])


def _scale(high: int) -> Iterator[str]:
    step = _LEAST
    while step <= _MOST:
        x = _at(step)
        name = f"{step:g}" if step >= 1 else f"1/{1 / step:g}"
        ink = _INK if step == 1 else _FAINT
        yield f'<path d="M{x} {_TOP - 8}V{high - 12}" stroke="{ink}"/>'
        yield f'<text x="{x}" y="{_TOP - 14}" text-anchor="middle">{name}</text>'
        step *= 2


def _bar(goal: Goal, y: int) -> Iterator[str]:
    ink = _MET if goal.met else _MISSED
    middle = y + _BAR / 2
    words = escape(f"{goal.what} / {goal.against}")
    yield f'<text x="{_LEFT - 10}" y="{middle + 4}" text-anchor="end">{words}</text>'
    width = round(_at(goal.reached) - _LEFT, 1)
    yield (
        f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" fill="{ink}"'
        ' fill-opacity=".75"/>'
    )
    if goal.spread is not None:
        least, most = map(_at, goal.spread)
        yield f'<path d="M{least} {middle}H{most}" stroke="{_INK}"/>'
    mark = _at(goal.most)
    yield f'<path d="M{mark} {y - 3}v{_BAR + 6}" stroke="{_INK}" stroke-width="2"/>'
    yield (
        f'<text x="{_LEFT + _WIDE + 10}" y="{middle + 4}" fill="{ink}">'
        f"{figure(goal.reached)}</text>"
    )


def _at(ratio: float) -> float:
    """Return where a ratio is on the scale, from left to right."""
    within = min(max(ratio, _LEAST), _MOST)
    share = math.log(within / _LEAST) / math.log(_MOST / _LEAST)
    return round(_LEFT + share * _WIDE, 1)
