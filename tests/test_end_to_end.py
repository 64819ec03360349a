"""Properties of any release, whatever its source: the rows add up, the sums are the scores, one user alone gets the
stored list. Held against a sample of films, a shop's purchases, and two real data sets where they are at hand."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.kernels import lists as kernel, reasons as reason_kinds
from jobs.kernels.histories import Histories, strength
from jobs.kernels.item_side import assemble
from schemas.tables import TABLES, TIME
from tests.conftest import build, Built, DATA
from warehouse import model_files, parquet
from warehouse.release import current_id, damage
from warehouse.sqlite import failed_checks, open_immutable

N_SAMPLED = 40


@pytest.fixture(scope="session")
def ml_latest_small(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = DATA / "ml-latest-small"
    if not folder.exists():
        pytest.skip("ml-latest-small is not here")
    return build(tmp_path_factory.mktemp("ml-latest-small"), source="movielens", path=str(folder), ials_factors=32, ials_iterations=6)


@pytest.fixture(scope="session")
def online_retail(tmp_path_factory: pytest.TempPathFactory) -> Built:
    path = DATA / "online-retail" / "online_retail.csv.gz"
    if not path.exists():
        pytest.skip("online-retail is not here")
    columns = "user_id=CustomerID,item_id=StockCode,rated_at=InvoiceDate,weight=Quantity,title=Description"
    return build(
        tmp_path_factory.mktemp("online-retail"), source="table", path=str(path), columns=columns, ials_factors=32, ials_iterations=6
    )


RELEASES = [
    "movie_release",
    "purchase_release",
    "ml_latest_small",
    "online_retail",
]


@pytest.fixture(params=RELEASES)
def built(request: pytest.FixtureRequest) -> Built:
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(built: Built) -> Iterator[sqlite3.Connection]:
    connection = open_immutable(built.release.database)
    yield connection
    connection.close()


def one(connection: sqlite3.Connection, query: str, *values):
    return connection.execute(query, values).fetchone()[0]


def ingested(built: Built) -> dict:
    return next(step for step in built.manifest.steps if step["step"] == "ingest")


def test_rows_read_are_accepted_duplicates_and_quarantined(built: Built, database: sqlite3.Connection) -> None:
    rows = built.manifest.rows
    assert rows["read"] == rows["accepted"] + rows["duplicates"] + rows["quarantined"]
    assert one(database, "select count(*) from ratings") == rows["accepted"]
    refused_items = ingested(built)["n_catalogue_quarantined"]
    assert one(database, "select count(*) from quarantine") == rows["quarantined"] + refused_items
    assert one(database, "select count(*) from quarantine where trim(reason) = ''") == 0


def test_interactions_are_those_of_the_users_and_those_of_the_items(database: sqlite3.Connection) -> None:
    n = one(database, "select count(*) from ratings")
    assert one(database, "select sum(n_ratings) from users") == one(database, "select sum(n_ratings) from items") == n
    assert (
        one(
            database,
            """select count(*) from users join (
        select user_id, count(*) as n, avg(rating) as mean, min(rated_at) as first, max(rated_at) as last from ratings group by user_id
    ) r using (user_id) where r.n != n_ratings or abs(coalesce(mean - mean_rating, 0)) > 1e-9
        or first is not first_rated_at or last is not last_rated_at or (mean is null) != (mean_rating is null)""",
        )
        == 0
    )


def test_the_manifest_counts_what_is_there(built: Built, database: sqlite3.Connection) -> None:
    counted = {name: one(database, f"select count(*) from {name}") for name in TABLES}
    assert counted == built.manifest.counts == {name: table["rows"] for name, table in built.manifest.tables.items()}


def test_the_contributions_of_every_stored_pair_sum_to_its_score(built: Built, database: sqlite3.Connection) -> None:
    rows = database.execute(
        """select r.score, count(e.position), total(e.contribution) from recommendations r
        left join explanations e on e.user_id = r.user_id and e.item_id = r.item_id
        where r.rank <= ? group by r.user_id, r.rank""",
        [built.manifest.settings["explain_n"]],
    ).fetchall()
    scores, n_reasons, totals = (np.array(column, float) for column in zip(*map(tuple, rows)))
    assert len(rows) > 0 and (n_reasons > 0).all()
    assert (np.abs(scores - totals) <= 1e-5 * np.maximum(np.abs(scores), 1e-3)).all()


def test_no_check_finds_a_row_and_no_file_is_damaged(built: Built, database: sqlite3.Connection) -> None:
    assert failed_checks(database, built.manifest.rating_scale) == {}
    assert damage(built.release, built.manifest) == {}
    assert current_id(built.warehouse) == built.release_id


def test_every_user_has_a_full_list_of_what_they_do_not_have(built: Built, database: sqlite3.Connection) -> None:
    n, n_items = built.manifest.settings["n"], one(database, "select count(*) from items")
    lengths = database.execute("""select u.n_ratings, (select count(*) from recommendations r where r.user_id = u.user_id),
        (select max(rank) from recommendations r where r.user_id = u.user_id) from users u""").fetchall()
    assert all(count == last == min(n, n_items - had) for had, count, last in map(tuple, lengths))


def test_parquet_and_sqlite_hold_the_same_rows(built: Built, database: sqlite3.Connection) -> None:
    for name, table in TABLES.items():
        stored = parquet.read(built.release.table(name))
        assert stored.column_names == table.names
        if len(stored) < 20_000:
            rows = [tuple(row.values()) for row in stored.to_pylist()]
            assert rows == [tuple(row) for row in database.execute(f"select * from {name} order by {', '.join(table.key)}")], name
        else:
            assert len(stored) == one(database, f"select count(*) from {name}")


def test_times_are_timestamps_in_parquet_and_unix_seconds_in_sqlite(built: Built, database: sqlite3.Connection) -> None:
    stored = pq.read_table(built.release.table("ratings"), columns=["rated_at"])["rated_at"]
    assert stored.type == TIME and pq.read_schema(built.release.table("users")).field("last_rated_at").type == TIME
    moments = [row[0] for row in database.execute("select rated_at from ratings order by user_id, item_id")]
    assert [moment and int(moment.timestamp()) for moment in stored.to_pylist()] == moments and any(moments)


def test_the_stored_list_of_a_user_is_what_the_kernel_says_of_that_user_alone(built: Built, database: sqlite3.Connection) -> None:
    """Items, scores, predictions, confidence and every reason, from nothing but the sealed files."""
    settings, scale = built.manifest.settings, built.manifest.rating_scale
    files = {folder.name: model_files.load(folder) for folder in built.release.models.iterdir()}
    side, item_ids, genres = (
        assemble(files, served=built.manifest.served_model),
        files["items"][0]["item_ids"].tolist(),
        files["items"][1]["genres"],
    )
    number_of = {item: number for number, item in enumerate(item_ids)}
    users = [row[0] for row in database.execute("select user_id from users order by user_id")]
    for user in random.Random(5).sample(users, min(N_SAMPLED, len(users))):
        history = sorted(
            (number_of[item], rating, weight, at)
            for item, rating, weight, at in map(
                tuple, database.execute("select item_id, rating, weight, coalesce(rated_at, 0) from ratings where user_id = ?", [user])
            )
        )
        numbers, ratings, weights, times = zip(*history)
        steps = np.array([sorted(set(times)).index(at) for at in times])
        ratings = np.array([np.nan if rating is None else rating for rating in ratings], float)
        low, high = scale or (None, None)
        strengths = strength(ratings, np.array(weights, float), low=low, high=high)
        lists = kernel.recommend(
            side,
            Histories(np.array([0, len(numbers)]), np.array(numbers, np.int32), strengths, ratings, steps),
            n=settings["n"],
            explain_n=settings["explain_n"],
            reasons_n=settings["reasons_n"],
            min_history=settings["min_history"],
        )
        stored = database.execute(
            "select item_id, score, predicted_rating, confidence from recommendations where user_id = ? order by rank", [user]
        ).fetchall()
        assert [row[0] for row in stored] == [item_ids[number] for number in lists.items]
        for place, found in ((1, lists.scores), (2, lists.predicted), (3, lists.confidence)):
            values = np.array([np.nan if row[place] is None else row[place] for row in stored], float)
            np.testing.assert_allclose(values, found, rtol=1e-5, atol=1e-9)
        reasons = database.execute("select item_id, position, kind, evidence_id, contribution from explanations where user_id = ?", [user])
        assert {tuple(row)[:4]: _rounded(row[4]) for row in reasons} == {
            (item_ids[lists.items[row]], int(position), reason_kinds.KINDS[kind], _evidence(kind, thing, item_ids, genres)): _rounded(share)
            for row, position, kind, thing, share in zip(
                lists.reason_rows, lists.reason_positions, lists.kinds, lists.evidence, lists.contributions
            )
        }


def _evidence(kind: int, thing: int, item_ids: list, genres: list[str]) -> str | None:
    return str(item_ids[thing]) if kind == reason_kinds.HISTORY else genres[thing] if kind == reason_kinds.GENRE else None


def _rounded(share: float | None) -> float | None:
    return None if share is None or np.isnan(share) else pytest.approx(float(share), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["movie_release", "ml_latest_small"])
def test_a_personal_list_finds_more_of_what_was_kept_out_than_a_popular_one(name: str, request: pytest.FixtureRequest) -> None:
    built = request.getfixturevalue(name)
    found = {(row["model"], row["metric"], row["k"]): row["value"] for row in built.manifest.metrics}
    served = built.manifest.served_model
    for metric, k in (("ndcg", 10), ("recall", 20)):
        assert found[served, metric, k] > 1.2 * found["popular", metric, k]
    assert found["als", "rmse", 0] < 1.0


def test_purchases_are_read_as_they_were_written(purchase_release: Built) -> None:
    connection = open_immutable(purchase_release.release.database)
    manifest = purchase_release.manifest
    assert (manifest.ids, manifest.rating_scale) == ({"user_id": "string", "item_id": "string"}, None)
    reasons = Counter(row[0] for row in connection.execute("select reason from quarantine"))
    assert reasons == {"user_id is empty": 1, "weight -2 is not positive (a cancellation?)": 1, "rated_at 'not a time' is not a time": 1}
    n_read = manifest.rows["read"]  # the last three lines; the first is the header
    assert [row[0] for row in connection.execute("select line from quarantine order by line")] == [n_read - 1, n_read, n_read + 1]
    assert one(connection, "select title from items where item_id = 'only in the purchases'") == "only in the purchases"
    assert one(connection, "select is_in_catalogue from items where item_id = 'only in the purchases'") == 0
    assert one(connection, "select n_ratings from items where item_id = 'never bought'") == 0
    assert one(connection, "select count(*) from recommendations where item_id = 'never bought' and source not like 'popular%'") == 0
    assert one(connection, "select status from models where model = 'als'") == "skipped"
    assert one(connection, "select count(*) from recommendations where predicted_rating is not null") == 0
    assert one(connection, "select count(distinct user_id) from recommendations where source = 'popular_genre'") > 0
    connection.close()


def test_of_several_purchases_of_one_thing_the_latest_time_and_the_sum_of_the_weights_are_kept(purchase_release: Built) -> None:
    connection = open_immutable(purchase_release.release.database)
    repeated = connection.execute("select weight from ratings where rated_at = unixepoch('2025-12-29 10:00:00')").fetchall()
    assert len(repeated) == purchase_release.manifest.rows["duplicates"] == 20
    assert all(row[0] > 3 for row in repeated)
    connection.close()
