"""MovieLens as GroupLens publishes it: a folder or a zip of ml-latest, 20m, 25m, 32m (CSV), 1m, 10m (`::`) or
100k (tab, `|`)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, UTC
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources import Batch, Catalogue
from jobs.sources.accept import accept, Rules
from jobs.sources.blocks import Block
from jobs.sources.catalogue import from_items
from jobs.sources.movielens_formats import Format, FORMATS, GENRE_FLAGS, GENRES_100K, ML_10M, ML_100K
from jobs.sources.streams import Input, magic, ZIP
from jobs.sources.tags import with_tags
from jobs.sources.times import SECOND
from jobs.sources.users import Attributes, attributes_of
from schemas.errors import SourceError


@dataclass(frozen=True)
class MovieLens:
    """A MovieLens folder or zip. Ids are whole numbers, times Unix seconds."""

    format: Format
    files: Mapping[str, Input]
    rating_scale: tuple[float, float]
    latest: datetime
    name: str = field(default="movielens", init=False)
    user_id_type: str = field(default="int64", init=False)
    item_id_type: str = field(default="int64", init=False)
    read_as: Mapping[str, str] = field(default_factory=dict, init=False)
    digests: Mapping[str, str] = field(default_factory=dict, init=False)
    earliest: datetime | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(source.path for source in self.files.values()))

    def interactions(self) -> Iterator[Batch]:
        source = self.files[self.format.ratings.name]
        rules = Rules(source.name, self.latest, "int64", "int64", self.rating_scale, SECOND, earliest=self.earliest)
        for block in self.format.ratings.blocks(source):
            yield accept(block, rules)

    def catalogue(self) -> Catalogue:
        source = self.files[self.format.movies.name]
        blocks = self.format.movies.blocks(source)
        if self.format is ML_100K:
            blocks = (_with_genres(block, self._flag_names()) for block in blocks)
        catalogue = from_items(blocks, source.name, "int64")
        if self.format.tags and self.format.tags.name in self.files:
            tags = self.files[self.format.tags.name]
            catalogue = with_tags(catalogue, self.format.tags.blocks(tags), tags.name)
        return catalogue

    def users(self) -> Iterator[Attributes]:
        part = self.format.users
        if part is not None and part.name in self.files:
            source = self.files[part.name]
            for block in part.blocks(source):
                yield attributes_of(block, source.name, "int64")

    def _flag_names(self) -> tuple[str, ...]:
        """Genres of the flags of u.item, from u.genre where it is there."""
        if "u.genre" not in self.files:
            return GENRES_100K
        with self.files["u.genre"].open() as stream:
            lines = stream.read().decode("latin-1").splitlines()
        named = {int(number): name for name, _, number in (line.partition("|") for line in lines) if number.strip().isdigit()}
        return tuple(named.get(i, name) for i, name in enumerate(GENRES_100K))


def open_movielens(path: Path, *, latest: datetime, rating_scale: tuple[float, float] | None = None) -> MovieLens:
    """The data set in a folder, a zip, or beside the ratings file that the path names; its format told by its
    files."""
    if path.is_file() and magic(path) != ZIP:
        path = path.parent
    if not path.exists():
        raise SourceError(f"{path}: no such folder or zip; expected a MovieLens data set")
    candidates = _zip_members(path) if path.is_file() else _folder_files(path)
    for files in candidates:
        for form in FORMATS:
            if form.ratings.name not in files or (form is ML_10M and not _is_10m(files)):
                continue
            if form.movies.name not in files:
                raise SourceError(f"{path}: {form.ratings.name} without {form.movies.name}; found: {', '.join(sorted(files))}")
            used = (
                form.ratings.name,
                form.movies.name,
                *([form.tags.name] if form.tags else []),
                *([form.users.name] if form.users else []),
                *(["u.genre"] if form is ML_100K else []),
            )
            chosen = {name: files[name] for name in used if name in files}
            for part in (form.ratings, form.movies):
                opened = part.open(files[part.name])
                for ours, theirs in part.columns.items():
                    opened.position(theirs, ours)
            return MovieLens(form, chosen, rating_scale or form.scale, latest)
    names = ", ".join(sorted(name for files in candidates for name in files)[:20]) or "nothing"
    raise SourceError(
        f"{path}: not a MovieLens data set; expected ratings.csv and movies.csv, ratings.dat and movies.dat, "
        f"or u.data and u.item; found: {names}"
    )


def is_movielens(path: Path) -> bool:
    """Whether a folder, a zip or a ratings file is of a MovieLens data set. Raises SourceError if it cannot be looked at."""
    if path.is_file() and magic(path) != ZIP and path.name not in {form.ratings.name for form in FORMATS}:
        return False
    try:
        open_movielens(path, latest=datetime.now(UTC))
    except SourceError:
        if path.is_file() and magic(path) == ZIP and any(form.ratings.name in files for files in _zip_members(path) for form in FORMATS):
            raise
        return False
    return True


def _folder_files(folder: Path) -> list[dict[str, Input]]:
    """Files by name, of the folder and of each folder in it."""
    folders = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    return [{child.name: Input(child) for child in sorted(f.iterdir()) if child.is_file()} for f in folders]


def _zip_members(path: Path) -> list[dict[str, Input]]:
    """Members by name, folder by folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
    except zipfile.BadZipFile as error:
        raise SourceError(f"{path}: not a readable zip ({error}); fetch the file again") from None
    folders: dict[str, dict[str, Input]] = {}
    for member in sorted(members, key=lambda name: (name.count("/"), name)):
        parent, _, name = member.rpartition("/")
        folders.setdefault(parent, {})[name] = Input(path, member)
    return list(folders.values())


def _is_10m(files: Mapping[str, Input]) -> bool:
    """Whether ratings.dat is of ml-10m, which has half stars and tags, and not of ml-1m, which has users."""
    if "users.dat" in files:
        return False
    if "tags.dat" in files:
        return True
    block = ML_10M.ratings.open(files["ratings.dat"]).first_rows({"rating": "rating"})
    return any(b".5" in value for value in block.columns["rating"].tolist()[:10_000])


def _with_genres(block: Block, names: tuple[str, ...]) -> Block:
    """The flags of u.item as one column of genres."""
    columns = {name: values for name, values in block.columns.items() if name not in GENRE_FLAGS}
    words = [
        pc.if_else(
            pc.equal(block.columns[flag], b"1"),
            pa.scalar(b"" if name == "unknown" else name.encode() + b"|"),
            pa.scalar(b""),
        )
        for flag, name in zip(GENRE_FLAGS, names, strict=True)
    ]
    columns["genres"] = pc.binary_join_element_wise(*words, pa.scalar(b""))
    return block._replace(columns=columns)
