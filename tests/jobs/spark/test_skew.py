"""Shapes that are not those of the textbook: one user with thousands, one item that everybody has, users with one rating each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scipy.sparse import csr_matrix

from jobs.ingest import step as ingest_step
from jobs.kernels import lists
from jobs.kernels.factors import gramian, ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.item_side import ItemSide
from jobs.kernels.rankers import Blend, WeightRanker
from jobs.kernels.weights import ItemWeights
from jobs.recommend import step as recommend_step
from jobs.run import run_step
from tests.conftest import small_settings
from tests.jobs.conftest import STAGED_ID as ID
from warehouse import parquet
from warehouse.layout import Warehouse

N_ONCE, N_ITEMS, N_ACTIVE, ROWS_PER_PART = 20_000, 6_000, 5_000, 2_000


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Twenty thousand users with one rating each, all of one item; one with five thousand; some as usual."""
    folder = tmp_path_factory.mktemp("skewed")
    draw = np.random.default_rng(3)
    users = [np.arange(N_ONCE), np.full(N_ACTIVE, N_ONCE // 2), np.repeat(N_ONCE + np.arange(100), 20)]
    items = [np.zeros(N_ONCE, int), 1 + draw.permutation(N_ITEMS - 1)[:N_ACTIVE], draw.integers(1, N_ITEMS, 2_000)]
    user_id, item_id = (np.concatenate(part) for part in (users, items))
    ratings, times = draw.integers(1, 6, len(user_id)), draw.integers(1, 10**9, len(user_id))
    rows = pa.table({"user_id": user_id, "item_id": item_id, "rating": ratings, "rated_at": times})
    pyarrow.csv.write_csv(rows, folder / "ratings.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_step, "ROWS_PER_PART", ROWS_PER_PART)
        run_step("ingest", Warehouse(folder), ID, settings(folder))
    return Warehouse(folder)


def settings(folder: Path):
    ranked = {"models": "popular,ials", "serve": "ials", "ials_factors": 4, "n": 5, "parity_users": 5}
    return small_settings(folder, source="table", path=str(folder / "ratings.csv"), **ranked)


def test_no_part_is_much_larger_than_the_others_or_than_one_user(skewed: Warehouse) -> None:
    sizes = [parquet.n_rows(path) for path in parquet.parts(skewed.staged(ID).work / "ratings")]
    assert sum(sizes) > N_ONCE + N_ACTIVE
    assert sorted(sizes)[-2] <= 2 * ROWS_PER_PART and max(sizes) <= N_ACTIVE + 2 * ROWS_PER_PART


def test_a_part_of_many_users_is_written_block_by_block(skewed: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommend_step, "USERS_PER_BLOCK", 500)
    figures = {step: run_step(step, skewed, ID, settings(skewed.folder)) for step in ("train", "evaluate", "recommend", "seal")}
    assert figures["recommend"]["n_recommendations"] == 5 * figures["recommend"]["n_users"] == 5 * (N_ONCE + 100)
    assert pq.read_metadata(skewed.sealed(ID).table("recommendations")).num_rows == 5 * (N_ONCE + 100)


def test_a_block_of_lists_holds_few_users_where_one_is_very_active_or_items_are_very_many() -> None:
    """Cut by what they take, and never by their number alone."""
    lengths = np.array([3, 50_000, 3, 3])
    columns = [np.zeros(lengths.sum(), kind) for kind in (np.int32, float, float, np.int64)]
    histories = Histories(np.concatenate([[0], np.cumsum(lengths)]), *columns)
    assert [(span.start, span.stop) for span in lists._blocks(histories, 100)] == [(0, 1), (1, 2), (2, 4)]
    assert [(span.start, span.stop) for span in lists._blocks(histories, 10_000_000)] == [(k, k + 1) for k in range(4)]


def test_a_user_who_has_nearly_everything_gets_what_is_left() -> None:
    draw = np.random.default_rng(4)
    n_items = 3_000
    factors = draw.normal(0, 0.3, (n_items, 8)).astype(np.float32)
    everything = np.broadcast_to(np.arange(n_items, dtype=np.int32), (n_items, n_items))
    columns = np.sort(draw.permuted(everything, axis=1)[:, :50], axis=1)
    matrix = ItemWeights(np.arange(n_items + 1) * 50, columns.ravel(), draw.random(n_items * 50, dtype=np.float32))
    ranker = Blend(((1.0, WeightRanker(matrix, 10.0)), (0.5, ImplicitFactors(factors, gramian(factors), 2.0, 0.2))))
    side = ItemSide(ranker, None, None, np.zeros(n_items), csr_matrix((n_items, 0), dtype=np.float32))
    left = np.sort(draw.choice(n_items, 20, replace=False))
    has = np.setdiff1d(np.arange(n_items), left).astype(np.int32)
    history = Histories(np.array([0, len(has)]), has, np.ones(len(has)), np.full(len(has), np.nan), np.arange(len(has)))
    found = lists.recommend(side, history, n=50, explain_n=50, reasons_n=3, min_history=3)
    assert sorted(found.items.tolist()) == left.tolist()
    for row in range(len(found.items)):
        parts = found.contributions[found.reason_rows == row]
        assert parts[~np.isnan(parts)].sum() == pytest.approx(found.scores[row], rel=1e-9)
