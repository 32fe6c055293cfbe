"""Simulated time: what happens when, in one order for one seed.

What this module does not do: give agents their time.  A host adds its own offsets to
:attr:`Schedule.now`, because no two machines count from the same instant.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from haagent.core.units import DurationNs, MonoNs, later


class Schedule:
    """A queue of things to do; equal times are served in the order of asking."""

    def __init__(self) -> None:
        self.now = MonoNs(0)
        self._queue: list[tuple[MonoNs, int, Callable[[], None]]] = []
        self._asked = 0

    def at(self, when: MonoNs, do: Callable[[], None]) -> None:
        """Do ``do`` at ``when``, or at once when that is past."""
        self._asked += 1
        heappush(self._queue, (max(when, self.now), self._asked, do))

    def after(self, delay: DurationNs, do: Callable[[], None]) -> None:
        """Do ``do`` once ``delay`` has passed."""
        self.at(later(self.now, delay), do)

    def run(self, until: MonoNs) -> None:
        """Let time pass up to and including ``until``."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, do = heappop(self._queue)
            do()
        self.now = until
