"""How well one path carries what one peer says: what is lost, and how long a round trip takes.

A heartbeat promises when the next one comes at the latest.  Between two that are k promises
apart k - 1 are lost, but no more than numbers of that peer that have arrived on no path.  Either
count alone would be too high: a sender that is stalled sends nothing, and numbers are spent on
other paths and other agents as well.

What this module does not do: judge whether the peer lives (``haagent.core.detector``).
"""

from typing import TypeAlias

from haagent.core.detector import RoundTrip
from haagent.core.identity import GroupId
from haagent.core.messages import Header
from haagent.core.replay import ReplayWindow
from haagent.core.units import MonoNs, seconds

MOST = 100
"""Heartbeats that the loss is told of, or as many as are due within :data:`SPAN`."""
SPAN = seconds(30)
ENOUGH = 20
"""Heartbeats, before which nothing is told, and of which it is told however slowly they come."""

_ALL = (1 << MOST) - 1

_Newest: TypeAlias = tuple[MonoNs, int, int]
"""Of the heartbeats about one group that have come, the one sent last: when it came, its number,
and within how many ns the next one was promised."""


class PathQuality:
    """See the module docstring."""

    def __init__(self) -> None:
        self._newest: dict[GroupId, _Newest] = {}
        self._came = 0
        """A bit for each heartbeat that was due, the newest lowest: whether it came."""
        self._due = 0
        """How many of these bits there are."""
        self.round_trip = RoundTrip()

    def heartbeat(self, header: Header, at: MonoNs, window: ReplayWindow) -> None:
        """Take in a heartbeat; ``window`` knows the numbers of its sender, this one included."""
        before = self._newest.get(header.group)
        if before is not None and header.sequence < before[1]:
            self._came |= self._came + 1  # The last that counts as lost was only slow.
            return
        self._newest[header.group] = at, header.sequence, header.interval_ms * 1_000_000
        if before is not None and (due := _due(before, at)):
            lost = _lost(before, due, window)
            self._came = (self._came << lost + 1 | 1) & _ALL
            self._due = min(self._due + lost + 1, MOST)

    def forget(self, group: GroupId) -> None:
        """Expect no heartbeat about ``group`` any more."""
        self._newest.pop(group, None)

    def loss_permille(self, last_heard: MonoNs, window: ReplayWindow) -> int | None:
        """Return how much was lost of late; None before enough was due.

        What has not come until ``last_heard``, when the peer was heard on whatever path, is lost.
        """
        newest = self._newest.values()
        overdue = sum(_lost(each, _due(each, last_heard), window) for each in newest)
        # Of two rhythms the quicker tells what is of late.
        width = max((SPAN // interval for _, _, interval in newest), default=0)
        due = min(self._due + overdue, max(ENOUGH, width), MOST)
        if due < ENOUGH:
            return None
        came = (self._came << overdue & ((1 << due) - 1)).bit_count()
        return (due - came) * 1000 // due


def _due(newest: _Newest, until: MonoNs) -> int:
    """Return how many were due; none while the next one would have been out of turn."""
    at, _, interval = newest
    return (until - at + interval // 2) // interval


def _lost(newest: _Newest, due: int, window: ReplayWindow) -> int:
    return 0 if due < 2 else min(due - 1, window.missing_since(newest[1]), MOST)
