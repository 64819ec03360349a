"""Every model, declared once: what it is made of, what it can do, the settings that are its own, and the memory that fitting it takes.

Settings, the choice of the served model, the estimate of memory and the table `models` are derived from this. The code of a model is the
file of its name in `jobs/models`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Size(NamedTuple):
    """Counts of the rows to train on, and the bytes of an item-by-item matrix over these items."""

    n_ratings: int
    n_users: int
    n_items: int
    matrix_bytes: float


@dataclass(frozen=True)
class Model:
    """One model.

    Parameters
    ----------
    name : names its file, its folder in a release and its rows.
    simplicity : place among the models that can be served, 1 for the simplest; 0 if it cannot be served. Of models that are about as good
        the simplest is served.
    parts : names of the models that are fitted before, because it is made of them.
    is_default : whether it is trained unless `models` says otherwise.
    predicts_rating, folds_in, attributes : what it can do: predict a rating, take in a new history, split a score over it.
    needs_ratings, needs_order : without ratings, or without interactions of two different times, it is skipped.
    doing : what its fit does meanwhile if that is one piece of work on arrays, to be run where there is memory for it; empty if it divides
        its work.
    settings : names of the settings that are its own.
    memory : bytes that fitting it takes beside the session, from a Size and the settings.
    lowered_by : the setting that asks for less memory.
    """

    name: str
    simplicity: int = 0
    parts: tuple[str, ...] = ()
    is_default: bool = True
    predicts_rating: bool = False
    folds_in: bool = True
    attributes: bool = True
    needs_ratings: bool = False
    needs_order: bool = False
    doing: str = ""
    settings: tuple[str, ...] = ()
    memory: Callable[[Size, Any], float] = lambda size, settings: 12 * size.n_ratings
    lowered_by: str = "models"


def _of_factors(n_factors: int, size: Size) -> float:
    return 40 * size.n_ratings + 8 * n_factors * (size.n_users + size.n_items)


def _of_pairs(size: Size, settings: Any) -> float:
    return 75 * size.n_ratings + size.matrix_bytes


def _of_rows(size: Size, settings: Any) -> float:
    return 100 * size.n_ratings


def _of_ease(size: Size, settings: Any) -> float:
    n_items = min(settings.ease_items or size.n_items, size.n_items)
    if 12 * n_items**2 <= settings.ease_mib * 2**20:
        return 16 * n_items**2 + 30 * size.n_ratings
    an_item = (16 * EASE_PAIRS + 100) * settings.ease_neighbours
    return 16 * min(n_items, EASE_HEAD) ** 2 + an_item * n_items + 100 * size.n_ratings


def _of_hybrid(size: Size, settings: Any) -> float:
    return 16 * min(2**26, 4_000 * size.n_items) + 6 * size.matrix_bytes


EASE_HEAD = 5_000  # items that ease solves densely in any case, and searches its hyper-parameters over
EASE_PAIRS = 5  # times ease_neighbours: the pairs that are kept of each other item
FOREVER = 1e9  # an infinite half-life where it is written down: JSON has no infinity
RATER = "als"  # predicts the ratings of a list, whoever ranks it
MODELS: dict[str, Model] = {
    model.name: model
    for model in (  # in the order in which they are trained
        Model("popular", attributes=False),
        Model("content"),
        Model(
            "ials",
            simplicity=4,
            settings=("ials_factors", "ials_iterations", "ials_alpha", "ials_reg"),
            memory=lambda size, settings: _of_factors(settings.ials_factors, size),
            lowered_by="ials_factors",
        ),
        Model(
            RATER,
            predicts_rating=True,
            needs_ratings=True,
            settings=("als_factors", "als_iterations", "als_reg", "als_engine", "als_broadcast_mib"),
            memory=lambda size, settings: _of_factors(3 * settings.als_factors, size),  # with variances and covariances
            lowered_by="als_factors",
        ),
        Model(
            "svd",
            predicts_rating=True,
            needs_ratings=True,
            doing="removing biases, finding directions",
            settings=("svd_factors",),
            memory=_of_rows,
        ),
        Model(
            "user_neighbours",
            is_default=False,
            folds_in=False,
            attributes=False,
            doing="comparing users",
            settings=("neighbours_n", "neighbour_users"),
            memory=_of_rows,
        ),
        Model("item_neighbours", simplicity=1, settings=("neighbours_similarity",), memory=_of_pairs),
        Model(
            "transitions",
            simplicity=2,
            needs_order=True,
            doing="counting what follows what",
            settings=("transitions_lags", "transitions_damping"),
            memory=_of_pairs,
        ),
        Model(
            "ease",
            simplicity=3,
            settings=("ease_items", "ease_neighbours", "ease_reg", "ease_mib"),
            memory=_of_ease,
            lowered_by="ease_items",
        ),
        Model("neural", is_default=False, folds_in=False, attributes=False, doing="training epoch by epoch", memory=_of_rows),
        Model(
            "hybrid",
            simplicity=5,
            parts=("ease", "item_neighbours", "transitions", "ials", RATER),
            doing="learning the weights of its parts",
            memory=_of_hybrid,
            lowered_by="weights_keep",
        ),
    )
}
RANKERS = tuple(sorted((name for name, model in MODELS.items() if model.simplicity), key=lambda name: MODELS[name].simplicity))
DEFAULT_MODELS = tuple(name for name, model in MODELS.items() if model.is_default)
