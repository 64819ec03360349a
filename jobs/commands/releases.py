"""`cinematch releases ...`: look at, verify, move and remove releases."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from jobs.commands.arguments import add_command, settings_of
from jobs.commands.release_reports import compared, listing, shown
from schemas.errors import ReleaseError, SettingError, UsageError
from schemas.manifest import is_digested, Manifest
from schemas.setting_groups import OFF
from schemas.settings import resolve, Settings
from warehouse import archive, forgotten, promotion, pruning, release as releases, sealing, servable, signature
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import open_immutable

DERIVED = 5  # users whose lists are derived again before a release is imported; `verify` takes more
COMMANDS = {
    "list": ("Sealed releases, newest first.", (), "cinematch releases list"),
    "show": ("What the manifest says of a release.", ("release",), "cinematch releases show 20260104T020000Z"),
    "compare": (
        "Two releases side by side.",
        ("a", "b"),
        "cinematch releases compare 20260104T020000Z 20260111T020000Z",
    ),
    "verify": (
        "Digests, checks and sampled lists of a release, computed again.",
        ("release",),
        "cinematch releases verify 20260104T020000Z",
    ),
    "promote": (
        "Make a sealed release the one that is served.",
        ("release",),
        "cinematch releases promote 20260104T020000Z --reason 'checked by hand'",
    ),
    "rollback": (
        "Go back to the release that was current before.",
        (),
        "cinematch releases rollback --reason 'titles are cut short'",
    ),
    "prune": (
        "Remove releases that need not be kept. Kept are the last promoted ones, the current one and the one to roll back to always "
        "among them, and the newest two of those that are not promoted. `run` prunes so whenever it promotes.",
        (),
        "cinematch releases prune --keep 5 --dry-run",
    ),
    "export": (
        "Write a release to one file.",
        ("release", "file"),
        "cinematch releases export 20260104T020000Z /backups",
    ),
    "import": (
        "Read a release from such a file, and verify it before it shows.",
        ("file",),
        "cinematch releases import 20260104T020000Z.cinematch.zip",
    ),
    "sign": (
        "Sign a sealed release with sign_key; `seal` and `run` do so by themselves where that is set.",
        ("release",),
        "cinematch releases sign 20260104T020000Z --sign-key release.key",
    ),
    "signing-key": (
        "Make a key to sign releases with, in minisign's format and without a password, and beside it FILE.pub for trusted_keys.",
        ("key",),
        "cinematch releases signing-key release.key",
    ),
}
_MEANINGS = {"file": "file of an exported release", "key": "file to write the secret key to"}


def add_to(commands) -> None:
    top = commands.add_parser("releases", help="List, show, compare, verify, promote, roll back, prune, export, import and sign releases.")
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, (sentence, arguments, example) in COMMANDS.items():
        action = add_command(actions, name, sentence, example=example, settings_of="releases")
        for argument in arguments:
            action.add_argument(
                argument, type=Path if argument in ("file", "key") else str, help=_MEANINGS.get(argument, "id, `current` or `latest`")
            )
        if name == "promote":
            action.add_argument("--reason", default="", help="why; kept in the catalogue, and needed for what was held back")
        if name == "rollback":
            action.add_argument("--reason", default="", help="why; kept in the catalogue, and shown by `releases list`")
        if name == "prune":
            action.add_argument("releases", nargs="*", metavar="release", help="remove these instead, whatever would be kept otherwise")
            action.add_argument(
                "--forgotten", action="store_true", help="remove every release but the current one that names forgotten users"
            )
            action.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
        if name == "compare":
            action.add_argument("--user", help="also what came into this user's first ten, what went, and why")
        if name in ("list", "show", "compare"):
            action.add_argument("--json", action="store_true", help="as JSON")
        action.set_defaults(do=_do)


def _do(parsed: argparse.Namespace) -> None:
    settings = settings_of(parsed)
    warehouse = Warehouse(Path(settings.warehouse))
    for argument in {"release", "a", "b"} & vars(parsed).keys():
        setattr(parsed, argument, releases.named(warehouse, getattr(parsed, argument)))
    if hasattr(parsed, "releases"):
        parsed.releases = [releases.named(warehouse, name) for name in parsed.releases]
    actions = {"list": listing, "show": shown, "compare": compared}
    (actions.get(parsed.action) or globals()[f"_{parsed.action.replace('-', '_')}"])(parsed, warehouse, settings)


def _verify(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    """A table of artifacts, then checks and parity; raises ReleaseError where anything is wrong."""
    from jobs.seal.parity import parity, TOLERANCE
    from warehouse.sqlite import failed_checks, open_immutable

    release = warehouse.sealed(parsed.release)
    manifest = releases.read_manifest(release)
    trusted = signature.trusted(settings.trusted_keys)
    trusted.check_release(release)
    problems = releases.damage(release, manifest)
    print(f"{'artifact':<44} {'status':<20} {'MiB':>9} {'load ms':>9}")
    text = release.manifest.read_text(encoding="utf-8")
    print(f"{'manifest.json':<44} {'ok' if is_digested(text) else 'has no digest':<20} {len(text) / 2**20:>9.2f}")
    if release.signature.exists():
        text = release.signature.read_text(encoding="utf-8")
        said = f"key {signature.signer_of(text)}" if trusted else "not checked"
        print(f"{release.signature.name:<44} {said:<20} {len(text) / 2**20:>9.2f}")
    for name in sorted(manifest.files.keys() | problems.keys()):
        size, load_ms = _load(release, name)
        print(f"{name:<44} {problems.get(name, 'ok'):<20} {size:>9.2f} {'' if load_ms is None else f'{load_ms:.1f}':>9}".rstrip())
    if problems:
        raise ReleaseError(
            f"release {release.id}: {len(problems)} of {len(manifest.files)} files are not as sealed; roll back or import a good copy"
        )
    servable.check(release, manifest)
    connection = open_immutable(release.database)
    failed = failed_checks(connection, manifest.rating_scale, manifest.settings.get("repeats", OFF))
    for name, rows in failed.items():
        print(f"check failed: {name}: {rows}")
    saved = resolve({}, {}, recorded=manifest.settings, folder=release.folder)
    scale, served = manifest.rating_scale, manifest.served_model
    figures = parity(release, connection, saved, scale, served=served, n_users=saved.parity_users)
    connection.close()
    print(f"checks  {manifest.checks['n_checks']} run, {len(failed)} failed")
    print(
        f"parity  {figures['n_same_lists']} of {figures['n_users']} lists derived again are the stored ones, scores within {figures['largest_relative_difference']:.1e}"
    )
    if failed or figures["largest_relative_difference"] > TOLERANCE:
        raise ReleaseError(
            f"release {release.id} does not verify: {len(failed)} checks failed, scores differ by {figures['largest_relative_difference']:.1e}"
        )
    print(f"release {release.id} verifies")


def _derives(release: Release, manifest: Manifest) -> None:
    """Raises ReleaseError if lists cannot be derived from a release, or are not the stored ones."""
    from jobs.seal.parity import parity, TOLERANCE

    try:
        saved = resolve({}, {}, recorded=manifest.settings, folder=release.folder)
        scale, served = manifest.rating_scale, manifest.served_model
        with closing(open_immutable(release.database)) as connection:
            figures = parity(release, connection, saved, scale, served=served, n_users=min(DERIVED, saved.parity_users))
    except (ArithmeticError, LookupError, TypeError, ValueError, sqlite3.Error) as error:
        raise ReleaseError(f"release {release.id} cannot be opened ({error}); import a good copy") from None
    if not figures["largest_relative_difference"] <= TOLERANCE:
        raise ReleaseError(
            f"release {release.id}: scores differ by {figures['largest_relative_difference']:.1e} when they are derived again; import a "
            f"good copy"
        )


def _load(release: Release, name: str) -> tuple[float, float | None]:
    """Return the size of an artifact in MiB and the milliseconds to open it as its readers do; None if it cannot be opened."""
    import numpy as np
    import pyarrow.parquet as pq

    path = release.folder / name
    if not path.exists():
        return 0.0, None
    started = time.perf_counter()
    try:
        if path.suffix == ".npy":
            np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".parquet":
            pq.read_metadata(path)
        elif path.suffix == ".db":
            from warehouse.sqlite import open_immutable

            open_immutable(path).execute("select count(*) from sqlite_master").fetchone()
        else:
            path.read_bytes()
    except Exception:  # a damaged artifact is what the table's status column reports
        return path.stat().st_size / 2**20, None
    return path.stat().st_size / 2**20, (time.perf_counter() - started) * 1e3


def _promote(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    previous = promotion.promote(warehouse, parsed.release, reason=parsed.reason, trusted=signature.trusted(settings.trusted_keys))
    catalog.rebuild(warehouse)
    if previous == parsed.release:
        print(f"{parsed.release} is current already; nothing was changed")
    else:
        print(f"{parsed.release} is current" + (f"; before it {previous}" if previous else ""))
    _warn_of_forgotten(warehouse, parsed.release)


def _rollback(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    name = promotion.rollback(warehouse, reason=parsed.reason, trusted=signature.trusted(settings.trusted_keys))
    catalog.rebuild(warehouse)
    print(f"{name} is current")
    _warn_of_forgotten(warehouse, name)


def _prune(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    """Remove what need not be kept, or the releases that are named; with --dry-run only say so."""
    from warehouse import catalog

    catalog.rebuild(warehouse)  # which keeps what it knows of a release that goes
    if parsed.forgotten:
        if parsed.releases:
            raise UsageError("--forgotten finds the releases by itself; leave their names out")
        reasons = (pruning.naming_forgotten if parsed.dry_run else pruning.prune_forgotten)(warehouse)
        now = releases.current_id(warehouse)
        if now is not None and forgotten.names_any(warehouse.sealed(now), forgotten.read(warehouse.forgotten)):
            print(f"kept {now}: it names forgotten users and is the current one; run this again when a new release is promoted")
    elif parsed.releases:
        reasons = (pruning.droppable if parsed.dry_run else pruning.drop)(warehouse, parsed.releases)
    else:
        reasons = (pruning.to_prune if parsed.dry_run else pruning.prune)(warehouse, keep=settings.keep, keep_days=settings.keep_days)
    for name, why in reasons.items():
        print(f"{'would remove' if parsed.dry_run else 'removed'} {name}: {why}")
    if not reasons:
        print("nothing to remove")
    catalog.rebuild(warehouse)


def _export(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    path = archive.write(warehouse, parsed.release, parsed.file)
    print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


def _import(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    from warehouse import catalog

    release = archive.import_(warehouse, parsed.file, check=_derives, trusted=signature.trusted(settings.trusted_keys))
    catalog.rebuild(warehouse)
    print(f"{release.id} is sealed in {warehouse.folder}; `cinematch releases promote {release.id}` serves it")
    _warn_of_forgotten(warehouse, release.id)


def _sign(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    if not settings.sign_key:
        raise SettingError("sign_key: expected the file of a secret key; `cinematch releases signing-key FILE` makes one")
    key = signature.signing_key(Path(settings.sign_key))
    sealing.sign(warehouse, parsed.release, key)
    print(f"release {parsed.release} is signed by key {signature.shown(key.id)}")


def _signing_key(parsed: argparse.Namespace, warehouse: Warehouse, settings: Settings) -> None:
    public = signature.make_key(parsed.key)
    print(f"{parsed.key}: the secret key; let nobody else read it\n{public}: the public key, for trusted_keys")


def _warn_of_forgotten(warehouse: Warehouse, name: str) -> None:
    """Say so where a release is older than the wish of some of its users."""
    try:
        n = forgotten.n_named_in(warehouse, warehouse.sealed(name))
    except ReleaseError as error:  # what was asked is done
        print(f"warning: {error}", file=sys.stderr)
        return
    if n:
        print(
            f"warning: {name} has {n:,} users who were forgotten since. Lookups, pages, SQL and downloads of a server leave them out; its "
            f"files name them until a newer release is promoted and `cinematch releases prune --forgotten` is run",
            file=sys.stderr,
        )
