"""forget: a user out of the overlay, out of every later release, and a certificate of where the id still stands.

Sealed releases are not changed: they are kept out of sight by the server, and go when they are pruned. The certificate names them.
"""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc

from jobs.privacy import erasure
from jobs.privacy.traces import Found, Person, traces
from jobs.sources import Batch, QUARANTINE_SCHEMA
from schemas.errors import ReleaseError, UsageError
from schemas.tables import IdTypes
from warehouse import forgotten, overlay, parquet
from warehouse.claims import sweep
from warehouse.forgotten import Forgotten
from warehouse.layout import Warehouse
from warehouse.release import read_manifest, sealed_ids

REASON = "the user is forgotten"
FILED_UNDER = "forgotten"


def forget(warehouse: Warehouse, user: str, *, is_dry_run: bool = False) -> list[Found]:
    """Forget a user, then report what of the warehouse still names them; a dry run only reports. Twice does no harm. Raises
    UsageError where the text can be no id of the releases that are here."""
    if not warehouse.folder.exists():
        raise UsageError(f"{warehouse.folder}: no such warehouse")
    known = _ids(warehouse, user)
    if is_dry_run:
        return list(traces(warehouse, Person(user)))
    forgotten.add(warehouse, user)
    removed: dict[str, int] = {}
    if warehouse.overlay.exists():
        with closing(overlay.create(warehouse.overlay)) as connection:
            removed[warehouse.overlay.name] = sum(overlay.forget(connection, user_id) for user_id in known)
    for path in parquet.parts(warehouse.online):
        rows = parquet.read(path)
        kept = rows.filter(pc.not_equal(rows["user_id"], user))
        if len(kept) < len(rows):
            parquet.write(path, [kept], rows.schema)
            removed[path.relative_to(warehouse.folder).as_posix()] = len(rows) - len(kept)
    sweep(warehouse)  # copies and half-built releases that killed processes have left
    places = list(traces(warehouse, Person(user)))
    erasure.certify(warehouse, forgotten.read(warehouse.forgotten), user, removed, places)
    return places


def _ids(warehouse: Warehouse, user: str) -> set[int | str]:
    """The user's id as each kind of release has it: where ids are whole numbers, `0777` is none, and not that of 777."""
    kinds = set()
    for name in sealed_ids(warehouse):
        try:
            kinds.add(read_manifest(warehouse.sealed(name)).id_types.user_id)
        except ReleaseError:
            continue
    ids = {IdTypes(user_id=kind).parse("user_id", user) for kind in kinds or {"int64", "string"}} - {None}
    if not ids:
        raise UsageError(
            f"user {user!r}: not an id of {warehouse.folder}, whose ids are whole numbers in their shortest form; nobody was forgotten"
        )
    return ids


def leave_out(known: Forgotten, batch: Batch, *, n_before: int = 0) -> tuple[pa.Table, pa.Table]:
    """Accepted and refused rows of a batch, with forgotten users' rows moved to the refused ones, without their text and, as several files
    may have the same lines, numbered on from those before."""
    if not known:
        return batch.accepted, batch.refused
    users = pc.unique(batch.accepted["user_id"])
    gone = pa.array([user for user in users.to_pylist() if user in known], users.type)
    is_gone = pc.is_in(batch.accepted["user_id"], value_set=gone)
    lines = range(n_before + 1, n_before + 1 + pc.sum(is_gone).as_py())
    moved = pa.table([[FILED_UNDER] * len(lines), lines, [""] * len(lines), [REASON] * len(lines)], schema=QUARANTINE_SCHEMA)
    texts = ["" if known.names(text) else text for text in batch.refused["text"].to_pylist()]
    refused = batch.refused.set_column(2, QUARANTINE_SCHEMA.field("text"), pa.array(texts, pa.string()))
    return batch.accepted.filter(pc.invert(is_gone)), pa.concat_tables([refused.cast(QUARANTINE_SCHEMA), moved])
