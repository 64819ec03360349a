"""GET /audience/<item>: the users in whose lists an item is, from the rows of the release."""

from __future__ import annotations

from itertools import islice

from serving.ids import known_item
from serving.lookups.items import items_response
from serving.lookups.search import within
from serving.request import Request
from serving.response import RequestError, Response
from serving.service import Service

_NAMES = ("rank", "user_id", "item_id", "score", "predicted_rating", "source")
_USER = _NAMES.index("user_id")
_N_LISTS = "select n_lists from item_lists where item_id = ?"


async def audience(service: Service, request: Request) -> Response:
    """Users in whose stored lists an item is, under any id, by its rank there, then by score. `is_current` is false of a user who rated
    since: their list as it is answered now may not have it. `n_lists` is how many lists had it when the release was built. All lists are
    read through for it, within `query_ms`."""
    opened, n = request.opened, request.values["n"]
    item, users = known_item(opened, request), service.users
    same = sorted(opened.same([item]))
    marks = ", ".join("?" * len(same))
    columns = ", ".join(_NAMES)
    lists = f"select {columns} from recommendations where item_id in ({marks})"  # nosec B608  # names from above, question marks
    asked, limit_ms = f"{lists} order by rank, score desc, user_id limit ?", service.settings.query_ms
    most = n + len(users.forgotten.known)
    try:
        found = await service.threads.search(opened, within, opened, limit_ms, "item_id", asked, [*same, most])
    except RequestError as error:
        if error.status != 400:
            raise
        raise RequestError(
            f"reading all lists takes longer than {limit_ms} ms (query_ms); `cinematch sql` asks without a limit", 503
        ) from None
    known = users.forgotten.known
    left = islice((dict(zip(_NAMES, row)) for row in found if row[_USER] not in known), n)
    shown = [row | {"is_current": not users.seq(request, opened, row["user_id"])} for row in left]
    n_lists = sum(count for one in same for (count,) in opened.reader().execute(_N_LISTS, [one]))
    response = items_response(service, opened, shown, source="release", next=None, item_id=item, title=opened.title(item), n_lists=n_lists)
    response.key, response.tag, response.is_personal = "user_id", None, True
    return response
