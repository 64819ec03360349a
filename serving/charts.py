"""Charts as SVG, made on the server: lines over releases or months, points of two figures, and an interval against a bound.

Each has a title for those who hear it; the table of its numbers stands beside it on the page. Colours are classes, so that the style
sheet has them for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from markupsafe import escape, Markup

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
NAMES = 90  # the right side where names of lines stand there
COLOURS = 8
MARKED = 60  # points of a line that are few enough to be marked


class Point(NamedTuple):
    """A value with its interval, None where it has none; `at` is its place among the ticks."""

    at: int
    value: float
    low: float | None = None
    high: float | None = None


class Line(NamedTuple):
    name: str
    points: Sequence[Point]
    is_main: bool = False


class Dot(NamedTuple):
    name: str
    x: float
    y: float
    is_main: bool = False


class Measured(NamedTuple):
    """A metric of several releases and models, as lines, and as a row of its table for each release."""

    lines: list[Line]
    ticks: list[str]
    table: list[dict[str, Any]]


class Axis:
    """Values on a stretch of the picture, from nice round ticks."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        low, high = (bound(values := list(values)) for bound in (min, max))
        step = _round_step((high - low) or abs(high) or 1.0)
        first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
        self.ticks = [round(step * k, 12) for k in range(first, last + 1)]
        self._start, self._by = start, (end - start) / (self.ticks[-1] - self.ticks[0])

    def __call__(self, value: float) -> float:
        return round(self._start + (value - self.ticks[0]) * self._by, 1)


def lines(drawn: Sequence[Line], ticks: Sequence[str], title: str, *, is_named: bool = False, is_from_zero: bool = False) -> Markup:
    """Lines over the ticks; the main one is thick and shows its intervals. `is_named` writes each name at the end of its line."""
    values = [value for line in drawn for point in line.points for value in _extent(point, line.is_main)]
    if not values:
        return Markup("")
    y = Axis([*values, 0.0] if is_from_zero else values, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - (NAMES if is_named else RIGHT)) / max(len(ticks), 1)

    def x(at: float) -> float:
        return round(LEFT + step * (at + 0.5), 1)

    parts = [rules(y)]
    for at in _some(len(ticks), 4):
        parts.append(text(min(x(at), WIDTH - 3.5 * len(ticks[at])), HEIGHT - 10, ticks[at], "middle"))
    for number, line in sorted(enumerate(drawn), key=lambda one: one[1].is_main):
        colour = f"c{number % COLOURS}{' main' if line.is_main else ''}"
        places = [(x(point.at), y(point.value)) for point in line.points]
        if line.is_main:
            parts += [
                Markup('<path class="{} interval" d="M{} {}V{}"/>').format(colour, x(p.at), y(p.low), y(p.high))
                for p in line.points
                if p.low is not None and p.high is not None
            ]
        if len(places) > 1:
            parts.append(Markup('<polyline class="{}" points="{}"/>').format(colour, " ".join(f"{px},{py}" for px, py in places)))
        parts += [
            Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                colour, px, py, 4 if line.is_main else 3, f"{line.name}: {said(point.value)}, {ticks[point.at]}"
            )
            for (px, py), point in zip(places, line.points)
            if len(places) <= MARKED
        ]
    if is_named:
        ends = [(Dot(line.name, x(line.points[-1].at), 0, line.is_main), y(line.points[-1].value)) for line in drawn if line.points]
        parts += [text(dot.x + 9, height + 4, dot.name, "start", "main" if dot.is_main else "") for dot, height in _apart(ends)]
    return svg(parts, title)


def points(drawn: Sequence[Dot], x_name: str, y_name: str, title: str) -> Markup:
    """One dot for each name, by two figures; names stand beside their dots."""
    if not drawn:
        return Markup("")
    x, y = Axis([dot.x for dot in drawn], LEFT + 12, WIDTH - 110), Axis([dot.y for dot in drawn], HEIGHT - BOTTOM, TOP + 14)
    parts = [rules(y), text(LEFT - 56, TOP, y_name, "start")]
    parts += [text(x(tick), HEIGHT - 18, f"{tick:g}", "middle") for tick in x.ticks]
    parts.append(text(WIDTH - RIGHT, HEIGHT - 4, x_name, "end"))
    for number, dot in enumerate(drawn):
        colour = f"c{number % COLOURS}{' main' if dot.is_main else ''}"
        parts.append(
            Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
                colour, x(dot.x), y(dot.y), 6 if dot.is_main else 4, f"{dot.name}: {x_name} {dot.x:.4g}, {y_name} {dot.y:.4g}"
            )
        )
    for dot, height in _apart([(dot, y(dot.y)) for dot in drawn]):
        parts.append(text(x(dot.x) + 9, height + 4, dot.name, "start", "main" if dot.is_main else ""))
    return svg(parts, title)


def waterfall(shares: Sequence[float]) -> list[Markup]:
    """A bar for each share of a sum, which begins where the one before ended, and one from zero to the sum."""
    ends = list(accumulate(shares, initial=0.0))
    low, by = min(ends), 100 / ((max(ends) - min(ends)) or 1.0)
    drawn = []
    for start, end in [*pairwise(ends), (0.0, ends[-1])]:
        left, width, zero = (min(start, end) - low) * by, abs(end - start) * by, -low * by
        drawn.append(
            Markup(
                '<svg class="bar{}" aria-hidden="true"><rect x="{:.1f}%" width="{:.1f}%" height="100%" rx="2"/>'
                '<line class="zero" x1="{:.1f}%" x2="{:.1f}%" y1="0" y2="100%"/></svg>'
            ).format(" minus" if end < start else "", left, width, zero, zero)
        )
    return drawn


def stacked(shares: Sequence[float]) -> Markup:
    """One bar of the shares of a sum that add to it, in the order and the colours of their list; those that take away lie over its end."""
    whole = sum(share for share in shares if share > 0) or 1.0
    parts, over, end = [], [], 0.0
    rect = Markup('<rect class="c{}" x="{:.1f}%" y="{}%" width="{:.1f}%" height="{}%"/>')
    for number, share in enumerate(shares):
        if share > 0:
            parts.append(rect.format(number % COLOURS, end, 0, share / whole * 100, 100))
            end += share / whole * 100
    for number, share in enumerate(shares):
        if share < 0:
            end += share / whole * 100
            over.append(rect.format(number % COLOURS, end, 60, -share / whole * 100, 40))
    return Markup('<svg class="stack" aria-hidden="true">{}</svg>').format(Markup("").join([*parts, *over]))


def sparkline(values: Sequence[float], title: str) -> Markup:
    """A small line of a figure over releases, the oldest first; nothing where there are not two."""
    if len(values) < 2:
        return Markup("")
    middle, spread = (min(values) + max(values)) / 2, (max(values) - min(values)) or 1.0
    places = " ".join(f"{100 * at / (len(values) - 1):.1f},{12 - 20 * (value - middle) / spread:.1f}" for at, value in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{}"><polyline class="c0" points="{}"/></svg>'
    ).format(title, places)


def chart_of(rows: Sequence[Mapping[str, Any]]) -> Measured:
    """Rows of /quality as a line for each model; the one that the last release serves is the main one."""
    of_releases: dict[str, dict[str, Any]] = {}
    for row in rows:
        table_row = of_releases.setdefault(row["release"], {"release": row["release"], "at": row["created_at"], "cells": {}, "n_users": 0})
        table_row["cells"][row["model"]] = row
        table_row["n_users"] = max(table_row["n_users"], row["n_users"])
    table = list(of_releases.values())
    served = {row["model"] for of in table[-1:] for row in of["cells"].values() if row["is_served"]}
    drawn = [
        Line(
            model,
            [
                Point(at, row["value"], row["low"], row["high"])
                for at, of in enumerate(table)
                if (row := of["cells"].get(model)) is not None
            ],
            model in served,
        )
        for model in sorted({row["model"] for row in rows}, key=lambda model: (model not in served, model))
    ]
    return Measured(drawn, [of["at"][:10] for of in table], table)


def rows_of(releases: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Releases of /data as a line each for the rows that were accepted, that were there before, and that were refused."""
    names = {"accepted": "n_accepted", "duplicates": "n_duplicates", "refused": "n_quarantined"}
    return [
        Line(name, [Point(at, release[figure]) for at, release in enumerate(releases)], name == "accepted")
        for name, figure in names.items()
    ]


def dots_of(models: Iterable[Mapping[str, Any]]) -> list[Dot]:
    """Models as dots, the served one first, as `chart_of` has them."""
    return [
        Dot(row["model"], row["coverage"], row["value"], row["is_served"])
        for row in sorted(models, key=lambda row: (not row["is_served"], row["model"]))
    ]


def largest_difference(verdicts: Iterable[Mapping[str, Any]]) -> float:
    """The end of the axis of all intervals, so that they compare."""
    return max((abs(row[name]) for row in verdicts for name in ("low", "high") if row[name] is not None), default=1.0) or 1.0


def interval(low: float, value: float, high: float, least: float | None, most: float) -> Markup:
    """A difference with its interval, 0 in the middle and `most` at the ends; `least` is the bound below which it is too bad."""

    def x(at: float) -> float:
        return round(100 + 96 * max(-1.0, min(1.0, at / (most or 1.0))), 1)

    bound = Markup('<path class="bound" d="M{} 2V22"/>').format(x(least)) if least is not None else Markup("")
    return Markup(
        '<svg class="difference" viewBox="0 0 200 24" role="img" aria-label="{}"><path class="zero" d="M100 0V24"/>{}'
        '<path class="c0 interval" d="M{} 12H{}"/><circle class="c0" cx="{}" cy="12" r="4"/></svg>'
    ).format(f"{value:+.4f}, from {low:+.4f} to {high:+.4f}", bound, x(low), x(high), x(value))


def _extent(point: Point, is_main: bool) -> list[float]:
    bounds = (point.low, point.high) if is_main else ()
    return [point.value, *(bound for bound in bounds if bound is not None)]


def _round_step(spread: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that parts the spread into three to seven."""
    size = 10.0 ** math.floor(math.log10(spread / 4))
    return next(size * times for times in (1, 2, 5, 10) if spread / (size * times) <= 5)


def _some(n: int, most: int) -> list[int]:
    """Up to `most` places of n, evenly, the last among them."""
    return sorted({n - 1 - round(k * max(1.0, n / most)) for k in range(most)} & set(range(n)))


def _apart(placed: list[tuple[Dot, float]], least: float = 13.0) -> list[tuple[Dot, float]]:
    """Labels from top to bottom, moved down where they would cover the one before."""
    labels: list[tuple[Dot, float]] = []
    for dot, height in sorted(placed, key=lambda one: one[1]):
        labels.append((dot, max(height, labels[-1][1] + least) if labels else height))
    return labels


def rules(y: Axis, unit: str = "") -> Markup:
    rule = Markup('<path class="rule" d="M{} {}H{}"/>')
    return Markup("").join(
        part
        for tick in y.ticks
        for part in (rule.format(LEFT, y(tick), WIDTH - RIGHT), text(LEFT - 8, y(tick) + 4, f"{_short(tick)}{unit}", "end"))
    )


def said(value: float) -> str:
    """A figure where one points at it: four digits, a count whole."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _short(value: float) -> str:
    """A round figure in the room beside an axis: 2 M for two million."""
    return f"{value / 1e6:g} M" if abs(value) >= 1e6 else f"{value:,g}"


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, kind, words)


def svg(parts: Iterable[Markup], title: str, height: float = HEIGHT) -> Markup:
    inner = Markup("").join(parts)
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(WIDTH, height, escape(title), inner)
