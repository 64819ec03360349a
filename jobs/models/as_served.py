"""A fitted model as the Recommender that its release would be, before there is a release: to measure the lists that users would get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jobs.kernels.item_side import assemble, FACTORS
from jobs.kernels.recommender import Recommender
from jobs.models import popular
from jobs.models.contract import ModelArrays, TrainingData
from warehouse import model_files


def recommender(name: str, side: ModelArrays, data: TrainingData, *, n: int) -> Recommender:
    """Return the recommender of lists of n items, their ids the item_nums; nothing predicts ratings or confidence beside it.

    Parameters
    ----------
    name : a model that can be served
    side : what was fitted
    data : what it was fitted to; in its `sides` lie the factor models that a blend has parts of
    """
    parts = {part: model_files.load(data.sides / part) for part in FACTORS if model_files.exists(data.sides / part)}
    genres, liked = data.genres.tocsr(), popular.fit(data)
    of_items = {"item_ids": np.arange(data.n_items), "genre_indices": genres.indices, "genre_indptr": genres.indptr}
    of_release = {"items": (of_items, {"genres": range(genres.shape[1])}), "popular": (liked.arrays, liked.parameters)}
    whole = assemble(parts | of_release | {name: (side.arrays, side.parameters)}, served=name)
    lists_alone = replace(whole, factors=None, rater=None)
    return Recommender(
        of_items["item_ids"], lists_alone, data.rating_scale, n=n, explain_n=0, reasons_n=0, min_history=data.settings.min_history
    )
