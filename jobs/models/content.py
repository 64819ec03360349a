"""content: what items are made of, as TF-IDF of genres, tags, words of title and description, and years.

Each kind of term is a vector of its own, of unit length, and two items are alike by the mean of its cosines, weighed by kind:

    cos(i, j) = sum_k w_k cos_k(i, j) / sqrt(sum of the w_k that i has * sum of those that j has)

Without that, rare terms count most whatever they say: five years around an item's own outweighed all its genres, and most
neighbours were of one year. The weights were chosen on series of films (those that a test does not ask for): words tell series,
genres keep unlike ones apart, and years decide only between what is as near otherwise. What people go on to is of near years more than
what is alike, so for lists, and for them alone, years weigh what validation users say.

    score_i = p_i' sum over the history of h_j (cos(i, j) + floor),   p_i' = (1 + popularity of i) ** exponent

What an item is made of says what it is about and not whether it is any good, so how popular it is counts too: exponent 0
not at all, 1 fully. Any two items are `floor` alike: the larger, the less the content decides, and the more how popular they
are. An item that nobody has scores too, below others like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.kernels.histories import Histories
from jobs.kernels.spans import owners
from jobs.models import popular
from jobs.models.base.contract import CannotBe, ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import Choice, half_life_of, Search

SEARCH = Search(
    (
        Choice("years", 1.0, (0.1, 1.0, 4.0)),  # weights of the years in lists
        Choice("floor_similarity", 0.1, (0.0, 0.03, 0.1, 0.3, 1.0, 3.0), is_shared=True),
        Choice("popularity_exponent", 0.75, (0.0, 0.25, 0.5, 0.75, 1.0), is_shared=True),
    )
)
MAX_FEATURES = 50_000
NEAR_YEARS = range(-2, 3)  # an item is of the years around its own too
WEIGHTS = {"genre": 1.0, "tag": 1.0, "word": 1.5, "year": 0.1}
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]{2,}")
_PLURAL = re.compile(r"(?<=..[^s])s$")


def fit(data: TrainingData) -> ModelArrays:
    """CSR rows of unit length: features (data, indices, indptr) per item_num; an item without text has an empty row. is_year
    (n_features,) tells the terms of years."""
    matrix, names = named_features(data.items)
    is_year = np.array([name.startswith("year:") for name in names])
    judge, liked = judge_of(data), popular.fit(data).arrays["scores"]
    alike_of = cache(lambda years: _Alike(_with_years(matrix, is_year, years)))

    def scorer_at(values: dict[str, float]) -> Callable[[float], Scorer]:
        mix = values["popularity_exponent"], values["floor_similarity"]
        return lambda half_life: _scorer(alike_of(values["years"]), liked, *mix, half_life)

    values, half_life = SEARCH.chosen(data, judge, lambda _, values: scorer_at(values))
    half_life = half_life or half_life_of(data, judge, scorer_at(values))
    return ModelArrays(
        {"data": matrix.data, "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64), "is_year": is_year},
        {"n_features": matrix.shape[1], **values, "half_life": half_life},
    )


def features(items: pa.Table) -> csr_matrix:
    """TF-IDF of the items table, (n_items, n_features) float32, its kinds of terms weighed."""
    return named_features(items)[0]


def named_features(items: pa.Table) -> tuple[csr_matrix, np.ndarray]:
    """Return the features and their terms (n_features,). Raises CannotBe if no two items share a term."""
    vectorizer = TfidfVectorizer(
        analyzer=lambda terms: terms,
        min_df=2 if len(items) > 50 else 1,
        max_df=0.5,
        max_features=MAX_FEATURES,
        sublinear_tf=True,
        norm=None,
        dtype=np.float32,
    )
    try:
        matrix = vectorizer.fit_transform(_terms(items)).tocsr()
    except ValueError:  # no term is in two items and not in most
        raise CannotBe(
            "no two items share a genre, a tag, a year or a word of a title; an item catalogue, the setting items, has them"
        ) from None
    matrix.sort_indices()
    names = vectorizer.get_feature_names_out()
    return _weighed(matrix, names), names


def _weighed(matrix: csr_matrix, names: np.ndarray) -> csr_matrix:
    """The rows with each kind of term at its weight, and then of unit length; in place."""
    kinds = list(WEIGHTS)
    of_column = np.array([kinds.index(kind) if mark else kinds.index("word") for kind, mark, _ in (name.partition(":") for name in names)])
    cells = owners(matrix.indptr) * len(kinds) + of_column[matrix.indices]
    squares = np.bincount(cells, matrix.data.astype(float) ** 2, matrix.shape[0] * len(kinds))
    weights = np.array(list(WEIGHTS.values()))
    totals = ((squares > 0).reshape(-1, len(kinds)) @ weights)[cells // len(kinds)]
    matrix.data *= np.sqrt(weights[cells % len(kinds)] / squares[cells] / totals).astype(np.float32)
    return matrix


def _with_years(matrix: csr_matrix, is_year: np.ndarray, weight: float) -> csr_matrix:
    """The rows with another weight of the years, of unit length again."""
    values = matrix.data * np.where(is_year[matrix.indices], (weight / WEIGHTS["year"]) ** 0.5, 1.0)
    rows = owners(matrix.indptr)
    lengths = np.sqrt(np.bincount(rows, values**2, matrix.shape[0]))
    return csr_matrix(((values / lengths[rows]).astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    arrays, parameters = side.arrays, side.parameters
    rows = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape=(data.n_items, parameters["n_features"]))
    liked = popular.fit(data).arrays["scores"]
    alike = _Alike(_with_years(rows, np.asarray(arrays["is_year"]), parameters["years"]))
    return _scorer(alike, liked, parameters["popularity_exponent"], parameters["floor_similarity"], parameters["half_life"])


class _Alike:
    """How alike items are to histories, which is what takes the time; the last answer is kept for scorers that differ in the rest."""

    def __init__(self, rows: csr_matrix) -> None:
        self._rows, self._last = rows, None

    def __call__(self, histories: Histories, half_life: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums over each history of h_j cos(i, j), (u, n_items), and of h_j, (u, 1)."""
        if self._last is None or self._last[0] is not histories or self._last[1] != half_life:
            history = histories.weighted(self._rows.shape[0], half_life)
            sums = np.ascontiguousarray((self._rows @ (history @ self._rows).T.toarray()).T)
            self._last = histories, half_life, (sums, np.asarray(history.sum(axis=1)))
        return self._last[2]


def _scorer(alike: _Alike, liked: np.ndarray, exponent: float, floor: float, half_life: float) -> Scorer:
    popularity = ((1.0 + liked) ** exponent).astype(np.float32)

    def scores(histories: Histories) -> np.ndarray:
        sums, weighed = alike(histories, half_life)
        return (sums + np.float32(floor) * weighed) * popularity

    return scores


def _words(text: str) -> list[str]:
    """Words in lower case, without the s of a plural."""
    return [_PLURAL.sub("", word) for word in _WORD.findall(text.lower())]


def _terms(items: pa.Table) -> list[list[str]]:
    """Terms of each item. A genre, a tag or a year is one term, marked so that the genre War is not the word in a title; an item is
    of the years around its own too, so that the nearer two are in time, the more they share."""
    texts = zip(*(items[name].to_pylist() for name in ("title", "genres", "tags", "description", "year")))
    return [
        [f"genre:{g.lower()}" for g in genres.split("|") if g]
        + [f"tag:{t.lower()}" for t in tags.split("|") if t]
        + _words(_YEAR.sub("", title))
        + _words(description or "")
        + [f"year:{year + apart}" for apart in NEAR_YEARS if year is not None]
        for title, genres, tags, description, year in texts
    ]
