"""The wires: switched segments with delay, loss, duplication, reordering and cuts.

Each ordered pair of hosts, or of a host and a router, has a :class:`Wire` of its own, so one
direction can fail alone.  A wire keeps its datagrams in order unless it is told to let them
overtake each other.

What this module does not do: read what it carries, or know who is alive; a host whose
process is dead still has a kernel that receives.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import permutations, product
from random import Random

from haagent.core.messages import Datagram
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, MonoNs
from haagent.sim.schedule import Schedule

DELAY = DurationNs(200_000)
"""One way through a switch: 0.2 ms, as between two virtual machines on one host."""

REFUSAL = DurationNs(1_500_000)
"""From the end of a process until another one knows: 1.5 ms."""

JITTER = DurationNs(50_000)

START = MonoNs(0)

BURSTS_SHARE = 0.1
"""Share of the time in which a wire with bursts of loss loses everything."""

CAPTURED = 4000
"""How many datagrams an attacker keeps: some minutes of two agents, of several boots."""


class Delays(Enum):
    """How the delay on top of :data:`DELAY` is distributed, its mean being the same."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    LOGNORMAL = "lognormal"
    """With a long tail: one in a thousand takes fifty times the median."""


_DRAW: dict[Delays, Callable[[Random], float]] = {
    Delays.CONSTANT: lambda _: 1.0,
    Delays.EXPONENTIAL: lambda random: random.expovariate(1.0),
    # exp(mu + sigma^2 / 2) = 1 with sigma 1.25.
    Delays.LOGNORMAL: lambda random: random.lognormvariate(-0.78125, 1.25),
}


@dataclass(frozen=True, slots=True)
class Claimed:
    """What an ARP or neighbour message shows: ``mac`` uses ``address``, or nobody, as yet."""

    address: IPAddress
    mac: str | None
    question: bool
    """Whether other users of the address are asked to speak up (RFC 5227 2.1.1)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The kernel that has ``address`` is asked whether it is there: ARP request and ICMP echo."""

    address: IPAddress


class Answered:
    """A kernel's answer to :class:`Asked`."""


class Refusal:
    """A connection ends because the process behind it has, and another one is refused."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """A datagram with one bit turned over on the way."""

    payload: bytes


Payload = Datagram | bytes | Corrupted | Claimed | Asked | Answered | Refusal

_WORDS = (Datagram, bytes)
"""What agents say to each other."""


class Wire:
    """What happens to datagrams from one host to another; fresh or healed, it is a good one."""

    def __init__(self, delays: Delays, *, reorders: bool) -> None:
        self._draw = _DRAW[delays]
        self._ordinary = reorders
        self._latest = START
        self.heal()

    def heal(self) -> None:
        """End all that is wrong."""
        self.jitter = JITTER
        """Mean of the delay on top of :data:`DELAY`."""
        self.loss = self.duplication = self.corruption = 0.0
        """Share of the datagrams, each by itself."""
        self.bursts: DurationNs | None = None
        """Mean length of outages, in :data:`BURSTS_SHARE` of the time (Gilbert 1960)."""
        self.cut = self.cut_to_all = False
        """Whether nothing passes; whether no datagram passes that is sent to all."""
        self.reorders = self._ordinary
        self._bad = True
        self._turns_at = START

    def arrivals(self, now: MonoNs, random: Random) -> Sequence[MonoNs]:
        """Return when each copy of a datagram arrives that is sent ``now``."""
        if self.cut or (self.loss and random.random() < self.loss):
            return ()
        if self.bursts is not None and self._is_out(now, self.bursts, random):
            return ()
        first = self._arrival(now, random)
        if self.duplication and random.random() < self.duplication:
            return first, self._arrival(now, random)
        return (first,)

    def _arrival(self, now: MonoNs, random: Random) -> MonoNs:
        arrival = MonoNs(now + DELAY + int(self._draw(random) * self.jitter))
        if not self.reorders:
            self._latest = arrival = max(self._latest, arrival)
        return arrival

    def _is_out(self, now: MonoNs, length: DurationNs, random: Random) -> bool:
        # Outages are of time, not of datagrams: who speaks seldom must not have longer ones.
        if self._turns_at == START:
            self._turns_at = now
        while self._turns_at <= now:
            self._bad = not self._bad
            mean = length if self._bad else length * (1 / BURSTS_SHARE - 1)
            self._turns_at = MonoNs(self._turns_at + 1 + int(random.expovariate(1.0) * mean))
        return self._bad


@dataclass(slots=True, eq=False)
class Port:
    """One interface of one host on the segment of that interface's name."""

    host: int
    interface: str
    address: IPAddress
    receive: Callable[["Port", "Port", Payload], None]
    """Called with this port, the port that sent, and what it sent."""
    up: bool = True


class Network:
    """All segments; interfaces of the same name are on the same one."""

    def __init__(
        self, schedule: Schedule, random: Random, hosts: int, *, delays: Delays, reorders: bool
    ) -> None:
        self._schedule = schedule
        self._random = random
        self._hosts = range(hosts)
        self._make_wire = partial(Wire, delays, reorders=reorders)
        self._ports: list[Port] = []
        self._routers: list[Port] = []
        self._wires = {pair: self._make_wire() for pair in permutations(self._hosts, 2)}
        self._links: dict[Port, list[tuple[Port, Wire]]] = {}
        """Every other port on the segment of each, as far as already asked for."""
        self.neighbours: dict[IPAddress, int] = {}
        """Which host each address was last announced from: what a client's ARP cache says."""
        self._captured: deque[tuple[Port, Port, Payload]] = deque(maxlen=CAPTURED)

    def attach(self, port: Port) -> None:
        """Plug ``port`` in."""
        self._ports.append(port)
        self._links.clear()

    def route(self, interface: str, address: IPAddress) -> None:
        """Have a router answer at ``address`` on that segment.

        Routers count from -1 downwards.  Nothing ever happens to them but to their wires.
        """
        if any((r.interface, r.address) == (interface, address) for r in self._routers):
            return
        index = -1 - len(self._routers)
        self._routers.append(Port(index, interface, address, self._answer))
        for pair in (*product(self._hosts, [index]), *product([index], self._hosts)):
            self._wires[pair] = self._make_wire()
        self._links.clear()

    def wire(self, source: int, target: int) -> Wire:
        """Return the direction from host ``source`` to host ``target``, to be made worse."""
        return self._wires[source, target]

    def wires(self) -> Iterable[Wire]:
        """Return every direction of every pair, routers included."""
        return self._wires.values()

    def routes(self, host: int) -> list[Wire]:
        """Return the wires between that host and the routers, both directions."""
        return [wire for pair, wire in self._wires.items() if host in pair and min(pair) < 0]

    def heal(self) -> None:
        """Make every wire a good one again."""
        for wire in self._wires.values():
            wire.heal()

    def split(self, side: Collection[int]) -> None:
        """Cut all wires between those in ``side``, hosts and routers, and the others, both ways."""
        for (source, target), wire in self._wires.items():
            wire.cut = wire.cut or (source in side) is not (target in side)

    def send(self, sender: Port, payload: Payload, destination: IPAddress | None) -> None:
        """Carry ``payload`` to the port with ``destination``, or to all when that is None."""
        if not sender.up:
            return
        words = isinstance(payload, _WORDS)
        for port, wire in self._links.get(sender) or self._link(sender):
            if destination is None:
                # Switches that forget who listens go on flooding broadcasts, such as ARP.
                reached = port.host >= 0 and not (words and wire.cut_to_all)
            else:
                reached = port.address == destination
            if reached:
                self._carry(sender, port, wire, payload)

    def announce(self, sender: Port, claimed: Claimed) -> None:
        """Carry a gratuitous ARP to everybody on the segment, clients included."""
        if sender.up:
            self.neighbours[claimed.address] = sender.host
        self.send(sender, claimed, None)

    def refuse(self, sender: Port) -> None:
        """End all connections to the process behind ``sender``; reconnecting takes a round trip.

        What is lost on the way comes again, so that only a wire that is cut keeps it back.
        """
        for port in self._ports:
            both = {(sender.host, port.host), (port.host, sender.host)} & self._wires.keys()
            if sender.up and both and not any(self._wires[pair].cut for pair in both):
                self._schedule.after(REFUSAL, self._arrive, sender, port, Refusal())

    def replay(self, count: int) -> None:
        """Bring ``count`` earlier datagrams once more, from forged sources."""
        for sender, port, payload in self._random.choices(self._captured, k=count):
            self._arrive(sender, port, payload)

    def _link(self, sender: Port) -> list[tuple[Port, Wire]]:
        self._links[sender] = [
            (port, self._wires[sender.host, port.host])
            for port in (*self._ports, *self._routers)
            if port.interface == sender.interface and (sender.host, port.host) in self._wires
        ]
        return self._links[sender]

    def _carry(self, sender: Port, port: Port, wire: Wire, payload: Payload) -> None:
        if isinstance(payload, _WORDS):
            self._captured.append((sender, port, payload))
            if wire.corruption and self._random.random() < wire.corruption:
                self._corrupt(sender, port, wire, payload)
                return
        for arrival in wire.arrivals(self._schedule.now, self._random):
            self._schedule.at(arrival, self._arrive, sender, port, payload)

    def _corrupt(self, sender: Port, port: Port, wire: Wire, payload: Datagram | bytes) -> None:
        if isinstance(payload, Datagram):
            return  # It would not be genuine; that is as good as lost.
        bit = self._random.randrange(8 * len(payload))
        corrupted = bytearray(payload)
        corrupted[bit // 8] ^= 1 << bit % 8
        for arrival in wire.arrivals(self._schedule.now, self._random):
            self._schedule.at(arrival, self._arrive, sender, port, Corrupted(bytes(corrupted)))

    def _arrive(self, sender: Port, port: Port, payload: Payload) -> None:
        if port.up:
            port.receive(port, sender, payload)

    def _answer(self, port: Port, sender: Port, payload: Payload) -> None:
        if isinstance(payload, Asked):
            self.send(port, Answered(), sender.address)
