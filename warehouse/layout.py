"""Where everything lies in a warehouse; the only module that knows a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import UsageError

_RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
STEPS = ("ingest", "train", "evaluate", "recommend", "seal", "promote")
RESERVED = ("current", "latest")  # names that stand for a release
PAGES = "pages-"  # how the name of a server's own copy of a release begins, in staging


@dataclass(frozen=True)
class Release:
    """The files of one release, in staging or sealed."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def signature(self) -> Path:
        """minisign's signature of the manifest, where the release is signed."""
        return self.folder / "manifest.json.minisig"

    @property
    def database(self) -> Path:
        return self.folder / "cinematch.db"

    def shard(self, number: int) -> Path:
        return self.folder / f"cinematch-{number}.db"

    @property
    def shards(self) -> list[Path]:
        """The databases of the users, in order; none where they are in the one database with all else."""
        return sorted(self.folder.glob("cinematch-?.db"))

    @property
    def user_databases(self) -> list[Path]:
        """The databases that have the tables of users: the shards, or the one database."""
        return self.shards or [self.database]

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    @property
    def models(self) -> Path:
        return self.folder / "model"

    @property
    def work(self) -> Path:
        """The folder of what a later step needs and a sealed release does not keep: beside the staged folder, so that sealing is one rename."""
        return self.folder.with_name(f"{self.id}.work")

    @property
    def owner(self) -> Path:
        """Locked by the run that builds this release; not there where steps are run one by one."""
        return self.folder.with_name(f"{self.id}.owner")

    @property
    def lock(self) -> Path:
        """Held by the step that works on this release in staging."""
        return self.work / "lock"

    def table(self, name: str) -> Path:
        return self.tables / f"{name}.parquet"

    def model(self, name: str) -> Path:
        return self.models / name

    def step(self, name: str) -> Path:
        """The record of a finished step; a step is done when this file is there."""
        return self.work / "steps" / f"{name}.json"


@dataclass(frozen=True)
class Warehouse:
    folder: Path

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def online(self) -> Path:
        """Every online rating that an ingest has read, kept when the overlay is emptied."""
        return self.raw / "online"

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    @property
    def staging(self) -> Path:
        return self.releases / ".staging"

    @property
    def current(self) -> Path:
        return self.folder / "current"

    @property
    def promotions(self) -> Path:
        return self.folder / "promotions.jsonl"

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.db"

    @property
    def overlay(self) -> Path:
        """Ratings that came in online; the only database that changes."""
        return self.folder / "overlay.db"

    @property
    def keys(self) -> Path:
        """Digests of the API keys, and what each may."""
        return self.folder / "api_keys.json"

    @property
    def keys_used(self) -> Path:
        """When each key was used last, as servers write it now and then."""
        return self.folder / "api_keys_used.json"

    @property
    def forgotten(self) -> Path:
        """Users that no ingest may take in again."""
        return self.folder / "forgotten.jsonl"

    @property
    def hidden(self) -> Path:
        """Items that no list may hold until they are shown again."""
        return self.folder / "hidden.jsonl"

    @property
    def erasures(self) -> Path:
        """Certificates of what was removed of forgotten users, and of what still names them."""
        return self.folder / "erasures"

    @property
    def findings(self) -> Path:
        """The journal of what every audit found."""
        return self.folder / "findings.jsonl"

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"

    def sealed(self, release_id: str) -> Release:
        return Release(self.releases / checked_id(release_id))

    def staged(self, release_id: str) -> Release:
        if release_id in RESERVED:
            raise UsageError(f"release id {release_id!r}: stands for a release that is there; expected another name")
        return Release(self.staging / checked_id(release_id))


def is_id(name: str) -> bool:
    """Whether a name can be a release's; whatever else lies in its folder is not one."""
    return _RELEASE_ID.fullmatch(name) is not None


def checked_id(release_id: str) -> str:
    """The id itself. Raises UsageError if it cannot name a folder of releases."""
    if not is_id(release_id):
        raise UsageError(
            f"release id {release_id!r}: expected 1 to 64 letters, digits, - or _, the first a letter or digit, such as 20260104T020000Z"
        )
    return release_id
