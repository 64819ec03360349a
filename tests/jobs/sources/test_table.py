"""Any file of interactions: which columns are taken, what is refused with which words, and the catalogue
beside it."""

from __future__ import annotations

import bz2
import codecs
import gzip
from collections import Counter
from datetime import date, datetime, UTC
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from jobs.sources import Batch, Catalogue, QUARANTINE_SCHEMA
from jobs.sources.open import open_source
from jobs.sources.table import open_table, Table
from schemas.errors import SettingError, SourceError
from schemas.settings import resolve
from tests.conftest import DATA

LATEST = datetime(2026, 11, 21, tzinfo=UTC)
RETAIL = DATA / "online-retail" / "online_retail.csv.gz"
MAPPED = "user_id=u,item_id=i,rating=r,rated_at=t"


def opened(folder: Path, content: str | bytes, columns: str = "", *, name: str = "x.csv", **more) -> Table:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(path, latest=LATEST, columns=columns, **more)


def all_of(source: Table) -> tuple[pa.Table, list[dict]]:
    """Accepted rows and refused rows, with the promises every batch makes."""
    batches = list(source.interactions())
    for batch in batches:
        assert batch.n_read == batch.accepted.num_rows + batch.refused.num_rows
        assert batch.refused.schema.equals(QUARANTINE_SCHEMA)
        assert batch.accepted.column_names == ["user_id", "item_id", "rating", "weight", "rated_at", "line"]
    refused = pa.concat_tables(batch.refused for batch in batches).to_pylist()
    return pa.concat_tables(batch.accepted for batch in batches), refused


def reasons(folder: Path, rows: str, columns: str = MAPPED, **more) -> list[tuple[int, str]]:
    _, refused = all_of(opened(folder, "u,i,r,t\n" + rows, columns, rating_scale=(1.0, 5.0), **more))
    return [(row["line"], row["reason"]) for row in refused]


def test_a_row_is_taken_as_it_is(tmp_path):
    accepted, refused = all_of(
        opened(
            tmp_path,
            'u,i,r,t\n 17850 ,85123A,4.5,2010-12-01 08:26:00\n007,"a,b",1,2010-12-01T08:26:00+01:00\n',
            MAPPED,
        )
    )
    assert refused == []
    assert accepted.to_pylist() == [
        {
            "user_id": "17850",
            "item_id": "85123A",
            "rating": 4.5,
            "weight": 1.0,
            "rated_at": 1291191960,
            "line": 2,
        },
        {"user_id": "007", "item_id": "a,b", "rating": 1.0, "weight": 1.0, "rated_at": 1291188360, "line": 3},
    ]
    assert [str(field.type) for field in accepted.schema] == [
        "string",
        "string",
        "double",
        "double",
        "int64",
        "int64",
    ]


@pytest.mark.parametrize(
    "row, reason",
    [
        ("a,b,abc,1", "rating 'abc' is not a number"),
        ("a,b,0x1F,1", "rating '0x1F' is not a number"),
        ("a,b,,1", "rating is empty"),
        ("a,b,NaN,1", "rating is NaN"),
        ("a,b,inf,1", "rating is infinite"),
        ("a,b,-Infinity,1", "rating is infinite"),
        ("a,b,11,1", "rating 11 is off the scale 1 to 5"),
        ("a,b,0.5,1", "rating 0.5 is off the scale 1 to 5"),
        (",b,3,1", "user_id is empty"),
        ("  ,b,3,1", "user_id is empty"),
        ('a,"",3,1', "item_id is empty"),
        ("a\0,b,3,1", "user_id holds a zero byte"),
        ("a,b,3,", "rated_at is empty"),
        ("a,b,3,31/31/2020", "rated_at '31/31/2020' is not a time"),
        ("a,b,3,-1", "rated_at 1969-12-31 is before 1970-01-01"),
        ("a,b,3,99999999999", "rated_at 5138-11-16 is after 2026-11-21 (in the future)"),
        ("a,b,3,1795305601", "rated_at 2026-11-22 is after 2026-11-21 (in the future)"),
        ("a,b,3,999999999999999999", "rated_at '999999999999999999' is after 2026-11-21 (in the future)"),
        ("a,b,3,1e300", "rated_at '1e300' is after 2026-11-21 (in the future)"),
        ("a,b,3,-1e300", "rated_at '-1e300' is before 1970-01-01"),
        ("a,b,3,inf", "rated_at 'inf' is not a time"),
        ("a,b,3", "expected 4 fields, got 3"),
        ("a,b,3,1,x", "expected 4 fields, got 5"),
        ('a,"b,3,1', "a quote is not closed"),
    ],
)
def test_what_is_refused_and_why(tmp_path, row, reason):
    assert reasons(tmp_path, f"a,b,3,1000000000\n\n{row}\na,b,3,1000000000\na,c,4,1000000001\n") == [(4, reason)]


def test_the_first_reason_that_applies(tmp_path):
    assert reasons(tmp_path, ",,x,y\na,b,x,y\na,,3,1\na,b,3,1\n") == [
        (2, "user_id is empty"),
        (3, "rating 'x' is not a number"),
        (4, "item_id is empty"),
    ]


def test_a_day_ahead_is_still_now(tmp_path):
    assert reasons(tmp_path, "a,b,3,1795219200\n") == []


def test_bytes_that_are_not_utf8(tmp_path):
    source = opened(tmp_path, "u,i,r,t,note\na,b,3,1,ééé\n".encode() + b"\xe9t\xe9,b,3,1,ok\na,b,3,1,\xa3\n", MAPPED)
    accepted, refused = all_of(source)
    assert accepted["line"].to_pylist() == [2, 4]  # a column that is not asked for may hold anything
    assert refused == [{"source": "x.csv", "line": 3, "text": r"\xe9t\xe9,b,3,1,ok", "reason": "user_id is not UTF-8"}]


def test_refused_text_is_the_row_as_read(tmp_path):
    _, refused = all_of(opened(tmp_path, 'u,i,r,t\r\n"x, y",b,bad,1\r\n1,2,3,4\r\n', MAPPED, name="ratings.csv"))
    assert refused == [
        {
            "source": "ratings.csv",
            "line": 2,
            "text": '"x, y",b,bad,1',
            "reason": "rating 'bad' is not a number",
        }
    ]


def test_weights_are_strengths(tmp_path):
    accepted, refused = all_of(opened(tmp_path, "u,i,q\na,b,3\na,c,-1\na,d,0\na,e,x\n", "user_id=u,item_id=i,weight=q"))
    assert accepted.select(["rating", "weight", "rated_at"]).to_pylist() == [{"rating": None, "weight": 3.0, "rated_at": None}]
    assert [row["reason"] for row in refused] == [
        "weight -1 is not positive (a cancellation?)",
        "weight 0 is not positive (a cancellation?)",
        "weight 'x' is not a number",
    ]


@pytest.mark.parametrize("header", ["user_id,item_id,rating,rated_at", "userId,movieId,rating,timestamp", "User,Item,Stars,Time"])
def test_well_known_names_need_no_setting(tmp_path, header):
    source = opened(tmp_path, f"{header}\n1,2,3,1000000000\n")
    assert all_of(source)[0].to_pylist() == [
        {"user_id": "1", "item_id": "2", "rating": 3.0, "weight": 1.0, "rated_at": 1_000_000_000, "line": 2}
    ]
    assert (source.user_id_type, source.item_id_type) == (None, None)


@pytest.mark.parametrize(
    "columns, error, message",
    [
        ("", SourceError, "no column for user_id and item_id; the file has: u, i, r, t"),
        ("user_id=u", SourceError, "no column for item_id; the file has: u, i, r, t"),
        (
            "user_id=u,item_id=StockCode",
            SourceError,
            r"no column 'StockCode' \(for item_id\); the file has: u, i, r, t",
        ),
        ("user_id=U,item_id=i", SourceError, r"no column 'U' \(for user_id\); the file has: u, i, r, t; did you mean 'u'\?"),
        (
            "user=u,item_id=i",
            SettingError,
            "no column of ours is called 'user'; expected user_id, item_id, rating",
        ),
        ("user_id=u,item_id=i,user_id=i", SettingError, "user_id is named twice"),
        ("user_id=u,item_id=", SettingError, "item_id names no column"),
        ("u", SettingError, "expected ours=theirs"),
    ],
)
def test_columns_that_cannot_be(tmp_path, columns, error, message):
    with pytest.raises(error, match=message):
        opened(tmp_path, "u,i,r,t\na,b,3,1\n", columns)


def test_columns_of_one_name(tmp_path):
    with pytest.raises(SourceError, match="2 columns are called 'u'"):
        opened(tmp_path, "u,u,i\n1,2,3\n", "user_id=u,item_id=i")


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        open_table(tmp_path / "none.csv", latest=LATEST)
    with pytest.raises(SourceError, match="empty"):
        opened(tmp_path, "")
    with pytest.raises(SourceError, match="no row below"):
        opened(tmp_path, "user_id,item_id\n")
    with pytest.raises(SourceError, match="no row can be read; the first, line 2: expected 2 fields, got 3"):
        opened(tmp_path, "user_id,item_id\n1,2,3\n1,2,3\n")
    with pytest.raises(SourceError, match="a zip"):
        opened(tmp_path, b"PK\x03\x04rest")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        opened(tmp_path, b"PAR1rest")
    with pytest.raises(SourceError, match="no rating is a number"):
        opened(tmp_path, "user_id,item_id,rating\n1,2,good\n")
    with pytest.raises(SettingError, match="has no rating column"):
        opened(tmp_path, "user_id,item_id\n1,2\n", rating_scale=(1.0, 5.0))


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("1291191960", 1291191960),
        ("1291191960.75", 1291191960),
        ("1291191960123", 1291191960),
        ("1291191960123456", 1291191960),
        ("2010-12-01", 1291161600),
        ("20101201", 1291161600),
        ("2010-12-01 08:26", 1291191960),
        ("2010-12-01 08:26:00", 1291191960),
        ("2010-12-01T08:26:00Z", 1291191960),
        ("2010-12-01 08:26:00 UTC", 1291191960),
        ("2010-12-01 08:26:00.5 UTC", 1291191960),
        ("2010-12-01T08:26:00.123456", 1291191960),
        ("2010-12-01T08:26:00.123456789Z", 1291191960),
        ("2010-12-01T09:26:00+01:00", 1291191960),
        ("12/1/2010 8:26", 1291191960),
        ("12/01/2010 08:26:00", 1291191960),
        ("13/12/2010 8:26", 1292228760),
        ("1.12.2010 8:26", 1291191960),
        ("12/1/2010 8:26 AM", 1291191960),
    ],
)
def test_times_in_many_forms(tmp_path, text, seconds):
    accepted, refused = all_of(
        opened(
            tmp_path,
            f"user_id,item_id,rated_at\na,b,{text}\na,c,{text}\na,d,{text}\na,e,never\n",
            date_format="mdy" if text.startswith("12/") else "",
        )
    )
    assert accepted["rated_at"].to_pylist() == [seconds] * 3
    assert [row["reason"] for row in refused] == ["rated_at 'never' is not a time"]


def dated(folder: Path, *texts: str, **more) -> list[str | None]:
    """The days that the dates of a file are read as."""
    rows = "".join(f"a,{i},{text}\n" for i, text in enumerate(texts))
    accepted, _ = all_of(opened(folder, "user_id,item_id,when\n" + rows, "user_id=user_id,item_id=item_id,rated_at=when", **more))
    return [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in accepted["rated_at"].to_pylist()]


@pytest.mark.parametrize("clock", ["", " 10:00", " 9:05 PM"])
def test_dates_that_can_all_be_read_in_two_ways_are_refused_with_both(tmp_path, clock):
    texts = [f"{day}/04/2021{clock}" for day in ("04", "03", "05")]
    message = r"column 'when' can be read in two ways, '03/04/2021.*' as 2021-04-03 \(day first\) or 2021-03-04 \(month first\); set date_format to dmy or mdy"
    with pytest.raises(SettingError, match=message):
        dated(tmp_path, *texts)
    assert dated(tmp_path, *texts, date_format="dmy") == ["2021-04-04", "2021-04-03", "2021-04-05"]
    assert dated(tmp_path, *texts, date_format="mdy") == ["2021-04-04", "2021-03-04", "2021-05-04"]


def test_one_date_that_has_only_one_reading_tells_the_order(tmp_path):
    assert dated(tmp_path, "03/04/2021", "25/04/2021") == ["2021-04-03", "2021-04-25"]
    assert dated(tmp_path, "03/04/2021", "04/25/2021") == ["2021-03-04", "2021-04-25"]
    assert dated(tmp_path, "03.04.2021") == ["2021-04-03"] and dated(tmp_path, "03.04.2021", date_format="mdy") == ["2021-03-04"]
    assert dated(tmp_path, "04/04/2021") == ["2021-04-04"]
    first = ["03/04/2021"] * 70_000
    assert dated(tmp_path, *first, "25/04/2021")[::70_000] == ["2021-04-03", "2021-04-25"]


def test_a_column_of_times_without_any(tmp_path):
    _, refused = all_of(opened(tmp_path, "user_id,item_id,rated_at\na,b,\na,c,nan\na,d,soon\n"))
    assert [row["reason"] for row in refused] == [
        "rated_at is empty",
        "rated_at 'nan' is not a time",
        "rated_at 'soon' is not a time",
    ]


@pytest.mark.parametrize("text", ["2/30/2020 10:00", "2020-02-30", "1/2/20201 10:00", "24:00", "2020-13-01"])
def test_days_that_do_not_exist(tmp_path, text):
    good = "1/2/2020 10:00" if "/" in text else "2020-01-02"
    _, refused = all_of(opened(tmp_path, f"user_id,item_id,rated_at\na,b,{good}\na,c,{good}\na,d,{text}\n", date_format="mdy"))
    assert [(row["line"], row["reason"]) for row in refused] == [(4, f"rated_at '{text}' is not a time")]


@pytest.mark.parametrize(
    "ratings, scale",
    [
        ([1, 2, 3, 4, 5], (1, 5)),
        ([0.5, 3, 4.5], (0.5, 5)),
        ([1.5, 3, 4.5], (0.5, 5)),
        ([0, 1], (0, 1)),
        ([0, 3, 5], (0, 5)),
        ([1, 10], (1, 10)),
        ([0, 9], (0, 10)),
        ([5, 100], (1, 100)),
        ([0, 100], (0, 100)),
        ([-10, 10], (-10, 10)),
        ([500], (0, 500)),
        ([3.25, 4.1], (1, 5)),
        ([3] * 999 + [99], (1, 5)),
    ],
)
def test_scales_are_told_from_the_ratings(tmp_path, ratings, scale):
    rows = "".join(f"a,{i},{rating}\n" for i, rating in enumerate(ratings))
    assert opened(tmp_path, "user_id,item_id,rating\n" + rows).rating_scale == scale


@pytest.mark.parametrize(
    "mark, share, narrow, wide",
    [
        ("99", 0.006, "1:5", "1:100"),
        ("-1", 0.006, "1:5", "-1:5"),
        ("0", 0.006, "1:5", "0:5"),
        ("99", 0.3, "1:5", "1:100"),
        ("-1", 0.4, "1:5", "-1:5"),
    ],
)
def test_a_mark_among_ratings_does_not_stretch_the_scale(tmp_path, mark, share, narrow, wide):
    ratings = [mark if i < 1000 * share else 1 + i % 5 for i in range(1000)]
    rows = "user_id,item_id,rating\n" + "".join(f"a,{i},{rating}\n" for i, rating in enumerate(ratings))
    message = f"{share:.1%} of the first 1,000 ratings are {mark}, all others lie on 1 to 5; set {narrow} to refuse those rows, or {wide}"
    with pytest.raises(SettingError, match=message):
        opened(tmp_path, rows)
    source = opened(tmp_path, rows, rating_scale=(1.0, 5.0))
    assert len(all_of(source)[1]) == 1000 * share and source.read_as["rating_scale"] == "1 to 5, as set"


def test_a_scale_with_many_zeros_says_that_they_count(tmp_path):
    rows = "".join(f"a,{i},{i % 6}\n" for i in range(600))
    source = opened(tmp_path, "user_id,item_id,rating\n" + rows)
    assert source.rating_scale == (0, 5)
    assert source.read_as["rating_scale"] == "0 to 5, told from the first 600; 0 counts as a rating, set rating_scale if it is none"


def test_it_says_which_columns_were_taken_and_which_left_out(tmp_path):
    content = "user;item;rating;ts;note\n1;2;3;1000000000;x\n"
    source = opened(tmp_path, content)
    assert source.read_as == {
        "columns": "user_id=user, item_id=item, rating=rating, rated_at=ts",
        "left_out": "note",
        "file": "utf-8, fields delimited by ';'",
        "rating_scale": "1 to 5, told from the first 1",
        "times": "unix s",
    }
    source = opened(tmp_path, content, "rating=rating")
    assert source.read_as["left_out"] == "ts, note" and all_of(source)[0]["rated_at"].null_count == 1


def test_ids_that_are_whole_numbers_with_a_point_are_whole_numbers(tmp_path):
    (tmp_path / "i.csv").write_text("item_id,title\n242,Kolya\n7,Other\n")
    content = "user_id,item_id\n196.0,242.0\n7.0,7.00\n,1.0\n"
    source = opened(tmp_path, content, items=tmp_path / "i.csv")
    assert all_of(source)[0].select(["user_id", "item_id"]).to_pylist() == [
        {"user_id": "196", "item_id": "242"},
        {"user_id": "7", "item_id": "7"},
    ]
    assert source.read_as["ids"] == "item_id 196.0 as 196; user_id 196.0 as 196"
    assert [row["item_id"] for row in items_of(source.catalogue())] == ["242", "7"]
    (tmp_path / "j.csv").write_text("item_id,title\n242.0,Kolya\n")
    source = opened(tmp_path, "user_id,item_id\n007,242\n7.0,7.0\n", items=tmp_path / "j.csv")
    assert all_of(source)[0]["user_id"].to_pylist() == ["007", "7.0"] and "ids" not in source.read_as
    assert [row["item_id"] for row in items_of(source.catalogue())] == ["242"]
    source = opened(tmp_path, "user_id,item_id\n1.196e+09,1\n")
    assert "user_id such as 1.196e+09 as text: digits are lost" in source.read_as["ids"]


def test_no_rating_column_is_implicit_feedback(tmp_path):
    source = opened(tmp_path, "user_id,item_id\na,b\n")
    accepted, _ = all_of(source)
    assert source.rating_scale is None and accepted["rating"].null_count == 1


def test_the_same_table_in_four_files(tmp_path):
    content = "user_id;item_id;rating;rated_at\n1;A;4;1000000000\n2;B;x;1000000001\n2;A;5;1000000002\n"
    csv = all_of(opened(tmp_path, content, name="a.csv"))
    gz = all_of(opened(tmp_path, gzip.compress(content.encode()), name="a.csv.gz"))
    frame = pd.DataFrame(
        {
            "user_id": ["1", "2", "2"],
            "item_id": ["A", "B", "A"],
            "rating": ["4", "x", "5"],
            "rated_at": [1000000000, 1000000001, 1000000002],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    parquet = all_of(open_table(tmp_path / "a.parquet", latest=LATEST))
    assert csv[0].equals(gz[0])
    assert csv[0].drop(["line"]).equals(parquet[0].drop(["line"]))
    assert parquet[0]["line"].to_pylist() == [1, 3]
    assert [row["reason"] for row in csv[1] + gz[1] + parquet[1]] == ["rating 'x' is not a number"] * 3
    assert parquet[1][0] == {
        "source": "a.parquet",
        "line": 2,
        "text": "2,B,x,1000000001",
        "reason": "rating 'x' is not a number",
    }


def test_parquet_types(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([1.0, None, 2.5, 3.0]),
            "item_id": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
            "rating": pa.array([4, 4, 4, None], pa.int8()),
            "rated_at": pa.array([datetime(2010, 12, 1, 8, 26)] * 4, pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = open_table(tmp_path / "t.parquet", latest=LATEST)
    assert (source.user_id_type, source.item_id_type, source.rating_scale) == ("int64", "string", (1.0, 5.0))
    accepted, refused = all_of(source)
    assert accepted.to_pylist() == [{"user_id": 1, "item_id": "a", "rating": 4.0, "weight": 1.0, "rated_at": 1291191960, "line": 1}]
    assert [(row["line"], row["reason"]) for row in refused] == [
        (2, "user_id is empty"),
        (3, "user_id '2.5' is not a whole number"),
        (4, "rating is empty"),
    ]


def test_parquet_dates_zones_and_wrong_types(tmp_path):
    for i, moment in enumerate([pa.array([date(2010, 12, 1)]), pa.array([1291161600000000], pa.timestamp("us", "Europe/Paris"))]):
        pq.write_table(
            pa.table({"user_id": ["u"], "item_id": pa.array([2**63 + 1], pa.uint64()), "rated_at": moment}),
            tmp_path / f"{i}.parquet",
        )
        source = open_table(tmp_path / f"{i}.parquet", latest=LATEST)
        _, refused = all_of(source)
        assert [row["reason"] for row in refused] == [f"item_id {2**63 + 1} is larger than {2**63 - 1}"]
    pq.write_table(pa.table({"user_id": ["u"], "item_id": [True]}), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"column 'item_id' \(for item_id\) is bool; expected whole numbers or text"):
        all_of(open_table(tmp_path / "b.parquet", latest=LATEST))


def test_a_folder_of_parquet_parts_counts_rows_through(tmp_path):
    (tmp_path / "parts").mkdir()
    for i in range(2):
        pq.write_table(pa.table({"user_id": [1, 2], "item_id": [i, i]}), tmp_path / "parts" / f"{i}.parquet")
    source = open_table(tmp_path / "parts", latest=LATEST)
    accepted, _ = all_of(source)
    assert accepted["line"].to_pylist() == [1, 2, 3, 4] and len(source.inputs) == 2


def items_of(catalogue: Catalogue) -> list[dict]:
    assert catalogue.n_read == catalogue.items.num_rows + catalogue.refused.num_rows
    assert catalogue.refused.schema.equals(QUARANTINE_SCHEMA)
    return catalogue.items.to_pylist()


def test_a_file_of_items(tmp_path):
    (tmp_path / "films.csv").write_text(
        'Key,Name,Kind,Released,Plot\nA, "Heat" ,"Crime, Drama",1995-12-15,Cops.\n,No id,,,\nA,Again,,,\nB,Up (2009),,,\nC,,Drama,x\n'
    )
    source = opened(
        tmp_path,
        "user_id,item_id\n1,A\n",
        items=tmp_path / "films.csv",
        item_columns="item_id=Key,title=Name,genres=Kind,year=Released,description=Plot",
    )
    catalogue = source.catalogue()
    assert items_of(catalogue) == [
        {
            "item_id": "A",
            "title": '"Heat"',
            "year": 1995,
            "genres": "Crime|Drama",
            "tags": "",
            "description": "Cops.",
        },
        {"item_id": "B", "title": "Up (2009)", "year": 2009, "genres": "", "tags": "", "description": None},
    ]
    assert [tuple(row.values()) for row in catalogue.refused.to_pylist()] == [
        ("films.csv", 3, ",No id,,,", "item_id is empty"),
        ("films.csv", 4, "A,Again,,,", "item_id A is already on line 2"),
        ("films.csv", 6, "C,,Drama,x", "expected 5 fields, got 4"),
    ]
    assert [path.name for path in source.inputs] == ["x.csv", "films.csv"]


def test_items_have_the_ids_of_the_interactions(tmp_path):
    pq.write_table(pa.table({"user_id": [1], "item_id": [7]}), tmp_path / "t.parquet")
    (tmp_path / "i.csv").write_text("item_id,title\n7,Seven\nx,Ex\n")
    catalogue = open_table(tmp_path / "t.parquet", latest=LATEST, items=tmp_path / "i.csv").catalogue()
    assert [row["item_id"] for row in items_of(catalogue)] == [7]
    assert catalogue.refused["reason"].to_pylist() == ["item_id 'x' is not a whole number"]
    pq.write_table(pa.table({"item_id": [7], "genres": [["a", "b"]]}), tmp_path / "i.parquet")
    source = opened(tmp_path, "user_id,item_id\n1,7\n", items=tmp_path / "i.parquet")
    assert [(row["item_id"], row["genres"]) for row in items_of(source.catalogue())] == [("7", "a|b")]


def test_the_catalogue_in_the_interactions(tmp_path):
    content = (
        b"u,i,name,kind\n1,A,,T\xc3\xa9\n2,B,Mug \xa3,Pots\n,C,Lost,\n2,A,Cup,Pots\n3,A,Glass,\n4,A,Glass,T\xc3\xa9\n3,,None,\nshort\n"
    )
    source = opened(tmp_path, content, "user_id=u,item_id=i,title=name,genres=kind")
    assert [(row["item_id"], row["title"], row["genres"]) for row in items_of(source.catalogue())] == [
        ("A", "Glass", "Té"),  # the commonest of each
        ("B", r"Mug \xa3", "Pots"),
        ("C", "Lost", ""),
    ]
    assert opened(tmp_path, content, "user_id=u,item_id=i").catalogue().items.num_rows == 0


def test_item_columns_need_a_file_of_items(tmp_path):
    with pytest.raises(SettingError, match="items names none"):
        opened(tmp_path, "user_id,item_id\n1,2\n", item_columns="title=x")
    (tmp_path / "i.csv").write_text("key,title\n")
    with pytest.raises(SourceError, match="no column for item_id; the file has: key, title; say which with item_columns"):
        opened(tmp_path, "user_id,item_id\n1,2\n", items=tmp_path / "i.csv")


@pytest.mark.skipif(not RETAIL.exists(), reason="online-retail is not there")
def test_retail_runs_through():
    columns = "user_id=CustomerID,item_id=StockCode,rated_at=InvoiceDate,title=Description"
    source = open_table(RETAIL, latest=LATEST, columns=columns)
    accepted, refused = all_of(source)
    assert (accepted.num_rows, len(refused)) == (406_829, 135_080)
    assert Counter(row["reason"] for row in refused) == {"user_id is empty": 135_080}
    assert accepted.slice(0, 1).to_pylist() == [
        {
            "user_id": "17850",
            "item_id": "85123A",
            "rating": None,
            "weight": 1.0,
            "rated_at": 1291191960,
            "line": 2,
        }
    ]
    items = {row["item_id"]: row["title"] for row in items_of(source.catalogue())}
    assert len(items) == 4_070 and items["85123A"] == "WHITE HANGING HEART T-LIGHT HOLDER"


@pytest.mark.skipif(not RETAIL.exists(), reason="online-retail is not there")
def test_retail_cancellations_are_refused_with_a_reason():
    source = open_table(
        RETAIL,
        latest=LATEST,
        columns="user_id=CustomerID,item_id=StockCode,rated_at=InvoiceDate,weight=Quantity",
    )
    accepted, refused = all_of(source)
    kinds = Counter(row["reason"].split()[0] for row in refused)
    assert accepted.num_rows + len(refused) == 541_909 and kinds == {"user_id": 135_080, "weight": 8_905}


texts = st.text("aé1 ", max_size=3)
ids = st.one_of(st.integers(0, 50).map(str), texts)
ratings = st.one_of(st.sampled_from(["1", "4.5", "5.0", "0", "x", "nan", "", "1e0", " 3 ", "+2"]), texts)
moments = st.one_of(st.integers(0, 2 * 10**9).map(str), st.sampled_from(["", "soon", "-1", "1e9"]))
rows = st.one_of(st.tuples(ids, ids, ratings, moments).map(",".join), st.sampled_from(["", "1,2", "1,2,3,4,5"]))


@settings(deadline=None)
@given(st.lists(rows, max_size=30), st.sampled_from(["\n", "\r\n"]))
def test_every_row_is_accepted_or_refused(tmp_path_factory, lines, end):
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    content = ["u,i,r,t", "1,1,3,1000000000", *lines]
    path.write_text(end.join(content), newline="")
    batches: list[Batch] = list(open_table(path, latest=LATEST, columns=MAPPED, rating_scale=(1.0, 5.0)).interactions())
    expected = {}
    for number, line in enumerate(content[1:], 2):
        if line:
            expected[number] = _is_good(line)
    accepted = [n for batch in batches for n in batch.accepted["line"].to_pylist()]
    refused = [n for batch in batches for n in batch.refused["line"].to_pylist()]
    assert sum(batch.n_read for batch in batches) == len(expected)
    assert accepted == [number for number, is_good in expected.items() if is_good]
    assert refused == [number for number, is_good in expected.items() if not is_good]


def _is_good(line: str) -> bool:
    """The rules again, a row at a time and in plain Python."""
    fields = line.split(",")
    if len(fields) != 4 or not fields[0].strip() or not fields[1].strip():
        return False
    try:
        rating, moment = float(fields[2]), float(fields[3])
    except ValueError:
        return False
    return 1 <= rating <= 5 and 0 <= moment <= LATEST.timestamp()


ROWS = "u;i;r;menge;t\n7;a;3,5;0,25;2021-03-25\n7;b;4;2;2021-03-26\n8;a;0,5;1,5;2021-03-27\n8;b;2,x;1;2021-03-28\n"


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("utf-8", lambda text: text.encode()),
        ("utf-16", lambda text: text.encode("utf-16")),
        ("utf-16 big end first", lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
        ("gzip", lambda text: gzip.compress(text.encode())),
        ("bzip2", lambda text: bz2.compress(text.encode("utf-16"))),
        ("zstd", lambda text: pa.compress(text.encode(), "zstd", asbytes=True)),
    ],
)
def test_a_spreadsheet_of_another_country_is_read_and_said(tmp_path: Path, name: str, packed) -> None:
    source = opened(tmp_path, packed(ROWS), "user_id=u,item_id=i,rating=r,weight=menge,rated_at=t")
    accepted, refused = all_of(source)
    assert accepted.select(["rating", "weight"]).to_pylist() == [
        {"rating": 3.5, "weight": 0.25}, {"rating": 4.0, "weight": 2.0}, {"rating": 0.5, "weight": 1.5}
    ]  # fmt: skip
    assert [(row["line"], row["reason"]) for row in refused] == [(5, "rating '2,x' is not a number")]
    assert source.read_as["decimals"] == "rating 3,5 as 3.5; weight 3,5 as 3.5" and source.rating_scale == (0.5, 5.0)
    assert source.read_as["file"].startswith("utf-16" if "utf-16" in name or name == "bzip2" else "utf-8")


UMLAUTS = "u;i;titel;gattung;note\nMüller;Tür-1;Vase Grün;Möbel|Küche;€ 5\nMuller;Tür-2;Straße;Küche;–\n"
AS_ITEMS = "user_id=u,item_id=i,title=titel,genres=gattung"


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (UMLAUTS.encode("cp1252"), "cp1252 (it is not UTF-8)"),
        (UMLAUTS.replace("€", "E").replace("–", "-").encode("latin-1"), "cp1252 (it is not UTF-8)"),
        (gzip.compress(UMLAUTS.encode("cp1252")), "cp1252 (it is not UTF-8)"),
        (UMLAUTS.encode("cp1252").replace(b"\n", b"\r\n"), "cp1252 (it is not UTF-8)"),
        (UMLAUTS.encode(), "utf-8"),
        (UMLAUTS.encode("utf-8-sig"), "utf-8"),
        (UMLAUTS.encode("utf-16"), "utf-16"),
    ],
    ids=["windows", "latin", "packed", "returns", "utf-8", "with a mark", "utf-16"],
)
def test_the_encoding_of_a_file_is_told_from_its_bytes_and_said(tmp_path: Path, encoded: bytes, said: str) -> None:
    source = opened(tmp_path, encoded, AS_ITEMS)
    assert source.read_as["file"] == f"{said}, fields delimited by ';'"
    accepted, refused = all_of(source)
    assert (
        refused == [] and accepted["user_id"].to_pylist() == ["Müller", "Muller"] and accepted["item_id"].to_pylist() == ["Tür-1", "Tür-2"]
    )
    expected = [("Tür-1", "Vase Grün", "Möbel|Küche"), ("Tür-2", "Straße", "Küche")]
    assert [(row["item_id"], row["title"], row["genres"]) for row in items_of(source.catalogue())] == expected
    path = tmp_path / "items.csv"
    path.write_bytes(encoded)
    beside = opened(tmp_path, "user_id,item_id\n1,Tür-1\n", items=path, item_columns="item_id=i,title=titel,genres=gattung")
    assert beside.read_as["file"].startswith("utf-8,") and beside.read_as["items_file"] == source.read_as["file"]
    assert [(row["item_id"], row["title"], row["genres"]) for row in items_of(beside.catalogue())] == expected


def test_names_of_columns_and_refused_rows_are_of_the_encoding_too(tmp_path: Path) -> None:
    source = opened(tmp_path, "Käufer;i;r\nä;b;3\nö;b;größer\n".encode("cp1252"), "user_id=Käufer,item_id=i,rating=r")
    refused = all_of(source)[1]
    assert [(row["text"], row["reason"]) for row in refused] == [("ö;b;größer", "rating 'größer' is not a number")]


def test_plain_ascii_is_utf_8(tmp_path: Path) -> None:
    assert opened(tmp_path, "user_id;item_id\n1;2\n").read_as["file"] == "utf-8, fields delimited by ';'"


def test_bytes_that_windows_does_not_define_stay_apart(tmp_path: Path) -> None:
    ids = [b"a" + bytes([byte]) for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)]
    source = opened(tmp_path, b"user_id;item_id\n" + b"".join(one + b";\xfc\n" for one in ids))
    accepted, refused = all_of(source)
    assert refused == [] and len(set(accepted["user_id"].to_pylist())) == len(ids) and set(accepted["item_id"].to_pylist()) == {"ü"}


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfuser_id;item_id\na;1\n\xfc;2\n", "user_id;item_id\nä;1\n".encode() + b"\xfc;2\n"])
def test_a_stray_byte_does_not_change_the_encoding_of_a_file_of_utf_8(tmp_path: Path, content: bytes) -> None:
    source = opened(tmp_path, content)
    accepted, refused = all_of(source)
    assert accepted["item_id"].to_pylist() == ["1"] and source.read_as["file"].startswith("utf-8,")
    assert [(row["line"], row["text"], row["reason"]) for row in refused] == [(3, r"\xfc;2", "user_id is not UTF-8")]


def test_what_is_no_utf_8_only_further_on_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.sources.text.FIRST_BYTES", 22)
    path = tmp_path / "items.csv"
    path.write_bytes("item_id;title;genres\nä;1;\n".encode() + b"b;\xfc;\nc;3;\xfc\n\xfc;4;\n")  # the first bytes end within ä
    source = opened(tmp_path, "user_id;item_id\n1;2\n", items=path)
    catalogue = source.catalogue()
    assert source.read_as["items_file"].startswith("utf-8,") and [row["title"] for row in items_of(catalogue)] == ["1"]
    assert [(row["line"], row["text"], row["reason"]) for row in catalogue.refused.to_pylist()] == [
        (3, r"b;\xfc;", "title is not UTF-8"),
        (4, r"c;3;\xfc", "genres is not UTF-8"),
        (5, r"\xfc;4;", "item_id is not UTF-8"),
    ]


def test_a_last_line_that_is_cut_within_a_character_of_utf_8_is_windows(tmp_path: Path) -> None:
    source = opened(tmp_path, b"user_id;item_id\n1;caf\xe9")
    assert all_of(source)[0]["item_id"].to_pylist() == ["café"]


def test_thousands_and_points_are_no_decimal_commas(tmp_path: Path) -> None:
    for values in (["1,000", "2", "3,500"], ["1.5", "2,5", "3,5"], ["a", "b", "2,5"]):
        text = "u;i;w\n" + "".join(f"{n};x;{value}\n" for n, value in enumerate(values))
        source = opened(tmp_path, text, "user_id=u,item_id=i,weight=w")
        assert "decimals" not in source.read_as
        refused = [row["reason"] for row in all_of(source)[1]]
        assert refused == [f"weight '{value}' is not a number" for value in values if not value.replace(".", "").isdigit()]


@pytest.mark.parametrize("twice", ["items", "users"])
def test_one_file_is_not_read_as_two_things(twice: str, tmp_path: Path) -> None:
    path, link = tmp_path / "x.csv", tmp_path / "link.csv"
    path.write_text("user_id,item_id,title\n1,7,Mug\n1,7,Mug\n")
    link.symlink_to(path)
    named = resolve({"source": "table", "path": str(path), twice: str(link)}, {}, folder=tmp_path)
    with pytest.raises(SettingError, match=rf"{twice}: {link} is the file of path too.*--columns title="):
        open_source(named, raw=tmp_path, latest=LATEST)
