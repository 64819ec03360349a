"""The verdict in words that whoever is on call understands at night: one sentence a measure, one unit in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One thing compared: the figures of both, their difference with its interval where it has one, and the least difference
    that is accepted (null: any that is not shown to be below 0). A difference above 0 is better."""

    metric: str
    challenger: float | None
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    least: float | None
    n_users: int
    is_met: bool


CHANGED = "the data has changed under it; were ids renumbered?"


def said(measure: Measure, against: str) -> str:
    """The sentence of a measure, met or missed."""
    if measure.metric == "overlap@10":
        return (
            f"the stored first tens of {measure.n_users:,} users share {measure.challenger:.0%} with those of {against}, and at least "
            f"{1 + measure.least:.0%} are expected (gate_overlap): {CHANGED}"
        )
    if measure.metric == "champion's nDCG@10":
        return (
            f"{against} itself has nDCG@10 {measure.challenger:.4f} on {measure.n_users:,} users of this data, and had "
            f"{measure.champion:.4f} at its own release; at least {measure.champion + measure.least:.4f} is expected "
            f"(gate_champion): {CHANGED}"
        )
    if measure.champion is None:
        return f"{measure.metric}: {measure.challenger:.0f}, expected 0"
    if measure.challenger is None:
        return f"{measure.metric}: it predicts no ratings, {against} does"
    if measure.low is None:
        return (
            f"{measure.metric} is {measure.challenger:.4f} and was {measure.champion:.4f} for {against}; at least "
            f"{measure.champion + measure.least:.4f} is expected (gate_spread)"
        )
    unit = " (less is better)" if measure.metric == "RMSE" else ""
    text = (
        f"{measure.metric}{unit} {measure.challenger:.4f} against {measure.champion:.4f} of {against} on the same "
        f"{measure.n_users:,} users: {_moved(measure)}"
    )
    if measure.least is None:
        return f"{text}; {'better' if measure.is_met else 'not better'}"
    may = f"it may lose {-measure.least:.4f}"
    if not measure.is_met:
        return f"{text}; {may}, and it is shown to have lost more"
    return f"{text}; {may}" if measure.low >= measure.least else f"{text}; {may}, and these users are too few to show whether it did"


def _moved(measure: Measure) -> str:
    """The difference and its 95 % interval."""
    difference, low, high = measure.difference, measure.low, measure.high
    if difference == low == high == 0:
        return "no difference"
    text = f"{'gained' if difference >= 0 else 'lost'} {abs(difference):.4f}, with 95 % certainty"
    if low < 0 < high:
        return f"{text} no more than {-low:.4f} lost and {high:.4f} gained"
    word, least, most = ("gained", low, high) if low >= 0 else ("lost", -high, -low)
    return f"{text} {least:.4f} to {most:.4f} {word}"
