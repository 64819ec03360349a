"""Online ratings become part of the next release: none twice, none lost, and worth the same as they were at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from jobs.ingest.overlay_archive import compact, Online
from jobs.run import promote, run_step
from serving.opened import OpenRelease
from serving.solve import solve, stored_history
from tests.conftest import Built, small_settings
from tests.serving.conftest import clone
from warehouse import overlay, parquet, promotion, pruning
from warehouse.layout import Warehouse
from warehouse.online import archive, archived, SCHEMA
from warehouse.overlay import apply_log, Entry, Held
from warehouse.sqlite import open_immutable

NOW = 1_700_000_000
BASE = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("rating", pa.float64()),
        ("weight", pa.float64()),
        ("rated_at", pa.int64()),
        ("seq", pa.int64()),
    ]
)
COUNTED = BASE.append(pa.field("n_events", pa.int64()))


def write(warehouse: Warehouse, entries: list[Entry]) -> None:
    with closing(overlay.create(warehouse.overlay)) as connection:
        connection.execute("begin")
        for entry in entries:
            overlay.append(connection, entry)
        connection.execute("commit")


def rating(user_id, item_id, stars: float | None, at: int = NOW, weight: float = 1.0, **flags: bool) -> Entry:
    return Entry(0, user_id, item_id, stars, weight, at, at, **flags)


def test_no_overlay_is_no_online_rating(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    archive(warehouse)
    assert len(archived(warehouse, received_until=NOW)) == 0


def test_the_archive_grows_by_what_is_new_and_outlives_the_overlay(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    write(warehouse, [rating(1, 10, 4.0), rating(1, 11, 2.0, NOW + 5)])
    archive(warehouse)
    archive(warehouse)
    write(warehouse, [rating(2, 10, 1.0, NOW + 9)])
    archive(warehouse)
    with closing(overlay.create(warehouse.overlay)) as connection:
        overlay.compact(connection, upto=3)
    archive(warehouse)
    assert archived(warehouse, received_until=NOW + 10)["seq"].to_pylist() == [1, 2, 3]
    assert archived(warehouse, received_until=NOW + 5)["seq"].to_pylist() == [1, 2]


times = st.integers(NOW, NOW + 5)
events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 5), times, times, st.sampled_from(["rate", "delete", "overwrite"])),
    max_size=12,
)


@given(st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.tuples(st.integers(1, 5), times)), events, st.booleans())
def test_a_part_is_folded_as_the_server_folds_each_user(tmp_path_factory, base, arrived, is_implicit: bool) -> None:
    held = {key: Held(None if is_implicit else float(value), float(value) if is_implicit else 1.0, at) for key, (value, at) in base.items()}
    entries = [
        Entry(
            seq,
            user,
            item,
            None if is_implicit else float(value),
            float(value) if is_implicit else 1.0,
            at,
            received,
            kind == "delete",
            kind == "overwrite",
        )
        for seq, (user, item, value, at, received, kind) in enumerate(arrived, 1)
    ]
    path = tmp_path_factory.mktemp("online") / "online.parquet"
    columns = [[entry.seq, str(entry.user_id), str(entry.item_id), *entry[3:]] for entry in entries]
    parquet.write(path, [pa.table([list(c) for c in zip(*columns)], schema=SCHEMA)] if columns else [], SCHEMA)
    rows = pa.Table.from_pylist(
        [{"user_id": u, "item_id": i, "seq": 0, **one._asdict()} for (u, i), one in sorted(held.items())], schema=COUNTED
    )
    came = pa.Table.from_pylist(
        [{name: getattr(e, name) for name in BASE.names} for e in sorted(entries, key=lambda e: (e.user_id, e.item_id, e.seq))],
        schema=BASE,
    )
    found = Online(path, is_implicit=is_implicit).applied(rows, came).to_pylist()
    expected = []
    for user in range(3):
        mine = {item: one for (owner, item), one in held.items() if owner == user}
        after = apply_log(mine, [entry for entry in entries if entry.user_id == user], is_implicit=is_implicit)
        expected += [(user, item, one.rating, one.weight, one.rated_at, one.n_events) for item, one in sorted(after.items())]
    assert [tuple(row[name] for name in ("user_id", "item_id", "rating", "weight", "rated_at", "n_events")) for row in found] == expected


def histories_now(built: Built, users: list) -> dict:
    """Return the history of each user from the release and the overlay, as the server sees it."""
    opened = OpenRelease(built.release)
    with closing(overlay.open_read_only(built.warehouse.overlay)) as connection:
        found = {}
        for user in users:
            after = apply_log(stored_history(opened, user), overlay.of_user(connection, user), is_implicit=not opened.has_ratings)
            found[user] = dict(sorted(after.items()))
    lists = {user: [(row.item_id, row.score) for row in solve(opened, rows, n=opened.n).rows] for user, rows in found.items()}
    opened.retire()
    return {user: (found[user], lists[user]) for user in users}


@pytest.mark.parametrize("kind", ["movie_release", "purchase_release"])
def test_an_online_rating_is_worth_the_same_in_the_next_release(
    kind: str, request: pytest.FixtureRequest, copy_warehouse: Callable
) -> None:
    original: Built = request.getfixturevalue(kind)
    built: Built = copy_warehouse(original)
    with open_immutable(built.release.database) as database:
        users = [row[0] for row in database.execute("select user_id from users order by user_id limit 4")]
        items = [row[0] for row in database.execute("select item_id from items order by n_ratings desc, item_id limit 9")]
        had = database.execute("select item_id from ratings where user_id = ? limit 1", [users[1]]).fetchone()[0]
    new_user = 10**9 if built.manifest.ids["user_id"] == "int64" else "somebody new/?"
    stars = 4.5 if built.manifest.rating_scale else None
    write(
        built.warehouse,
        [
            *(rating(users[0], item, stars) for item in items[:5]),
            rating(users[1], had, None, is_deleted=True),
            rating(users[2], items[0], stars, weight=3.0, is_overwrite=True),
            *(rating(new_user, item, stars) for item in items[3:9]),
        ],
    )
    users = [*users, new_user]
    online = histories_now(built, users)
    path = {name: original.manifest.settings[name] for name in ("source", "columns", "item_columns", "scale", "holdout_users", "seed")}
    if kind == "purchase_release":
        path |= {"path": str(original.warehouse.folder / "purchases.csv"), "items": str(original.warehouse.folder / "articles.csv")}
    settings = small_settings(built.warehouse.folder, **path)
    run_step("ingest", built.warehouse, "next", settings)
    run_step("train", built.warehouse, "next", settings)
    staged = built.warehouse.staged("next")
    shutil.rmtree(staged.models)
    shutil.copytree(built.release.models, staged.models)
    for step in ("evaluate", "recommend", "seal"):
        run_step(step, built.warehouse, "next", settings)
    batch = Built(built.warehouse, "next")
    assert batch.manifest.input["overlay_seq"] == 5 + 1 + 1 + 6 and batch.manifest.rows["read"] == original.manifest.rows["read"] + 13
    with open_immutable(batch.release.database) as database:
        for user in users:
            rows, listed = online[user]
            assert overlay.stored(database, user) == {item: one._replace(seq=0) for item, one in rows.items()}
            stored = database.execute("select item_id, score from recommendations where user_id = ? order by rank", [user]).fetchall()
            assert [row[0] for row in stored] == [item for item, _ in listed]
            assert [row[1] for row in stored] == pytest.approx([score for _, score in listed], rel=1e-5)
    promote(built.warehouse, "next", settings)
    with closing(overlay.open_read_only(built.warehouse.overlay)) as connection:
        assert len(list(overlay.entries(connection))) == 13, "an older release is still kept, and needs them"
    pruning.drop(built.warehouse, [original.release_id])
    compact(built.warehouse)
    with closing(overlay.open_read_only(built.warehouse.overlay)) as connection:
        assert list(overlay.entries(connection)) == []
    assert len(archived(built.warehouse, received_until=NOW)) == 13


def test_what_was_tried_on_the_generated_sample_is_in_no_release_of_other_data(movie_release: Built, copy_warehouse: Callable) -> None:
    built: Built = copy_warehouse(movie_release)
    write(built.warehouse, [rating(1, 1, 4.5), rating(10**9, 2, 1.0)])
    own = ingested(built, "own", seed=movie_release.manifest.settings["seed"] + 1)
    assert own["facts"]["input"] | {"overlay_seq": 2, "online_from": 2, "n_online": 0} == own["facts"]["input"]
    assert own["figures"]["read_online"] == (
        "0 interactions that came in online are in it; 2 were given to the generated sample and are left out"
    )
    inputs = {
        **movie_release.manifest.input,
        **{name: own["facts"]["input"][name] for name in ("overlay_id", "overlay_seq", "online_from")},
    }
    promotion.promote(built.warehouse, clone(built.warehouse, built.release_id, "20990101T000000Z", input=inputs), reason="own data")
    write(built.warehouse, [rating(10**9, 1, 5.0)])
    next_week = ingested(built, "next")
    assert next_week["facts"]["input"] | {"overlay_seq": 3, "online_from": 2, "n_online": 1} == next_week["facts"]["input"]


def ingested(built: Built, release_id: str, **changed: object) -> dict:
    """Return the record of an ingest of the sample that the release was built from, or of one with other settings."""
    same = {name: built.manifest.settings[name] for name in ("source", "scale", "seed")}
    run_step("ingest", built.warehouse, release_id, small_settings(built.warehouse.folder, **same | changed))
    return json.loads(built.warehouse.staged(release_id).step("ingest").read_text())
