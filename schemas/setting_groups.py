"""Every setting, declared once, in groups: default, bounds, meaning, and the commands that take it as a flag.

Empty text stands for "not set".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.models import DEFAULT_MODELS, RANKERS

AUTO = "auto"
ANY = (
    "run",
    "ingest",
    "train",
    "evaluate",
    "recommend",
    "seal",
    "promote",
    "releases",
    "serve",
    "forget",
    "export-user",
    "sql",
    "contract",
    "bench",
    "accuracy",
    "audit",
    "keys",
    "inspect",
)
BUILD = ("run", "ingest", "train", "evaluate", "recommend", "seal")
INGEST = ("run", "ingest")
READ = ("run", "ingest", "accuracy")
TOLD = (*READ, "inspect")  # what a file does not say of itself
TRAIN = ("run", "train", "accuracy")
CHOICE = ("run", "ingest", "train")  # checked before anything is read
WATCH = ("alert", "audit")
EVALUATE = ("run", "evaluate")
REPEATS = OFF, ALLOW, ONLY = "off", "allow", "only"
RELEVANCES = LIKED, ALL = "liked", "all"


def _setting(default: Any, commands: tuple[str, ...], description: str, **bounds: Any) -> Any:
    """One setting. `bounds`: minimum, maximum, choices; `is_machine` marks what says where and how fast, not what is computed;
    `is_secret` what is never shown, and has no flag; `is_list` and `is_mapping` what a file may also give as TOML's array or table."""
    return field(default=default, repr=not bounds.get("is_secret"), metadata={"commands": commands, "description": description, **bounds})


@dataclass(frozen=True)
class Machine:
    """The machine that a command runs on, and the folder of its data."""

    warehouse: str = _setting("data", ANY, "folder of releases, inputs and the catalogue", is_machine=True)
    spark_master: str = _setting("local[*]", BUILD, "Spark master: `local[*]`, `local[2]`, `spark://host:7077`", is_machine=True)
    spark_driver_memory: str = _setting("2g", BUILD, "heap of Spark's driver, in Spark's notation", is_machine=True)
    spark_executor_memory: str = _setting("2g", BUILD, "heap of each Spark executor on a cluster, in Spark's notation", is_machine=True)
    spark_cores: int = _setting(
        0, BUILD, "most cores of a cluster that a step takes; 0 takes all that are free", minimum=0, is_machine=True
    )
    spark_python: str = _setting("", BUILD, "Python on the workers of a cluster; at the driver's path when empty", is_machine=True)
    spark_wait_s: int = _setting(600, BUILD, "seconds that a step waits for a first executor of a cluster", minimum=1, is_machine=True)
    memory_mib: int = _setting(
        0,
        BUILD,
        "most memory, MiB, that a step may be about to take on this machine, else it does not start; 0: what is free then",
        minimum=0,
        is_machine=True,
    )
    seed: int = _setting(
        42,
        (*BUILD, "accuracy"),
        "seed of the generated sample, the held-out users and every random start",
        minimum=0,
        maximum=2**31 - 1,
    )


@dataclass(frozen=True)
class Source:
    """The source, and which of its rows count."""

    source: str = _setting("sample", READ, "where interactions come from", choices=("sample", "movielens", "table"))
    path: str = _setting(
        "",
        READ,
        "file, folder, zip or pattern such as `sales/*.csv` to read (`movielens`, `table`); of `table` also a file of SQLite or DuckDB, or a "
        "URL such as `sqlite:///orders.db` or `postgresql://user@host/database`",
        is_machine=True,
    )
    query: str = _setting(
        "",
        TOLD,
        "`table` of a database: a select whose rows are the interactions, or the name of a table; the only table that has columns of "
        "interactions when empty",
    )
    source_password: str = _setting(
        "",
        TOLD,
        "password for the URL of a database; by the environment, the settings file or a file that `CINEMATCH_SOURCE_PASSWORD_FILE` names; it has "
        "no flag",
        is_machine=True,
        is_secret=True,
    )
    dataset: str = _setting("", READ, "MovieLens data set to download when no path is given, such as `ml-latest-small`")
    dataset_url: str = _setting(
        "https://files.grouplens.org/datasets/movielens", READ, "where data sets are downloaded from", is_machine=True
    )
    columns: str = _setting("", TOLD, "`table`: our names to the file's, such as `user_id=CustomerID,item_id=StockCode`", is_mapping=True)
    items: str = _setting("", TOLD, "`table`: file of the item catalogue", is_machine=True)
    item_columns: str = _setting("", TOLD, "`table`: our names to those of the item catalogue, such as `title=Name`", is_mapping=True)
    users: str = _setting("", TOLD, "`table`: file of what is known of users, such as their age or segment", is_machine=True)
    user_columns: str = _setting(
        "",
        TOLD,
        "`table`: names of attributes to the columns of that file that are taken, such as `user_id=CustomerID,segment=Segment`; all when empty",
        is_mapping=True,
    )
    blocked: str = _setting("", INGEST, "file of the ids of items that no list may hold, one a line", is_machine=True)
    delimiter: str = _setting(
        AUTO, TOLD, "`table` in CSV: character between the fields, such as `;`, or `tab`; `auto` takes the commonest in the first line"
    )
    encoding: str = _setting(
        AUTO,
        TOLD,
        "`table` in CSV: how characters are written; `auto` tells it from the first bytes. windows-1252 holds Latin-1",
        choices=(AUTO, "utf-8", "utf-16-le", "utf-16-be", "windows-1252"),
    )
    header: str = _setting(
        "on",
        TOLD,
        "`table` in CSV: whether the first line names the columns; with `off` they are called 1, 2, 3, as in `user_id=1,item_id=2`",
        choices=("on", "off"),
    )
    decimal: str = _setting(
        AUTO,
        TOLD,
        "`table`: what stands before the decimals of ratings and weights that are text; `auto` tells it from the first rows",
        choices=(AUTO, "point", "comma"),
    )
    rating_scale: str = _setting("", TOLD, "lowest and highest rating, such as `1:5`; read from the source when empty")
    date_format: str = _setting(
        AUTO,
        TOLD,
        "`table`: order of day and month in dates such as 03/04/2021; `auto` tells it from a date that has only one, and refuses a file "
        "without",
        choices=(AUTO, "dmy", "mdy"),
    )
    as_of: str = _setting("", INGEST, "build as of this UTC time (ISO 8601), from what had happened until then; now when empty")
    scale: float = _setting(1.0, READ, "`sample`: size, 1 = 2,000 users, 1,200 films, about 150,000 ratings", minimum=0.05, maximum=1000)
    min_interactions: int = _setting(100, READ, "fewer usable interactions are refused", minimum=1)
    retention_days: int = _setting(
        0,
        INGEST,
        "interactions older than this many days before `as_of` are left out of the release; 0 keeps all",
        minimum=0,
        maximum=36_500,
    )
    holdout_users: float = _setting(
        0.1,
        INGEST,
        "share of the users whose last interactions are kept out of training to evaluate",
        minimum=0,
        maximum=1,
    )
    holdout_least: int = _setting(
        200, INGEST, "users to keep rows out of in a small source, where holdout_users makes fewer: up to three in ten", minimum=0
    )
    holdout_fraction: float = _setting(
        0.2, INGEST, "share of such a user's history, the last in time, that is kept out", minimum=0, maximum=0.9
    )


@dataclass(frozen=True)
class DataGuard:
    """Limits of how far data may differ from the promoted release's."""

    data_guard: str = _setting(
        "on",
        INGEST,
        "whether data that differs from the promoted release's by more than a week changes ends the run, or is accepted this once",
        choices=("on", "accept"),
    )
    guard_loss: float = _setting(
        0.1,
        INGEST,
        "share of the promoted release's later interactions, of their users, or of their items that may be gone",
        minimum=0,
        maximum=1,
    )
    guard_retention: float = _setting(0.5, INGEST, "share of the older half of its interactions that may be gone", minimum=0, maximum=1)
    guard_popular: float = _setting(0.05, INGEST, "share of its hundred most popular items that may be gone", minimum=0, maximum=1)
    guard_growth: float = _setting(1.0, INGEST, "share by which interactions, users or items may grow; 1 is twice as many", minimum=0)
    guard_refused: float = _setting(
        0.05, INGEST, "how much larger the share of duplicates, or of quarantined rows, may be", minimum=0, maximum=1
    )
    guard_scale: float = _setting(
        0.05, INGEST, "share of the rating scale by which its ends or the mean rating may move", minimum=0, maximum=1
    )
    guard_changed: float = _setting(
        0.1,
        INGEST,
        "share of what is still there whose rating, time, title or genres may be another; of spoilt titles a tenth of it",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class Training:
    """Models and what they learn."""

    models: str = _setting(
        ",".join(DEFAULT_MODELS),
        (*CHOICE, "accuracy"),
        "models to train, by name",
        is_list=True,
    )
    serve: str = _setting(
        AUTO,
        CHOICE,
        "model that ranks the lists; `auto` takes the one that is best on the validation users",
        choices=(AUTO, *reversed(RANKERS)),
    )
    diversity: float = _setting(0.0, CHOICE, "how much of a list's order is decided by variety of content, 0 none", minimum=0, maximum=1)
    calibration: float = _setting(
        0.0,
        CHOICE,
        "how much of it by the user's own mix of genres, 0 none; with `diversity` 1 at most",
        minimum=0,
        maximum=1,
    )
    repeats: str = _setting(
        OFF,
        READ,
        "whether lists have what a user has: `off` never, `allow` where it ranks high, `only` nothing else",
        choices=REPEATS,
    )
    relevance: str = _setting(
        LIKED,
        ("run", "train", "evaluate"),
        "held-out rows that count as found: `liked`, rated at or above the user's own damped mean, or `all`; without ratings all",
        choices=RELEVANCES,
    )
    half_life: float = _setting(
        0.0,
        TRAIN,
        "moments after which an interaction counts half in a list, to every part of a blend; 0: chosen by validation, for each part",
        minimum=0,
    )
    ials_factors: int = _setting(64, TRAIN, "factors of `ials`", minimum=1, maximum=1024)
    ials_iterations: int = _setting(10, TRAIN, "iterations of `ials`", minimum=1, maximum=200)
    ials_alpha: float = _setting(2.0, TRAIN, "confidence of an interaction of strength 1, over that of none", minimum=0)
    ials_reg: float = _setting(0.0, TRAIN, "regularisation of `ials`, times the interactions of a row; 0: chosen by validation", minimum=0)
    als_factors: int = _setting(64, TRAIN, "factors of `als`, those of all the models that it is the mean of", minimum=1, maximum=1024)
    als_iterations: int = _setting(10, TRAIN, "iterations of `als`", minimum=1, maximum=200)
    als_reg: float = _setting(
        0.0, TRAIN, "regularisation of `als` by `mllib`, times the ratings of a row; 0: 0.15; else it is learned", minimum=0
    )
    bias_damping: float = _setting(5.0, TRAIN, "ratings of the overall mean that a bias is damped with", minimum=0)
    als_engine: str = _setting(
        "auto",
        TRAIN,
        "how ALS is fitted: fold-in alternated over tasks, Spark MLlib's, or the first where it fits",
        choices=("auto", "fold_in", "mllib"),
    )
    als_broadcast_mib: int = _setting(2048, TRAIN, "largest factor matrix that every task may map whole", minimum=1)
    weights_keep: int = _setting(
        0, TRAIN, "weights kept of each row of an item-by-item model; 0: 200 to 1,000, fewer the more items", minimum=0
    )
    neighbours_similarity: str = _setting(
        AUTO,
        TRAIN,
        "what makes items neighbours in `item_neighbours`; `auto`: chosen by validation between `bm25` and `turbo_cf`",
        choices=(AUTO, "bm25", "turbo_cf", "cosine", "adjusted_cosine"),
    )
    neighbours_n: int = _setting(0, TRAIN, "users that count as neighbours in `user_neighbours`; 0: chosen by validation", minimum=0)
    neighbour_users: int = _setting(5000, TRAIN, "users that `user_neighbours` compares with, evenly spread over all", minimum=1)
    transitions_lags: int = _setting(
        0, TRAIN, "moments after an item that count as a transition; 0: chosen by validation", minimum=0, maximum=1000
    )
    transitions_damping: float = _setting(
        0.0, TRAIN, "rows that `transitions` adds to those of each item before it divides by them; 0: chosen by validation", minimum=0
    )
    ease_items: int = _setting(
        0, TRAIN, "most popular items that `ease` covers; 0: all with 5 interactions or more, and the first 5,000 in any case", minimum=0
    )
    ease_neighbours: int = _setting(
        100, TRAIN, "items that `ease` solves a rare item over, where `ease_mib` has no room for all at once", minimum=1
    )
    ease_reg: float = _setting(0.0, TRAIN, "regularisation of `ease`; 0: chosen by validation", minimum=0)
    svd_factors: int = _setting(0, TRAIN, "factors of `svd`; 0: chosen by validation", minimum=0, maximum=1024)
    ease_mib: int = _setting(
        4096, TRAIN, "memory that the matrix of `ease` may take; where all items do not fit, the 5,000 most popular do", minimum=1
    )
    popular_n: int = _setting(200, TRAIN, "length of each popular list", minimum=1)
    similar_n: int = _setting(50, TRAIN, "neighbours kept of each item, per source", minimum=1)


@dataclass(frozen=True)
class Lists:
    """The rows that are stored of every user."""

    n: int = _setting(50, ("run", "recommend"), "length of a stored list", minimum=1, maximum=1000)
    explain_n: int = _setting(20, ("run", "recommend"), "list positions, from the first, that get stored reasons", minimum=0)
    reasons_n: int = _setting(3, ("run", "recommend"), "strongest contributions stored for each", minimum=1, maximum=100)
    min_history: int = _setting(3, ("run", "recommend", "evaluate"), "users with fewer interactions get the fallback", minimum=1)
    shards: int = _setting(
        1,
        ("run", "seal"),
        "SQLite databases that the users are spread over, built side by side as Spark tasks; 1 keeps all in one",
        minimum=1,
        maximum=10,
    )
    parity_users: int = _setting(100, ("run", "seal"), "users whose lists are computed again, one by one, before sealing", minimum=0)


@dataclass(frozen=True)
class Gate:
    """Promotion of a new release, and how many are kept."""

    gate_margin: float = _setting(
        0.05,
        EVALUATE,
        "share of the champion's nDCG@10 that a challenger may lose; one that is shown to have lost more is held back",
        minimum=0,
        maximum=1,
    )
    gate_rmse_margin: float = _setting(
        0.02, EVALUATE, "share of the champion's RMSE that a challenger's may exceed it by", minimum=0, maximum=1
    )
    gate_spread: float = _setting(
        0.5,
        EVALUATE,
        "share of the champion's catalogue coverage, and of its evenness (1 - Gini), that a challenger must keep",
        minimum=0,
        maximum=1,
    )
    gate_overlap: float = _setting(
        0.1,
        EVALUATE,
        "mean share of the champion's stored first ten that a challenger's must have in common with them; 0: any",
        minimum=0,
        maximum=1,
    )
    gate_champion: float = _setting(
        0.5,
        EVALUATE,
        "share of the nDCG@10 of its own release that the champion must still have on the challenger's data; 0: any",
        minimum=0,
        maximum=1,
    )
    gate_users: int = _setting(
        30,
        EVALUATE,
        "held-out users below whom coverage and evenness are not compared, and the verdict says that it rests on few",
        minimum=1,
    )
    keep: int = _setting(
        5,
        ("run", "promote", "releases"),
        "promoted releases that pruning keeps, the last ones; the current one and the one before it stay in any case",
        minimum=1,
    )
    keep_days: int = _setting(
        0,
        ("run", "promote", "releases"),
        "pruning also removes releases that were built more days ago, except these two; 0: however old",
        minimum=0,
    )


@dataclass(frozen=True)
class Serving:
    """Access to a server, and its limits."""

    sign_key: str = _setting(
        "", ("run", "seal", "releases"), "file of a minisign secret key without a password; releases are signed with it when they are sealed",
        is_machine=True,
    )  # fmt: skip
    trusted_keys: str = _setting(
        "",
        ("run", "promote", "releases", "serve", "audit"),
        "minisign public keys, or files of them, separated by commas: a release that none of them signed is not imported, promoted or served",
        is_machine=True,
    )

    host: str = _setting("127.0.0.1", ("serve",), "address to listen on", is_machine=True)
    port: int = _setting(8001, ("serve",), "port to listen on; 0 takes a free one", minimum=0, maximum=65535, is_machine=True)
    read_only: bool = _setting(False, ("serve",), "no write routes at all", is_machine=True)
    private: bool = _setting(
        False,
        ("serve",),
        "ask for an API key for reads too, Datasette's pages included; so without being told where `host` is not of this machine alone",
        is_machine=True,
    )
    public: bool = _setting(
        False, ("serve",), "let everybody read who reaches the server, though `host` is not of this machine alone", is_machine=True
    )
    allowed_hosts: str = _setting(
        "",
        ("serve",),
        "names that requests may ask for, besides `localhost`, addresses and `host`, separated by commas; `*` is any",
        is_machine=True,
    )
    cors_origins: str = _setting(
        "",
        ("serve",),
        "origins whose pages may read answers, such as `https://shop.example`, separated by commas; `*` is any",
        is_machine=True,
    )
    allow_download: bool = _setting(
        False,
        ("serve",),
        "give the whole database to whoever asks for `/cinematch.db`; it holds every user who is not forgotten",
        is_machine=True,
    )
    api_key_hashes: str = _setting(
        "",
        ("serve",),
        "SHA-256 of API keys, separated by commas, besides those in the warehouse; each with its scopes, as `promote+run:HASH`, or as "
        "`HASH` alone for `ratings+read`",
        is_machine=True,
    )
    user_token_secret: str = _setting(
        "",
        ("serve",),
        "secret of at least 32 bytes that the tokens of users are signed with; by the environment, the settings file or a file that "
        "`CINEMATCH_USER_TOKEN_SECRET_FILE` names; it has no flag",
        is_machine=True,
        is_secret=True,
    )
    stale_after_days: float = _setting(
        8.0, ("serve", "audit"), "answers of an older release say that they are stale", minimum=0, is_machine=True
    )
    workers: int = _setting(
        1, ("serve",), "server processes that share the port; each takes a processor where lookups keep it busy", minimum=1, maximum=64,
        is_machine=True,
    )  # fmt: skip
    query_ms: int = _setting(1000, ("serve",), "milliseconds that one query may take", minimum=1, maximum=60_000, is_machine=True)
    address_connections: int = _setting(
        256,
        ("serve",),
        "connections that one address may have at once; behind a proxy all come from one; 0: any number",
        minimum=0,
        maximum=20_000,
        is_machine=True,
    )
    address_reads: int = _setting(
        200,
        ("serve",),
        "reads a second that one address may ask for without a key, and ten times as many at once; of this machine, and with 0, any number",
        minimum=0,
        maximum=1_000_000,
        is_machine=True,
    )
    key_reads: int = _setting(
        2000,
        ("serve",),
        "reads a second that one API key may ask for, and ten times as many at once; 0: any number",
        minimum=0,
        maximum=1_000_000,
        is_machine=True,
    )
    body_kib: int = _setting(1024, ("serve",), "largest body of a request, KiB", minimum=1, maximum=65_536, is_machine=True)
    batch_n: int = _setting(1000, ("serve",), "most ratings in one request", minimum=1, maximum=100_000, is_machine=True)
    write_rate: int = _setting(
        5000, ("serve",), "ratings a second that one API key may send, and as many at once", minimum=1, is_machine=True
    )

    airflow_url: str = _setting(
        "", ("serve",), "Airflow that `POST /releases` starts runs in, such as `http://127.0.0.1:8080`; off when empty", is_machine=True
    )
    airflow_user: str = _setting("admin", ("serve",), "user to log in to Airflow", is_machine=True)
    airflow_password: str = _setting(
        "",
        ("serve",),
        "password of that user; by the environment, the settings file or a file that `CINEMATCH_AIRFLOW_PASSWORD_FILE` names; it has no flag",
        is_machine=True,
        is_secret=True,
    )


@dataclass(frozen=True)
class Monitoring:
    """Findings of the daily audit, and who hears of them."""

    audit_min_ratings: int = _setting(200, ("audit",), "fewer online ratings are not compared with the release", minimum=1, is_machine=True)
    audit_psi: float = _setting(
        0.25,
        ("audit",),
        "population stability index of incoming ratings or genres that is a finding",
        minimum=0,
        is_machine=True,
    )
    audit_volume_ratio: float = _setting(
        5.0, ("audit",), "times as many, or as few, online ratings a day that are a finding", minimum=1, is_machine=True
    )
    audit_unknown: float = _setting(
        0.5,
        ("audit",),
        "share of online ratings of unknown users, or of unknown items, that is a finding",
        minimum=0,
        maximum=1,
        is_machine=True,
    )
    audit_quality_ratio: float = _setting(
        0.3,
        ("audit",),
        "online recall@20 below this share of that of the held-out rows is a finding",
        minimum=0,
        is_machine=True,
    )
    audit_overlay_rows: int = _setting(
        1_000_000, ("audit",), "online ratings outside every promoted release that are a finding", minimum=1, is_machine=True
    )
    alert_to: str = _setting(
        "log",
        WATCH,
        "who hears of failures: `log`, `https://...` (webhook), `mailto:...`, separated by commas",
        is_machine=True,
    )
    alert_smtp: str = _setting(
        "localhost:25", WATCH, "mail server, `host:port` or `user:password@host:port` (then by STARTTLS)", is_machine=True
    )
    alert_from: str = _setting("", WATCH, "sender of e-mails", is_machine=True)
