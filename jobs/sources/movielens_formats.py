"""The formats in which MovieLens was published: files, dialects and columns of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.sources.blocks import Block, Dialect
from jobs.sources.delimited import Delimited, with_header, without_header
from jobs.sources.streams import Input

HALF_STARS, WHOLE_STARS = (0.5, 5.0), (1.0, 5.0)
GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)


@dataclass(frozen=True)
class Part:
    """One file of a format: its name, dialect, the file's names of our columns, and its fields where it has
    no header."""

    name: str
    dialect: Dialect
    columns: Mapping[str, str]
    fields: tuple[str, ...] = ()

    def open(self, source: Input) -> Delimited:
        return without_header(source, self.dialect, self.fields) if self.fields else with_header(source, self.dialect)

    def blocks(self, source: Input) -> Iterator[Block]:
        return self.open(source).blocks(self.columns)


@dataclass(frozen=True)
class Format:
    name: str
    scale: tuple[float, float]
    ratings: Part
    movies: Part
    tags: Part | None = None
    users: Part | None = None


_CSV = Dialect()
_DOUBLE_COLON = Dialect("::", has_quotes=False)
_DOUBLE_COLON_LATIN = Dialect("::", has_quotes=False, encoding="latin-1")
_OURS = {name: name for name in ("user_id", "item_id", "rating", "rated_at")}
_MOVIES = {"item_id": "item_id", "title": "title", "genres": "genres"}
_RATINGS_DAT = Part("ratings.dat", _DOUBLE_COLON, _OURS, tuple(_OURS))
_USERS_100K = ("user_id", "age", "gender", "occupation", "zip_code")
_USERS_1M = ("user_id", "gender", "age", "occupation", "zip_code")
GENRE_FLAGS = tuple(f"flag{i}" for i in range(len(GENRES_100K)))

CSV = Format(
    "csv",
    HALF_STARS,
    Part(
        "ratings.csv",
        _CSV,
        {"user_id": "userId", "item_id": "movieId", "rating": "rating", "rated_at": "timestamp"},
    ),
    Part("movies.csv", _CSV, {"item_id": "movieId", "title": "title", "genres": "genres"}),
    Part("tags.csv", _CSV, {"item_id": "movieId", "tag": "tag"}),
)
ML_10M = Format(
    "ml-10m",
    HALF_STARS,
    _RATINGS_DAT,
    Part("movies.dat", _DOUBLE_COLON, _MOVIES, tuple(_MOVIES)),
    Part(
        "tags.dat",
        _DOUBLE_COLON,
        {"item_id": "item_id", "tag": "tag"},
        ("user_id", "item_id", "tag", "tagged_at"),
    ),
)
ML_1M = Format(
    "ml-1m",
    WHOLE_STARS,
    _RATINGS_DAT,
    Part("movies.dat", _DOUBLE_COLON_LATIN, _MOVIES, tuple(_MOVIES)),
    users=Part("users.dat", _DOUBLE_COLON_LATIN, {name: name for name in _USERS_1M}, _USERS_1M),
)
ML_100K = Format(
    "ml-100k",
    WHOLE_STARS,
    Part("u.data", Dialect("\t", has_quotes=False), _OURS, tuple(_OURS)),
    Part(
        "u.item",
        Dialect("|", has_quotes=False, encoding="latin-1"),
        {"item_id": "item_id", "title": "title", **{flag: flag for flag in GENRE_FLAGS}},
        ("item_id", "title", "released", "released_on_video", "url", *GENRE_FLAGS),
    ),
    users=Part("u.user", Dialect("|", has_quotes=False, encoding="latin-1"), {name: name for name in _USERS_100K}, _USERS_100K),
)
FORMATS = (CSV, ML_10M, ML_1M, ML_100K)
