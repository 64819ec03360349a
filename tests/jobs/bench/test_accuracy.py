"""bench accuracy, run small for real: what it writes, that the tested rows teach nothing, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path

import numpy as np
import pytest

from jobs.bench.accuracy.compare import _lay_out
from jobs.bench.accuracy.cuts import Cut, cuts, Cutting, GIVEN, PROTOCOLS
from jobs.bench.accuracy.data import Dataset, read
from jobs.bench.accuracy.figures import figures
from jobs.bench.accuracy.model import Bench, measured
from jobs.bench.accuracy.published import as_pairs, is_of_lists
from jobs.cli import main
from jobs.kernels.evaluation.protocols import last_fraction, random_ratio
from jobs.sources.open import open_source
from schemas.errors import SourceError, UsageError
from schemas.settings import resolve
from tests.jobs.kernels import plain

SMALL = {"scale": "0.05", "ials_factors": "8", "ials_iterations": "3", "als_factors": "4", "als_iterations": "3"}
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
TRAINED = ("popular", "item_neighbours", "transitions", "ease", "ials", "als", "hybrid")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    settings = resolve(SMALL, {})
    return read(open_source(settings, raw=tmp_path_factory.mktemp("raw"), latest=AS_OF), settings)


def all_of(folder: Path, data: Dataset, cutting: Cutting, models: tuple[str, ...]) -> dict[str, tuple[dict, list[np.ndarray]]]:
    """Figures of each model, and the arrays of the item sides that it left."""
    _lay_out(folder, data, resolve(SMALL, {}), cutting, k=10, tune=False)
    bench = Bench(folder)
    found = {}
    for name in models:
        values, _ = measured(bench, name)
        arrays = [np.load(path) for path in sorted(folder.glob(f"cut-*/*/model/{name}/*.npy"))]
        found[name] = figures(values, k=10, seed=1), arrays
    return found


def planted(data: Dataset, cut: Cut, seed: int) -> Dataset:
    """Return the data with its training rows unchanged. Each tested row gets the highest rating and strength, and a time that gives its item away."""
    test, rows = cut.split.test, data.rows
    ratings, times, strengths = rows.ratings.copy(), rows.times.copy(), np.array(data.strengths)
    ratings[test], strengths[test] = 5.0, 1.0
    times[test] = 10**9 + rows.items[test]
    return replace(data, rows=rows._replace(ratings=ratings, times=times), strengths=strengths)


@pytest.mark.parametrize("protocol", ["last_fraction", "random_ratio", "leave_one_out"])
def test_a_signal_in_the_tested_rows_moves_no_metric(tmp_path: Path, data: Dataset, protocol: str, monkeypatch) -> None:
    cutting = Cutting(protocol, 1)
    cut = next(cuts(cutting, data.rows, has_times=True))
    before = all_of(tmp_path / "a", data, cutting, TRAINED)
    monkeypatch.setattr("jobs.bench.accuracy.compare.cuts", lambda *_, **__: iter([cut]))  # the plant must not change who is tested
    after = all_of(tmp_path / "b", planted(data, cut, 1), cutting, TRAINED)
    for name in TRAINED:
        for metric, value in before[name][0].items():
            if not metric.startswith(("rmse", "mae")) and "_liked_" not in metric:  # these look at the planted ratings themselves
                assert after[name][0][metric] == value, (name, metric)
        for ours, theirs in zip(before[name][1], after[name][1], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_other_answers_change_no_item_side(tmp_path: Path, data: Dataset, monkeypatch) -> None:
    """Tested rows are given to other users' items: what was learned is the same, and what is found is not."""
    cutting = Cutting("last_fraction", 1)
    cut = next(cuts(cutting, data.rows, has_times=True))
    monkeypatch.setattr("jobs.bench.accuracy.compare.cuts", lambda *_, **__: iter([cut]))
    items = data.rows.items.copy()
    items[cut.split.test] = np.random.default_rng(3).permutation(items[cut.split.test])
    before = all_of(tmp_path / "a", data, cutting, TRAINED)
    after = all_of(tmp_path / "b", replace(data, rows=data.rows._replace(items=items)), cutting, TRAINED)
    for name in TRAINED:
        for ours, theirs in zip(before[name][1], after[name][1], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert after["ease"][0]["ndcg_at_10"] < before["ease"][0]["ndcg_at_10"]


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "given_in_time"])
def test_tuning_sees_no_tested_row(data: Dataset, protocol: str) -> None:
    files, is_tested = {}, None
    if protocol.startswith(GIVEN):
        files = {"train": "a.csv", "test": "b.csv"}
        made_by = random_ratio(data.rows, seed=3) if protocol == GIVEN else last_fraction(data.rows)
        protocol, is_tested = GIVEN, made_by.test
    for cut in cuts(Cutting(protocol, 1, **files), data.rows, has_times=True, is_tested=is_tested):
        inner = cut.validation
        assert len(inner.users) and not (cut.split.test & (inner.train | inner.test | inner.history)).any()
        assert not (inner.test & inner.train).any()
        if not cut.is_same_training:
            assert not ((inner.train | inner.test) & ~cut.split.train).any()


def test_one_command_compares_models(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["bench", "accuracy", "--source", "sample", "--models", "popular,ease,hybrid", "--json", str(tmp_path / "rows.json")]
    arguments += ["--warehouse", str(tmp_path / "warehouse"), "--protocol", "leave_one_out", "--negatives", "20"]
    arguments += [part for name, value in SMALL.items() for part in (f"--{name.replace('_', '-')}", value)]
    assert main(arguments) == 0
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert {row["model"] for row in rows} == {"popular", "ease", "hybrid"}
    assert rows == sorted(rows, key=lambda row: -row["ndcg_at_10"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == rows
    for row in rows:
        assert row["status"] == "trained" and row["protocol"] == "leave_one_out" and row["negatives"] == "20"
        assert row["ndcg_at_10_low"] <= row["ndcg_at_10"] <= row["ndcg_at_10_high"] <= 1 and row["hit_rate_at_10"] == row["recall_at_10"]
        assert 0 < row["ndcg_liked_at_10"] <= 1 and row["ndcg_liked_at_10"] != row["ndcg_at_10"]
        assert 0 < row["below_mean_at_10_low"] <= row["below_mean_at_10"] < 1  # `hybrid` brings the ratings that are predicted
        assert row["fit_s"] >= 0 and row["peak_mib"] > 0 and not any(isinstance(value, (dict, list)) for value in row.values())
    assert rows[0]["ndcg_at_10_over_best"] == 0 and all(row["ndcg_at_10_over_best"] <= 0 for row in rows)
    assert {row["model"]: row["rmse"] is not None for row in rows} == {"popular": False, "ease": False, "hybrid": True}
    assert next(row for row in rows if row["model"] == "hybrid")["chosen_half_life"] > 0


def test_a_given_cut_is_measured_as_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Lists of a user and their items, as cuts are published: 40 users of 60 items, of which each has some of 12 and 2 are tested."""
    draw = np.random.default_rng(5)
    own = [draw.choice(60, 14, replace=False) for _ in range(40)]
    for name, part in (("train", slice(0, 12)), ("test", slice(12, 14))):
        (tmp_path / f"{name}.txt").write_text(
            "".join(f"{u} {' '.join(map(str, items[part][: 11 + u % 2]))}\n" for u, items in enumerate(own))
        )
    arguments = ["bench", "accuracy", "--protocol", "given", "--train", str(tmp_path / "train.txt"), "--test", str(tmp_path / "test.txt")]
    arguments += ["--models", "popular,item_neighbours", "--json", str(tmp_path / "rows.json"), "--warehouse", str(tmp_path / "w")]
    assert main(arguments) == 0
    found = {row["model"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))}
    popular = found["popular"]
    assert (popular["n_users"], popular["n_train"], popular["n_test"], popular["test"]) == (40, 460, 80, str(tmp_path / "test.txt"))
    counts = np.bincount(np.concatenate([items[: 11 + u % 2] for u, items in enumerate(own)]), minlength=60)
    order, recall, ndcg, rare = np.lexsort((np.arange(60), -counts)), [], [], []
    is_rare = set(order[12:].tolist())
    for u, items in enumerate(own):
        listed = [item for item in order.tolist() if item not in items[: 11 + u % 2]]
        tested = set(items[12:].tolist())
        recall.append(len(tested & set(listed[:20])) / 2)
        ndcg.append(plain.ndcg(listed, tested, 20))
        if tested & is_rare:
            rare.append(plain.ndcg(listed, tested & is_rare, 10))
    for metric, values in (("recall_at_20", recall), ("ndcg_at_20", ndcg), ("ndcg_rare_at_10", rare)):
        assert popular[metric] == pytest.approx(np.mean(values), abs=1e-5), metric
    assert 0 < np.mean(rare) < np.mean(ndcg) and found["item_neighbours"]["status"] == "trained"
    capsys.readouterr()
    assert main(arguments[:4]) == 2
    assert "given: expected --train FILE and --test FILE" in capsys.readouterr().err
    (tmp_path / "test.txt").write_text("0 1 1 1\n0 1\n")
    (tmp_path / "train.txt").write_text("0 1\n0 1 1\n" + "".join(f"{n} {n % 7} 8\n" for n in range(1, 60)))
    assert main(arguments) == 2
    assert "rows to train on and to test that are not the same pairs" in capsys.readouterr().err


def test_a_table_of_whole_numbers_is_no_file_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in (b"1 2 5\n1 3 4\n", b"user item\n1 2\n1 2 3\n", b"1\t2\n3\t4\t5\n", b"1 2\n1 x 3\n", b"", b"\x89\xff"):
        path.write_bytes(text)
        assert not is_of_lists(path)
    path.write_text("7 1 2\n9 3\n\n8\n")
    assert is_of_lists(path) and as_pairs(path, tmp_path / "b.csv").read_text() == "user_id,item_id\n7,1\n7,2\n9,3\n"
    path.write_text("7 1 2\n9 3;\n")
    with pytest.raises(SourceError, match=r"a.txt, line 2: expected a user and their items, whole numbers, .*'9 3;'"):
        as_pairs(path, tmp_path / "b.csv")
    with pytest.raises(SourceError, match="missing.txt: expected a file of rows: No such file"):
        is_of_lists(tmp_path / "missing.txt")


def test_a_model_that_fails_says_so_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["bench", "accuracy", "--source", "sample", "--scale", "0.05", "--warehouse", str(tmp_path), "--models", "popular,ease"]
    assert main([*arguments, "--ease-mib", "1", "--json", str(tmp_path / "rows.json")]) == 4
    assert "1 of 2 models failed: ease (ResourceError: ease over" in capsys.readouterr().err
    found = {row["model"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))}
    assert found["popular"]["status"] == "trained" and found["ease"]["status"] == "failed" and "MiB" in found["ease"]["message"]


def test_a_source_without_ratings_or_times(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    pairs = np.unique(draw.integers(0, 30, (600, 2)), axis=0)
    (tmp_path / "rows.csv").write_text("customer,product\n" + "".join(f"c{u},p{i}\n" for u, i in pairs))
    arguments = ["bench", "accuracy", "--source", "table", "--path", str(tmp_path / "rows.csv"), "--warehouse", str(tmp_path / "w")]
    arguments += [
        "--columns",
        "user_id=customer,item_id=product",
        "--models",
        "popular,als,transitions",
        "--json",
        str(tmp_path / "rows.json"),
    ]
    assert main([*arguments, "--protocol", "last_fraction"]) == 2
    assert main([*arguments, "--protocol", "random_ratio", "--stratify", "item"]) == 0
    found = {row["model"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))}
    assert found["als"] | {"status": "skipped", "message": "the source has no ratings"} == found["als"]
    assert found["popular"]["rmse"] is None and not [key for key in found["popular"] if "liked" in key or "below" in key]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "last"}, "expected one of last_fraction"),
        ({"protocol": "kfold", "fraction": 0.2}, "--fraction means nothing to kfold"),
        ({"protocol": "last_fraction", "fraction": 1.0}, "below 1, got 1.0"),
        ({"protocol": "leave_one_out", "negatives": "many"}, "a count such as 99, or all"),
        ({"protocol": "kfold", "folds": 1}, "--folds: expected at least 2, got 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Cutting(seed=1, **options)


def test_pairs_count_once_as_when_ingested(tmp_path: Path) -> None:
    lines = ["user_id,item_id,rated_at,weight", "7,a,100,2", "7,b,50,1", "7,a,90,3", "8,a,10,1"] + [f"9,x{n},5,1" for n in range(120)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = resolve({"source": "table", "path": str(tmp_path / "rows.csv")}, {})
    data = read(open_source(settings, raw=tmp_path, latest=AS_OF), settings)
    ids = data.items["item_id"].to_pylist()
    mine = [(ids[i], t, round(s, 6)) for u, i, t, s in zip(data.rows.users, data.rows.items, data.rows.times, data.strengths) if u == 0]
    assert mine == [("a", 100, round(float(np.log2(6)), 6)), ("b", 50, 1.0)]
