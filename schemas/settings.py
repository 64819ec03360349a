"""Settings resolved: from flags, the environment, a file, the record of an earlier step and defaults.

A value comes, in this order, from the flag (`--ials-factors 64`), the environment (`CINEMATCH_IALS_FACTORS`), the settings
file (`ials_factors = 64` in `cinematch.toml`, or the file that `--settings` or `CINEMATCH_SETTINGS` names), what an earlier step of the same release
recorded, the default. An unknown setting, wherever it stands, is an error. A secret may be in a file of its own that the environment names
(`CINEMATCH_AIRFLOW_PASSWORD_FILE`).
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from schemas.errors import SettingError
from schemas.setting_groups import DataGuard, Gate, Lists, Machine, Monitoring, Serving, Source, Training

ENVIRONMENT_PREFIX = "CINEMATCH_"
DEFAULT_FILE = "cinematch.toml"


@dataclass(frozen=True)
class Settings(Monitoring, Serving, Gate, Lists, Training, DataGuard, Source, Machine):
    """The settings of one command, resolved and checked. Empty text stands for "not set"."""

    def recorded(self) -> dict[str, Any]:
        """Return what a release records: every setting that decides what is computed, not where."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata.get("is_machine")}

    def model_names(self) -> list[str]:
        return [name.strip() for name in self.models.split(",") if name.strip()]


GROUPS = (Machine, Source, DataGuard, Training, Lists, Gate, Serving, Monitoring)
FIELDS = {f.name: f for f in fields(Settings)}
SECRETS = {name for name, declared in FIELDS.items() if declared.metadata.get("is_secret")}


def resolve(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    recorded: Mapping[str, Any] | None = None,
    folder: Path = Path("."),
) -> Settings:
    """Settings from flags, environment, file, an earlier step's record and defaults, in that order of precedence.

    `flags` holds what the command line gave, `settings` among it naming the file; values that are None were not given.
    Raises SettingError for an unknown name or a value that does not fit, naming where it stands.
    """
    values = dict(recorded or {})
    named = flags.get("settings") or environment.get(ENVIRONMENT_PREFIX + "SETTINGS")
    path = Path(named) if named else folder / DEFAULT_FILE
    if named or path.exists():
        values |= {name: _parse(name, _flat(name, value, f"{path}"), f"{path}") for name, value in _read(path).items()}
    for variable, value in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != ENVIRONMENT_PREFIX + "SETTINGS":
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if (secret := name.removesuffix("_file")) != name and secret in SECRETS:
                name, value = secret, _secret(value, variable)
            values[name] = _parse(name, value, f"the environment ({variable})")
    for name, value in flags.items():
        if value is not None and name != "settings":
            values[name] = _parse(name, value, f"--{name.replace('_', '-')}")
    return Settings(**values)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{path}: no such settings file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not a TOML file of settings: {error}") from None


def _secret(path: str, variable: str) -> str:
    """A secret from the file that a variable names, without the end of its line."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"the environment ({variable}): expected a file with the secret, got {path!r}: {type(error).__name__}") from None


def _flat(name: str, value: Any, where: str) -> Any:
    """A setting as text, `a,b` or `a=x,b=y`, where a file gives it as an array or a table."""
    declared = FIELDS[name].metadata if name in FIELDS else {}
    if declared.get("is_list") and isinstance(value, list):
        parts = [value]
    elif declared.get("is_mapping") and isinstance(value, dict):
        parts = [list(value), list(value.values())]
    else:
        return value
    for part in (each for side in parts for each in side):
        if not isinstance(part, str) or "," in part:
            raise SettingError(f"{name} in {where}: expected names without a comma, got {part!r}")
    return ",".join("=".join(pair) for pair in zip(*parts))


def _parse(name: str, value: Any, where: str) -> Any:
    """One value in its declared type and bounds. Text is what flags and the environment give."""
    if name not in FIELDS:
        near = difflib.get_close_matches(name, FIELDS, 1)
        raise SettingError(f"unknown setting {name!r} in {where}" + (f"; did you mean {near[0]!r}?" if near else ""))
    declared = FIELDS[name]
    kind: type = type(declared.default)
    bounds = declared.metadata
    try:
        if isinstance(value, bool) and kind is not bool or kind is str and not isinstance(value, str):
            raise ValueError
        if kind is bool:
            value = {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
        elif kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        else:
            value = kind(value)
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
        got = "something else" if bounds.get("is_secret") else repr(value)
        raise SettingError(f"{name} in {where}: expected {expected}, got {got}") from None
    minimum, maximum, choices = bounds.get("minimum"), bounds.get("maximum"), bounds.get("choices")
    if minimum is not None and value < minimum:
        raise SettingError(f"{name} in {where}: expected at least {minimum}, got {value}")
    if maximum is not None and value > maximum:
        raise SettingError(f"{name} in {where}: expected at most {maximum}, got {value}")
    if choices and value not in choices:
        raise SettingError(f"{name} in {where}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def settings_table() -> str:
    """The settings of schemas/README.md as Markdown, a table for each group."""
    return "\n".join(f"**{group.__doc__}**\n\n{_table(group)}" for group in GROUPS)


def _table(group: type) -> str:
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name in group.__annotations__:
        declared = FIELDS[name]
        bounds = declared.metadata
        parts = [bounds["description"]]
        if bounds.get("choices"):
            parts.append("one of " + ", ".join(f"`{choice}`" for choice in bounds["choices"]))
        low, high = bounds.get("minimum"), bounds.get("maximum")
        if low is not None or high is not None:
            parts.append(f"{low if low is not None else ''}..{high if high is not None else ''}")
        default = "" if declared.default == "" else f"`{declared.default}`"
        lines.append(f"| `{name}` | {default} | {'; '.join(parts)} |")
    return "\n".join(lines) + "\n"
