"""The manifest survives its JSON, and nothing else passes for one."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import given, strategies as st

from schemas.errors import ReleaseError
from schemas.manifest import FORMAT, Manifest
from tests.conftest import Built

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6)
OBJECT = st.dictionaries(TEXT, JSON, max_size=4)
COUNTS = st.dictionaries(TEXT, st.integers(0, 2**53), max_size=4)
LIST = st.lists(OBJECT, max_size=3)
NUMBER = st.floats(-100, 100)

MANIFESTS = st.builds(
    Manifest,
    release=TEXT,
    created_at=TEXT,
    as_of=TEXT,
    source=TEXT,
    rating_scale=st.none() | st.tuples(NUMBER, NUMBER),
    ids=st.fixed_dictionaries({role: st.sampled_from(("int64", "string")) for role in ("user_id", "item_id")}),
    input=OBJECT,
    rows=COUNTS,
    counts=COUNTS,
    settings=OBJECT,
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    steps=LIST,
    models=LIST,
    metrics=LIST,
    parity=OBJECT,
    checks=OBJECT,
    verdict=OBJECT,
    tables=st.dictionaries(TEXT, OBJECT, max_size=3),
    files=st.dictionaries(TEXT, OBJECT, max_size=3),
)
NAMES = [field.name for field in fields(Manifest)]


@given(MANIFESTS)
def test_a_manifest_survives_its_json(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert Manifest.from_json(text, name=manifest.release) == manifest
    assert Manifest.from_json(text, name=manifest.release).to_json() == text


def test_the_manifest_of_a_real_release_survives_too(movie_release: Built) -> None:
    manifest = movie_release.manifest
    assert Manifest.from_json(manifest.to_json(), name=manifest.release) == manifest
    assert movie_release.release.manifest.read_text(encoding="utf-8") == manifest.to_json()
    assert manifest.format == FORMAT and manifest.id_types.item_id == "int64"
    assert [row["is_served"] for row in manifest.models if row["model"] == manifest.served_model] == [True]


@given(MANIFESTS, st.sampled_from(NAMES))
def test_a_missing_part_is_refused_and_named(manifest: Manifest, name: str) -> None:
    values = json.loads(manifest.to_json())
    del values[name]
    with pytest.raises(ReleaseError, match=f"release r: .*{name}"):
        Manifest.from_json(json.dumps(values), name="r")


@given(MANIFESTS, st.data())
def test_a_manifest_cut_short_is_refused(manifest: Manifest, data: st.DataObject) -> None:
    text = manifest.to_json()
    cut = data.draw(st.integers(0, len(text) - 3))
    with pytest.raises(ReleaseError, match="release r: manifest.json is not readable"):
        Manifest.from_json(text[:cut], name="r")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rating_scale"])
@pytest.mark.parametrize("wrong", [None, 3.5, [[]]])
def test_a_part_of_the_wrong_kind_is_refused_and_named(movie_release: Built, name: str, wrong) -> None:
    values = json.loads(movie_release.manifest.to_json()) | {name: wrong}
    with pytest.raises(ReleaseError, match=f"release r: .*{name}"):
        Manifest.from_json(json.dumps(values), name="r")


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{}", '{"format": 1}', '{"format": 99}', "not json"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ReleaseError, match="release r: manifest.json"):
        Manifest.from_json(text, name="r")


def test_a_manifest_of_another_format_is_refused(movie_release: Built) -> None:
    values = json.loads(movie_release.manifest.to_json())
    for changed in (values | {"format": FORMAT + 1}, values | {"more": 1}):
        with pytest.raises(ReleaseError, match=f"another version.*expected format {FORMAT}"):
            Manifest.from_json(json.dumps(changed), name="r")
