"""Promises of the product that hold of any data, in one place: a hundred examples each, by hypothesis."""

from __future__ import annotations

import math
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, UTC
from pathlib import Path

import numpy as np
from hypothesis import assume, given, strategies as st

from jobs.kernels.evaluation import metrics
from jobs.kernels.histories import one_history
from jobs.kernels.item_side import assemble, ItemSide
from jobs.kernels.lists import recommend
from jobs.kernels.pairs import score_items
from jobs.kernels.reasons import GENRE, HISTORY, KINDS, RANKED
from jobs.models.base.alternating import Equations, item_factors
from jobs.spark.task_pool import InProcess
from jobs.staging.interactions import Interactions
from schemas.manifest import Manifest
from schemas.settings import Settings
from tests.jobs.kernels import plain
from tests.jobs.kernels.worlds import HIGH, histories, item_side, LOW, World, worlds
from warehouse import archive, model_files as item_side_files, release as releases, sealing
from warehouse.layout import Release, Warehouse
from warehouse.overlay import apply_log, Entry, Held

ID = "20260104T020000Z"
NOW = datetime(2026, 1, 4, 2, tzinfo=UTC)
SEEDS = st.integers(0, 2**32 - 1)


@contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="cinematch-") as name:
        yield Path(name)
        for path in Path(name).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def lists_of(world: World, *, side: ItemSide | None = None, n: int = 10, min_history: int = 1):
    return recommend(side or world.side, world.histories, n=n, explain_n=n, reasons_n=3, min_history=min_history)


def write(release: Release, side: ItemSide) -> None:
    """An item side as the models of a release."""
    ranker, rater = side.ranker, side.rater
    genres = {
        "item_ids": np.arange(side.n_items),
        "genre_indices": side.genres.indices.astype(np.int32),
        "genre_indptr": side.genres.indptr.astype(np.int64),
    }
    item_side_files.save(release.model("items"), genres, {"genres": [f"g{k}" for k in range(side.genres.shape[1])]})
    means = {} if math.isnan(side.mu) else {"mu": side.mu, "damping": side.damping}
    item_side_files.save(release.model("popular"), {"scores": side.popularity}, means)
    half_life = min(ranker.half_life, 1e9)
    parameters = {"alpha": ranker.alpha, "reg": ranker.reg, "half_life": half_life}
    item_side_files.save(release.model("ials"), {"item_factors": ranker.item_factors, "gramian": ranker.gramian}, parameters)
    if rater is not None:
        constants = {name: getattr(rater, name) for name in ("mu", "reg", "damping", "low", "high")}
        item_side_files.save(release.model("als"), {"item_factors": rater.item_factors, "item_biases": rater.item_biases}, constants)


def manifest_of(release: Release) -> Manifest:
    return Manifest(
        release=release.id,
        created_at=NOW.isoformat(),
        as_of=NOW.isoformat(),
        source="drawn",
        rating_scale=(LOW, HIGH),
        ids={"user_id": "int64", "item_id": "int64"},
        input={"sha256": ""},
        rows=dict.fromkeys(("read", "accepted", "duplicates", "quarantined"), 0),
        counts=dict.fromkeys(("users", "items", "ratings", "recommendations"), 0),
        settings=Settings(serve="ials").recorded(),
        versions={},
        steps=[],
        models=[],
        metrics=[],
        parity={},
        checks={"n_checks": 0, "n_failed": 0},
        verdict={},
        tables={},
        files=releases.digests(release),
    )


@given(worlds())
def test_round_trip_of_a_release_gives_the_same_predictions(world: World) -> None:
    """Written, sealed, exported, unpacked elsewhere and mapped again: every list, rating, confidence and reason, to the bit."""
    side = replace(
        world.side, ranker=(finite := replace(world.side.ranker, half_life=min(world.side.ranker.half_life, 1e9))), factors=finite
    )
    with folder() as place:
        first, second = Warehouse(place / "first"), Warehouse(place / "second")
        first.releases.mkdir(parents=True)
        second.releases.mkdir(parents=True)
        write(first.staged(ID), side)
        sealing.seal(first, first.staged(ID), manifest_of(first.staged(ID)))
        there = second.sealed(ID)
        with zipfile.ZipFile(archive.write(first, ID, place)) as packed:
            packed.extractall(there.folder)
        files = {path.name: item_side_files.load(path) for path in there.models.iterdir()}
        found, expected = (lists_of(world, side=one) for one in (assemble(files, served="ials"), side))
        assert all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(found, expected))


@given(worlds(), st.integers(1, 30))
def test_predictions_inside_the_scale(world: World, n: int) -> None:
    """In lists and for any pair; without ratings there is none."""
    pairs = score_items(world.side, world.history(0), np.arange(world.side.n_items), reasons_n=1, min_history=1)
    for predicted in (lists_of(world, n=n).predicted, pairs.predicted):
        if world.side.rater is None:
            assert np.isnan(predicted).all()
        else:
            assert ((predicted >= LOW) & (predicted <= HIGH)).all()


def trained(seed: int, lengths: list[int], equations: Equations, n_items: int = 15) -> tuple[np.ndarray, float]:
    rows = histories(np.random.default_rng(seed), n_items, lengths)
    data = Interactions(dict(zip(("indptr", "items", "strengths", "ratings", "moments"), tuple.__iter__(rows))), n_items)
    with folder() as place:
        value_of = (lambda block: block.strengths) if equations.alpha is not None else (lambda block: block.ratings - 3.0)
        return item_factors(data, value_of, equations, InProcess(), place / "als")


LENGTHS = st.lists(st.integers(1, 8), min_size=2, max_size=8)
EQUATIONS = st.builds(
    Equations,
    alpha=st.none() | st.floats(0.5, 10),
    reg=st.floats(0.01, 1),
    n_factors=st.integers(1, 6),
    n_iterations=st.integers(1, 3),
    seed=st.integers(0, 999),
)


@given(SEEDS, LENGTHS, EQUATIONS)
def test_training_lowers_the_training_loss(seed: int, lengths: list[int], equations: Equations) -> None:
    """With more iterations, implicit or explicit."""
    losses = [trained(seed, lengths, replace(equations, n_iterations=n))[1] for n in (1, 3)]
    assert losses[1] <= losses[0] + 1e-4 * max(abs(losses[0]), 1.0)


@given(worlds(min_length=1), st.data())
def test_a_rating_shows_in_the_next_list(world: World, data: st.DataObject) -> None:
    """A rated item joins the history, leaves the list, and adds its contribution to every score of the next."""
    assume(world.side.rater is not None)
    k = data.draw(st.integers(0, len(world.histories) - 1))
    history, ids = world.histories.user(k), np.arange(world.side.n_items)
    before = recommend(world.side, world.history(k), n=5, explain_n=0, reasons_n=0, min_history=1)
    assume((before.tiers == RANKED).any())
    item = int(data.draw(st.sampled_from(before.items[before.tiers == RANKED].tolist())))
    rating = data.draw(st.sampled_from([LOW, 3.0, HIGH]))
    base = {int(j): Held(float(r), 1.0, int(at)) for j, r, at in zip(history.items, history.ratings, history.moments)}
    held = apply_log(base, [Entry(1, "u", item, rating, 1.0, 10_000, 10_000, False)], is_implicit=False)
    next_history = one_history(
        ids,
        list(held),
        [h.rating for h in held.values()],
        [h.weight for h in held.values()],
        [h.rated_at for h in held.values()],
        low=LOW,
        high=HIGH,
    )
    now = recommend(world.side, next_history, n=world.side.n_items, explain_n=0, reasons_n=0, min_history=1)
    assert item not in now.items
    ranked = now.items[now.tiers == RANKED]
    split = score_items(world.side, next_history, ranked, reasons_n=50, min_history=1, is_whole=True)
    named = {
        int(row) for row, kind, evidence in zip(split.reason_rows, split.kinds, split.evidence) if kind == HISTORY and evidence == item
    }
    assert named == set(range(len(ranked)))


@given(worlds(), st.integers(1, 20), st.integers(1, 3))
def test_every_recommendation_has_a_reason_with_evidence(world: World, n: int, min_history: int) -> None:
    """A ranked item names liked items of the history, or what all of it adds; a popular one how popular it is; a genre named is one
    that the item has."""
    found = lists_of(world, n=n, min_history=min_history)
    user_of = np.repeat(np.arange(len(world.histories)), np.diff(found.indptr))
    owners, is_liked = np.repeat(np.arange(len(world.histories)), np.diff(world.histories.indptr)), world.side.is_liked(world.histories)
    liked = set(zip(owners[is_liked].tolist(), world.histories.items[is_liked].tolist()))
    kinds_of = {row: set() for row in range(len(found.items))}
    for row, kind, evidence, share in zip(found.reason_rows, found.kinds, found.evidence, found.contributions):
        kinds_of[int(row)].add(KINDS[kind])
        if kind == HISTORY:
            assert (user_of[row], evidence) in liked and share > 0
        elif kind == GENRE:
            assert world.side.genres[found.items[row], evidence] == 1
        elif KINDS[kind] == "bias":
            assert share == world.side.popularity[found.items[row]]
    for row, kinds in kinds_of.items():
        assert kinds & ({"history", "residual"} if found.tiers[row] == RANKED else {"bias"})


@given(worlds(min_length=1), st.data())
def test_a_user_with_no_ratings_gets_a_list_by_genre_preference(world: World, data: st.DataObject) -> None:
    """Asked for a genre, its most popular items; and a history too short to rank by stands for its genres before all others."""
    side, n = world.side, 8
    popular = sorted(range(side.n_items), key=lambda item: (-side.popularity[item], item))
    has = side.genres.toarray() > 0
    genre = data.draw(st.integers(0, side.genres.shape[1] - 1))
    nobody = one_history(np.arange(side.n_items), [], [], [], [], low=LOW, high=HIGH)
    outside = np.flatnonzero(~has[:, genre])
    asked = recommend(side, nobody, n=n, explain_n=n, reasons_n=1, min_history=1, excluded=outside)
    assert asked.items.tolist() == [item for item in popular if has[item, genre]][:n]

    short = recommend(side, world.history(0), n=n, explain_n=n, reasons_n=1, min_history=10**6)
    mine = world.histories.user(0).items
    counts = has[mine].sum(axis=0)
    favourites = sorted((g for g in range(len(counts)) if counts[g]), key=lambda g: (-counts[g], g))[:3]
    rest = [item for item in popular if item not in mine]
    liked = [item for item in rest if has[item, favourites].any()]
    assert short.items.tolist() == [*liked, *(item for item in rest if item not in liked)][:n]


@given(st.lists(st.integers(0, 90_000), min_size=2, max_size=6))
def test_a_newer_release_sorts_later(seconds: list[int]) -> None:
    """Whatever the pauses between them, some of them none at all."""
    with folder() as place:
        warehouse, made = Warehouse(place), []
        for total in np.cumsum(seconds).tolist():
            made.append(releases.new_id(warehouse, NOW + timedelta(seconds=total)))
            warehouse.sealed(made[-1]).folder.mkdir(parents=True)
        assert sorted(made) == made and len(set(made)) == len(made)


ITEMS = st.integers(0, 11)


@given(
    st.lists(st.tuples(st.lists(ITEMS, max_size=8, unique=True), st.sets(ITEMS, min_size=1)), min_size=1, max_size=5),
    st.integers(1, 10),
    SEEDS,
)
def test_metrics_equal_their_definitions(users: list[tuple[list[int], set[int]]], k: int, seed: int) -> None:
    def flat(rows) -> tuple[np.ndarray, np.ndarray]:
        return np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], int)

    held_indptr, held_items = flat([sorted(held) for _, held in users])
    hit, n_held = metrics.hits(*flat([ranking for ranking, _ in users]), held_indptr, held_items, k, 12), np.diff(held_indptr)
    for name in ("ndcg", "hit_rate", "recall"):
        expected = [getattr(plain, name)(ranking, held, k) for ranking, held in users]
        np.testing.assert_allclose(getattr(metrics, name)(hit, n_held), expected, atol=1e-12)
    draw = np.random.default_rng(seed)
    predicted, ratings = draw.uniform(LOW, HIGH, 9), draw.integers(1, 11, 9) / 2
    squares = [(p - r) ** 2 for p, r in zip(predicted.tolist(), ratings.tolist())]
    assert math.isclose(metrics.rmse(predicted, ratings), math.sqrt(sum(squares) / 9))
    assert math.isclose(metrics.mae(predicted, ratings), sum(map(math.sqrt, squares)) / 9)


@given(SEEDS, LENGTHS, EQUATIONS)
def test_factors_have_the_configured_dimension(seed: int, lengths: list[int], equations: Equations) -> None:
    factors, _ = trained(seed, lengths, equations)
    assert factors.shape == (15, equations.n_factors) and factors.dtype == np.float32 and np.isfinite(factors).all()
    side = item_side(np.random.default_rng(seed), 15, equations.n_factors)
    user = histories(np.random.default_rng(seed), 15, [4]).user(0)
    assert side.ranker.fold_in(user).posterior.x.shape == (equations.n_factors,)


@given(worlds(), st.integers(1, 60), st.integers(1, 4))
def test_a_list_of_n_has_n_distinct_items(world: World, n: int, min_history: int) -> None:
    """Or all that the user does not have, where those are fewer."""
    found = lists_of(world, n=n, min_history=min_history)
    for k in range(len(world.histories)):
        items, had = found.items[found.indptr[k] : found.indptr[k + 1]].tolist(), world.histories.user(k).items.tolist()
        assert len(items) == len(set(items)) == min(n, world.side.n_items - len(had)) and not set(items) & set(had)
