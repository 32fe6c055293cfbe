"""Failure detection of one peer: evidence in, verdict out.

The only detector so far is the fixed timeout, as VRRP has it.  The position of a backup
in the order of ranks (the stagger) is added by the election, not here.
"""

from enum import Enum

from haagent.core.units import DurationNs, MonoNs, later


class Verdict(Enum):
    """What is believed of a peer."""

    ALIVE = "alive"
    DEAD = "dead"


class FixedTimeout:
    """A peer is dead once it has been silent for the time that it promised not to be."""

    def __init__(self, at: MonoNs, timeout: DurationNs) -> None:
        self._deadline = later(at, timeout)

    def heard(self, at: MonoNs, timeout: DurationNs) -> None:
        """Count any authenticated datagram of the peer, received at ``at``."""
        self._deadline = later(at, timeout)

    def verdict(self, now: MonoNs) -> Verdict:
        """Return the verdict at ``now``."""
        return Verdict.DEAD if now >= self._deadline else Verdict.ALIVE

    def deadline(self) -> MonoNs:
        """Return when the verdict becomes DEAD unless something is heard before."""
        return self._deadline
