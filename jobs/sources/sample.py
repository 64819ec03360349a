"""The generated sample: made once for a seed and a scale, kept as Parquet, read back like any other input."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.sources import Batch, Catalogue
from jobs.sources.accept import accept, quarantine, Rules
from jobs.sources.files import open_file
from jobs.sources.sample_films import make_films, sizes
from jobs.sources.sample_ratings import counts_of_users, rating_cells, SCALE
from jobs.sources.times import SECOND
from jobs.sources.users import Attributes

VERSION = 2
RECORD = "rows.json"
PART_ROWS = 1_500_000


@dataclass(frozen=True)
class Sample:
    """A generated sample in its folder: items.parquet and ratings/part-*.parquet."""

    folder: Path
    latest: datetime
    rating_scale: tuple[float, float] = SCALE
    name: str = field(default="sample", init=False)
    user_id_type: str = field(default="int64", init=False)
    item_id_type: str = field(default="int64", init=False)
    read_as: Mapping[str, str] = field(default_factory=dict, init=False)
    digests: Mapping[str, str] = field(default_factory=dict, init=False)
    earliest: datetime | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.folder / "items.parquet", *sorted((self.folder / "ratings").glob("*.parquet")))

    def interactions(self) -> Iterator[Batch]:
        ratings = open_file(self.folder / "ratings")
        rules = Rules("ratings", self.latest, "int64", "int64", self.rating_scale, SECOND, earliest=self.earliest)
        for block in ratings.blocks({name: name for name in ("user_id", "item_id", "rating", "rated_at")}):
            yield accept(block, rules)

    def users(self) -> Iterator[Attributes]:
        return iter(())

    def catalogue(self) -> Catalogue:
        items = pq.read_table(self.folder / "items.parquet")
        return Catalogue(items, quarantine("items.parquet", []), items.num_rows)


def open_sample(folder: Path, *, seed: int, scale: float, latest: datetime) -> Sample:
    """The sample of this seed and scale in `folder`, generated unless it is there."""
    kept = folder / f"seed-{seed}-scale-{scale}-v{VERSION}"
    if not _is_whole(kept):
        shutil.rmtree(kept, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{kept.name}-", dir=folder))
        try:
            generate(made, seed=seed, scale=scale)
            made.chmod(0o755)
            _put(made, kept)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return Sample(kept, latest)


def generate(folder: Path, *, seed: int, scale: float) -> None:
    """Writes the sample, a part at a time."""
    n_users, n_films, n_ratings = sizes(scale)
    films, items = make_films(n_films, seed)
    pq.write_table(items, folder / "items.parquet")
    (folder / "ratings").mkdir()
    n_parts, waiting = 0, []
    for cell in rating_cells(films, counts_of_users(n_users, n_films, n_ratings, seed), seed):
        waiting.append(cell)
        if sum(table.num_rows for table in waiting) >= PART_ROWS:
            n_parts, waiting = _write(waiting, folder, n_parts), []
    if waiting:
        _write(waiting, folder, n_parts)
    (folder / RECORD).write_text(json.dumps(_counted(folder)) + "\n")


def _is_whole(folder: Path) -> bool:
    """Whether the files hold what was written into them; the record is written last."""
    try:
        return json.loads((folder / RECORD).read_text()) == _counted(folder)
    except (OSError, ValueError, pa.ArrowException):
        return False


def _counted(folder: Path) -> dict[str, int]:
    """Rows of each file, from their footers."""
    return {str(path.relative_to(folder)): pq.read_metadata(path).num_rows for path in sorted(folder.rglob("*.parquet"))}


def _write(cells: list[pa.Table], folder: Path, n_parts: int) -> int:
    pq.write_table(pa.concat_tables(cells), folder / "ratings" / f"part-{n_parts:05d}.parquet", compression="zstd")
    return n_parts + 1


def _put(made: Path, kept: Path) -> None:
    """Renames the finished folder into place; where another process was faster, its folder is the same."""
    try:
        os.rename(made, kept)
    except OSError:
        if not kept.is_dir():
            raise
