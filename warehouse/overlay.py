"""overlay.db: ratings that came in online, in the order of their arrival; the only database that changes.

It is a log: nothing in it is changed, later entries decide over earlier ones, and its sequence numbers never come back.
A release says which sequence number of which overlay it was built up to (`overlay_seq` and `overlay_id` in the `input` of its
manifest); what a user has now is the release's rows with the entries applied to them that came after that number. The next ingest
applies the same entries to its source.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, NamedTuple

from schemas.errors import ReleaseError
from warehouse import identity

_DDL = (
    """create table if not exists ratings (
  seq integer primary key autoincrement,
  user_id any not null,
  item_id any not null,
  rating real,
  weight real not null,
  rated_at integer not null,
  received_at integer not null,
  is_deleted integer not null,
  is_overwrite integer not null
) strict""",
    "create index if not exists ratings_pair on ratings (user_id, item_id, rated_at)",
    "create table if not exists removals (n integer not null) strict",
    "insert into removals select 0 where not exists (select 1 from removals)",
    f"pragma user_version = {identity.VERSION}",
)
BUSY_MS = 5_000


class Entry(NamedTuple):
    """One arrival. A deletion has is_deleted, a PUT is_overwrite; either replaces whatever came before it. rating is None for
    implicit feedback, where weight counts; times are Unix seconds UTC. A deletion's rated_at is the latest time of what it
    removes: its own, or that of a row dated ahead."""

    seq: int
    user_id: int | str
    item_id: int | str
    rating: float | None
    weight: float
    rated_at: int
    received_at: int
    is_deleted: bool = False
    is_overwrite: bool = False


class Held(NamedTuple):
    """A user's row of an item: one of the `ratings` table without its key; seq is 0 if the release has it so. n_events: how often the user
    had the item, rows of one time being one."""

    rating: float | None
    weight: float
    rated_at: int | None
    seq: int = 0
    n_events: int = 1


def create(path: Path, *, after: int = 0) -> sqlite3.Connection:
    """Open for writing, and create where there is none; sequence numbers go on after `after`. A commit is on disk when it
    returns (WAL, synchronous = full). Raises ReleaseError if the file is damaged or none of ours."""
    connection = _opened(path, "rwc")
    try:
        if not identity.is_new(connection):
            identity.check(connection, path)
        for pragma in ("journal_mode = wal", "synchronous = full", f"busy_timeout = {BUSY_MS}"):
            connection.execute(f"pragma {pragma}")
        if not identity.is_marked(connection) or last_seq(connection) < after:
            connection.execute("begin immediate")
            for statement in _DDL if identity.is_new(connection) else ():
                connection.execute(statement)
            identity.mark(connection)
            _go_on_after(connection, after)
            connection.execute("commit")
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _go_on_after(connection: sqlite3.Connection, number: int) -> None:
    if last_seq(connection) < number:
        connection.execute("delete from sqlite_sequence where name = 'ratings'")
        connection.execute("insert into sqlite_sequence (name, seq) values ('ratings', ?)", (number,))


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open for reading what others write. Raises ReleaseError if the file is damaged, none of ours or of another version."""
    connection = _opened(path, "ro")
    try:
        identity.check(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raises ReleaseError if SQLite finds damage in the file; it reads all of it."""
    try:
        verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise _unusable(path, error) from None
    if verdict != "ok":
        raise _unusable(path, verdict)


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    except sqlite3.Error as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: object) -> ReleaseError:
    return ReleaseError(f"{path}: cannot be read as the database of online ratings ({error}); put a good copy in its place")


def append(connection: sqlite3.Connection, entry: Entry) -> int:
    """Add one entry, within the caller's transaction; returns its sequence number. entry.seq does not matter."""
    done = connection.execute(
        "insert into ratings (user_id, item_id, rating, weight, rated_at, received_at, is_deleted, is_overwrite) values (?, ?, ?, ?, ?, ?, ?, ?)",
        entry[1:],
    )
    return cast(int, done.lastrowid)


_SAME_EVENT = """select * from ratings
where user_id = :user_id and item_id = :item_id and rated_at = :rated_at and not is_deleted and seq > coalesce(
  (select max(seq) from ratings where user_id = :user_id and item_id = :item_id and is_deleted), 0)
order by seq desc limit 1"""


def same_event(connection: sqlite3.Connection, entry: Entry) -> Entry | None:
    """The last entry that is of the same user, item and time and was not deleted since."""
    row = connection.execute(_SAME_EVENT, entry._asdict()).fetchone()
    return Entry(*row) if row else None


def of_user(connection: sqlite3.Connection, user_id: Any, *, after: int = 0, upto: int | None = None) -> list[Entry]:
    """A user's entries with after < seq <= upto, in their order."""
    rows = connection.execute(
        "select * from ratings where user_id = ? and seq > ? and seq <= ? order by seq",
        (user_id, after, upto if upto is not None else 2**62),
    )
    return [Entry(*row) for row in rows.fetchall()]


def entries(connection: sqlite3.Connection, *, after: int = 0, upto: int | None = None) -> Iterator[Entry]:
    """Everybody's entries with after < seq <= upto, in their order."""
    for row in connection.execute(
        "select * from ratings where seq > ? and seq <= ? order by seq", (after, upto if upto is not None else 2**62)
    ):
        yield Entry(*row)


def last_seq(connection: sqlite3.Connection) -> int:
    """The last sequence number given out, also where its entry was removed since."""
    row = connection.execute("select seq from sqlite_sequence where name = 'ratings'").fetchone()
    return row[0] if row else 0


LAST_BY_USER = "select user_id, seq from ratings where seq > ? order by seq"  # grouped, SQLite would read all of an index


def last_by_user(connection: sqlite3.Connection, *, after: int) -> dict[Any, int]:
    """Users with entries after a sequence number, and the number of the last of them. It costs as much as is new."""
    return dict(connection.execute(LAST_BY_USER, (after,)))


def n_removals(connection: sqlite3.Connection) -> int:
    """Return how often entries were removed; a reader that keeps anything reads all again when this changes."""
    return connection.execute("select n from removals").fetchone()[0]


def forget(connection: sqlite3.Connection, user_id: Any) -> int:
    """Remove a user's entries and overwrite their bytes; returns how many there were."""
    connection.execute("pragma secure_delete = on")
    connection.execute("begin immediate")
    n = connection.execute("delete from ratings where user_id = ?", (user_id,)).rowcount
    connection.execute("update removals set n = n + 1")
    connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    return n


def compact(connection: sqlite3.Connection, *, upto: int) -> int:
    """Remove the entries up to a sequence number that every kept release contains; returns how many there were."""
    connection.execute("begin immediate")
    n = connection.execute("delete from ratings where seq <= ?", (upto,)).rowcount
    connection.execute("update removals set n = n + 1")
    connection.execute("commit")
    return n


def is_behind(entry: Entry, held: Held) -> bool:
    """Whether a PUT or a deletion is of an earlier time than what is there, by its own time and that of its arrival."""
    return (held.rated_at or 0) > max(entry.received_at, entry.rated_at)


def removal(entry: Entry, held: Held) -> Entry:
    """A deletion for the entry's pair that reaches as far as what is there, which may be dated ahead, or before a clock was
    set back; written before a PUT that is behind, it makes room for it also once what was there is the row of a release."""
    at = max(entry.received_at, held.rated_at or 0)
    return Entry(0, entry.user_id, entry.item_id, None, 0.0, at, entry.received_at, True)


def put_back(connection: sqlite3.Connection, entries: Iterable[Entry]) -> int:
    """Add entries that were removed, under the numbers that they had; returns how many."""
    connection.execute("begin immediate")
    n = connection.executemany("insert or ignore into ratings values (?, ?, ?, ?, ?, ?, ?, ?, ?)", entries).rowcount
    connection.execute("update removals set n = n + 1")  # readers that keep anything read all again
    connection.execute("commit")
    return n


def stored(connection: sqlite3.Connection, user_id: Any) -> dict[Any, Held]:
    """Return what a release's database holds of a user, by item, in the order of ids."""
    rows = connection.execute("select * from ratings where user_id = ? order by item_id", [user_id])
    names = [column[0] for column in rows.description]
    columns = [names.index(name) for name in ("item_id", "rating", "weight", "rated_at")]
    counted = names.index("n_events") if "n_events" in names else None  # a release of an earlier version did not count
    return {
        item: Held(rating, weight, rated_at, 0, 1 if counted is None else row[counted])
        for row in rows
        for item, rating, weight, rated_at in [[row[place] for place in columns]]
    }


def apply_log(base: Mapping[Any, Held], arrived: Iterable[Entry], *, is_implicit: bool) -> dict[Any, Held]:
    """Return what one user has, item to Held: the base (release or source) and, in order of arrival, what came in since.

    A rating counts where it is not older than the one held; for implicit feedback weights add up instead, as they do in
    ingest. Either is one event more, unless it is of the time of the one held. A PUT or a deletion decides over every entry before it, whatever their times say: clocks are set back, and events
    are dated ahead. Of the base it leaves what is later than itself, because a source may be younger than the entry.
    """
    held = dict(base)
    for entry in arrived:
        before = held.get(entry.item_id)
        if entry.is_deleted or entry.is_overwrite:
            if before is not None and not before.seq and is_behind(entry, before):
                continue
            if entry.is_deleted:
                held.pop(entry.item_id, None)
            else:
                held[entry.item_id] = Held(entry.rating, entry.weight, entry.rated_at, entry.seq)
        elif is_implicit:
            weight = entry.weight + (before.weight if before is not None else 0.0)
            times = [entry.rated_at] + ([before.rated_at] if before is not None and before.rated_at is not None else [])
            held[entry.item_id] = Held(None, weight, max(times), entry.seq, _n_events(before, entry))
        elif before is None or before.rated_at is None or entry.rated_at >= before.rated_at:
            held[entry.item_id] = Held(entry.rating, entry.weight, entry.rated_at, entry.seq, _n_events(before, entry))
    return held


def _n_events(before: Held | None, entry: Entry) -> int:
    return 1 if before is None else before.n_events + (entry.rated_at != before.rated_at)


def visitor_history(entries: Sequence[Entry], *, is_implicit: bool) -> dict[Any, Held]:
    """Return what a visitor has who is stored nowhere, item to Held, from what they bring. An event of an item that is rated too does
    not count: a click takes no stars away."""
    rated = {entry.item_id for entry in entries if entry.rating is not None}
    counted = (entry for entry in entries if entry.rating is not None or entry.item_id not in rated)
    return apply_log({}, counted, is_implicit=is_implicit)
