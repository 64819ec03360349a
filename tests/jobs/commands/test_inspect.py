"""`cinematch inspect` says how a file would be read, and its command reads it so."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import main
from tests.conftest import DATA

FILE = "Kunde;Artikel;Sterne;Zeit;Notiz\n" + "".join(f"k{n % 11};a{n % 13};{n % 5},5;{n % 28 + 1}.03.2021;x\n" for n in range(120))


def inspected(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_a_file_with_its_guesses_first_rows_and_what_would_be_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a b.csv"
    path.write_bytes((FILE + "k1;a1;viel;1.03.2021;x\nk2;a1;1,5;31.02.2021;x\nk2;a3;mehr;2.03.2021;x\n").encode("utf-16"))
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\na1,One\na2,Two\nz,Three\n")
    columns = "user_id=Kunde,item_id=Artikel,rating=Sterne,rated_at=Zeit"
    shown = inspected(capsys, str(path), "--columns", columns, "--items", str(items))
    lines = [line.strip() for line in shown.splitlines()]
    assert "file          utf-16, fields delimited by ';'".split() in [line.split() for line in lines]
    for name, said in (
        ("left_out", "Notiz"),
        ("decimals", "rating 3,5 as 3.5"),
        ("times", "dates, day first"),
        ("catalogue", "3 items, 2 of the 13"),
    ):
        assert any(line.startswith(name) and said in line for line in lines), name
    assert lines[lines.index("first rows") + 2].split() == ["2", "k0", "a0", "0.5", "1.0", "2021-03-01", "00:00:00"]
    assert "3 of the first 123 rows would be refused" in lines
    assert "1  rating 'viel' is not a number; line 122: k1;a1;viel;1.03.2021;x" in lines
    command = shlex.split(lines[-1])
    assert command[:6] == ["cinematch", "run", "--source", "table", "--path", str(path)]
    assert command[command.index("--items") + 1] == str(items) and command[command.index("--columns") + 1] == columns
    read = [sys.executable, "-m", "jobs.cli", "ingest", *command[2:], "--warehouse", str(tmp_path / "w"), "--release", "20260101T000000Z"]
    subprocess.run([*read, "--json", str(tmp_path / "f.json")], check=True, capture_output=True, timeout=120)
    figures = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert figures["n_quarantined"] == 3 and figures["read_decimals"] == "rating 3,5 as 3.5" and figures["read_file"].startswith("utf-16")


def test_the_encoding_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("user_id;item_id;title;genres\nMüller;Tür;Vase Grün;Möbel\n".encode("latin-1"))
    (tmp_path / "items.csv").write_bytes(path.read_bytes())
    shown = inspected(capsys, str(path), "--items", str(tmp_path / "items.csv"))
    for name in ("file", "items_file"):
        assert f"{name} cp1252 (it is not UTF-8), fields delimited by ';'".split() in [line.split() for line in shown.splitlines()]
    assert "0 of the first 1 rows would be refused" in shown and "Müller" in shown
    path.write_text("user_id;item_id\nMüller;Tür\n", encoding="utf-8")
    assert "utf-8, fields delimited by ';'" in inspected(capsys, str(path))


def test_guessed_columns_stand_in_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x.csv").write_text("user,item\n1,2\n")
    assert inspected(capsys, str(tmp_path / "x.csv")).splitlines()[-1].endswith("--columns user_id=user,item_id=item")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_last_line_without_an_end_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture, encoding: str) -> None:
    path, rows = tmp_path / "x.csv", "user,item,rating\n" + "".join(f"{n % 31},{n % 17},{n % 5 + 1}\n" for n in range(3000))
    path.write_bytes(rows[:-1].encode(encoding))
    assert "0 of the first 3,000 rows would be refused" in inspected(capsys, str(path))
    path.write_bytes(f"{rows}7,1".encode(encoding))
    shown = inspected(capsys, str(path))
    assert "1 of the first 3,001 rows would be refused" in shown and "expected 3 fields, got 2; line 3002: 7,1" in shown


def test_a_last_object_without_an_end_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "x.jsonl").write_text('{"user": 1, "item": 2}\n{"user": 1, "item": 3}\n{"user": 1, "it')
    assert "1 of the first 3 rows would be refused" in inspected(capsys, str(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(
    ("text", "said"), [("a,b\n1,2\n", "no column for user_id and item_id"), ("user,item\n", "no row below"), ("", "empty")]
)
def test_what_cannot_be_read_says_why(tmp_path: Path, capsys: pytest.CaptureFixture, text: str, said: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert main(["inspect", str(tmp_path / "x.csv")]) == 3 and said in capsys.readouterr().err
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04")
    assert main(["inspect", str(tmp_path / "x.zip")]) == 3 and "not a readable zip" in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "ml-latest-small").exists(), reason="ml-latest-small is not there")
def test_a_movielens_data_set_is_told_from_a_table(capsys: pytest.CaptureFixture) -> None:
    for path in (DATA / "ml-latest-small", DATA / "ml-latest-small" / "ratings.csv"):
        assert f"cinematch run --source movielens --path {path}" in inspected(capsys, str(path))
