"""Search for hyper-parameters: what a model lets validation users choose, declared as its Search, and the one driver of all of them.

Choices are made one after the other, the later ones at their first values meanwhile. Settings of one choice are compared at one half-life.
Nothing here is timed, so a search takes the same steps everywhere, and finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, NamedTuple

from jobs.models.base.contract import Scorer, TrainingData
from jobs.models.base.judge import Judge, NEAR, Tried
from jobs.models.base.scoring import Rater
from schemas.models import FOREVER

HALF_LIVES = (3.0, 5.0, 10.0, 20.0, 50.0, math.inf)
MOST_BEYOND = 5  # half-lives that are tried past the ends
DEFAULT_HALF_LIFE = 10.0

Values = Mapping[str, Any]
"""Hyper-parameters by name."""
Fitted = Callable[[float], Scorer] | Rater
"""A fit as it is compared: its scorer at each half-life, or what predicts ratings."""


class Climb(NamedTuple):
    """Steps up to a peak: the factors of `hill_climb`, and the most values that are tried, with `tune` and without."""

    factors: tuple[float, ...]
    most: int
    most_tuning: int


@dataclass(frozen=True)
class Choice:
    """A hyper-parameter that validation users choose.

    Parameters
    ----------
    name : names it among the parameters of an item side.
    first : its value where there are no such users, and while others are chosen; or a function of the data and of what was chosen before.
    values : what is tried; ties go to the one that is named first. Or a function as above. Empty: nothing, or a climb from the first.
    tuning : what is tried with `tune`, if not that.
    climb : how to go up from the first, None if values are named.
    setting : names the setting that decides where it is above 0.
    is_shared : whether scorers of these values share work, block by block of users, and so are compared side by side; others are fitted,
        compared and dropped one after another.
    """

    name: str
    first: Any
    values: Any = ()
    tuning: Any = None
    climb: Climb | None = None
    setting: str = ""
    is_shared: bool = False

    def tried(self, data: TrainingData, chosen: Values) -> Sequence[Any]:
        return _told(self.tuning if data.tune and self.tuning is not None else self.values, data, chosen)


@dataclass(frozen=True)
class Search:
    """The choices of a model, in their order.

    Parameters
    ----------
    rows : how many interactions fits are compared on, of every n-th user where there are more; 0 for all.
    half_life : where fits are compared, unless a setting says; 0 for the half-life that suits the first fit.
    least_half_life : the shortest that they are compared at.
    by_ratings : whether fits are compared by the error of predicted ratings, instead of by what lists find.
    """

    choices: tuple[Choice, ...]
    rows: int = 0
    half_life: float = 0.0
    least_half_life: float = 0.0
    by_ratings: bool = False

    def known(self, data: TrainingData) -> dict[str, Any]:
        """Return what was chosen before or set."""
        fixed = {one.name: preset(data, one.name, getattr(data.settings, one.setting) if one.setting else 0) for one in self.choices}
        return {name: value for name, value in fixed.items() if value is not None}

    def is_open(self, data: TrainingData, judge: Judge | None) -> bool:
        """Tell whether there is something to choose, and users to choose it by."""
        return judge is not None and self._is_left(data, self.known(data))

    def _is_left(self, data: TrainingData, decided: Values) -> bool:
        """Tell whether there is something to try for a choice that is not decided."""
        return any(one.climb or one.tried(data, decided) for one in self.choices if one.name not in decided)

    def chosen(
        self,
        data: TrainingData,
        judge: Judge | None,
        fitted: Callable[[TrainingData, dict[str, Any]], Fitted],
        *,
        known: Values | None = None,
    ) -> tuple[dict[str, Any], float | None]:
        """Return the value of every choice, and the half-life of a model of all rows if the search came by it.

        Parameters
        ----------
        judge : the validation users, None if there are none
        fitted : fits to some of the data, with a value for each choice
        known : what was chosen before, if not what `known` returns
        """
        decided = dict(self.known(data) if known is None else known)
        if judge is None or not self._is_left(data, decided):
            return self._whole(data, decided), None
        of = data.sampled(self.rows) if self.rows else data
        worth = _Worth(self, data, judge, lambda values: fitted(of, values), self._whole(data, decided))
        for one in self.choices:
            if one.name not in decided:
                decided[one.name] = self._best(one, data, decided, worth)
        return decided, None if self.rows else worth.half_life

    def _best(self, choice: Choice, data: TrainingData, decided: Values, worth: _Worth) -> Any:
        """Return the value of a choice that is worth most, after what is decided."""
        whole = lambda value: self._whole(data, {**decided, choice.name: value})
        first, tried = _told(choice.first, data, decided), choice.tried(data, decided)
        if choice.climb:
            most = choice.climb.most_tuning if data.tune else choice.climb.most
            return hill_climb(lambda value: worth.of([whole(value)])[0], first, factors=choice.climb.factors, most=most)
        if not tried:
            return first
        together = [tried] if choice.is_shared else [[value] for value in tried]
        values = [one for some in together for one in worth.of([whole(value) for value in some])]
        return tried[values.index(max(values))]

    def _whole(self, data: TrainingData, decided: Values) -> dict[str, Any]:
        """Return a value for each choice, the first of those that are not decided."""
        values: dict[str, Any] = {}
        for one in self.choices:
            values[one.name] = decided[one.name] if one.name in decided else _told(one.first, data, values)
        return values


class _Worth:
    """The worth of fits to a judge, who looks at each of them once."""

    def __init__(
        self, search: Search, data: TrainingData, judge: Judge, fitted: Callable[[dict[str, Any]], Fitted], first: dict[str, Any]
    ) -> None:
        self._by_ratings, self._judge, self._fitted, self._first = search.by_ratings, judge, fitted, first
        self._of_first: Fitted | None = fitted(first)
        self._known: dict[tuple, float] = {}
        self.half_life: float | None = None
        self._at = 0.0
        if not search.by_ratings:
            scorer_at = cast(Callable[[float], Scorer], self._of_first)
            if search.half_life and not data.settings.half_life:
                self._at = search.half_life
            else:
                self.half_life = half_life_of(data, judge, scorer_at)
                self._at = max(self.half_life, search.least_half_life)

    def of(self, asked: Sequence[dict[str, Any]]) -> list[float]:
        new = [values for values in asked if tuple(values.values()) not in self._known]
        made = [self._made(values) for values in new]
        if self._by_ratings:
            worths = [-self._judge.rmse(cast(Rater, rater)) for rater in made]
        else:
            scorers = [cast(Callable[[float], Scorer], scorer_at)(self._at) for scorer_at in made]
            worths = self._judge.ndcgs(lambda histories: (score(histories) for score in scorers)) if scorers else []
        self._known |= {tuple(values.values()): value for values, value in zip(new, worths)}
        return [self._known[tuple(values.values())] for values in asked]

    def _made(self, values: dict[str, Any]) -> Fitted:
        """Return a fit; the first, which is there already, is not kept beyond that."""
        if values != self._first or self._of_first is None:
            return self._fitted(values)
        made, self._of_first = self._of_first, None
        return made


def _told(value: Any, data: TrainingData, chosen: Values) -> Any:
    return value(data, chosen) if callable(value) else value


def preset(data: TrainingData, name: str, setting: float) -> float | None:
    """Return the fixed value of a hyper-parameter: the one chosen earlier, else the setting if it is above 0, else None."""
    if name in data.chosen:
        return data.chosen[name]
    return setting if setting > 0 else None


def half_life_of(data: TrainingData, judge: Judge | None, scorer_at: Callable[[float], Scorer]) -> float:
    """Return the half-life that was chosen earlier or is set, else the best to the validation users, else DEFAULT_HALF_LIFE."""
    known = preset(data, "half_life", data.settings.half_life)
    if known is not None:
        return known
    return DEFAULT_HALF_LIFE if judge is None else best_half_life(judge, scorer_at)


def best_half_life(judge: Judge, scorer_at: Callable[[float], Scorer]) -> float:
    """Return the longest half-life that is no worse than the best: what forgets more has to show that it finds more."""
    tried = over_half_lives(lambda at: judge.tried(scorer_at(at)))
    best = max(tried.values(), key=lambda one: one.value)
    half_life = max(at for at, one in tried.items() if one is best or one.is_no_worse(best) and one.value >= (1 - NEAR) * best.value)
    return min(half_life, FOREVER)


def over_half_lives(tried_at: Callable[[float], Tried]) -> dict[float, Tried]:
    """Try each of HALF_LIVES, and others past an end of them as long as what lies there is best."""
    tried = {half_life: tried_at(half_life) for half_life in HALF_LIVES}
    for _ in range(MOST_BEYOND):
        best = max(tried, key=lambda at: (tried[at].value, at))
        beyond = next_half_life(best, tried)
        if beyond is None or beyond in tried:
            break
        tried[beyond] = tried_at(beyond)
        if tried[beyond].value <= tried[best].value:
            break
    return tried


def next_half_life(best: float, tried: Iterable[float]) -> float | None:
    """Return the half-life past the end at which the best of those that were tried stands; None if it stands between others."""
    finite = [at for at in tried if at < math.inf]
    if best <= min(finite):
        return best / 2
    longest = max(finite) if best == math.inf else max(best, *finite)
    return 2 * longest if best >= longest else None


def hill_climb(value: Callable[[float], float], start: float, *, factors: Sequence[float], most: int) -> float:
    """Find the x with the largest value: from start up to a peak by steps of the first factor, from there by those of the next, in at most
    `most` evaluations."""
    known = {1.0: value(start)}  # by how many times the start

    def at(times: float) -> float:
        times = float(f"{times:.9g}")
        if times not in known and len(known) < most:
            known[times] = value(start * times)
        return known.get(times, -math.inf)

    here = 1.0
    for factor in factors:
        for step in (factor, 1 / factor):
            before = here
            while at(here * step) > at(here):
                here *= step
            if here != before:
                break
    return start * here
