"""The overlay's log, applied: what a user has, whatever the order, however often it is replayed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from schemas.errors import ReleaseError
from warehouse import overlay
from warehouse.overlay import apply_log, Entry, Held, is_behind, removal, stored

ITEMS = st.integers(1, 4)
TIMES = st.integers(0, 50)
SCORES = st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])
BASES = st.dictionaries(ITEMS, st.builds(Held, SCORES, st.just(1.0), st.none() | TIMES))


def numbered(entries: list[Entry]) -> list[Entry]:
    return [entry._replace(seq=place) for place, entry in enumerate(entries, 1)]


@st.composite
def ratings(draw, *, distinct: bool = False) -> list[Entry]:
    """Arrivals of one user's ratings; distinct ones have no two of one item and time."""
    pairs = draw(st.lists(st.tuples(ITEMS, TIMES), max_size=12, unique=distinct))
    return [Entry(0, "u", item, draw(SCORES), 1.0, at, 100) for item, at in pairs]


@st.composite
def arrivals(draw) -> list[Entry]:
    """Arrivals of one user's ratings, deletions and overwrites, in any order."""
    kinds = draw(st.lists(st.sampled_from(["post", "put", "delete"]), max_size=12))
    return numbered(
        [
            Entry(
                0,
                "u",
                draw(ITEMS),
                None if kind == "delete" else draw(SCORES),
                1.0,
                draw(TIMES),
                100 + place,
                kind == "delete",
                kind == "put",
            )
            for place, kind in enumerate(kinds)
        ]
    )


@given(BASES, ratings(distinct=True), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_ratings_does_not_matter(base: dict, entries: list[Entry], shuffled, is_implicit: bool) -> None:
    other = list(entries)
    shuffled.shuffle(other)

    def values(found: dict) -> dict:
        return {item: held[:3] for item, held in found.items()}

    taken = {(item, held.rated_at) for item, held in base.items()}
    entries = [entry for entry in entries if (entry.item_id, entry.rated_at) not in taken]
    other = [entry for entry in other if (entry.item_id, entry.rated_at) not in taken]
    assert values(apply_log(base, numbered(entries), is_implicit=is_implicit)) == values(
        apply_log(base, numbered(other), is_implicit=is_implicit)
    )


@given(BASES, arrivals(), st.integers(0, 12))
def test_folding_in_two_steps_is_folding_at_once(base: dict, entries: list[Entry], cut: int) -> None:
    once = apply_log(base, entries, is_implicit=False)
    assert apply_log(apply_log(base, entries[:cut], is_implicit=False), entries[cut:], is_implicit=False) == once


@given(BASES, arrivals())
def test_replaying_what_is_there_already_changes_no_rating(base: dict, entries: list[Entry]) -> None:
    """A release that contains the entries, folded with them again before they are compacted, is the same."""
    once = apply_log(base, entries, is_implicit=False)
    again = apply_log(once, entries, is_implicit=False)
    last = {entry.item_id: entry for entry in entries}
    for item, entry in last.items():
        if entry.is_deleted:
            assert item not in again
        elif entry.is_overwrite:
            assert again[item].rating == entry.rating


@given(arrivals())
def test_the_last_word_on_an_item_counts(entries: list[Entry]) -> None:
    held = apply_log({}, entries, is_implicit=False)
    for item in {entry.item_id for entry in entries}:
        last = [entry for entry in entries if entry.item_id == item][-1]
        if last.is_deleted:
            assert item not in held
        elif last.is_overwrite:
            assert held[item] == Held(last.rating, 1.0, last.rated_at, last.seq)
        else:
            assert item in held


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["POST", "PUT", "DELETE"]), ITEMS, SCORES, st.none() | st.integers(0, 200), st.integers(50, 150)), max_size=10
)


@given(st.dictionaries(ITEMS, st.builds(Held, SCORES, st.just(1.0), st.none() | st.integers(0, 200))), OPERATIONS)
def test_a_put_or_deletion_takes_effect_whatever_the_clocks_say(source: dict, operations: list[tuple]) -> None:
    """Whether or not the first few entries are rows of a release already: a server shows what the next ingest makes."""
    entries: list[Entry] = []
    for kind, item, rating, at, clock in operations:
        held = apply_log(source, numbered(entries), is_implicit=False).get(item)
        entry = Entry(0, "u", item, rating, 1.0, clock if at is None else at, clock, kind == "DELETE", kind == "PUT")
        if kind == "DELETE":
            entries += [removal(entry, held)] if held is not None else []
        else:
            entries += [removal(entry, held)] if kind == "PUT" and held is not None and is_behind(entry, held) else []
            entries.append(entry)
        whole = apply_log(source, numbered(entries), is_implicit=False)
        assert kind != "DELETE" or item not in whole
        assert kind != "PUT" or whole[item][:3] == (rating, 1.0, entry.rated_at)
        for n in range(len(entries) + 1):
            release = {key: one._replace(seq=0) for key, one in apply_log(source, numbered(entries)[:n], is_implicit=False).items()}
            served = apply_log(release, numbered(entries)[n:], is_implicit=False)
            assert {key: one[:3] for key, one in served.items()} == {key: one[:3] for key, one in whole.items()}


def test_a_deletion_a_day_before_its_rating_and_a_clock_set_back() -> None:
    ahead = Entry(1, "u", 1, 5.0, 1.0, 86_500, 100)
    deletion = Entry(2, "u", 1, None, 0.0, 50, 50, True)  # the clock was set back, too
    assert apply_log({}, [ahead, deletion], is_implicit=False) == {}
    late = Entry(2, "u", 1, 2.0, 1.0, 50, 50, False, True)
    assert apply_log({}, [ahead, late], is_implicit=False) == {1: Held(2.0, 1.0, 50, 2)}


def test_a_source_that_knows_later_events_is_believed() -> None:
    base = {1: Held(2.0, 1.0, 500), 2: Held(2.0, 1.0, 50)}
    deletions = [Entry(1, "u", item, None, 0.0, 100, 100, True) for item in (1, 2)]
    assert apply_log(base, deletions, is_implicit=False) == {1: Held(2.0, 1.0, 500)}


def test_weights_add_up_until_they_are_overwritten() -> None:
    entries = numbered(
        [
            Entry(0, "u", 1, None, 2.0, 10, 100),
            Entry(0, "u", 1, None, 3.0, 5, 101),
            Entry(0, "u", 2, None, 7.0, 5, 102, False, True),
        ]
    )
    held = apply_log({1: Held(None, 1.0, 1), 2: Held(None, 9.0, 1)}, entries, is_implicit=True)
    assert held[1][:3] == (None, 6.0, 10) and held[2][:3] == (None, 7.0, 5)


@given(rows=st.lists(st.tuples(st.sampled_from(["a", 1, "1"]), ITEMS, SCORES, TIMES), max_size=10))
def test_the_log_gives_back_what_was_written(rows: list[tuple], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("overlay") / "overlay.db"
    with closing(overlay.create(path)) as writer, closing(overlay.open_read_only(path)) as reader:
        written = []
        for user, item, rating, at in rows:
            entry = Entry(0, user, item, rating, 1.0, at, 100)
            written.append(entry._replace(seq=overlay.append(writer, entry)))
        assert list(overlay.entries(reader)) == written
        for user in ("a", 1, "1"):
            assert overlay.of_user(reader, user) == [
                entry for entry in written if entry.user_id == user and type(entry.user_id) is type(user)
            ]
        assert overlay.last_seq(reader) == len(rows)


def test_numbers_never_come_back(tmp_path: Path) -> None:
    with closing(overlay.create(tmp_path / "overlay.db")) as connection:
        for place in range(5):
            overlay.append(connection, Entry(0, place % 2, place, 3.0, 1.0, 1, 1))
        assert overlay.compact(connection, upto=5) == 5 and overlay.n_removals(connection) == 1
        assert overlay.append(connection, Entry(0, 1, 9, 3.0, 1.0, 1, 1)) == 6
        assert overlay.forget(connection, 1) == 1 and overlay.last_seq(connection) == 6 and not list(overlay.entries(connection))


def test_a_forgotten_user_leaves_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "overlay.db"
    with closing(overlay.create(path)) as connection:
        overlay.append(connection, Entry(0, "somebody-to-forget", "item", 3.0, 1.0, 1, 1))
        overlay.append(connection, Entry(0, "somebody-else", "item", 3.0, 1.0, 1, 1))
        overlay.forget(connection, "somebody-to-forget")
    assert not any(b"somebody-to-forget" in found.read_bytes() for found in tmp_path.iterdir())
    assert b"somebody-else" in path.read_bytes()


def test_another_files_version_is_refused(tmp_path: Path) -> None:
    with closing(overlay.create(tmp_path / "overlay.db")) as connection:
        connection.execute("pragma user_version = 9")
    with pytest.raises(ReleaseError, match="version 9"):
        overlay.create(tmp_path / "overlay.db")


def test_what_is_new_is_read_without_what_was_there(tmp_path: Path) -> None:
    with closing(overlay.create(tmp_path / "overlay.db")) as connection:
        plan = [row[3] for row in connection.execute(f"explain query plan {overlay.LAST_BY_USER}", (1,))]
        for seq, user in enumerate((7, 8, 7), 1):
            assert overlay.append(connection, Entry(0, user, seq, 3.0, 1.0, seq, seq)) == seq
        assert overlay.last_by_user(connection, after=1) == {7: 3, 8: 2}
    assert plan == ["SEARCH ratings USING INTEGER PRIMARY KEY (rowid>?)"]


def test_events_of_an_item_are_counted_once_a_time_and_from_one_in_a_release_that_did_not_count() -> None:
    entries = [Entry(k, 7, 1, None, 1.0, at, at) for k, at in enumerate((10, 10, 12), 1)]
    assert apply_log({}, entries, is_implicit=True)[1].n_events == 2
    assert apply_log({1: Held(None, 5.0, 9, 0, 4)}, entries, is_implicit=True)[1].n_events == 6
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table ratings (user_id, item_id, rating, weight, rated_at, is_held_out)")
        connection.execute("insert into ratings values (7, 1, null, 2.0, 9, 0)")
        assert stored(connection, 7) == {1: Held(None, 2.0, 9)}
        connection.execute("alter table ratings add column n_events")
        connection.execute("update ratings set n_events = 3")
        assert stored(connection, 7) == {1: Held(None, 2.0, 9, 0, 3)}
