"""A database on a server, PostgreSQL, read by its URL; its password is in no message and in no file of the warehouse."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, UTC
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.run import run_step
from jobs.sources.databases import open_database
from jobs.sources.table import open_table
from jobs.staging.record import facts
from schemas.errors import SourceError
from tests.conftest import small_settings
from tests.dags.postgres import binaries, cluster
from tests.jobs.conftest import STAGED_ID as ID
from warehouse import parquet
from warehouse.layout import Warehouse

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg2")
pytestmark = pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed")
PASSWORD = "geheim-4711%"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database whose rows are in two schemas, with types that Python has classes of; its URL, without a password."""
    with cluster() as address:
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in (
                "create table events (user_id integer, item_id numeric, rating numeric(3, 1), rated_at timestamptz, tags text[], is_new boolean)",
                "insert into events select i % 40, i % 23, (i % 10 + 1) / 2.0, timestamptz '2025-01-01 02:00+02' + i * interval '1 hour', "
                "array['a', null, 'b'], true from generate_series(0, 2999) i",
                "create schema old",
                "create table old.events as select * from events where user_id < 20",
                "create role ann login superuser",
            ):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        yield address.replace("airflow@", "ann@")


def test_rows_of_a_server_are_read_in_blocks_and_typed_values_as_text(url: str) -> None:
    file = open_database(url, password=PASSWORD)
    assert (file.table, file.label) == ("events", url.replace("ann@", "") + ", table events")
    source = open_table(file, latest=datetime.now(UTC))
    batches = list(source.interactions())
    rows = [row for batch in batches for row in batch.accepted.to_pylist()]
    assert len(rows) == 3000 and not any(len(batch.refused) for batch in batches) and source.rating_scale == (0.5, 5)
    assert list(rows[1].values()) == ["1", "1", 1.0, 1.0, 1_735_689_600 + 3600, 2]
    assert source.catalogue().items["tags"].to_pylist() == ["a|b"] * 23
    query = "select user_id, item_id, count(*) as weight from events where 'a%b:c' like 'a%' group by 1, 2"
    assert open_table(open_database(url, query=query), latest=datetime.now(UTC)).rating_scale is None
    assert sum(block.n_read for block in open_database(url, query="old.events").blocks({"user_id": "user_id"})) == 1500


def test_nothing_is_written_to_a_server(url: str) -> None:
    for query in ("delete from events returning user_id, item_id", "with gone as (delete from events returning *) select * from gone"):
        with pytest.raises(SourceError, match="postgresql says: .*; expected one select whose rows are interactions"):
            open_database(url, query=query)
    assert sum(block.n_read for block in open_database(url).blocks({"user_id": "user_id"})) == 3000


def test_a_wrong_query_or_address_says_so_without_the_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = url.replace("ann@", "ann:geheim-4711%25@")
    for query, said in (
        ("select 1 from nowhere n", 'relation "nowhere" does not exist'),
        ("nowhere", "no table 'nowhere'; there are events (user_id"),
    ):
        with pytest.raises(SourceError) as error:
            open_database(given, query=query)
        assert said in str(error.value) and PASSWORD not in str(error.value) and "ann" not in str(error.value)
    for wrong in (given.replace("/airflow", "/nowhere"), given + "?application_name=geheim-4711&options=geheim-4711"):
        assert main(["inspect", wrong]) == 3
        said = capsys.readouterr().err
        assert "postgresql says: " in said and "geheim-4711" not in said
    assert main(["inspect", given]) == 0
    said = capsys.readouterr().out
    assert '--path "$CINEMATCH_PATH" --query events' in said and "geheim" not in said


def test_no_file_of_the_warehouse_and_no_line_of_the_log_has_the_password(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse = Warehouse(tmp_path / "w")
    caplog.set_level(logging.INFO, "cinematch")
    settings = small_settings(
        warehouse.folder,
        source="table",
        path=url.replace("ann@", "ann:geheim-4711%25@"),
        source_password="geheim-4711",
        models="popular,ials",
        serve="ials",
    )
    figures = run_step("ingest", warehouse, ID, settings)
    assert figures["n_read"] == 3000 and figures["read_file"] == "postgresql, table events"
    staged = warehouse.staged(ID)
    found = facts(staged)
    assert [file["name"] for file in found.input["files"]][0].startswith("events: user_id, item_id, rating, rated_at")
    assert sum(map(parquet.n_rows, parquet.parts(staged.work / "users"))) == 40
    kept = [path for path in warehouse.folder.rglob("*") if path.is_file()]
    assert len(kept) > 5 and not [path for path in kept if b"geheim" in path.read_bytes()]
    assert "events" in caplog.text and "geheim" not in caplog.text + str(figures) + repr(found)
