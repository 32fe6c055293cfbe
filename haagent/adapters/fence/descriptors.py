"""Descriptors that the kernel releases at once when the process dies.

A process that dies gives back its memory first, some 10 ms for an agent's, and then its
descriptors with the last of its threads, each packet socket taking some 15 ms.  What keeps an
address open must not wait for that: it is held by a thread with a table of descriptors of its
own, which goes with this thread.  No child of the process inherits from that table.

What is opened by :meth:`OwnDescriptors.run` means nothing outside of it.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_FILES = 0x400
_FIRST, _BEYOND_LAST = 3, 1 << 30


class OwnDescriptors:
    """See the module docstring."""

    def __init__(self) -> None:
        """Raises: OSError."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fence")
        self.run(_leave_the_others)

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what ``call`` returns in the thread, or raise what it raises."""
        return self._thread.submit(call, *args, **kwargs).result()

    def close(self) -> None:
        """Close them all."""
        self._thread.shutdown()


def _leave_the_others() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_FILES) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    os.closerange(_FIRST, _BEYOND_LAST)
    # So that it need not queue for a processor at its death.  It idles as long as it lives.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
