"""Biases against their definition, by hand."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from jobs.kernels.biases import centred, damped, item_biases


def test_items_biases_are_damped_means_over_the_mean() -> None:
    # Item 0 is rated 5 and 3, item 1 is rated 1, item 2 never; mu = 3.
    mu, biases = item_biases(np.array([8.0, 1.0, 0.0]), np.array([2, 1, 0]), 2.0)
    assert mu == 3.0 and biases.tolist() == [0.5, -2 / 3, 0.0]
    assert item_biases(np.zeros(2), np.zeros(2, int), 0.0)[1].tolist() == [0.0, 0.0]


def test_the_miniature_of_the_docstring() -> None:
    found = centred(np.array([0, 2]), np.array([0, 1]), np.array([5.0, 4.0]), 3.0, np.zeros(2), 1.0)
    assert found.user_biases.tolist() == [1.0] and found.errors.tolist() == [1.0, 0.0]


def test_each_user_has_the_bias_of_the_own_rows_and_none_without_rows() -> None:
    indptr, items = np.array([0, 1, 1, 3]), np.array([1, 0, 1])
    found = centred(indptr, items, np.array([4.0, 2.0, 5.0]), 3.0, np.array([-0.5, 0.5]), 0.0)
    assert_allclose(found.user_biases, [0.5, 0.0, 0.5])
    assert_allclose(found.errors, [0.0, -1.0, 1.0])
    assert damped(np.array([3.0, 0.0]), np.array([2, 0]), 0.0).tolist() == [1.5, 0.0]
