"""content: what items are made of, as TF-IDF of genres, years, title words, tags and description.

    score_i = p_i' sum over the history of h_j (cos(i, j) + base),   p_i' = (1 + popularity of i) ** fame

What an item is made of says what it is about and not whether it is any good, so how popular it is counts too: fame 0 not
at all, 1 fully. Any two items are `base` alike: the larger, the less the content decides, and the more how popular they
are. An item that nobody has scores too, below others like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.kernels.histories import Histories
from jobs.models import popular
from jobs.models.contract import CannotBe, Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.tuning import half_life_of, Judge, judge_of

NAME = "content"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)
FAMES, BASES = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_FAME, DEFAULT_BASE = 0.75, 0.1
MAX_FEATURES = 50_000
NEAR_YEARS = range(-2, 3)  # an item is of the years around its own too
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]{2,}")


def fit(data: TrainingData) -> ItemSide:
    """CSR rows of unit length: features (data, indices, indptr) per item_num; an item without text has an empty row."""
    matrix, judge, liked = features(data.items), judge_of(data), popular.fit(data).arrays["scores"]
    fame, base = data.chosen.get("fame", DEFAULT_FAME), data.chosen.get("base", DEFAULT_BASE)
    half_life = half_life_of(data, judge, lambda at: _scorer(matrix, liked, fame, base, at))
    if judge is not None:
        base = _best(judge, matrix, liked, [(1.0, tried) for tried in BASES], half_life)[1]
        fame = _best(judge, matrix, liked, [(tried, base) for tried in FAMES], half_life)[0]
    return ItemSide(
        {"data": matrix.data, "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64)},
        {"n_features": matrix.shape[1], "fame": fame, "base": base, "half_life": half_life},
    )


def features(items: pa.Table) -> csr_matrix:
    """TF-IDF of the items table, (n_items, n_features) float32. Raises CannotBe where no two items share a term."""
    vectorizer = TfidfVectorizer(
        analyzer=lambda terms: terms,
        min_df=2 if len(items) > 50 else 1,
        max_df=0.5,
        max_features=MAX_FEATURES,
        sublinear_tf=True,
        dtype=np.float32,
    )
    try:
        matrix = vectorizer.fit_transform(_terms(items)).tocsr()
    except ValueError:  # no term is in two items and not in most
        raise CannotBe("no two items share a genre, a tag, a year or a word of a title; an item catalogue, the setting items, has them") from None
    matrix.sort_indices()
    return matrix


def scorer(side: ItemSide, data: TrainingData) -> Scorer:
    arrays, parameters = side.arrays, side.parameters
    rows = csr_matrix(
        (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(data.n_items, parameters["n_features"])
    )
    liked = popular.fit(data).arrays["scores"]
    return _scorer(rows, liked, parameters["fame"], parameters["base"], parameters["half_life"])


def _scorer(rows: csr_matrix, liked: np.ndarray, fame: float, base: float, half_life: float) -> Scorer:
    several = _scorers(rows, liked, [(fame, base)], half_life)
    return lambda histories: next(several(histories))


def _scorers(
    rows: csr_matrix, liked: np.ndarray, mixes: list[tuple[float, float]], half_life: float
) -> Callable[[Histories], Iterator[np.ndarray]]:
    """Scores for each fame and base: how alike the items are, which takes the time, is found once for all."""

    weighted = [(((1.0 + liked) ** fame).astype(np.float32), np.float32(base)) for fame, base in mixes]

    def scores(histories: Histories) -> Iterator[np.ndarray]:
        history = histories.weighted(len(liked), half_life)
        alike = np.ascontiguousarray((rows @ (history @ rows).T.toarray()).T)
        weighed = np.asarray(history.sum(axis=1))
        for famous, base in weighted:
            yield (alike + base * weighed) * famous

    return scores


def _best(
    judge: Judge, rows: csr_matrix, liked: np.ndarray, mixes: list[tuple[float, float]], half_life: float
) -> tuple[float, float]:
    """The fame and base that rank best, ties to the first."""
    values = judge.ndcgs(_scorers(rows, liked, mixes, half_life))
    return mixes[values.index(max(values))]


def _terms(items: pa.Table) -> list[list[str]]:
    """Terms of each item. A genre, a tag or a year is one term, marked so that the genre War is not the word in a title; an item is
    of the years around its own too, so that the nearer two are in time, the more they share."""
    texts = zip(*(items[name].to_pylist() for name in ("title", "genres", "tags", "description", "year")))
    return [
        [f"genre:{g.lower()}" for g in genres.split("|") if g]
        + [f"tag:{t.lower()}" for t in tags.split("|") if t]
        + _WORD.findall(_YEAR.sub("", title).lower())
        + _WORD.findall((description or "").lower())
        + [f"year:{year + apart}" for apart in NEAR_YEARS if year is not None]
        for title, genres, tags, description, year in texts
    ]
