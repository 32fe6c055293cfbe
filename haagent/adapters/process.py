"""What the process of the agent asks of the kernel for itself, so that it is never late.

Each part is asked for, and done without where it is not permitted; :func:`settle` says which.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Callable

PRIORITY = 10
"""Of SCHED_RR: before every ordinary process, after what drives the hardware."""

SWITCH_INTERVAL_S = 0.0005
"""How long a thread of gRPC may keep the interpreter from the loop (5 ms by default)."""

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4


def settle() -> list[str]:
    """Settle the calling thread, which is to run the loop, and its process.

    Returns: what could not be had, a sentence each.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # A core dump holds the descriptors, and with them the addresses, until it is written.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wishes: dict[str, Callable[[], None]] = {
        "real-time scheduling": _schedule,
        "memory that is never swapped out": _lock_memory,
    }
    refused = []
    for wish, ask in wishes.items():
        try:
            ask()
        except OSError as error:
            refused.append(f"no {wish}: {error.strerror}")
    return refused


def _schedule() -> None:
    # The threads of gRPC and of the log stay ordinary ones.
    policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))


def _lock_memory() -> None:
    # Only what is touched: the stacks of the threads are large and almost empty.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
