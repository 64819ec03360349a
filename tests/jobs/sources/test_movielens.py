"""MovieLens in all its formats: the same content gives the same rows."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.sources.movielens import MovieLens, open_movielens
from jobs.sources.movielens_formats import GENRES_100K
from schemas.errors import SourceError
from tests.conftest import DATA

LATEST = datetime(2026, 11, 21, tzinfo=UTC)
SMALL = DATA / "ml-latest-small"
RATINGS = [(1, 10, 4, 964982703), (1, 20, 3, 964981247), (2, 10, 5, 964982224)]
MOVIES = [
    (10, "Cité des enfants perdus, La (1995)", ["Adventure", "Sci-Fi"]),
    (20, 'Sabrina, or "The Driver" (1954)', []),
    (30, "Babylon 5", ["Drama"]),
]


def write_csv(folder: Path) -> None:
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r}.0,{t}\n" for u, i, r, t in RATINGS))
    quoted = [(i, '"' + title.replace('"', '""') + '"', "|".join(genres) or "(no genres listed)") for i, title, genres in MOVIES]
    (folder / "movies.csv").write_text(
        "movieId,title,genres\r\n" + "".join(f"{i},{title},{genres}\r\n" for i, title, genres in quoted),
        newline="",
    )
    (folder / "tags.csv").write_text('userId,movieId,tag,timestamp\n1,10,Dark,1\n2,10,"weird, fun",1\n3,10,DARK,1\n1,99,x,1\n1,x,x,1\n')


def _dat(folder: Path, encoding: str) -> None:
    (folder / "ratings.dat").write_text("".join(f"{u}::{i}::{r}::{t}\n" for u, i, r, t in RATINGS))
    rows = "".join(f"{i}::{title}::{'|'.join(genres) or '(no genres listed)'}\n" for i, title, genres in MOVIES)
    (folder / "movies.dat").write_text(rows, encoding=encoding)


def write_1m(folder: Path) -> None:
    _dat(folder, "latin-1")
    (folder / "users.dat").write_text("1::F::1::10::48067\n")


def write_10m(folder: Path) -> None:
    _dat(folder, "utf-8")
    (folder / "tags.dat").write_text("1::10::Dark::1\n2::10::weird, fun::1\n3::10::DARK::1\n")


def write_100k(folder: Path) -> None:
    (folder / "u.data").write_text("".join(f"{u}\t{i}\t{r}\t{t}\n" for u, i, r, t in RATINGS))
    rows = []
    for i, title, genres in MOVIES:
        flags = ["1" if genre in genres or not genres and genre == "unknown" else "0" for genre in GENRES_100K]
        rows.append("|".join([str(i), title, "01-Jan-1995", "", "http://x", *flags]) + "\n")
    (folder / "u.item").write_text("".join(rows), encoding="latin-1")
    (folder / "u.genre").write_text("".join(f"{genre}|{i}\n" for i, genre in enumerate(GENRES_100K)) + "\n")


WRITERS = {"csv": write_csv, "ml-1m": write_1m, "ml-10m": write_10m, "ml-100k": write_100k}
SCALES = {"csv": (0.5, 5.0), "ml-1m": (1.0, 5.0), "ml-10m": (0.5, 5.0), "ml-100k": (1.0, 5.0)}
every_format = pytest.mark.parametrize("name, write", WRITERS.items())


def opened(path: Path) -> MovieLens:
    return open_movielens(path, latest=LATEST)


def accepted(source: MovieLens) -> pa.Table:
    batches = list(source.interactions())
    assert all(batch.n_read == batch.accepted.num_rows + batch.refused.num_rows for batch in batches)
    return pa.concat_tables(batch.accepted for batch in batches)


def check(source: MovieLens, name: str) -> None:
    assert (source.format.name, source.rating_scale, source.user_id_type, source.item_id_type) == (
        name,
        SCALES[name],
        "int64",
        "int64",
    )
    rows = accepted(source).drop(["line", "weight"])
    assert [tuple(row.values()) for row in rows.to_pylist()] == [(u, i, float(r), t) for u, i, r, t in RATINGS]
    items = source.catalogue().items.to_pylist()
    assert [(row["item_id"], row["title"], row["year"], row["genres"]) for row in items] == [
        (10, MOVIES[0][1], 1995, "Adventure|Sci-Fi"),
        (20, MOVIES[1][1], 1954, ""),
        (30, "Babylon 5", None, "Drama"),
    ]
    assert [row["tags"] for row in items] == ["dark|weird, fun" if name in ("csv", "ml-10m") else "", "", ""]


@every_format
def test_a_folder(tmp_path, name, write):
    write(tmp_path)
    check(opened(tmp_path), name)


@every_format
def test_a_folder_in_a_folder_and_the_path_of_the_ratings(tmp_path, name, write):
    (tmp_path / "ml").mkdir()
    write(tmp_path / "ml")
    source = opened(tmp_path)
    check(source, name)
    check(opened(source.inputs[0]), name)


@every_format
def test_a_zip(tmp_path, name, write):
    path = zipped(tmp_path, write)
    source = opened(path)
    assert source.inputs == (path,)
    check(source, name)


def zipped(folder: Path, write: Callable[[Path], None], *, as_named: str = "ml/") -> Path:
    (folder / "files").mkdir()
    write(folder / "files")
    with zipfile.ZipFile(folder / "ml.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/ml/ratings.csv", "x")
        for file in sorted((folder / "files").iterdir()):
            archive.write(file, as_named + file.name)
    return folder / "ml.zip"


def test_a_zip_writes_nothing_outside_or_anywhere(tmp_path):
    path = zipped(tmp_path, write_csv, as_named="../../ml/")
    before = sorted(tmp_path.rglob("*"))
    check(opened(path), "csv")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_zip(tmp_path):
    path = zipped(tmp_path, write_csv)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("ml/ratings.csv").header_offset + 60
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(SourceError, match="ml.zip, member ml/ratings.csv: damaged or cut short"):
        accepted(opened(path))
    path.write_bytes(content[:200])
    with pytest.raises(SourceError, match="not a readable zip"):
        opened(path)


def test_refused_rows_of_every_file(tmp_path):
    write_csv(tmp_path)
    with (tmp_path / "ratings.csv").open("a") as file:
        file.write("1,x,4,1\n1,30,5.5,1\n\n,30,4,1\n1,30,4\n9223372036854775808,1,4,1\n")
    with (tmp_path / "movies.csv").open("ab") as file:
        file.write(b"ten,Ten,\n10,Again,\n40,\xff,\n")
    source = opened(tmp_path)
    refused = pa.concat_tables(batch.refused for batch in source.interactions()).to_pylist()
    assert [tuple(row.values()) for row in refused] == [
        ("ratings.csv", 5, "1,x,4,1", "item_id 'x' is not a whole number"),
        ("ratings.csv", 6, "1,30,5.5,1", "rating 5.5 is off the scale 0.5 to 5"),
        ("ratings.csv", 8, ",30,4,1", "user_id is empty"),
        ("ratings.csv", 9, "1,30,4", "expected 4 fields, got 3"),
        (
            "ratings.csv",
            10,
            "9223372036854775808,1,4,1",
            "user_id '9223372036854775808' is not a whole number",
        ),
    ]
    catalogue = source.catalogue()
    assert [tuple(row.values()) for row in catalogue.refused.to_pylist()] == [
        ("movies.csv", 5, "ten,Ten,", "item_id 'ten' is not a whole number"),
        ("movies.csv", 6, "10,Again,", "item_id 10 is already on line 2"),
        ("movies.csv", 7, r"40,\xff,", "title is not UTF-8"),
        ("tags.csv", 6, "1,x,x,1", "item_id 'x' is not a whole number"),
    ]
    assert catalogue.n_read == catalogue.items.num_rows + 4


def test_at_most_twenty_tags_the_commonest_first(tmp_path):
    write_csv(tmp_path)
    tags = [f"{user},10,tag {tag:02},1" for tag in range(30) for user in range(1 + (tag == 29))] + [
        "1,10,a|b,1",
        "1,10, ,1",
    ]
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n" + "\n".join(tags))
    catalogue = opened(tmp_path).catalogue()
    first = catalogue.items["tags"][0].as_py().split("|")
    assert len(first) == 20 and first[:3] == ["tag 29", "a/b", "tag 00"]
    assert catalogue.refused["reason"].to_pylist() == ["tag is empty"]


def test_half_stars_without_users_or_tags_are_of_10m(tmp_path):
    _dat(tmp_path, "utf-8")
    assert opened(tmp_path).format.name == "ml-1m"
    (tmp_path / "ratings.dat").write_text("1::10::3.5::964982703\n")
    assert opened(tmp_path).format.name == "ml-10m"


def test_a_scale_that_is_set_holds(tmp_path):
    write_csv(tmp_path)
    source = open_movielens(tmp_path, latest=LATEST, rating_scale=(1.0, 4.0))
    assert accepted(source)["rating"].to_pylist() == [4.0, 3.0]


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(SourceError, match="no such folder or zip"):
        opened(tmp_path / "none")
    with pytest.raises(SourceError, match="not a MovieLens data set; expected ratings.csv .* found: nothing"):
        opened(tmp_path)
    write_csv(tmp_path)
    (tmp_path / "movies.csv").unlink()
    with pytest.raises(SourceError, match="ratings.csv without movies.csv; found: ratings.csv, tags.csv"):
        opened(tmp_path)
    (tmp_path / "movies.csv").write_text("movieId,title\n")
    with pytest.raises(SourceError, match=r"no column 'genres' \(for genres\); the file has: movieId, title"):
        opened(tmp_path)
    (tmp_path / "movies.csv").write_text("")
    with pytest.raises(SourceError, match="movies.csv: empty"):
        opened(tmp_path)


@pytest.mark.skipif(not SMALL.exists(), reason="ml-latest-small is not there")
def test_ml_latest_small():
    source = opened(SMALL)
    rows = accepted(source)
    assert rows.num_rows == 100_836 and len(rows["user_id"].unique()) == 610
    assert rows.slice(0, 1).to_pylist() == [{"user_id": 1, "item_id": 1, "rating": 4.0, "weight": 1.0, "rated_at": 964982703, "line": 2}]
    assert rows["line"].to_pylist() == list(range(2, 100_838))
    catalogue = source.catalogue()
    assert (catalogue.items.num_rows, catalogue.refused.num_rows) == (9_742, 0)
    assert catalogue.items.slice(0, 1).to_pylist() == [
        {
            "item_id": 1,
            "title": "Toy Story (1995)",
            "year": 1995,
            "genres": "Adventure|Animation|Children|Comedy|Fantasy",
            "tags": "pixar|fun",
            "description": None,
        }
    ]
    assert [path.name for path in source.inputs] == ["ratings.csv", "movies.csv", "tags.csv"]
