"""The item side of a release, put together from those of its models: all that lists are computed from besides the history."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from scipy.sparse import csr_matrix

from jobs.kernels.factors import ExplicitFactors, ImplicitFactors
from jobs.kernels.histories import Histories
from jobs.kernels.rankers import Blend, OwnFrequency, Part, Ranker, WeightRanker
from jobs.kernels.relevance import damped_means, is_liked
from jobs.kernels.reranking import Reranking
from jobs.kernels.spans import owners
from jobs.kernels.twins import Twins
from jobs.kernels.user_neighbours import ReferenceUsers
from jobs.kernels.weights import ItemWeights

GENRE_DEPTH = 2000
FACTORS = ("ials", "als")
OWN = "repeats"  # the term of a blend that is the user's own frequency
BESIDE = (*FACTORS, OWN)  # terms of a blend that are no item-by-item matrix
OFF, ALLOW, ONLY = "off", "allow", "only"  # whether a list has what its user has
LONG = "_long"  # what the name of a blend's term ends in where it is the second of its model, with the longer memory


@dataclass(frozen=True)
class ItemSide:
    """Everything that a list is computed from, besides the history.

    ranker orders lists, factors (or None) tell confidence, rater (or None) predicts ratings, popularity (n_items,) float64
    orders the fallback, genres (n_items, n_genres) has a 1 for each genre of an item. others (or None) are users to find those of
    similar taste among, for reasons alone;
    blocked (b,) item_nums are in no list, reranking (or None) has the last word on a list's order, and of twins a list names one. mu is the overall mean rating,
    NaN without ratings, and damping how many of it a user's own mean is damped with. repeats: OFF leaves out of a list what its user
    has, ALLOW does not, and with ONLY nothing else is in it.
    """

    ranker: Ranker
    factors: ImplicitFactors | None
    rater: ExplicitFactors | None
    popularity: np.ndarray
    genres: csr_matrix
    others: ReferenceUsers | None = None
    blocked: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    reranking: Reranking | None = None
    mu: float = math.nan
    damping: float = 0.0
    twins: Twins = field(default_factory=Twins)
    repeats: str = OFF
    _by_genres: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_items(self) -> int:
        return len(self.popularity)

    def left_out(self, histories: Histories) -> Histories:
        """Return users with what their lists leave out because they have it."""
        return self.twins.has(histories) if self.repeats == OFF else histories.emptied()

    def means(self, histories: Histories) -> np.ndarray:
        """Return the users' own damped means, (u,)."""
        return damped_means(histories, self.mu, self.damping)

    def is_liked(self, histories: Histories) -> np.ndarray:
        """Tell which rows (m,) their user rated at or above their own mean; those without a rating count too."""
        if math.isnan(self.mu):
            return np.ones(len(histories.items), bool)
        return is_liked(histories, self.means(histories))

    @cached_property
    def by_popularity(self) -> np.ndarray:
        return np.lexsort((np.arange(self.n_items), -self.popularity)).astype(np.int32)

    def has_genre(self, genres: Sequence[int]) -> np.ndarray:
        """Tell which items have at least one of these genres, columns of `genres`; (n_items,) bool."""
        return self.count_genres(genres) > 0

    def count_genres(self, genres: Sequence[int]) -> np.ndarray:
        """Count of these genres, columns of `genres`, those that each item has; (n_items,) int64."""
        is_wanted = np.zeros(self.genres.shape[1], bool)
        is_wanted[list(genres)] = True
        return np.bincount(owners(self.genres.indptr)[is_wanted[self.genres.indices]], minlength=self.n_items)

    def popular_in(self, genres: tuple[int, ...]) -> np.ndarray:
        """Return the items with one of these genres, most popular first."""
        if genres not in self._by_genres:
            self._by_genres[genres] = self.by_popularity[self.has_genre(genres)[self.by_popularity]][:GENRE_DEPTH]
        return self._by_genres[genres]


Side = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]
Beside = ImplicitFactors | ExplicitFactors | OwnFrequency


def assemble(sides: Mapping[str, Side], *, served: str) -> ItemSide:
    """Put the item side of a release together from its models.

    Parameters
    ----------
    sides : (arrays, parameters) by name of the model: items, popular, the served one and, if they were trained, als and ials
    served : name of the served model
    """
    (items, names), (popular, means) = sides["items"], sides["popular"]
    n_items, genres = len(items["item_ids"]), names["genres"]
    ones = np.ones(len(items["genre_indices"]), np.float32)
    factors = _fields(ImplicitFactors, sides["ials"]) if "ials" in sides else None
    rater = _fields(ExplicitFactors, sides["als"]) if "als" in sides else None
    own = _fields(OwnFrequency, sides[served]) if "own_weights" in sides[served][0] else None
    beside = {"ials": factors, "als": rater, OWN: own}
    ranker: Ranker = factors if served == "ials" and factors else _weighing(sides[served], beside)
    return ItemSide(
        ranker,
        factors,
        rater,
        popular["scores"],
        csr_matrix((ones, items["genre_indices"], items["genre_indptr"]), shape=(n_items, len(genres))),
        _others(sides.get("user_neighbours"), n_items),
        items.get("blocked", np.zeros(0, np.int32)),
        _reranking(names, sides.get("content")),
        means.get("mu", math.nan),
        means.get("damping", 0.0),
        Twins(items["first"]) if "first" in items else Twins(),
        names.get("repeats", OFF),
    )


def _others(side: Side | None, n_items: int) -> ReferenceUsers | None:
    if side is None:
        return None
    arrays, parameters = side
    return ReferenceUsers(
        arrays["indptr"], arrays["items"], arrays["strengths"], arrays["ratings"], n_items,
        n_neighbours=parameters["n_neighbours"], half_life=parameters["half_life"],
    )  # fmt: skip


def _reranking(parameters: Mapping[str, Any], content: Side | None) -> Reranking | None:
    diversity, calibration = (parameters.get(name, 0.0) for name in ("diversity", "calibration"))
    if not diversity and not calibration:
        return None
    if content is None:
        return Reranking(diversity, calibration)
    arrays, constants = content
    shape = (len(arrays["indptr"]) - 1, constants["n_features"])
    return Reranking(diversity, calibration, csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape))


def _fields(kind: type, side: Side) -> Any:
    """Make a dataclass from those of a side's arrays and parameters that are its fields."""
    known = {**side[0], **side[1]}
    return kind(**{f.name: known[f.name] for f in fields(kind) if f.name in known})


def _weighing(side: Side, beside: Mapping[str, Beside | None]) -> Ranker:
    """Return an item-by-item model, with the other parts beside it that it has a weight for."""
    parts: list[tuple[float, Part]] = [(1.0, WeightRanker(matrix, half_life)) for matrix, half_life in matrices_of(*side)]
    for name, weight, half_life in terms_beside(side[1]):
        parts.append((weight, replace(cast(Beside, beside[name]), half_life=half_life)))
    return Blend(tuple(parts)) if len(parts) > 1 else cast(Ranker, parts[0][1])


def matrices_of(arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any]) -> list[tuple[ItemWeights, float]]:
    """Return the matrices of an item-by-item model or a blend, each with the half-life of the history that it scores, the shorter first."""
    terms = parameters.get("half_lives", {})
    half_lives = sorted({at for term, at in terms.items() if part_of(term) not in BESIDE}) or [parameters["half_life"]]
    names = ("indptr", "indices", "data")
    return [(ItemWeights(*(arrays[f"{name}{k or ''}"] for name in names)), at) for k, at in enumerate(half_lives)]


def terms_beside(parameters: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Return the terms of a blend that are no item-by-item matrix: name, weight, half-life.

    In releases from before each part had a half-life of its own, ials has that of all.
    """
    if "half_lives" not in parameters:
        weight = parameters.get("ials_weight", 0.0)
        return [("ials", weight, parameters["half_life"])] if weight else []
    terms = [(part_of(term), weight, parameters["half_lives"][term]) for term, weight in parameters["weights"].items()]
    return [term for term in terms if term[0] in BESIDE]


def part_of(term: str) -> str:
    """Name the model that a term of a blend is of."""
    return term.removesuffix(LONG)
