"""Whether a client asks for a page: what its `Accept` header prefers, JSON where it does not say."""

from __future__ import annotations

from functools import lru_cache


def wants_page(accept: bytes | None, raw: bytes) -> bool:
    """Whether HTML is preferred to JSON. A path that ends in .json has said what it wants."""
    return accept is not None and not raw.endswith(b".json") and _prefers_html(accept)


@lru_cache(256)
def _prefers_html(accept: bytes) -> bool:
    qualities = dict(_quality(part) for part in accept.decode("latin-1").lower().split(","))
    html, json = (_of(kind, qualities) for kind in (("text/html", "text/*"), ("application/json", "application/*")))
    return html > json


def _of(kinds: tuple[str, ...], qualities: dict[str, float]) -> float:
    """The quality of the most special range that is given: the kind itself, then its family, then anything."""
    return next((qualities[kind] for kind in (*kinds, "*/*") if kind in qualities), 0.0)


def _quality(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return kind, float(parameter[2:])
            except ValueError:
                return kind, 0.0
    return kind, 1.0
