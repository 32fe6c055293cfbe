"""When an app node sends, and what: the pure half of ``haagent node``.

Tell a :class:`Sender` what happens, send the heartbeats that its methods return, and call
:meth:`Sender.tick` no later than :meth:`Sender.deadline`.

A heartbeat leaves at each point of a grid, up to half the jitter early or late by chance.  The
grid never drifts, and where it lies within the interval follows from the node's id: a fleet that
starts together does not send together.  Any n intervals therefore take nT plus or minus J, which
is what the timeout (k+1)T + J of an agent counts on (protocol.md 7.1).

What this module does not do: wait, open a socket, or measure (``haagent.node``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from haagent.core.appnode.pace import Pace, Paces
from haagent.core.appnode.settings import NodeSettings
from haagent.core.identity import BootId, NodeId
from haagent.core.messages import Load, NodeAck, NodeHeartbeat, Service
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, MonoNs, later, milliseconds

LOAD_STEP_PERMILLE = 100
"""A load that has moved by this much since it was last told is news."""

BETWEEN_NEWS = milliseconds(100)
"""Whatever happens, news are sent no more often than this."""

GOODBYES = 3

_NO_LOAD = Load(cpu_permille=0, memory_permille=0, queue_percent=0)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an answer came from, and goes."""

    path: int
    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class Say:
    """One heartbeat on one path: to all agents there, or to ``to`` alone."""

    heartbeat: NodeHeartbeat
    to: Endpoint | None = None


class Sender:
    """See the module docstring.  ``now`` is CLOCK_BOOTTIME and never goes back."""

    def __init__(
        self,
        now: MonoNs,
        settings: NodeSettings,
        boot: BootId,
        random: Random,
        *,
        healthy: frozenset[str] = frozenset(),
        sequence: int = 0,
    ) -> None:
        """``healthy``: services that have passed their check already.

        ``sequence``: that of the last datagram of this boot, for one that goes on.
        """
        self._settings = settings
        self._node = settings.node_id
        self._boot = boot
        self.sequence = sequence
        self._address = settings.address
        self._health = {
            service.name: service.check is None or service.name in healthy
            for service in settings.services
        }
        self._load = self._told = _NO_LOAD
        self._nonce = 0
        self._answered: set[tuple[NodeId, int]] = set()
        """What has been proved to whom since the last point of the grid."""
        self._paces = Paces(settings.interval)
        self._grid = _Grid(now, self._node, self._paces.kept, random)
        self._begun = False
        """Whether the first heartbeat was due."""
        self._has_news = False
        self._free_at = now
        """When news may be sent again."""
        self._stepped = False
        """Whether the load was news since the last point of the grid."""

    @property
    def healthy(self) -> frozenset[str]:
        """The services that are well."""
        return frozenset(name for name, well in self._health.items() if well)

    @property
    def answered(self) -> bool:
        """Whether any agent has ever answered."""
        return self._paces.heard

    @property
    def interval(self) -> DurationNs:
        """T as it is kept now."""
        return self._grid.pace.interval

    def deadline(self) -> MonoNs:
        """Return when :meth:`tick` is due."""
        if self._has_news:
            return min(self._grid.due, self._free_at)
        return self._grid.due

    def tick(self, now: MonoNs) -> list[Say]:
        """Return what is due."""
        if now >= self._grid.due:
            self._begun = True
            says = self._to_all(now)
            self._paces.announced()
            self._grid.go_on(now, self._paces.kept)
            self._stepped = False
            self._answered.clear()
            return says
        if self._has_news and now >= self._free_at:
            return self._to_all(now)
        return []

    def reachable(self, now: MonoNs, address: IPAddress | None, *, anew: bool) -> list[Say]:
        """Take in where we listen, unless the file has it, and whether a path opened ``anew``.

        Either is news, but not before our first place in the grid: a fleet starts spread.
        """
        before = self._address
        self._address = self._settings.address or address or before
        self._has_news |= self._begun and (anew or self._address != before)
        return self.tick(now)

    def checked(self, now: MonoNs, service: str, healthy: bool) -> list[Say]:
        """Take in whether ``service`` is well; a change is sent at once."""
        if self._health.get(service) is (not healthy):
            self._health[service] = healthy
            self._has_news |= self._begun
        return self.tick(now)

    def measured(self, now: MonoNs, load: Load) -> list[Say]:
        """Take in the load; a step is sent at once, but only one between two points of the grid.

        More would let a fleet of restless nodes send far more than its interval allows for.
        """
        self._load = load
        if not self._stepped and _is_step(self._told, load):
            self._stepped = True
            self._has_news |= self._begun
        return self.tick(now)

    def acknowledged(self, now: MonoNs, ack: NodeAck, source: Endpoint) -> list[Say]:
        """Take in what an agent dictates, and prove to it at once that this boot lives.

        The proof is for this agent alone, and is given once between two points of the grid: one
        whose wish is overruled by another's asks again and again, and makes no storm.
        """
        if ack.boot != self._boot or not self._paces.dictated(now, ack):
            return []
        self._grid.change(now, self._paces.kept)
        self._nonce = ack.nonce
        if (ack.agent, ack.nonce) in self._answered:
            return []
        self._answered.add((ack.agent, ack.nonce))
        return self._say([(source.path, source)])

    def leave(self) -> list[Say]:
        """Return a goodbye; it is said :data:`GOODBYES` times, for it may be lost."""
        return self._say(self._everywhere(), leaving=True)

    def _to_all(self, now: MonoNs) -> list[Say]:
        self._told = self._load
        self._has_news = False
        self._free_at = later(now, BETWEEN_NEWS)
        return self._say(self._everywhere())

    def _everywhere(self) -> list[tuple[int, Endpoint | None]]:
        return [(path, None) for path in range(len(self._settings.paths))]

    def _say(
        self, targets: Sequence[tuple[int, Endpoint | None]], *, leaving: bool = False
    ) -> list[Say]:
        """Return one datagram for each path; none while it is not known where we listen."""
        address = self._address
        if address is None:
            return []
        return [Say(self._heartbeat(path, address, leaving), to) for path, to in targets]

    def _heartbeat(self, path: int, address: IPAddress, leaving: bool) -> NodeHeartbeat:
        self.sequence += 1
        return NodeHeartbeat(
            sender=self._node,
            boot=self._boot,
            sequence=self.sequence,
            path=path,
            interval_ms=self._paces.promise // 1_000_000,
            nonce=self._nonce,
            leaving=leaving,
            load=self._load,
            name=self._settings.node,
            node_class=self._settings.node_class,
            address=address,
            services=tuple(
                Service(
                    name=service.name,
                    port=service.port,
                    weight=service.weight,
                    healthy=self._health[service.name],
                )
                for service in self._settings.services
            ),
        )


class _Grid:
    """The points in time around which heartbeats leave."""

    def __init__(self, now: MonoNs, node: NodeId, pace: Pace, random: Random) -> None:
        self._origin = now
        self._node = node
        self._random = random
        self.pace = pace
        self._point = self._after(MonoNs(now - 1))
        self.due = self._near_the_point()

    def go_on(self, now: MonoNs, pace: Pace) -> None:
        """Aim at the next point; those that were missed are left out."""
        if pace != self.pace:
            self.pace = pace
            self._point = self._after(max(now, self._point))
        else:
            self._point = later(self._point, pace.interval)
            if self._point <= now:
                self._point = self._after(now)
        self.due = self._near_the_point()
        if self.due <= now:
            # What was due before a change of pace has just gone out in its place.
            self._point = later(self._point, pace.interval)
            self.due = self._near_the_point()

    def change(self, now: MonoNs, pace: Pace) -> None:
        """Keep ``pace`` from now on; what was due before its first point still is."""
        if pace == self.pace:
            return
        self.pace = pace
        self._point = self._after(now)
        due = self._near_the_point()
        if self.due < due:
            self._point = MonoNs(self._point - pace.interval)
        else:
            self.due = due

    def _after(self, now: MonoNs) -> MonoNs:
        """Return the first point after ``now``."""
        interval = self.pace.interval
        first = self._origin + self._node % interval
        return MonoNs(first + max(0, (now - first) // interval + 1) * interval)

    def _near_the_point(self) -> MonoNs:
        reach = self.pace.jitter // 2
        return MonoNs(max(self._origin, self._point + self._random.randint(-reach, reach)))


def _is_step(told: Load, load: Load) -> bool:
    moved = (told.cpu_permille - load.cpu_permille, told.memory_permille - load.memory_permille)
    return max(map(abs, moved)) >= LOAD_STEP_PERMILLE
