"""Every table of a release, declared once: grain, key, references, and for each column its type, meaning and bounds.

Ids are what the data gives, whole numbers or text, so their type is a property of the release and not of the table:
`USER_ID` and `ITEM_ID` stand for it here and `IdTypes` says which it is. Everything else that describes a table (Parquet,
Spark and SQLite schemas, checks, Datasette's descriptions, the data dictionary, test strategies) is derived in `derive.py`
and `checks.py` from this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

USER_ID = "user_id"
ITEM_ID = "item_id"


@dataclass(frozen=True)
class IdTypes:
    """The types of a release's ids: `int64` or `string`, for users and for items."""

    user_id: str = "int64"
    item_id: str = "int64"

    def arrow(self, role: str) -> pa.DataType:
        return pa.int64() if getattr(self, role) == "int64" else pa.string()

    def parse(self, role: str, text: str) -> int | str | None:
        """An id from a URL or a command line; None where the text cannot be an id of this release."""
        if getattr(self, role) == "string":
            return text
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            return None
        number = int(text)
        return number if str(number) == text and -(2**63) <= number < 2**63 else None


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType | str
    description: str
    is_nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    is_measured: bool = False


@dataclass(frozen=True)
class Reference:
    """Values of `column` are values of `table.target`."""

    column: str
    table: str
    target: str


@dataclass(frozen=True)
class Table:
    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[Reference, ...] = ()
    facets: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def is_by_user(self) -> bool:
        """Whether its rows belong to users, and go where their user goes."""
        return USER_ID in self.names


TEXT, INTEGER, REAL, BOOLEAN, BLOB = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.binary()
TIME = pa.timestamp("ms", "UTC")  # in Parquet, which has no whole seconds; Unix seconds everywhere else

EXPLANATION_KINDS = ("history", "genre", "similar_users", "bias", "residual")

ITEMS = Table(
    "items",
    "one row per item known to the release, rated or not",
    key=("item_id",),
    columns=(
        Column("item_id", ITEM_ID, "the item's id, as the source gives it"),
        Column("title", TEXT, "title to show; the id where the catalogue has none"),
        Column("year", INTEGER, "year of the item, read from the title or the catalogue", True, 1000, 3000),
        Column("genres", TEXT, "genres or categories, joined by |; empty where unknown"),
        Column("tags", TEXT, "tags, joined by |; empty where unknown"),
        Column("description", TEXT, "free text of the catalogue", True),
        Column("n_ratings", INTEGER, "accepted interactions of the item; 0 is a cold item", minimum=0),
        Column("mean_rating", REAL, "plain mean of its ratings; null without ratings", True),
        Column("is_in_catalogue", BOOLEAN, "whether the item catalogue names it (1) or only the interactions do (0)"),
        Column("is_blocked", BOOLEAN, "whether it was to be left out of every list"),
        Column("same_item_id", ITEM_ID, "lowest id of the items with its title and year; null where it is the only one", True),
    ),
    references=(Reference("same_item_id", "items", "item_id"),),
    facets=("year", "is_in_catalogue"),
    indexes=(("same_item_id",),),
)

ITEM_GENRES = Table(
    "item_genres",
    "one row per item and genre",
    key=("genre", "item_id"),
    columns=(Column("genre", TEXT, "genre or category"), Column("item_id", ITEM_ID, "the item")),
    references=(Reference("item_id", "items", "item_id"),),
    facets=("genre",),
    indexes=(("item_id",),),
)

USERS = Table(
    "users",
    "one row per user with at least one interaction",
    key=("user_id",),
    columns=(
        Column("user_id", USER_ID, "the user's id, as the source gives it"),
        Column("n_ratings", INTEGER, "accepted interactions of the user", minimum=1),
        Column("mean_rating", REAL, "plain mean of the user's ratings; null without ratings", True),
        Column("first_rated_at", TIME, "first interaction, Unix seconds UTC; null without timestamps", True, minimum=0),
        Column("last_rated_at", TIME, "last interaction, Unix seconds UTC; null without timestamps", True, minimum=0),
        Column("is_held_out", BOOLEAN, "whether the end of this user's history was kept out of training to evaluate"),
    ),
    facets=("is_held_out",),
)

USER_ATTRIBUTES = Table(
    "user_attributes",
    "one row per user and attribute that the source has of them, such as age or segment; none where it has no file of users",
    key=("user_id", "name"),
    columns=(
        Column("user_id", USER_ID, "the user"),
        Column("name", TEXT, "name of the attribute"),
        Column("value", TEXT, "its value as text"),
    ),
    references=(Reference("user_id", "users", "user_id"),),
    facets=("name",),
)

RATINGS = Table(
    "ratings",
    "one row per accepted interaction of a user with an item, the latest where there were several",
    key=("user_id", "item_id"),
    columns=(
        Column("user_id", USER_ID, "the user"),
        Column("item_id", ITEM_ID, "the item"),
        Column("rating", REAL, "the rating on the source's scale; null for implicit feedback", True),
        Column("weight", REAL, "strength of the interaction: 1, or the sum of the named column over its events", minimum=0),
        Column("rated_at", TIME, "time of the interaction, Unix seconds UTC; null where the source has none", True, minimum=0),
        Column(
            "is_held_out",
            BOOLEAN,
            "whether this row was kept out of training, to choose models or to evaluate; where items may come again, its last events",
        ),
        Column("n_events", INTEGER, "times that the user had the item, rows of one time being one; 1 without times"),
    ),
    references=(Reference("user_id", "users", "user_id"), Reference("item_id", "items", "item_id")),
    indexes=(("item_id",),),
)

RECOMMENDATIONS = Table(
    "recommendations",
    "one row per user and list position",
    key=("user_id", "rank"),
    columns=(
        Column("user_id", USER_ID, "the user"),
        Column("rank", INTEGER, "position in the list, from 1", minimum=1),
        Column("item_id", ITEM_ID, "the recommended item; one that the user has only where `repeats` lets it come again"),
        Column("score", REAL, "orders the list; means nothing across users"),
        Column("predicted_rating", REAL, "rating the user would give, on the source's scale; null without ratings", True),
        Column(
            "confidence",
            REAL,
            "share of the variance of the score of `ials` that the user's history removes, 0 to 1, more with each row; null for a fallback",
            True,
            0,
            1,
        ),
        Column("source", TEXT, "the model that put the item here, or the fallback: popular_genre, popular"),
        Column(
            "model_rank",
            INTEGER,
            "position before the list was finished (diversity, calibration); null where it was not",
            True,
            1,
        ),
    ),
    references=(Reference("user_id", "users", "user_id"), Reference("item_id", "items", "item_id")),
    facets=("source",),
)

EXPLANATIONS = Table(
    "explanations",
    "one row per user, recommended item and reason",
    key=("user_id", "item_id", "position"),
    columns=(
        Column("user_id", USER_ID, "the user"),
        Column("item_id", ITEM_ID, "the recommended item"),
        Column("position", INTEGER, "order in which to show the reasons, from 1", minimum=1),
        Column("kind", TEXT, "history, genre, similar_users, bias or residual", choices=EXPLANATION_KINDS),
        Column("evidence_id", TEXT, "the rated item (history) or the genre (genre), as text; null otherwise", True),
        Column(
            "contribution",
            REAL,
            "additive share of the score; the contributions of a pair sum to it; null for a reason that is not part of it",
            True,
        ),
        Column(
            "detail",
            TEXT,
            "JSON of what the reason needs to be shown, such as the rating given or the genre match",
            True,
        ),
    ),
    references=(Reference("user_id", "users", "user_id"), Reference("item_id", "items", "item_id")),
    facets=("kind",),
)

READY_N = 10

READY_LISTS = Table(
    "ready_lists",
    "one row per user: the head of the list as /recommend sends it, made from recommendations, explanations and items",
    key=("user_id",),
    columns=(
        Column("user_id", USER_ID, "the user"),
        Column("n_rows", INTEGER, f"rows of it: the first {READY_N} of the list, fewer where fewer have reasons", minimum=1),
        Column("source", TEXT, "source of the first row"),
        Column("rows", BLOB, "the rows as a JSON array in UTF-8, a row a line, compressed (zlib)"),
    ),
    references=(Reference("user_id", "users", "user_id"),),
)

SIMILAR_ITEMS = Table(
    "similar_items",
    "one row per item and neighbour position, per source",
    key=("item_id", "source", "rank"),
    columns=(
        Column("item_id", ITEM_ID, "the item"),
        Column(
            "source",
            TEXT,
            "content: by what it is; collaborative: by who liked it",
            choices=("content", "collaborative"),
        ),
        Column("rank", INTEGER, "position among its neighbours, from 1", minimum=1),
        Column("similar_item_id", ITEM_ID, "the neighbour"),
        Column("similarity", REAL, "cosine of the two items' vectors", minimum=-1.000001, maximum=1.000001),
    ),
    references=(Reference("item_id", "items", "item_id"), Reference("similar_item_id", "items", "item_id")),
    facets=("source",),
)

POPULAR = Table(
    "popular",
    "one row per genre ('' = all) and list position",
    key=("genre", "rank"),
    columns=(
        Column("genre", TEXT, "genre, or '' for all items"),
        Column("rank", INTEGER, "position in the list, from 1", minimum=1),
        Column("item_id", ITEM_ID, "the item"),
        Column("score", REAL, "orders the list: interactions times where the damped mean stands on the scale"),
        Column("n_ratings", INTEGER, "interactions of the item in training", minimum=0),
        Column("damped_mean", REAL, "mean rating drawn towards the overall mean; null without ratings", True),
    ),
    references=(Reference("item_id", "items", "item_id"),),
    facets=("genre",),
)

ITEM_RATINGS = Table(
    "item_ratings",
    "one row per item and rating that it was given; none without ratings",
    key=("item_id", "rating"),
    columns=(
        Column("item_id", ITEM_ID, "the item"),
        Column("rating", REAL, "the rating on the source's scale"),
        Column("n_ratings", INTEGER, "interactions of the item with that rating", minimum=1),
    ),
    references=(Reference("item_id", "items", "item_id"),),
)

ITEM_LISTS = Table(
    "item_lists",
    "one row per item that is in a list",
    key=("item_id",),
    columns=(
        Column("item_id", ITEM_ID, "the item"),
        Column("n_lists", INTEGER, "lists that have it", minimum=1),
        Column("n_first_tens", INTEGER, "lists that have it among their first ten", minimum=0),
        Column("best_rank", INTEGER, "its best position in a list", minimum=1),
    ),
    references=(Reference("item_id", "items", "item_id"),),
)

RATING_MONTHS = Table(
    "rating_months",
    "one row per month that has interactions; none without timestamps",
    key=("month",),
    columns=(
        Column("month", TEXT, "year and month in UTC, such as 2026-01"),
        Column("n_ratings", INTEGER, "interactions of the month", minimum=1),
    ),
)

ANALYTICS = Table(
    "analytics",
    "one row per figure of /analytics: what a column of a stored question has in one of its rows",
    key=("chart", "series", "position"),
    columns=(
        Column("chart", TEXT, "name of the stored question"),
        Column("series", TEXT, "the column"),
        Column("position", INTEGER, "the row, from 1", minimum=1),
        Column("label", TEXT, "what the row is of: its first column, as text"),
        Column("value", REAL, "the figure"),
    ),
    facets=("chart",),
)

MODELS = Table(
    "models",
    "one row per model of the release, trained or not",
    key=("model",),
    columns=(
        Column("model", TEXT, "name of the model"),
        Column("status", TEXT, "trained, skipped or failed", choices=("trained", "skipped", "failed")),
        Column("message", TEXT, "why it was skipped or failed; empty when trained"),
        Column("is_served", BOOLEAN, "whether the stored lists are ranked by this model"),
        Column("predicts_rating", BOOLEAN, "whether it predicts a rating on the scale"),
        Column("folds_in", BOOLEAN, "whether it answers for a history that it was not trained on"),
        Column("attributes", BOOLEAN, "whether its score splits exactly over the history"),
        Column("needs_ratings", BOOLEAN, "whether it cannot be trained on implicit feedback"),
        Column("parameters", TEXT, "JSON of its hyper-parameters and learned constants"),
        Column("seed", INTEGER, "seed of its random start"),
        Column("train_s", REAL, "seconds to train", minimum=0, is_measured=True),
        Column("peak_mib", REAL, "peak memory of the process tree while training, MiB", minimum=0, is_measured=True),
        Column("size_mib", REAL, "size of its item side on disk, MiB", minimum=0),
    ),
)

METRICS = Table(
    "metrics",
    "one row per model, protocol, metric and list length k",
    key=("model", "protocol", "metric", "k"),
    columns=(
        Column("model", TEXT, "name of the model"),
        Column("protocol", TEXT, "how rows were held out and ranked"),
        Column("metric", TEXT, "name of the metric"),
        Column("k", INTEGER, "list length; 0 where the metric has none", minimum=0),
        Column("value", REAL, "value, the mean over users where the metric is of a list"),
        Column("low", REAL, "lower bound of its 95 % interval, by bootstrap over users; null where it has none", True),
        Column("high", REAL, "upper bound of that interval", True),
        Column("n_users", INTEGER, "users that it was measured on", minimum=0),
    ),
    references=(Reference("model", "models", "model"),),
)

QUARANTINE = Table(
    "quarantine",
    "one row per input row that was refused, with its reason",
    key=("source", "line"),
    columns=(
        Column("source", TEXT, "file that the row came from"),
        Column("line", INTEGER, "line of the file, from 1, the header included; row number in a Parquet file", minimum=1),
        Column("text", TEXT, "the row as read; bytes that are not UTF-8 shown as \\xNN"),
        Column("reason", TEXT, "why it was refused"),
    ),
    facets=("source", "reason"),
)

CHECKS = Table(
    "checks",
    "one row per check that was run before the release was sealed, whether it found rows or not",
    key=("name",),
    columns=(
        Column("name", TEXT, "what is to hold"),
        Column("table_name", TEXT, "the table that it is about"),
        Column("severity", TEXT, "error, of which no release has rows, or warning"),
        Column("n_rows", INTEGER, "rows of which it does not hold"),
        Column("sample", TEXT, "the first few of them, a JSON array of objects; values that are long are cut"),
    ),
    facets=("table_name", "severity"),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        ITEMS,
        ITEM_GENRES,
        USERS,
        USER_ATTRIBUTES,
        RATINGS,
        RECOMMENDATIONS,
        EXPLANATIONS,
        READY_LISTS,
        SIMILAR_ITEMS,
        POPULAR,
        ITEM_RATINGS,
        ITEM_LISTS,
        RATING_MONTHS,
        MODELS,
        METRICS,
        QUARANTINE,
        ANALYTICS,
        CHECKS,
    )
}
