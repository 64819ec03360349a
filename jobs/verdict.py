"""The verdict: whether a release may take the place of the promoted one, from what both do for the same held-out users.

nDCG counts the held-out rows that the setting `relevance` says. A challenger that is worse for them is held back, unless it is shown that it loses less than a margin: it is promoted when its
difference to the champion is not below 0, or when the 95 % interval of it, by paired bootstrap over users, lies above -margin.
Below `gate_users` users an estimate says little; then only what is shown to be worse, the whole interval below 0, is held
back, so that small data can have releases at all; fewer than six users show nothing. Where there is no champion, the
challenger must be better than popularity.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jobs.kernels.bootstrap import Interval, mean_interval
from jobs.measured import CHAMPION, none_if_nan, Scored
from schemas.metrics import deciding
from schemas.settings import Settings

PROMOTE, HOLD_BACK = "promote", "hold back"
FEWEST = 6  # users: of five that all lose the sign test still says 2 / 2**5 = 0.06, and resampling one gives no width at all


@dataclass(frozen=True)
class Measure:
    """One thing compared: the figures of both, their difference with its interval where it has one, and the least difference
    that is accepted (null: any that is not shown to be below 0)."""

    metric: str
    challenger: float | None
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    least: float | None
    n_users: int
    is_met: bool


def judge(
    scored: Scored, settings: Settings, *, served: str, rater: str, champion: str | None, doubt: str = ""
) -> dict[str, Any]:
    """The verdict as the manifest keeps it: decision, reason, against whom, on how many users, and every measure. A doubt, which
    says that these figures mean nothing, holds back whatever they are."""
    rival = CHAMPION if champion else "popular"
    left_out = np.nan_to_num(scored.of(CHAMPION, "is_left_out")).astype(bool) if champion else None
    measures = [_ndcg(scored, settings, served, rival, left_out)]
    enough = measures[0].n_users >= settings.gate_users
    if champion:
        measures += _rmse(scored, settings, rater, left_out, enough=enough)
        measures += [*_spread(scored, settings, served), *_churn(scored, settings)] if enough else []
    measures += [
        _none(name, scored.of(served, column)) for name, column in (("items already seen", "n_seen"), ("short lists", "is_short"))
    ]
    missed = [measure for measure in measures if not measure.is_met]
    return {
        "decision": HOLD_BACK if missed or doubt else PROMOTE,
        "reason": doubt or _reason(measures, champion or "popular", enough, settings),
        "champion": champion,
        "against": champion or "popular",
        "n_users": measures[0].n_users,
        "n_left_out": int(left_out.sum()) if left_out is not None else 0,
        "measures": [asdict(measure) for measure in measures],
    }


def _ndcg(scored: Scored, settings: Settings, served: str, rival: str, left_out: np.ndarray | None) -> Measure:
    metric = deciding(settings.relevance, is_rated=True)  # without ratings both metrics have the same values
    ours, theirs = (scored.of(model, f"{metric}_at_10") for model in (served, rival))
    if left_out is not None:
        ours, theirs = (np.where(left_out, np.nan, values) for values in (ours, theirs))
    found = mean_interval(ours - theirs, seed=settings.seed)
    if rival == CHAMPION:
        margin = settings.gate_margin * np.nanmean(theirs) if found.n else 0.0
        return _compared("nDCG@10", _mean(ours), _mean(theirs), found, margin, found.n >= settings.gate_users)
    is_met = found.mean > 0 if found.n >= settings.gate_users else not _is_shown_below(found)
    bounds = (none_if_nan(value) for value in found[:3])
    return Measure("nDCG@10", _mean(ours), _mean(theirs), *bounds, None, found.n, bool(is_met))


def _compared(
    metric: str, ours: float | None, theirs: float | None, found: Interval, margin: float, enough: bool
) -> Measure:
    """Where more is better."""
    is_met = found.mean >= 0 or found.low >= -margin if enough else not _is_shown_below(found)
    bounds = (none_if_nan(value) for value in found[:3])
    return Measure(metric, ours, theirs, *bounds, -float(margin) if enough else None, found.n, bool(is_met))


def _is_shown_below(found: Interval) -> bool:
    return found.n >= FEWEST and bool(found.high < 0)


def _rmse(scored: Scored, settings: Settings, rater: str, left_out: np.ndarray, *, enough: bool) -> list[Measure]:
    """The difference and its margin are of mean squared errors, the champion's less the challenger's: more is better."""
    theirs, n_rated = scored.of(CHAMPION, "squared_error"), np.nan_to_num(scored.of(CHAMPION, "n_rated"))
    if not (~left_out & (n_rated > 0)).any():
        return []
    n_rated = np.where(left_out, 0, n_rated)
    before = float(np.average(np.nan_to_num(theirs), weights=n_rated))
    ours = scored.of(rater, "squared_error")
    if not len(ours):
        return [Measure("RMSE", None, before**0.5, None, None, None, None, 0, False)]
    found = mean_interval(theirs - ours, weights=n_rated, seed=settings.seed)
    after = float(np.average(np.nan_to_num(ours), weights=n_rated))
    margin = before * ((1 + settings.gate_rmse_margin) ** 2 - 1)
    return [_compared("RMSE", after**0.5, before**0.5, found, margin, enough)]


def _spread(scored: Scored, settings: Settings, served: str) -> list[Measure]:
    """Coverage, and evenness as 1 - Gini, of the first ten of both; each must keep its share of the champion's."""
    measures = []
    evenness = (1 - scored.gini(served), 1 - scored.gini(CHAMPION))
    for metric, ours, theirs in (
        ("coverage@10", scored.coverage(served), scored.coverage(CHAMPION)),
        ("evenness@10", *evenness),
    ):
        least = (settings.gate_spread - 1) * theirs
        is_met = not ours - theirs < least - 1e-12
        n = len(scored.of(served, "n_seen"))
        measures.append(Measure(metric, *map(none_if_nan, (ours, theirs, ours - theirs)), None, None, none_if_nan(least), n, is_met))
    return measures


def _churn(scored: Scored, settings: Settings) -> list[Measure]:
    """The mean share of the champion's stored first ten that are in the new ones."""
    found = mean_interval(scored.of(CHAMPION, "overlap"), seed=settings.seed)
    if not found.n:
        return []
    least, is_met = settings.gate_overlap - 1.0, found.mean >= settings.gate_overlap
    return [Measure("overlap@10", found.mean, 1.0, found.mean - 1.0, None, None, least, found.n, is_met)]


def _none(metric: str, values: np.ndarray) -> Measure:
    return Measure(metric, float(values.sum()), None, None, None, None, 0.0, len(values), not values.sum())


def _mean(values: np.ndarray) -> float | None:
    return none_if_nan(np.nanmean(values)) if (~np.isnan(values)).any() else None


def _reason(measures: list[Measure], against: str, enough: bool, settings: Settings) -> str:
    """What decided, in a sentence."""
    missed = [measure for measure in measures if not measure.is_met]
    if missed:
        return "; ".join(_said(measure, against) for measure in missed)
    first = measures[0]
    if not enough:
        return (
            f"not enough users to judge: {first.n_users} held out, {settings.gate_users} are needed; nothing shows that it "
            f"is worse than {against}"
        )
    return _said(first, against)


def _said(measure: Measure, against: str) -> str:
    if measure.champion is None:
        return f"{measure.metric}: {measure.challenger:.0f}, expected 0"
    if measure.challenger is None:
        return f"{measure.metric}: it predicts no ratings, {against} does"
    text = f"{measure.metric} {measure.challenger:.4f} against {measure.champion:.4f} of {against}"
    if measure.low is None:
        return f"{text}, expected {measure.champion + measure.least:.4f} or more"
    unit = " of squared error" if measure.metric == "RMSE" else ""
    text += f": {measure.difference:+.4f}{unit}, 95 % interval {measure.low:+.4f} to {measure.high:+.4f}, {measure.n_users} users"
    if measure.least is None:
        return f"{text}; {'better' if measure.is_met else 'not better'}"
    if measure.is_met and measure.low < measure.least:
        return f"{text}; no worse on these users, who are too few to show more"
    return f"{text}; {'above' if measure.is_met else 'not shown to be above'} {measure.least:+.4f}"
