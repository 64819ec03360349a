"""The code of each model that `schemas.models` declares: the file of its name in this folder."""

from __future__ import annotations

import importlib
from typing import cast, Protocol

from jobs.models.contract import ModelArrays, Scorer, TrainingData
from jobs.models.scoring import Rater
from schemas.models import MODELS


class ModelCode(Protocol):
    """The function in the file of every model. A model that can be served is scored by what orders its lists."""

    def fit(self, data: TrainingData) -> ModelArrays:
        """Train on the rows; returns all that is kept. Raises CannotBe if the data has nothing that the model is made of."""


class UnservedCode(ModelCode, Protocol):
    """The functions of a model that cannot be served."""

    def scorer(self, side: ModelArrays, data: TrainingData) -> Scorer:
        """Return a function of histories that scores every item."""


class RatingCode(ModelCode, Protocol):
    """The functions of a model that predicts ratings."""

    def rater(self, side: ModelArrays) -> Rater:
        """Return what predicts a user's rating of an item."""


def code_of(name: str) -> ModelCode:
    """Return the code of a declared model. Raises KeyError for another name."""
    return cast(ModelCode, importlib.import_module(f"jobs.models.{MODELS[name].name}"))


def scorer_of(name: str, side: ModelArrays, data: TrainingData) -> Scorer:
    """Return what scores every item by a model that cannot be served."""
    return cast(UnservedCode, code_of(name)).scorer(side, data)


def rater_of(name: str, side: ModelArrays) -> Rater:
    """Return what predicts ratings by a model that is declared to predict them."""
    return cast(RatingCode, code_of(name)).rater(side)
