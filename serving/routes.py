"""Every route of the product, declared once: dispatch, parameters, pages and the OpenAPI description come from here."""

from __future__ import annotations

from serving.facts import with_facts
from serving.lookups import (
    analytics,
    api,
    audience,
    builds,
    data,
    explore,
    health,
    hidden,
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
    similar,
)
from serving.lookups.home import home
from serving.neighbours import SOURCES
from serving.parameters import EXCLUDE, FIELDS, FILTERS, ITEMS as SET, MORE, N, next_of, Parameter, RELEASE, SEALED, STRICT
from serving.route import Route
from warehouse.keys import ITEMS, PROMOTE, RATINGS, RUN

REASONS_N = Parameter("n", "integer", "history reasons to show one by one; the rest is summed in the residual", None, 0, 1000)
WITHOUT = Parameter("without", "flag", "1: also the place that the item would have without each of the items that count most", False)
SOURCE = Parameter(
    "source",
    "text",
    "which neighbours; by default collaborative, and content where an item has none",
    choices=SOURCES,
)
USER = Parameter("user_id", "text", "id of the user, which /recommend/{user_id} has in its path", is_required=True)
ROWS_N = Parameter("n", "integer", "rows to give", 100, 1, 1000)
RATED = Parameter(
    "rated",
    "list",
    "items, each as `id` or, where the release has ratings, `id:rating`; the newest last, given again for each or separated by commas",
    (),
)
LIKED = Parameter("genres", "list", f"genres that are liked: their items come first, {MORE}", ())
PLAYED_N = Parameter("n", "integer", "rows to give", 10, 1, 50)
STARTING = Parameter("user_id", "text", "begin with what this user has")
EXPLORED = Parameter("user_id", "text", "id of a user; without it users to begin with are named")
TITLE = Parameter("q", "text", "words of a title to choose items by")
METRIC = Parameter("metric", "text", "such as `ndcg@10`; by default the one that the release was judged by")
PROTOCOL = Parameter("protocol", "text", "how it was measured; by default `held_out_last`")
Q = Parameter("q", "text", "words of a title, each may be cut short", is_required=True)
A = Parameter("a", "text", "id of a release, current or latest", is_required=True, pattern=RELEASE)
REASON = Parameter("reason", "text", "why; kept with the promotion, and needed for a release that was held back")
HIDING = Parameter("reason", "text", "why; noted with the time and the key")
B = Parameter("b", "text", "id of another, current or latest", is_required=True, pattern=RELEASE)

READS = (
    Route("home", "GET", "/", home, "What there is", "Endpoint", (SEALED,), page="home"),
    Route(
        "recommend",
        "GET",
        "/recommend/{user_id}",
        with_facts(recommend.recommend),
        "A user's list with its reasons",
        "Recommendation",
        (N, *FILTERS, EXCLUDE, FIELDS, next_of("r"), STRICT, SEALED),
        page="recommend",
        for_users=True,
    ),
    Route(
        "recommend_asked",
        "GET",
        "/recommend",
        with_facts(recommend.recommend_asked),
        "A user's list, asked for by a form",
        "Recommendation",
        (USER, N, *FILTERS, EXCLUDE, FIELDS, next_of("r"), STRICT, SEALED),
        page="recommend",
    ),
    Route(
        "why",
        "GET",
        "/why/{user_id}/{item_id}",
        pairs.why,
        "The reasons of one score; they sum to it",
        "Contribution",
        (REASONS_N, WITHOUT, STRICT, SEALED),
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
        (STRICT, SEALED),
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
        (SEALED,),
        page="item",
        for_users=True,
    ),
    Route(
        "similar",
        "GET",
        "/similar/{item_id}",
        with_facts(similar.similar),
        "An item's neighbours",
        "Neighbour",
        (N, SOURCE, *FILTERS, EXCLUDE, FIELDS, next_of("s"), SEALED),
        page="similar",
        for_users=True,
    ),
    Route(
        "similar_to_set",
        "GET",
        "/similar",
        with_facts(similar.similar_to_set),
        "Neighbours of several items together",
        "SetNeighbour",
        (SET, N, SOURCE, *FILTERS, EXCLUDE, FIELDS, next_of("s"), SEALED),
        page="similar_set",
        for_users=True,
    ),
    Route("audience", "GET", "/audience/{item_id}", audience.audience, "Users in whose lists an item is", "Reached", (N, SEALED)),
    Route(
        "popular",
        "GET",
        "/popular",
        with_facts(items.popular),
        "The most popular items, of all or of a genre",
        "PopularItem",
        (N, *FILTERS, FIELDS, next_of("p"), SEALED),
        page="popular",
        for_users=True,
    ),
    Route(
        "genres",
        "GET",
        "/genres",
        items.genres,
        "The genres, with how many items each has",
        "Genre",
        (SEALED,),
        page="genres",
        for_users=True,
    ),
    Route(
        "ratings_of_user",
        "GET",
        "/ratings/{user_id}",
        ratings.of_user,
        "What a user has now",
        "Rating",
        (ROWS_N, next_of("h"), SEALED),
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
        (RATED, LIKED, STARTING, TITLE, PLAYED_N, SEALED),
        page="playground",
    ),
    Route(
        "explore",
        "GET",
        "/explore",
        explore.explore,
        "A user's list by every model, side by side",
        "Explored",
        (EXPLORED, PLAYED_N, SEALED),
        page="explore",
    ),
    Route(
        "search", "GET", "/search", search.search, "Items by words of their title", "Found", (Q, N, SEALED), page="search", for_users=True
    ),
    Route(
        "quality",
        "GET",
        "/quality",
        quality.quality,
        "A metric of every release and model, and the verdicts",
        "Measured",
        (METRIC, PROTOCOL, SEALED),
        page="quality",
    ),
    Route(
        "data", "GET", "/data", data.data, "What came in, what was refused, and whether the data changed", "Refused", (SEALED,), page="data"
    ),
    Route(
        "analytics",
        "GET",
        "/analytics",
        analytics.analytics,
        "What people have beside what they are recommended, in aggregates",
        "Chart",
        (SEALED,),
        page="analytics",
    ),
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
    Route("list_runs", "GET", "/runs", builds.listing, "What is being built, and how long steps took", "Build", page="runs"),
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
    Route("api", "GET", "/api", api.api, "Every operation, with calls to paste", "Operation", page="api"),
    Route("openapi", "GET", "/openapi", openapi.describe, "This description, for programs", None),
    Route("metrics", "GET", "/metrics", health.metrics, "Counters, as Prometheus reads them", None),
)

RANK = Route(
    "rank",
    "POST",
    "/rank",
    with_facts(rank.rank),
    "Candidates in the order of a user's list",
    "Ranked",
    (FIELDS, STRICT, SEALED),
    body="Candidates",
)
SESSION = Route(
    "recommend_session",
    "POST",
    "/recommend/session",
    with_facts(session.recommend),
    "A list for a visitor who is stored nowhere",
    "Recommendation",
    (N, *FILTERS, EXCLUDE, FIELDS, SEALED),
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
    Route("hide_item", "PUT", "/items/{item_id}/hidden", hidden.hide, "Take an item out of every list", "Hidden", (HIDING,), scope=ITEMS),
    Route("show_item", "DELETE", "/items/{item_id}/hidden", hidden.show, "Let an item be shown again", "Hidden", (HIDING,), scope=ITEMS),
    Route("list_hidden", "GET", "/hidden", hidden.listing, "What is hidden, since when, by whom and why", "Hidden", scope=ITEMS),
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
