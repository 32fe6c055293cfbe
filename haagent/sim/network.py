"""The wires: switched segments with delay, loss, duplication, reordering and cuts.

Each ordered pair of hosts, or of a host and a router, has a :class:`Wire` of its own, so one
direction can fail alone.
A wire keeps its datagrams in order unless it is told to let them overtake each other.

What this module does not do: read what it carries, or know who is alive; a host whose
process is dead still has a kernel that receives.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

CAPTURED = 4000
"""How many datagrams an attacker keeps: some minutes of two agents, of several boots."""


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


Payload = Datagram | bytes | Claimed | Asked | Answered | Refusal


@dataclass(slots=True)
class Wire:
    """What happens to datagrams from one host to another; fresh, it is a good one."""

    jitter: DurationNs = JITTER
    """Mean of the exponential delay on top of :data:`DELAY`."""
    loss: float = 0.0
    duplication: float = 0.0
    cut: bool = False
    reorders: bool = False
    _latest: MonoNs = START

    def arrivals(self, now: MonoNs, random: Random) -> Iterator[MonoNs]:
        """Yield when each copy of a datagram arrives that is sent ``now``."""
        if self.cut or (self.loss and random.random() < self.loss):
            return
        copies = 2 if self.duplication and random.random() < self.duplication else 1
        for _ in range(copies):
            arrival = MonoNs(now + DELAY + int(random.expovariate(1.0) * self.jitter))
            self._latest = max(self._latest, arrival)
            yield arrival if self.reorders else self._latest


@dataclass(slots=True)
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

    def __init__(self, schedule: Schedule, random: Random, hosts: int, *, reorders: bool) -> None:
        self._schedule = schedule
        self._random = random
        self._hosts = range(hosts)
        self._reorders = reorders
        self._ports: list[Port] = []
        self._routers: list[Port] = []
        self._wires: dict[tuple[int, int], Wire] = {}
        self.neighbours: dict[IPAddress, int] = {}
        """Which host each address was last announced from: what a client's ARP cache says."""
        self._captured: deque[tuple[Port, Port, Payload]] = deque(maxlen=CAPTURED)
        self.heal()

    def attach(self, port: Port) -> None:
        """Plug ``port`` in."""
        self._ports.append(port)

    def route(self, interface: str, address: IPAddress) -> int:
        """Have a router answer at ``address`` on that segment; return its index for its wires.

        Routers count from -1 downwards.  Nothing ever happens to them but to their wires.
        """
        for router in self._routers:
            if (router.interface, router.address) == (interface, address):
                return router.host
        index = -1 - len(self._routers)
        self._routers.append(Port(index, interface, address, self._answer))
        for host in self._hosts:
            for pair in ((host, index), (index, host)):
                self._wires[pair] = Wire(reorders=self._reorders)
        return index

    def wire(self, source: int, target: int) -> Wire:
        """Return the direction from host ``source`` to host ``target``, to be made worse."""
        return self._wires[source, target]

    def wires(self) -> Iterator[Wire]:
        """Yield every direction of every pair."""
        yield from self._wires.values()

    def heal(self) -> None:
        """Make every wire a good one again."""
        hosts, routers = [*self._hosts], [router.host for router in self._routers]
        pairs = [*permutations(hosts, 2), *product(hosts, routers), *product(routers, hosts)]
        self._wires = {pair: Wire(reorders=self._reorders) for pair in pairs}

    def split(self, side: set[int]) -> None:
        """Cut all wires between those in ``side``, hosts and routers, and the others, both ways."""
        for (source, target), wire in self._wires.items():
            wire.cut = wire.cut or (source in side) is not (target in side)

    def send(self, sender: Port, payload: Payload, destination: IPAddress | None) -> None:
        """Carry ``payload`` to the port with ``destination``, or to all when that is None."""
        if not sender.up:
            return
        for port in (*self._ports, *self._routers):
            if port.interface != sender.interface or port.host == sender.host:
                continue
            if destination is None and port.host < 0:
                continue  # A router has no use for what is sent to all.
            if destination is None or port.address == destination:
                self._carry(sender, port, payload)

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
                self._schedule.after(REFUSAL, partial(self._arrive, sender, port, Refusal()))

    def replay(self, count: int) -> None:
        """Bring ``count`` earlier datagrams once more, from forged sources."""
        for sender, port, payload in self._random.choices(self._captured, k=count):
            self._arrive(sender, port, payload)

    def _carry(self, sender: Port, port: Port, payload: Payload) -> None:
        if isinstance(payload, Datagram | bytes):
            self._captured.append((sender, port, payload))
        wire = self._wires[sender.host, port.host]
        for arrival in wire.arrivals(self._schedule.now, self._random):
            self._schedule.at(arrival, lambda: self._arrive(sender, port, payload))

    def _arrive(self, sender: Port, port: Port, payload: Payload) -> None:
        if port.up:
            port.receive(port, sender, payload)

    def _answer(self, port: Port, sender: Port, payload: Payload) -> None:
        if isinstance(payload, Asked):
            self.send(port, Answered(), sender.address)
