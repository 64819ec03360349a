"""Fixtures for every folder: two releases built once a session by the product itself, and copies of them to change."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest
from hypothesis import HealthCheck, settings as hypothesis_settings

from jobs.staging.file_locks import locked
from schemas.manifest import Manifest
from schemas.settings import resolve, Settings
from tests import class_archive, tiers
from warehouse.layout import Release, Warehouse
from warehouse.release import current_id, read_manifest

# A shared machine decides how long an example takes; what it does must not depend on that. Examples repeat from run to run.
hypothesis_settings.register_profile(
    "cinematch",
    deadline=None,
    derandomize=True,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
hypothesis_settings.load_profile("cinematch")

# Spark runs for seconds here, so compiling its code well costs more than it saves; half the time of every step.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("CINEMATCH_TEST_DATA", ROOT / "no data"))  # real data sets; without them some tests are skipped, by name
SMALL = {
    "spark_master": "local[2]",
    "spark_driver_memory": "1g",
    "ials_factors": 16,
    "ials_iterations": 4,
    "als_factors": 8,
    "als_iterations": 4,
    "n": 20,
    "explain_n": 10,
    "similar_n": 10,
    "popular_n": 50,
    "parity_users": 40,
}


class Built(NamedTuple):
    """A warehouse and the release that was promoted in it."""

    warehouse: Warehouse
    release_id: str

    @property
    def release(self) -> Release:
        return self.warehouse.sealed(self.release_id)

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.release)


def small_settings(folder: Path, **changed: object) -> Settings:
    """Settings that make a release in seconds, in the warehouse `folder`; nothing of this machine's environment counts."""
    return resolve(SMALL | {"warehouse": str(folder)} | changed, {}, folder=folder)


def build(folder: Path, **changed: object) -> Built:
    """Run every step, as the command does."""
    from jobs.run import run

    figures = run(small_settings(folder, **changed))
    assert figures["is_promoted"], figures["message"]
    return Built(Warehouse(folder), figures["release"])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(tiers.tier_of(item))


def cut(path: Path, at: int | None) -> None:
    """Keep the first bytes of a sealed file, or remove it."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    if at is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:at])


@pytest.fixture(autouse=True)
def _tier_is_kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of the tier `check` starts no process."""
    if request.node.get_closest_marker("check"):
        monkeypatch.setattr(subprocess.Popen, "__init__", _no_process)


def _no_process(*given: object, **more: object) -> NoReturn:
    pytest.fail("a test of the tier `check` starts a process; tests/tiers.py has to see by what")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """Settings of whoever runs the tests must not decide what they test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CINEMATCH_")]:
            patch.delenv(name)
        yield


CACHE = Path(tempfile.gettempdir()) / f"cinematch-test-releases-{os.getuid()}"
CACHED = 16  # versions of the code whose releases are kept, more than are tested at one time


@pytest.fixture(autouse=True, scope="session")
def _classes_are_shared(request: pytest.FixtureRequest) -> None:
    if any(not item.get_closest_marker("check") for item in request.session.items):
        os.environ.setdefault("SPARK_SUBMIT_OPTS", f"-XX:SharedArchiveFile={class_archive.shared(CACHE)}")


def built_once(name: str, make: Callable[[Path], Built]) -> Built:
    """Make a release for tests to share, or take the one that the same code has made before.

    It is kept beside a digest of all code that makes it, so that a change of a page or a test does not wait for Spark. It is made
    under a lock, so that tests that run at the same time share it, and marked when it is whole.
    """
    version = CACHE / _code_digest()
    version.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(version / f"{name}.lock"):
        folder, whole = version / name, version / f"{name}.whole"
        if not whole.exists():
            _remove(folder)
            make(folder)
            whole.touch()
        version.touch()
    for old in sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime)[:-CACHED]:
        _remove(old)
    warehouse = Warehouse(folder)
    return Built(warehouse, current_id(warehouse))


def _code_digest() -> str:
    """Digest of whatever decides what a release holds: steps, storage, declarations, pinned versions, and this file."""
    paths = [ROOT / "requirements.lock", Path(__file__)]
    for folder in ("jobs", "schemas", "warehouse"):
        paths += sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".sql") and not {"bench", "data"} & set(p.parts))
    digest = hashlib.sha256(sys.version.encode())
    for path in paths:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _remove(folder: Path) -> None:
    """Remove what may hold sealed releases, which are read-only."""
    for path in [folder, *folder.rglob("*")] if folder.exists() else []:
        if path.is_dir():
            path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def movie_release() -> Built:
    """The generated sample, small: whole-number ids, ratings on 0.5 to 5, titles, genres, tags. Do not change it."""
    return built_once("movies", lambda folder: build(folder, source="sample", scale=0.1, holdout_users=0.3))


@pytest.fixture(scope="session")
def purchase_release() -> Built:
    """Purchases of a shop: text ids with spaces, slashes and other alphabets, no ratings, short histories, rows to refuse,
    items that only the catalogue or only the purchases know. Do not change it."""
    return built_once("purchases", _purchases)


def _purchases(folder: Path) -> Built:
    folder.mkdir()
    purchases, items = write_purchases(folder)
    return build(
        folder,
        source="table",
        path=str(purchases),
        items=str(items),
        users=str(write_customers(folder)),
        user_columns="user_id=customer,segment=group,born=born",
        columns="user_id=customer,item_id=article,weight=quantity,rated_at=bought_at",
        item_columns="item_id=article,title=name,genres=category",
        holdout_users=0.3,
    )


@pytest.fixture
def copy_warehouse(tmp_path: Path) -> Callable[[Built], Built]:
    """A function that copies a built warehouse, to be changed by one test."""

    def copy(built: Built) -> Built:
        folder = tmp_path / "copied"
        shutil.copytree(built.warehouse.folder, folder, ignore=shutil.ignore_patterns("raw", ".staging"))
        return Built(Warehouse(folder), built.release_id)

    return copy


@pytest.fixture
def spark(tmp_path: Path) -> Iterator:
    """A Spark session as the steps have it. Building a release stops the session of its process, so it is one a test; the
    JVM behind it stays, and a session then takes a second."""
    from jobs.spark.session import spark_session

    with spark_session(small_settings(tmp_path), scratch=tmp_path / "spark") as session:
        yield session


PLACES = ("Zürich", "東京", "New York", "São Paulo/Centro", "Łódź", "O'Hara & Sons", "100%", "a+b=c?", "Ελλάδα", 'naïve "quoted"')
WARES = ("mug", "lamp", "clock", "frame", "bowl", "candle", "basket", "ribbon", "tile", "bell", "coaster", "jar")
ROOMS = ("kitchen", "living room", "garden/outdoor", "büro")
N_REFUSED_PURCHASES = 3


def write_customers(folder: Path) -> Path:
    """Write attributes of two thirds of the customers, and of one who has bought nothing; the e-mail is no column that is asked for."""
    rows = [
        (f"{PLACES[number % len(PLACES)]} #{number}", "VIP" if number % 3 else "", 1950 + number)
        for number in range(0, 60)
        if number % 3 < 2
    ]
    lines = [f"{user};{group};{born};{born}@example.org" for user, group, born in [*rows, ("Nobody #60", "VIP", 2010)]]
    path = folder / "customers.csv"
    path.write_text("\n".join(["customer;group;born;e-mail", *lines]) + "\n", encoding="utf-8")
    return path


def write_purchases(folder: Path) -> tuple[Path, Path]:
    """Purchases and a catalogue as CSV; users have tastes (two rooms each), and every special case occurs."""
    draw = random.Random(7)
    articles = [f"{ware}/{place}" for ware in WARES for place in PLACES[:5]]
    room_of = {article: ROOMS[i % len(ROOMS)] for i, article in enumerate(articles)}
    rows = []
    for number in range(60):
        user = f"{PLACES[number % len(PLACES)]} #{number}"
        liked = draw.sample(ROOMS, 2)
        wanted = [article for article in articles if room_of[article] in liked]
        n_bought = 1 + number % 3 if number < 6 else draw.randint(6, 18)
        for article in draw.sample(wanted, n_bought):
            at = f"2025-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d} {draw.randint(8, 19):02d}:30:00"
            rows.append([user, article, draw.choice((1, 1, 2, 6, 24)), at])
    rows += [[row[0], row[1], 3, "2025-12-29 10:00:00"] for row in rows[40:60]]
    rows += [["Zürich #0", "only in the purchases", 1, "2025-06-01 12:00:00"]]
    rows += [
        ["", articles[0], 1, "2025-06-01 12:00:00"],
        ["Łódź #4", articles[1], -2, "2025-06-01 12:00:00"],
        ["Łódź #4", articles[2], 1, "not a time"],
    ]
    catalogue = [[article, f"{article.split('/')[0]} from {article.split('/', 1)[1]}", room_of[article]] for article in articles]
    catalogue += [["never bought", "A shelf that nobody bought", "kitchen"]]
    return (
        _write_csv(folder / "purchases.csv", ["customer", "article", "quantity", "bought_at"], rows),
        _write_csv(folder / "articles.csv", ["article", "name", "category"], catalogue),
    )


def write_tiny_ratings(path: Path, *, n_users: int = 12, item_ids: Sequence = range(20), n_each: int = 10) -> Path:
    """Ratings 1 to 5, just enough to build a release."""
    draw = random.Random(1)
    rows = [
        [user, item, draw.randint(1, 5), 1_600_000_000 + draw.randint(0, 10**6)]
        for user in range(n_users)
        for item in draw.sample(item_ids, n_each)
    ]
    return _write_csv(path, ["user_id", "item_id", "rating", "rated_at"], rows)


def _write_csv(path: Path, header: list[str], rows: list[list]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path
