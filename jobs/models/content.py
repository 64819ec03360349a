"""content: what items are made of, as TF-IDF of genres, title words, tags and description."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.kernels.histories import Histories
from jobs.models.contract import Capabilities, ItemSide, Scorer, TrainingData
from jobs.models.scoring import recent

NAME = "content"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)
MAX_FEATURES = 50_000
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]{2,}")


def fit(data: TrainingData) -> ItemSide:
    """CSR rows of unit length: features (data, indices, indptr) per item_num; an item without text has an empty row."""
    matrix = features(data.items)
    return ItemSide(
        {"data": matrix.data, "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64)},
        {"n_features": matrix.shape[1]},
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
    """The sum over the history of each item's cosine with it; an item without text scores 0."""
    arrays = side.arrays
    rows = csr_matrix(
        (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(data.n_items, side.parameters["n_features"])
    )

    def scores(histories: Histories) -> np.ndarray:
        weights = (histories.strengths * recent(histories, data.settings.half_life)).astype(np.float32)
        history = csr_matrix((weights, histories.items, histories.indptr), shape=(len(histories), data.n_items))
        return np.asarray((history @ rows @ rows.T).todense(), np.float32)

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
