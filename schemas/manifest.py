"""The manifest: everything about a sealed release that one wants to know without opening it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from schemas.errors import ReleaseError
from schemas.tables import IdTypes

FORMAT = 1
DIGEST = "sha256"  # over all the rest; a release that was sealed before there were any has none
_NEEDED: dict[str, dict[str, type | tuple[type, ...]]] = {  # what lists of releases and servers read
    "input": {"sha256": str},
    "rows": {"read": int, "accepted": int, "duplicates": int, "quarantined": int},
    "counts": {"users": int, "items": int, "ratings": int, "recommendations": int},
    "settings": {"n": int, "explain_n": int},
    "checks": {"n_checks": int, "n_failed": int},
}
_NEEDED_OF_EACH: dict[str, dict[str, type | tuple[type, ...]]] = {
    "models": {"model": str, "is_served": (bool, int)},
    "metrics": {"model": str, "metric": str, "protocol": str},
    "steps": {"step": str, "seconds_s": (int, float)},
    "files": {"bytes": int, "sha256": str},
    "tables": {"rows": int, "bytes": int},
}
_NEEDED_OF_CHECK: dict[str, type | tuple[type, ...]] = {"name": str, "table_name": str, "severity": str, "n_rows": int}


@dataclass(frozen=True)
class Manifest:
    """One release. Sizes in bytes, seconds as `_s`, memory as `_mib`; digests are SHA-256 in hex."""

    release: str
    created_at: str
    as_of: str
    source: str
    rating_scale: tuple[float, float] | None
    ids: dict[str, str]
    input: dict[str, Any]
    rows: dict[str, int]
    counts: dict[str, int]
    settings: dict[str, Any]
    versions: dict[str, str]
    steps: list[dict[str, Any]]
    models: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    parity: dict[str, Any]
    checks: dict[str, Any]
    verdict: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]
    format: int = field(default=FORMAT)

    @property
    def id_types(self) -> IdTypes:
        return IdTypes(**self.ids)

    @property
    def served_model(self) -> str:
        """The model that ranks the lists, which the setting `serve` may have left to be found out."""
        return next((row["model"] for row in self.models if row["is_served"]), "")

    @property
    def check_rows(self) -> list[dict[str, Any]]:
        """Every check and what it found; none in a release of before they were kept."""
        return self.checks.get("rows", [])

    def to_json(self) -> str:
        values = asdict(self)
        return _text({**values, DIGEST: hashlib.sha256(_text(values).encode()).hexdigest()})

    @classmethod
    def from_json(cls, text: str, *, name: str) -> Manifest:
        """Parse a manifest; `name` is the release it should be of. Raises ReleaseError where it is not one."""
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
        except (ValueError, RecursionError) as error:
            raise ReleaseError(f"release {name}: manifest.json is not readable: {error}") from None
        has_digest = values.pop(DIGEST, None) is not None
        declared = {f.name for f in fields(cls)}
        if values.get("format") != FORMAT or set(values) != declared:
            wrong = ", ".join(sorted(set(values) ^ declared)) or f"format {values.get('format')!r}"
            raise ReleaseError(f"release {name}: manifest.json is of another version (differs in {wrong}); expected format {FORMAT}")
        damaged = [part for part, hint in get_type_hints(cls).items() if not _fits(values[part], hint)]
        if damaged:
            raise ReleaseError(f"release {name}: manifest.json is damaged: {', '.join(damaged)} is not what a manifest has there")
        if values["rating_scale"] is not None:
            values["rating_scale"] = tuple(values["rating_scale"])
        manifest = cls(**values)
        if has_digest and manifest.to_json() != text:
            raise ReleaseError(f"release {name}: manifest.json is damaged: it is not as it was sealed")
        return manifest

    def check(self) -> None:
        """Raises ReleaseError where something that is read of a release has no sense, whoever wrote it."""
        wrong = [part for part, needed in _NEEDED.items() if not _has(getattr(self, part), needed)]
        for part, needed in _NEEDED_OF_EACH.items():
            entries = getattr(self, part)
            wrong += [part] * (not all(_has(each, needed) for each in (entries.values() if isinstance(entries, dict) else entries)))
        is_listed = _fits(self.check_rows, list[dict[str, Any]]) and all(_has(row, _NEEDED_OF_CHECK) for row in self.check_rows)
        wrong += ["checks"] * ("checks" not in wrong and not is_listed)
        wrong += [part for part in ("created_at", "as_of") if not _is_time(getattr(self, part))]
        wrong += ["ids"] * (set(self.ids) != {"user_id", "item_id"} or not set(self.ids.values()) <= {"int64", "string"})
        wrong += ["settings"] * ("settings" not in wrong and self.settings["n"] < 1)
        wrong += ["files"] * ("files" not in wrong and any(file["bytes"] < 0 for file in self.files.values()))
        wrong += ["input"] * (not all(isinstance(self.input.get(name, 0), int) for name in ("overlay_seq", "online_from")))
        wrong += ["verdict"] * (self.verdict.get("decision") is not None and not isinstance(self.verdict.get("reason"), str))
        if wrong:
            raise ReleaseError(f"release {self.release}: manifest.json is damaged: {', '.join(wrong)} is not what a manifest has there")


def is_digested(text: str) -> bool:
    """Whether a manifest that was parsed well holds a digest over itself."""
    return DIGEST in json.loads(text)


def _text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _has(values: dict[str, Any], needed: dict[str, type | tuple[type, ...]]) -> bool:
    return all(isinstance(values.get(name), kind) for name, kind in needed.items())


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of an annotated type; JSON has no tuples, and writes whole floats as they are."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(_fits(each, arguments[0]) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(each, arguments[1]) for each in value.values())
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is UnionType:
        return any(_fits(value, each) for each in arguments)
    if hint is Any:
        return True
    return isinstance(value, (int, float) if hint is float else hint) and not isinstance(value, bool)
