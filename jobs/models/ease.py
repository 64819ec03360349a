"""ease: the closed-form item-by-item autoencoder: dense over the items that the matrix has room for, local over the others.

Where all items that are covered fit into `ease_mib`, they are solved together. Where they do not, the most popular are, and every other
item by its own neighbourhood, a range of items a task.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.kernels.training import ease
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.ease_tail import with_tail
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, Climb, half_life_of, Search
from jobs.models.base.weights import scorer_at, weights_side
from schemas.errors import ResourceError
from schemas.models import EASE_HEAD
from warehouse import model_files
from warehouse.atomic import save_array

NAME = "ease"
LEAST = 5  # interactions of an item that is covered: fewer say little of it
SEARCH = Search(
    (
        Choice("reg", first=300.0, climb=Climb((2.0,), 4, 8), setting="ease_reg"),
        Choice("dropout", first=0.0, values=(0.0, 0.33), tuning=(0.0, 0.1, 0.2, 0.33, 0.5)),
        Choice("rarity_exponent", first=0.0, values=(0.0, 0.1, 0.2), tuning=(0.0, 0.1, 0.2, 0.3)),
    )
)


def fit(data: TrainingData) -> ModelArrays:
    """Raises ResourceError, with the figure, where not even the most popular items would fit into ease_mib."""
    rows, settings, folder = data.interactions, data.settings, data.scratch / NAME
    most = settings.ease_items or max(int((data.n_ratings >= LEAST).sum()), EASE_HEAD)
    covered = ease.most_popular(rows.items, rows.n_items, most)
    head = covered if ease.memory_mib(len(covered)) <= settings.ease_mib else ease.most_popular(rows.items, rows.n_items, EASE_HEAD)
    tail, alone = np.setdiff1d(covered, head), data.for_task()

    def solve(_: int) -> None:
        side = _dense(alone, head, folder if len(tail) else None)
        model_files.save(folder / "head", side.arrays, side.parameters)

    data.run.each(1, solve, label=f"{NAME}: counting pairs, solving, pruning")
    arrays, parameters = model_files.load(folder / "head")
    weights = ItemWeights(**{name: np.array(array) for name, array in arrays.items()})
    if len(tail):
        weights = with_tail(data, weights, head, tail, parameters, folder)
    shutil.rmtree(folder)
    return weights_side(weights, **parameters)


def _dense(data: TrainingData, head: np.ndarray, folder: Path | None) -> ModelArrays:
    """Solve the head (h,) together; hyper-parameters are searched over EASE_HEAD of its items at most.

    Its gram and the diagonal of its inverse are left in the folder, where there is a tail that needs them.
    """
    rows, settings, judge = data.interactions, data.settings, judge_of(data)
    kept = head if len(head) <= EASE_HEAD or not SEARCH.is_open(data, judge) else ease.most_popular(rows.items, rows.n_items, EASE_HEAD)
    needed = ease.memory_mib(len(kept)) + SEARCH.is_open(data, judge) * 8 * len(kept) ** 2 / 2**20
    if needed > settings.ease_mib:
        raise ResourceError(
            f"ease over {len(kept):,} items needs {needed:,.0f} MiB, more than ease_mib = {settings.ease_mib:,}; "
            "lower ease_items or raise ease_mib"
        )
    gram, last = ease.gram(rows.indptr, rows.items, kept, rows.n_items), {}

    def weights(B: np.ndarray, counts: np.ndarray, rarity_exponent: float) -> ItemWeights:
        return ease.item_weights(B, kept, rows.n_items, data.weights_keep, counts=counts, rarity_exponent=rarity_exponent)

    def fitted(_: TrainingData, values: dict[str, float]) -> Callable[[float], Scorer]:
        reg, dropout = values["reg"], values["dropout"]  # of which the exponents that are tried follow one another
        if (reg, dropout) not in last:
            last.clear()
            last[reg, dropout] = ease.solve(gram.copy(), reg, dropout=dropout)
        return scorer_at(weights(last[reg, dropout], gram.diagonal(), values["rarity_exponent"]))

    values, half_life = SEARCH.chosen(data, judge, fitted)
    last.clear()
    if len(kept) < len(head):
        kept, gram = head, np.zeros(0)  # the one is gone before the other comes
        gram = ease.gram(rows.indptr, rows.items, kept, rows.n_items)
    counts = gram.diagonal().copy()
    if folder:
        save_array(folder / "gram.npy", gram)
    P = ease.inverse(gram, values["reg"], dropout=values["dropout"])
    if folder:
        save_array(folder / "precisions.npy", P.diagonal())
    solved = weights(ease.weights_of(P), counts, values["rarity_exponent"])
    return weights_side(solved, half_life or half_life_of(data, judge, scorer_at(solved)), **values)
