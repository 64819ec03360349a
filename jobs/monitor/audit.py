"""audit: is the promoted release whole, young enough, and still like what comes in?

Each question gives one finding, also when all is well, so that `findings` in the catalogue shows how a value went. They
are kept in a file that only grows; the catalogue's table is made from it, as its other tables are from the manifests.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, UTC

from jobs.monitor.arrivals import DAY_S, incoming
from jobs.monitor.findings import Findings
from jobs.privacy import erasure
from schemas.errors import ReleaseError
from schemas.manifest import Manifest
from schemas.setting_groups import OFF
from schemas.settings import Settings
from warehouse import catalog, release as releases, signature
from warehouse.findings import Finding, keep
from warehouse.layout import Release, Warehouse
from warehouse.sqlite import failed_checks, open_immutable

LATE_DAYS = 30  # a request to erase is to be met within a month


def audit(warehouse: Warehouse, settings: Settings, *, now: datetime | None = None) -> list[Finding]:
    """Ask everything of the promoted release, keep the findings and bring the catalogue in line with them."""
    now = now or datetime.now(UTC)
    release, manifest = releases.current(warehouse)
    asked = Findings(now.isoformat(timespec="seconds"), release.id)
    _integrity(asked, release, manifest, signature.trusted(settings.trusted_keys))
    age = (now - datetime.fromisoformat(manifest.created_at)).total_seconds() / DAY_S
    asked.at_most("age_days", age, settings.stale_after_days, "days since the release was built")
    if release.database.exists():
        with closing(open_immutable(release.database)) as connection:
            incoming(asked, warehouse, connection, manifest, settings, now)
    _erasures(asked, warehouse, now)
    keep(warehouse, asked.all)
    catalog.rebuild(warehouse)
    return asked.all


def _erasures(asked: Findings, warehouse: Warehouse, now: datetime) -> None:
    """Find what still names users who were forgotten; if nothing does, their certificates are closed and not asked for again."""
    still = erasure.check(warehouse, now)
    late = [one for one in still if (now - datetime.fromisoformat(one["forgotten_at"])).days > LATE_DAYS]
    named = sorted(
        {one["place"].split(" ")[0] for certificate in still for one in (*certificate["still_named_in"], *certificate["not_looked_into"])}
    )
    asked.say(
        "open_erasures", "warning" if late else "ok", len(still), None,
        f"named in {', '.join(named[:5])}{' and more' if len(named) > 5 else ''}; `cinematch releases prune --forgotten` removes releases that do" if still
        else "nothing names a user who was forgotten",
    )  # fmt: skip


def _integrity(asked: Findings, release: Release, manifest: Manifest, trusted: signature.Trusted) -> None:
    """The manifest against its signature where there are trusted keys, every byte against the manifest, every check against the
    database."""
    if trusted:
        try:
            trusted.check_release(release)
            asked.say("untrusted", "ok", 0, 0, "it is signed by a trusted key")
        except ReleaseError as error:
            asked.say("untrusted", "error", 1, 0, str(error))
    damage = releases.damage(release, manifest)
    shown = "; ".join(f"{name} {what}" for name, what in list(damage.items())[:5])
    asked.say("damaged_files", "error" if damage else "ok", len(damage), 0, shown or "every file is as its manifest says")
    if release.database.name in damage:
        asked.say("failed_checks", "error", None, 0, "the database is damaged, so its checks were not run")
        return
    with closing(open_immutable(release.database)) as connection:
        failed = failed_checks(connection, manifest.rating_scale, manifest.settings.get("repeats", OFF))
    asked.say("failed_checks", "error" if failed else "ok", len(failed), 0, "; ".join(failed) or "no check finds a row")
