"""Every error CineMatch raises on purpose, in one tree.

    CineMatchError            500, exit 1
    ├── UsageError            400, exit 2   the caller asked for something that cannot be
    │   └── SettingError      400, exit 2   a setting is unknown or out of its bounds
    ├── SourceError           422, exit 3   the input cannot be read as interactions
    ├── StepError             409, exit 4   a step cannot run now
    │   └── ResourceError     507, exit 4   not enough memory or disk
    ├── ReleaseError          409, exit 5   a release is missing, incomplete or damaged
    │   └── CheckError        409, exit 5   a check of a release found rows
    ├── AlertError            502, exit 1   somebody who was to be told could not be reached
    ├── HeldBack              409, exit 7   a release was built and judged, and is not promoted
    └── NotFound              404, exit 6   no such user, item or release

A message says what failed on which thing, what was expected, what was got and what to do. The library raises; only the
command line and the HTTP views format.
"""

from __future__ import annotations


class CineMatchError(Exception):
    """Something failed; the message says what to do."""

    status = 500
    exit_code = 1


class UsageError(CineMatchError):
    """The caller asked for something that cannot be."""

    status = 400
    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, or its value is out of its bounds."""


class SourceError(CineMatchError):
    """The input cannot be read as interactions."""

    status = 422
    exit_code = 3


class StepError(CineMatchError):
    """A step cannot run now: what it needs is not there, or it was already done otherwise."""

    status = 409
    exit_code = 4


class ResourceError(StepError):
    """There is not enough memory or disk for a step."""

    status = 507


class ReleaseError(CineMatchError):
    """A release is missing, incomplete or damaged."""

    status = 409
    exit_code = 5


class CheckError(ReleaseError):
    """A check that must return no rows returned some."""


class AlertError(CineMatchError):
    """Somebody who was to be told could not be reached."""

    status = 502


class HeldBack(CineMatchError):
    """A release was built and judged, and is not promoted; the one before it serves on."""

    status = 409
    exit_code = 7


class NotFound(CineMatchError):
    """No such user, item, release or page."""

    status = 404
    exit_code = 6


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error is what became of Ctrl-C: PySpark and Arrow raise another in its place."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
