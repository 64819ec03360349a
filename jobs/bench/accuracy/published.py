"""Cuts as they are published: a file of training rows and one of tested rows, which may be lists of a user and their items."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from jobs.sources import Source
from jobs.sources.open import open_source
from schemas.errors import SourceError
from schemas.settings import Settings

LOOKED_AT = 1_000  # lines


def opened(train: str, test: str, settings: Settings, *, folder: Path, latest: datetime) -> tuple[Source, Source]:
    """Open the two files of a cut as tables. `folder` takes the pairs of files of lists. Raises SourceError if a file cannot be read."""
    paths = Path(train), Path(test)
    if is_of_lists(paths[0]):
        paths = as_pairs(paths[0], folder / "train.csv"), as_pairs(paths[1], folder / "test.csv")
    sources = (open_source(replace(settings, source="table", path=str(path)), raw=folder, latest=latest) for path in paths)
    return next(sources), next(sources)


def is_of_lists(path: Path) -> bool:
    """Tell whether each line of a file is a user and then their items, as many as there are, with spaces between them: the cuts of
    LightGCN are such files. The rows of a table have all as many values."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line for line in map(str.strip, islice(file, LOOKED_AT)) if line]
    except UnicodeDecodeError:  # a compressed file, or a Parquet file
        return False
    except OSError as error:
        raise SourceError(f"{path}: expected a file of rows: {error.strerror}") from None
    return all(map(_is_list, lines)) and len({line.count(" ") for line in lines}) > 1


def as_pairs(path: Path, pairs: Path) -> Path:
    """Write the lists of a file as a CSV of user_id and item_id, and return its path. Raises SourceError if a line is no list."""
    with path.open(encoding="utf-8") as file, pairs.open("w", encoding="utf-8") as out:
        out.write("user_id,item_id\n")
        for number, line in enumerate(map(str.strip, file), 1):
            if line and not _is_list(line):
                raise SourceError(
                    f"{path}, line {number}: expected a user and their items, whole numbers, as in the training rows: {line[:80]!r}"
                )
            user, *items = line.split() or [""]
            out.writelines(f"{user},{item}\n" for item in items)
    return pairs


def _is_list(line: str) -> bool:
    return all(part.isascii() and part.isdigit() for part in line.split(" "))
