"""Standard error of a Java that is started, without its greetings: no option of Java or Spark keeps these back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GREETINGS = (b"WARNING: Using incubator modules", b"Setting default log level to", b"To adjust logging level use", b"NOTE: Picked up")


@contextmanager
def left_out() -> Iterator[None]:
    """Let what is started meanwhile write its errors through a thread of ours, for as long as it lives; this process then has
    its own standard error again."""
    stderr = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_pass_on, args=(reading, os.dup(stderr)), daemon=True).start()
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _pass_on(reading: int, stderr: int) -> None:
    """Every line but the greetings, until the last writer is gone."""
    with os.fdopen(reading, "rb") as lines, os.fdopen(stderr, "wb", buffering=0) as out:
        for line in lines:
            if not line.startswith(GREETINGS):
                out.write(line)
