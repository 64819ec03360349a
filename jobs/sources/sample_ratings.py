"""The ratings of the generated sample: who watches what, when, and how they like it.

Users are drawn in cells of a fixed number, each from its own stream of random numbers, so that a user's
ratings depend on the seed and on nothing else. A user has a mixture of topics that moves from one to another
while they are here, and watches in sittings that each keep to a topic. A place in that order is a slot; films
are drawn for all slots of a cell at once, those refused (not out yet, or watched before) again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, UTC

import numpy as np
import pyarrow as pa

from jobs.sources.sample_films import Films

CELL_USERS = 2_000
MIN_RATINGS = 15
MAX_SHARE = 0.35
ROUNDS = 14
SCALE = (0.5, 5.0)
BEGIN, END = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1997, 2024))
DAY_S = 86_400
_SITTING = 12
_FOCUS = 0.5
_FAMOUS, _FAMOUS_AT_FIRST, _AT_FIRST = 0.05, 0.5, 12


def counts_of_users(n_users: int, n_films: int, n_ratings: int, seed: int) -> np.ndarray:
    """Ratings of each user: log-normal with a long tail, at least `MIN_RATINGS`, none more than a share of
    the films."""
    generator = np.random.default_rng([seed, 2])
    least, most = min(MIN_RATINGS, n_ratings // n_users), int(MAX_SHARE * n_films)
    tail = generator.lognormal(0, 1.35, n_users)
    low, high = 0.0, float(n_ratings)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(least + middle * tail, most).sum() < n_ratings else (low, middle)
    counts = np.minimum(least + low * tail, most).astype(np.int64)
    short = n_ratings - int(counts.sum())
    room = np.flatnonzero(counts < most)
    counts[generator.permutation(room)[:short]] += 1
    return counts


@dataclass(frozen=True)
class Slots:
    """Places to be filled with films: user of the cell, time, position in the user's history (from 0), how
    far that is into it (0 to 1), sitting (from 0 in the cell)."""

    user: np.ndarray
    at: np.ndarray
    position: np.ndarray
    progress: np.ndarray
    sitting: np.ndarray


def rating_cells(films: Films, counts: np.ndarray, seed: int) -> Iterator[pa.Table]:
    """The ratings, cell after cell: user_id, item_id, rating, rated_at, by user and time."""
    for first in range(0, len(counts), CELL_USERS):
        cell = counts[first : first + CELL_USERS]
        generator = np.random.default_rng([seed, 3, first // CELL_USERS])
        slots = _slots(generator, cell, len(films.years))
        mixtures = _mixtures(generator, len(cell), films.topic_weights)
        watched = _watched(generator, films, slots, mixtures)
        ratings = _ratings(generator, films, slots, mixtures, watched)
        is_filled = watched >= 0
        yield pa.table(
            {
                "user_id": pa.array((slots.user + first + 1)[is_filled], pa.int64()),
                "item_id": pa.array((watched + 1)[is_filled], pa.int64()),
                "rating": pa.array(ratings[is_filled], pa.float64()),
                "rated_at": pa.array(slots.at[is_filled], pa.int64()),
            }
        )


def _slots(generator: np.random.Generator, counts: np.ndarray, n_films: int) -> Slots:
    """Sittings of a dozen films or so, minutes apart within, days to months between. Who rates much comes
    late, when there is much."""
    n = int(counts.sum())
    user = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    opens = generator.random(n) < 1 / _SITTING
    opens[starts] = True
    pace = generator.lognormal(np.log(9 * DAY_S), 1.2, len(counts))
    gaps = np.where(opens, generator.exponential(1.0, n) * pace[user], 8 + generator.exponential(45.0, n))
    gaps[starts] = 0
    elapsed = np.cumsum(gaps)
    elapsed -= elapsed[starts][user]
    span = elapsed[starts + counts - 1]
    squeeze = np.minimum(1.0, 0.8 * (END - BEGIN) / np.maximum(span, 1))
    elapsed *= squeeze[user]
    earliest = np.minimum(counts / (MAX_SHARE * n_films), 1.0)
    begin = BEGIN + (END - BEGIN - span * squeeze) * (earliest + (1 - earliest) * generator.random(len(counts)) ** 0.7)
    position = np.arange(n) - starts[user]
    progress = position / np.maximum(counts - 1, 1)[user]
    return Slots(user, (begin[user] + elapsed).astype(np.int64), position, progress, np.cumsum(opens) - 1)


def _mixtures(generator: np.random.Generator, n_users: int, topic_weights: np.ndarray) -> np.ndarray:
    """Topics of each user at the start and at the end of their stay, (2, users, topics); half of the taste
    stays."""
    first, later = (
        generator.standard_gamma(np.broadcast_to(topic_weights, (n_users, len(topic_weights)))) + 1e-9 * topic_weights for _ in range(2)
    )
    first /= first.sum(axis=1, keepdims=True)
    later /= later.sum(axis=1, keepdims=True)
    return np.stack([first, 0.55 * first + 0.45 * later])


def _topics(generator: np.random.Generator, mixtures: np.ndarray, user: np.ndarray, progress: np.ndarray) -> np.ndarray:
    """A topic for each of some moments, from the user's mixture there."""
    n_users, n_topics = mixtures.shape[1:]
    row = user + n_users * (generator.random(len(user)) < progress)
    cumulative = np.cumsum(mixtures.reshape(-1, n_topics), axis=1)
    cumulative = (cumulative / cumulative[:, -1:] + np.arange(2 * n_users)[:, None]).ravel()
    return np.minimum(
        np.searchsorted(cumulative, row + generator.random(len(user)), side="right") - row * n_topics,
        n_topics - 1,
    )


def _watched(generator: np.random.Generator, films: Films, slots: Slots, mixtures: np.ndarray) -> np.ndarray:
    """The film of each slot, -1 where nothing is left to watch."""
    n_films = len(films.years)
    opening = np.flatnonzero(np.diff(slots.sitting, prepend=-1))
    focus = _topics(generator, mixtures, slots.user[opening], slots.progress[opening])
    year = slots.at.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    famous = _FAMOUS + _FAMOUS_AT_FIRST * np.exp(-slots.position / _AT_FIRST)
    warm = np.flatnonzero(np.diff(films.overall, prepend=0.0) > 0)
    watched = np.full(len(slots.user), -1, dtype=np.int64)
    taken = np.array([], dtype=np.int64)
    unfilled = np.arange(len(slots.user))
    for attempt in range(ROUNDS):
        user = slots.user[unfilled]
        topic = _topics(generator, mixtures, user, slots.progress[unfilled])
        topic = np.where(generator.random(len(unfilled)) < _FOCUS, focus[slots.sitting[unfilled]], topic)
        place = np.searchsorted(films.cumulative, topic + generator.random(len(unfilled)), side="right")
        film = films.members[np.minimum(place, len(films.members) - 1)]
        is_any = generator.random(len(unfilled)) < famous[unfilled]
        drawn = np.searchsorted(films.overall, generator.random(int(is_any.sum())), side="right")
        film[is_any] = np.minimum(drawn, n_films - 1)
        if attempt >= 7:  # who has seen what is well known turns to what is not
            is_rare = generator.random(len(unfilled)) < 0.12 * (attempt - 6)
            film[is_rare] = warm[generator.integers(0, len(warm), int(is_rare.sum()))]
        key = user * n_films + film
        is_new = films.years[film] <= year[unfilled]
        if len(taken):
            is_new &= taken[np.minimum(np.searchsorted(taken, key), len(taken) - 1)] != key
        candidates = np.flatnonzero(is_new)
        fresh, at = np.unique(key[candidates], return_index=True)
        chosen = candidates[at]
        watched[unfilled[chosen]] = film[chosen]
        taken = np.sort(np.concatenate([taken, fresh]), kind="stable")
        is_left = np.ones(len(unfilled), dtype=bool)
        is_left[chosen] = False
        unfilled = unfilled[is_left]
        if not len(unfilled):
            break
    _fill(generator, films, slots.user, year, watched)
    return watched


def _fill(generator: np.random.Generator, films: Films, user: np.ndarray, year: np.ndarray, watched: np.ndarray) -> None:
    """Gives the slots that are still empty any film that was out and that the user has not watched."""
    is_empty = watched < 0
    starts = np.searchsorted(user, np.arange(user[-1] + 2))
    for one in np.unique(user[is_empty]):
        slots = slice(starts[one], starts[one + 1])
        empty = np.flatnonzero(is_empty[slots]) + slots.start
        may = (films.years <= year[empty].min()) & (np.diff(films.overall, prepend=0.0) > 0)
        may[watched[slots][watched[slots] >= 0]] = False
        chosen = generator.permutation(np.flatnonzero(may))[: len(empty)]
        watched[empty[: len(chosen)]] = chosen


def _ratings(generator: np.random.Generator, films: Films, slots: Slots, mixtures: np.ndarray, watched: np.ndarray) -> np.ndarray:
    """Stars: what the user gives on average, what the film gets, how they fit now, and chance; some users
    give whole stars only."""
    n_users = mixtures.shape[1]
    user, progress = slots.user, slots.progress[:, None].astype(np.float32)
    likes = np.einsum("kut,th->kuh", mixtures, films.topics).astype(np.float32) + generator.normal(
        0, 0.35, (n_users, films.topics.shape[1])
    ).astype(np.float32)
    likes /= np.linalg.norm(likes, axis=2, keepdims=True)
    mean = generator.normal(3.5, 0.42, n_users)
    spread = generator.lognormal(0, 0.2, n_users)
    gives_halves = generator.random(n_users) < 0.7
    fit = np.einsum("nh,nh->n", (1 - progress) * likes[0][user] + progress * likes[1][user], films.hidden[watched])
    centred = 0.42 * (fit - 0.9) + films.quality[watched] + generator.normal(0, 0.72, len(user))
    stars = mean[user] + spread[user] * centred
    stars = np.where(gives_halves[user], np.round(stars * 2) / 2, np.round(stars))
    return np.clip(stars, np.where(gives_halves[user], SCALE[0], 1.0), SCALE[1])
