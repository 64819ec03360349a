"""POST /recommend/session: a list for a visitor who is stored nowhere, from the ratings in the body."""

from __future__ import annotations

import time

from serving.answers import Answer, RequestError
from serving.call import Call
from serving.lookup import excluded_items, list_answer, Page, source_of
from serving.opened import iso
from serving.sent import checked_id, checked_rating, json_of, rows_of
from serving.service import Service
from serving.solve import HistoryRow, solve

_FIELDS = {"item_id", "rating", "weight", "rated_at"}


async def recommend(service: Service, call: Call) -> Answer:
    """The same function of the same history as a stored user's; items that the release does not know are left out."""
    opened = call.opened
    found = json_of(call.body)
    if not (isinstance(found, dict) and set(found) == {"ratings"} and isinstance(found["ratings"], list)):
        raise RequestError("the body: expected {ratings: [{item_id, rating}, ...]}")
    given = rows_of(found, service.settings.batch_n) if found["ratings"] else []
    rows: dict = {}
    now = int(time.time())
    for place, row in enumerate(given):
        unknown = sorted(set(row) - _FIELDS)
        if unknown:
            raise RequestError(
                f"row {place}: {unknown[0][:100]}: is not a field here; there are {', '.join(sorted(_FIELDS))}"
            )
        item = checked_id(opened, row, place, "item_id")
        rows[item] = HistoryRow(item, *checked_rating(opened, row, place), now)
    n = call.values["n"]
    excluded = excluded_items(opened, call.values)
    solved = await service.run_on(
        opened, lambda: solve(opened, list(rows.values()), n=n, excluded=excluded, explain_n=n)
    )
    page = Page(opened, None, None, 0, solved.rows, solved.reasons, source_of(solved.rows), None, iso(service.now()))
    answer = list_answer(service, page)
    answer.tag = None
    answer.extra["unusable"] = [item for item in rows if opened.number(item) is None]
    return answer
