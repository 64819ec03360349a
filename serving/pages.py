"""HTML for people: each page is a template over the very answer that the JSON gives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, UTC
from pathlib import Path
from typing import Any, TYPE_CHECKING
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader

from schemas.errors import CineMatchError
from serving.charts import chart_of, dots_of, interval, largest_difference, lines, points, rows_of, sparkline, stacked, waterfall
from serving.distributions import columns, keyed, lorenz, months, Series, sideways
from serving.facts import facts_added
from serving.opened import OpenRelease
from serving.parameters import LARGE, MANY_ROWS
from serving.request import Request
from serving.response import Response
from serving.static_files import address
from warehouse.compare import DEPTH
from warehouse.measures import lines_of, models_of, parts_of

if TYPE_CHECKING:
    from serving.route import Route
    from serving.service import Service

WITH_FACTS, SHOWN = ("recommend", "popular", "similar", "similar_set", "playground"), ("year", "genres")


async def page(
    service: Service,
    route: Route,
    request: Request,
    response: Response,
    opened: OpenRelease,
    next_url: str | None,
    now_url: str | None,
    took_ms: float,
) -> bytes:
    """The route's page, made by a thread; a long one by the process for long work. Where a request names its release, links keep it by
    `here`, or by `also` after other parameters, and `now_url` is the same page of the release that answers."""
    sealed = opened.id if request.is_sealed else None
    rows = response.rows if response.encoded is None else response.encoded
    context = {
        "summary": route.summary,
        "path": dict(request.path),
        "values": dict(request.values),
        "answer": response.extra,
        "release": opened.id,
        "next_url": next_url,
        "now_url": now_url,
        "sealed": sealed,
        "here": f"?release={sealed}" if sealed else "",
        "also": f"&release={sealed}" if sealed else "",
        "took_ms": took_ms,
    }
    if len(response.rows) > MANY_ROWS or len(response.encoded or b"") > LARGE:
        return await service.threads.long(opened, _page, route.page, rows, context)
    return await service.threads.aside(opened, _page, opened, route.page, rows, context)


def _page(opened: OpenRelease, name: str, rows: bytes | Sequence[Any], context: dict[str, Any]) -> bytes:
    shown: Sequence[Any] = json.loads(rows) if isinstance(rows, bytes) else rows
    return _rendered(name, opened=opened, rows=facts_added(opened, shown, SHOWN) if name in WITH_FACTS else shown, **context)


def error_page(service: Service, error: CineMatchError) -> bytes:
    return _rendered("error", message=str(error), status=error.status, release=service.releases.current.id)


def _rendered(name: str, **context: Any) -> bytes:
    return _TEMPLATES.get_template(f"cinematch_{name}.html").render(**context).encode()


def id_path(value: Any) -> str:
    """An id as one segment of a path; a dot is written %2E, so that an id ending in .json stays an id."""
    return quote(str(value), safe="").replace(".", "%2E")


def number(value: Any) -> str:
    """A figure as it is read: whole numbers with commas, others with four digits behind the point; text as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def natural(title: str) -> str:
    """A title as it is said: `English Patient, The (1996)` is The English Patient (1996), in its other languages too."""
    return _INVERTED.sub(lambda match: f"{match[1]}{match[3]}{'' if match[3].endswith(chr(39)) else ' '}{match[2]}", title)


def named(title: str | None, id: Any) -> str:
    """A title as it is said, or the id of what has none, as it is."""
    return natural(title) if title else str(id)


def day(seconds: int) -> str:
    """A day in words, such as 4 January 2026."""
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at.day} {at:%B %Y}"


def day_of(iso: str) -> str:
    """The day of an ISO 8601 time, in words."""
    return day(int(datetime.fromisoformat(iso).timestamp()))


def moment(seconds: int) -> str:
    """A time to the second, such as 2026-01-04 02:00:00 UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def rated_texts(rated: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rated items as the parameter `rated` has them."""
    return [_rated_text(row["item_id"], row["rating"]) for row in rated]


def _rated_text(item_id: Any, rating: float | None) -> str:
    return escaped(str(item_id)) if rating is None else f"{escaped(str(item_id))}:{rating:.12g}"


def escaped(text: str) -> str:
    """A text as a part of a list that commas separate."""
    return text.replace("\\", "\\\\").replace(",", "\\,")


def playing(
    answer: Mapping[str, Any],
    item_id: Any = None,
    rating: float | None = None,
    *,
    drop: Any = None,
    genre: str | None = None,
    is_json: bool = False,
    sealed: str | None = None,
) -> str:
    """The address of the playground of a release, if one was named, with one item more, or rated otherwise, or with one less; a genre
    is taken in, or out where it is in."""
    kept = [(row["item_id"], row["rating"]) for row in answer["rated"] if row["item_id"] not in (item_id, drop)]
    rated = [*kept, *([(item_id, rating)] if item_id is not None else [])]
    pairs = [("rated", ",".join(_rated_text(*pair) for pair in rated))] if rated else []
    genres = [name for name in answer["genres"] if name != genre] + ([genre] if genre and genre not in answer["genres"] else [])
    pairs += [("genres", ",".join(map(escaped, genres)))] if genres else []
    pairs += [(name, answer[name]) for name in ("user_id", "q") if answer[name] not in (None, "")]
    pairs += [("release", sealed)] if sealed else []
    return f"/playground{'.json' if is_json else ''}{'?' if pairs else ''}{urlencode(pairs, safe=':,')}"


def summands(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the shares that the score of a listed row is the sum of: its reasons that are shares, and all else together; none if it has no reasons."""
    rest = [] if row["residual"] is None else [{"kind": "residual", "contribution": row["residual"]}]
    return [reason for reason in [*row["reasons"], *rest] if reason["contribution"] is not None]


def shown_shares(parts: Sequence[Mapping[str, Any]], score: float) -> list[str]:
    """Contributions, rounded so that what is shown adds up to the score as shown: the largest takes the rest."""
    rounded = [round(part["contribution"], 4) for part in parts]
    if rounded:
        largest = max(range(len(rounded)), key=lambda place: abs(rounded[place]))
        rounded[largest] += round(score, 4) - sum(rounded)
    return [f"{share:+.4f}" for share in rounded]


def shared_of(users: Sequence[int]) -> list[dict[str, Any]]:
    """Users by how many items of their top ten two releases share, in per cent of all."""
    whole = sum(users) or 1
    return [{"label": f"{shared} of {DEPTH}", "share": 100 * n / whole} for shared, n in enumerate(users)]


_ARTICLES = "The|A|An|Le|La|Les|L'|Un|Une|El|Los|Las|Una|Il|Lo|Gli|Der|Die|Das|Ein|Eine|De|Het"
_INVERTED = re.compile(rf"(^|\()([^()]+?), ({_ARTICLES})(?=\)| \(|$)")
_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True)
_FUNCTIONS = (
    chart_of, columns, day, day_of, dots_of, escaped, id_path, interval, keyed, largest_difference, lines, lines_of, lorenz, models_of,
    moment, months, named, number, parts_of, playing, points, rated_texts, rows_of, Series, shared_of, shown_shares, sideways, sparkline,
    stacked, summands, waterfall,
)  # fmt: skip
_TEMPLATES.globals.update({function.__name__: function for function in _FUNCTIONS}, static=address)
