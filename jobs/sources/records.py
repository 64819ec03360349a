"""The grammar of one record of a delimited file, for the lines that have to be looked at one by one."""

from __future__ import annotations

import re
from functools import cache


@cache
def _patterns(delimiter: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """A field as Arrow's parser takes it, and the stricter one of a record that spans lines."""
    d = re.escape(delimiter)
    quoted = rb'"(?:[^"]|"")*+"'
    plain = rb'(?!")[^%s\r\n]*' % d
    lenient = rb"(?:%s[^%s\r\n]*|%s)" % (quoted, d, plain)
    strict = rb"(?:%s|%s)" % (quoted, plain)
    return re.compile(lenient), re.compile(strict)


def count_fields(line: bytes, delimiter: bytes, *, is_strict: bool = False) -> int | None:
    """Fields of one record; None if a quote is not closed, 0 if something other than a delimiter ends a
    field."""
    field = _patterns(delimiter)[is_strict]
    n, at = 1, 0
    while (match := field.match(line, at)) is not None:
        at = match.end()
        if at == len(line):
            return n
        if line[at : at + 1] != delimiter:
            return 0
        n, at = n + 1, at + 1
    return None
