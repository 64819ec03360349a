"""The tree of errors: drawn as it is, with a status and an exit code for each."""

from __future__ import annotations

import inspect
import re

from schemas import errors
from schemas.errors import CineMatchError

ALL = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
DRAWN = re.findall(r"^ +[│├└─ ]*(\w+) +(\d+), exit (\d+)", errors.__doc__, re.MULTILINE)


def test_the_drawn_tree_is_the_tree() -> None:
    assert {name: (int(status), int(code)) for name, status, code in DRAWN} == {
        name: (kind.status, kind.exit_code) for name, kind in ALL.items()
    }


def test_every_error_is_one_of_ours_and_says_what_it_means() -> None:
    assert all(issubclass(kind, CineMatchError) for kind in ALL.values())
    assert all(kind.__doc__ and kind.__doc__.endswith(".") for kind in ALL.values())


def test_no_error_exits_as_success_or_as_an_interrupt() -> None:
    assert all(0 < kind.exit_code < 126 for kind in ALL.values())
    assert all(400 <= kind.status < 600 for kind in ALL.values())
