"""The reader of delimited files: what is a row, on which line it stands, and what a bad line costs."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings, strategies as st

from jobs.sources.blocks import Dialect, MAX_RECORD_LINES
from jobs.sources.delimited import Delimited, with_header, without_header
from jobs.sources.records import count_fields
from jobs.sources.streams import Input
from schemas.errors import SourceError

HEADER = b"a,b,c\n"


def read(file: Delimited, block_bytes: int = 2**20) -> tuple[list[tuple], list[tuple[int, str, str]]]:
    """All rows as (line, values...) and all refusals; lines grow and no row is lost between the two."""
    rows, refused = [], []
    for block in file.blocks({name: name for name in file.fields}, block_bytes=block_bytes):
        values = [block.columns[name].to_pylist() for name in file.fields]
        rows += [(int(line), *row) for line, *row in zip(block.lines, *values, strict=True)]
        refused += block.refused
        assert block.n_read == len(block.lines) + len(block.refused)
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    return rows, refused


def written(folder: Path, content: bytes, name: str = "x.csv") -> Input:
    path = folder / name
    path.write_bytes(content)
    return Input(path)


def parsed(folder: Path, content: bytes, **more: int) -> tuple[list[tuple], list[tuple[int, str, str]]]:
    return read(with_header(written(folder, HEADER + content)), **more)


def test_lines_are_those_of_the_file(tmp_path):
    rows, refused = parsed(tmp_path, b"1,2,3\n\n\r\n4,5,6\r\n\n7,8\n9,10,11")
    assert rows == [(2, b"1", b"2", b"3"), (5, b"4", b"5", b"6"), (8, b"9", b"10", b"11")]
    assert refused == [(7, "7,8", "expected 3 fields, got 2")]


@pytest.mark.parametrize(
    "line, fields",
    [
        (b'1,"a, b",3', (b"1", b"a, b", b"3")),
        (b'"1","a ""b""",""', (b"1", b'a "b"', b"")),
        (b'1,5" disc,3', (b"1", b'5" disc', b"3")),
        (b'1,"a" b,3', (b"1", b"a b", b"3")),
        (b",,", (b"", b"", b"")),
        (b" 1 ,\t,3", (b" 1 ", b"\t", b"3")),
    ],
)
def test_quotes_and_spaces_as_arrow_and_excel_read_them(tmp_path, line, fields):
    assert parsed(tmp_path, line + b"\n") == ([(2, *fields)], [])
    assert parsed(tmp_path, line + b"\nshort\n" + line) == (
        [(2, *fields), (4, *fields)],
        [(3, "short", "expected 3 fields, got 1")],
    )


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"1,2", "expected 3 fields, got 2"),
        (b"1,2,3,4", "expected 3 fields, got 4"),
        (b'"1,2",3', "expected 3 fields, got 2"),
        (b'1,"2,3', "a quote is not closed"),
        (b'1,2,"', "a quote is not closed"),
        (b"1,2\r3,4", "a carriage return inside the line"),
        (b"\x00", "expected 3 fields, got 1"),
        (b"  ", "expected 3 fields, got 1"),
    ],
)
def test_a_bad_line_costs_itself_and_no_other(tmp_path, line, reason):
    text = line.decode()
    assert parsed(tmp_path, b"1,2,3\n" + line + b"\n4,5,6\n7,8,9\n") == (
        [(2, b"1", b"2", b"3"), (4, b"4", b"5", b"6"), (5, b"7", b"8", b"9")],
        [(3, text, reason)],
    )
    assert parsed(tmp_path, b"1,2,3\n" + line) == ([(2, b"1", b"2", b"3")], [(3, text, reason)])


def test_a_stray_quote_does_not_take_the_next_quoted_line(tmp_path):
    rows, refused = parsed(tmp_path, b'1,"open,3\n2,"b",3\n3,"c",3\n')
    assert [row[0] for row in rows] == [3, 4]
    assert refused == [(2, '1,"open,3', "a quote is not closed")]


def test_two_stray_quotes_do_not_make_the_rows_between_a_text(tmp_path):
    rows, refused = parsed(tmp_path, b'1,"open,3\n' + b"1,2,3\n" * 9 + b'2,close",3\n')
    assert [row[0] for row in rows] == [*range(3, 12), 12]
    assert refused == [(2, '1,"open,3', "a quote is not closed")]


def test_a_quoted_field_may_span_lines(tmp_path):
    content = b'1,"two\r\n\nlines",3\n4,5,6\n7,"eight\n",9'
    expected = [(2, b"1", b"two\r\n\nlines", b"3"), (5, b"4", b"5", b"6"), (6, b"7", b"eight\n", b"9")]
    for block_bytes in (8, 16, 24, 1000):
        assert parsed(tmp_path, content, block_bytes=block_bytes) == (expected, [])


def test_a_quote_that_stays_open_is_given_up(tmp_path):
    content = b'1,"open,3\n' + b"1,2,3\n" * (MAX_RECORD_LINES + 10)
    for block_bytes in (1000, 2**20):
        rows, refused = parsed(tmp_path, content, block_bytes=block_bytes)
        assert len(rows) == MAX_RECORD_LINES + 10
        assert refused == [(2, '1,"open,3', "a quote is not closed")]


def test_bytes_that_are_not_utf8_are_shown(tmp_path):
    content = "é,é,é\n".encode() + b"\xff\xfe,2\n"
    assert parsed(tmp_path, content) == ([(2, *["é".encode()] * 3)], [(3, r"\xff\xfe,2", "expected 3 fields, got 2")])


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa,b\n1,2\n",
        b"a,b\r\n1,2\r\n",
        b"a,b\r1,2\r",
        b"\n\na,b\n1,2",
        b"a;b\n1;2\n",
        b"a\tb\n1\t2\n",
        b"a|b\n1|2\n",
    ],
)
def test_marks_line_ends_and_delimiters_are_told(tmp_path, content):
    rows, refused = read(with_header(written(tmp_path, content)))
    assert [row[1:] for row in rows] == [(b"1", b"2")] and refused == []


def test_gzip_is_told_by_its_content(tmp_path):
    rows, _ = read(with_header(written(tmp_path, gzip.compress(b"a,b\n1,2\n"), "no-extension")))
    assert rows == [(2, b"1", b"2")]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"\n\r\n", "empty"),
        ("a,b\n1,2\n".encode("utf-16")[:-1], "damaged or cut short, no utf-16"),
        (bz2.compress(b"a,b\n" + b"1,2\n" * 9999)[:-20], "damaged or cut short"),
        (pa.compress(b"a,b\n" + b"1,2\n" * 9999, "zstd", asbytes=True)[:-8], "cannot be read: Truncated"),
        (b"\x7fELF\x00\x00", "not text"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 9999, mtime=0)[:-20], "damaged or cut short"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content, message):
    with pytest.raises(SourceError, match=message) as caught:
        read(with_header(written(tmp_path, content)))
    assert str(tmp_path / "x.csv") in str(caught.value)


def test_utf_16_is_refused_where_a_format_says_what_it_is_in(tmp_path):
    for file in (with_header, lambda source, dialect: without_header(source, dialect, ("a", "b"))):
        with pytest.raises(SourceError, match="in UTF-16; expected UTF-8"):
            read(file(written(tmp_path, "a,b\n1,2\n".encode("utf-16")), Dialect(",")))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        with_header(Input(tmp_path / "none.csv"))
    with pytest.raises(SourceError, match="a folder"):
        with_header(Input(tmp_path))


def test_double_colons(tmp_path):
    dialect = Dialect("::", has_quotes=False, encoding="latin-1")
    file = without_header(written(tmp_path, '1::"Alien: Café::x\n2::b\n3::c::d'.encode("latin-1")), dialect, ("a", "b", "c"))
    for block_bytes in (5, 1000):
        rows, refused = read(file, block_bytes)
        assert rows == [(1, b"1", '"Alien: Café'.encode(), b"x"), (3, b"3", b"c", b"d")]
        assert refused == [(2, "2::b", "expected 3 fields, got 2")]


cells = st.one_of(
    st.sampled_from(["", "1", "4.5", "a b", "x,y", 'say "hi"', "é", ",", '""']),
    st.text('ab1," é', max_size=5),
)
good_lines = st.tuples(cells, cells, cells).map(lambda row: (_line(row), row))
bad_lines = st.sampled_from(["1", "1,2", "1,2,3,4", '1,"2', '"', 'a,b,"c', '"x",2', "1,2\r3,4"]).map(lambda line: (line, None))
blank_lines = st.sampled_from(["", "\r"]).map(lambda line: (line, ()))


def _line(row: tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(row)
    return out.getvalue()


@settings(deadline=None)
@given(
    st.lists(st.one_of(good_lines, good_lines, bad_lines, blank_lines), max_size=25),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([16, 64, 4096]),
    st.booleans(),
)
@example([('1,"2', None), ('"",2,3', ("", "2", "3"))], "\n", 4096, True)
def test_every_line_is_a_row_a_refusal_or_blank(tmp_path_factory, lines, end, block_bytes, has_last_end):
    """Lines that are good keep their place and their values, whatever stands around them. (An open quote may
    only ever join lines into a record that is whole, so rows after one are not compared by value.)"""
    content = "a,b,c\n" + end.join(line for line, _ in lines) + (end if has_last_end else "")
    path = tmp_path_factory.getbasetemp() / "property.csv"
    path.write_bytes(content.encode())
    rows, refused = read(with_header(Input(path)), block_bytes)
    has_open = any(row is None and line.count('"') % 2 for line, row in lines)
    if has_open:
        return
    expected = [(i, *(cell.encode() for cell in row)) for i, (_, row) in enumerate(lines, 2) if row]
    assert rows == expected
    assert [line for line, _, _ in refused] == [i for i, (_, row) in enumerate(lines, 2) if row is None]


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(good_lines, bad_lines, blank_lines, st.text('",1\n\r', max_size=12).map(lambda t: (t, None))),
        max_size=25,
    ),
    st.sampled_from([64, 200]),
)
def test_where_blocks_are_cut_changes_nothing(tmp_path_factory, lines, block_bytes):
    path = tmp_path_factory.getbasetemp() / "cuts.csv"
    path.write_bytes(("a,b,c\n" + "\n".join(line for line, _ in lines)).encode())
    file = with_header(Input(path))
    assert read(file, block_bytes) == read(file)


@settings(deadline=None)
@given(st.lists(st.text('",1 b', max_size=6), min_size=1, max_size=6).map(",".join))
def test_fields_are_counted_as_arrow_counts_them(tmp_path_factory, line):
    n = count_fields(line.encode(), b",")
    path = tmp_path_factory.getbasetemp() / "count.csv"
    for n_header in {n or 3, 3}:
        path.write_bytes((",".join("abcdefghijklmnopqrstuvwxyz"[:n_header]) + "\n" + line + "\n" + "1,2\n" * (n_header != 2)).encode())
        if line.strip():
            _, refused = read(with_header(Input(path)))
            assert (2 in [at for at, _, _ in refused]) == (n != n_header)
