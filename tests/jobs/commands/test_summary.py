"""A reason as it is stored, and as a person reads it."""

from __future__ import annotations

import numpy as np

from jobs.commands.summary import reason_text
from jobs.kernels.reasons import BIAS
from jobs.recommend.step import _details


def test_a_bias_of_a_ranked_item_says_how_it_is_rated_and_that_of_a_popular_one_that_it_is() -> None:
    stored = _details(
        np.array([BIAS] * 4, np.int8), np.full(4, -1), np.array([0.41, -0.41, -0.04, np.nan]), is_own=np.zeros(4, bool)
    ).to_pylist()
    assert stored == ['{"over_mean": 0.41}', '{"over_mean": -0.41}', '{"over_mean": -0.04}', None]
    assert [reason_text("bias", None, 0.2, detail, None) for detail in stored] == [
        "+0.200  all users rate it 0.4 above the mean",
        "+0.200  all users rate it 0.4 below the mean",
        "+0.200  all users rate it about the mean",
        "+0.200  popular with all users",
    ]
