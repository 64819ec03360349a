"""Draws that ids and the seed alone decide: the same in whatever order, file or part the rows come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa


def of_ids(ids: pa.Array | pa.ChunkedArray, seed: int) -> np.ndarray:
    """A draw for each id, (n,) uint64."""
    coded = (ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids).dictionary_encode()
    texts = coded.dictionary.cast(pa.string()).to_numpy(zero_copy_only=False).astype(object)
    return pd.util.hash_array(texts, hash_key=f"{seed:016d}", categorize=False)[coded.indices.to_numpy()]


def of_pairs(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """A draw for each pair, (m,) uint64, from those of its user and its item (Steele et al. 2014, splitmix64)."""
    z = users + items * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)
