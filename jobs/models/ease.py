"""ease: the closed-form item-by-item autoencoder, over the most popular items."""

from __future__ import annotations

from jobs.kernels.training import ease
from jobs.kernels.weights import ItemWeights
from jobs.models.base.contract import ModelArrays, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, Climb, half_life_of, Search
from jobs.models.base.weights import scorer_at, weights_side
from schemas.errors import ResourceError

SEARCH = Search((Choice("reg", first=300.0, climb=Climb((2.0,), 4, 8), setting="ease_reg"),))


def fit(data: TrainingData) -> ModelArrays:
    """Raises ResourceError, with the figure, where the matrix would not fit into ease_mib."""
    rows, settings = data.interactions, data.settings
    kept = ease.most_popular(rows.items, rows.n_items, settings.ease_items)
    judge = judge_of(data)
    needed = ease.memory_mib(len(kept)) + SEARCH.is_open(data, judge) * 4 * len(kept) ** 2 / 2**20
    if needed > settings.ease_mib:
        raise ResourceError(
            f"ease over {len(kept):,} items needs {needed:,.0f} MiB, more than ease_mib = {settings.ease_mib:,}; "
            "lower ease_items or raise ease_mib"
        )
    gram = ease.gram(rows.indptr, rows.items, kept, rows.n_items)

    def weights(reg: float, *, is_last: bool = True) -> ItemWeights:
        B = ease.solve(gram if is_last else gram.copy(), reg)
        return ease.item_weights(B, kept, rows.n_items, data.weights_keep)

    values, half_life = SEARCH.chosen(data, judge, lambda _, values: scorer_at(weights(values["reg"], is_last=False)))
    solved = weights(values["reg"])
    return weights_side(solved, half_life or half_life_of(data, judge, scorer_at(solved)), **values)
