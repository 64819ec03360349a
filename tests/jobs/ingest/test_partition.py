"""Of few users more are held out, so that there are enough to choose and to judge by."""

from __future__ import annotations

import pytest

from jobs.ingest.partition import few_users, held_out_share
from schemas.settings import resolve


@pytest.mark.parametrize(
    ("n_users", "share"), [(20, 0.3), (610, 0.3), (943, 0.25), (1_500, 0.15), (1_999, 0.15), (2_000, 0.1), (200_948, 0.1)]
)
def test_a_small_source_holds_out_two_hundred_users_as_far_as_three_in_ten(n_users: int, share: float) -> None:
    given = resolve({}, {})
    assert held_out_share(given, min(n_users, few_users(given))) == share


def test_a_share_that_is_set_is_the_least_and_none_is_none() -> None:
    assert held_out_share(resolve({"holdout_users": 0.5}, {}), 20) == 0.5
    assert held_out_share(resolve({"holdout_users": 0.0}, {}), 0) == 0.0
    assert held_out_share(resolve({"holdout_users": 0.02, "holdout_least": 0}, {}), 0) == 0.02


def test_a_weeks_change_of_the_number_of_users_moves_no_share() -> None:
    given = resolve({}, {})
    shares = [held_out_share(given, n) for n in range(810, 990)]
    assert set(shares) == {0.25}
