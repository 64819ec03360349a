"""The verdict: whether a release may take the place of the promoted one, from what both do for the same held-out users.

nDCG counts the held-out rows that the setting `relevance` says. A challenger that is shown to have lost more than a margin for them is
held back: the 95 % interval of its difference to the champion, by paired bootstrap over users, lies below -margin. A rule that asks
for proof that nothing was lost would hold back half of the honest releases where users are few, and one that asks whether anything
was lost those whose hyper-parameters were chosen a little worse this week. Fewer than six users show nothing. Where there is no
champion, the challenger must be better than popularity.

A comparison says nothing if the data changed under the champion: then it scores far below what it had at its own release, or
hardly any of its stored lists is still there. And where nobody can be compared, nothing was shown. Both hold the challenger back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from jobs.evaluate.user_scores import CHAMPION, none_if_nan, UserScores
from jobs.evaluate.verdict_words import Measure, said
from jobs.kernels.evaluation.bootstrap import Interval, mean_interval
from schemas.metrics import deciding
from schemas.setting_groups import OFF
from schemas.settings import Settings

PROMOTE, HOLD_BACK = "promote", "hold back"
FEWEST = 6  # users: of five that all lose the sign test still says 2 / 2**5 = 0.06, and resampling one gives no width at all


@dataclass(frozen=True)
class Rival:
    """The promoted release as a challenger meets it.

    `current` is promoted, and `champion` is the same where it can be compared with, else `note` says why not. A comparison is
    owed unless the change of data was accepted or the challenger is not to be promoted by itself. `ndcg` is what the champion had
    at its own release, by the same relevance; None if that is not known.
    """

    champion: str | None = None
    current: str | None = None
    note: str = ""
    is_owed: bool = False
    ndcg: float | None = None


def judge(scored: UserScores, settings: Settings, *, served: str, rater: str, rival: Rival, doubt: str = "") -> dict[str, Any]:
    """The verdict as the manifest keeps it: decision, reason, against whom, on how many users, and every measure. A doubt, which
    says that these figures mean nothing, holds back whatever they are."""
    champion = rival.champion
    left_out = np.nan_to_num(scored.of(CHAMPION, "is_left_out")).astype(bool) if champion else None
    first = _ndcg(scored, settings, served, CHAMPION if champion else "popular", left_out)
    if champion and not first.n_users and not rival.is_owed:
        note = rival.note or f"nobody can be compared with {champion}"
        return judge(scored, settings, served=served, rater=rater, rival=replace(rival, champion=None, note=note), doubt=doubt)
    measures, enough = [first], first.n_users >= settings.gate_users
    if champion:
        measures += _rmse(scored, settings, rater, left_out)
        measures += _spread(scored, settings, served) if enough else []
        measures += [*_churn(scored, settings, rival), *_champion_then(scored, settings, rival, left_out)]
    never = (("short lists", "is_short"), *((("items already seen", "n_seen"),) if settings.repeats == OFF else ()))
    measures += [_none(name, scored.of(served, column)) for name, column in never]
    n_left_out = int(left_out.sum()) if left_out is not None else 0
    of_all = _ndcg_of(scored, settings, served)
    n_held_out = int((~np.isnan(of_all)).sum())
    unable = _unable(rival, first.n_users, n_left_out, settings)
    missed = [measure for measure in measures if not measure.is_met]
    against = champion or "popular"
    reasons = [why for why in (doubt, unable) if why] + [said(measure, against) for measure in missed]
    if not reasons and not enough:
        reasons = [
            f"not enough users to judge: {first.n_users} can be compared, {settings.gate_users} are needed; nothing shows that it "
            f"is worse than {against}"
        ]
    elif not reasons:
        reasons = [said(first, against)]
    if champion and n_left_out and first.n_users:
        reasons.append(
            f"{champion} was trained on the rows of the other {n_held_out - first.n_users:,} of {n_held_out:,} held-out users, or tuned by "
            f"them, so they are not compared; on all of them this release has nDCG@10 {_mean(of_all):.4f}, as its page says"
        )
    return {
        "decision": HOLD_BACK if missed or unable or doubt else PROMOTE,
        "reason": "; ".join(reasons),
        "champion": champion,
        "current": rival.current,
        "against": against,
        "n_users": first.n_users,
        "n_left_out": n_left_out,
        "n_held_out": n_held_out,
        "measures": [asdict(measure) for measure in measures],
    }


def _unable(rival: Rival, n: int, n_left_out: int, settings: Settings) -> str:
    """Why nothing can be shown though it must be; empty where it can."""
    if not rival.is_owed:
        return ""
    if rival.champion is None:
        return f"it cannot be compared with {rival.current}: {rival.note}"
    if n + n_left_out == 0:
        return f"nobody was held out to compare it with {rival.champion} by (settings holdout_users, holdout_fraction)"
    if n_left_out > n and n < settings.gate_users:
        return (
            f"only {n:,} of {n + n_left_out:,} held-out users can be compared, {settings.gate_users} are needed: {rival.champion} was "
            f"trained on what was held out of the others, or tuned by them; has the source lost its latest rows, or did seed, holdout_users or "
            f"holdout_fraction change?"
        )
    return ""


def _ndcg_of(scored: UserScores, settings: Settings, model: str) -> np.ndarray:
    """The users' nDCG (u,) that decides; without ratings both metrics have the same values."""
    return scored.of(model, f"{deciding(settings.relevance, is_rated=True)}_at_10")


def _ndcg(scored: UserScores, settings: Settings, served: str, rival: str, left_out: np.ndarray | None) -> Measure:
    ours, theirs = (_ndcg_of(scored, settings, model) for model in (served, rival))
    if left_out is not None:
        ours, theirs = (np.where(left_out, np.nan, values) for values in (ours, theirs))
    interval = mean_interval(ours - theirs, seed=settings.seed)
    if rival == CHAMPION:
        margin = settings.gate_margin * np.nanmean(theirs) if interval.n else 0.0
        return _compared("nDCG@10", _mean(ours), _mean(theirs), interval, margin)
    is_met = interval.mean > 0 if interval.n >= settings.gate_users else not _is_shown_below(interval)
    bounds = (none_if_nan(value) for value in interval[:3])
    return Measure("nDCG@10", _mean(ours), _mean(theirs), *bounds, None, interval.n, bool(is_met))


def _compared(metric: str, ours: float | None, theirs: float | None, interval: Interval, margin: float) -> Measure:
    """Where more is better."""
    bounds = (none_if_nan(value) for value in interval[:3])
    return Measure(metric, ours, theirs, *bounds, -float(margin), interval.n, not _is_shown_below(interval, -margin))


def _is_shown_below(interval: Interval, least: float = 0.0) -> bool:
    return interval.n >= FEWEST and bool(interval.high < least)


def _rmse(scored: UserScores, settings: Settings, rater: str, left_out: np.ndarray) -> list[Measure]:
    """The difference is the champion's RMSE less the challenger's, so more is better. It is drawn as that of mean squared errors,
    and a step d below the champion's square b is `sqrt(b) - sqrt(b - d)` of its root."""
    theirs, n_rated = scored.of(CHAMPION, "squared_error"), np.nan_to_num(scored.of(CHAMPION, "n_rated"))
    if not (~left_out & (n_rated > 0)).any():
        return []
    n_rated = np.where(left_out, 0, n_rated)
    before = float(np.average(np.nan_to_num(theirs), weights=n_rated))
    ours = scored.of(rater, "squared_error")
    if not len(ours):
        return [Measure("RMSE", None, before**0.5, None, None, None, None, 0, False)]
    interval = mean_interval(theirs - ours, weights=n_rated, seed=settings.seed)
    after = float(np.average(np.nan_to_num(ours), weights=n_rated))
    roots = (before**0.5 - max(before - d, 0.0) ** 0.5 for d in interval[:3])
    margin = before**0.5 * settings.gate_rmse_margin
    return [_compared("RMSE", after**0.5, before**0.5, Interval(*roots, interval.n), margin)]


def _spread(scored: UserScores, settings: Settings, served: str) -> list[Measure]:
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


def _churn(scored: UserScores, settings: Settings, rival: Rival) -> list[Measure]:
    """The mean share of the champion's stored first ten that are in the new ones. Where a change of data was accepted, any."""
    interval = mean_interval(scored.of(CHAMPION, "overlap"), seed=settings.seed)
    if not interval.n:
        return []
    floor = settings.gate_overlap if rival.is_owed else 0.0
    is_met = interval.mean >= floor if interval.n >= settings.gate_users else interval.high >= floor or interval.n < FEWEST
    return [Measure("overlap@10", interval.mean, 1.0, interval.mean - 1.0, None, None, floor - 1.0, interval.n, bool(is_met))]


def _champion_then(scored: UserScores, settings: Settings, rival: Rival, left_out: np.ndarray) -> list[Measure]:
    """The champion's own nDCG on these users, against what it had at its release: it cannot have become much worse by itself. It is
    missed where it is below the floor and its whole interval below what it was."""
    if not rival.ndcg or not rival.is_owed:
        return []
    interval = mean_interval(np.where(left_out, np.nan, _ndcg_of(scored, settings, CHAMPION)), seed=settings.seed)
    if not interval.n:
        return []
    floor = settings.gate_champion * rival.ndcg
    is_met = interval.mean >= floor or interval.high >= rival.ndcg or interval.n < FEWEST
    difference = interval.mean - rival.ndcg
    return [Measure("champion's nDCG@10", interval.mean, rival.ndcg, difference, None, None, floor - rival.ndcg, interval.n, bool(is_met))]


def _none(metric: str, values: np.ndarray) -> Measure:
    return Measure(metric, float(values.sum()), None, None, None, None, 0.0, len(values), not values.sum())


def _mean(values: np.ndarray) -> float | None:
    return none_if_nan(np.nanmean(values)) if (~np.isnan(values)).any() else None
