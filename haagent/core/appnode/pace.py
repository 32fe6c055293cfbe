"""How fast an app node sends: its own pace until agents dictate one.

Of all agents' newest words the longest counts.  A shorter interval is kept at once; a longer one
only when three heartbeats have announced it, so that no agent, whatever it has missed, waits for
less than the node keeps.

What this module does not do: say when the next heartbeat is due (``haagent.core.appnode.sender``).
"""

from dataclasses import dataclass

from haagent.core.identity import NodeId
from haagent.core.messages import NodeAck
from haagent.core.units import DurationNs, MonoNs, between, milliseconds, seconds

ANNOUNCEMENTS = 3
"""Heartbeats that say a longer interval before it is kept."""

LEAST = milliseconds(50)
"""No agent can have a node send more often than this."""

FORGOTTEN_AFTER = seconds(60)
"""An agent whose word another contradicts says it again within an interval, so one that has been
silent for so long while others spoke is gone."""

_OWN_JITTER = 10
"""The part of the interval that J is before an agent says anything."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A heartbeat each ``interval``, give or take ``jitter``."""

    interval: DurationNs
    jitter: DurationNs


@dataclass(frozen=True, slots=True)
class _Word:
    """What an agent said last."""

    at: MonoNs
    sequence: int
    pace: Pace


class Paces:
    """See the module docstring."""

    def __init__(self, own: DurationNs) -> None:
        """``own`` is the interval of the node's file."""
        self.kept = Pace(own, DurationNs(own // _OWN_JITTER))
        self._wanted = self.kept
        self._announced = 0
        self._words: dict[NodeId, _Word] = {}

    @property
    def heard(self) -> bool:
        """Whether any agent has ever answered."""
        return bool(self._words)

    @property
    def promise(self) -> DurationNs:
        """The interval that heartbeats announce."""
        return max(self.kept, self._wanted, key=lambda pace: pace.interval).interval

    def dictated(self, now: MonoNs, ack: NodeAck) -> bool:
        """Take in an agent's word; return False when it is an old one, sent again by whomever."""
        known = self._words.get(ack.agent)
        if known is not None and ack.sequence <= known.sequence:
            return False
        pace = Pace(max(LEAST, milliseconds(ack.interval_ms)), milliseconds(ack.jitter_ms))
        self._words[ack.agent] = _Word(now, ack.sequence, pace)
        self._want(self._longest(now))
        return True

    def announced(self) -> None:
        """One more regular heartbeat has gone out with :attr:`promise`."""
        if self._wanted.interval > self.kept.interval:
            self._announced += 1
            if self._announced >= ANNOUNCEMENTS:
                self.kept = self._wanted

    def _longest(self, now: MonoNs) -> Pace:
        fresh = [
            word.pace for word in self._words.values() if between(word.at, now) < FORGOTTEN_AFTER
        ]
        return max(fresh, key=lambda pace: (pace.interval, pace.jitter))

    def _want(self, pace: Pace) -> None:
        if pace.interval != self._wanted.interval:
            self._announced = 0
        self._wanted = pace
        if pace.interval <= self.kept.interval:
            self.kept = pace
