"""Which app nodes have been silent for too long, and which of these are believed to be dead.

Silence is found by a timing wheel, as of the newest heartbeat that was read: whoever is late
itself must not take others for dead.  What vanishes in crowds is held (``vanishing``).

What this module does not do: change how a node stands; :class:`Found` says how it is to be.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from haagent.core.actions import AskHost
from haagent.core.fleet.node import Node, Standing
from haagent.core.fleet.vanishing import Vanishing, Verdict
from haagent.core.fleet.wheel import Wheel
from haagent.core.identity import NodeId
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, MonoNs, earliest, later, milliseconds, seconds

STALL = milliseconds(50)
"""Of our own, after which nobody is judged until what waited meanwhile is read."""

LONGEST_LAG = seconds(1)
"""How far behind the sockets we may be and still take note of it."""

AT_A_TIME = 200
"""Deaths of those that were held, in one step: more would hold up the heartbeats to the peers."""

BREATH = milliseconds(1)
"""Between two such steps, in which whatever else has come is done."""


@dataclass(slots=True)
class Found:
    """What has become of nodes that were silent."""

    dead: list[Node] = field(default_factory=list)
    held: list[Node] = field(default_factory=list)
    """These may be dead, or it is our own fault."""


class Silences:
    """See the module docstring."""

    def __init__(self, references: Collection[tuple[int, IPAddress]]) -> None:
        """``references``: index of the path, and address, of each third party."""
        self._wheel: Wheel[Node] = Wheel()
        self._vanishing = Vanishing(references)
        self._held: dict[NodeId, Node] = {}
        self._doomed: deque[Node] = deque()
        """Of those that were held: who is dead after all, and not told of yet."""
        self._doomed_due: MonoNs | None = None
        self._lag = DurationNs(0)
        """How old the newest heartbeat was when it was last taken in."""
        self._forgiven_until = MonoNs(0)

    @property
    def any_held(self) -> bool:
        return bool(self._held or self._doomed)

    @property
    def can_ask(self) -> bool:
        """Whether there is somebody who can tell whether we are cut off."""
        return self._vanishing.can_ask

    def expect(self, node: Node) -> None:
        """Look at ``node`` at its deadline; or later once, if that has come nearer."""
        if not node.filed:
            node.filed = True
            self._wheel.file(node.deadline, node)

    def read_until(self, now: MonoNs, newest: MonoNs) -> None:
        """Take in when the newest heartbeat came that has been read."""
        self._lag = max(DurationNs(0), min(DurationNs(now - newest), LONGEST_LAG))

    def overslept(self, now: MonoNs, lateness: DurationNs, longest_pause: DurationNs) -> None:
        """Take in that this agent was late itself: nobody is dead for what we have not read.

        ``longest_pause``: after it everybody who lives has been heard again.
        """
        self._lag = max(self._lag, min(lateness, LONGEST_LAG))
        if lateness >= STALL:
            self._forgive(later(now, min(lateness, longest_pause)))

    def missed(self, now: MonoNs, longest_timeout: DurationNs) -> None:
        """Take in that heartbeats were lost here: nobody is dead until all could be heard again."""
        self._forgive(later(now, longest_timeout))

    def ended(self, node: Node) -> None:
        """Take in that ``node`` is heard after all, or has left."""
        self._held.pop(node.id, None)
        self._vanishing.forget(node)
        if not self.any_held:
            self._vanishing.calm()

    def host_answered(self, now: MonoNs, path: int, source: IPAddress) -> None:
        """Take in that a kernel has answered, be it one that we have asked about ourselves."""
        match self._vanishing.answered(now, path, source):
            case Verdict.DEAD:
                self._doomed.extend(self._held.values())
                self._held.clear()
                self._doomed_due = now
            case Verdict.WAIT:
                for node in self._held.values():
                    node.deadline = later(now, node.timeout)
                    self.expect(node)
            case None:
                pass

    def judge(self, now: MonoNs, living: int) -> Found:
        """Find whose silence is over by now, of so many ``living``."""
        found = Found()
        if self._doomed_due is not None:
            self._bury(now, found)
        if now < self._forgiven_until:
            return found
        horizon = MonoNs(now - self._lag)
        for node in self._wheel.take(horizon):
            node.filed = False
            if not node.present:
                continue
            if node.deadline > horizon:
                self.expect(node)
                continue
            held = self._vanishing.add(now, node, living - len(found.dead))
            found.held += held
            self._held |= {each.id: each for each in held}
            if not held:
                self._held.pop(node.id, None)
                found.dead.append(node)
        # Some may be held for those that vanished after them.
        found.dead = [node for node in found.dead if node.id not in self._held]
        return found

    def questions(self, now: MonoNs) -> list[AskHost]:
        """Return what is to be asked of others about ourselves."""
        return self._vanishing.tick(now)

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`judge` or :meth:`questions` is due."""
        silence = self._wheel.deadline()
        if silence is not None:
            silence = max(later(silence, self._lag), self._forgiven_until)
        return earliest(silence, self._doomed_due, self._vanishing.deadline())

    def _forgive(self, until: MonoNs) -> None:
        self._forgiven_until = max(self._forgiven_until, until)

    def _bury(self, now: MonoNs, found: Found) -> None:
        for _ in range(min(AT_A_TIME, len(self._doomed))):
            node = self._doomed.popleft()
            if node.standing is Standing.HELD:
                found.dead.append(node)
        self._doomed_due = later(now, BREATH) if self._doomed else None
