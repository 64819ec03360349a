"""The `cinematch` script. What is imported takes a moment, and who stops the command in that moment gets a sentence too."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns its exit status."""
    try:
        from jobs.cli import main as command
    except KeyboardInterrupt:
        print("cinematch: stopped; nothing was promoted", file=sys.stderr)
        return 130
    return command()
