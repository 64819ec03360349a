"""Settings: who wins, what is refused and how, and that every value survives every way in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from schemas.errors import SettingError
from schemas.settings import FIELDS, resolve, Settings, settings_table


def resolved(folder: Path, *, flag=None, environment=None, file=None, recorded=None) -> int:
    """ials_factors where each of the given places says something."""
    if file is not None:
        (folder / "cinematch.toml").write_text(f"ials_factors = {file}\n")
    variables = {} if environment is None else {"CINEMATCH_IALS_FACTORS": str(environment)}
    saved = None if recorded is None else {"ials_factors": recorded}
    return resolve({"ials_factors": flag}, variables, recorded=saved, folder=folder).ials_factors


def test_the_flag_wins_then_the_environment_then_the_file_then_the_record_then_the_default(tmp_path: Path) -> None:
    assert resolved(tmp_path) == FIELDS["ials_factors"].default
    assert resolved(tmp_path, recorded=2) == 2
    assert resolved(tmp_path, recorded=2, file=3) == 3
    assert resolved(tmp_path, recorded=2, file=3, environment=4) == 4
    assert resolved(tmp_path, recorded=2, file=3, environment=4, flag="5") == 5


def test_the_file_may_be_named_by_flag_or_environment(tmp_path: Path) -> None:
    named = tmp_path / "mine.toml"
    named.write_text('models = "popular,ials"\nseed = 7\n')
    assert resolve({"settings": str(named)}, {}, folder=tmp_path).seed == 7
    assert resolve({}, {"CINEMATCH_SETTINGS": str(named)}, folder=tmp_path).model_names() == ["popular", "ials"]


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("flag", "--ials-factor"),
        ("environment", "CINEMATCH_IALS_FACTOR"),
        ("file", "cinematch.toml"),
    ],
)
def test_an_unknown_setting_is_an_error_that_names_its_place_and_the_nearest(tmp_path: Path, place: str, where: str) -> None:
    if place == "file":
        (tmp_path / "cinematch.toml").write_text("ials_factor = 3\n")
    flags = {"ials_factor": "3"} if place == "flag" else {}
    environment = {"CINEMATCH_IALS_FACTOR": "3"} if place == "environment" else {}
    with pytest.raises(SettingError, match=f"unknown setting 'ials_factor' in .*{where}.*did you mean 'ials_factors'"):
        resolve(flags, environment, folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n", "0", "expected at least 1, got 0"),
        ("n", "1001", "expected at most 1000"),
        ("n", "ten", "expected a whole number, got 'ten'"),
        ("n", "1.5", "expected a whole number"),
        ("n", True, "expected a whole number"),
        ("n", 2.5, "expected a whole number"),
        ("ials_reg", "-1", "expected at least 0"),
        ("ials_reg", "nan", "expected a number"),
        ("ials_reg", "inf", "expected a number"),
        ("source", "film", "expected one of sample, movielens, table, got 'film'"),
        ("holdout_users", "1.01", "expected at most 1"),
        ("models", 3, "expected text"),
        ("seed", "-1", "expected at least 0"),
        ("read_only", "perhaps", "expected true or false"),
    ],
)
def test_a_value_that_does_not_fit_says_what_was_expected_and_got(tmp_path: Path, name: str, value, message: str) -> None:
    with pytest.raises(SettingError, match=f"{name} in --.*{message}"):
        resolve({name: value}, {}, folder=tmp_path)


@pytest.mark.parametrize("content", [b"ials_factors = ", b"\xff\xfe", b"[ials]\nfactors = 3"])
def test_a_settings_file_that_is_none_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cinematch.toml").write_bytes(content)
    with pytest.raises(SettingError, match="cinematch.toml"):
        resolve({}, {}, folder=tmp_path)


def test_a_named_settings_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="absent.toml: no such settings file"):
        resolve({"settings": str(tmp_path / "absent.toml")}, {}, folder=tmp_path)


def test_a_file_may_say_lists_and_tables_as_toml_does(tmp_path: Path) -> None:
    (tmp_path / "cinematch.toml").write_text(
        'models = ["popular", "ials"]\nitem_columns = {title = "Name"}\n[columns]\nuser_id = "Customer ID"\nitem_id = "SKU"\n'
    )
    found = resolve({}, {}, folder=tmp_path)
    assert found.model_names() == ["popular", "ials"]
    assert (found.columns, found.item_columns) == ("user_id=Customer ID,item_id=SKU", "title=Name")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('models = ["popular,ials"]', "without a comma, got 'popular,ials'"),
        ("models = [1]", "without a comma, got 1"),
        ('columns = ["user_id"]', "expected text"),
        ('warehouse = ["here"]', "expected text"),
        ("models = {a = 1}", "expected text"),
        ("[columns]\nuser_id = 1", "without a comma, got 1"),
    ],
)
def test_a_list_or_a_table_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "cinematch.toml").write_text(content)
    with pytest.raises(SettingError, match=message):
        resolve({}, {}, folder=tmp_path)


def fitting(name: str) -> st.SearchStrategy:
    """Values that a setting's type and bounds allow."""
    declared = FIELDS[name]
    bounds, kind = declared.metadata, type(declared.default)
    if bounds.get("choices"):
        return st.sampled_from(bounds["choices"])
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(bounds.get("minimum", -(10**6)), bounds.get("maximum", 10**6))
    if kind is float:
        return st.floats(bounds.get("minimum", -1e6), bounds.get("maximum", 1e6), allow_nan=False)
    return st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\"\\'"), max_size=15)


SOME = st.fixed_dictionaries({}, optional={name: fitting(name) for name in FIELDS})


@given(SOME)
def test_values_survive_every_way_in(tmp_path_factory, values: dict) -> None:
    folder = tmp_path_factory.mktemp("settings")
    expected = Settings(**values)
    as_text = {name: str(value) for name, value in values.items()}
    assert resolve(as_text, {}, folder=folder) == expected
    assert resolve({}, {f"CINEMATCH_{name.upper()}": text for name, text in as_text.items()}, folder=folder) == expected
    (folder / "cinematch.toml").write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
    assert resolve({}, {}, folder=folder) == expected


@given(SOME)
def test_what_a_release_records_decides_what_is_computed_and_nothing_else(values: dict) -> None:
    given_settings = Settings(**values)
    again = resolve({}, {}, recorded=given_settings.recorded(), folder=Path(os.devnull).parent / "nowhere")
    assert again.recorded() == given_settings.recorded()
    assert not given_settings.recorded().keys() & {"warehouse", "spark_master", "path", "items", "host", "port"}


def _toml(value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def test_every_setting_is_described_and_its_default_fits() -> None:
    table = settings_table()
    assert resolve({name: declared.default for name, declared in FIELDS.items()}, {}, folder=Path("/nowhere")) == Settings()
    for name, declared in FIELDS.items():
        assert f"| `{name}` |" in table
        assert declared.metadata["commands"] and len(declared.metadata["description"]) > 10


def test_a_secret_may_be_in_a_file_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret \n")
    found = resolve({}, {"CINEMATCH_AIRFLOW_PASSWORD_FILE": str(tmp_path / "password")}, folder=tmp_path)
    assert found.airflow_password == "s3cret " and "s3cret" not in repr(found)
    with pytest.raises(SettingError, match="CINEMATCH_AIRFLOW_PASSWORD_FILE.*expected a file with the secret.*FileNotFoundError"):
        resolve({}, {"CINEMATCH_AIRFLOW_PASSWORD_FILE": str(tmp_path / "nothing")}, folder=tmp_path)
    with pytest.raises(SettingError, match="unknown setting 'airflow_url_file'"):
        resolve({}, {"CINEMATCH_AIRFLOW_URL_FILE": str(tmp_path / "password")}, folder=tmp_path)


def test_a_secret_is_shown_by_no_message_and_recorded_nowhere() -> None:
    found = resolve({}, {"CINEMATCH_AIRFLOW_PASSWORD": "s3cret"})
    assert found.airflow_password == "s3cret" and "s3cret" not in repr(found) and "airflow_password" not in found.recorded()
