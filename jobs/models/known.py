"""Every model there is, in the order in which they are trained: what others are made of comes first."""

from __future__ import annotations

from types import ModuleType

from jobs.models import als, content, ease, hybrid, ials, item_neighbours, neural, popular, svd, transitions, user_neighbours

_ALL = (popular, content, ials, als, svd, user_neighbours, item_neighbours, transitions, ease, neural, hybrid)
MODELS: dict[str, ModuleType] = {model.NAME: model for model in _ALL}
RATER = als.NAME  # what predicts the rating of a list, whoever ranks it
PARTS = {"hybrid": (*hybrid.ITEM_BY_ITEM, ials.NAME, RATER)}  # what has to be fitted before
