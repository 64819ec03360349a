"""The row of a list and of a reason is declared once, and whatever writes one has those keys in that order."""

from __future__ import annotations

import json

import pytest

from jobs.kernels.reasons import KINDS
from schemas.list_rows import as_json, DETAILS, GENRE, N, REASON, reason, ROW, row, SCORED, VALUE
from schemas.tables import EXPLANATION_KINDS, RECOMMENDATIONS
from serving.rows import Listed


@pytest.mark.parametrize(("keys", "made"), [(ROW, row), (REASON, reason)])
def test_as_an_object_and_as_text_a_row_is_the_same(keys: dict[str, str], made) -> None:
    values = list(range(len(keys)))
    text = "".join(f"{key}{value}" for key, value in zip(as_json(keys), values, strict=True)) + "}"
    assert list(made(values)) == list(keys) and json.loads(text) == made(values) == dict(zip(keys, values))
    with pytest.raises(ValueError, match="zip"):
        made(values[1:])


def test_every_kind_of_reason_has_a_key_for_its_value_with_a_type() -> None:
    assert list(VALUE) == sorted(VALUE, key=KINDS.index) and set(VALUE) == set(KINDS) == set(EXPLANATION_KINDS)
    assert set(DETAILS) == {*VALUE.values(), GENRE, N}


def test_what_is_scored_stands_in_the_table_of_lists_too() -> None:
    assert set(SCORED) < {column.name for column in RECOMMENDATIONS.columns}
    assert Listed._fields == tuple(key for key in ROW if key not in ("title", "reasons", "residual"))
