"""Limits of how much the data of a release may differ from that of the promoted one: figures in, what is beyond its limit out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, UTC

from jobs.ingest.data_profile import Profile, Shared
from schemas.settings import Settings

FEWEST = 3  # users, items or rows: fewer than these have changed by chance
ALIKE = 0.5  # correlation of numbers of rows below which ids no longer mean who they meant
DAY_S = 86_400


@dataclass(frozen=True)
class Change:
    """One figure beyond its limit; before, now and limit are numbers where it is one."""

    figure: str
    before: float | None
    now: float | None
    limit: float | None
    message: str


def changes(now: Profile, before: Profile, shared: Shared, settings: Settings) -> list[Change]:
    """Everything that is beyond what a week changes, what explains most first."""
    gone = _gone(now, before, shared, settings)
    return [
        *_kinds(now, before),
        *gone,
        *_cut(now, before, shared),
        *_fewer(now, before, shared, settings, is_retention=not gone),
        *_more(now, before, settings),
        *_refused(now, before, settings),
        *_ratings(now, before, settings),
        *_values(shared, settings),
        *_catalogue(shared, settings),
    ]


def _kinds(now: Profile, before: Profile) -> list[Change]:
    """Ids that are of another kind, ratings that are gone or new."""
    beyond = []
    for role in ("user", "item"):
        was, is_now = (getattr(one, f"{role}_id_type") for one in (before, now))
        if was != is_now:
            names = {"int64": "whole numbers", "string": "text"}
            beyond.append(Change(f"{role}_ids", None, None, None, f"{role} ids were {names[was]} and are {names[is_now]} now"))
    if (before.rating_low is None) != (now.rating_low is None):
        lost = now.rating_low is None
        beyond.append(
            Change(
                "ratings",
                None,
                None,
                None,
                "there were ratings and there are none now" if lost else "there were no ratings and there are some now",
            )
        )
    return beyond


def _cut(now: Profile, before: Profile, shared: Shared) -> list[Change]:
    """Times that end too early or begin too late."""
    beyond = []
    if shared.n_cut >= FEWEST:
        beyond.append(
            Change(
                "last_rated_at", before.last_rated_at, now.last_rated_at, before.last_rated_at,
                f"the latest interaction is of {_day(now.last_rated_at)} and was of {_day(before.last_rated_at)}: {shared.n_cut:,} users "
                f"who are still there have lost what came after; is this an old backup, or cut by time?",
            )
        )  # fmt: skip
    if shared.middle is not None and now.first_rated_at is not None and now.first_rated_at > shared.middle > before.first_rated_at:
        beyond.append(
            Change(
                "first_rated_at", before.first_rated_at, now.first_rated_at, shared.middle,
                f"the first interaction is of {_day(now.first_rated_at)} and was of {_day(before.first_rated_at)}: all of the older half "
                f"is gone; was the file cut by time?",
            )
        )  # fmt: skip
    return beyond


def _gone(now: Profile, before: Profile, shared: Shared, settings: Settings) -> list[Change]:
    """Users, items and rows of the earlier release that are not there any more."""
    beyond, limit = [], settings.guard_loss
    may = f"{limit:.0%} may (guard_loss)"
    users_gone = shared.n_users_gone / max(shared.n_users, 1)
    if users_gone > limit and shared.n_users_gone >= FEWEST:
        hint = "; were user ids renumbered?" if users_gone > 0.9 and now.n_users > before.n_users / 2 else ""
        beyond.append(
            Change(
                "users_gone", 0.0, users_gone, limit,
                f"{shared.n_users_gone:,} of the {shared.n_users:,} users who were active in the later half are gone, {now.n_users:,} users now "
                f"and {before.n_users:,} before; {may}{hint}",
            )
        )  # fmt: skip
    if settings.guard_popular * shared.n_popular < shared.n_popular_gone >= FEWEST and shared.items_gone < ALIKE / 2:
        beyond.append(
            Change(
                "popular_gone", 0.0, shared.n_popular_gone / shared.n_popular, settings.guard_popular,
                f"{shared.n_popular_gone} of the {shared.n_popular} most popular items have no interaction any more; "
                f"{settings.guard_popular:.0%} may (guard_popular)",
            )
        )  # fmt: skip
    elif shared.items_gone > limit and shared.items_gone * shared.n_rows >= FEWEST:
        hint = "; were item ids renumbered?" if shared.items_gone > 0.9 and now.n_items > before.n_items / 2 else ""
        beyond.append(
            Change(
                "items_gone", 0.0, shared.items_gone, limit,
                f"the items of {shared.items_gone:.0%} of the later interactions are gone, {now.n_items:,} items now and "
                f"{before.n_items:,} before; {may}{hint}",
            )
        )  # fmt: skip
    if shared.rows_gone > limit and shared.rows_gone * shared.n_rows >= FEWEST:
        beyond.append(
            Change(
                "rows_gone", 0.0, shared.rows_gone, limit,
                f"{shared.rows_gone:.0%} of the later interactions are gone though their user and their item are still there; "
                f"{may}; {_what_moved(now, before, shared)}",
            )
        )  # fmt: skip
    if not beyond and shared.older_gone > settings.guard_retention and shared.older_gone * shared.n_rows >= FEWEST:
        beyond.append(
            Change(
                "older_rows_gone", 0.0, shared.older_gone, settings.guard_retention,
                f"{shared.older_gone:.0%} of the older half of the interactions are gone; {settings.guard_retention:.0%} may, by "
                f"retention (guard_retention)",
            )
        )  # fmt: skip
    return beyond


def _what_moved(now: Profile, before: Profile, shared: Shared) -> str:
    """Say what pairs that are no longer there look like, by whose numbers of rows stayed."""
    users_moved, items_moved = shared.users_alike < ALIKE, shared.items_alike < ALIKE
    if now.n_accepted < 0.7 * before.n_accepted and not (users_moved and items_moved):
        return "was the file cut?"
    if users_moved and items_moved:
        return "is this another data set? Users and items both have other numbers of interactions"
    if items_moved:
        return "were item ids renumbered or mixed up? Users have about as many interactions as before, items have not"
    if users_moved:
        return "were user ids renumbered or mixed up? Items have about as many interactions as before, users have not"
    return "were items shuffled among users? Users and items have about as many interactions as before"


def _fewer(now: Profile, before: Profile, shared: Shared, settings: Settings, *, is_retention: bool) -> list[Change]:
    """Fewer rows than before, less what retention dropped of the older half."""
    dropped = before.n_accepted * shared.older_gone / 2 if is_retention and shared.older_gone > settings.guard_loss else 0.0
    expected = before.n_accepted - dropped
    if now.n_accepted >= expected * (1 - settings.guard_loss):
        return []
    apart = f" (of which {dropped:,.0f} older ones may have been dropped by retention)" if dropped else ""
    return [
        Change(
            "rows", before.n_accepted, now.n_accepted, expected * (1 - settings.guard_loss),
            f"{now.n_accepted:,} interactions now and {before.n_accepted:,} before{apart}, {now.n_accepted / before.n_accepted - 1:+.0%}; "
            f"{settings.guard_loss:.0%} fewer may be (guard_loss)",
        )
    ]  # fmt: skip


def _more(now: Profile, before: Profile, settings: Settings) -> list[Change]:
    beyond = []
    for name, of in (("interactions", "n_accepted"), ("users", "n_users"), ("items with interactions", "n_items")):
        was, is_now = getattr(before, of), getattr(now, of)
        most = was * (1 + settings.guard_growth)
        if is_now > most and is_now - was >= FEWEST:
            beyond.append(
                Change(
                    of, was, is_now, most,
                    f"{is_now:,} {name} now and {was:,} before; at most {1 + settings.guard_growth:g} times as many may be "
                    f"(guard_growth); is other data mixed in?",
                )
            )  # fmt: skip
    return beyond


def _refused(now: Profile, before: Profile, settings: Settings) -> list[Change]:
    """A larger share of rows that are duplicates or were quarantined."""
    beyond = []
    for name, of in (("duplicates", "n_duplicates"), ("quarantined", "n_quarantined")):
        was, is_now = (getattr(one, of) / max(one.n_read, 1) for one in (before, now))
        if is_now > was + settings.guard_refused:
            beyond.append(
                Change(
                    name, was, is_now, was + settings.guard_refused,
                    f"{is_now:.0%} of the rows read are {name}, {getattr(now, of):,} of {now.n_read:,}, and {was:.0%} were before; "
                    f"{settings.guard_refused:.0%} more may be (guard_refused)",
                )
            )  # fmt: skip
    return beyond


def _ratings(now: Profile, before: Profile, settings: Settings) -> list[Change]:
    """The scale and the mean rating."""
    if before.rating_low is None or now.rating_low is None:
        return []
    width, beyond = before.rating_high - before.rating_low, []
    most = settings.guard_scale * width
    may = f"it may move by {settings.guard_scale:.0%} of the scale (guard_scale)"
    if max(abs(now.rating_low - before.rating_low), abs(now.rating_high - before.rating_high)) > most:
        scales = (f"{one.rating_low:g} to {one.rating_high:g}" for one in (now, before))
        beyond.append(
            Change(
                "rating_scale",
                width,
                now.rating_high - now.rating_low,
                most,
                "ratings are on {} now and were on {}; ".format(*scales) + may,
            )
        )
    if abs(now.rating_mean - before.rating_mean) > most:
        beyond.append(
            Change(
                "rating_mean", before.rating_mean, now.rating_mean, most,
                f"the mean rating is {now.rating_mean:.2f} and was {before.rating_mean:.2f}; {may}",
            )
        )  # fmt: skip
    return beyond


def _what_rating(shared: Shared) -> str:
    """Say how ratings that changed look, by their correlation with what they were; NaN if they no longer vary."""
    if shared.ratings_alike != shared.ratings_alike:
        return "they are all the same now"
    if shared.ratings_alike < -ALIKE:
        return "high ones are low now: were they inverted?"
    if shared.ratings_alike < ALIKE:
        return "they have little to do with what they were: were they mixed up, or is it another column?"
    return "they go along with what they were: were they rounded, or is it another scale?"


def _values(shared: Shared, settings: Settings) -> list[Change]:
    """Ratings and times of the interactions that are still there; where most are gone, the rest are there by chance."""
    if shared.rows_gone > ALIKE:
        return []
    beyond, limit = [], settings.guard_changed
    may = f"{limit:.0%} may (guard_changed)"
    if shared.ratings_changed > limit and shared.ratings_changed * shared.n_rows >= FEWEST:
        beyond.append(
            Change(
                "ratings_changed", 0.0, shared.ratings_changed, limit,
                f"{shared.ratings_changed:.0%} of the ratings of the same user and item are other ones, though they were not given "
                f"again; {may}; {_what_rating(shared)}",
            )
        )  # fmt: skip
    if shared.times_lost > limit:
        beyond.append(
            Change("times_lost", 0.0, shared.times_lost, limit, f"{shared.times_lost:.0%} of the interactions have lost their time; {may}")
        )
    if shared.times_changed > limit:
        shift = shared.time_shift_s
        by = f"{shift / DAY_S:+,.1f} days" if abs(shift) >= DAY_S else f"{shift / 3600:+,.1f} hours"
        beyond.append(
            Change(
                "times_changed", 0.0, shared.times_changed, limit,
                f"{shared.times_changed:.0%} of the interactions have another time, by {by} as a median; {may}",
            )
        )  # fmt: skip
    return beyond


def _catalogue(shared: Shared, settings: Settings) -> list[Change]:
    beyond, limit = [], settings.guard_changed
    for name, share, most, text in (
        ("titles_changed", shared.titles_changed, limit, "have another title"),
        ("titles_garbled", shared.titles_garbled, limit / 10, "have a title with characters that another encoding spoilt"),
        ("genres_changed", shared.genres_changed, limit, "have none of the genres that they had"),
    ):
        if share > most and share * shared.n_titles >= FEWEST:
            of = "of the items with genres" if name == "genres_changed" else f"of the {shared.n_titles:,} items of the catalogue"
            beyond.append(Change(name, 0.0, share, most, f"{share:.0%} {of} {text}; {most:.0%} may (guard_changed)"))
    return beyond


def _day(seconds: int | None) -> str:
    return "no time" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
