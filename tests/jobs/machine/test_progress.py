"""Lines that a log has while work goes on, lines that are kept out of it, and the watch over memory."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from jobs.machine import progress
from jobs.machine.progress import PeakMemory, Progress
from jobs.spark import java_greetings

NOISE = "WARNING: Using incubator modules: jdk.incubator.vector\nSetting default log level to WARN.\n"


@pytest.mark.parametrize(
    ("total", "done", "line"),
    [
        (1, 0, "ease: solving: 10 s so far"),
        (8, 0, "ease: solving: 10 s so far, 8 parts at work"),
        (8, 2, "ease: solving: 2 of 8 parts, 12.0 a minute, about 30 s left"),
    ],
)
def test_a_line_says_what_is_being_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], total: int, done: int, line: str
) -> None:
    times = iter([0.0, 0.0, 10.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(progress, "LINE_EVERY_S", 9.0)
    with Progress("ease: solving", total=total, unit="parts") as shown:
        shown.at(done)
    assert capsys.readouterr().err.splitlines() == [line]


def test_what_java_greets_with_is_left_out_and_what_it_says_later_is_not(tmp_path: Path) -> None:
    path, before = tmp_path / "stderr", os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        with java_greetings.left_out():
            started = subprocess.Popen(
                ["sh", "-c", f'printf "%s" "{NOISE}" >&2; read line; echo "SPARK ERROR $line" >&2'], stdin=subprocess.PIPE, text=True
            )
        subprocess.run(["sh", "-c", "echo mine >&2"], check=True)
        started.communicate("lost a task")
        deadline = time.monotonic() + 20
        while "lost a task" not in path.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.dup2(before, 2)
        os.close(before)
    assert sorted(path.read_text().splitlines()) == ["SPARK ERROR lost a task", "mine"]


def test_a_peak_is_remembered_and_memory_that_cannot_pass_it_is_not_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    n_walks, walk = [], psutil.Process.memory_full_info
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda process: n_walks.append(1) or walk(process))
    monkeypatch.setattr(progress, "tree", lambda: [psutil.Process()])  # a Java that other tests have started breathes
    before = progress.tree_mib()
    with PeakMemory(every_s=0.01) as peak:
        block, deadline = bytearray(b"x") * (256 << 20), time.monotonic() + 20
        while peak.mib < before + 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        del block
        time.sleep(0.1)  # a sample that was under way ends
        n_walks.clear()
        time.sleep(0.2)
    assert before + 200 < peak.mib < before + 400 and not n_walks


def test_samples_take_a_small_share_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample that costs 20 ms of processor time is followed by a pause of a second."""
    spent, pauses = iter([0.0, 0.02, 0.02, 0.0201]), []
    peak = PeakMemory(every_s=0.2)
    monkeypatch.setattr(progress, "time", SimpleNamespace(thread_time=lambda: next(spent)))
    monkeypatch.setattr(peak, "_sample", lambda: None)
    monkeypatch.setattr(peak, "_stop", SimpleNamespace(wait=lambda pause: pauses.append(pause) or len(pauses) == 3))
    peak._watch()
    assert pauses == pytest.approx([0.2, 1.0, 0.2])
