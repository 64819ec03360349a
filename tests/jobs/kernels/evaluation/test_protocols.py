"""Protocols: hand-made examples, what must hold of every split, and the published rules written out slowly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, strategies as st
from sklearn.model_selection import KFold, train_test_split

from jobs.kernels.evaluation import protocols
from jobs.kernels.evaluation.protocols import Rows, Split

seeds = st.integers(0, 2**32 - 1)


@st.composite
def rows_of_users(draw: st.DrawFn) -> Rows:
    """Up to 8 users and 12 items in any order, each pair once, few or nearly all of them, with many equal times."""
    random = np.random.default_rng(draw(seeds))
    share = draw(st.sampled_from([0.1, 0.4, 0.7, 0.9]))
    users, items = np.nonzero(random.random((draw(st.integers(0, 8)), 12)) < share * random.random(12) ** 0.3)
    order = random.permutation(len(users))
    times, draws = random.integers(0, 6, len(users)), random.permutation(len(users)).astype(np.uint64)
    return Rows(users[order], items[order], random.integers(1, 11, len(users)) / 2, times, draws)


def table(*rows: tuple) -> Rows:
    """Rows of one moment are drawn in the order given."""
    return Rows(*(np.array(column) for column in zip(*rows)), np.arange(len(rows)))


def in_time(rows: Rows, user: int) -> list[int]:
    """A user's rows by time, those of one moment by their draws."""
    return sorted((n for n in range(len(rows.users)) if rows.users[n] == user), key=lambda n: (rows.times[n], rows.draws[n]))


def chosen(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


PROTOCOLS: dict[str, Callable[..., Split]] = {
    "last_fraction": lambda rows, seed: protocols.last_fraction(rows, fraction=0.4, min_history=3),
    "global_time": lambda rows, seed: protocols.global_time(rows, quantile=0.6),
    "leave_one_out": lambda rows, seed: protocols.leave_one_out(rows, seed=seed, n_negatives=3),
    "leave_one_out of all": lambda rows, seed: protocols.leave_one_out(rows, seed=seed, n_negatives=None),
    "random_ratio": lambda rows, seed: protocols.random_ratio(rows, seed=seed, ratio=0.6),
    "random_ratio within items": lambda rows, seed: protocols.random_ratio(rows, seed=seed, within="item"),
    "random_ratio within users": lambda rows, seed: protocols.random_ratio(rows, seed=seed, within="user"),
    "kfold": lambda rows, seed: protocols.kfold(rows, seed=seed, fold=1, n_folds=3),
    "strong_generalization": lambda rows, seed: protocols.strong_generalization(
        rows, seed=seed, n_held=1, n_groups=1, test_share=0.4, min_items=3
    ),
}
# Everything else puts every row to train or to test.
LEAVES_ROWS_OUT = {"global_time", "strong_generalization"}


def split_or_none(name: str, rows: Rows, seed: int) -> Split | None:
    """The split, or None if too few users are left to hold some out: only one protocol may refuse, and only for that."""
    try:
        return PROTOCOLS[name](rows, seed)
    except ValueError as error:
        assert name == "strong_generalization" and "hold out fewer" in str(error)
        return None


@pytest.mark.parametrize("name", PROTOCOLS)
@given(rows=rows_of_users(), seed=seeds)
def test_no_test_row_is_trained_on_or_known(name: str, rows: Rows, seed: int) -> None:
    split = split_or_none(name, rows, seed)
    if split is None:
        return
    assert all(mask.shape == rows.users.shape and mask.dtype == bool for mask in (split.train, split.history, split.test))
    assert not (split.test & (split.train | split.history)).any()
    assert split.users.tolist() == sorted(set(rows.users[split.test].tolist()))
    if name != "strong_generalization":
        assert (split.history == split.train).all()
    if name not in LEAVES_ROWS_OUT:
        assert (split.train ^ split.test).all()


@pytest.mark.parametrize("name", PROTOCOLS)
@given(rows=rows_of_users(), seed=seeds)
def test_the_same_seed_gives_the_same_split(name: str, rows: Rows, seed: int) -> None:
    first, second = split_or_none(name, rows, seed), split_or_none(name, rows, seed)
    assert (first is None) == (second is None)
    if first is not None:
        for one, other in zip(first, second):
            assert np.array_equal(one, other) if one is not None else other is None


@pytest.mark.parametrize("name", PROTOCOLS)
@given(rows=rows_of_users(), seed=seeds)
def test_a_validation_cut_touches_no_test_row_and_does_not_depend_on_them(name: str, rows: Rows, seed: int) -> None:
    outer = split_or_none(name, rows, seed)
    if outer is None:
        return
    protocol = partial(PROTOCOLS[name], seed=seed)
    try:
        inner = protocols.validation_of(rows, outer.train, protocol)
    except ValueError:
        assert name == "strong_generalization"
        return
    assert not ((inner.train | inner.history | inner.test) & ~outer.train).any()
    assert not (inner.test & (inner.train | inner.history)).any()
    alone = protocol(Rows(*(column[outer.train] for column in rows)))
    for mask, expected in zip(inner[:3], alone[:3]):
        assert (mask[outer.train] == expected).all()
    assert inner.users.tolist() == alone.users.tolist()
    assert set(rows.users[inner.test].tolist()) == set(inner.users.tolist())


@given(rows_of_users(), st.sampled_from([0.2, 0.4, 0.5]), st.integers(0, 6))
def test_last_fraction_tests_the_end_of_each_user_s_time(rows: Rows, fraction: float, min_history: int) -> None:
    expected = []
    for user in range(8):
        own = in_time(rows, user)
        if len(own) >= min_history:
            expected += own[len(own) - int(fraction * len(own)) :]
    assert chosen(protocols.last_fraction(rows, fraction=fraction, min_history=min_history).test) == sorted(expected)


def test_last_fraction_by_hand() -> None:
    """User 1 has five rows in mixed order, two at the last time; user 0 four, which is too few."""
    rows = table(
        (1, 0, 5.0, 40),
        (0, 0, 1.0, 9),
        (1, 1, 4.0, 50),
        (1, 2, 3.0, 10),
        (0, 1, 1.0, 8),
        (1, 3, 2.0, 50),
        (0, 2, 1.0, 7),
        (1, 4, 1.0, 20),
        (0, 3, 1.0, 6),
    )
    split = protocols.last_fraction(rows)
    assert chosen(split.test) == [5] and split.users.tolist() == [1] and split.candidates is None
    assert chosen(protocols.last_fraction(rows, fraction=0.5, min_history=4).test) == [1, 2, 4, 5]


@given(rows_of_users(), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.integers(0, 4))
def test_global_time_tests_nothing_before_what_is_trained_on(rows: Rows, quantile: float, min_history: int) -> None:
    split = protocols.global_time(rows, quantile=quantile, min_history=min_history)
    if split.train.any() and not split.train.all():
        assert rows.times[split.train].max() < rows.times[~split.train].min()
    for n in chosen(~split.train):
        n_history = sum(rows.users[split.train] == rows.users[n])
        assert split.test[n] == (n_history >= min_history)
    if len(rows.users):
        assert split.train.mean() >= quantile - 1 / len(rows.users)


def test_global_time_by_hand() -> None:
    """Cut after time 3; user 2 begins later and has no history to be ranked from."""
    rows = table((0, 0, 1.0, 1), (0, 1, 1.0, 2), (1, 0, 1.0, 3), (1, 1, 1.0, 3), (0, 2, 1.0, 4), (2, 0, 1.0, 5))
    split = protocols.global_time(rows, quantile=0.6)
    assert (chosen(split.train), chosen(split.test), split.users.tolist()) == ([0, 1, 2, 3], [4], [0])
    assert chosen(protocols.global_time(rows, quantile=0.6, min_history=0).test) == [4, 5]


@given(rows_of_users(), seeds, st.integers(0, 15))
def test_leave_one_out_tests_the_last_item_among_items_never_had(rows: Rows, seed: int, n_negatives: int) -> None:
    split = protocols.leave_one_out(rows, seed=seed, n_negatives=n_negatives)
    last = {user: own[-1] for user in range(8) if len(own := in_time(rows, user)) >= 2}
    assert chosen(split.test) == sorted(last.values()) and split.users.tolist() == list(last)
    assert split.candidates.shape == (len(last), 1 + n_negatives)
    for user, ranked in zip(split.users, split.candidates.tolist()):
        had = set(rows.items[rows.users == user].tolist())
        never_had = set(rows.items.tolist()) - had
        filled = [item for item in ranked if item >= 0]
        held = int(rows.items[last[user]])
        assert filled == sorted(set(filled)) and ranked == filled + [-1] * (len(ranked) - len(filled))
        assert set(filled) - {held} <= never_had and held in filled
        assert len(filled) == 1 + min(n_negatives, len(never_had))


def test_leave_one_out_by_hand() -> None:
    """User 0 rated 6 and 7 at one time, so the later row is the last; user 1 has nothing to be ranked from."""
    rows = table((0, 5, 1.0, 1), (1, 5, 1.0, 9), (0, 6, 1.0, 3), (0, 7, 1.0, 3), (2, 8, 1.0, 2), (2, 5, 1.0, 1))
    split = protocols.leave_one_out(rows, seed=1)
    assert chosen(split.test) == [3, 4] and split.users.tolist() == [0, 2]
    assert split.candidates[:, :4].tolist() == [[7, 8, -1, -1], [6, 7, 8, -1]]


def test_negatives_are_drawn_uniformly() -> None:
    """400 users who all have items 0, 5 and 9 of 20 draw 5 of the other 17: each item about 118 times, give or take 9."""
    users = np.repeat(np.arange(400), 3)
    items = np.append(np.tile([0, 5, 9], 400), np.arange(20))
    rows = Rows(np.append(users, np.full(20, 400)), items, np.ones(1220), np.arange(1220), np.arange(1220))
    split = protocols.leave_one_out(rows, seed=7, n_negatives=5)
    drawn = np.bincount(split.candidates[:400].ravel(), minlength=20)
    assert drawn[[0, 5]].tolist() == [0, 0] and drawn[9] == 400 and drawn.sum() == 400 * 6
    assert np.delete(drawn, [0, 5, 9]).min() > 80 and np.delete(drawn, [0, 5, 9]).max() < 160


def published_stratified(groups: list[int], ratio: float, seed: int) -> list[int]:
    """Rows to train by the rule of python_stratified_split, one group at a time: a random number a row in input order; a
    group's rows by that number; rank, from 1, at most round(ratio * count) to train."""
    numbers = np.random.RandomState(seed).rand(len(groups)).tolist()
    train = []
    for group in sorted(set(groups)):
        own = sorted((n for n in range(len(groups)) if groups[n] == group), key=lambda n: numbers[n])
        train += [n for rank, n in enumerate(own, 1) if rank <= round(ratio * len(own))]
    return sorted(train)


@given(rows_of_users(), seeds, st.sampled_from([0.1, 0.5, 0.75, 0.9]))
def test_a_split_within_items_is_the_published_one(rows: Rows, seed: int, ratio: float) -> None:
    split = protocols.random_ratio(rows, seed=seed, ratio=ratio, within="item")
    assert chosen(split.train) == published_stratified(rows.items.tolist(), ratio, seed)
    split = protocols.random_ratio(rows, seed=seed, ratio=ratio, within="user")
    assert chosen(split.train) == published_stratified(rows.users.tolist(), ratio, seed)


def test_a_split_within_items_by_hand() -> None:
    """Seed 42 draws .37 .95 .73 .60 .16 .16 .06: item 3 has rows 0 to 5, of which round(4.5) = 4 train; item 8 its only row."""
    rows = table(*((user, 3, 1.0, 0) for user in range(6)), (0, 8, 1.0, 0))
    split = protocols.random_ratio(rows, seed=42, within="item")
    assert chosen(split.train) == [0, 3, 4, 5, 6] and chosen(split.test) == [1, 2]


@given(rows_of_users(), seeds, st.sampled_from([0.5, 0.75, 0.9]))
def test_a_plain_random_split_is_scikit_learn_s(rows: Rows, seed: int, ratio: float) -> None:
    m = len(rows.users)
    split = protocols.random_ratio(rows, seed=seed, ratio=ratio)
    assert split.train.sum() == int(ratio * m)
    if int(ratio * m) > 0:
        expected, _ = train_test_split(np.arange(m), train_size=ratio, random_state=seed)
        assert chosen(split.train) == sorted(expected.tolist())


@given(rows_of_users(), seeds, st.integers(2, 6))
def test_each_row_is_tested_in_one_fold_of_scikit_learn_s(rows: Rows, seed: int, n_folds: int) -> None:
    tests = [chosen(protocols.kfold(rows, seed=seed, fold=fold, n_folds=n_folds).test) for fold in range(n_folds)]
    assert sorted(n for test in tests for n in test) == list(range(len(rows.users)))
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    if len(rows.users) >= n_folds:
        folds = KFold(n_folds, shuffle=True, random_state=seed).split(rows.users)
        assert tests == [sorted(test.tolist()) for _, test in folds]


def test_a_fold_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="one of 0 to 4: got 5"):
        protocols.kfold(table((0, 0, 1.0, 0)), seed=1, fold=5)


def published_strong(
    rows: Rows, *, seed: int, n_held: int, group: int, above: float, min_items: int
) -> tuple[list[int], list[int], list[int]]:
    """Rows of training, history and test by the steps of the published preparation, in loops over sets."""
    kept = [n for n in range(len(rows.users)) if rows.ratings[n] > above]
    counts = {user: sum(rows.users[n] == user for n in kept) for user in set(rows.users.tolist())}
    kept = [n for n in kept if counts[int(rows.users[n])] >= min_items]
    users = sorted({int(rows.users[n]) for n in kept})
    users = [users[place] for place in np.random.RandomState(seed).permutation(len(users))]
    held = {0: users[-n_held:], 1: users[-2 * n_held : -n_held]}[group]
    train = [n for n in kept if rows.users[n] in users[: -2 * n_held]]
    known = {int(rows.items[n]) for n in train}
    draw = np.random.RandomState(seed)
    history, test = [], []
    for user in sorted(held):
        own = [n for n in kept if rows.users[n] == user and int(rows.items[n]) in known]
        if len(own) >= min_items:
            places = set(draw.choice(len(own), size=int(0.2 * len(own)), replace=False).tolist())
            test += [n for place, n in enumerate(own) if place in places]
            history += [n for place, n in enumerate(own) if place not in places]
        else:
            history += own
    return train, sorted(history), sorted(test)


@given(rows_of_users(), seeds, st.integers(1, 3), st.integers(0, 1), st.sampled_from([1.0, 2.0]))
def test_strong_generalization_is_the_published_preparation(rows: Rows, seed: int, n_held: int, group: int, above: float) -> None:
    wanted = {"seed": seed, "n_held": n_held, "group": group, "above": above, "min_items": 5}
    try:
        split = protocols.strong_generalization(rows, **wanted)
    except ValueError:
        counts = np.bincount(rows.users[rows.ratings > above], minlength=1)
        assert (counts >= 5).sum() <= 2 * n_held
        return
    assert (chosen(split.train), chosen(split.history), chosen(split.test)) == published_strong(rows, **wanted)
    assert not set(rows.users[split.train].tolist()) & set(rows.users[split.history | split.test].tolist())
    assert set(rows.items[split.test].tolist()) <= set(rows.items[split.train].tolist())


def test_strong_generalization_by_hand() -> None:
    """Of five users with five good ratings each, one is tested, one validates and three train; user 5 has four."""
    rows = table(
        *((user, item, 4.0, 0) for user in range(5) for item in range(5)),
        *((5, item, 4.0, 0) for item in range(4)),
        (5, 4, 3.5, 0),
        (0, 7, 2.0, 0),
    )
    order = np.random.RandomState(9).permutation(5).tolist()
    test, validation = (protocols.strong_generalization(rows, seed=9, n_held=1, above=3.5, group=group) for group in (0, 1))
    assert (test.users.tolist(), validation.users.tolist()) == ([order[4]], [order[3]])
    assert (test.train == validation.train).all() and sorted(set(rows.users[test.train])) == sorted(order[:3])
    assert test.test.sum() == 1 and test.history.sum() == 4


def test_items_that_nobody_in_training_has_are_dropped_from_held_out_users() -> None:
    """Each of three users has an item of their own beside five that all have: for the two held out it is no row at all."""
    rows = table(*((user, item, 4.0, 0) for user in range(3) for item in (0, 1, 2, 3, 4, 10 + user)))
    split = protocols.strong_generalization(rows, seed=3, n_held=2, n_groups=1)
    assert split.train.sum() == 6 and split.history.sum() == 8 and split.test.sum() == 2
    assert not (rows.items[split.history | split.test] >= 10).any()
    fewer = rows.select(rows.items != 4)
    split = protocols.strong_generalization(fewer, seed=3, n_held=2, n_groups=1, test_share=0.5)
    assert split.history.sum() == 8 and len(split.users) == 0, "four known items are too few to be tested"


def test_more_users_than_there_are_cannot_be_held_out() -> None:
    rows = table(*((user, item, 4.0, 0) for user in range(4) for item in range(5)))
    with pytest.raises(ValueError, match="2 groups of 2 users cannot be held out of 4 users"):
        protocols.strong_generalization(rows, seed=1, n_held=2)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "strong_generalization"])
def test_no_rows_make_an_empty_split(name: str) -> None:
    nothing = np.zeros(0, int)
    split = PROTOCOLS[name](Rows(nothing, nothing, nothing.astype(float), nothing, nothing), 1)
    assert len(split.train) == len(split.test) == len(split.users) == 0


def test_next_basket_tests_the_last_moment_whole_with_what_was_had_before() -> None:
    """User 0 has items 5, 6 at 1 and 5, 7 at 2; user 1 has one moment and is not tested. Inside training the one before is the last."""
    rows = Rows(np.array([0, 0, 0, 0, 1, 1]), np.array([5, 6, 7, 5, 5, 6]), np.full(6, np.nan), np.array([1, 1, 2, 2, 9, 9]), np.arange(6))
    split = protocols.next_basket(rows)
    assert split.test.tolist() == [False, False, True, True, False, False] and split.users.tolist() == [0]
    assert (split.train == ~split.test).all() and split.candidates is None
    assert not protocols.next_basket(rows.select(split.train)).test.any()
