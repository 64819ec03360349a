"""Whether a release may be served: its manifest, its files' sizes and digests, and a first look into its database."""

from __future__ import annotations

from dataclasses import replace

from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from serving.opened import OpenRelease
from warehouse import servable
from warehouse.layout import Release
from warehouse.overlay import stored
from warehouse.release import digest, read_manifest
from warehouse.signature import ANYBODY, Trusted

DIGEST_BYTES = 256 << 20  # read again in a fifth of a second; `promote` and `verify` read larger files whole


def open_verified(release: Release, trusted: Trusted = ANYBODY, hidden: frozenset[str] = frozenset()) -> OpenRelease:
    """Open a release without what is hidden, warm it, and solve a list with it. Raises ReleaseError or NotFound saying what is wrong; then nothing stays open."""
    manifest = read_manifest(release)
    trusted.check_release(release)
    _check_files(release, manifest)
    servable.check(release, manifest)
    opened = None
    try:
        opened = OpenRelease(release, hidden)
        opened.warm()
        for (user_id,) in opened.reader().execute("select user_id from users limit 1").fetchall():
            recommender = replace(opened.recommender, min_history=0)
            recommender.lists(recommender.history(stored(opened.reader(), user_id)))
    except Exception as error:
        if opened is not None:
            opened.retire()
        if isinstance(error, ReleaseError):
            raise
        raise ReleaseError(f"release {release.id} cannot be opened ({error}); roll back, or import a good copy") from None
    return opened


def _check_files(release: Release, manifest: Manifest) -> None:
    """Every file that serving reads has the size, and where it is not too large the digest, that it was sealed with."""
    if manifest.release != release.id:
        raise ReleaseError(f"release {release.id}: its manifest is of release {manifest.release}")
    for name, sealed in manifest.files.items():
        if name.startswith("tables/"):
            continue
        path = release.folder / name
        try:
            actual = digest(path) if sealed["bytes"] <= DIGEST_BYTES else {"bytes": path.stat().st_size}
        except OSError as error:
            raise ReleaseError(f"release {release.id} is damaged: {name} cannot be read ({error.strerror})") from None
        if any(sealed[key] != value for key, value in actual.items()):
            raise ReleaseError(f"release {release.id} is damaged: {name} is not as it was sealed; roll back, or import a good copy")
