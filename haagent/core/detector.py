"""Failure detection of one peer: late, then probes, then evidence, then a verdict.

A peer is late when no heartbeat has come on any path by the time at which one was expected,
and a margin after it.  It is then asked, in five rounds; :meth:`Detector.tick` says when.
Whatever it says itself ends the suspicion.  If its host does not answer either, the host is
dead; if its kernel answers and the agent does not, the agent hangs, and is dead only once it
has been silent for as long as it promised not to be, when its own fence has closed.

What this module does not do: send probes, or know who else could be asked (``inquiry``).

Source: NFD-E (Chen, Toueg and Aguilera 2002), RFC 6298 (round trips), protocol.md 2.2.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from math import isqrt

from haagent.core.identity import GroupId
from haagent.core.settings import Detection, HeartbeatSettings
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds

ROUNDS_PERCENT = (0, 5, 15, 35, 75)
"""When a suspect is asked, in hundredths of the interval since it was found late."""

LEAST_MARGIN = milliseconds(5)
LEAST_RTO = milliseconds(5)
FIRST_RTO = milliseconds(10)

_SAMPLES = 64
_ENOUGH = 8
"""Samples, before which the margin is a guess."""

_SIGMAS = 10
"""At most one heartbeat in a hundred is later than that, however they are distributed."""

Stream = tuple[int, GroupId]
"""Heartbeats about one group on one path: they come in a rhythm of their own."""


class Verdict(Enum):
    """What :meth:`Detector.tick` has found out."""

    ALIVE = auto()
    """Or not yet known."""
    ASK = auto()
    """A round of probes is due."""
    DEAD = auto()


class Arrivals:
    """When the next heartbeat of a stream is expected, and how late it may be."""

    def __init__(self, at: MonoNs, interval: DurationNs) -> None:
        self.interval = interval
        self._base = at
        self._offsets: deque[int] = deque([0], maxlen=_SAMPLES)
        """How far each heartbeat was out of the rhythm that begins at the base."""
        self._number = self._sum = self._squares = 0
        self._mean = 0
        self._margin = interval // 4

    def take_in(self, at: MonoNs) -> bool:
        """Take in a heartbeat; return False instead if it is far out of rhythm."""
        number = (between(self._base, at) + self.interval // 2) // self.interval
        offset = between(self._base, at) - number * self.interval
        if abs(offset - self._mean) > self.interval // 8:
            return False
        if len(self._offsets) == _SAMPLES:
            oldest = self._offsets[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._offsets.append(offset)
        self._sum += offset
        self._squares += offset * offset
        self._number = number
        self._estimate()
        return True

    def late_after(self, at: MonoNs, *, elsewhere: bool = False) -> MonoNs:
        """Return when the first heartbeat that is still to come after ``at`` will be late.

        With ``elsewhere`` one has arrived at ``at``, at another agent and so not in this stream.
        """
        if elsewhere:
            at = later(at, DurationNs(2 * self._margin))
        next_late = self._base + self._mean + (self._number + 1) * self.interval + self._margin
        if next_late <= at:
            next_late += ((at - next_late) // self.interval + 1) * self.interval
        return MonoNs(next_late)

    def _estimate(self) -> None:
        count = len(self._offsets)
        self._mean = self._sum // count
        margin = self.interval // 4
        if count >= _ENOUGH:
            margin = _SIGMAS * isqrt(max(0, self._squares // count - self._mean * self._mean))
        least = max(LEAST_MARGIN, self.interval // 20)
        self._margin = min(max(margin, least), self.interval // 2)


class RoundTrip:
    """How long the way to a peer and back takes (RFC 6298)."""

    def __init__(self) -> None:
        self._smoothed = self._variation = 0

    @property
    def smoothed(self) -> DurationNs | None:
        """How long it takes of late (SRTT); None before the first sample."""
        return DurationNs(self._smoothed) if self._smoothed else None

    def sample(self, measured: DurationNs) -> None:
        """Take in one round trip."""
        if not self._smoothed:
            self._smoothed, self._variation = measured, measured // 2
            return
        self._variation += (abs(self._smoothed - measured) - self._variation) // 4
        self._smoothed += (measured - self._smoothed) // 8

    def timeout(self, interval: DurationNs) -> DurationNs:
        """Return after what time an answer is no longer to be expected (RTO)."""
        if not self._smoothed:
            return FIRST_RTO
        timeout = self._smoothed + 4 * self._variation
        return DurationNs(min(max(timeout, LEAST_RTO), interval // 2))


@dataclass(slots=True)
class Suspicion:
    """A peer is late, and is being asked."""

    since: MonoNs
    due: MonoNs
    """When the next round is."""
    rounds: int = 0
    answers: dict[str, MonoNs] = field(default_factory=dict)
    """How its host has answered in place of the agent, and when first."""
    process_ended: bool = False
    """Whether its kernel says so; it is asked once all the same, because a kernel's word can be
    forged on the link."""


class Detector:
    """See the module docstring."""

    def __init__(self, timing: HeartbeatSettings, at: MonoNs) -> None:
        self._fixed = timing.detection is Detection.FIXED
        self._interval = timing.interval
        self._first_late = timing.late
        self._streams: dict[Stream, Arrivals] = {}
        self._evidence_at = at
        """When it was last known to live: heard of here, or by an agent that told us."""
        self._patience_ends = self._late_at = at
        self._isolated = False
        self.suspicion: Suspicion | None = None
        self.round_trip = RoundTrip()

    def heartbeat(self, stream: Stream, at: MonoNs, interval: DurationNs) -> None:
        """Take in a heartbeat; the next one of the stream is promised within ``interval``."""
        arrivals = self._streams.get(stream)
        if arrivals is not None and arrivals.interval == interval:
            if not arrivals.take_in(at):
                self._streams[stream] = Arrivals(at, interval)
            return
        # On other paths, too, the next one comes in the new rhythm.
        self._streams = {
            key: each
            for key, each in self._streams.items()
            if key[1] != stream[1] or each.interval == interval
        }
        self._streams[stream] = Arrivals(at, interval)

    def forget(self, group: GroupId) -> None:
        """Expect no heartbeat about ``group`` any more."""
        self._streams = {key: each for key, each in self._streams.items() if key[1] != group}

    def lives(self, at: MonoNs, timeout: DurationNs) -> None:
        """Take in that the agent lived at ``at``; it may be silent for ``timeout`` from then."""
        if at < self._evidence_at:
            return
        self._evidence_at = at
        self._patience_ends = later(at, timeout)
        self.suspicion = None
        self._late_at = self._patience_ends if self._fixed else self._late_after(at)

    def relayed(self, now: MonoNs, at: MonoNs, timeout: DurationNs) -> bool:
        """Take in that another agent heard it at ``at``; return whether that makes it punctual."""
        late_at = self._late_after(at, elsewhere=True)
        ended = self.suspicion is not None and self.suspicion.process_ended
        if late_at <= now or ended:
            return False
        self.lives(at, timeout)
        self._late_at = max(late_at, self._late_at)
        return True

    def host_answered(self, at: MonoNs, how: str) -> None:
        """Take in that its host answers, whatever the agent does."""
        if self.suspicion is not None:
            self.suspicion.answers.setdefault(how, at)

    def process_ended(self, now: MonoNs) -> None:
        """Take in that its kernel says that the process is gone."""
        self.suspicion = Suspicion(now, now, process_ended=True)

    def overslept(self, now: MonoNs) -> None:
        """Ask once more before any verdict: answers may have come while we were late."""
        if self.suspicion is not None and self.asked:
            self.suspicion.rounds -= 1
            self.suspicion.due = now

    def tick(self, now: MonoNs, *, isolated: bool) -> Verdict:
        """Return what is known now; ``isolated``: this agent reaches nobody, and accuses nobody."""
        self._isolated = isolated
        if now >= self._patience_ends and not isolated:
            return Verdict.DEAD
        if now < self.deadline():
            return Verdict.ALIVE
        if self.suspicion is None:
            self.suspicion = Suspicion(now, now)
        if self._is_dead(self.suspicion) and not isolated:
            return Verdict.DEAD
        self._schedule(now, self.suspicion)
        return Verdict.ASK

    @property
    def asked(self) -> bool:
        """Whether it has been asked in all rounds, and in vain."""
        return self.suspicion is not None and self.suspicion.rounds == len(ROUNDS_PERCENT)

    def deadline(self) -> MonoNs:
        """Return when :meth:`tick` is due; once the patience is over it is asked on and on."""
        due = self._late_at if self.suspicion is None else self.suspicion.due
        return due if due < self._patience_ends or self._isolated else self._patience_ends

    def _is_dead(self, suspicion: Suspicion) -> bool:
        if suspicion.process_ended:
            return suspicion.rounds > 0
        return self.asked and not suspicion.answers

    def _schedule(self, now: MonoNs, suspicion: Suspicion) -> None:
        if suspicion.process_ended:
            suspicion.rounds += 1
            suspicion.due = later(now, self.round_trip.timeout(self._interval))
            return
        made, rounds = suspicion.rounds, len(ROUNDS_PERCENT)
        suspicion.rounds = min(made + 1, rounds)
        if made + 1 < rounds:
            percent = ROUNDS_PERCENT[made + 1] - ROUNDS_PERCENT[made]
            suspicion.due = later(now, DurationNs(percent * self._interval // 100))
        elif made < rounds and not suspicion.answers:
            suspicion.due = later(now, self.round_trip.timeout(self._interval))
        else:
            # It hangs, or we are cut off: asked on and on, but not so often.
            suspicion.due = later(now, DurationNs(self._interval // 4))

    def _late_after(self, at: MonoNs, *, elsewhere: bool = False) -> MonoNs:
        # A peer that is master of any group speaks often: its quickest rhythm counts.
        if not self._streams:
            return later(at, self._first_late)
        quickest = min(stream.interval for stream in self._streams.values())
        return max(
            stream.late_after(at, elsewhere=elsewhere)
            for stream in self._streams.values()
            if stream.interval == quickest
        )
