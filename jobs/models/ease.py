"""ease: the closed-form item-by-item autoencoder, over the most popular items."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jobs.kernels.training import ease
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, Climb, half_life_of, Search
from jobs.models.base.weights import scorer_at, weights_side
from schemas.errors import ResourceError

SEARCH = Search(
    (
        Choice("reg", first=300.0, climb=Climb((2.0,), 4, 8), setting="ease_reg"),
        Choice("dropout", first=0.0, values=(0.0, 0.33), tuning=(0.0, 0.1, 0.2, 0.33, 0.5)),
        Choice("rarity_exponent", first=0.0, values=(0.0, 0.1, 0.2), tuning=(0.0, 0.1, 0.2, 0.3)),
    )
)


def fit(data: TrainingData) -> ModelArrays:
    """Raises ResourceError, with the figure, where the matrix would not fit into ease_mib."""
    rows, settings = data.interactions, data.settings
    kept = ease.most_popular(rows.items, rows.n_items, settings.ease_items)
    judge = judge_of(data)
    needed = ease.memory_mib(len(kept)) + SEARCH.is_open(data, judge) * 8 * len(kept) ** 2 / 2**20
    if needed > settings.ease_mib:
        raise ResourceError(
            f"ease over {len(kept):,} items needs {needed:,.0f} MiB, more than ease_mib = {settings.ease_mib:,}; "
            "lower ease_items or raise ease_mib"
        )
    gram = ease.gram(rows.indptr, rows.items, kept, rows.n_items)
    counts, last = gram.diagonal().copy(), {}

    def weights(B: np.ndarray, rarity_exponent: float) -> ItemWeights:
        return ease.item_weights(B, kept, rows.n_items, data.weights_keep, counts=counts, rarity_exponent=rarity_exponent)

    def fitted(_: TrainingData, values: dict[str, float]) -> Callable[[float], Scorer]:
        reg, dropout = values["reg"], values["dropout"]  # of which the exponents that are tried follow one another
        if (reg, dropout) not in last:
            last.clear()
            last[reg, dropout] = ease.solve(gram.copy(), reg, dropout=dropout)
        return scorer_at(weights(last[reg, dropout], values["rarity_exponent"]))

    values, half_life = SEARCH.chosen(data, judge, fitted)
    last.clear()
    solved = weights(ease.solve(gram, values["reg"], dropout=values["dropout"]), values["rarity_exponent"])
    return weights_side(solved, half_life or half_life_of(data, judge, scorer_at(solved)), **values)
