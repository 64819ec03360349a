"""content: what items are made of, as TF-IDF of genres, title words, tags and description.

    score_i = p_i' sum over the history of h_j (cos(i, j) + base),   p_i' = (1 + popularity of i) ** fame

What an item is made of says what it is about and not whether it is any good, so how popular it is counts too: fame 0 not
at all, 1 fully. Any two items are `base` alike: the larger, the less the content decides, and the more how popular they
are. An item that nobody has scores too, below others like it.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.kernels.histories import Histories
from jobs.models import popular
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.scoring import recent
from jobs.models.tuning import half_life_of, judge_of

NAME = "content"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)
FAMES, BASES = (0.0, 0.25, 0.5, 0.75, 1.0), (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_FAME, DEFAULT_BASE = 0.75, 0.1
MAX_FEATURES = 50_000
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]{2,}")


def fit(data: TrainingData) -> ItemSide:
    """CSR rows of unit length: features (data, indices, indptr) per item_num; an item without text has an empty row."""
    matrix, judge, liked = features(data.items), judge_of(data), popular.fit(data).arrays["scores"]
    fame, base = data.chosen.get("fame", DEFAULT_FAME), data.chosen.get("base", DEFAULT_BASE)
    half_life = half_life_of(data, judge, lambda at: _scorer(matrix, liked, fame, base, at))
    if judge is not None:
        base = max(BASES, key=lambda tried: judge.ndcg(_scorer(matrix, liked, 1.0, tried, half_life)))
        fame = max(FAMES, key=lambda tried: judge.ndcg(_scorer(matrix, liked, tried, base, half_life)))
    return ItemSide(
        {"data": matrix.data, "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64)},
        {"n_features": matrix.shape[1], "fame": fame, "base": base, "half_life": half_life},
    )


def features(items: pa.Table) -> csr_matrix:
    """TF-IDF of the items table, (n_items, n_features) float32. Raises ValueError where no two items share a term."""
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
    except ValueError as error:
        raise ValueError(
            f"no two items share a genre, tag or title word ({error}); give an item catalogue with --items"
        ) from None
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
    famous = ((1.0 + liked) ** fame).astype(np.float32)

    def scores(histories: Histories) -> np.ndarray:
        weights = (histories.strengths * recent(histories, half_life)).astype(np.float32)
        history = csr_matrix((weights, histories.items, histories.indptr), shape=(len(histories), len(liked)))
        alike = np.asarray((history @ rows @ rows.T).todense(), np.float32)
        return (alike + np.float32(base) * np.asarray(history.sum(axis=1))) * famous

    return scores


def _terms(items: pa.Table) -> list[list[str]]:
    """Terms of each item. A genre or tag is one term, marked so that the genre War is not the word in a title."""
    texts = zip(*(items[name].to_pylist() for name in ("title", "genres", "tags", "description")))
    return [
        [f"genre:{g.lower()}" for g in genres.split("|") if g]
        + [f"tag:{t.lower()}" for t in tags.split("|") if t]
        + _WORD.findall(_YEAR.sub("", title).lower())
        + _WORD.findall((description or "").lower())
        for title, genres, tags, description in texts
    ]
