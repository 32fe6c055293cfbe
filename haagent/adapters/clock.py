"""The two clocks, and one alarm on the boot-time clock.

``now()`` reads both clocks.  An :class:`Alarm` wakes the event loop at an instant of
CLOCK_BOOTTIME through a timerfd: asyncio's own timers run on CLOCK_MONOTONIC, which stands
still while the machine is suspended, and are rounded up to the next millisecond.

What this module does not do: say how late an alarm was.  The driver reads the clock again.
"""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

from haagent.core.units import Moment, MonoNs, WallNs

_TFD_TIMER_ABSTIME = 1
_NS_PER_S = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)
"""Python has timerfd from 3.13 on."""


class _Itimerspec(ctypes.Structure):
    """``struct itimerspec``: two of ``struct timespec``."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


def now() -> Moment:
    """Return the time on CLOCK_BOOTTIME and CLOCK_REALTIME."""
    return Moment(
        MonoNs(time.clock_gettime_ns(time.CLOCK_BOOTTIME)),
        WallNs(time.clock_gettime_ns(time.CLOCK_REALTIME)),
    )


class Alarm:
    """Calls ``expired`` from the running loop once for each deadline that is set."""

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd = _checked(_libc.timerfd_create(time.CLOCK_BOOTTIME, flags))
        asyncio.get_running_loop().add_reader(self._fd, self._wake)

    def set(self, deadline: MonoNs | None) -> None:
        """Replace the deadline; None for no alarm.  One that is past expires at once."""
        # All zeros would mean no alarm, so the earliest instant is the first nanosecond.
        value = 0 if deadline is None else max(1, deadline)
        spec = _Itimerspec(0, 0, *divmod(value, _NS_PER_S))
        settime = _libc.timerfd_settime
        _checked(settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))

    def close(self) -> None:
        """Give the timer back.  The alarm cannot be used afterwards."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _wake(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # Set anew between expiring and now: the old deadline no longer counts.
        self._expired()


def _checked(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
