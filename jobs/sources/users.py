"""Attributes of users: the columns of a file of users, as names and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jobs.sources.accept import quarantine, Sieve
from jobs.sources.blocks import Block
from jobs.sources.catalogue import joined
from jobs.sources.columns import chosen
from jobs.sources.file import File

SCHEMA = pa.schema([("user_id", pa.string()), ("name", pa.string()), ("value", pa.string())])


class Attributes(NamedTuple):
    """One block of a file of users. rows: user_id (as text), name, value, a row for each value that is not empty; refused: rows of the
    quarantine table; n_read: rows of the file."""

    rows: pa.Table
    refused: pa.Table
    n_read: int


def columns_of_users(text: str, file: File) -> dict[str, str]:
    """Our names to the file's: those that the setting names, else the id and every other column by its own name."""
    columns = chosen(text, "user_columns", (), ("user_id",), file.fields, file.label)
    return columns if text else columns | {name: name for name in file.fields if name and name not in ("user_id", columns["user_id"])}


def attributes(file: File, columns: Mapping[str, str], id_type: str | None, floats: frozenset[str] = frozenset()) -> Iterator[Attributes]:
    """The attributes of a file, a block at a time. Rows are refused that have no user, or are no rows."""
    for part in file.parts:
        for block in part.blocks(columns):
            yield attributes_of(block, f"{part.name} (users)", id_type, floats)


def attributes_of(block: Block, source: str, id_type: str | None, floats: frozenset[str] = frozenset()) -> Attributes:
    """The attributes in a block; its columns but `user_id` are their names."""
    sieve = Sieve(block, floats)
    users = sieve.id("user_id", id_type).cast(pa.string())
    texts = {name: joined(sieve, name) for name in block.columns if name != "user_id"}
    is_good = pa.array(sieve.is_good)
    tables = [SCHEMA.empty_table()]
    for name, values in texts.items():
        is_there = pc.and_(is_good, pc.not_equal(values, ""))
        named = pa.repeat(pa.scalar(name), len(values))
        tables.append(pa.table([users, named, values], schema=SCHEMA).filter(is_there))
    return Attributes(pa.concat_tables(tables), quarantine(source, sieve.refusals()), block.n_read)
