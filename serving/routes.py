"""Every route of the product, declared once: dispatch, parameters, pages and the OpenAPI description come from here."""

from __future__ import annotations

from serving.lookups import (
    analytics,
    data,
    explore,
    health,
    items,
    openapi,
    pairs,
    playground,
    promote,
    quality,
    rank,
    ratings,
    recommend,
    releases,
    runs,
    search,
    session,
)
from serving.lookups.home import home
from serving.parameters import EXCLUDE, FILTERS, N, next_of, Parameter, RELEASE, STRICT
from serving.route import Route
from warehouse.keys import PROMOTE, RATINGS, RUN

REASONS_N = Parameter("n", "integer", "history reasons to show one by one; the rest is summed in the residual", None, 0, 1000)
WITHOUT = Parameter("without", "flag", "1: also the place that the item would have without each of the items that count most", False)
SOURCE = Parameter(
    "source",
    "text",
    "which neighbours; by default collaborative, and content where an item has none",
    choices=items.SOURCES,
)
USER = Parameter("user_id", "text", "id of the user, which /recommend/{user_id} has in its path", is_required=True)
ROWS_N = Parameter("n", "integer", "rows to give", 100, 1, 1000)
RATED = Parameter(
    "rated",
    "list",
    "items, each as `id` or, where the release has ratings, `id:rating`; the newest last, given again for each or separated by commas",
    (),
)
PLAYED_N = Parameter("n", "integer", "rows to give", 10, 1, 50)
STARTING = Parameter("user_id", "text", "begin with what this user has")
EXPLORED = Parameter("user_id", "text", "id of a user; without it users to begin with are named")
TITLE = Parameter("q", "text", "words of a title to choose items by")
METRIC = Parameter("metric", "text", "such as `ndcg@10`; by default the one that the current release was judged by")
PROTOCOL = Parameter("protocol", "text", "how it was measured; by default `held_out_last`")
Q = Parameter("q", "text", "words of a title, each may be cut short", is_required=True)
A = Parameter("a", "text", "id of a release, current or latest", is_required=True, pattern=RELEASE)
REASON = Parameter("reason", "text", "why; kept with the promotion, and needed for a release that was held back")
B = Parameter("b", "text", "id of another, current or latest", is_required=True, pattern=RELEASE)

READS = (
    Route("home", "GET", "/", home, "What there is", "Endpoint", page="home"),
    Route(
        "recommend",
        "GET",
        "/recommend/{user_id}",
        recommend.recommend,
        "A user's list with its reasons",
        "Recommendation",
        (N, *FILTERS, EXCLUDE, next_of("r"), STRICT),
        page="recommend",
        for_users=True,
    ),
    Route(
        "recommend_asked",
        "GET",
        "/recommend",
        recommend.recommend_asked,
        "A user's list, asked for by a form",
        "Recommendation",
        (USER, N, *FILTERS, EXCLUDE, next_of("r"), STRICT),
        page="recommend",
    ),
    Route(
        "why",
        "GET",
        "/why/{user_id}/{item_id}",
        pairs.why,
        "The reasons of one score; they sum to it",
        "Contribution",
        (REASONS_N, WITHOUT, STRICT),
        page="why",
        for_users=True,
    ),
    Route(
        "predict",
        "GET",
        "/predict/{user_id}/{item_id}",
        pairs.predict,
        "The rating that a user would give",
        "Prediction",
        (STRICT,),
        page="rows",
        for_users=True,
    ),
    Route(
        "item",
        "GET",
        "/items/{item_id}",
        items.item,
        "An item: facts, ratings, lists, neighbours",
        "Item",
        page="item",
        for_users=True,
    ),
    Route(
        "similar",
        "GET",
        "/similar/{item_id}",
        items.similar,
        "An item's neighbours",
        "Neighbour",
        (N, SOURCE, next_of("s")),
        page="similar",
        for_users=True,
    ),
    Route(
        "popular",
        "GET",
        "/popular",
        items.popular,
        "The most popular items, of all or of a genre",
        "PopularItem",
        (N, *FILTERS, next_of("p")),
        page="popular",
        for_users=True,
    ),
    Route(
        "ratings_of_user",
        "GET",
        "/ratings/{user_id}",
        ratings.of_user,
        "What a user has now",
        "Rating",
        (ROWS_N, next_of("h")),
        page="history",
        for_users=True,
    ),
    Route(
        "playground",
        "GET",
        "/playground",
        playground.playground,
        "The list of a history made up on the spot",
        "Played",
        (RATED, STARTING, TITLE, PLAYED_N),
        page="playground",
    ),
    Route(
        "explore",
        "GET",
        "/explore",
        explore.explore,
        "A user's list by every model, side by side",
        "Explored",
        (EXPLORED, PLAYED_N),
        page="explore",
    ),
    Route("search", "GET", "/search", search.search, "Items by words of their title", "Found", (Q, N), page="search", for_users=True),
    Route(
        "quality",
        "GET",
        "/quality",
        quality.quality,
        "A metric of every release and model, and the verdicts",
        "Measured",
        (METRIC, PROTOCOL),
        page="quality",
    ),
    Route(
        "analytics",
        "GET",
        "/analytics",
        analytics.analytics,
        "What people have beside what they are recommended, in aggregates",
        "Chart",
        page="analytics",
    ),
    Route("data", "GET", "/data", data.data, "What came in, what was refused, and whether the data changed", "Refused", page="data"),
    Route("list_releases", "GET", "/releases", releases.listing, "The releases of the warehouse", "Release", page="releases"),
    Route(
        "compare_releases",
        "GET",
        "/releases/compare",
        releases.compare,
        "Two releases side by side",
        "Figure",
        (A, B),
        page="compare",
    ),
    Route("show_release", "GET", "/releases/{release}", releases.show, "A release's manifest", "Manifest", page="release"),
    Route("live", "GET", "/health/live", health.live, "Whether the process lives", "Life", is_open=True),
    Route(
        "ready",
        "GET",
        "/health/ready",
        health.ready,
        "Whether it answers from the promoted release",
        "Readiness",
        is_open=True,
    ),
    Route("openapi", "GET", "/openapi", openapi.describe, "This description, for programs", None),
    Route("metrics", "GET", "/metrics", health.metrics, "Counters, as Prometheus reads them", None),
)

RANK = Route("rank", "POST", "/rank", rank.rank, "Candidates in the order of a user's list", "Ranked", (STRICT,), body="Candidates")
SESSION = Route(
    "recommend_session",
    "POST",
    "/recommend/session",
    session.recommend,
    "A list for a visitor who is stored nowhere",
    "Recommendation",
    (N, *FILTERS, EXCLUDE),
    body="Session",
)
WRITES = (
    Route(
        "add_ratings",
        "POST",
        "/ratings",
        ratings.post,
        "Add ratings, one or a list",
        "Written",
        body="NewRatings",
        scope=RATINGS,
    ),
    Route(
        "replace_ratings",
        "PUT",
        "/ratings",
        ratings.put,
        "Add ratings in place of whatever the user had",
        "Written",
        body="NewRatings",
        scope=RATINGS,
    ),
    Route(
        "delete_ratings",
        "DELETE",
        "/ratings",
        ratings.delete,
        "Remove ratings, one or a list",
        "Written",
        body="Pairs",
        scope=RATINGS,
    ),
    Route(
        "delete_rating",
        "DELETE",
        "/ratings/{user_id}/{item_id}",
        ratings.delete_one,
        "Remove one rating",
        "Written",
        scope=RATINGS,
    ),
    Route(
        "start_run",
        "POST",
        "/releases",
        runs.start,
        "Start a weekly release in Airflow",
        "Run",
        body="NewRun",
        status=202,
        scope=RUN,
    ),
    Route("show_run", "GET", "/runs/{run}", runs.show, "How far a run in Airflow is", "Run", scope=RUN),
    Route(
        "promote_release",
        "POST",
        "/releases/{release}/promote",
        promote.promote,
        "Make a release the one that answers",
        "Promotion",
        (REASON,),
        scope=PROMOTE,
    ),
)


def table(*, is_read_only: bool) -> tuple[Route, ...]:
    """The routes of a server; a read-only one has none that writes."""
    return (*READS, SESSION, RANK, *(() if is_read_only else WRITES))
