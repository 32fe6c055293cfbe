"""Lines on stderr, for the journal where there is one.

A line that would have to wait for a journal that hangs is lost: heartbeats do not wait for it.
"""

import os
import select
import sys
import time
from enum import IntEnum


class Level(IntEnum):
    """As in sd-daemon(3)."""

    ERROR = 3
    WARNING = 4
    INFO = 6


def say(level: Level, text: str) -> None:
    """Write one line."""
    descriptor = sys.stderr.fileno()
    line = f"{_prefix(descriptor, level)}{' '.join(text.splitlines())}\n"
    # Writable means that some kilobytes are free, in a pipe as in the journal's socket.
    if select.select([], [descriptor], [], 0)[1]:
        try:
            os.write(descriptor, line.encode(errors="replace")[:4096])
        except OSError:
            return


def _prefix(descriptor: int, level: Level) -> str:
    # systemd names the device and inode of the stream that it connected (systemd.exec(5)).
    stream = os.fstat(descriptor)
    if os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}":
        return f"<{level.value}>"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level.name} "
