"""Quality of lists beyond accuracy: how much of the catalogue they show, how new, varied, surprising and well-tuned they are.

Lists are (u, k) item_nums, -1 where a place is empty; empty places are left out of a list's means. What cannot be said of a
list (a mean over no item, a pair in a list of one) is NaN, and that user is not counted.

    catalogue_coverage   items in any list / all items                                Ge et al. 2010
    gini                 sum_j (2j - n - 1) x_(j) / (n sum x), x ascending: 0 all items equally often, 1 - 1/n one alone
                                                                                      Fleder and Hosanagar 2009
    mean_popularity      mean share of users who have the item                        Abdollahpouri et al. 2019
    novelty              mean of -log2(share of users who have the item), in bits     Zhou et al. 2010; Castells et al. 2015
    intra_list_diversity 1 - mean cosine over the pairs of the list                   Ziegler et al. 2005; Castells et al. 2015
    serendipity          relevant and not to be expected, in k places                 Ge et al. 2010; Adamopoulos and
                                                                                      Tuzhilin 2014
    miscalibration       KL(p || (1 - alpha) q + alpha p), genre shares p of the history, q of the list       Steck 2018
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix, diags_array

from jobs.kernels.neighbours import unit_rows
from jobs.kernels.reranking import genre_divergence

RARE = 0.8  # of the items that somebody has
USERS_AT_ONCE = 16384  # sums of feature rows of that many lists are held together


def times_recommended(lists: np.ndarray, n_items: int) -> np.ndarray:
    """In how many lists each item stands, (n_items,); the sum over blocks of users is that of all."""
    return np.bincount(lists[lists >= 0], minlength=n_items)


def catalogue_coverage(times: np.ndarray) -> float:
    """Share of all items that stand in at least one list, for times (n_items,) recommended. NaN without items."""
    return float((times > 0).mean()) if len(times) else float("nan")


def gini(times: np.ndarray) -> float:
    """Measure how unequally the items share the places, 0 to 1 - 1 / n_items.

    Parameters
    ----------
    times : (n_items,) how often each item was recommended; items in no list count too

    Returns
    -------
    float, NaN if nothing was recommended
    """
    n, total = len(times), times.sum()
    if total == 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(times) / (n * total))


def is_rare(n_having: np.ndarray) -> np.ndarray:
    """Mark the RARE share of the items that the fewest users have.

    Parameters
    ----------
    n_having : (n_items,) users in training; of equal ones the higher item_num is the rarer

    Returns
    -------
    (n_items,) bool; items that no user has are rare
    """
    order = np.lexsort((np.arange(len(n_having)), -np.asarray(n_having)))
    rare = np.ones(len(n_having), bool)
    rare[order[: round((1 - RARE) * np.count_nonzero(n_having))]] = False
    return rare


def mean_popularity(lists: np.ndarray, n_having: np.ndarray, n_users: int) -> np.ndarray:
    """Mean share of users who have the items of each list, (u,) in 0..1, for n_having (n_items,) of n_users in training."""
    return _mean_over_places(lists, n_having / n_users)


def novelty(lists: np.ndarray, n_having: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information of the items of each list in bits, (u,): 0 for what all have, log2(n_users) for what one has.

    An item that nobody has is no newer than one that a single user has: its share of 0 would be infinitely new.
    """
    return _mean_over_places(lists, -np.log2(np.maximum(n_having, 1) / n_users))


def intra_list_diversity(lists: np.ndarray, features: csr_matrix) -> np.ndarray:
    """1 - mean cosine of the pairs of each list, (u,), for features (n_items, f); NaN for lists of fewer than two items.

    With unit rows f_i, sum over ordered pairs of f_i' f_j = |sum f_i|^2 - sum |f_i|^2, so no pair is ever formed. An item
    without features is like no other.
    """
    unit = unit_rows(features)
    squared_norms = np.asarray(unit.multiply(unit).sum(axis=1)).ravel()
    diversity = np.empty(len(lists))
    for start in range(0, len(lists), USERS_AT_ONCE):
        listed = _indicator(lists[start : start + USERS_AT_ONCE], unit.shape[0])
        summed = listed @ unit
        in_pairs = np.asarray(summed.multiply(summed).sum(axis=1)).ravel() - listed @ squared_norms
        n = np.diff(listed.indptr).astype(float)
        diversity[start : start + len(n)] = 1.0 - in_pairs / np.where(n > 1, n * (n - 1), np.nan)
    return np.clip(diversity, 0.0, 2.0)  # the sums leave a rounding below 0 if all items are alike


def serendipity(
    lists: np.ndarray, hit: np.ndarray, n_held: np.ndarray, expected: np.ndarray, *, features: csr_matrix | None = None
) -> np.ndarray:
    """Relevant and unexpected, (u,) in 0..1: (1/k) sum_r h_r (1 - s_r). NaN for users with no relevant item.

    lists, hit (u, k), n_held (u,); expected (u, e) is what a primitive recommender, popularity, gives the same user, -1
    where empty. s_r is 1 where the item is expected itself and 0 otherwise: Ge, Delgado-Battenfeld and Jannach 2010, with the
    usefulness of an item 1 where it was kept out. With features (n_items, f), s_r is the largest cosine to an expected item,
    0 at least: unexpectedness as distance from the set of expected items, Adamopoulos and Tuzhilin 2014.
    """
    users, places = np.nonzero(hit)
    relevant, surely = lists[users, places][:, None], expected[users]
    likeness = ((relevant == surely) & (surely >= 0)).astype(float)
    if features is not None and likeness.size:
        n_items = features.shape[0]
        pairs, pair_of = np.unique(np.where(surely >= 0, relevant * np.int64(n_items) + surely, -1), return_inverse=True)
        unit = unit_rows(features)
        cosines = np.asarray(unit[pairs // n_items].multiply(unit[pairs % n_items]).sum(axis=1)).ravel()
        cosines[pairs < 0] = 0.0
        likeness = np.maximum(likeness, cosines[pair_of.reshape(surely.shape)])
    unexpected = 1.0 - np.clip(likeness.max(axis=1, initial=0.0), 0.0, 1.0)
    return np.where(n_held > 0, np.bincount(users, unexpected, len(lists)) / lists.shape[1], np.nan)


def miscalibration(lists: np.ndarray, history: csr_matrix, genres: csr_matrix) -> np.ndarray:
    """Measure how far the genres of each list are from those of the history, (u,) in nats: 0 the same, at most `MOST_DIVERGENCE`.

    history (u, n_items) holds the weight of each item in it, genres (n_items, g) a positive number for each genre of an
    item. The distributions are the means over history and list of an item's genre shares, which sum to 1 for each item. Items
    without genres say nothing; NaN if history or list has no other.
    """
    if genres.nnz == 0:
        return np.full(len(lists), np.nan)
    totals = np.asarray(genres.sum(axis=1), float).ravel()
    shares = diags_array(np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)) @ genres
    p = _distributions(history @ shares)
    q = _distributions(_indicator(lists, genres.shape[0]) @ shares)
    return genre_divergence(p, q)


def _mean_over_places(lists: np.ndarray, values: np.ndarray) -> np.ndarray:
    is_filled = lists >= 0
    n = is_filled.sum(axis=1)
    padded = np.append(values, 0.0)  # place -1 reads the last
    return padded[np.where(is_filled, lists, -1)].sum(axis=1) / np.where(n > 0, n, np.nan)


def _indicator(lists: np.ndarray, n_items: int) -> csr_matrix:
    """(u, n_items), 1 where the item is in the list."""
    users, places = np.nonzero(lists >= 0)
    return csr_matrix((np.ones(len(users)), (users, lists[users, places])), shape=(len(lists), n_items))


def _distributions(sums: csr_matrix) -> np.ndarray:
    """Rows (u, g) scaled to sum to 1; NaN if there is nothing to scale."""
    dense = sums.toarray()
    totals = dense.sum(axis=1, keepdims=True)
    return dense / np.where(totals > 0, totals, np.nan)
