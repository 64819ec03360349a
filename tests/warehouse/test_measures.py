"""The words of a manifest about its release: metrics by models, and why the served model is the served one."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from schemas.manifest import Manifest
from schemas.metrics import metric_of
from tests.conftest import Built
from warehouse.measures import choice, lines_of, models_of

METRICS = [
    ("hybrid", "validation", 0.21, None),
    ("ials", "validation", 0.2, None),
    ("ease", "validation", 0.1, None),
    ("hybrid", "held_out_last", 0.333, None),
    ("ials", "held_out_last", 0.35, (0.017, -0.02, 0.05)),
    ("popular", "held_out_last", 0.1, (-0.2, -0.3, -0.1)),
]


def row(
    model: str, protocol: str, metric: str, value: float, low: float | None = None, high: float | None = None, *, k: int = 10
) -> dict[str, Any]:
    n_users = 75 if protocol == "validation" else 1_500
    return {"model": model, "protocol": protocol, "metric": metric, "k": k, "value": value, "low": low, "high": high, "n_users": n_users}


def manifest(*, metric: str = "ndcg_liked", rows: list | None = None, **settings: Any) -> Manifest:
    found = []
    for model, protocol, value, over in METRICS if rows is None else rows:
        found.append(row(model, protocol, metric, value))
        if over:
            found.append(row(model, protocol, f"{metric}_over_served", *over))
    given = {f.name: {} for f in fields(Manifest)} | {
        "metrics": found,
        "models": [{"model": "hybrid", "is_served": True}],
        "rating_scale": (1, 5),
        "settings": {"relevance": "liked", "serve": "auto"} | settings,
    }
    return Manifest(**given)


def test_the_sentence_says_by_what_the_model_was_chosen_and_how_it_does_on_other_users() -> None:
    assert choice(manifest()) == (
        "hybrid was chosen on 75 validation users: ndcg_liked@10 0.210 against 0.200 of ials. On the 1,500 test users it has ndcg_liked@10 0.333 "
        "against 0.350 of ials, a difference of -0.017 (95 % interval -0.050 to +0.020): these users do not tell the two apart."
    )


def test_what_follows_from_the_interval() -> None:
    def with_interval(low: float, high: float) -> str:
        return choice(manifest(rows=[*METRICS[:4], ("ials", "held_out_last", 0.35, ((low + high) / 2, low, high))]))

    assert with_interval(-0.03, -0.01).endswith("(95 % interval +0.010 to +0.030): it is better there too.")
    assert with_interval(0.01, 0.03).endswith("(95 % interval -0.030 to -0.010): it is worse there.")


def test_of_models_that_are_as_good_what_they_list_below_the_mean_is_said_to_have_chosen() -> None:
    given = manifest(rows=[("hybrid", "validation", 0.2, None), ("ials", "validation", 0.21, None), ("popular", "validation", 0.3, None)])
    given.metrics.extend(
        row(model, "validation", "below_mean", value) for model, value in (("hybrid", 0.125), ("ials", 0.25), ("ease", 0.05))
    )
    assert choice(given) == (
        "hybrid was chosen on 75 validation users: ndcg_liked@10 0.200 against 0.210 of ials, which is within a standard error, and "
        "below_mean@10 0.125 against 0.250 of ials."
    )


def test_all_rows_where_they_count_and_no_more_than_there_is() -> None:
    assert "ndcg@10 0.210 against 0.200 of ials" in choice(manifest(metric="ndcg", relevance="all"))
    assert choice(manifest(serve="hybrid")).startswith("hybrid is served because the setting `serve` names it. On the 1,500 test users")
    tested = [(*given[:3], None) for given in METRICS[3:]]  # as a release of an older version has it
    assert choice(manifest(rows=tested)) == (
        "hybrid is served because nobody's rows were kept out to choose a model by. On the 1,500 test users it has ndcg_liked@10 0.333 against 0.350 of ials."
    )
    assert choice(manifest(rows=[])) == "hybrid is served because nobody's rows were kept out to choose a model by."
    assert choice(manifest(rows=METRICS[:1])) == "hybrid was chosen on 75 validation users: ndcg_liked@10 0.210."


def test_lines_have_the_test_users_first_and_the_best_where_more_or_less_is_better() -> None:
    given = [row(model, "validation", "ndcg", value) for model, value in (("a", 0.1), ("b", 0.2))]
    for metric, values in {
        "ndcg": (0.3, 0.3),
        "below_mean": (0.5, 0.2),
        "recall_rated_1": (0.5, 0.2),
        "ndcg_liked": (0.1, 0.2),
        "of another version": (1, 2),
    }.items():
        given += [row(model, "held_out_last", metric, value) for model, value in zip("ab", values)]
    given.append(row("a", "held_out_last", "rmse", 0.8, k=0))
    found = [(line.protocol, line.metric, "".join(sorted(line.best))) for line in lines_of(given)]
    assert found == [
        ("held_out_last", "ndcg_liked@10", "b"),
        ("held_out_last", "ndcg@10", "ab"),
        ("held_out_last", "below_mean@10", "b"),
        ("held_out_last", "rmse", ""),
        ("held_out_last", "of another version@10", ""),
        ("held_out_last", "recall_rated_1@10", ""),
        ("validation", "ndcg@10", "b"),
    ]
    assert models_of(given, "b") == ["b", "a"]


def test_every_metric_of_a_release_is_declared(movie_release: Built, purchase_release: Built) -> None:
    for built in (movie_release, purchase_release):
        assert all(metric_of(row["metric"]).meaning for row in built.manifest.metrics)
    rated, bought = ({row["metric"] for row in built.manifest.metrics} for built in (movie_release, purchase_release))
    assert {
        "ndcg_liked",
        "hit_rate_liked",
        "recall_liked",
        "below_mean",
        "reasons_below_mean",
        "recall_rated_4",
        "held_out_rated_4",
    } <= rated
    assert not [metric for metric in bought if "liked" in metric or "rated" in metric or "below" in metric]
