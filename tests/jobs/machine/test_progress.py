"""What a log says while work goes on, and what it leaves out."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from jobs.machine import progress
from jobs.machine.progress import Progress
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


def test_what_java_greets_with_is_left_out_and_what_it_says_later_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    with java_greetings.left_out():
        started = subprocess.Popen(
            ["sh", "-c", f'printf "%s" "{NOISE}" >&2; read line; echo "SPARK ERROR $line" >&2'], stdin=subprocess.PIPE, text=True
        )
    subprocess.run(["sh", "-c", "echo mine >&2"], check=True)
    started.communicate("lost a task")
    said = ""
    while "lost a task" not in said:
        said += capfd.readouterr().err
    assert sorted(said.splitlines()) == ["SPARK ERROR lost a task", "mine"]
