"""The generated release is like any other: every check holds, and the second edition differs in its titles only."""

from __future__ import annotations

from contextlib import closing

import pytest

from jobs.bench.generated_release import FIRST, generate, remove, SECOND, second_edition
from jobs.bench.generated_rows import EXPLAINED, Generated, LISTED, RATINGS
from jobs.bench.generated_sides import FACTORS
from jobs.kernels.item_side import assemble
from warehouse import model_files, parquet, release as releases
from warehouse.layout import Warehouse
from warehouse.sqlite import failed_checks, open_immutable


@pytest.fixture
def warehouse(tmp_path):
    found = Warehouse(tmp_path / "warehouse")
    yield found
    remove(found.folder)


def test_it_passes_every_check_of_a_sealed_release(warehouse: Warehouse) -> None:
    sealed = generate(warehouse, users=70, items=200, seed=3)
    assert releases.current_id(warehouse) == FIRST == sealed.id
    manifest = releases.read_manifest(sealed)
    assert releases.damage(sealed, manifest) == {}
    assert manifest.counts["ratings"] == 70 * RATINGS and manifest.counts["recommendations"] == 70 * LISTED
    assert manifest.served_model == "ials" and manifest.settings["explain_n"] == EXPLAINED
    with closing(open_immutable(sealed.database)) as connection:
        assert failed_checks(connection, manifest.rating_scale) == {}
        assert {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in manifest.counts} == manifest.counts


def test_its_item_side_is_one_that_lists_are_computed_from(warehouse: Warehouse) -> None:
    sealed = generate(warehouse, users=10, items=100, seed=3)
    side = assemble({path.name: model_files.load(path) for path in sealed.models.iterdir()}, served="ials")
    assert side.n_items == 100 and side.factors.item_factors.shape == (100, FACTORS) and side.rater is not None
    assert len(side.ranker.untrained) == 0


def test_the_second_edition_has_other_titles_and_shares_the_rest(warehouse: Warehouse) -> None:
    first = generate(warehouse, users=20, items=100, seed=3)
    second = second_edition(warehouse)
    assert releases.current_id(warehouse) == FIRST and releases.sealed_ids(warehouse) == [FIRST, SECOND]
    assert releases.damage(second, releases.read_manifest(second)) == {} == releases.damage(first, releases.read_manifest(first))
    for release in (first, second):
        with closing(open_immutable(release.database)) as connection:
            titles = [row[0] for row in connection.execute("select title from items")]
            assert len(titles) == 100 and all(title.endswith(f"({release.id})") for title in titles)
            assert failed_checks(connection, (0.5, 5.0)) == {}
    assert second.table("ratings").samefile(first.table("ratings"))
    assert parquet.read(second.table("items"))["title"].to_pylist() == titles


def test_rows_do_not_depend_on_which_table_is_asked_for_first() -> None:
    one, other = Generated(30, 120, 5), Generated(30, 120, 5)
    lists = [table for table in one.recommendations()]
    list(other.ratings()), other.popular()
    assert lists == [table for table in other.recommendations()]
