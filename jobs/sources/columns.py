"""Columns of a file matched with ours: as the settings say, or by well-known names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from jobs.sources.catalogue import ATTRIBUTES
from schemas.errors import SettingError, SourceError

REQUIRED = ("user_id", "item_id")
OF_INTERACTIONS = (*REQUIRED, "rating", "weight", "rated_at")
OF_ITEMS = ("item_id", *ATTRIBUTES)

WELL_KNOWN: dict[str, tuple[str, ...]] = {
    "user_id": ("user_id", "userid", "user", "customer_id", "customerid", "visitor_id", "visitorid"),
    "item_id": ("item_id", "itemid", "item", "movie_id", "movieid", "product_id", "productid"),
    "rating": ("rating", "stars"),
    "weight": ("weight",),
    "rated_at": ("rated_at", "timestamp", "ts", "time", "datetime", "date", "created_at", "event_time"),
    "title": ("title", "name"),
    "year": ("year",),
    "genres": ("genres", "genre", "categories", "category"),
    "tags": ("tags",),
    "description": ("description", "overview"),
}


def parsed(text: str, setting: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Our names to the file's, from `ours=theirs,...`; any names where none is said to be allowed."""
    columns: dict[str, str] = {}
    for piece in filter(None, (part.strip() for part in text.split(","))):
        ours, equals, theirs = (part.strip() for part in piece.partition("="))
        if not equals:
            raise SettingError(f"{setting}: expected ours=theirs, such as user_id=CustomerID, got {piece!r}")
        if allowed and ours not in allowed:
            raise SettingError(f"{setting}: no column of ours is called {ours!r}; expected {', '.join(allowed)}")
        if ours in columns:
            raise SettingError(f"{setting}: {ours} is named twice, as {columns[ours]!r} and {theirs!r}")
        if not theirs:
            raise SettingError(f"{setting}: {ours} names no column; expected {ours}=NAME")
        columns[ours] = theirs
    return columns


def chosen(
    text: str,
    setting: str,
    allowed: tuple[str, ...],
    required: Iterable[str],
    fields: Iterable[str],
    label: str,
) -> dict[str, str]:
    """The mapping for a file with these fields. Where the setting is empty the fields with well-known names
    are taken; what is required is looked for by name in any case."""
    fields = list(fields)
    columns = parsed(text, setting, allowed)
    for ours in required if columns else allowed or required:
        by_name = {field.strip().lower(): field for field in reversed(fields)}
        known = next((by_name[name] for name in WELL_KNOWN[ours] if name in by_name), None)
        if ours not in columns and known is not None:
            columns[ours] = known
    missing = [ours for ours in required if ours not in columns]
    if missing:
        raise SourceError(
            f"{label}: no column for {' and '.join(missing)}; the file has: {', '.join(fields)}; "
            f"say which with {setting}, such as {missing[0]}=NAME{_no_names(fields)}"
        )
    absent = [f"{theirs!r} (for {ours})" for ours, theirs in columns.items() if theirs not in fields]
    if absent:
        wrong = next(theirs for theirs in columns.values() if theirs not in fields)
        by_name = {field.lower(): field for field in fields}
        near = difflib.get_close_matches(wrong.lower(), by_name, 1)
        meant = f"; did you mean {by_name[near[0]]!r}?" if near else ""
        raise SourceError(f"{label}: no column {' and '.join(absent)}; the file has: {', '.join(fields)}{meant}")
    return columns


def _no_names(fields: list[str]) -> str:
    """Say what to do if the first line seems to be a row; empty if it does not."""
    is_row = len(fields) > 1 and sum(field.replace(".", "", 1).isdigit() for field in fields) * 2 >= len(fields)
    return "; or, if the first line is a row and names no columns, set header to off, and then user_id=1,item_id=2" if is_row else ""
