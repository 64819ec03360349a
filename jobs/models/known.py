"""Every model there is, in the order in which they are trained: what others are made of comes first."""

from __future__ import annotations

from types import ModuleType

from jobs.models import als, content, ease, hybrid, ials, item_neighbours, popular, svd, transitions

MODELS: dict[str, ModuleType] = {
    model.NAME: model for model in (popular, content, ials, als, svd, item_neighbours, transitions, ease, hybrid)
}
RATER = als.NAME  # what predicts the rating of a list, whoever ranks it
PARTS = {"hybrid": (*hybrid.ITEM_BY_ITEM, ials.NAME, RATER)}  # what has to be fitted before
