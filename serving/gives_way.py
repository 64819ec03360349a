"""What every process beside the server does: lookups come first, and where memory is short it is not they that end."""

from __future__ import annotations

import os
from pathlib import Path

NICE = 10


def give_way() -> None:
    """Take the processor after the server, in turns that do not interrupt it; be the first to end where the system is out of memory."""
    os.nice(NICE)
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        Path("/proc/self/oom_score_adj").write_text("900")
    except OSError:
        pass  # no Linux, or not allowed
