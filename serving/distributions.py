"""Charts of what an aggregate is made of: months, shares side by side, and the curve of a long tail. The primitives are `charts`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from serving.charts import Axis, BOTTOM, HEIGHT, LEFT, Line, lines, Point, RIGHT, rules, said, svg, text, TOP, WIDTH

ROW, BAR, GAP = 11, 8, 10  # of bars that lie on their side: from one to the next, thickness, between groups
WORDS, VALUES = 150, 50  # the left side where their labels stand, and the right side of their values
LONGEST = 22  # characters of a label there
LABELS = 14  # of columns that stand

Rows = Sequence[Mapping[str, Any]]


class Series(NamedTuple):
    """A column of an aggregate: its key, its name for people, and the number of its colour."""

    key: str
    name: str
    colour: int


def keyed(rows: Rows, key: str) -> dict[str, Mapping[str, Any]]:
    """Return the rows by one of their values."""
    return {row[key]: row for row in rows}


def months(rows: Rows, key: str, name: str, title: str) -> Markup:
    """A line of a figure by month; a month without rows is 0."""
    by_month = {_number_of(row["label"]): row[key] for row in rows}
    first, last = min(by_month), max(by_month)
    ticks = [f"{number // 12}-{number % 12 + 1:02d}" for number in range(first, last + 1)]
    drawn = Line(name, [Point(at, by_month.get(first + at, 0)) for at in range(len(ticks))])
    return lines([drawn], ticks, title, is_from_zero=True)


def columns(rows: Rows, series: Sequence[Series], title: str, unit: str = "") -> Markup:
    """Groups of columns that stand side by side, a group a row."""
    y = Axis([0.0, *(row[one.key] for row in rows for one in series if one.key in row)], HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(rows)
    width, every = step * 0.8 / len(series), -(-len(rows) // LABELS)
    parts = [rules(y, unit)]
    for at, row in enumerate(rows):
        left = LEFT + step * (at + 0.1)
        if at % every == 0:
            parts.append(text(round(LEFT + step * (at + 0.5), 1), HEIGHT - 10, row["label"], "middle"))
        parts += [
            _bar(one, row, unit, left + width * place, y(row[one.key]), width - 1, y(0.0) - y(row[one.key]))
            for place, one in enumerate(series)
            if one.key in row
        ]
    return svg(parts, title)


def sideways(rows: Rows, series: Sequence[Series], title: str, unit: str = "") -> Markup:
    """Groups of bars that lie one below the other, a group a row, with the last figure of each group behind its bar."""
    most = max((row[one.key] for row in rows for one in series if one.key in row), default=0.0) or 1.0
    by, group, parts = (WIDTH - WORDS - VALUES) / most, ROW * len(series) + GAP, []
    for at, row in enumerate(rows):
        top, label = GAP + group * at, row["label"]
        shown = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
        parts.append(text(WORDS - 8, top + ROW * len(series) / 2 + 4, shown, "end"))
        for place, one in enumerate(series):
            if one.key in row:
                parts.append(_bar(one, row, unit, WORDS, top + ROW * place, max(row[one.key] * by, 0.5), BAR))
        last = [row[one.key] for one in series if one.key in row][-1:]
        parts += [text(WORDS + value * by + 6, top + ROW * len(series) - 3, f"{value:.1f}{unit}", "start") for value in last]
    return svg(parts, title, GAP + group * len(rows))


def lorenz(rows: Rows, x_key: str, series: Sequence[Series], title: str) -> Markup:
    """Shares of a whole over the share of those that have least, in per cent; the diagonal is what all would have alike."""
    x, y = Axis([0.0, 100.0], LEFT, WIDTH - RIGHT), Axis([0.0, 100.0], HEIGHT - BOTTOM, TOP)
    parts = [rules(y, " %"), Markup('<path class="zero" d="M{} {}L{} {}"/>').format(x(0.0), y(0.0), x(100.0), y(100.0))]
    parts += [text(min(x(tick), WIDTH - 18.0), HEIGHT - 14, f"{tick:g} %", "middle") for tick in x.ticks]
    for one in series:
        places = [(0.0, 0.0), *((row[x_key], row[one.key]) for row in rows if one.key in row)]
        drawn = " ".join(f"{x(at)},{y(value)}" for at, value in places)
        parts.append(Markup('<polyline class="c{}" points="{}"><title>{}</title></polyline>').format(one.colour, drawn, one.name))
    return svg(parts, title)


def _number_of(month: str) -> int:
    """Months since the year 0."""
    year, _, of_year = month.rpartition("-")
    return int(year) * 12 + int(of_year) - 1


def _bar(one: Series, row: Mapping[str, Any], unit: str, x: float, y: float, width: float, height: float) -> Markup:
    words = f"{row['label']}, {one.name}: {said(row[one.key])}{unit}"
    return Markup('<rect class="c{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>').format(
        one.colour, x, y, max(width, 0.5), max(height, 0.0), words
    )
