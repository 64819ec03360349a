"""Made-up film titles and tags: patterns, filled with words that go with the genres."""

from __future__ import annotations

import numpy as np

from jobs.sources.sample_words import ADJECTIVES, DAYS, MOODS, NOUNS, NUMBERS, PEOPLE, PLACES, SURNAMES, TAGS


class Titles:
    """Titles of one catalogue, no two alike once the year is put to them."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._draws = iter(())
        self._taken: set[str] = set()

    def _draw(self, words: list[str] | tuple[str, ...]) -> str:
        return words[int(self._below(len(words)))].replace("_", " ")

    def _below(self, n: int) -> int:
        """A random whole number below n; drawn in blocks, as a draw alone costs ten times as much."""
        try:
            return int(next(self._draws) * n)
        except StopIteration:
            self._draws = iter(self._generator.random(4096).tolist())
            return self._below(n)

    def title(self, genre: str, other: str, year: int) -> str:
        """A title for a film of these genres, with its year, not given out before."""
        for attempt in range(40):
            text = self._phrase(genre, other, is_long=attempt > 4)
            full = f"{text} ({year})"
            if full not in self._taken:
                break
        else:
            n = next(n for n in range(2, 10_000) if f"{text} {n} ({year})" not in self._taken)
            full = f"{text} {n} ({year})"
        self._taken.add(full)
        return full

    def _phrase(self, genre: str, other: str, *, is_long: bool) -> str:
        nouns, others = NOUNS[genre].split(), NOUNS[other].split()
        adjectives = ADJECTIVES[""].split() + 2 * ADJECTIVES[other if is_long else genre].split()
        noun, second, adjective = self._draw(nouns), self._draw(others), self._draw(adjectives)
        place, person, surname, day = (self._draw(pool) for pool in (PLACES, PEOPLE, SURNAMES, DAYS))
        number = self._draw(NUMBERS)
        patterns = (
            f"The {adjective} {noun}",
            f"The {adjective} {noun}",
            f"{adjective} {noun}",
            f"The {noun} of {place}",
            f"{noun} in {place}",
            f"The {noun} and the {second}",
            f"A {noun} for {person}",
            f"{person} {surname}",
            f"The {surname} {noun}",
            f"{place} {noun}",
            f"{noun} by {day}",
            f"{number} Days in {place}",
            f"The {noun}'s {second}",
            f"{person} and the {noun}",
            f"{day} in {place}",
            f"Beyond the {noun}",
            f"The {noun} at {place}",
            f"{adjective} {noun}, {adjective} {second}",
            f"Return to {place}",
            f"The Trial of {person} {surname}",
            f"No {noun} for {person}",
            f"Under the {adjective} {noun}",
        )
        text = patterns[self._below(len(patterns))]
        if is_long:
            text = f"{text}: The {self._draw(ADJECTIVES[''].split())} {second}"
        return text

    def tags(self, genres: list[str], year: int) -> str:
        """A few tags that go with the genres, joined by |; none for some films."""
        n = self._below(6)
        pools = [TAGS[genre].split(",") for genre in genres]
        chosen = [self._draw(pools[min(self._below(len(pools) + 1), len(pools) - 1)]) for _ in range(n)]
        if n and self._below(3) == 0:
            chosen.append(self._draw(MOODS))
        if n and self._below(4) == 0:
            decade = f"{year // 10 % 10}0s" if year < 2000 else "modern"
            chosen.append("classic" if year < 1950 else decade)
        return "|".join(dict.fromkeys(chosen))
