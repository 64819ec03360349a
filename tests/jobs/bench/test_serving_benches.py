"""bench serve, pages and updates, small but whole: real servers, real load, and nothing left of them."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from jobs.bench.mixed import Mixed, ROUND
from jobs.bench.pages import pages
from serving.routes import table

TINY = ("--users", "300", "--items", "500")


def test_serve_measures_every_side_and_finds_no_error_and_no_mix(bench) -> None:
    running = bench("serve", *TINY, "--seconds", "1", "--repeats", "1", "--swaps", "2")
    found = running.figures()
    assert (found["bench"], found["n_users"], found["n_items"], found["n_factors"], found["served_model"]) == (
        "serve",
        300,
        500,
        64,
        "ials",
    )
    for side in ("lookup", "unchanged", "workers", "why", "canned", "canned_list", "empty"):
        assert found[f"{side}_per_s"] > 0 and found[f"{side}_cpu_us"] > 0
        assert 0 < found[f"{side}_p50_ms"] <= found[f"{side}_p99_ms"]
    for ours in ("lookup", "why"):
        for other in ("canned", "canned_list", "empty"):
            by_rate = found[f"{ours}_per_s"] / found[f"{other}_per_s"]
            by_cpu = found[f"{other}_cpu_us"] / found[f"{ours}_cpu_us"]
            assert found[f"{ours}_to_{other}_ratio"] == pytest.approx(by_rate, abs=1e-3)
            assert found[f"{ours}_to_{other}_cpu_ratio"] == pytest.approx(by_cpu, abs=1e-3)
    assert found["n_requests"] > 0 and found["n_errors"] == 0
    assert found["start_to_first_answer_s"] > 0 and found["resident_idle_mib"] > 0 and found["resident_loaded_mib"] > 0
    assert (found["n_swaps"], found["n_swaps_missed"]) == (2, 0) and found["n_swap_requests"] > 0
    assert (found["n_swap_errors"], found["n_mixed_answers"], found["n_older_after_newer"]) == (0, 0, 0)
    assert 0 <= found["swap_median_s"] <= found["swap_max_s"]
    assert running.left_running() == [] and running.left_behind() == []


def test_pages_asks_for_every_page_that_the_server_has(bench) -> None:
    running = bench("pages", *TINY, "--repeats", "1")
    found = running.figures()
    addresses = pages("20260104T020000Z", "20260111T020000Z")
    asked = [address(1, 4).split("?")[0] for address in addresses.values()]
    named = {pattern for pattern in (re.sub(r"\{[a-z_]+\}", "[^/]+", route.path) for route in table(is_read_only=True) if route.page)}
    left = {pattern for pattern in named if not any(re.fullmatch(pattern, path) for path in asked)}
    assert left == {"/recommend", "/quality"}  # the first is the same page as with the user in its path
    for name in addresses:
        assert 0 < found[f"{name}_p50_ms"] <= found[f"{name}_most_ms"] and 0 < found[f"{name}_kb"] < 150
    assert running.left_running() == [] and running.left_behind() == []


def test_updates_finds_every_acknowledged_rating_on_disk_and_in_the_next_list(bench) -> None:
    running = bench("updates", *TINY, "--seconds", "1", "--probes", "20", "--burst", "1", "--rate", "100", "--lookups", "50")
    found = running.figures()
    assert (found["bench"], found["n_users"], found["n_items"]) == ("updates", 300, 500)
    assert (found["n_probes"], found["n_not_visible"]) == (20, 0)
    assert 0 < found["post_to_visible_p50_ms"] <= found["post_to_visible_p99_ms"]
    assert found["n_ratings"] > 0 and found["n_rating_errors"] == 0 and found["n_lookups"] > 0 and found["n_lookup_errors"] == 0
    assert found["ratings_per_s"] == pytest.approx(found["n_ratings"] / found["sustained_s"], rel=1e-2)
    assert found["burst_n_ratings"] > 0 and found["burst_rating_errors"] == 0 and found["burst_rating_p99_ms"] > 0
    posted = 20 + found["burst_n_ratings"] + found["n_ratings"]
    assert 20 < found["n_acknowledged"] <= posted and found["n_acknowledged_missing"] == 0
    assert found["one_commit_each_per_s"] > 0 and found["burst_to_one_commit_each_ratio"] > 0
    assert running.left_running() == [] and running.left_behind() == []


@pytest.mark.parametrize(
    ("reaches_all", "after_s"),
    [(False, 1), (True, 0), (True, 2)],
    ids=["the command", "its group while the load starts", "its group under load"],
)
def test_an_interrupted_bench_leaves_nothing(bench, reaches_all: bool, after_s: float) -> None:
    running = bench("updates", *TINY, "--seconds", "60", "--probes", "1", "--lookups", "50")
    until = time.monotonic() + 60
    while not any("spawn_main" in one for one in running.session()):
        assert time.monotonic() < until and running.process.poll() is None
        time.sleep(0.02)
    time.sleep(after_s)
    if reaches_all:
        os.killpg(running.process.pid, signal.SIGINT)
    else:
        running.process.send_signal(signal.SIGINT)
    _, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 130 and "Traceback" not in err, err
    assert running.left_running() == [] and running.left_behind() == []


def test_serve_beside_measures_lookups_with_and_without_an_attack(bench) -> None:
    running = bench("serve", *TINY, "--seconds", "1", "--repeats", "1", "--beside", "table")
    found = running.figures()
    assert found["n_attackers"] == 3 and found["table_statuses"] == "200" and found["table_n_errors"] == 0
    assert found["table_p99_ratio"] == pytest.approx(found["table_p99_ms"] / found["table_without_p99_ms"], abs=0.01)
    assert (found["worst_beside"], found["worst_p99_ratio"]) == ("table", found["table_p99_ratio"])
    assert "lookup_per_s" not in found
    assert running.left_running() == [] and running.left_behind() == []


def test_soak_swaps_and_kills_under_load_and_loses_nothing(bench) -> None:
    running = bench("soak", *TINY, "--minutes", "0.05", "--rate", "200", "--swaps", "1", "--kills", "1")
    found = running.figures()
    assert (found["bench"], found["n_swaps"], found["n_kills"]) == ("soak", 1, 2)
    kinds = ("lookup", "why", "search", "session", "post", "delete", "sql")
    assert all(0 < found[f"{kind}_p50_ms"] <= found[f"{kind}_p99_ms"] for kind in kinds if kind != "delete") and found["n_post"] > 0
    assert sum(found[f"n_{kind}"] for kind in kinds) + found["n_4xx"] + found["n_5xx"] == found["n_requests"]
    assert (found["n_5xx"], found["n_4xx"], found["n_mixed_answers"], found["n_unanswered"]) == (0, 0, 0, 0)
    assert found["n_acknowledged"] == found["n_post"] + found["n_delete"] and found["n_acknowledged_missing"] == 0
    assert found["resident_start_mib"] > 0 and found["beside_start_mib"] > 0 and found["descriptors_start"] > 0
    assert running.left_running() == [] and running.left_behind() == []


def test_a_delete_of_the_soak_is_of_a_rating_that_was_posted() -> None:
    mixed = Mixed(users=300, items=500, key="key", offset=7, pairs=[b""])
    deletes = [index for index in range(30 * len(ROUND)) if mixed.ask(index).startswith(b"DELETE")]
    posted = {mixed.entry(index)[:2]: index for index in range(30 * len(ROUND)) if mixed.ask(index).startswith(b"POST /ratings")}
    assert len(deletes) == 10
    for index in deletes:
        user, item, _, is_deleted = mixed.entry(index)
        assert is_deleted and f"/ratings/{user}/{item} ".encode() in mixed.ask(index)
        assert posted[user, item] < index - 10 * len(ROUND)


def test_an_unknown_attack_is_said_with_those_there_are(bench) -> None:
    running = bench("serve", *TINY, "--beside", "nothing")
    assert running.process.wait(60) == 2
