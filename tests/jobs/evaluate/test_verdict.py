"""The verdict on constructed figures: what is shown to be no worse passes, all else is held back and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluate.user_scores import CHAMPION, rows_of, SCORES, TOP, UserScores
from jobs.evaluate.verdict import HOLD_BACK, judge, PROMOTE, Rival
from schemas.settings import resolve, Settings

N = 200
DRAW = np.random.default_rng(3)
NDCG = DRAW.random(N) * 0.5
LISTS = DRAW.permuted(np.tile(np.arange(100), (N, 1)), axis=1)[:, :TOP]


def rows(model: str, ndcg: np.ndarray, **changed: Any) -> pa.Table:
    n = len(ndcg)
    columns = {field.name: pa.nulls(n, field.type) for field in SCORES} | {
        "model": [model] * n,
        "ndcg_at_10": ndcg,
        "hit_rate_at_10": ndcg > 0,
        "recall_at_20": ndcg,
        "ndcg_liked_at_10": ndcg,
        "hit_rate_liked_at_10": ndcg > 0,
        "recall_liked_at_20": ndcg,
        "ndcg_rare_at_10": ndcg,
        "hit_rate_rare_at_10": ndcg > 0,
        "recall_rare_at_20": ndcg,
        "top": LISTS[:n].tolist(),
        "n_seen": np.zeros(n, int),
        "is_short": np.zeros(n, bool),
    }
    if model == CHAMPION:
        columns["is_left_out"] = np.zeros(n, bool)
    return pa.table(
        {
            name: pa.array(value).cast(SCORES.field(name).type) if not isinstance(value, pa.Array) else value
            for name, value in (columns | changed).items()
        },
        schema=SCORES,
    )


def scored(*tables: pa.Table) -> UserScores:
    return UserScores(pa.concat_tables(tables), 100)


def settings(**given: Any) -> Settings:
    return resolve(given, {})


BEFORE = Rival(champion="before", current="before", is_owed=True)


def verdict(challenger: pa.Table, champion: pa.Table | None, *others: pa.Table, rival: Rival | None = None, **given: Any) -> dict:
    found = scored(challenger, *([champion] if champion is not None else []), *others)
    return judge(found, settings(**given), served="ials", rater="als", rival=rival or (Rival() if champion is None else BEFORE))


def errors(model: str, squared: np.ndarray) -> dict[str, Any]:
    return {"squared_error": squared, "n_rated": np.full(len(squared), 3)}


def test_the_same_figures_pass_whatever_the_margin() -> None:
    for margin in (0.0, 0.05):
        found = verdict(rows("ials", NDCG), rows(CHAMPION, NDCG), gate_margin=margin)
        assert found["decision"] == PROMOTE and found["n_users"] == N and found["measures"][0]["difference"] == 0.0
        mean, may = NDCG.mean(), margin * NDCG.mean()
        assert (
            found["reason"]
            == f"nDCG@10 {mean:.4f} against {mean:.4f} of before on the same 200 users: no difference; it may lose {may:.4f}"
        )


def test_figures_that_are_in_doubt_hold_back_whatever_they_are() -> None:
    found = judge(
        scored(rows("ials", NDCG * 1.2), rows("popular", NDCG)),
        settings(),
        served="ials",
        rater="als",
        rival=Rival(),
        doubt="it contradicts sense",
    )
    assert found["decision"] == HOLD_BACK and found["reason"] == "it contradicts sense" and found["measures"][0]["is_met"]


def test_a_challenger_that_is_worse_is_held_back_and_the_reason_has_the_figures() -> None:
    found = verdict(rows("ials", NDCG * 0.8), rows(CHAMPION, NDCG))
    first = found["measures"][0]
    assert found["decision"] == HOLD_BACK and not first["is_met"] and first["high"] < first["least"] < 0
    assert first["difference"] == pytest.approx(-0.2 * NDCG.mean()) and first["champion"] == pytest.approx(NDCG.mean())
    assert (
        f"{first['challenger']:.4f} against {first['champion']:.4f} of before" in found["reason"]
        and "and it is shown to have lost more" in found["reason"]
    )


def test_a_loss_within_the_margin_passes_and_one_that_is_shown_to_be_beyond_it_does_not() -> None:
    champion = rows(CHAMPION, NDCG)
    assert verdict(rows("ials", NDCG * 0.97), champion)["decision"] == PROMOTE
    noise = np.where(np.arange(N) % 2, 0.05, -0.05)
    found = verdict(rows("ials", NDCG * 0.94 + noise), champion)["measures"][0]
    assert found["low"] < found["least"] < found["high"] and found["is_met"]
    found = verdict(rows("ials", NDCG * 0.9 + noise), champion)["measures"][0]
    assert found["high"] < found["least"] < 0 and not found["is_met"]
    assert verdict(rows("ials", NDCG * 0.9), champion, gate_margin=0.2)["decision"] == PROMOTE


@pytest.mark.parametrize("mean", (0.002, -0.002))
def test_what_is_not_shown_to_be_worse_passes_however_wide_the_interval(mean: float) -> None:
    found = verdict(rows("ials", np.where(np.arange(N) % 2, NDCG + 0.3, NDCG - 0.3) + mean), rows(CHAMPION, NDCG))
    assert found["decision"] == PROMOTE and found["measures"][0]["low"] < found["measures"][0]["least"]
    assert "and these users are too few to show whether it did" in found["reason"]


@pytest.mark.parametrize("n", (30, 60, 200))
def test_chance_holds_hardly_any_honest_release_back_on_however_few_users(n: int) -> None:
    """Two releases that are as good, of which each finds what the other does not for some of the users: of two hundred draws."""
    draw, n_held_back = np.random.default_rng(5), 0
    for _ in range(200):
        ours, theirs = (np.where(draw.random(n) < 0.3, draw.random(n), 0.0) for _ in range(2))
        n_held_back += verdict(rows("ials", ours), rows(CHAMPION, theirs))["decision"] == HOLD_BACK
    assert n_held_back <= 10


def test_with_too_few_users_only_what_is_shown_to_be_worse_is_held_back() -> None:
    few, noise = NDCG[:20], np.where(np.arange(20) % 2, 0.3, -0.4)
    found = verdict(rows("ials", few + noise), rows(CHAMPION, few))
    assert found["decision"] == PROMOTE and "not enough users to judge: 20 can be compared, 30 are needed" in found["reason"]
    assert verdict(rows("ials", few * 0.5), rows(CHAMPION, few))["decision"] == HOLD_BACK
    assert verdict(rows("ials", few * 0.97), rows(CHAMPION, few))["decision"] == PROMOTE


def test_five_users_that_all_lose_show_nothing_and_six_do() -> None:
    for n, decision in ((1, PROMOTE), (5, PROMOTE), (6, HOLD_BACK)):
        better = NDCG[:n] + 0.2
        assert verdict(rows("ials", NDCG[:n]), rows(CHAMPION, better))["decision"] == decision
        assert verdict(rows("ials", NDCG[:n]), None, rows("popular", better))["decision"] == decision


def test_with_nobody_held_out_the_first_passes_and_the_next_is_held_back() -> None:
    nobody = np.zeros(0)
    found = verdict(rows("ials", nobody), None, rows("popular", nobody))
    assert found["decision"] == PROMOTE and found["n_users"] == 0 and "not enough users" in found["reason"]
    found = verdict(rows("ials", nobody), rows(CHAMPION, nobody), rows("popular", nobody))
    assert found["decision"] == HOLD_BACK and found["reason"].startswith("nobody was held out to compare it with before by")


def test_with_a_champion_of_the_same_source_and_nobody_to_compare_it_is_held_back() -> None:
    """As where the source was cut to the first rows of each user: all that is held out now was in the champion's training."""
    champion, popular = rows(CHAMPION, NDCG, is_left_out=np.ones(N, bool)), rows("popular", NDCG * 0.5)
    found = verdict(rows("ials", NDCG), champion, popular)
    assert (found["decision"], found["n_users"], found["n_left_out"], found["n_held_out"]) == (HOLD_BACK, 0, N, N)
    assert (
        "only 0 of 200 held-out users can be compared, 30 are needed: before was trained on what was held out of the others, or tuned by them"
        in found["reason"]
    )
    few = rows(CHAMPION, NDCG, is_left_out=np.arange(N) >= 29)
    assert "only 29 of 200" in verdict(rows("ials", NDCG), few, popular)["reason"]
    assert verdict(rows("ials", NDCG[:50]), rows(CHAMPION, NDCG[:50], is_left_out=np.arange(50) >= 28), popular)["decision"] == PROMOTE


def test_a_champion_that_cannot_be_opened_holds_it_back_and_one_that_gives_way_does_not() -> None:
    popular = rows("popular", NDCG * 0.5)
    found = verdict(rows("ials", NDCG), None, popular, rival=Rival(current="before", note="it cannot be opened (gone)", is_owed=True))
    assert found["decision"] == HOLD_BACK and found["reason"] == "it cannot be compared with before: it cannot be opened (gone)"
    found = verdict(rows("ials", NDCG), None, popular, rival=Rival(current="before", note="of the sample"))
    assert (found["decision"], found["current"], found["champion"], found["against"]) == (PROMOTE, "before", None, "popular")


def test_where_a_change_was_accepted_and_nobody_can_be_compared_it_must_beat_popularity() -> None:
    champion, accepted = rows(CHAMPION, NDCG, is_left_out=np.ones(N, bool)), Rival("before", "before")
    found = verdict(rows("ials", NDCG), champion, rows("popular", NDCG * 0.5), rival=accepted)
    assert (found["decision"], found["against"], found["current"], found["champion"]) == (PROMOTE, "popular", "before", None)
    assert verdict(rows("ials", NDCG), champion, rows("popular", NDCG * 2), rival=accepted)["decision"] == HOLD_BACK


def test_a_champion_that_fell_under_half_of_its_own_figure_says_that_the_data_changed() -> None:
    """As where item ids were mixed up: the challenger is far better than a champion that knows other items by these ids."""
    fallen, rival = rows(CHAMPION, NDCG * 0.1), Rival("before", "before", is_owed=True, ndcg=float(NDCG.mean()))
    found = verdict(rows("ials", NDCG), fallen, rival=rival)
    assert found["decision"] == HOLD_BACK and found["measures"][0]["is_met"]
    assert found["reason"] == (
        f"before itself has nDCG@10 {NDCG.mean() / 10:.4f} on 200 users of this data, and had {NDCG.mean():.4f} at its own release; at least "
        f"{NDCG.mean() / 2:.4f} is expected (gate_champion): the data has changed under it; were ids renumbered?"
    )
    assert verdict(rows("ials", NDCG), fallen, rival=rival, gate_champion=0.05)["decision"] == PROMOTE
    assert verdict(rows("ials", NDCG), rows(CHAMPION, NDCG * 0.6), rival=rival)["decision"] == PROMOTE
    assert verdict(rows("ials", NDCG), fallen, rival=Rival("before", "before", ndcg=float(NDCG.mean())))["decision"] == PROMOTE


def test_a_few_users_show_that_the_champion_fell_where_their_interval_lies_below_its_own_figure() -> None:
    rival = Rival("before", "before", is_owed=True, ndcg=0.25)
    unlucky = np.where(np.arange(8) < 2, 0.48, 0.0)
    assert verdict(rows("ials", unlucky), rows(CHAMPION, unlucky), rival=rival)["decision"] == PROMOTE
    assert verdict(rows("ials", NDCG[:20]), rows(CHAMPION, np.full(20, 0.01)), rival=rival)["decision"] == HOLD_BACK
    assert verdict(rows("ials", NDCG[:5]), rows(CHAMPION, np.full(5, 0.01)), rival=rival)["decision"] == PROMOTE
    no_list = rows(CHAMPION, NDCG[:20], overlap=np.zeros(20))
    assert "were ids renumbered" in verdict(rows("ials", NDCG[:20]), no_list)["reason"]


def test_without_a_champion_it_must_be_better_than_popularity() -> None:
    popular = rows("popular", NDCG)
    assert verdict(rows("ials", NDCG + 0.05), None, popular)["decision"] == PROMOTE
    for worse in (NDCG, NDCG * 0.9):
        found = verdict(rows("ials", worse), None, popular)
        assert (
            found["decision"] == HOLD_BACK
            and found["champion"] is None
            and "of popular" in found["reason"]
            and "not better" in found["reason"]
        )


def test_users_whose_rows_the_champion_was_trained_on_are_not_compared() -> None:
    knew = np.arange(N) < 50
    champion = rows(CHAMPION, np.where(knew, 1.0, NDCG), is_left_out=knew)
    found = verdict(rows("ials", NDCG), champion)
    assert (found["decision"], found["n_users"], found["n_left_out"]) == (PROMOTE, N - 50, 50)
    assert found["measures"][0]["champion"] == pytest.approx(NDCG[50:].mean())
    assert "on the same 150 users" in found["reason"]
    assert (
        f"before was trained on the rows of the other 50 of 200 held-out users, or tuned by them, so they are not compared; on all of them "
        f"this release has nDCG@10 {NDCG.mean():.4f}" in found["reason"]
    )


def test_ratings_that_are_predicted_worse_hold_it_back() -> None:
    squared = DRAW.random(N)
    champion = rows(CHAMPION, NDCG, **errors(CHAMPION, squared))

    def found(factor: float) -> dict:
        other = rows("als", np.full(N, np.nan), **errors("als", squared * factor), top=pa.nulls(N, SCORES.field("top").type))
        return verdict(rows("ials", NDCG), champion, other)

    assert found(1.0)["decision"] == found(0.9)["decision"] == PROMOTE
    assert found(1.3)["decision"] == HOLD_BACK and "RMSE" in found(1.3)["reason"]
    measure = found(1.3)["measures"][1]
    assert (measure["challenger"], measure["champion"]) == (
        pytest.approx((1.3 * squared).mean() ** 0.5),
        pytest.approx(squared.mean() ** 0.5),
    )
    rmse = squared.mean() ** 0.5
    assert f"lost {(1.3**0.5 - 1) * rmse:.4f}" in found(1.3)["reason"] and f"it may lose {0.02 * rmse:.4f}" in found(1.3)["reason"]
    assert measure["difference"] == pytest.approx(measure["champion"] - measure["challenger"])
    missing = verdict(rows("ials", NDCG), champion)
    assert missing["decision"] == HOLD_BACK and "predicts no ratings" in missing["reason"]


def test_lists_that_all_show_the_same_few_items_are_held_back() -> None:
    same = rows("ials", NDCG, top=[list(range(TOP))] * N)
    found = verdict(same, rows(CHAMPION, NDCG))
    assert (
        found["decision"] == HOLD_BACK
        and "coverage@10 is 0.1000 and was 1.0000 for before; at least 0.5000 is expected (gate_spread)" in found["reason"]
        and "evenness@10" in found["reason"]
    )
    assert verdict(same, rows(CHAMPION, NDCG), gate_spread=0.0)["decision"] == PROMOTE


def test_how_much_of_the_lists_stays_is_measured_and_hardly_any_holds_it_back() -> None:
    champion = rows(CHAMPION, NDCG, overlap=np.where(np.arange(N) % 2, 0.2, 0.6))
    found = verdict(rows("ials", NDCG), champion)
    assert found["decision"] == PROMOTE and {m["metric"]: m["challenger"] for m in found["measures"]}["overlap@10"] == pytest.approx(0.4)
    held = verdict(rows("ials", NDCG), champion, gate_overlap=0.5)
    assert (
        held["decision"] == HOLD_BACK
        and "first tens of 200 users share 40% with those of before, and at least 50% are expected" in held["reason"]
    )
    other = rows(CHAMPION, NDCG, overlap=np.full(N, 0.01))
    assert "were ids renumbered?" in verdict(rows("ials", NDCG), other)["reason"]
    assert verdict(rows("ials", NDCG), other, rival=Rival("before", "before"))["decision"] == PROMOTE


@pytest.mark.parametrize(("column", "text"), [("n_seen", "items already seen: 1"), ("is_short", "short lists: 1")])
def test_one_item_already_seen_or_one_short_list_is_enough(column: str, text: str) -> None:
    found = verdict(rows("ials", NDCG, **{column: np.arange(N) == 7}), rows(CHAMPION, NDCG))
    assert found["decision"] == HOLD_BACK and found["reason"] == f"{text}, expected 0"


def test_the_same_figures_give_the_same_verdict() -> None:
    given = rows("ials", NDCG * 0.97), rows(CHAMPION, NDCG)
    assert verdict(*given) == verdict(*given)


def test_the_held_out_rows_that_count_decide() -> None:
    """A challenger that finds more of all rows and less of what was liked."""
    champion, challenger = rows(CHAMPION, NDCG), rows("ials", NDCG * 1.2, ndcg_liked_at_10=NDCG * 0.8)
    assert verdict(challenger, champion)["decision"] == HOLD_BACK
    assert verdict(challenger, champion, relevance="all")["decision"] == PROMOTE


def metrics_of(*tables: pa.Table, stars: Sequence[float] = (), **given: Any) -> dict[tuple, dict]:
    found = rows_of(scored(*tables), settings(**given), served="ials", rater="als", stars=np.array(stars))
    return {(row["model"], row["metric"], row["k"]): row for row in found}


def test_metrics_have_their_means_and_intervals() -> None:
    found = metrics_of(rows("ials", NDCG), rows("popular", NDCG / 2), rows(CHAMPION, NDCG, overlap=np.full(N, 0.5)))
    assert {model for model, *_ in found} == {"ials", "popular"}
    ndcg = found["ials", "ndcg", 10]
    assert ndcg["value"] == pytest.approx(NDCG.mean()) and ndcg["low"] < ndcg["value"] < ndcg["high"] and ndcg["n_users"] == N
    assert found["ials", "overlap_with_champion", 10]["value"] == 0.5
    assert found["ials", "coverage", 10]["value"] == 1.0 and found["ials", "coverage", 10]["low"] is None
    assert found["ials", "items_already_seen", 20]["value"] == found["ials", "short_lists", 20]["value"] == 0.0


def test_without_ratings_nothing_is_said_of_what_is_liked() -> None:
    found = metrics_of(rows("ials", NDCG), rows("popular", NDCG / 2))
    assert not [key for key in found if "liked" in key[1] or "rated" in key[1] or "below" in key[1]]
    assert found["popular", "ndcg_over_served", 10]["value"] == pytest.approx(-NDCG.mean() / 2)


def test_metrics_of_what_is_liked_and_of_each_star() -> None:
    """Of 3 rows of two stars and 1 of four that each user had, the first ten hold 1 of two stars for every second user, all of four."""
    held, hits = [[0, 3, 0, 1]] * N, [[0, user % 2, 0, 1] for user in range(N)]
    given = {"held_out_by_star": held, "hits_by_star": hits, "below_mean": np.full(N, 0.25), "reasons_below_mean": np.full(N, 0.1)}
    found = metrics_of(
        rows("ials", NDCG, ndcg_liked_at_10=NDCG / 4, **given),
        rows("popular", NDCG / 2, ndcg_liked_at_10=np.where(np.arange(N) < 5, np.nan, NDCG / 5), **given),
        stars=[1, 2, 3, 4],
    )
    assert found["ials", "ndcg", 10]["value"] == pytest.approx(NDCG.mean())
    assert found["ials", "ndcg_liked", 10]["value"] == pytest.approx(NDCG.mean() / 4)
    assert found["ials", "below_mean", 10]["value"] == 0.25 and found["ials", "reasons_below_mean", 10]["value"] == 0.1
    assert found["ials", "recall_rated_2", 10]["value"] == pytest.approx(1 / 6) and found["ials", "recall_rated_4", 10]["value"] == 1.0
    assert found["ials", "held_out_rated_2", 0]["value"] == 0.75 and ("ials", "recall_rated_3", 10) not in found
    assert ("popular", "held_out_rated_2", 0) not in found and ("popular", "reasons_below_mean", 10) not in found
    over = found["popular", "ndcg_liked_over_served", 10]
    assert over["value"] == pytest.approx(-NDCG[5:].mean() / 20) and over["n_users"] == N - 5 and over["high"] < 0
    assert ("ials", "ndcg_liked_over_served", 10) not in found
