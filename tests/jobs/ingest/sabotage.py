"""Sources that are broken as weekly exports break, and sources that changed as they honestly do, each against the week before.

Every source is a file that the real ingest reads, but for Spark's shuffle: its rows are few enough to sort here. `python -m
tests.jobs.ingest.sabotage` writes the table of jobs/evaluate/README.md from what the guard says of each.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import datetime, UTC
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from jobs.ingest.data_limits import Change, changes
from jobs.ingest.data_profile import Data, profile, shared
from jobs.ingest.first_pass import Reading
from jobs.ingest.items import first_of_same, numbered_items, same_item_id, write_item_tables
from jobs.ingest.partition import few_users, ORDER, PartWriter
from jobs.sources.open import open_source
from jobs.sources.sample import generate
from schemas.settings import resolve, Settings
from warehouse import parquet
from warehouse.forgotten import Forgotten
from warehouse.layout import Release
from warehouse.online import SCHEMA

DOCUMENT = Path(__file__).resolve().parents[3] / "jobs" / "evaluate" / "README.md"
LATEST = datetime(2025, 1, 1, tzinfo=UTC)
WEEK = 0.01  # share of the rows that came in the last week
Source = tuple[pd.DataFrame, pd.DataFrame]  # interactions in order of user and time, and the catalogue
BROKEN: dict[str, tuple[Callable[[Source], Source], str]] = {}
HONEST: dict[str, Callable[[Source], Source]] = {}


def _broken(name: str, names: str) -> Callable:
    """A broken source, and a pattern that the reason must match to name the fault."""

    def keep(change: Callable[[Source], Source]) -> Callable[[Source], Source]:
        BROKEN[name] = change, names
        return change

    return keep


def _honest(name: str) -> Callable:
    def keep(change: Callable[[Source], Source]) -> Callable[[Source], Source]:
        HONEST[name] = change
        return change

    return keep


def sample(seed: int = 42) -> Source:
    """A small data set with titles of which some are not ASCII."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), seed=seed, scale=0.1)
        ratings = pa.concat_tables(map(parquet.read, sorted(Path(folder, "ratings").glob("*.parquet")))).to_pandas()
        items = parquet.read(Path(folder, "items.parquet")).to_pandas()
    items["title"] = np.where(items.item_id % 8 == 0, items.title + " – café", items.title)
    return ratings.sort_values(["user_id", "rated_at", "item_id"], ignore_index=True), items[["item_id", "title", "genres"]]


def last_week(source: Source) -> Source:
    """A source as it was a week ago."""
    ratings, items = source
    return ratings[ratings.rated_at < ratings.rated_at.quantile(1 - WEEK)], items


def settings(folder: Path, **given: object) -> Settings:
    return resolve(
        {"warehouse": str(folder), "source": "table", "path": str(folder / "ratings.csv"), "items": str(folder / "items.csv")} | given,
        {},
        folder=folder,
    )


def ingested(folder: Path, source: Source) -> Data:
    """Return the data that ingest makes of a source."""
    ratings, items = source
    folder.mkdir(parents=True)
    ratings.to_csv(folder / "ratings.csv", index=False)
    items.to_csv(folder / "items.csv", index=False)
    release, given = Release(folder / "staged"), settings(folder)
    opened = open_source(given, raw=folder, latest=LATEST)
    parquet.write(release.work / "online.parquet", [], SCHEMA)
    read = Reading(release, Forgotten("", frozenset()), few_users=few_users(given))
    for batch in opened.interactions():
        read.take(batch)
    catalogue = opened.catalogue()
    read.close(catalogue.refused)
    ids = read.id_types(opened, catalogue)
    numbered = numbered_items(catalogue, read.item_ids(), ids)
    parquet.write(release.work / "items.parquet", [numbered], numbered.schema)
    writer = PartWriter(release, ids, given, opened.rating_scale, n_users=read.n_users)
    rows = (
        pa.concat_tables([parquet.read(path) for path in parquet.parts(release.work / "read")])
        .select(writer.schema().names)
        .cast(writer.schema())
    )
    n_kept = writer.write(0, rows.sort_by([(name, "ascending") for name in ORDER]))
    is_blocked, same = np.zeros(len(numbered), bool), same_item_id(first_of_same(numbered), numbered["item_id"].combine_chunks())
    write_item_tables(release, numbered, ids, 1, is_rated=opened.rating_scale is not None, is_blocked=is_blocked, same=same)
    counted = {"read": read.n_read, "accepted": n_kept, "duplicates": read.n_accepted - n_kept, "quarantined": read.n_refused}
    return Data.staged(release, counted, opened.rating_scale, ids)


def compared(now: Data, before: Data, **given: object) -> list[Change]:
    return changes(profile(now), profile(before), shared(now, before), resolve(given, {}))


def draw() -> np.random.Generator:
    return np.random.default_rng(5)


def _permuted(ids: pd.Series) -> pd.Series:
    """Ids that each became another of them."""
    known = ids.unique()
    return ids.map(dict(zip(known, draw().permutation(known))))


# ---- broken


@_broken("the first tenth of each user's rows", "though their user and their item are still there.*cut")
def _(source: Source) -> Source:
    ratings, items = source
    place, size = ratings.groupby("user_id").cumcount(), ratings.groupby("user_id").user_id.transform("size")
    return ratings[place < np.ceil(size / 10)], items


@_broken("the first tenth of the file", "users who were active in the later half are gone")
def _(source: Source) -> Source:
    return source[0].iloc[: len(source[0]) // 10], source[1]


@_broken("every second row", "are gone though.*was the file cut")
def _(source: Source) -> Source:
    return source[0].iloc[::2], source[1]


@_broken("a tenth of the users", "users who were active in the later half are gone")
def _(source: Source) -> Source:
    users = source[0].user_id.unique()
    return source[0][source[0].user_id.isin(draw().permutation(users)[: len(users) // 10])], source[1]


@_broken("the newest fifth of the users lost", "users who were active in the later half are gone")
def _(source: Source) -> Source:
    first = source[0].groupby("user_id").rated_at.transform("min")
    return source[0][first < source[0].groupby("user_id").rated_at.min().quantile(0.8)], source[1]


@_broken("only users with at least eighty ratings, by a filter of the export", "users who were active in the later half are gone")
def _(source: Source) -> Source:
    return source[0][source[0].groupby("user_id").user_id.transform("size") >= 80], source[1]


@_broken("an old backup, a tenth of the time ago", "old backup")
def _(source: Source) -> Source:
    return source[0][source[0].rated_at < source[0].rated_at.quantile(0.9)], source[1]


@_broken("last week's file without its last day", "old backup")
def _(source: Source) -> Source:
    ratings, items = last_week(source)
    return ratings[ratings.rated_at < ratings.rated_at.quantile(0.997)], items


@_broken("the later half of the time lost", "old backup, or cut by time")
def _(source: Source) -> Source:
    return source[0][source[0].rated_at < source[0].rated_at.median()], source[1]


@_broken("only the last tenth of the time", "all of the older half is gone; was the file cut by time")
def _(source: Source) -> Source:
    return source[0][source[0].rated_at >= source[0].rated_at.quantile(0.9)], source[1]


@_broken("the twenty most popular items lost", "of the .* most popular items have no interaction")
def _(source: Source) -> Source:
    return source[0][~source[0].item_id.isin(source[0].item_id.value_counts().index[:20])], source[1]


@_broken("one genre lost, by a filter of the export", "items of .* of the later interactions are gone")
def _(source: Source) -> Source:
    ratings, items = source
    lost = items.item_id[items.genres.str.contains(items.genres.str.split("|").explode().value_counts().index[0], regex=False)]
    return ratings[~ratings.item_id.isin(lost)], items


@_broken("item ids mixed up among each other", "item ids renumbered or mixed up")
def _(source: Source) -> Source:
    return source[0].assign(item_id=_permuted(source[0].item_id)), source[1]


@_broken("item ids renumbered", "were item ids renumbered")
def _(source: Source) -> Source:
    return source[0].assign(item_id=source[0].item_id + 10_000), source[1].assign(item_id=source[1].item_id + 10_000)


@_broken("user ids mixed up among each other", "user ids renumbered or mixed up")
def _(source: Source) -> Source:
    return source[0].assign(user_id=_permuted(source[0].user_id)), source[1]


@_broken("user ids renumbered", "were user ids renumbered")
def _(source: Source) -> Source:
    return source[0].assign(user_id=source[0].user_id + 10_000), source[1]


@_broken("user ids that became text", "user ids were whole numbers and are text now")
def _(source: Source) -> Source:
    return source[0].assign(user_id="u" + source[0].user_id.astype(str)), source[1]


@_broken("items shuffled over all rows", "duplicates|items shuffled among users")
def _(source: Source) -> Source:
    return source[0].assign(item_id=draw().permutation(source[0].item_id)), source[1]


@_broken("ratings shuffled over all rows", "ratings of the same user and item are other ones.*mixed up")
def _(source: Source) -> Source:
    return source[0].assign(rating=draw().permutation(source[0].rating)), source[1]


@_broken("all ratings the same", "all the same now")
def _(source: Source) -> Source:
    return source[0].assign(rating=3.5), source[1]


@_broken("ratings inverted", "inverted")
def _(source: Source) -> Source:
    return source[0].assign(rating=5.5 - source[0].rating), source[1]


@_broken("ratings on a scale of 1 to 10", "ratings are on .* 10 now and were on 0.5 to 5")
def _(source: Source) -> Source:
    return source[0].assign(rating=2 * source[0].rating), source[1]


@_broken("ratings rounded to whole stars", "rounded")
def _(source: Source) -> Source:
    return source[0].assign(rating=np.ceil(source[0].rating)), source[1]


@_broken("the rating column lost", "there were ratings and there are none now")
def _(source: Source) -> Source:
    return source[0].drop(columns="rating"), source[1]


@_broken("every row twice", "of the rows read are duplicates")
def _(source: Source) -> Source:
    return pd.concat([source[0], source[0]]), source[1]


@_broken("a third of the lines broken by a delimiter in the text", "of the rows read are quarantined")
def _(source: Source) -> Source:
    broken = source[0].item_id.astype(str)
    return source[0].assign(rating=np.where(np.arange(len(broken)) % 3 == 0, "3;5", source[0].rating.astype(str))), source[1]


@_broken("the item column taken from another one", "items of .* of the later interactions are gone")
def _(source: Source) -> Source:
    return source[0].assign(item_id=1900 + source[0].item_id % 50), source[1]


@_broken("another data set in the same form", "another data set")
def _(source: Source) -> Source:
    return sample(7)


@_broken("another data set mixed in", "other data mixed in")
def _(source: Source) -> Source:
    ratings, items = sample(7)
    return pd.concat([source[0], ratings.assign(user_id=ratings.user_id + 10_000)]), source[1]


@_broken("times a year early", "have another time, by -36[56].0 days")
def _(source: Source) -> Source:
    return source[0].assign(rated_at=source[0].rated_at - 365 * 86_400), source[1]


@_broken("times two hours late, by the wrong zone", r"have another time, by \+2.0 hours")
def _(source: Source) -> Source:
    return source[0].assign(rated_at=source[0].rated_at + 7200), source[1]


@_broken("times lost", "have lost their time")
def _(source: Source) -> Source:
    return source[0].drop(columns="rated_at"), source[1]


@_broken("titles moved by a row", "have another title")
def _(source: Source) -> Source:
    return source[0], source[1].assign(title=np.roll(source[1].title, 1))


@_broken("titles read in another encoding", "another encoding spoilt")
def _(source: Source) -> Source:
    return source[0], source[1].assign(title=[title.encode().decode("latin-1") for title in source[1].title])


@_broken("the catalogue of other items", "have another title")
def _(source: Source) -> Source:
    return source[0], source[1].assign(item_id=source[1].item_id + 10_000)


@_broken("genres moved by some rows", "have none of the genres")
def _(source: Source) -> Source:
    return source[0], source[1].assign(genres=np.roll(source[1].genres, 7))


# ---- honest


@_honest("a week more")
def _(source: Source) -> Source:
    return source


@_honest("nothing new at all")
def _(source: Source) -> Source:
    return last_week(source)


@_honest("a quiet week: a tenth of the usual rows")
def _(source: Source) -> Source:
    ratings, items = source
    return ratings[ratings.rated_at < ratings.rated_at.quantile(1 - 0.9 * WEEK)], items


@_honest("a week in another order of rows")
def _(source: Source) -> Source:
    return source[0].sample(frac=1, random_state=3), source[1].sample(frac=1, random_state=3)


@_honest("5 % new items, rated by many")
def _(source: Source) -> Source:
    ratings, items = source
    new = items.head(len(items) // 20)
    added = new.assign(item_id=new.item_id + 10_000, title=new.title + " II")
    more = ratings.sample(frac=0.05, random_state=3)
    return pd.concat(
        [ratings, more.assign(item_id=10_000 + draw().choice(new.item_id, len(more)), rated_at=ratings.rated_at.max())]
    ), pd.concat([items, added])


@_honest("new items that nobody knows yet")
def _(source: Source) -> Source:
    new = source[1].head(30)
    return source[0], pd.concat([source[1], new.assign(item_id=new.item_id + 10_000)])


@_honest("one user in twenty leaves")
def _(source: Source) -> Source:
    return source[0][source[0].user_id % 20 != 3], source[1]


@_honest("the last user to rate leaves")
def _(source: Source) -> Source:
    last = last_week(source)[0]
    return source[0][source[0].user_id != last.user_id[last.rated_at.idxmax()]], source[1]


@_honest("three ratings in a hundred are taken back")
def _(source: Source) -> Source:
    return source[0].sample(frac=0.97, random_state=3), source[1]


@_honest("three in a hundred are given again, otherwise")
def _(source: Source) -> Source:
    ratings, items = source
    again = ratings.sample(frac=0.03, random_state=3)
    return pd.concat([ratings, again.assign(rating=0.5 + (again.rating + 1) % 5, rated_at=ratings.rated_at.max() + 60)]), items


@_honest("a genre is added to a third of the items")
def _(source: Source) -> Source:
    genres = source[1].genres
    return source[0], source[1].assign(genres=np.where(source[1].item_id % 3 == 0, "Festival|" + genres, genres))


@_honest("some titles are corrected")
def _(source: Source) -> Source:
    title = source[1].title
    return source[0], source[1].assign(title=np.where(source[1].item_id % 25 == 0, title + ", restored", title))


@_honest("two popular items are taken down")
def _(source: Source) -> Source:
    gone = source[0].item_id.value_counts().index[[3, 8]]
    return source[0][~source[0].item_id.isin(gone)], source[1][~source[1].item_id.isin(gone)]


@_honest("retention: the oldest fifth of the rows is dropped")
def _(source: Source) -> Source:
    return source[0][source[0].rated_at >= source[0].rated_at.quantile(0.2)], source[1]


@_honest("retention: of the older half of the rows a sample is kept")
def _(source: Source) -> Source:
    is_old = source[0].rated_at < source[0].rated_at.quantile(0.45)
    return source[0][~is_old | (draw().random(len(is_old)) < 0.6)], source[1]


@_honest("a campaign: a third more users, each with ten rows")
def _(source: Source) -> Source:
    ratings, items = source
    new = ratings[ratings.user_id % 3 == 0].groupby("user_id").head(10)
    return pd.concat([ratings, new.assign(user_id=new.user_id + 10_000, rated_at=ratings.rated_at.max())]), items


@_honest("a hard week: new ratings are a star lower")
def _(source: Source) -> Source:
    ratings, items = source
    is_new = ratings.rated_at >= last_week(source)[0].rated_at.max()
    return ratings.assign(rating=np.where(is_new, np.maximum(ratings.rating - 1, 0.5), ratings.rating)), items


@_honest("two rows in a hundred are sent twice")
def _(source: Source) -> Source:
    return pd.concat([source[0], source[0].sample(frac=0.02, random_state=3)]), source[1]


@_honest("two lines in a hundred are broken")
def _(source: Source) -> Source:
    rating = source[0].rating.astype(str)
    return source[0].assign(rating=np.where(draw().random(len(rating)) < 0.02, "n/a", rating)), source[1]


@_honest("a robot's account is removed: the most active user")
def _(source: Source) -> Source:
    return source[0][source[0].user_id != source[0].user_id.value_counts().index[0]], source[1]


@_honest("a month in which nobody looked")
def _(source: Source) -> Source:
    ratings, items = source
    more = ratings.sample(frac=0.06, random_state=9)
    return pd.concat(
        [ratings, more.assign(item_id=1 + (more.item_id + 17) % items.item_id.max(), rated_at=ratings.rated_at.max())]
    ).drop_duplicates(["user_id", "item_id"]), items


def said() -> tuple[dict[str, list[Change]], dict[str, list[Change]]]:
    """Return the findings of the guard on every source, of the broken ones and of the honest ones."""
    source = sample()
    with tempfile.TemporaryDirectory() as folder:
        before = ingested(Path(folder, "before"), last_week(source))
        changed = BROKEN | HONEST
        found = {
            name: compared(ingested(Path(folder, str(k)), (changed[name][0] if name in BROKEN else changed[name])(source)), before)
            for k, name in enumerate(changed)
        }
    return {name: found[name] for name in BROKEN}, {name: found[name] for name in HONEST}


def table(broken: dict[str, list[Change]], honest: dict[str, list[Change]]) -> str:
    """Markdown: each broken source with the reason that names its fault, and the honest changes."""
    lines = ["| broken source | held back, because |", "|---|---|"]
    for name, found in broken.items():
        named = [change.message for change in found if re.search(BROKEN[name][1], change.message)]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        lines.append(f"| {name} | {named[0] if named else 'NOT NAMED'}{more} |")
    lines += ["", "| honest change | |", "|---|---|"]
    lines += [f"| {name} | {'held back: ' + found[0].message if found else 'passes'} |" for name, found in honest.items()]
    return "\n".join(lines) + "\n"


def rendered(text: str, part: str) -> str:
    start, stop = "<!-- sabotage: generated -->\n", "<!-- sabotage: end -->"
    before, after = text.split(start)[0], text.split(stop)[1]
    return f"{before}{start}\n{part}\n{stop}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8"), table(*said())), encoding="utf-8")
