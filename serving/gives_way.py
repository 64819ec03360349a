"""Let lookups come first: processes beside the server, and threads that search, give way to them, and end before them where memory is short."""

from __future__ import annotations

import os
import sys
import threading
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


def let_thread_give_way() -> None:
    """Let this thread take the processor after the others of its process, where the system knows threads by themselves."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
