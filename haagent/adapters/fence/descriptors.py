"""Descriptors that the kernel releases first when the process dies.

At the end of a process it releases the files of the highest numbers first, and for each packet
socket on the way it waits some 15 ms until no other processor uses that any more.  What keeps
an address open must not wait for those.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_HIGH = 512
"""Above what the agent opens otherwise, half of the usual limit."""


@contextmanager
def released_first() -> Iterator[None]:
    """Give the descriptors that are opened in this context the highest numbers."""
    filler = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fillers = [filler]
    try:
        while fillers[-1] < _HIGH:
            fillers.append(fcntl.fcntl(filler, fcntl.F_DUPFD_CLOEXEC, 0))
        yield
    finally:
        for opened in fillers:
            os.close(opened)
