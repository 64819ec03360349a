"""The manifest: everything about a sealed release that one wants to know without opening it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from schemas.errors import ReleaseError
from schemas.tables import IdTypes

FORMAT = 1


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
    checks: dict[str, int]
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

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str) -> Manifest:
        """Parse a manifest; `name` is the release it should be of. Raises ReleaseError where it is not one."""
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not a JSON object")
        except ValueError as error:
            raise ReleaseError(f"release {name}: manifest.json is not readable: {error}") from None
        declared = {f.name for f in fields(cls)}
        if values.get("format") != FORMAT or set(values) != declared:
            wrong = ", ".join(sorted(set(values) ^ declared)) or f"format {values.get('format')!r}"
            raise ReleaseError(
                f"release {name}: manifest.json is of another version (differs in {wrong}); expected format {FORMAT}"
            )
        wrong = [part for part, hint in get_type_hints(cls).items() if not _fits(values[part], hint)]
        if wrong:
            raise ReleaseError(
                f"release {name}: manifest.json is damaged: {', '.join(wrong)} is not what a manifest has there"
            )
        if values["rating_scale"] is not None:
            values["rating_scale"] = tuple(values["rating_scale"])
        return cls(**values)


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
