"""The source that the settings name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from jobs.sources import Source
from jobs.sources.databases import Database, is_database, open_database, shown
from jobs.sources.download import fetched
from jobs.sources.movielens import open_movielens
from jobs.sources.sample import open_sample
from jobs.sources.scales import parsed
from jobs.sources.table import open_table
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
    file: Path | Database = Path(settings.path)
    if is_database(settings.path):
        file = open_database(settings.path, query=settings.query, columns=settings.columns, password=settings.source_password)
    elif settings.query:
        raise SettingError(
            f"query: {settings.path} is no database; leave query out, or name a file of SQLite or DuckDB, or the URL of a database"
        )
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
    )
