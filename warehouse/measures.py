"""The measures of a release from its manifest: a table of metrics by models, and why the served model is the served one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas import metrics as declared
from schemas.manifest import Manifest
from schemas.metrics import LESS, metric_of, METRICS, MORE
from schemas.models import FOREVER
from schemas.setting_groups import ALL, AUTO
from schemas.settings import FIELDS

HELD_OUT, VALIDATION = "held_out_last", "validation"
MAIN = ("below_mean", "coverage", "rmse")  # besides the metric that decides


class Part(NamedTuple):
    """A part of a blend: what it weighs beside the others, a share of 1, and after how many later interactions it counts half; None if it
    forgets nothing."""

    model: str
    share: float
    half_life: float | None


class Line(NamedTuple):
    """One metric of every model: cells are rows of `metrics` by model, `best` those models that have the best value, where several
    models have one and more or less is better."""

    protocol: str
    metric: str
    meaning: str
    cells: dict[str, dict[str, Any]]
    best: frozenset[str]

    @property
    def n_users(self) -> int:
        """The most users that a model has its value of."""
        return max(row["n_users"] for row in self.cells.values())


def parts_of(models: list[dict[str, Any]], name: str) -> list[Part]:
    """Return the parts that a model is blended from, the heaviest first; none for a model that is no blend."""
    parameters: dict[str, Any] = next((json.loads(row["parameters"] or "{}") for row in models if row["model"] == name), {})
    shares, half_lives = parameters.get("shares", {}), parameters.get("half_lives", {})
    whole = sum(shares.values()) or 1.0
    parts = [Part(part, share / whole, _lasting(half_lives.get(part))) for part, share in shares.items()]
    return sorted(parts, key=lambda part: (-part.share, part.model))


def _lasting(half_life: float | None) -> float | None:
    return None if half_life is None or half_life >= FOREVER else half_life


def models_of(metrics: list[dict[str, Any]], served: str) -> list[str]:
    """The models that have metrics, the served one first."""
    return sorted({row["model"] for row in metrics}, key=lambda model: (model != served, model))


def lines_of(metrics: list[dict[str, Any]]) -> list[Line]:
    """The rows of `metrics`, a line for each metric: those of held-out rows first, the most telling first."""
    grouped: dict[tuple[str, str, int], dict[str, dict[str, Any]]] = {}
    for row in sorted(metrics, key=_place):
        grouped.setdefault((row["protocol"], row["metric"], row["k"]), {})[row["model"]] = row
    return [_line(*key, cells) for key, cells in grouped.items()]


def named(metric: str, k: int) -> str:
    """A metric with the length of its lists, where it is of lists."""
    return f"{metric}@{k}" if k else metric


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    order = list(METRICS)
    place = order.index(row["metric"]) if row["metric"] in METRICS else len(order)
    return row["protocol"] != HELD_OUT, row["protocol"], place, row["metric"], row["k"]


def _line(protocol: str, metric: str, k: int, cells: dict[str, dict[str, Any]]) -> Line:
    try:
        meaning, better = metric_of(metric)
    except KeyError:  # of a release of another version
        meaning, better = "", ""
    values = [row["value"] for row in cells.values()]
    best = {MORE: max(values), LESS: min(values)}.get(better) if len(values) > 1 else None
    return Line(protocol, named(metric, k), meaning, cells, frozenset(m for m, row in cells.items() if row["value"] == best))


def choice(manifest: Manifest) -> str:
    """Say by what the served model was chosen, and how it does on the users that nothing was chosen by."""
    served, metric = manifest.served_model, deciding(manifest)
    tested, validated = (_values(manifest, protocol, metric) for protocol in (HELD_OUT, VALIDATION))
    if manifest.settings.get("serve", AUTO) != AUTO:
        said = f"{served} is served because the setting `serve` names it."
    elif served not in validated:
        said = f"{served} is served because nobody's rows were kept out to choose a model by."
    else:
        said = f"{served} was chosen on {validated[served]['n_users']:,} validation users: {_chosen(manifest, validated, metric)}."
    if served not in tested or len(tested) < 2:
        return said
    return f"{said} On the {tested[served]['n_users']:,} test users it has {_against(served, tested, metric)}{_difference(manifest, tested, metric)}."


def _chosen(manifest: Manifest, validated: dict[str, dict[str, Any]], metric: str) -> str:
    """Say what chose the served model among those that can be served: nDCG, or, of models that are as good, what they list below the mean."""
    served, below = manifest.served_model, _values(manifest, VALIDATION, "below_mean")
    validated = {model: row for model, row in validated.items() if model in FIELDS["serve"].metadata["choices"]}
    rival = _rival(served, validated)
    said = _against(served, validated, metric)
    if rival is None or validated[rival]["value"] <= validated[served]["value"] or not {served, rival} <= set(below):
        return said
    return f"{said}, which is within a standard error, and {_against(served, {model: below[model] for model in (served, rival)}, 'below_mean')}"


def deciding(manifest: Manifest) -> str:
    """The metric that the release was chosen and judged by."""
    return declared.deciding(manifest.settings.get("relevance", ALL), is_rated=manifest.rating_scale is not None)


def counted(manifest: Manifest) -> str:
    """Say what a metric counts."""
    return "nDCG counts the held-out rows that users liked" if deciding(manifest) == "ndcg_liked" else "nDCG counts every held-out row"


def main_figures(manifest: Manifest) -> dict[str, Any]:
    """The size of a release and the main metrics of its served model on the held-out rows, as whoever hears of it wants to know them."""
    counts, served = manifest.counts, manifest.served_model
    rows = [row for row in manifest.metrics if (row["model"], row["protocol"]) == (served, HELD_OUT)]
    return {
        **{f"n_{name}": counts[name] for name in ("users", "items", "ratings")},
        "n_lists": counts.get("ready_lists"),
        "served_model": served,
        **{named(row["metric"], row["k"]): row["value"] for row in rows if row["metric"] in (deciding(manifest), *MAIN)},
    }


def checked(manifest: Manifest) -> str:
    """Say how many checks were run, and which of them found rows."""
    found = [f"{row['name']} ({row['severity']}, {row['n_rows']:,} of {row['table_name']})" for row in manifest.check_rows if row["n_rows"]]
    said = f"{manifest.checks['n_checks']} checks"
    return f"{said}, of which {len(found)} found rows: {', '.join(found)}" if found else f"{said}, all hold"


def _values(manifest: Manifest, protocol: str, metric: str) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in manifest.metrics if (row["protocol"], row["metric"]) == (protocol, metric)}


def _rival(served: str, rows: dict[str, dict[str, Any]]) -> str | None:
    """The best of the other models."""
    return max((model for model in rows if model != served), key=lambda model: rows[model]["value"], default=None)


def _against(served: str, rows: dict[str, dict[str, Any]], metric: str) -> str:
    own, rival = rows[served], _rival(served, rows)
    said = f"{named(metric, own['k'])} {own['value']:.3f}"
    return said if rival is None else f"{said} against {rows[rival]['value']:.3f} of {rival}"


def _difference(manifest: Manifest, tested: dict[str, dict[str, Any]], metric: str) -> str:
    """The difference to the best other model on the test users, and what follows."""
    served = manifest.served_model
    rival = _rival(served, tested)
    over = _values(manifest, HELD_OUT, f"{metric}_over_served").get(rival) if rival else None
    if over is None or over["low"] is None:
        return ""
    low, high = -over["high"], -over["low"]
    follows = "it is better there too" if low > 0 else "it is worse there" if high < 0 else "these users do not tell the two apart"
    return f", a difference of {-over['value']:+.3f} (95 % interval {low:+.3f} to {high:+.3f}): {follows}"
