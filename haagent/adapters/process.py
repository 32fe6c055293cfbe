"""What the process of the agent asks for itself, so that it is not late and dies fast.

What this module does not do: ask for real-time scheduling.  A flood of datagrams would then keep
HAProxy from the processor (seen on two cores); it takes a limit on what is read first.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

from haagent.core.units import MonoNs

SWITCH_INTERVAL_S = 0.0005
"""How long a thread of gRPC may keep the interpreter from the loop (5 ms by default)."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def settle() -> list[str]:
    """Settle the process that is to run the loop.

    Returns: what could not be had, a sentence each; the agent works without.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # A core dump holds the descriptors, and with them the addresses, until it is written.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _lock_memory()
    except OSError as error:
        return [f"memory may be swapped out: {error.strerror}"]
    return []


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
