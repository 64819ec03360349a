"""`make airflow` for real: a run by hand, then a backfill of a past week whose source allows one model less."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, UTC
from urllib.parse import quote

import pytest

from tests.conftest import write_tiny_ratings
from tests.dags.running import Airflow, DAG, Refused, UP_S, wait
from tests.serving.conftest import Server, serving
from warehouse.keys import create, RUN
from warehouse.layout import Warehouse
from warehouse.measures import HELD_OUT
from warehouse.release import current_id, damage, read_manifest, sealed_ids

NOW = datetime.now(UTC)
SUNDAY = (NOW - timedelta(hours=2) - timedelta(days=(NOW - timedelta(hours=2)).isoweekday() % 7)).replace(
    hour=2, minute=0, second=0, microsecond=0
)
PAST = f"{SUNDAY:%Y%m%dT%H%M%SZ}"
ENDED = ("success", "failed", "skipped")
STEPS = ("ingest", "train", "evaluate", "recommend", "seal", "promote")


@pytest.fixture(scope="module")
def by_hand(standalone: Airflow) -> str:
    """The id of a run that was triggered, and has ended."""
    run_id = standalone.trigger(models=["popular", "ials"])
    assert standalone.wait_for(run_id) == "success", standalone.tasks(run_id)
    return run_id


@pytest.fixture(scope="module")
def past_week(standalone: Airflow, by_hand: str) -> str:
    """The run of a backfill of last Sunday; the source has no words, so that there can be no `content`."""
    ratings = write_tiny_ratings(standalone.warehouse / "ratings.csv", item_ids="abcdefghijklmnopqrst")
    conf = {"source": "table", "path": str(ratings)}
    asked = {
        "dag_id": DAG,
        "from_date": f"{SUNDAY:%Y-%m-%d}T00:00:00Z",
        "to_date": f"{SUNDAY:%Y-%m-%d}T23:59:59Z",
        "dag_run_conf": conf,
        "run_backwards": False,
        "max_active_runs": 1,
        "reprocess_behavior": "none",
    }
    runs: list[str] = []

    def is_there() -> bool:
        """Ask until there is a run: on SQLite, Airflow refuses a backfill (503) while another process writes."""
        try:
            standalone.ask("POST", "/backfills", asked)
        except Refused as refused:
            if refused.status not in (409, 503):  # 409: the one of an earlier try is there already
                raise
        runs[:] = [run["dag_run_id"] for run in standalone.get(f"/dags/{DAG}/dagRuns?run_type=backfill")["dag_runs"]]
        return bool(runs)

    wait(is_there, UP_S, lambda: "no run of the backfill")
    standalone.wait_for(runs[0])
    return runs[0]


def test_it_says_where_it_is_and_how_to_log_in(standalone: Airflow) -> None:
    said = standalone.said("make").splitlines()[0]
    assert said == f"Airflow: {standalone.url}/dags/{DAG}  user admin  password {standalone.password}"


def test_nothing_runs_before_it_is_asked_to_or_sunday(standalone: Airflow) -> None:
    assert all(run["run_type"] != "scheduled" for run in standalone.get(f"/dags/{DAG}/dagRuns")["dag_runs"])
    assert standalone.get(f"/dags/{DAG}")["next_dagrun_run_after"].endswith("T02:00:00Z")


def test_a_run_by_hand_ends_with_a_promoted_release(standalone: Airflow, by_hand: str) -> None:
    warehouse = Warehouse(standalone.warehouse)
    figures = standalone.xcom(by_hand, "promote")
    assert figures["release"] == current_id(warehouse)
    release = warehouse.sealed(figures["release"])
    manifest = read_manifest(release)
    assert damage(release, manifest) == {}
    assert {row["model"]: row["status"] for row in manifest.models} == {"popular": "trained", "ials": "trained"}
    assert manifest.settings["scale"] == 0.05, "the deployment's settings count"
    assert set(standalone.tasks(by_hand)) == {*STEPS, "models", "train_model[popular]", "train_model[ials]"}


def test_the_last_line_of_a_log_is_the_result_that_the_page_shows(standalone: Airflow, by_hand: str) -> None:
    for step in STEPS:
        objects = [line for line in standalone.log(by_hand, step) if line.startswith("{")]
        assert json.loads(objects[-1]) == standalone.xcom(by_hand, step)
        assert standalone.xcom(by_hand, step)["step"] == step


def test_a_promotion_is_an_event_of_the_asset(standalone: Airflow, by_hand: str) -> None:
    events = [event for event in standalone.get("/assets/events")["asset_events"] if event["source_run_id"] == by_hand]
    assert [event["name"] for event in events] == ["cinematch_release"]
    extra, warehouse = events[0]["extra"], Warehouse(standalone.warehouse)
    manifest = read_manifest(warehouse.sealed(current_id(warehouse)))
    assert extra == standalone.xcom(by_hand, "promote")
    assert (extra["release"], extra["verdict"], extra["is_promoted"]) == (manifest.release, manifest.verdict["decision"], True)
    assert {name: extra[f"n_{name}"] for name in ("users", "items", "ratings")} == {
        name: manifest.counts[name] for name in ("users", "items", "ratings")
    }
    assert extra["n_lists"] == manifest.counts["users"] > 0 and extra["served_model"] == manifest.served_model
    (row,) = [row for row in manifest.metrics if (row["model"], row["metric"]) == ("ials", "ndcg_liked") and row["protocol"] == HELD_OUT]
    assert extra["ndcg_liked@10"] == row["value"] and 0 < extra["coverage@10"] <= 1


def test_a_change_of_the_source_starts_a_run_on_a_release_of_its_own(standalone: Airflow, by_hand: str) -> None:
    """The event is one as another DAG's outlet makes it, told by REST."""
    (source,) = [asset for asset in standalone.get("/assets")["assets"] if asset["name"] == "cinematch_source"]
    assert source["uri"] == "cinematch://source/" and [dag["dag_id"] for dag in source["scheduled_dags"]] == [DAG]
    of_assets = f"/dags/{DAG}/dagRuns?run_type=asset_triggered"
    assert standalone.get(of_assets)["dag_runs"] == []
    event = standalone.ask("POST", "/assets/events", {"asset_id": source["id"], "extra": {"file": "ratings.csv"}})
    wait(lambda: bool(standalone.get(of_assets)["dag_runs"]), UP_S, lambda: "no run of the event")
    (run,) = standalone.get(of_assets)["dag_runs"]
    run_id = run["dag_run_id"]
    wait(lambda: standalone.tasks(run_id).get("ingest") in ENDED, UP_S, lambda: str(standalone.tasks(run_id)))
    (told,) = [one for one in standalone.get("/assets/events")["asset_events"] if one["id"] == event["id"]]
    standalone.ask("PATCH", f"/dags/{DAG}/dagRuns/{quote(run_id)}", {"state": "failed"})
    assert [of["run_id"] for of in told["created_dagruns"]] == [run_id] and told["extra"]["file"] == "ratings.csv"
    figures = standalone.xcom(run_id, "ingest")
    assert figures["release"].startswith(f"{datetime.fromisoformat(run['run_after']):%Y%m%dT%H%M%SZ}m") and "is_sealed" not in figures
    assert standalone.get(f"/dags/{DAG}")["next_dagrun_run_after"].endswith("T02:00:00Z"), "Sunday's comes as well"


def test_a_cleared_run_works_on_the_same_release_and_builds_nothing_twice(standalone: Airflow, by_hand: str) -> None:
    warehouse = Warehouse(standalone.warehouse)
    before = (sealed_ids(warehouse), current_id(warehouse), warehouse.sealed(current_id(warehouse)).manifest.stat().st_mtime_ns)
    asked = {
        "dry_run": False,
        "dag_run_id": by_hand,
        "task_ids": ["ingest", "seal", "promote"],
        "only_failed": False,
        "reset_dag_runs": True,
    }
    standalone.ask("POST", f"/dags/{DAG}/clearTaskInstances", asked)
    assert standalone.wait_for(by_hand) == "success"
    assert standalone.xcom(by_hand, "ingest")["is_sealed"] and standalone.xcom(by_hand, "seal")["is_sealed"]
    after = (sealed_ids(warehouse), current_id(warehouse), warehouse.sealed(current_id(warehouse)).manifest.stat().st_mtime_ns)
    assert after == before


def test_a_backfill_builds_the_release_of_its_week_as_of_then(standalone: Airflow, past_week: str) -> None:
    manifest = read_manifest(Warehouse(standalone.warehouse).sealed(PAST))
    assert manifest.as_of == SUNDAY.isoformat() and manifest.source == "table"


def test_a_backfill_does_not_promote_over_a_newer_release(standalone: Airflow, by_hand: str, past_week: str) -> None:
    assert standalone.state(past_week) == "success" and standalone.tasks(past_week)["promote"] == "skipped"
    assert current_id(Warehouse(standalone.warehouse)) == standalone.xcom(by_hand, "promote")["release"]
    assert "newer" in standalone.xcom(past_week, "promote")["message"]


def test_a_model_that_cannot_be_does_not_stop_the_release(standalone: Airflow, past_week: str) -> None:
    tasks = standalone.tasks(past_week)
    assert tasks["train_model[content]"] == tasks["train_model[ials]"] == tasks["seal"] == "success"
    models = {row["model"]: row for row in read_manifest(Warehouse(standalone.warehouse).sealed(PAST)).models}
    assert models["content"]["status"] == "skipped" and "catalogue" in models["content"]["message"]
    assert models["ials"]["status"] == models["popular"]["status"] == "trained"


def test_parameters_that_do_not_fit_are_refused(standalone: Airflow) -> None:
    for wrong in (
        {"source": "radio"},
        {"models": ["magic"]},
        {"as_of": "yesterday"},
        {"as_of": "2026-01-01T00:00"},
        {"promote": "perhaps"},
    ):
        with pytest.raises(Refused, match=f" 400 .*{next(iter(wrong))}"):
            standalone.trigger(**wrong)


@pytest.fixture(scope="module")
def server(standalone: Airflow, by_hand: str) -> Iterator[Server]:
    """Our own server, told of this Airflow: the password by the environment alone."""
    key = create(Warehouse(standalone.warehouse), "tests", scopes=[RUN])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CINEMATCH_AIRFLOW_PASSWORD", standalone.password)
        with serving(standalone.warehouse, "--airflow-url", standalone.url, key=key) as server:
            yield server


def test_a_run_is_started_over_http_and_told_of(standalone: Airflow, server: Server) -> None:
    answer = server.send("POST", "/releases", {"models": ["popular", "ials"], "promote": False})
    assert answer.status_code == 202, answer.text
    (row,) = answer.json()["rows"]
    assert row["state"] in ("queued", "running") and answer.headers["location"].startswith("/runs/manual__")
    run = standalone.get(f"/dags/{DAG}/dagRuns/{quote(row['run'])}")
    assert run["conf"]["promote"] is False and run["note"] == "over HTTP with key tests"
    standalone.ask("PATCH", f"/dags/{DAG}/dagRuns/{quote(row['run'])}", {"state": "failed"})
    (told,) = server.client.get(answer.headers["location"], headers=server.auth).json()["rows"]
    assert told["run"] == row["run"] and told["state"] == "failed" and set(told["tasks"]) >= set(STEPS)


def test_a_finished_run_names_its_release(standalone: Airflow, server: Server, by_hand: str) -> None:
    (told,) = server.client.get(f"/runs/{quote(by_hand)}", headers=server.auth).json()["rows"]
    assert told["state"] == "success" and told["release"] == standalone.xcom(by_hand, "promote")["release"]
    assert told["tasks"]["train_model[ials]"] == "success"


def test_what_airflow_refuses_is_refused_and_needs_a_key(standalone: Airflow, server: Server) -> None:
    assert "refuses the parameters: " in server.send("POST", "/releases", {"models": ["magic"]}).json()["error"]
    assert server.send("POST", "/releases", {"path": "/etc/passwd"}).status_code == 400
    assert server.client.post("/releases").status_code == server.client.get("/runs/x").status_code == 401
    assert server.client.get("/runs/none", headers=server.auth).status_code == 404
    shown = "".join(server.log) + server.get("/openapi.json").text
    assert standalone.password not in shown and "/runs/{run}" in shown


def test_without_its_airflow_the_server_says_so_and_serves(standalone: Airflow, server: Server) -> None:
    with serving(standalone.warehouse, key=server.key) as off:
        answer = off.send("POST", "/releases")
        assert answer.status_code == 403 and "runs are off: setting airflow_url" in answer.json()["error"]
    with serving(standalone.warehouse, "--airflow-url", "http://127.0.0.1:9", key=server.key) as alone:
        answer = alone.send("POST", "/releases")
        assert answer.status_code == 503 and "Airflow at 127.0.0.1:9 cannot be reached" in answer.json()["error"]
        assert alone.get("/popular").status_code == 200
    with serving(standalone.warehouse, "--airflow-url", standalone.url, "--airflow-user", "nobody", key=server.key) as refused:
        assert refused.send("POST", "/releases").status_code == 502


HOSTILE = "2026-01-01T00:00:00Z; touch {pwned}; echo "


def test_shell_text_in_a_parameter_is_never_run(standalone: Airflow, server: Server, by_hand: str) -> None:
    """Of what can be free text, the path is; it reaches the command as it was given, and the command says that there is no such file."""
    pwned = standalone.home / "PWNED"
    text = HOSTILE.format(pwned=pwned)
    answer = server.send("POST", "/releases", {"as_of": text})
    assert answer.status_code == 400 and answer.json()["error"].startswith("as_of: expected a time such as ")
    with pytest.raises(Refused, match=" 400 .*as_of"):
        standalone.trigger(as_of=text)
    hostile = f"$(touch {pwned}) `touch {pwned}`; touch {pwned}; echo '"
    run_id = standalone.trigger(models=["popular", "ials"], source="table", path=hostile)
    assert standalone.wait_for(run_id) == "failed" and standalone.tasks(run_id)["ingest"] == "failed"
    log = "\n".join(standalone.log(run_id, "ingest"))
    assert f"--path={hostile}" in log.replace("\\'", "'") and "no such file" in log.lower(), log[-3000:]
    assert not pwned.exists()


def audited(standalone: Airflow) -> dict:
    """A run of the daily audit that has ended: its one task."""
    run_id = standalone.ask("POST", "/dags/daily_audit/dagRuns", {"logical_date": None})["dag_run_id"]
    path = f"/dags/daily_audit/dagRuns/{quote(run_id)}"
    wait(lambda: standalone.get(path)["state"] in ("success", "failed"), UP_S, lambda: "the audit goes on")
    (task,) = standalone.get(f"{path}/taskInstances")["task_instances"]
    return task | {"log": "\n".join(line["event"] for line in standalone.get(f"{path}/taskInstances/audit/logs/1")["content"])}


def test_the_audit_is_green_for_a_whole_release_and_red_at_once_for_a_damaged_one(standalone: Airflow, by_hand: str) -> None:
    """The last test of all: what it breaks stays broken."""
    assert audited(standalone)["state"] == "success"
    warehouse = Warehouse(standalone.warehouse)
    path = warehouse.sealed(current_id(warehouse)).table("popular")
    path.chmod(0o644)
    path.write_bytes(b"")
    task = audited(standalone)
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert "damaged_files: tables/popular.parquet changed; roll back" in task["log"] and "alert: audit: release" in task["log"]
