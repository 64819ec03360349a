"""The contract of a release as its file: written when it is sealed, read when another is to take its place."""

from __future__ import annotations

from typing import Any

import yaml

from schemas.contract import breaking, Contract, contract, FILE
from schemas.errors import NotFound, ReleaseError
from schemas.tables import IdTypes
from warehouse.layout import Release
from warehouse.release import read_manifest


def text(data_contract: Contract) -> str:
    """A contract as YAML."""
    return yaml.safe_dump(data_contract, sort_keys=False, allow_unicode=True, width=120)


def write(release: Release, ids: IdTypes) -> None:
    """Write the contract beside the tables of a release that is not sealed yet."""
    (release.folder / FILE).write_text(text(contract(ids)), encoding="utf-8")


def read(release: Release) -> Contract:
    """The contract of a release. Raises NotFound if it has none, as releases of before contracts have, or is not there, ReleaseError if it
    is damaged."""
    path = release.folder / FILE
    try:
        data_contract: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # nosec B506  # a safe loader, written in C
    except FileNotFoundError:
        read_manifest(release)  # which says so where there is no such release
        raise NotFound(f"release {release.id} has no {FILE}: it was built before there were contracts") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ReleaseError(f"release {release.id}: {path} cannot be read ({str(error)[:200]})") from None
    if not isinstance(data_contract, dict) or "schema" not in data_contract or "version" not in data_contract:
        raise ReleaseError(f"release {release.id}: {path} is no data contract")
    return data_contract


def broken(old: Release, new: Release) -> list[str]:
    """List what breaks users of the old release's contract; none if a release has no readable contract."""
    try:
        return breaking(read(old), read(new))
    except (NotFound, ReleaseError):
        return []


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
