"""One release as the server holds it: connection, manifest, names of items, and the item side, memory-mapped."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, UTC
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jobs.kernels.item_side import assemble, ItemSide
from jobs.kernels.neighbours import Vectors
from jobs.kernels.recommender import Recommender
from jobs.kernels.twins import Twins
from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.models import RANKERS
from schemas.setting_groups import OFF
from schemas.tables import IdTypes, READY_N
from serving.sql_limits import bound
from warehouse import model_files
from warehouse.layout import Release
from warehouse.release import read_manifest
from warehouse.shards import shard_of
from warehouse.sqlite import open_immutable

TITLES_KEPT = 250_000


class OpenRelease:
    """A sealed release, opened to be read by one event loop and, over connections of their own, by worker threads.

    Everything here is immutable but the caches and the count of its users: `hold` and `let_go` bracket each use, and a
    release that was retired closes when the last use ends.
    """

    def __init__(self, release: Release, hidden: frozenset[str] = frozenset()) -> None:
        """Open a release without some items, by their ids as text: no list of it holds them, nor what is the same under another id."""
        self.files = release
        self.manifest: Manifest = read_manifest(release)
        self.id = self.manifest.release
        self.ids = self.manifest.id_types
        self.n: int = self.manifest.settings["n"]
        self.ready_n = min(READY_N, self.manifest.settings["explain_n"] or READY_N)
        self.served_model = self.manifest.served_model
        self.connection = _plain(release)
        self.computed_at = self.manifest.created_at
        self.created = datetime.fromisoformat(self.manifest.created_at).timestamp()
        arrays, parameters = model_files.load(release.model("items"))
        self.item_ids: np.ndarray = arrays["item_ids"]
        self.genres: list[str] = parameters["genres"]
        self.without = hidden
        self._hidden = _hidden(hidden, self.ids, arrays)
        self.hidden: frozenset[Any] = frozenset(self.item_ids[self._hidden].tolist())
        self.tag = f"{self.id}.{_digest(self.hidden)}" if self.hidden else self.id
        self._titles: dict[Any, str] = {}
        self._of_models: dict[str, Recommender] = {}
        self._threads = threading.local()
        self._of_users = [_plain(release, path) for path in release.shards] or [self.connection]
        self._opened: list[sqlite3.Connection] = [*{self.connection, *self._of_users}]
        self._uses = 0
        self._is_retired = False
        self.on_close: list[Any] = []

    @cached_property
    def side(self) -> ItemSide:
        """The item side, by the same function as the batch's."""
        return self._assembled(self.served_model)

    def _assembled(self, served: str) -> ItemSide:
        names = sorted(path.name for path in self.files.models.iterdir())
        side = assemble({name: model_files.load(self.files.model(name)) for name in names}, served=served)
        return replace(side, blocked=np.union1d(side.blocked, self._hidden)) if self.hidden else side

    @cached_property
    def rankers(self) -> list[str]:
        """The models of the release that can be served, the simplest first."""
        return [name for name in RANKERS if self.files.model(name).exists()]

    def recommender_of(self, model: str) -> Recommender:
        """Return the release as it would answer if this model of it was served; kept while the release is open."""
        if model == self.served_model:
            return self.recommender
        if model not in self._of_models:
            self._of_models[model] = replace(self.recommender, side=self._assembled(model))
        return self._of_models[model]

    @cached_property
    def recommender(self) -> Recommender:
        settings = self.manifest.settings
        least = settings["min_history"]
        return Recommender(
            self.item_ids, self.side, self.manifest.rating_scale, self.n, settings["explain_n"], settings["reasons_n"], least
        )

    @cached_property
    def repeats(self) -> str:
        """The setting: whether lists have what their user has; OFF in a release from before it."""
        return self.manifest.settings.get("repeats", OFF)

    @cached_property
    def has_ratings(self) -> bool:
        return self.manifest.rating_scale is not None

    @cached_property
    def has_times(self) -> bool:
        """Whether the release knows when its interactions were. From any thread."""
        known = "select exists (select 1 from users where first_rated_at is not null)"
        return bool(self.reader().execute(known).fetchone()[0])

    @cached_property
    def years(self) -> np.ndarray:
        """Years of the items, (n_items,) float64, NaN where none is known. From any thread."""
        years = np.full(len(self.item_ids), np.nan)
        for number, (year,) in enumerate(self.reader().execute("select year from items order by item_id")):
            years[number] = np.nan if year is None else year
        return years

    @cached_property
    def tags(self) -> dict[str, np.ndarray]:
        """The item_nums (k,) of the items that have a tag, ascending, by tag. From any thread."""
        numbers: dict[str, list[int]] = {}
        for number, (text,) in enumerate(self.reader().execute("select tags from items order by item_id")):
            for tag in dict.fromkeys(text.split("|")) if text else ():
                numbers.setdefault(tag, []).append(number)
        return {tag: np.array(of_tag, np.int64) for tag, of_tag in numbers.items()}

    @cached_property
    def popularity(self) -> dict[str, np.ndarray]:
        """Arrays that the table `popular` is made of, (n_items,) each: scores, damped_means (NaN without ratings) and n_ratings."""
        return model_files.load(self.files.model("popular"))[0]

    @cached_property
    def vectors(self) -> dict[str, Vectors]:
        """Vectors that `similar_items` was made from, for each of its sources that the release has."""
        vectors = {}
        if self.side.factors is not None:
            vectors["collaborative"] = Vectors.of(np.asarray(self.side.factors.item_factors))
        if model_files.exists(self.files.model("content")):
            arrays, constants = model_files.load(self.files.model("content"))
            vectors["content"] = Vectors.of_arrays(arrays["data"], arrays["indices"], arrays["indptr"], constants["n_features"])
        return vectors

    @cached_property
    def genre_counts(self) -> list[int]:
        """Items of each genre, in the order of `genres`."""
        return np.bincount(self.side.genres.indices, minlength=len(self.genres)).tolist()

    @cached_property
    def has_years(self) -> bool:
        """Whether any item has a year. From any thread."""
        return bool(self.reader().execute("select exists (select 1 from items where year is not null)").fetchone()[0])

    def warm(self) -> None:
        """Do what the first solve would wait for: map the item side, find untrained items, order the others by popularity."""
        side = self.side
        side.ranker.untrained, side.by_popularity

    def reader(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = _plain(self.files)
            self._opened.append(connection)
        return connection

    def of_user(self, user_id: Any) -> sqlite3.Connection:
        """The event loop's connection to the database that has the user's rows."""
        connections = self._of_users
        return connections[0] if len(connections) == 1 else connections[shard_of(user_id, len(connections))]

    def age_s(self, now: float) -> float:
        return now - self.created

    def title(self, item_id: Any) -> str | None:
        """Title of an item, kept once it was asked for; None if the release does not know it."""
        try:
            return self._titles[item_id]
        except KeyError:
            row = self.reader().execute("select title from items where item_id = ?", (item_id,)).fetchone()
            if row is None:
                return None
            if len(self._titles) >= TITLES_KEPT:
                self._titles.clear()
            self._titles[item_id] = row[0]
            return row[0]

    def number(self, item_id: Any) -> int | None:
        """item_num of an item, or None if the release does not know it."""
        return self.recommender.number(item_id)

    def known(self, items: Iterable[Any]) -> list[Any]:
        """Return those of the items that the release knows, in their order."""
        return [item for item in items if self.number(item) is not None]

    def item_id(self, number: int) -> int | str:
        return self.item_ids[number].item()

    def same(self, items: Iterable[Any]) -> frozenset[Any]:
        """The items, and all that they are one with under other ids."""
        known = np.array([number for number in map(self.number, items) if number is not None], np.int64)
        return frozenset(items) | frozenset(self.item_ids[self.side.twins.with_others(known)].tolist())

    def hides(self, user_id: Any, upto: int) -> bool:
        """Whether something that is hidden stands in the first `upto` rows of a user's stored list."""
        if not self.hidden:
            return False
        listed = self.of_user(user_id).execute("select item_id from recommendations where user_id = ? and rank <= ?", (user_id, upto))
        return not self.hidden.isdisjoint(item_id for (item_id,) in listed)

    def is_blocked(self, item_id: Any) -> bool:
        """Whether no list may hold the item."""
        if item_id in self.hidden:
            return True
        row = self.connection.execute("select is_blocked from items where item_id = ?", [item_id]).fetchone()
        return row is not None and bool(row[0])

    def has_user(self, user_id: Any) -> bool:
        return self.of_user(user_id).execute("select 1 from users where user_id = ?", [user_id]).fetchone() is not None

    @property
    def is_used(self) -> bool:
        return self._uses > 0

    def hold(self) -> OpenRelease:
        self._uses += 1
        return self

    def let_go(self) -> None:
        self._uses -= 1
        if self._is_retired and self._uses == 0:
            self._close()

    def retire(self) -> None:
        """No new use begins; close as soon as none is left."""
        self._is_retired = True
        if self._uses == 0:
            self._close()

    def _close(self) -> None:
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        for callback in self.on_close:
            callback()
        self.on_close.clear()
        self.__dict__.pop("side", None)
        self.__dict__.pop("recommender", None)
        self.__dict__.pop("vectors", None)
        self._titles.clear()
        self._of_models.clear()


def _hidden(asked: frozenset[str], ids: IdTypes, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the item_nums of ids that are known, with their twins, ascending."""
    parsed = [item_id for item_id in (ids.parse("item_id", text) for text in asked) if item_id is not None]
    known = np.flatnonzero(np.isin(arrays["item_ids"], parsed)) if parsed else np.zeros(0, np.int64)
    return np.unique(Twins(arrays["first"]).with_others(known)) if "first" in arrays else known


def _digest(hidden: Iterable[Any]) -> str:
    """Name what is hidden in an entity tag."""
    return hashlib.sha256(json.dumps(sorted(hidden)).encode()).hexdigest()[:8]


def _plain(release: Release, path: Path | None = None) -> sqlite3.Connection:
    """Rows as tuples, statements kept prepared."""
    path = path or release.database
    try:
        connection = open_immutable(path)
    except sqlite3.Error as error:
        raise ReleaseError(f"release {release.id}: {path} cannot be opened: {error}") from None
    connection.row_factory = None
    return bound(connection)


def iso(seconds: float) -> str:
    """A Unix time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
