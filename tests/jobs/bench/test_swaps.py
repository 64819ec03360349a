"""How the bench reads what it saw of swaps, on answers that are made up."""

from __future__ import annotations

from array import array

from jobs.bench.generated_release import FIRST, SECOND
from jobs.bench.load import Observed, Outcome
from jobs.bench.swaps import Moved, swap_figures

MOVED = [Moved(SECOND, 10.0, 10.1), Moved(FIRST, 20.0, 20.1)]


def _figures(*answers: tuple[float, float, str]) -> dict:
    observed = [Observed(index, *answer) for index, answer in enumerate(answers)]
    return swap_figures(Outcome(latencies_s=array("d", [0.001] * len(answers)), observed=observed), MOVED)


def test_an_answer_under_way_while_the_release_is_swapped_is_no_first_answer_of_the_next_swap() -> None:
    before, under_way, first = (9.0, 9.1, FIRST), (10.05, 10.3, FIRST), (10.06, 10.2, SECOND)
    found = _figures(before, first, under_way, (15.0, 15.1, SECOND), (20.2, 20.4, FIRST))
    assert (found["n_older_after_newer"], found["n_swaps_missed"]) == (0, 0)
    assert (found["swap_median_s"], found["swap_max_s"]) == (0.2, 0.3)


def test_an_older_release_in_an_answer_asked_after_the_newer_one_answered_is_counted() -> None:
    found = _figures((10.0, 10.2, SECOND), (10.3, 10.4, FIRST), (15.0, 15.1, SECOND), (20.2, 20.4, FIRST))
    assert (found["n_older_after_newer"], found["n_swaps_missed"]) == (1, 0)


def test_a_swap_that_no_answer_shows_is_counted_as_missed() -> None:
    found = _figures((10.0, 10.2, SECOND), (20.3, 20.4, SECOND))
    assert (found["n_swaps_missed"], found["swap_max_s"]) == (1, 0.1)
