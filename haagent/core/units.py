"""Time as types: monotonic, wall and duration never mix.

Timers run on :data:`MonoNs` (CLOCK_BOOTTIME); :data:`WallNs` goes into records and
the hybrid logical clock and never reaches a timer.
"""

from dataclasses import dataclass
from typing import NewType

MonoNs = NewType("MonoNs", int)
"""Nanoseconds on CLOCK_BOOTTIME."""

WallNs = NewType("WallNs", int)
"""Nanoseconds since the epoch on CLOCK_REALTIME."""

DurationNs = NewType("DurationNs", int)
"""A length of time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks."""

    mono: MonoNs
    wall: WallNs


def milliseconds(count: int) -> DurationNs:
    """Return ``count`` milliseconds in nanoseconds."""
    return DurationNs(count * 1_000_000)


def seconds(count: int) -> DurationNs:
    """Return ``count`` seconds in nanoseconds."""
    return DurationNs(count * 1_000_000_000)


def in_words(length: DurationNs) -> str:
    """Return ``length`` for a person, in its one or two largest units; 0 for a negative one."""
    ms = max(0, length) // 1_000_000
    seconds, minutes, hours = ms // 1000, ms // 60_000, ms // 3_600_000
    if seconds < 1:
        return f"{ms} ms"
    if minutes < 1:
        return f"{seconds} s"
    if hours < 1:
        return f"{minutes} min {seconds % 60} s"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def later(start: MonoNs, delay: DurationNs) -> MonoNs:
    """Return the instant ``delay`` after ``start``."""
    return MonoNs(start + delay)


def earliest(*instants: MonoNs | None) -> MonoNs | None:
    """Return the first of ``instants``; None where there is none."""
    first = None
    for instant in instants:
        if instant is not None and (first is None or instant < first):
            first = instant
    return first


def between(start: MonoNs, end: MonoNs) -> DurationNs:
    """Return how long it is from ``start`` to ``end``; negative when ``end`` came first."""
    return DurationNs(end - start)
