"""ease: the closed-form item-by-item autoencoder, over the most popular items."""

from __future__ import annotations

from jobs.kernels.training import ease
from jobs.kernels.weights import ItemWeights
from jobs.models.contract import ModelArrays, TrainingData
from jobs.models.scoring import by_weights
from jobs.models.tuning import half_life_of, hill_climb, judge_of, preset
from jobs.models.weights import scorer, weights_side
from schemas.errors import ResourceError

__all__ = ["fit", "scorer"]
FIRST_REG = 300.0
TRIED, TRIED_TUNING = 4, 8


def fit(data: TrainingData) -> ModelArrays:
    """Raises ResourceError, with the figure, where the matrix would not fit into ease_mib."""
    rows, settings = data.interactions, data.settings
    kept = ease.most_popular(rows.items, rows.n_items, settings.ease_items)
    judge, reg = judge_of(data), preset(data, "reg", settings.ease_reg)
    is_search = reg is None and judge is not None
    needed = ease.memory_mib(len(kept)) + is_search * 4 * len(kept) ** 2 / 2**20
    if needed > settings.ease_mib:
        raise ResourceError(
            f"ease over {len(kept):,} items needs {needed:,.0f} MiB, more than ease_mib = {settings.ease_mib:,}; "
            "lower ease_items or raise ease_mib"
        )
    gram = ease.gram(rows.indptr, rows.items, kept, rows.n_items)

    def weights(reg: float, *, is_last: bool = True) -> ItemWeights:
        B = ease.solve(gram if is_last else gram.copy(), reg)
        return ease.item_weights(B, kept, rows.n_items, data.weights_keep)

    if is_search:
        first = weights(FIRST_REG, is_last=False)
        half_life = half_life_of(data, judge, lambda at: by_weights(first, at))
        value = lambda reg: judge.ndcg(by_weights(first if reg == FIRST_REG else weights(reg, is_last=False), half_life))
        reg, _ = hill_climb(value, FIRST_REG, factors=(2.0,), most=TRIED_TUNING if data.tune else TRIED)
        return weights_side(weights(reg), half_life, reg=reg)
    found = weights(reg or FIRST_REG)
    return weights_side(found, half_life_of(data, judge, lambda at: by_weights(found, at)), reg=reg or FIRST_REG)
