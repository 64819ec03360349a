"""The champion: the promoted release, made to answer for a challenger's held-out users as it would serve them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.evaluate.user_scores import PROTOCOL, TOP
from jobs.evaluate.verdict import Rival
from jobs.ingest import data_guard
from jobs.ingest.partition import is_validation
from jobs.kernels.histories import Histories
from jobs.kernels.lists import Lists
from jobs.kernels.recommender import Recommender
from jobs.staging.item_side import recommender_of
from jobs.staging.record import Facts
from schemas.errors import CineMatchError
from schemas.manifest import Manifest
from schemas.metrics import deciding
from schemas.settings import Settings
from warehouse import model_files as item_side_files, release as releases
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import open_immutable

log = logging.getLogger("cinematch")

_TRAINED_ON = "select item_id from ratings where user_id = ? and is_held_out = 0"
_DRAWN_BY = ("seed", "holdout_users", "holdout_least")  # settings that say who is held out, and to choose by
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
    def recommender(self) -> Recommender:
        return recommender_of(self.release, self.manifest)

    def histories(self, histories: Histories) -> Histories:
        """The challenger's histories as the champion would read them: its items, its scale."""
        return self.recommender.reread(histories.renumbered(self.numbers))

    def lists(self, histories: Histories, n: int) -> Lists:
        """Return the lists that it would serve for these histories, in the challenger's item numbers; -1 is an item it alone knows."""
        lists = self.recommender.lists(self.histories(histories), n=n, explain_n=0)
        return lists._replace(items=self.names[lists.items])

    def knows(self, users: list, held: Iterable[list]) -> np.ndarray:
        """Whether any of the items that were kept out of each user's history is known to it, (u,): because it was trained on them, or
        because it chose its models and their hyper-parameters by that user."""
        recorded = {name: self.manifest.settings[name] for name in _DRAWN_BY if name in self.manifest.settings}
        chosen_by = is_validation(pa.array(users), Settings(**recorded), n_users=self.manifest.counts["users"])
        with closing(open_immutable(self.release.database)) as connection:
            trained_on = [
                not {row[0] for row in connection.execute(_TRAINED_ON, [user])}.isdisjoint(items) for user, items in zip(users, held)
            ]
        return chosen_by | np.array(trained_on, bool)

    def stored(self, users: Iterable[Any], n: int) -> list[list]:
        """The heads of its stored lists, as item ids; empty for a user it does not know."""
        with closing(open_immutable(self.release.database)) as connection:
            return [[row[0] for row in connection.execute(_STORED, [user, n])] for user in users]


def find(warehouse: Warehouse, release: Release, facts: Facts, data: dict[str, Any], settings: Settings) -> tuple[Champion | None, Rival]:
    """The promoted release as champion of one that is being built, and what the verdict has to know of it; without a champion
    the rival says why there is nobody to compare with, and whether there must be. `data` is what the data guard found."""
    name = releases.current_id(warehouse)
    if name is None:
        return None, Rival(note="no release is promoted yet")
    try:
        sealed, manifest = releases.current(warehouse)
        if data_guard.is_of_other_sample(manifest, settings):
            return None, Rival(current=name, note=data["note"])
        rival = Rival(current=name, is_owed=not (data["is_accepted"] or data_guard.is_earlier(manifest, facts.as_of)))
        if rival.is_owed and data["against"] != name:
            return None, replace(rival, note=data["note"])
        if rival.is_owed and data["changes"]:
            note = "; ".join(change["message"] for change in data["changes"])
            return None, replace(rival, note=f"its data differs by more than a week changes: {note}")
        is_rated = (manifest.rating_scale is not None, facts.rating_scale is not None)
        if manifest.id_types != facts.ids or is_rated[0] != is_rated[1]:
            return None, replace(rival, note="its ids or its kind of feedback differ")
        own, theirs = (item_side_files.load(r.model("items"))[0]["item_ids"] for r in (release, sealed))
        champion = Champion(sealed, manifest, places(own, theirs), places(theirs, own))
        champion.recommender.side.by_popularity
        champion.knows([0], [[]])
    except (CineMatchError, sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("evaluate: the promoted release %s cannot be compared with: %s", name, error)
        return None, Rival(current=name, note=f"it cannot be opened ({error})", is_owed=True)
    return champion, replace(rival, champion=name, ndcg=_own_ndcg(manifest, settings))


def _own_ndcg(manifest: Manifest, settings: Settings) -> float | None:
    """Return what the champion had on its own held-out rows, by the metric that decides; None if it was not measured."""
    metric = deciding(settings.relevance, is_rated=manifest.rating_scale is not None)
    wanted = (manifest.served_model, PROTOCOL, metric, TOP)
    values = [row["value"] for row in manifest.metrics if (row["model"], row["protocol"], row["metric"], row["k"]) == wanted]
    return values[0] if values else None


def places(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where each of ids (n,) stands among other ids (m,), both ascending; -1 where it does not."""
    if len(among) == 0:
        return np.full(len(ids), -1, np.int64)
    positions = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[positions] == ids, positions, -1).astype(np.int64)
