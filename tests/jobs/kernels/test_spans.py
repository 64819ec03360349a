"""Rows of several owners against a loop over them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from jobs.kernels.spans import owners, places, runs


@given(st.lists(st.integers(0, 4), max_size=6))
def test_each_row_has_its_owner_and_its_place(lengths: list[int]) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    expected = [(owner, place) for owner, length in enumerate(lengths) for place in range(length)]
    assert list(zip(owners(indptr).tolist(), places(indptr).tolist(), strict=True)) == expected


@given(st.lists(st.integers(0, 4), max_size=6))
def test_runs_are_the_spans_of_the_owners_that_have_rows(lengths: list[int]) -> None:
    indptr = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    assert runs(owners(indptr)).tolist() == np.unique(indptr).tolist()


def test_the_miniature_of_the_docstring() -> None:
    indptr = np.array([0, 2, 2, 3])
    assert (owners(indptr).tolist(), places(indptr).tolist(), runs(np.array([0, 0, 2])).tolist()) == ([0, 0, 2], [0, 1, 0], [0, 2, 3])
