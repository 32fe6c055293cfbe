"""Simulated time: what happens when, in one order for one seed.

What this module does not do: give agents their time.  A host has a clock of its own
(``haagent.sim.host``), because no two machines count from the same instant, nor alike.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, TypeVarTuple

from haagent.core.units import DurationNs, MonoNs

Args = TypeVarTuple("Args")


class Schedule:
    """A queue of calls to make; equal times are served in the order of asking."""

    def __init__(self) -> None:
        self.now = MonoNs(0)
        self._queue: list[tuple[MonoNs, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: MonoNs, do: Callable[[*Args], None], *args: *Args) -> None:
        """Call ``do`` with ``args`` at ``when``, or at once when that is past."""
        self._asked += 1
        heappush(self._queue, (max(when, self.now), self._asked, do, args))

    def after(self, delay: DurationNs, do: Callable[[*Args], None], *args: *Args) -> None:
        """Call ``do`` with ``args`` once ``delay`` has passed."""
        self.at(MonoNs(self.now + delay), do, *args)

    def run(self, until: MonoNs) -> None:
        """Let time pass up to and including ``until``."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, do, args = heappop(queue)
            do(*args)
        self.now = until
