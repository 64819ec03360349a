"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.cli import main, parser
from jobs.ingest.first_pass import Reading
from schemas.settings import FIELDS
from tests.conftest import Built, cut, write_tiny_ratings
from tests.warehouse.conftest import add_release
from warehouse.layout import Warehouse
from warehouse.release import current_id, sealed_ids

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in an empty folder; its exit status, output and messages."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return run


def subcommands(top: argparse.ArgumentParser, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command that takes no further subcommand."""
    actions = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield path
    for action in actions:
        for name, below in action.choices.items():
            yield from subcommands(below, *path, name)


COMMANDS = list(subcommands(parser()))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_a_sentence_and_an_example_that_parses(command: Command, words: tuple[str, ...]) -> None:
    status, shown, _ = command(*words, "--help")
    text = " ".join(shown.split())
    assert status == 0 and f"Example: cinematch {' '.join(words[:1])}" in text
    assert shown.rstrip().splitlines()[-1].startswith("Example: "), "an example stands on one line, to be pasted"
    example = text[text.index("Example: cinematch ") + len("Example: cinematch ") :]
    parsed = parser().parse_args(shlex.split(example))
    assert parsed.command == words[0]


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert command("--version")[:2] == (0, f"cinematch {version('cinematch')}\n")


def test_every_setting_is_a_flag_of_the_commands_that_take_it(command: Command) -> None:
    for name in ("run", "train", "serve"):
        shown = command(name, "--help")[1]
        for setting, declared in FIELDS.items():
            is_taken = name in declared.metadata["commands"] and not declared.metadata.get("is_secret")
            assert (f"--{setting.replace('_', '-')} " in shown) == is_taken, setting


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "--ials-factors", "none"], 2, "ials_factors in --ials-factors: expected a whole number, got 'none'"),
        (["run", "--source", "radio"], 2, "expected one of sample, movielens, table"),
        (["run", "--source", "table"], 2, "expected path, of CSV, JSON lines, Parquet or a database"),
        (["run", "--source", "table", "--path", "absent.csv"], 3, "absent.csv"),
        *[
            ([step, *flags, "--source", "table", "--path", "absent.csv"], 2, message)
            for step in ("run", "ingest --release x")
            for flags, message in (
                (["--models", "popular,foo"], "models: unknown foo; expected some of popular, content"),
                (["--models", "ials"], "models: popular must be among them"),
                (["--models", "popular,ials", "--serve", "ease"], "models: ease must be among them"),
                (["--models", "popular,svd"], "models: one of item_neighbours, transitions"),
                (["--blocked", "absent.txt"], "blocked: absent.txt cannot be read"),
                (["--diversity", "0.6", "--calibration", "0.6"], "expected 1 together at most"),
            )
        ],
        (["run", "--settings", "absent.toml"], 2, "absent.toml: no such settings file"),
        (["train", "--release", "20260104T020000Z"], 4, "run `cinematch ingest --release 20260104T020000Z` first"),
        (["train", "--release", "../escape"], 2, "release id '../escape'"),
        (["promote", "--release", "20260104T020000Z"], 6, "`cinematch releases list` shows those that are"),
        (["releases", "show", "20260104T020000Z"], 6, "`cinematch releases list` shows those that are"),
        (["releases", "rollback"], 5, "no release to roll back to"),
        (["releases", "import", "absent.zip"], 5, "absent.zip: no such file"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(command: Command, arguments: list[str], status: int, message: str) -> None:
    found, shown, said = command(*arguments[0].split(), *arguments[1:])
    assert (found, shown) == (status, "")
    last = [line for line in said.splitlines() if line][-1]
    assert last.startswith("cinematch: ") and message in last and "Traceback" not in said


def test_an_unknown_setting_is_refused_wherever_it_stands(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, said = command("run", "--ials-factor", "3")
    assert status == 2 and said == "cinematch run: unrecognized arguments: --ials-factor 3; did you mean --ials-factors?\n"
    status, _, said = command("releases", "list", "--nothing-like-it=1")
    assert status == 2 and said == "cinematch releases: unrecognized arguments: --nothing-like-it=1; --help names all that there are\n"
    monkeypatch.setenv("CINEMATCH_IALS_FACTOR", "3")
    status, _, said = command("releases", "list")
    assert status == 2 and "unknown setting 'ials_factor' in the environment (CINEMATCH_IALS_FACTOR); did you mean 'ials_factors'?" in said
    monkeypatch.delenv("CINEMATCH_IALS_FACTOR")
    (tmp_path / "cinematch.toml").write_text("warehous = 'x'\n")
    status, _, said = command("releases", "list")
    assert status == 2 and "unknown setting 'warehous' in cinematch.toml; did you mean 'warehouse'?" in said


@pytest.fixture
def copied(copy_warehouse, purchase_release: Built) -> Built:
    return copy_warehouse(purchase_release)


def test_list_names_every_release_and_the_current_one(command: Command, copied: Built) -> None:
    second = add_release(copied, "20990101T000000Z")
    status, shown, _ = command("releases", "list", "--warehouse", copied.warehouse.folder, "--json")
    rows = json.loads(shown)
    assert status == 0 and [(row["release"], row["status"]) for row in rows] == [(second, "sealed"), (copied.release_id, "current")]
    shown = command("releases", "list", "--warehouse", copied.warehouse.folder)[1]
    assert second in shown and copied.release_id in shown


def test_a_rollback_leaves_a_mark_and_promoting_again_changes_nothing(command: Command, copied: Built) -> None:
    at = ("--warehouse", copied.warehouse.folder)
    second = add_release(copied, "20990101T000000Z")
    assert command("releases", "promote", "latest", *at)[1] == f"{second} is current; before it {copied.release_id}\n"
    assert command("releases", "promote", second, *at)[1] == f"{second} is current already; nothing was changed\n"
    assert command("releases", "rollback", "--reason", "titles are cut short", *at)[1] == f"{copied.release_id} is current\n"
    shown = command("releases", "list", *at)[1]
    assert " rolled back " in shown and f"rolled back from {second}: titles are cut short" in shown
    row = json.loads(command("releases", "list", "--json", *at)[1])[0]
    assert (row["status"], row["rolled_back_reason"]) == ("rolled back", f"rolled back from {second}: titles are cut short")


def test_a_dry_run_of_pruning_removes_nothing(command: Command, copied: Built) -> None:
    at = ("--warehouse", copied.warehouse.folder)
    more = [add_release(copied, f"2099010{day}T000000Z") for day in range(1, 4)]
    assert command("releases", "prune", "--dry-run", *at)[:2] == (0, f"would remove {more[0]}: not promoted\n")
    assert command("releases", "prune", more[1], "--dry-run", *at)[:2] == (0, f"would remove {more[1]}: named\n")
    assert command("releases", "prune", "current", "--dry-run", *at)[0] == 2
    assert len(sealed_ids(copied.warehouse)) == 4
    copied.warehouse.catalog.unlink()
    assert command("releases", "prune", *at)[:2] == (0, f"removed {more[0]}: not promoted\n")
    with closing(sqlite3.connect(copied.warehouse.catalog)) as catalog:
        assert (more[0],) in catalog.execute("select release from releases where is_pruned").fetchall()
    assert command("releases", "prune", "latest", *at)[:2] == (0, f"removed {more[2]}: named\n")
    assert command("releases", "prune", *at)[:2] == (0, "nothing to remove\n")
    assert sealed_ids(copied.warehouse) == [copied.release_id, more[1]]


def test_show_reads_the_manifest_alone(command: Command, copied: Built) -> None:
    copied.release.folder.chmod(0o755)
    copied.release.database.unlink()
    status, shown, _ = command("releases", "show", copied.release_id, "--warehouse", copied.warehouse.folder)
    rows = copied.manifest.rows
    assert status == 0 and f"{rows['read']:,} read = {rows['accepted']:,} accepted + {rows['duplicates']:,} duplicates" in shown
    assert (
        f"seed         {copied.manifest.settings['seed']}\n" in shown
        and "parity_users = 40" in shown
        and "{" not in shown
        and "@0" not in shown
    )
    assert f"{copied.manifest.verdict['reason']} (nDCG counts every held-out row)\n" in shown  # of purchases every row counts
    found = [row for row in copied.manifest.check_rows if row["n_rows"]]
    said = next(line for line in shown.splitlines() if line.startswith("checks"))
    assert said.startswith(f"checks       {copied.manifest.checks['n_checks']} checks, of which {len(found)} found rows: ") and found
    for row in found:
        assert f"{row['name']} (warning, {row['n_rows']} of items)" in said
    heads = next(line.split() for line in shown.splitlines() if line.startswith("protocol"))
    line = next(line.split() for line in shown.splitlines() if line.startswith("held_out_last  ndcg@10"))
    values = {
        row["model"]: row["value"] for row in copied.manifest.metrics if (row["protocol"], row["metric"]) == ("held_out_last", "ndcg")
    }
    assert [float(cell.rstrip("*")) for cell in line[2:]] == [round(values[model], 4) for model in heads[4:] if model in values]
    assert {float(cell[:-1]) for cell in line[2:] if cell.endswith("*")} == {round(max(values.values()), 4)}
    status, shown, _ = command("releases", "show", "current", "--warehouse", copied.warehouse.folder, "--json")
    assert json.loads(shown) == json.loads(copied.manifest.to_json())


def test_verify_passes_a_good_release(command: Command, purchase_release: Built) -> None:
    status, shown, _ = command("releases", "verify", purchase_release.release_id, "--warehouse", purchase_release.warehouse.folder)
    assert status == 0 and shown.splitlines()[-1] == f"release {purchase_release.release_id} verifies"
    assert all(name in shown for name in purchase_release.manifest.files)
    n = purchase_release.manifest.parity["n_users"]
    assert f"{n} of {n} lists derived again are the stored ones" in shown


@pytest.mark.parametrize(
    "name", ["cinematch.db", "tables/explanations.parquet", "model/ials/item_factors.npy", "model/items/parameters.json"]
)
def test_verify_names_the_file_that_changed(command: Command, copied: Built, name: str) -> None:
    path = copied.release.folder / name
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    status, shown, said = command("releases", "verify", copied.release_id, "--warehouse", copied.warehouse.folder)
    assert status == 5 and "roll back or import a good copy" in said
    assert [line.split()[:2] for line in shown.splitlines() if "changed" in line] == [[name, "changed"]]


def test_verify_has_no_time_for_a_file_that_cannot_be_opened(command: Command, copied: Built) -> None:
    cut(copied.release.folder / "tables/popular.parquet", 10)
    status, shown, _ = command("releases", "verify", copied.release_id, "--warehouse", copied.warehouse.folder)
    (line,) = [line for line in shown.splitlines() if line.startswith("tables/popular.parquet")]
    assert status == 5 and line.split()[-1] == "0.00", "its size is the last figure"


def test_a_release_goes_out_and_comes_back_by_command(command: Command, purchase_release: Built, tmp_path: Path) -> None:
    name, other = purchase_release.release_id, tmp_path / "other"
    assert command("releases", "export", name, tmp_path, "--warehouse", purchase_release.warehouse.folder)[0] == 0
    assert command("releases", "import", tmp_path / f"{name}.cinematch.zip", "--warehouse", other)[0] == 0
    assert sealed_ids(Warehouse(other)) == [name] and current_id(Warehouse(other)) is None
    assert command("releases", "verify", name, "--warehouse", other)[0] == 0
    assert command("releases", "promote", name, "--warehouse", other, "--reason", "checked")[0] == 0
    assert current_id(Warehouse(other)) == name
    status, shown, _ = command("releases", "compare", name, name, "--warehouse", other, "--json")
    assert status == 0 and json.loads(shown)["mean_overlap_at_10"] == 1.0


def is_flat(figures: dict) -> bool:
    return all(value is None or isinstance(value, (str, int, float, bool)) for value in figures.values())


def test_a_light_step_prints_its_figures_last_and_writes_them_to_a_file(command: Command, copied: Built, tmp_path: Path) -> None:
    second = add_release(copied, "20990101T000000Z")
    figures_file = tmp_path / "figures.json"
    status, shown, _ = command("promote", "--release", second, "--warehouse", copied.warehouse.folder, "--json", figures_file)
    figures = json.loads(shown.splitlines()[-1])
    assert status == 0 and is_flat(figures) and figures["release"] == second and figures["previous"] == copied.release_id
    assert json.loads(figures_file.read_text()) == figures
    assert current_id(copied.warehouse) == second
    counts, served = copied.manifest.counts, copied.manifest.served_model
    assert [figures[f"n_{name}"] for name in ("users", "items", "ratings", "lists")] == [
        counts[name] for name in ("users", "items", "ratings", "ready_lists")
    ]
    measured = {(row["model"], row["protocol"], row["metric"]): row["value"] for row in copied.manifest.metrics}
    assert figures["served_model"] == served and figures["coverage@10"] == measured[served, "held_out_last", "coverage"]
    assert figures["ndcg@10"] == measured[served, "held_out_last", "ndcg"] and "ndcg_liked@10" not in figures


def test_every_step_as_a_process_of_its_own_builds_a_release(tmp_path: Path) -> None:
    """Settings that an early step was given hold for the later ones, which are told nothing but the release."""
    write_tiny_ratings(tmp_path / "ratings.csv")
    name = "20260104T020000Z"
    small = ["--ials-factors", "3", "--ials-iterations", "2", "--models", "popular,ials", "--serve", "ials", "--n", "7"]
    given = {
        "ingest": ["--source", "table", "--path", "ratings.csv", "--min-interactions", "50"],
        "train": small[:-2],
        "evaluate": [],
        "recommend": small[-2:],
        "seal": ["--parity-users", "5"],
        "promote": [],
    }
    for step, flags in given.items():
        spark = [] if step == "promote" else ["--spark-master", "local[2]"]
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", step, "--release", name, "--warehouse", "w", "--json", f"{step}.json", *spark, *flags],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout.splitlines()[-1])
        assert is_flat(figures) and (figures["step"], figures["release"]) == (step, name)
        assert json.loads((tmp_path / f"{step}.json").read_text()) == figures
        assert any(key.endswith("_s") for key in figures)
    built = Built(Warehouse(tmp_path / "w"), name)
    assert current_id(built.warehouse) == name
    settings = built.manifest.settings
    assert (settings["ials_factors"], settings["n"], settings["min_interactions"], settings["parity_users"]) == (3, 7, 50, 5)
    assert [row["model"] for row in built.manifest.models] == ["ials", "popular"]
    assert [step["step"] for step in built.manifest.steps] == ["ingest", "train", "evaluate", "recommend", "seal"]


def test_a_read_only_warehouse_is_a_sentence(copy_warehouse, purchase_release: Built) -> None:
    """As an ordinary user, who may read and not write; root may write everywhere."""
    built: Built = copy_warehouse(purchase_release)
    script = """
import os, sys
import jobs.cli, jobs.privacy.forget, jobs.run, jobs.machine.needs, jobs.ingest.overlay_archive, sqlite_utils, warehouse.catalog, warehouse.online
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print([jobs.cli.main([*words.split(), "--warehouse", sys.argv[1]]) for words in sys.argv[2:]])
"""
    folder = built.warehouse.folder
    outer = [folder, *folder.parents]
    for path in outer[: outer.index(Path(tempfile.gettempdir()))]:
        path.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    commands = ["forget somebody", f"releases promote {built.release_id}", "releases prune", "run --source sample"]
    done = subprocess.run([sys.executable, "-c", script, str(folder), *commands], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["[4, 4, 4, 4]"] and "Traceback" not in done.stderr, done.stdout + done.stderr


def test_a_source_that_changes_while_it_is_read_is_refused(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest would have the digest of other rows than the release was built from."""
    path = write_tiny_ratings(tmp_path / "ratings.csv")
    close = Reading.close

    def grow_and_close(self: Reading, refused: pa.Table) -> None:
        close(self, refused)
        with path.open("a") as file:
            file.write("1,1,5,1600000000\n")

    monkeypatch.setattr(Reading, "close", grow_and_close)
    status, _, said = command("run", "--source", "table", "--path", path, "--warehouse", tmp_path / "w")
    assert status == 3 and "ratings.csv: the source changed while it was read" in said


def test_a_pipe_is_not_waited_for(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    os.mkfifo(path)
    status, _, said = command("run", "--source", "table", "--path", path, "--warehouse", tmp_path / "w")
    assert status == 3 and "expected a file" in said and "Traceback" not in said


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("sent, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_leaves_nothing_in_staging(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    running = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from jobs.command import main; sys.exit(main())",
            "run",
            "--source",
            "sample",
            "--warehouse",
            str(tmp_path),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("releases/.staging/*.work")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(sent)
    _, said = running.communicate(timeout=60)
    assert running.returncode == status and "stopped; nothing was promoted" in said and "Traceback" not in said, said
    assert not list((tmp_path / "releases" / ".staging").iterdir())
