"""Puts the wall clock of a Python process wrong by the seconds that a file names, at any time.

Python imports it before all else when its directory is on the path.  The machine has one
wall clock, which is not ours to step; and haagent asks for it in one place
(``haagent.adapters.clock``).  libfaketime will not do: it shifts the timers of every clock.
"""

import os
import time
from pathlib import Path

_right = time.clock_gettime_ns
_error_s = Path(os.environ["WALL_CLOCK_ERROR"])


def _wrong(clock: int) -> int:
    error_s = int(_error_s.read_text()) if clock == time.CLOCK_REALTIME else 0
    return _right(clock) + error_s * 1_000_000_000


time.clock_gettime_ns = _wrong
