"""Retention: interactions older than `retention_days` before the release's time are in no release, nor is the text of their rows."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from schemas.settings import Settings


def earliest(settings: Settings, as_of: datetime) -> datetime | None:
    """The time before which interactions are left out; None if all are kept."""
    return as_of - timedelta(days=settings.retention_days) if settings.retention_days else None


def kept_online(arrived: pa.Table, since: datetime | None) -> pa.Table:
    """Online ratings less those that are too old. A PUT that is stays as a deletion: it decided over what came before it."""
    if since is None:
        return arrived
    is_old = pc.less(arrived["rated_at"], int(since.timestamp()))
    decides = pc.or_(arrived["is_deleted"], arrived["is_overwrite"])
    place = arrived.schema.get_field_index("is_deleted")
    marked = arrived.set_column(place, arrived.schema.field(place), pc.or_(arrived["is_deleted"], is_old))
    return marked.filter(pc.or_(decides, pc.invert(is_old)))
