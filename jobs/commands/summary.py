"""The short printed summary of a run: rows, how they were read, models, the release before, one user's list with its reasons, and how to serve it."""

from __future__ import annotations

import json
import sqlite3

from jobs.ingest.read_as import READ_AS
from schemas.errors import CineMatchError
from schemas.manifest import Manifest
from schemas.models import FOREVER
from warehouse.layout import Warehouse
from warehouse.measures import choice, counted, deciding, HELD_OUT, named
from warehouse.release import current_id, read_manifest
from warehouse.sqlite import open_immutable


def print_summary(warehouse: Warehouse, release_id: str) -> None:
    release = warehouse.sealed(release_id)
    manifest = read_manifest(release)
    connection = open_immutable(release.database)
    try:
        is_promoted = current_id(warehouse) == release_id
        before = _before(warehouse, manifest)
        print("\n".join(_lines(manifest, connection, "promoted" if is_promoted else "held back", before)))
        if is_promoted:
            print(f"\nServe it:  cinematch serve --warehouse {warehouse.folder}")
    finally:
        connection.close()


def _before(warehouse: Warehouse, manifest: Manifest) -> Manifest | None:
    """The release that was promoted when this one was judged, if it can still be read."""
    name = manifest.verdict.get("champion")
    try:
        return read_manifest(warehouse.sealed(name)) if name else None
    except CineMatchError:
        return None


def _lines(manifest: Manifest, connection: sqlite3.Connection, status: str, before: Manifest | None) -> list[str]:
    rows, counts = manifest.rows, manifest.counts
    lines = [
        f"\nRelease {manifest.release}, {status}",
        f"  rows       {rows['read']:,} read = {rows['accepted']:,} accepted + {rows['duplicates']:,} duplicates + {rows['quarantined']:,} quarantined",
        *(f"  {label:<10} {words}" for label, words in _read_as(manifest)),
        f"  tables     {counts['users']:,} users, {counts['items']:,} items, {counts['recommendations']:,} recommendations, {counts['explanations']:,} reasons",
        "  models     " + ", ".join(_model(model) for model in manifest.models),
        f"  served     {choice(manifest)}{_half_life(manifest)}",
        "  held out   " + (", ".join(map(_metric, _held_out(manifest))) or "nobody"),
        *(f"  doubt      {doubt}" for doubt in _doubts(manifest)),
        *_same(connection),
        f"  verdict    {manifest.verdict['decision']}: {manifest.verdict['reason']} ({counted(manifest)})",
        *([f"  before     {_compared(manifest, before)}"] if before else []),
        f"  parity     {manifest.parity['n_same_lists']} of {manifest.parity['n_users']} lists of one user at a time are the stored ones",
    ]
    return lines + _one_user(connection)


def _read_as(manifest: Manifest) -> list[tuple[str, str]]:
    """Say how the source was understood in lines, the first with the label."""
    figures = next((step for step in manifest.steps if step["step"] == "ingest"), {})
    said = [f"{name.replace('_', ' ')}: {figures[f'read_{name}']}" for name in READ_AS if f"read_{name}" in figures]
    return [("" if i else "read as", words) for i, words in enumerate(said)]


def _half_life(manifest: Manifest) -> str:
    """After how many moments an interaction counts half, in each part of a blend."""
    row = next(row for row in manifest.models if row["is_served"])
    parameters = json.loads(row["parameters"])
    parts = parameters.get("half_lives") or ({row["model"]: parameters["half_life"]} if "half_life" in parameters else {})
    said = ", ".join(f"{name} {'forgets nothing' if value >= FOREVER else f'{value:,.4g} moments'}" for name, value in parts.items())
    return f" Half-lives: {said}." if said else ""


def _compared(manifest: Manifest, before: Manifest) -> str:
    """Say how much there is of everything against the release before, and how good both are for the same users."""
    sizes = [("rows", manifest.rows["accepted"], before.rows["accepted"])]
    sizes += [(name, manifest.counts[name], before.counts[name]) for name in ("users", "items")]
    said = ", ".join(f"{name} {now - then:+,} ({now / then - 1:+.1%})" if then else f"{name} {now:+,}" for name, now, then in sizes)
    measure = next((m for m in manifest.verdict.get("measures", []) if None not in (m["challenger"], m["champion"])), None)
    if measure is not None:
        said += (
            f"; {measure['metric']} {measure['challenger']:.4f}, before {measure['champion']:.4f}, of the same {measure['n_users']:,} users"
        )
    return f"{said}, since {before.release}"


def _model(model: dict) -> str:
    return (
        f"{model['model']} {model['train_s']:.1f} s"
        if model["status"] == "trained"
        else f"{model['model']} {model['status']}: {model['message']}"
    )


def _same(connection: sqlite3.Connection) -> list[str]:
    """Say how many items are one thing under several ids, and the first of them."""
    groups = connection.execute(
        "select min(title), group_concat(item_id, ', ') from items where same_item_id is not null group by same_item_id"
    ).fetchall()
    if not groups:
        return []
    shown = "; ".join(f"{title} ({ids})" for title, ids in groups[:3])
    return [f"  same       {len(groups):,} titles under several ids, of which a list names one: {shown}"]


def _doubts(manifest: Manifest) -> list[str]:
    return [step["doubt"] for step in manifest.steps if step.get("doubt")]


def _held_out(manifest: Manifest) -> list[dict]:
    shown = (deciding(manifest), "below_mean", "reasons_below_mean", "rmse")
    return [
        row
        for row in manifest.metrics
        if row["metric"] in shown
        and row["protocol"] == HELD_OUT
        and (row["metric"] != "below_mean" or row["model"] == manifest.served_model)
    ]


def _metric(metric: dict) -> str:
    return f"{metric['model']} {named(metric['metric'], metric['k'])} {metric['value']:.3f}"


def _one_user(connection: sqlite3.Connection) -> list[str]:
    """The user with a middling number of ratings, and the head of the list."""
    user = connection.execute(
        "select user_id, n_ratings from users order by abs(n_ratings - (select avg(n_ratings) from users)), user_id limit 1"
    ).fetchone()
    rows = connection.execute(
        """select r.rank, r.item_id, i.title, r.score, r.predicted_rating from recommendations r join items i using (item_id)
        where r.user_id = ? order by r.rank limit 5""",
        [user["user_id"]],
    ).fetchall()
    lines = [f"\nFor user {user['user_id']}, who has {user['n_ratings']} items:"]
    for row in rows:
        predicted = f"  predicted {row['predicted_rating']:.1f}" if row["predicted_rating"] is not None else ""
        lines.append(f"  {row['rank']}. {row['title'][:60]:<60}  score {row['score']:.3f}{predicted}")
        lines += [f"       {reason}" for reason in _reasons(connection, user["user_id"], row["item_id"])]
    return lines


def _reasons(connection: sqlite3.Connection, user, item) -> list[str]:
    rows = connection.execute(
        """select e.kind, e.evidence_id, e.contribution, e.detail, i.title from explanations e
        left join items i on e.kind = 'history' and i.item_id = e.evidence_id
        where e.user_id = ? and e.item_id = ? order by e.position""",
        [user, item],
    )
    return [reason_text(**dict(row)) for row in rows]


def reason_text(kind: str, evidence_id: str | None, contribution: float | None, detail: str | None, title: str | None) -> str:
    """One reason as a person would say it."""
    more = json.loads(detail) if detail else {}
    share = "" if contribution is None else f"{contribution:+.3f}  "
    if kind == "history" and "n" in more:
        times = "once" if more["n"] == 1 else f"{more['n']} times"
        return f"{share}had {times} before"
    if kind == "history":
        rated = f", rated {more['rating']:g}" if "rating" in more else ""
        return f"{share}because of {title}{rated}"
    if kind == "residual":
        return f"{share}from {more['n']} other items"
    if kind == "genre":
        return f"genre {evidence_id}, match {more['match']:.2f}"
    if kind == "similar_users":
        rated = f", mean rating {more['mean_rating']:.1f}" if "mean_rating" in more else ""
        return f"{more['n']} users of similar taste have it{rated}"
    if "over_mean" in more:
        return f"{share}{_of_all_users(more['over_mean'])}"
    return f"{share}popular with all users"


def _of_all_users(over_mean: float) -> str:
    stars = round(over_mean, 1)
    return (
        f"all users rate it {abs(stars):.1f} {'above' if stars > 0 else 'below'} the mean" if stars else "all users rate it about the mean"
    )
