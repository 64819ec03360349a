"""Protocols of evaluation, defined here and nowhere else: how rows are held out and what is ranked.

A protocol is a function from rows to a Split. What is drawn is drawn from the seed alone. Times are compared within a user,
and rows of one moment are in the order of their draws, so where a row stands in its file cuts no moment. Every protocol but next_basket, whose rows are events, expects a pair of user and item once.

    last_fraction          each user's last rows in time                        temporal user split, Meng et al. 2020
    global_time            what came after one moment                           temporal global split, Meng et al. 2020
    next_basket            each user's last moment, items had before too        next basket, Li et al. 2023: A next basket
                                                                                recommendation reality check
    leave_one_out          each user's last row against drawn negatives         He et al. 2017
    random_ratio           rows at random, also within each item or user        recommenders-team: python_random_split,
                                                                                python_stratified_split
    kfold                  k parts of the rows, each tested once                scikit-learn and Surprise: KFold, shuffled
    strong_generalization  all rows of some users, part of them folded in       Liang et al. 2018
    given                  rows that somebody else has cut off                  published splits

The draws of published splits come from numpy's first generator, so ours do where there is a split to repeat: with the same
rows in the same order, and users numbered in the order of their ids, the same seed gives the same split.

A miniature: user 0 rated items 5, 6, 7 at times 1, 2, 3 and user 1 item 5 at time 9. leave_one_out tests the row of user 0
and item 7, trains on the three other rows and tests nobody else, for the list of user 1 would have no history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Interactions in the order of the source.

    users (m,) and items (m,) are numbers from 0, ratings (m,) NaN if there is none, times (m,), and draws (m,) order the rows of one
    moment.
    """

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    times: np.ndarray
    draws: np.ndarray

    def select(self, keep: np.ndarray) -> Rows:
        return Rows(*(column[keep] for column in self))


class Split(NamedTuple):
    """The result of a protocol on m rows.

    train (m,) bool: what models are fitted to. history (m,) bool: what the tested users' lists are computed from, and what
    is left out of them; the same as train unless whole users are held out. test (m,) bool: what should be found, none of these rows
    in train or history. A row may be in none of them. users (u,): who is tested, ascending. candidates (u, c): the items that
    are ranked for each of them, ascending, so that no place gives the answer away, and -1 where a row is shorter; None: all
    items but those of the user's own history.
    """

    train: np.ndarray
    history: np.ndarray
    test: np.ndarray
    users: np.ndarray
    candidates: np.ndarray | None = None


Protocol = Callable[[Rows], Split]


def last_fraction(rows: Rows, *, fraction: float = 0.2, min_history: int = 5) -> Split:
    """Test the last floor(fraction n) of the n rows of each user who has min_history or more; train on all others."""
    place, n = _places(rows.users, rows.times, rows.draws)
    n_tested = np.where(n >= min_history, np.floor(n * fraction), 0)
    return _split(rows, test=place >= n - n_tested)


def global_time(rows: Rows, *, quantile: float = 0.8, min_history: int = 1) -> Split:
    """Train on what happened up to the quantile of all times, test what came after.

    Nobody's future is in the training rows, which no split by user can say. The later rows of users with fewer than
    min_history rows in training are in neither: they have no history to be ranked from.
    """
    if len(rows.times) == 0:
        return _split(rows, test=np.zeros(0, bool))
    train = rows.times <= np.quantile(rows.times, quantile, method="lower")
    n_history = np.bincount(rows.users[train], minlength=rows.users.max() + 1)[rows.users]
    return _split(rows, train=train, test=~train & (n_history >= min_history))


def next_basket(rows: Rows) -> Split:
    """Test the last moment of each user who has two or more, whole, from all that the user had before; a pair may be on both sides."""
    n_users = int(rows.users.max(initial=-1)) + 1
    first, last = np.full(n_users, np.inf), np.full(n_users, -np.inf)
    np.minimum.at(first, rows.users, rows.times)
    np.maximum.at(last, rows.users, rows.times)
    return _split(rows, test=(rows.times == last[rows.users]) & (first < last)[rows.users])


def leave_one_out(rows: Rows, *, seed: int, n_negatives: int | None = 99) -> Split:
    """Test the last row of each user who has two or more, ranked against n_negatives items that the user never had.

    The negatives are distinct and drawn uniformly from the items of the rows; a user with fewer left gets them all. With
    None the item is ranked against every item but those of the user's history.
    """
    place, n = _places(rows.users, rows.times, rows.draws)
    split = _split(rows, test=(place == n - 1) & (n >= 2))
    if n_negatives is None:
        return split
    return split._replace(candidates=_with_negatives(rows, split, n_negatives, np.random.default_rng(seed)))


def random_ratio(rows: Rows, *, seed: int, ratio: float = 0.75, within: Literal["item", "user"] | None = None) -> Split:
    """Train on a random share of the rows, of all or of those of each item or user, and test the others.

    Within an item: its n rows in random order, the first round(ratio n) to train, halves to the even number. The published
    evaluation of ML-100k (ratio 0.75, seed 42, within items, k = 10) takes every tested row for relevant whatever its rating,
    ranks all items of the training rows but the user's own there, and averages over the users with tested rows.
    """
    m = len(rows.users)
    draw = np.random.RandomState(seed)
    if within is None:
        train = np.zeros(m, bool)
        train[draw.permutation(m)[m - int(np.floor(ratio * m)) :]] = True
    else:
        place, n = _places(rows.items if within == "item" else rows.users, draw.rand(m))
        train = place < np.rint(ratio * n)
    return _split(rows, train=train, test=~train)


def kfold(rows: Rows, *, seed: int, fold: int, n_folds: int = 5) -> Split:
    """Test the given one of n_folds parts of the rows, 0 the first; over the folds each row is tested once.

    The rows are shuffled and cut; the first m mod n_folds parts have one row more.
    """
    if not 0 <= fold < n_folds:
        raise ValueError(f"fold is one of 0 to {n_folds - 1}: got {fold}")
    order = np.arange(len(rows.users))
    np.random.RandomState(seed).shuffle(order)
    test = np.zeros(len(order), bool)
    test[np.array_split(order, n_folds)[fold]] = True
    return _split(rows, test=test)


def strong_generalization(
    rows: Rows,
    *,
    seed: int,
    n_held: int,
    n_groups: int = 2,
    group: int = 0,
    test_share: float = 0.2,
    above: float | None = None,
    min_items: int = 5,
) -> Split:
    """Test users who are in no training row, each from a random part of their own rows.

    Only ratings above the given one and then users with min_items or more rows take part. Of the users in random order the
    last n_groups * n_held are not trained on; n_held of them are tested, those of group 0 (the last) or another one: with
    two groups, as published, 0 is the test and 1 the validation of the same training. Items of no training row are dropped
    from their rows. Of the n rows left to a user floor(test_share n) are tested and the others are the history; a user with
    fewer than min_items left is not tested.
    """
    is_kept = np.ones(len(rows.users), bool) if above is None else rows.ratings > above
    is_kept = is_kept & (np.bincount(rows.users[is_kept], minlength=rows.users.max(initial=-1) + 1)[rows.users] >= min_items)
    users = np.unique(rows.users[is_kept])
    n_train = len(users) - n_groups * n_held
    if not 0 <= group < n_groups or n_held < 1 or n_train < 1:
        raise ValueError(f"group {group} of {n_groups} groups of {n_held} users cannot be held out of {len(users)} users: hold out fewer")
    users = users[np.random.RandomState(seed).permutation(len(users))]
    train = is_kept & np.isin(rows.users, users[:n_train])
    tested = users[len(users) - (group + 1) * n_held : len(users) - group * n_held]
    own = is_kept & np.isin(rows.users, tested) & np.isin(rows.items, rows.items[train])
    test = np.zeros(len(own), bool)
    draw = np.random.RandomState(seed)
    numbers = np.flatnonzero(own)[np.argsort(rows.users[own], kind="stable")]
    for of_user in np.split(numbers, np.flatnonzero(np.diff(rows.users[numbers])) + 1):
        if len(of_user) >= min_items:
            test[of_user[draw.choice(len(of_user), int(test_share * len(of_user)), replace=False)]] = True
    return _split(rows, train=train, history=own & ~test, test=test)


def given(rows: Rows, *, is_tested: np.ndarray) -> Split:
    """Test the rows (m,) of a cut that was made elsewhere, train on all others."""
    return _split(rows, test=is_tested)


def validation_of(rows: Rows, train: np.ndarray, protocol: Protocol) -> Split:
    """Apply the protocol again inside the training rows (m,) of another split.

    Returns
    -------
    Split of masks over all m rows. Its test rows are for tuning; the test rows of the first split are in none of its masks.
    """
    inner = protocol(rows.select(train))

    def widened(mask: np.ndarray) -> np.ndarray:
        wide = np.zeros(len(train), bool)
        wide[train] = mask
        return wide

    return inner._replace(train=widened(inner.train), history=widened(inner.history), test=widened(inner.test))


def _split(rows: Rows, *, test: np.ndarray, train: np.ndarray | None = None, history: np.ndarray | None = None) -> Split:
    train = ~test if train is None else train
    return Split(train, train if history is None else history, test, np.unique(rows.users[test]))


def _places(groups: np.ndarray, *keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's place (m,) from 0 in its group by ascending keys, ties in input order, and the size (m,) of its group."""
    order = np.lexsort((*reversed(keys), groups))
    sizes = np.bincount(groups) if len(groups) else np.zeros(0, np.int64)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(groups), np.int64)
    place[order] = np.arange(len(groups)) - starts[groups[order]]
    return place, sizes[groups]


def _with_negatives(rows: Rows, split: Split, n_negatives: int, draw: np.random.Generator) -> np.ndarray:
    """(u, 1 + n_negatives): the tested item of each user among items the user has no row of.

    With the user's own items numbered h_0 < h_1 < ... among all, the r-th item that is not theirs (from 0) is
    r + (number of j with h_j - j <= r): drawing distinct r draws distinct items, and none has to be drawn again.
    """
    all_items, number_of = np.unique(rows.items, return_inverse=True)
    order = np.lexsort((number_of, rows.users))
    sorted_users = rows.users[order]
    starts, stops = (np.searchsorted(sorted_users, split.users, side) for side in ("left", "right"))
    tested = np.flatnonzero(split.test)
    held = number_of[tested[np.argsort(rows.users[tested])]]
    candidates = np.full((len(split.users), 1 + n_negatives), -1, np.int64)
    for u, (start, stop) in enumerate(zip(starts, stops)):
        own = number_of[order[start:stop]]
        n_others = len(all_items) - len(own)
        drawn = draw.choice(n_others, min(n_negatives, n_others), replace=False, shuffle=False)
        others = drawn + np.searchsorted(own - np.arange(len(own)), drawn, side="right")
        candidates[u, : 1 + len(drawn)] = all_items[np.sort(np.append(others, held[u]))]
    return candidates
