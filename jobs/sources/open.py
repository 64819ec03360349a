"""The source that the settings name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from jobs.sources import Source
from jobs.sources.databases import Database, is_database, open_database, shown
from jobs.sources.delimited import Written
from jobs.sources.download import fetched
from jobs.sources.file import File
from jobs.sources.files import check_nothing_said, open_file
from jobs.sources.movielens import open_movielens
from jobs.sources.sample import open_sample
from jobs.sources.scales import parsed
from jobs.sources.table import open_table
from jobs.sources.text import WINDOWS
from schemas.errors import SettingError, UsageError
from schemas.setting_groups import AUTO
from schemas.settings import Settings


def open_source(settings: Settings, *, raw: Path, latest: datetime, earliest: datetime | None = None) -> Source:
    """The source to read. `raw` is the warehouse's folder of inputs: what is downloaded or generated is kept
    there. What is before `earliest` is left out."""
    return replace(_opened(settings, raw=raw, latest=latest), earliest=earliest)


def _opened(settings: Settings, *, raw: Path, latest: datetime) -> Source:
    scale = parsed(settings.rating_scale)
    if settings.source == "sample":
        return open_sample(raw / "sample", seed=settings.seed, scale=settings.scale, latest=latest)
    if settings.source == "movielens":
        if is_database(settings.path):
            raise UsageError(f"source movielens: {shown(settings.path)} is a database; read it by source table")
        if settings.path:
            return open_movielens(Path(settings.path), latest=latest, rating_scale=scale)
        if settings.dataset:
            archive = fetched(settings.dataset, url=settings.dataset_url, folder=raw / "movielens")
            return open_movielens(archive, latest=latest, rating_scale=scale)
        raise UsageError("source movielens: expected path, a folder or zip, or dataset, such as ml-latest-small, to download")
    if not settings.path:
        raise UsageError("source table: expected path, of CSV, JSON lines, Parquet or a database with interactions")
    _check_files(settings)
    file: File | Database
    written = _written(settings)
    if is_database(settings.path):
        check_nothing_said(shown(settings.path), "a database", written)
        file = open_database(settings.path, query=settings.query, columns=settings.columns, password=settings.source_password)
    elif settings.query:
        raise SettingError(
            f"query: {settings.path} is no database; leave query out, or name a file of SQLite or DuckDB, or the URL of a database"
        )
    else:
        file = open_file(Path(settings.path), written)
    return open_table(
        file,
        latest=latest,
        columns=settings.columns,
        items=Path(settings.items) if settings.items else None,
        item_columns=settings.item_columns,
        users=Path(settings.users) if settings.users else None,
        user_columns=settings.user_columns,
        rating_scale=scale,
        date_format="" if settings.date_format == AUTO else settings.date_format,
        decimal="" if settings.decimal == AUTO else settings.decimal,
    )


def _check_files(settings: Settings) -> None:
    """Raise SettingError where one file is to be read as two things: each of its lines would be taken for a repetition of another."""
    named = {name: Path(value) for name in ("path", "items", "users") if (value := getattr(settings, name)) and Path(value).exists()}
    for name, other in (("items", "path"), ("users", "path"), ("users", "items")):
        if name in named and other in named and named[name].samefile(named[other]):
            raise SettingError(
                f"{name}: {named[name]} is the file of {other} too; expected a file of its own, a row for each of its {name}. Titles and genres that stand "
                "beside the interactions are named among columns: --columns title=...,genres=..."
            )


def _written(settings: Settings) -> Written:
    """How CSV is written, as the settings say. Raises SettingError for a delimiter that can be none."""
    delimiter = {AUTO: "", "tab": "\t"}.get(settings.delimiter, settings.delimiter)
    if delimiter and (len(delimiter) > 1 or not delimiter.isascii() or delimiter.isalnum() or delimiter in '"\r\n'):
        raise SettingError(f"delimiter: expected auto, tab, or one character that is no letter, digit or quote, got {settings.delimiter!r}")
    encoding = {AUTO: "", "windows-1252": WINDOWS}.get(settings.encoding, settings.encoding)
    return Written(delimiter, encoding, settings.header == "on")
