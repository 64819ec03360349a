"""ease: the closed-form item-by-item autoencoder, over the most popular items."""

from __future__ import annotations

from jobs.kernels import ease
from jobs.models.contract import Capabilities, ItemSide, TrainingData
from jobs.models.weights import scorer, weights_side
from schemas.errors import ResourceError

NAME = "ease"
__all__ = ["NAME", "CAPABILITIES", "fit", "scorer"]
CAPABILITIES = Capabilities(folds_in=True, attributes=True, in_one_task=True)


def fit(data: TrainingData) -> ItemSide:
    """Raises ResourceError, with the figure, where the matrix would not fit into ease_mib."""
    rows, settings = data.interactions, data.settings
    kept = ease.most_popular(rows.items, rows.n_items, settings.ease_items)
    needed = ease.memory_mib(len(kept))
    if needed > settings.ease_mib:
        raise ResourceError(
            f"ease over {len(kept):,} items needs {needed:,.0f} MiB, more than ease_mib = {settings.ease_mib:,}; "
            "lower ease_items or raise ease_mib"
        )
    gram = ease.gram(rows.indptr, rows.items, kept, rows.n_items)
    return weights_side(
        ease.item_weights(ease.solve(gram, settings.ease_reg), kept, rows.n_items, settings.weights_keep), data
    )
