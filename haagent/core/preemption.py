"""When a better agent asks a lesser master for a planned handover, and flap damping.

An agent that loses its mastership by a fault of its own again and again waits ever longer
before it asks for it back: with each such loss but the first the delay doubles, and it
halves with each half hour without one.

What this module does not do: hand over (``election``).
"""

from haagent.core.messages import RoleReason
from haagent.core.settings import GroupSettings, Preempt
from haagent.core.units import DurationNs, MonoNs, between, later, seconds

ASK_INTERVAL = seconds(1)
"""How often the request is repeated."""

LEAST_DAMPED = seconds(5)
"""The delay that is doubled first, also where none is configured."""

LONGEST = seconds(600)
QUIET = seconds(1800)
"""The time without a loss that halves the delay."""

FAULTS = frozenset(
    {
        RoleReason.LINK_DOWN,
        RoleReason.STALLED,
        RoleReason.CLAIM_FAILED,
        RoleReason.NO_PATH,
        RoleReason.UNHEARD,
        RoleReason.CHECK_FAILED,
    }
)
"""Why an agent stops being master by a fault of its own."""


class Preemption:
    """See the module docstring."""

    def __init__(self) -> None:
        self.due: MonoNs | None = None
        """When to ask."""
        self._losses = 0
        self._lost_at = MonoNs(0)

    def lost(self, now: MonoNs, reason: RoleReason) -> None:
        """Take in that this agent is no longer master, and why."""
        if reason in FAULTS:
            self._losses = self._count(now) + 1
            self._lost_at = now

    def plan(self, now: MonoNs, group: GroupSettings) -> None:
        """Ask when the delay is over, unless that is planned already."""
        if self.due is None:
            self.due = later(now, self.delay(now, group))

    def ask_again(self, now: MonoNs) -> None:
        """Plan the next request."""
        self.due = later(now, ASK_INTERVAL)

    def cancel(self) -> None:
        """Do not ask."""
        self.due = None

    def delay(self, now: MonoNs, group: GroupSettings) -> DurationNs:
        """Return how long a better agent waits at ``now``."""
        configured = group.preempt_after if group.preempt is Preempt.AFTER else DurationNs(0)
        doublings = self._count(now) - 1
        if doublings < 1:
            return configured
        damped = max(configured, LEAST_DAMPED) << min(doublings, 16)
        return DurationNs(max(configured, min(damped, LONGEST)))

    def _count(self, now: MonoNs) -> int:
        return max(0, self._losses - between(self._lost_at, now) // QUIET)
