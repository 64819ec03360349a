"""The champion: the promoted release, made to answer for a challenger's held-out users as it would serve them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs import item_side
from jobs.kernels import lists as kernel
from jobs.kernels.histories import Histories, strength
from jobs.kernels.item_side import ItemSide
from jobs.step import Facts
from schemas.errors import CineMatchError
from schemas.manifest import Manifest
from warehouse import item_side as item_side_files, release as releases
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import open_immutable

log = logging.getLogger("cinematch")

_TRAINED_ON = "select item_id from ratings where user_id = ? and is_held_out = 0"
_STORED = "select item_id from recommendations where user_id = ? and rank <= ? order by rank"


@dataclass(frozen=True)
class Champion:
    """A sealed release with its manifest; `numbers` (n_items,) gives its item_num for each of the challenger's, -1 where it
    does not know the item, and `names` (its n_items,) the way back."""

    release: Release
    manifest: Manifest
    numbers: np.ndarray
    names: np.ndarray

    @property
    def side(self) -> ItemSide:
        return item_side.load(self.release, self.manifest.served_model)

    def histories(self, histories: Histories) -> Histories:
        """The challenger's histories as the champion would read them: its items, its scale."""
        known = histories.renumbered(self.numbers)
        if self.manifest.rating_scale is None:
            return known
        low, high = self.manifest.rating_scale
        strengths = strength(known.ratings, known.strengths, low=low, high=high)
        return Histories(known.indptr, known.items, strengths, known.ratings, known.steps)

    def lists(self, histories: Histories, n: int) -> kernel.Lists:
        """What it would serve for these histories, in the challenger's item numbers; -1 is an item it alone knows."""
        settings = self.manifest.settings
        lists = kernel.recommend(
            self.side, self.histories(histories), n=n, explain_n=0, reasons_n=0, min_history=settings["min_history"]
        )
        return lists._replace(items=self.names[lists.items])

    def trained_on(self, users: Iterable[Any], held: Iterable[list]) -> np.ndarray:
        """Whether it was trained on any of the items that were kept out of each user's history, (u,)."""
        with closing(open_immutable(self.release.database)) as connection:
            return np.array(
                [
                    not {row[0] for row in connection.execute(_TRAINED_ON, [user])}.isdisjoint(items)
                    for user, items in zip(users, held)
                ],
                bool,
            )

    def stored(self, users: Iterable[Any], n: int) -> list[list]:
        """The heads of its stored lists, as item ids; empty for a user it does not know."""
        with closing(open_immutable(self.release.database)) as connection:
            return [[row[0] for row in connection.execute(_STORED, [user, n])] for user in users]


def find(warehouse: Warehouse, release: Release, found: Facts) -> tuple[Champion | None, str]:
    """The promoted release as champion of one that is being built; or None, and why there is nobody to compare with."""
    if releases.current_id(warehouse) is None:
        return None, "no release is promoted yet"
    name = releases.current_id(warehouse)
    try:
        sealed, manifest = releases.current(warehouse)
        is_rated = (manifest.rating_scale is not None, found.rating_scale is not None)
        if manifest.id_types != found.ids or is_rated[0] != is_rated[1]:
            return None, f"release {name} is of other data: its ids or its kind of feedback differ"
        own, theirs = (item_side_files.load(r.model("items"))[0]["item_ids"] for r in (release, sealed))
        champion = Champion(sealed, manifest, places(own, theirs), places(theirs, own))
        champion.side.by_popularity
        champion.trained_on([None], [[]])
    except (CineMatchError, sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("evaluate: the promoted release %s cannot be compared with: %s", name, error)
        return None, f"release {name} cannot be opened ({error})"
    return champion, ""


def places(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where each of ids (n,) stands among other ids (m,), both ascending; -1 where it does not."""
    if len(among) == 0:
        return np.full(len(ids), -1, np.int64)
    found = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[found] == ids, found, -1).astype(np.int64)
