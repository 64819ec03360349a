"""The films of the generated sample: how many, what they are about, how well known and how good they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from jobs.sources.catalogue import schema
from jobs.sources.sample_titles import Titles
from jobs.sources.sample_words import GENRES

TINY = (100, 360, 7_500)
SMALL = (2_000, 1_200, 150_000)
MIDDLE = (6_040, 3_706, 1_000_209)
LARGE = (200_948, 87_585, 32_000_204)
HUGE = (1_000_000, 218_000, 100_000_000)
SHAPES = (TINY, SMALL, MIDDLE, LARGE, HUGE)
N_HIDDEN = 8
FIRST_YEAR, LAST_YEAR = 1925, 2023
SHARE_COLD = 0.02
FAME_BEND = 25
_GENRE_WEIGHTS = np.array([22, 16, 10, 9, 9, 7, 6, 6, 5, 4, 4, 3, 3, 4, 2, 1.5, 1, 0.8])


def sizes(scale: float) -> tuple[int, int, int]:
    """Users, films and ratings: the small sample at 1, the shapes of MovieLens 1M at 6.67 and 32M at 213.33, power laws
    between, beyond and below.

    >>> sizes(1.0), sizes(32_000_204 / 150_000)
    ((2000, 1200, 150000), (200948, 87585, 32000204))
    """
    wanted = round(scale * SMALL[2])
    low, high = next((pair for pair in pairwise(SHAPES) if wanted <= pair[1][2]), SHAPES[-2:])
    at = math.log(wanted / low[2]) / math.log(high[2] / low[2])
    users, films = (round(low[i] * (high[i] / low[i]) ** at) for i in (0, 1))
    return users, films, wanted


@dataclass(frozen=True)
class Films:
    """The films that the ratings are drawn from. Topics are tastes finer than genres; each film belongs to one or two.

    years: int, of each film; quality: its bias, in stars; hidden: float32 (films, N_HIDDEN), what it is like;
    topics: (n_topics, N_HIDDEN), what the films of a topic are like on average; topic_weights: how much is
    watched of each topic. A film is drawn from topic t by looking up t + u, u uniform, in `cumulative`, which
    gives a place in `members`; from all topics in `overall`.
    """

    years: np.ndarray
    quality: np.ndarray
    hidden: np.ndarray
    topics: np.ndarray
    topic_weights: np.ndarray
    members: np.ndarray
    cumulative: np.ndarray
    overall: np.ndarray


def make_films(n_films: int, seed: int) -> tuple[Films, pa.Table]:
    """The films and their catalogue; item_id is a film's position, from 1."""
    generator = np.random.default_rng([seed, 1])
    n_topics = int(np.clip(0.6 * n_films**0.5, 14, 96))
    topic_genres = _topic_genres(generator, n_topics)
    years = np.sort(LAST_YEAR - np.minimum(generator.gamma(1.3, 16.0, n_films), LAST_YEAR - FIRST_YEAR).astype(np.int64))

    first, second = generator.choice(n_topics, (2, n_films), p=_shares(generator, topic_genres))
    has_second = generator.random(n_films) < 0.35
    share = np.where(has_second & (first != second), generator.uniform(0.55, 0.85, n_films), 1.0)

    quality = generator.normal(0, 0.45, n_films)
    renown, fame = _renown(generator, n_films, quality, years)
    topics = generator.normal(0, 1, (n_topics, N_HIDDEN)).astype(np.float32)
    hidden = share[:, None] * topics[first] + (1 - share[:, None]) * topics[second] + generator.normal(0, 0.45, (n_films, N_HIDDEN))

    members, cumulative, topic_weights = _membership(n_topics, first, second, share, renown)
    films = Films(
        years,
        quality.astype(np.float32),
        hidden.astype(np.float32),
        topics,
        topic_weights,
        members,
        cumulative,
        np.cumsum(fame) / fame.sum(),
    )
    return films, _catalogue(generator, years, topic_genres[first], topic_genres[second], has_second)


def _topic_genres(generator: np.random.Generator, n_topics: int) -> np.ndarray:
    """Two different genres of each topic; every genre leads one where there are topics enough."""
    weights = _GENRE_WEIGHTS / _GENRE_WEIGHTS.sum()
    lead = np.concatenate(
        [
            np.arange(min(n_topics, len(GENRES))),
            generator.choice(len(GENRES), max(0, n_topics - len(GENRES)), p=weights),
        ]
    )
    other = (lead + generator.integers(1, len(GENRES), n_topics)) % len(GENRES)
    return np.stack([lead, other], axis=1)


def _shares(generator: np.random.Generator, topic_genres: np.ndarray) -> np.ndarray:
    """Return how many of the films each topic has: its genre's share, split unevenly over the topics of that
    genre."""
    shares = (
        _GENRE_WEIGHTS[topic_genres[:, 0]]
        / np.bincount(topic_genres[:, 0])[topic_genres[:, 0]]
        * generator.uniform(0.5, 1.5, len(topic_genres))
    )
    return shares / shares.sum()


def _renown(generator: np.random.Generator, n_films: int, quality: np.ndarray, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how often a film is picked within its topics, and how often by any user, each up to a factor: bent power
    laws over ranks that favour good and recent films. The second is steeper, as a few films are known to all.
    Some films are cold."""
    appeal = generator.normal(0, 1, n_films) + 0.9 * quality + 0.012 * (years - LAST_YEAR)
    ranks = np.empty(n_films)
    ranks[np.argsort(-appeal)] = np.arange(n_films)
    is_warm = generator.random(n_films) >= SHARE_COLD
    return is_warm * (ranks + 0.6 * n_films**0.7) ** -2.1, is_warm * (ranks + FAME_BEND) ** -1.6


def _membership(
    n_topics: int, first: np.ndarray, second: np.ndarray, share: np.ndarray, renown: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Films topic after topic, and their running share within each; a topic nobody can pick from gets no
    weight."""
    films = np.arange(len(first))
    members = np.concatenate([films, films])
    topics = np.concatenate([first, second])
    weights = np.concatenate([renown * share, renown * (1 - share)])
    order = np.argsort(topics, kind="stable")
    order = order[weights[order] > 0]
    members, topics, weights = members[order], topics[order], weights[order]
    totals = np.bincount(topics, weights, n_topics)
    running = np.cumsum(weights)
    before = np.concatenate([[0.0], np.cumsum(totals)])[topics]
    return members, topics + np.clip((running - before) / totals[topics], 0, 1), totals / totals.sum()


def _catalogue(
    generator: np.random.Generator,
    years: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    has_second: np.ndarray,
) -> pa.Table:
    """Titles, genres and tags in the words of the genres."""
    titles = Titles(generator)
    with_other = generator.random(len(years)) < 0.6
    rows: dict[str, list] = {"title": [], "genres": [], "tags": []}
    for i, year in enumerate(years.tolist()):
        numbers = [first[i, 0]] + ([first[i, 1]] if with_other[i] else []) + ([second[i, 0]] if has_second[i] else [])
        genres = [GENRES[number] for number in dict.fromkeys(numbers)]
        rows["title"].append(titles.title(genres[0], genres[-1], year))
        rows["genres"].append("|".join(sorted(genres)))
        rows["tags"].append(titles.tags(genres, year))
    n = len(years)
    columns = {
        "item_id": pa.array(np.arange(1, n + 1)),
        "year": pa.array(years),
        "description": pa.nulls(n, pa.string()),
        **rows,
    }
    return pa.table({name: columns[name] for name in schema("int64").names}, schema=schema("int64"))
