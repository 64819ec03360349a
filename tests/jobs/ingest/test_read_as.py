"""A run says how it understood its source, and how the release compares with the one before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path

import pytest

from jobs.commands.summary import _lines, print_summary
from jobs.ingest.first_pass import Reading
from jobs.ingest.read_as import read_as
from jobs.ingest.step import check_scale
from jobs.sources import Catalogue, Source
from jobs.sources.table import open_table
from schemas.errors import SourceError
from schemas.settings import resolve
from tests.conftest import Built
from tests.warehouse.conftest import add_release
from warehouse import forgotten
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import open_immutable

LATEST = datetime(2026, 11, 21, tzinfo=UTC)


def looked_through(folder: Path, rows: str, **more: object) -> tuple[Source, Reading, Catalogue]:
    (folder / "f.csv").write_text("user,item,rating,when\n" + rows)
    source = open_table(folder / "f.csv", latest=LATEST, columns="user_id=user,item_id=item,rating=rating,rated_at=when", **more)
    read = Reading(Release(folder / "r"), forgotten.read(Warehouse(folder).forgotten))
    for batch in source.interactions():
        read.take(batch)
    catalogue = source.catalogue()
    read.close(catalogue.refused)
    return source, read, catalogue


def understood(folder: Path, rows: str, **more: object) -> dict[str, str]:
    return read_as(*looked_through(folder, rows, **more))


def test_times_that_count_from_0_are_called_an_order(tmp_path: Path) -> None:
    found = understood(tmp_path, "a,x,1,50\na,y,5,0\nb,x,3,7\n")
    assert found["times"] == "0 to 50, taken as an order: as times all would lie in January 1970; unix s"


def test_the_range_of_times_and_the_order_of_dates_are_said(tmp_path: Path) -> None:
    found = understood(tmp_path, "a,x,1,03/04/2021\na,y,5,25/04/2021\nb,x,3,01/02/2020\n")
    assert found["times"] == "2020-02-01 to 2021-04-25; dates, day first" and found["left_out"] == "no column"


def test_a_scale_that_only_the_first_rows_have_is_not_taken(tmp_path: Path) -> None:
    """A file that is sorted by its ratings, lowest first."""
    rows = [f"{'u' * 60}{i},x,{1 + i // 15_000},{i}\n" for i in range(120_000)]  # of which the first 4 MiB are looked at
    source, read, _ = looked_through(tmp_path, "".join(rows))
    assert source.rating_scale == (1.0, 5.0)
    with pytest.raises(
        SourceError, match=r"rating_scale: 37.5% of the ratings lie off 1 to 5, which the first rows said; set rating_scale"
    ):
        check_scale(source, read, resolve({}, {}))
    check_scale(source, read, resolve({"rating_scale": "1:5"}, {}))
    marks = rows[:60_000] + [f"v{i},x,{99 if i % 1_000 == 0 else 4},{i}\n" for i in range(10_000)]
    check_scale(*looked_through(tmp_path, "".join(marks))[:2], resolve({}, {}))


def test_a_catalogue_of_other_ids_is_said(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text("item_id,title\n#x,Ex\n#y,Why\n")
    found = understood(tmp_path, "a,x,1,50\na,y,5,0\n", items=tmp_path / "i.csv")
    assert found["catalogue"] == "0 of 2 items that have interactions are in it: ids differ, such as '#x' there and 'x' here"


def test_the_summary_has_it_all(copy_warehouse: Callable, purchase_release: Built, capsys: pytest.CaptureFixture[str]) -> None:
    copied: Built = copy_warehouse(purchase_release)
    print_summary(copied.warehouse, copied.release_id)
    shown = capsys.readouterr().out
    assert "read as    columns: user_id=customer, item_id=article, weight=quantity, rated_at=bought_at\n" in shown
    assert (
        "rating scale: none: implicit feedback\n" in shown
        and "times: 2025-" in shown
        and " items that have interactions are in it" in shown
    )
    assert "\n  before " not in shown
    second = add_release(copied, "20990101T000000Z")
    print_summary(copied.warehouse, second)
    assert "  before     rows +0 (+0.0%), users +0 (+0.0%), items +0 (+0.0%); " in capsys.readouterr().out


def test_the_release_before_is_compared_with(purchase_release: Built) -> None:
    manifest = purchase_release.manifest
    before = replace(manifest, release="last-week", rows=manifest.rows | {"accepted": manifest.rows["accepted"] * 2})
    with closing(open_immutable(purchase_release.release.database)) as connection:
        line = next(line for line in _lines(manifest, connection, "promoted", before) if line.startswith("  before "))
    assert f"rows -{manifest.rows['accepted']:,} (-50.0%), users +0 (+0.0%)" in line and line.endswith(", since last-week")
