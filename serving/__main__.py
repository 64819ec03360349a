"""`python -m serving`: start a server on the promoted release."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small solves get many times slower on several threads

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from schemas.errors import CineMatchError
from schemas.settings import FIELDS, resolve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns the exit status."""
    parsed = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, datefmt="%H:%M:%S")
    try:
        settings = resolve(parsed, os.environ)
        from serving.server import serve

        return serve(settings)
    except CineMatchError as error:
        print(f"cinematch: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the promoted release with Datasette.",
        allow_abbrev=False,
        epilog="Example: python -m serving --warehouse data --port 8001",
    )
    parser.add_argument("--settings", metavar="FILE", help="TOML file of settings")
    for name, declared in FIELDS.items():
        if "serve" in declared.metadata["commands"] and not declared.metadata.get("is_secret"):
            optional: dict[str, Any] = {"nargs": "?", "const": "true"} if isinstance(declared.default, bool) else {}
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                dest=name,
                metavar="VALUE",
                help=declared.metadata["description"],
                **optional,
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
