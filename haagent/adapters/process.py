"""What the process of the agent asks for itself, so that it is not late and dies fast.

:func:`settle` asks for it at the start; :func:`stay_frugal` runs as a task and gives the loop's
thread real-time priority for as long as it uses little of its processor.  A loop that is kept
busy, by whatever, is an ordinary process until it is not, and keeps HAProxy from nothing.

:func:`collect_seldom` is another task, for when everything is in place.

What this module does not do: make the threads of gRPC, of the disk and of the log real-time.
"""

import asyncio
import ctypes
import gc
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

from haagent.core.units import MonoNs

SWITCH_INTERVAL_S = 0.0005
"""How long a thread of gRPC may keep the interpreter from the loop (5 ms by default)."""

SHARE = 0.5
"""Of one processor; a loop that used more in the last :data:`LOOK_S` is not real-time."""

LOOK_S = 0.1

COLLECT_S = 3600.0
"""A look at every object takes 50 ms where there are ten thousand app nodes."""

_NEVER = 1 << 30

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4

_PRIORITY = os.sched_param(1)
"""The lowest: before every ordinary process, and after all that drives the hardware."""


def settle() -> list[str]:
    """Settle the process, in the thread that is to run the loop.

    Returns: what could not be had, a sentence each; the agent works without.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # A core dump holds the descriptors, and with them the addresses, until it is written.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    refused = []
    try:
        _lock_memory()
    except OSError as error:
        refused.append(f"memory may be swapped out: {error.strerror}")
    try:
        _prefer(real_time=True)
    except OSError as error:
        refused.append(f"no real-time scheduling: {error.strerror}")
    return refused


async def stay_frugal() -> None:
    """Take the priority back from a loop that uses more than its share, until it does not."""
    looked_s, used_s = time.monotonic(), time.thread_time()
    while True:
        await asyncio.sleep(LOOK_S)
        now_s, now_used_s = time.monotonic(), time.thread_time()
        frugal = now_used_s - used_s < SHARE * (now_s - looked_s)
        looked_s, used_s = now_s, now_used_s
        with suppress(PermissionError):  # which settle() has told
            _prefer(real_time=frugal)


async def collect_seldom() -> None:
    """Have the collector look at what is young, and at everything once in :data:`COLLECT_S`.

    At what is here already it does not look at all: that stays.
    """
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()


def _prefer(*, real_time: bool) -> None:
    """Threads and processes that are made later begin as ordinary ones."""
    policy = (os.SCHED_RR if real_time else os.SCHED_OTHER) | os.SCHED_RESET_ON_FORK
    if os.sched_getscheduler(0) != policy:
        os.sched_setscheduler(0, policy, _PRIORITY if real_time else os.sched_param(0))


def started() -> MonoNs:
    """Return when this process began to be, to the hundredth of a second."""
    # Behind the name, which may hold anything: field 22 of proc_pid_stat(5).
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return MonoNs(int(fields[19]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def _lock_memory() -> None:
    # Only what is touched: the stacks of the threads are large and almost empty.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
