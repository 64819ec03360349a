"""The type of a file's ids, told from its first rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

FLOAT = r"^(-?[0-9]+)\.0+$"
_SHORTENED = r"^-?[0-9](\.[0-9]+)?[eE]\+?[0-9]+$"


def are_floats(texts: pa.Array) -> bool:
    """Whether every id is a whole number written as 196.0, as programs do that had a gap in the column."""
    filled = texts.filter(pc.not_equal(texts, ""))
    return len(filled) > 0 and pc.all(pc.match_substring_regex(filled, FLOAT)).as_py()


def shortened(texts: pa.Array) -> str | None:
    """The first id that a spreadsheet has cut to a few digits, such as 1.196e+09; several ids may have become one so."""
    ids = texts.filter(pc.match_substring_regex(texts, _SHORTENED))
    return ids[0].as_py() if len(ids) else None
