"""The data of a release in figures, and how far it is the data of another: what the data guard compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import IdTypes
from warehouse import parquet
from warehouse.layout import Release

SAMPLED_ROWS = 200_000
MOST_POPULAR = 100
_ROW = ["user_id", "item_id", "rating", "rated_at"]


@dataclass(frozen=True)
class Data:
    """Where the interactions of a release lie: sealed tables, or the parts that ingest has written."""

    rows: dict[str, int]
    scale: tuple[float, float] | None
    ids: IdTypes
    items: Path
    users: list[Path]
    ratings: list[Path]
    since: int | None = None  # earlier interactions are as if they were not there

    @classmethod
    def sealed(cls, release: Release, rows: dict[str, int], scale: tuple[float, float] | None, ids: IdTypes) -> Data:
        return cls(rows, scale, ids, release.table("items"), [release.table("users")], [release.table("ratings")])

    @classmethod
    def staged(cls, release: Release, rows: dict[str, int], scale: tuple[float, float] | None, ids: IdTypes) -> Data:
        users, ratings = (parquet.parts(release.work / name) for name in ("users", "ratings"))
        return cls(rows, scale, ids, release.table("items"), users, ratings)

    def retained(self, since: datetime) -> Data:
        """Return what retention would have left of it."""
        cut = replace(self, since=int(since.timestamp()))
        n = sum(len(block) for block in cut._blocks())
        gone = self.rows["accepted"] - n
        return replace(cut, rows=self.rows | {"accepted": n, "read": self.rows["read"] - gone}) if gone else self

    def read_users(self) -> pa.Table:
        if self.since is not None:
            return self._counted("user_id")
        columns = ["user_id", "n_ratings", "mean_rating", "first_rated_at", "last_rated_at"]
        return pa.concat_tables([parquet.read(path, columns) for path in self.users])

    def read_items(self) -> pa.Table:
        items = parquet.read(self.items, ["item_id", "title", "genres", "n_ratings", "is_in_catalogue"])
        if self.since is None:
            return items
        counted = self._counted("item_id")
        n = counted["n_ratings"].take(pc.index_in(items["item_id"], value_set=counted["item_id"].combine_chunks()))
        return items.set_column(items.schema.get_field_index("n_ratings"), "n_ratings", n.fill_null(0))

    def _counted(self, key: str) -> pa.Table:
        """One row per user or item that has interactions left, a row group at a time."""
        parts = [
            block.group_by(key).aggregate([([], "count_all"), ("rating", "sum"), ("rated_at", "min"), ("rated_at", "max")])
            for block in self._blocks()
        ]
        summed = [("count_all", "sum"), ("rating_sum", "sum"), ("rated_at_min", "min"), ("rated_at_max", "max")]
        whole = pa.concat_tables(parts).group_by(key).aggregate(summed).sort_by(key)
        n, total, first, last = (whole[f"{name}_{how}"] for name, how in summed)
        mean = pc.divide(total.cast(pa.float64()), n.cast(pa.float64()))
        return pa.table({key: whole[key], "n_ratings": n, "mean_rating": mean, "first_rated_at": first, "last_rated_at": last})

    def rows_of(self, users: pa.Array) -> pa.Table:
        """The interactions of these users, read a row group at a time."""
        tables = [block.filter(pc.is_in(block["user_id"], value_set=users)) for block in self._blocks()]
        return pa.concat_tables(tables).combine_chunks()

    def _blocks(self) -> Iterator[pa.Table]:
        for path in self.ratings:
            for block in parquet.blocks(path, _ROW):
                yield block if self.since is None else block.filter(pc.greater_equal(block["rated_at"], self.since))


@dataclass(frozen=True)
class Profile:
    """One release's data in figures; what it has not (ratings, times) is null."""

    n_read: int
    n_accepted: int
    n_duplicates: int
    n_quarantined: int
    n_users: int
    n_items: int
    rating_low: float | None
    rating_high: float | None
    rating_mean: float | None
    first_rated_at: int | None
    last_rated_at: int | None
    user_id_type: str
    item_id_type: str


def profile(data: Data) -> Profile:
    """Read from the tables of users and items, whose sums are those of the interactions."""
    users, items = data.read_users(), data.read_items()
    low, high = data.scale or (None, None)
    mean = None
    if data.scale:
        mean = float(np.average(users["mean_rating"].to_numpy(), weights=users["n_ratings"].to_numpy()))
    return Profile(
        **{f"n_{name}": data.rows[name] for name in ("read", "accepted", "duplicates", "quarantined")},
        n_users=len(users),
        n_items=pc.sum(pc.greater(items["n_ratings"], 0)).as_py() or 0,
        rating_low=low,
        rating_high=high,
        rating_mean=mean,
        first_rated_at=pc.min(users["first_rated_at"]).as_py(),
        last_rated_at=pc.max(users["last_rated_at"]).as_py(),
        user_id_type=data.ids.user_id,
        item_id_type=data.ids.item_id,
    )


@dataclass(frozen=True)
class Shared:
    """The shares of an earlier release's data that are still there. Shares are NaN if there is nothing to take them of.

    `recent` is the later half of the earlier release's interactions in time, `older` the rest; without times all is recent.
    Rows are a sample: all those of some users.
    """

    n_users: int  # users of the earlier release who were active in its recent half
    n_users_gone: int
    n_rows: int  # sampled recent rows
    items_gone: float  # share of the recent rows whose item is not known any more
    n_popular: int  # the most popular items of the earlier release
    n_popular_gone: int
    rows_gone: float  # share of the recent rows that are not there, though their user, their item and something as late are
    older_gone: float  # share of the older rows that are not there, for whatever reason
    middle: float | None  # where the recent half begins
    ratings_changed: float  # of the rows that are still there, and were not given again since
    ratings_alike: float  # correlation of these ratings, before and now
    times_changed: float
    times_lost: float
    time_shift_s: float  # median change of a time that changed
    n_cut: int  # users who had interacted after the latest time of all, and are still there
    users_alike: float  # correlation of the logarithms of their numbers of rows, of the users that are still there
    items_alike: float
    n_titles: int  # items of the earlier catalogue that are still there
    titles_changed: float
    titles_garbled: float  # with characters lost in another encoding
    genres_changed: float  # share of those with genres that now have none of them


def shared(now: Data, before: Data, *, seed: int = 0) -> Shared:
    """Compare two releases' data: users and items as they are, interactions by those of sampled users."""
    users_now, users, items_now, items = _text_ids(now.read_users(), before.read_users(), now.read_items(), before.read_items())
    rows, there = _sampled(now, before, users, seed)
    last, last_now = (pc.max(table["last_rated_at"]).as_py() for table in (users, users_now))
    times = _numbers(rows["rated_at"])
    is_timed = np.isfinite(times).mean() > 0.5 if len(rows) else False
    middle = np.nanmedian(times) if is_timed else -np.inf
    is_recent = np.nan_to_num(times, nan=-np.inf) >= middle
    known_users, known_items = users_now["user_id"], items_now.filter(pc.greater(items_now["n_ratings"], 0))["item_id"]
    knows_user = _is_in(rows["user_id"], known_users)
    knows_item = _is_in(rows["item_id"], known_items)
    both = is_recent & knows_user & knows_item
    if last_now is not None:
        both &= ~(times > last_now)
    last_seen = _numbers(users["last_rated_at"])
    is_active = np.nan_to_num(last_seen, nan=-np.inf) >= middle
    is_here = _is_in(users["user_id"], known_users)
    n_active = int(is_active.sum())
    rated = items.filter(pc.greater(items["n_ratings"], 0))
    n_popular = min(MOST_POPULAR, len(rated) // 5)
    popular = rated.take(pa.array(np.argsort(-rated["n_ratings"].to_numpy(), kind="stable")[:n_popular]))
    return Shared(
        n_users=n_active,
        n_users_gone=int((is_active & ~is_here).sum()),
        n_rows=int(is_recent.sum()),
        items_gone=_share(~knows_item[is_recent]),
        n_popular=n_popular,
        n_popular_gone=int((~_is_in(popular["item_id"], known_items)).sum()),
        rows_gone=_share(there.place[both] < 0),
        older_gone=_share(there.place[~is_recent] < 0),
        middle=None if middle == -np.inf else float(middle),
        **_changed(rows, there, np.inf if last is None else last),
        n_cut=int((is_here & (last_seen > last_now)).sum()) if last_now is not None else 0,
        users_alike=_alike(users, users_now, "user_id"),
        items_alike=_alike(rated, items_now, "item_id"),
        **_catalogue(items, items_now),
    )


@dataclass(frozen=True)
class _There:
    """Rows of the new data, and where each sampled row of the earlier stands among them, (n,); -1 where it does not."""

    rows: pa.Table
    place: np.ndarray


def _sampled(now: Data, before: Data, users: pa.Table, seed: int) -> tuple[pa.Table, _There]:
    """All rows of as many users as have about SAMPLED_ROWS, drawn evenly, and what the new data has of them."""
    share = min(1.0, SAMPLED_ROWS / max(before.rows["accepted"], 1))
    n = max(1, round(share * len(users)))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(users))[:n])
    chosen = users["user_id"].take(pa.array(drawn)).combine_chunks()
    rows, rows_now = (_text_ids(data.rows_of(_as(chosen, data.ids.arrow("user_id"))))[0] for data in (before, now))
    return rows, _There(rows_now, pc.index_in(_pairs(rows), value_set=_pairs(rows_now)).fill_null(-1).to_numpy(zero_copy_only=False))


def _as(ids: pa.Array, kind: pa.DataType) -> pa.Array:
    """Ids that are text in the type of a table; those that cannot be of that type are in no row of it."""
    if pa.types.is_string(kind):
        return ids
    return ids.filter(pc.match_substring_regex(ids, r"^-?[0-9]{1,18}$")).cast(kind)


def _pairs(rows: pa.Table) -> pa.Array:
    return pc.binary_join_element_wise(rows["user_id"], rows["item_id"], "\x1f").combine_chunks()


def _text_ids(*tables: pa.Table) -> list[pa.Table]:
    """Tables with their ids as text, so that whole numbers that became text can still be compared."""
    as_text = []
    for table in tables:
        for name in ("user_id", "item_id"):
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
        as_text.append(table.combine_chunks())
    return as_text


def _changed(rows: pa.Table, there: _There, last: float) -> dict[str, float]:
    """Return what became of the rows that are still there; one given again since the last of them all may differ."""
    at = np.flatnonzero(there.place >= 0)
    place = pa.array(there.place[at])
    before, now = (
        {name: _numbers(table[name]) for name in ("rating", "rated_at")} for table in (rows.take(pa.array(at)), there.rows.take(place))
    )
    had = before["rated_at"]
    is_timed = np.isfinite(had)
    shift = now["rated_at"] - had
    again = now["rated_at"] > last
    if len(again) and again.mean() > 0.5:  # then it is the times that changed
        again[:] = False
    both = np.isfinite(before["rating"]) & np.isfinite(now["rating"]) & ~again
    moved = is_timed & np.isfinite(shift) & ~again & (shift != 0)
    return {
        "ratings_changed": _share(before["rating"][both] != now["rating"][both]),
        "ratings_alike": _correlation(before["rating"][both], now["rating"][both]),
        "times_changed": _share(moved[is_timed & np.isfinite(shift) & ~again]),
        "times_lost": _share(~np.isfinite(shift[is_timed])),
        "time_shift_s": float(np.median(shift[moved])) if moved.any() else 0.0,
    }


def _catalogue(items: pa.Table, items_now: pa.Table) -> dict[str, float]:
    known = items.filter(items["is_in_catalogue"])
    place = pc.index_in(known["item_id"], value_set=items_now["item_id"].combine_chunks())
    known, other = known.filter(pc.is_valid(place)), items_now.take(pc.drop_null(place))
    titles, titles_now = known["title"].to_pylist(), other["title"].to_pylist()
    lost = [
        not set(old.split("|")) & set(new.split("|")) for old, new in zip(known["genres"].to_pylist(), other["genres"].to_pylist()) if old
    ]
    return {
        "n_titles": len(titles),
        "titles_changed": _share(np.array([old != new for old, new in zip(titles, titles_now)], bool)),
        "titles_garbled": _share(np.array([_is_garbled(old, new) for old, new in zip(titles, titles_now)], bool)),
        "genres_changed": _share(np.array(lost, bool)),
    }


def _is_garbled(old: str, new: str) -> bool:
    """Whether a title lost characters, or is the old one's UTF-8 read as another encoding."""
    if old == new or old.isascii():
        return False
    if new.count("\ufffd") > old.count("\ufffd") or new.count("?") > old.count("?"):
        return True
    return any(old.encode().decode(wrong, "replace") == new for wrong in ("latin-1", "cp1252"))


def _alike(before: pa.Table, now: pa.Table, key: str) -> float:
    place = pc.index_in(before[key], value_set=now[key].combine_chunks())
    has = pc.is_valid(place)
    counts, counts_now = before.filter(has)["n_ratings"].to_numpy(), now["n_ratings"].take(pc.drop_null(place)).to_numpy()
    return _correlation(np.log1p(counts), np.log1p(counts_now))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """NaN if one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else float("nan")


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float64()).fill_null(np.nan).to_numpy()


def _is_in(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> np.ndarray:
    return pc.is_in(ids, value_set=known.combine_chunks()).to_numpy()


def _share(is_so: np.ndarray) -> float:
    return float(is_so.mean()) if len(is_so) else float("nan")
