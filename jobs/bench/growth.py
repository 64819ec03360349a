"""Records of `bench scale`, size by size, as the table and plot of README.md beside this; the records lie in `measured/`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.staging.record import STEPS

MEASURED = Path(__file__).with_name("measured")
PLOT = MEASURED / "growth.svg"
SHOWN = tuple(step for step in STEPS if step != "promote")
ABOUT_ITEMS = ("similar_items_s", "popular_train_s", "content_train_s")
COLOURS = ("#1b6ca8", "#c8553d", "#2a9d8f", "#8a5fbf", "#b08900", "#333333")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 60, 130, 20, 50

Record = dict[str, Any]


def scales() -> list[Record]:
    """The records of `cinematch bench scale`, the smallest first."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in MEASURED.glob("scale-*.json")]
    return sorted(records, key=lambda record: record["n_accepted"])


def whole_scales() -> list[Record]:
    """Return the records of which every step was measured."""
    return [record for record in scales() if _is_whole(record)]


def _is_whole(record: Record) -> bool:
    return "seal_s" in record


def comparable(step: str) -> list[Record]:
    """Return the records in which a step had the same to do: with fewer models, training and evaluation are other work."""
    most = max(record["n_models"] for record in scales())
    records = [r for r in (whole_scales() if step == "steps" else scales()) if f"{step}_s" in r]
    return [r for r in records if step not in ("train", "evaluate") or r["n_models"] == most]


def scale_table() -> str:
    """Markdown: a column a size, a row a step; seconds and peak MiB, then bytes and service."""
    records = scales()
    head = "| | " + " | ".join(f"{record['n_accepted']:,}" for record in records) + " |"
    lines = [head, "|---" * (len(records) + 1) + "|"]

    def row(label: str, value: Callable[[Record], str]) -> None:
        values = [_or_nothing(value, record) for record in records]
        if any(values):
            lines.append(f"| {label} | " + " | ".join(values) + " |")

    row("users; items", lambda r: f"{r['n_users']:,}; {r['n_items']:,}")
    row("models", lambda r: f"{r['n_models']}")
    for step in SHOWN:
        row(f"`{step}`, s; peak MiB", lambda r, step=step: f"{r[f'{step}_s']:,.0f}; {r[f'{step}_peak_mib']:,.0f}")
        if step == "train":
            row("of it `ials`, s", "{ials_train_s:,.0f}".format_map)
            row("of it `als`, s", "{als_train_s:,.0f}".format_map)
            row("of it similar items, popular and content, s", lambda r: f"{sum(r[name] for name in ABOUT_ITEMS):,.0f}")
    row("all steps, s", lambda r: f"{r['steps_s']:,.0f}" if _is_whole(r) else "")
    row("s a million ratings", lambda r: f"{per_million(r, 'steps'):,.1f}" if _is_whole(r) else "")
    row("list rows; explanation rows", lambda r: f"{r['n_recommendations']:,}; {r['n_explanations']:,}")
    row("release, MiB; of it SQLite", lambda r: f"{r['release_mib']:,.0f}; {r['database_mib']:,.0f}")
    row(
        "bytes of SQLite a list row; explanation; rating",
        lambda r: "; ".join(f"{r[f'{name}_row_bytes']:.0f}" for name in ("recommendations", "explanations", "ratings")),
    )
    row("start to first answer, s; resident MiB", "{start_to_first_answer_s:.2f}; {resident_loaded_mib:,.0f}".format_map)
    row("lookups/s; of those of a small release", "{lookup_per_s:,.0f}; {lookup_to_small_ratio:.2f}".format_map)
    return "\n".join(lines) + "\n"


def _or_nothing(value: Callable[[Record], str], record: Record) -> str:
    """Empty where a record has not measured it."""
    try:
        return value(record)
    except KeyError:
        return ""


def per_million(record: Record, step: str) -> float:
    """Seconds a million ratings."""
    return record[f"{step}_s"] / record["n_accepted"] * 1e6


def growth_plot() -> str:
    """SVG: seconds a million ratings of each step over the size, both axes logarithmic. Flat is in proportion."""
    records = scales()
    sizes = [record["n_accepted"] for record in records]
    values = {step: [(r["n_accepted"], per_million(r, step)) for r in comparable(step)] for step in (*SHOWN, "steps")}
    flat = [value for line in values.values() for _, value in line]
    low, high = (10.0**whole for whole in (math.floor(math.log10(min(flat))), math.ceil(math.log10(max(flat)))))
    x = _axis(min(sizes), max(sizes), LEFT, WIDTH - RIGHT)
    y = _axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    for size in sizes:
        parts.append(_text(x(size), HEIGHT - BOTTOM + 18, f"{size / 1e6:.3g} M"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "ratings"))
    middle = HEIGHT / 2
    parts.append(_text(14, middle, "seconds a million ratings", f' transform="rotate(-90 14 {middle:.0f})"'))
    labels = _apart({step: y(line[-1][1]) for step, line in values.items()})
    for (step, line), colour in zip(values.items(), COLOURS):
        points = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in line)
        wide = 3 if step == "steps" else 1.5
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{wide}"/>')
        label = "all steps" if step == "steps" else step
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{labels[step] + 4:.1f}" fill="{colour}">{label} {line[-1][1]:.2g}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle"{more}>{text}</text>'


def _axis(low: float, high: float, start: float, stop: float) -> Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda value: start + (stop - start) * math.log(value / low) / span


def _apart(places: dict[str, float], least: float = 14.0) -> dict[str, float]:
    """Heights of labels, moved down until none covers another."""
    moved, last = {}, -math.inf
    for name, at in sorted(places.items(), key=lambda pair: pair[1]):
        moved[name] = last = max(at, last + least)
    return moved
