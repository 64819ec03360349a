"""content: what items are made of, as TF-IDF of genres, title words, tags and description."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer

from jobs.models.contract import Capabilities, ItemSide, TrainingData

NAME = "content"
CAPABILITIES = Capabilities(folds_in=True, attributes=True)
MAX_FEATURES = 50_000
_YEAR = re.compile(r"\(\d{4}\)\s*$")
_WORD = re.compile(r"[^\W_]{2,}")


def fit(data: TrainingData) -> ItemSide:
    """CSR rows of unit length: features (data, indices, indptr) per item_num; an item without text has an empty row."""
    vectorizer = TfidfVectorizer(
        analyzer=lambda terms: terms,
        min_df=2 if data.n_items > 50 else 1,
        max_df=0.5,
        max_features=MAX_FEATURES,
        sublinear_tf=True,
        dtype=np.float32,
    )
    try:
        matrix = vectorizer.fit_transform(_terms(data.items)).tocsr()
    except ValueError as error:
        raise ValueError(
            f"no two items share a genre, tag or title word ({error}); give an item catalogue with --items"
        ) from None
    matrix.sort_indices()
    return ItemSide(
        {"data": matrix.data, "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64)},
        {"n_features": matrix.shape[1]},
    )


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
