"""One app node as the registry knows it, and the pace of its class.

What this module does not do: judge whether it lives (``registry``), or what share of the traffic
it gets (``policy``).
"""

from enum import Enum

from haagent.core.events import NodeHeard
from haagent.core.fleet.policy import business
from haagent.core.messages import Load, NodeHeartbeat, Service
from haagent.core.settings import NodeClassSettings
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds

R_MAX_PER_S = 10_000
"""Heartbeats that one agent is to take; a greater fleet is slowed down (protocol.md 7.5)."""

PACE_STEP_MS = 100
"""Steps of the pace of such a fleet, so that nodes are not told anew at each one that comes."""

LONGEST_PACE_MS = 60_000
"""What an answer can dictate, with room for the jitter in 16 bits of milliseconds."""

STEP = 100
"""Ten points of load: the node says it at once, and it is believed by half at once."""

REAL_CHANGE = 50
"""Five points, which a damped load must have moved before a weight does."""

REWEIGH_PAUSE = seconds(1)


class Standing(Enum):
    """Where a node stands with this agent."""

    ALIVE = "alive"
    HELD = "held"
    """Vanished with so many others that the fault may be ours: it counts as before."""
    DEAD = "dead"
    LEFT = "left"
    """It has said goodbye."""


class Pace:
    """What the nodes of one class are told, and how long each may be silent."""

    def __init__(self, settings: NodeClassSettings) -> None:
        self.settings = settings
        self.least_ms = settings.interval // 1_000_000
        self.interval_ms = self.least_ms
        """T, as it is dictated now."""
        self.jitter_ms = settings.jitter // 1_000_000

    def slow_down(self, fleet_ms: int) -> None:
        """Dictate no shorter interval than the whole fleet can keep."""
        self.interval_ms = max(self.least_ms, fleet_ms)

    def timeout(self, promised_ms: int) -> DurationNs:
        """Return the silence that makes a node dead which has promised to speak so often.

        A longer promise stretches it; a shorter one does not tighten what the operator wants.

        Source: protocol.md 7.1, (k+1) T + J.
        """
        stretched = self.settings.timeout * promised_ms // self.least_ms
        return max(self.settings.timeout, DurationNs(stretched))

    @property
    def longest_pause(self) -> DurationNs:
        """How far apart two heartbeats are at the most, when none is lost."""
        return milliseconds(self.interval_ms + self.jitter_ms)


def fleet_pace_ms(living: int, now_ms: int) -> int:
    """Return the interval that so many nodes can keep: T = N / R_max, in steps.

    ``now_ms`` is the one in force: it is left downwards only with a tenth to spare, so that a
    node which comes and goes does not change the pace of all.

    Source: protocol.md 7.5.
    """
    wanted = _steps(living * 1000)
    if wanted < now_ms:
        wanted = min(now_ms, _steps(living * 1100))
    return min(LONGEST_PACE_MS, wanted)


def _steps(per_agent: int) -> int:
    return -(-per_agent // (R_MAX_PER_S * PACE_STEP_MS)) * PACE_STEP_MS


class Node:
    """See the module docstring."""

    __slots__ = (
        "acked_at", "address", "again", "boot", "busy", "class_name", "deadline", "filed", "id",
        "joined_at", "last_heard", "mourned", "name", "nonce", "pace", "present", "promised_ms",
        "proven", "sequence", "services", "since", "standing", "timeout", "weighed", "weighed_at",
    )  # fmt: skip

    def __init__(self, heard: NodeHeard, pace: Pace) -> None:
        heartbeat = heard.heartbeat
        self.id = heartbeat.sender
        self.name = heartbeat.name
        self.pace = pace
        self.standing = Standing.LEFT
        self.present = False
        """Whether it counts as living: ALIVE or HELD.  Of the rest the first word is proof."""
        self.since = self.joined_at = heard.received_at
        """Since when it stands so; and since when it serves, but for a pause that was held."""
        self.mourned = False
        """Whether its death was told to the operator's hook."""
        self.filed = False
        """Whether it is in the wheel, where it is once at most."""
        self.again = 0
        """How often it has been heard since its death."""
        self.weighed_at = MonoNs(0)
        self.begin(heard, 0)

    def begin(self, heard: NodeHeard, nonce: int) -> None:
        """Go by a boot that has just proved itself by ``nonce``."""
        heartbeat = heard.heartbeat
        self.boot = heartbeat.boot
        self.class_name = heartbeat.node_class
        """As it says; the file may not have it."""
        self.nonce = nonce
        self.acked_at = heard.received_at
        self.proven = True
        self.sequence = -1
        self.last_heard = heard.received_at
        self.promised_ms = 0
        self.timeout = DurationNs(0)
        self.address = heartbeat.address
        self.services: tuple[Service, ...] = heartbeat.services
        self.busy = self.weighed = business(heartbeat.load)
        """Damped load, per mille; and what it was when weights were last made of it."""
        self.take(heard)

    def take(self, heard: NodeHeard) -> None:
        """Take in when a new heartbeat of a proven boot came, and what it promises."""
        heartbeat = heard.heartbeat
        self.sequence = heartbeat.sequence
        self.last_heard = heard.received_at
        if heartbeat.interval_ms != self.promised_ms:
            self.promised_ms = heartbeat.interval_ms
            self.timeout = self.pace.timeout(heartbeat.interval_ms)
        self.deadline = MonoNs(heard.received_at + self.timeout)

    def serves_otherwise(self, heartbeat: NodeHeartbeat) -> bool:
        """Take in what it serves, and where; return whether that has changed."""
        # The codec returns the same object for the same bytes.
        if heartbeat.services is self.services and heartbeat.address is self.address:
            return False
        changed = (heartbeat.services, heartbeat.address) != (self.services, self.address)
        self.services, self.address = heartbeat.services, heartbeat.address
        return changed

    def works_otherwise(self, now: MonoNs, load: Load) -> bool:
        """Take in how busy it is; return whether that is reason for another weight."""
        busy = business(load)
        step = busy - self.busy
        # By half when it jumps, by a quarter else: what flickers moves no traffic to and fro.
        self.busy += step // 2 if step >= STEP or step <= -STEP else step // 4
        moved = self.busy - self.weighed
        if -REAL_CHANGE < moved < REAL_CHANGE or now - self.weighed_at < REWEIGH_PAUSE:
            return False
        self.weighed, self.weighed_at = self.busy, now
        return True

    def expect(self, pace: Pace) -> None:
        """Go by another pace, which its next heartbeat is answered with."""
        self.pace = pace
        self.promised_ms = 0

    def stand(self, now: MonoNs, standing: Standing) -> None:
        """Change where it stands."""
        self.standing = standing
        self.present = standing is Standing.ALIVE or standing is Standing.HELD
        self.since = now
