"""Logical clocks: Lamport's counter and the hybrid logical clock, side by side.

Every datagram and every record carries both.  Neither ever drives a timer.  Of each other agent
the greatest counter that was heard is kept as well, for records alone: a vector clock, from
which it can be told later of what an agent knew nothing when it recorded something.

Source: Lamport 1978; Kulkarni et al. 2014 (HLC); Mattern 1988 (vector clocks).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from haagent.core.units import WallNs, seconds

MAX_SKEW = seconds(10)
"""A remote clock further ahead is not merged: one wrong RTC must not drag the cluster."""


GREATEST_LAMPORT = (1 << 63) - 1
"""Half of the range on the wire, above which it is refused: the counter stays here, so that
a peer that says nonsense can stop the counting but can neither silence us nor end us."""


class Hlc(NamedTuple):
    """A hybrid logical timestamp: 48 bits of milliseconds since the epoch, a 16-bit counter."""

    ms: int
    counter: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a datagram or a record carries."""

    hlc: Hlc
    lamport: int


class Clocks:
    """The clocks of one agent."""

    def __init__(self, lamport: int = 0, heard: Mapping[str, int] | None = None) -> None:
        """Count on from ``lamport``; ``heard`` is what earlier boots had heard of."""
        self._hlc = Hlc(0, 0)
        self._lamport = lamport
        self._heard = dict(heard or {})

    def tick(self, wall: WallNs) -> Stamp:
        """Return the stamp of a local event or a send."""
        self._count_from(self._lamport)
        self._advance(wall, Hlc(0, 0))
        return Stamp(self._hlc, self._lamport)

    def merge(self, wall: WallNs, remote: Stamp) -> bool:
        """Take in the stamp of a received datagram.

        Returns False, and keeps the hybrid clock where it was, when the remote clock is
        more than :data:`MAX_SKEW` ahead of ``wall``.
        """
        self._count_from(max(self._lamport, remote.lamport))
        plausible = remote.hlc.ms * 1_000_000 <= wall + MAX_SKEW
        self._advance(wall, remote.hlc if plausible else Hlc(0, 0))
        return plausible

    def hear(self, name: str, lamport: int) -> None:
        """Take in that a datagram of the agent ``name`` had this counter."""
        if lamport > self._heard.get(name, -1):
            self._heard[name] = lamport

    @property
    def heard(self) -> tuple[tuple[str, int], ...]:
        """The greatest counter heard of each other agent, by name."""
        return tuple(sorted(self._heard.items()))

    def _count_from(self, newest: int) -> None:
        self._lamport = min(newest + 1, GREATEST_LAMPORT)

    def _advance(self, wall: WallNs, remote: Hlc) -> None:
        ms, newest = wall // 1_000_000, max(self._hlc, remote)
        if ms > newest.ms:
            self._hlc = Hlc(ms, 0)
        elif newest.counter < 0xFFFF:
            self._hlc = Hlc(newest.ms, newest.counter + 1)
        else:
            self._hlc = Hlc(newest.ms + 1, 0)
