"""A release whose users are spread over three databases says, wherever it is asked, what the same release in one says."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.privacy.forget import forget
from schemas.tables import TABLES
from tests.conftest import build, Built
from tests.serving.conftest import copied, Server, serving
from warehouse import archive, forgotten
from warehouse.compare import compare
from warehouse.keys import create
from warehouse.layout import Warehouse
from warehouse.redacted import redact
from warehouse.release import damage, read_manifest
from warehouse.shards import BY_USER, shard_of
from warehouse.sqlite import failed_checks, open_immutable

N = 3
WITH_ROWS = [table for table in BY_USER if table.name != "user_attributes"]  # the sample has no file of users
OF_ONE_RELEASE = {"release", "took_ms", "computed_at", "next", "next_url"}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """movie_release again, in shards."""
    return build(tmp_path_factory.mktemp("sharded"), source="sample", scale=0.1, holdout_users=0.3, shards=N)


@pytest.fixture(scope="module")
def servers(movie_release: Built, sharded: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Of the release in one database, and of that in shards."""
    folders = [copied(built, tmp_path_factory.mktemp("serve") / "copy") for built in (movie_release, sharded)]
    keys = [create(Warehouse(folder), "tests") for folder in folders]
    with serving(folders[0], key=keys[0]) as one, serving(folders[1], key=keys[1]) as three:
        yield [one, three]


def test_the_tables_are_the_same_rows_each_where_its_user_is(movie_release: Built, sharded: Built) -> None:
    digests = [{name: table["content_sha256"] for name, table in built.manifest.tables.items()} for built in (movie_release, sharded)]
    assert digests[0] == digests[1]
    release = sharded.release
    assert [path.name for path in release.shards] == [f"cinematch-{number}.db" for number in range(N)]
    with closing(sqlite3.connect(release.database)) as items:
        here = {row[0] for row in items.execute("select name from sqlite_master where type = 'table'")}
    assert here & TABLES.keys() == TABLES.keys() - {table.name for table in BY_USER}
    with closing(open_immutable(movie_release.release.database)) as one, closing(open_immutable(release.database)) as all_of_them:
        for table in TABLES.values():
            rows = f"select * from {table.name} order by {', '.join(table.key)}"
            if table.name != "models":  # it has seconds in it
                assert list(map(tuple, one.execute(rows))) == list(map(tuple, all_of_them.execute(rows))), table.name
    for number, path in enumerate(release.shards):
        with closing(open_immutable(path)) as connection:
            for table in WITH_ROWS:
                users = {row[0] for row in connection.execute(f"select distinct user_id from {table.name}")}
                assert users and {shard_of(user, N) for user in users} == {number}
    assert sharded.manifest.parity["n_same_lists"] == sharded.manifest.parity["n_users"] > 0


def test_a_check_finds_what_is_wrong_in_any_shard(sharded: Built, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sharded.release.folder, folder)
    with closing(open_immutable(folder / "cinematch.db")) as connection:
        assert failed_checks(connection, sharded.manifest.rating_scale) == {}
    for number in range(N):
        shard = folder / f"cinematch-{number}.db"
        shard.chmod(0o644)
        with closing(sqlite3.connect(shard)) as connection, connection:
            user = connection.execute("select min(user_id) from users").fetchone()[0]
            connection.execute("update users set n_ratings = n_ratings + 1 where user_id = ?", [user])
        with closing(open_immutable(folder / "cinematch.db")) as connection:
            failed = failed_checks(connection, sharded.manifest.rating_scale)
            assert len(failed["counts of users are those of their ratings"]) == number + 1
            assert connection.execute("select count(*) from users").fetchone()[0] == sharded.manifest.counts["users"]


PATHS = [
    path.format(user)
    for user in (1, 2, 3, 50)
    for path in (
        "/recommend/{}", "/recommend/{}?n=3", "/recommend/{}?n=15", "/recommend/{}?n=60", "/recommend/{}?exclude=1,2,3&n=5",
        "/recommend/{}?_shape=array", "/predict/{}/7", "/ratings/{}",
    )
]  # fmt: skip


@pytest.mark.parametrize("path", [*PATHS, "/recommend/987654", "/similar/7", "/audience/328?n=30", "/popular", "/search?q=the"])
def test_a_lookup_answers_the_same(servers: list[Server], path: str) -> None:
    answers = [server.get(path) for server in servers]
    assert [answer.status_code for answer in answers] == [200, 200]
    one, three = (answer.json() for answer in answers)
    if isinstance(one, dict):
        one, three = ({name: value for name, value in answer.items() if name not in OF_ONE_RELEASE} for answer in (one, three))
    assert one == three


def test_pages_reasons_and_questions_answer_the_same(servers: list[Server]) -> None:
    for user in (1, 2, 3):
        second = [server.get(server.get(f"/recommend/{user}?n=7").json()["next_url"]).json()["rows"] for server in servers]
        assert second[0] == second[1] and second[0][0]["rank"] == 8
        why = [server.rows(f"/why/{user}/{second[0][0]['item_id']}") for server in servers]
        assert why[0] == why[1] != []
        asked = [server.get(f"/cinematch/list_of_user.json?_shape=array&user_id={user}").json() for server in servers]
        assert asked[0] == asked[1] != []
    for question in ("additivity", "lists_by_source", "most_recommended"):
        asked = [server.get(f"/cinematch/{question}.json?_shape=array").json() for server in servers]
        assert asked[0] == asked[1] != [] and asked[0][0].keys()


def test_a_rating_counts_at_once(servers: list[Server]) -> None:
    changed = []
    for server in servers:
        first = server.rows("/recommend/4")[0]["item_id"]
        assert server.send("POST", "/ratings", {"user_id": 4, "item_id": first, "rating": 5, "rated_at": 1_700_000_000}).status_code == 200
        changed.append(server.rows("/recommend/4"))
        assert first not in [row["item_id"] for row in changed[-1]]
    assert changed[0] == changed[1]


def test_the_commands_know_the_shards(movie_release: Built, sharded: Built, tmp_path: Path, capsys) -> None:
    warehouse = Warehouse(copied(sharded, tmp_path / "copy"))
    assert main(["releases", "verify", sharded.release_id, "--warehouse", str(warehouse.folder)]) == 0
    assert "verifies" in capsys.readouterr().out
    found = {one.place: one.n for one in forget(warehouse, "5")}
    places = [f"releases/{sharded.release_id}/cinematch-{shard_of(5, N)}.db {table.name}" for table in WITH_ROWS]
    assert all(found[place] > 0 for place in places)
    file = archive.write(warehouse, sharded.release_id, tmp_path)
    release = archive.import_(Warehouse(tmp_path / "other"), file)
    assert damage(release, sharded.manifest) == {} and len(release.shards) == N
    other = shutil.copytree(movie_release.release.folder, warehouse.releases / movie_release.release_id)
    assert other.exists()
    for pair in ((sharded.release_id, sharded.release_id), (sharded.release_id, movie_release.release_id)):
        compared = compare(warehouse, *pair)
        assert (compared["n_users"], compared["mean_overlap_at_10"]) == (sharded.manifest.counts["users"], 1.0)


def test_a_forgotten_user_is_in_no_shard_of_the_copy_for_pages(sharded: Built, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    forgotten.add(warehouse, 3)
    made = redact(sharded.release, forgotten.read(warehouse.forgotten), tmp_path, is_for_download=False)
    with closing(open_immutable(made.database)) as connection:
        for table in WITH_ROWS:
            (n,) = connection.execute(f"select count(*) from {table.name}").fetchone()
            assert n == read_manifest(made).counts[table.name] < sharded.manifest.counts[table.name]
            assert connection.execute(f"select count(*) from {table.name} where user_id = 3").fetchone()[0] == 0
