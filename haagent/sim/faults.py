"""What can go wrong in a simulated cluster: each fault begins, and some time later ends.

A :class:`Fault` is a plain value, so that a list of them can be drawn, written, shortened and
played again; :meth:`Faults.strike` puts one into the schedule of a cluster.

What this module does not do: choose faults (``haagent.sim.swarm``), or read and write them
(``haagent.sim.scenario``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import product

from haagent.core.units import DurationNs, MonoNs
from haagent.sim.cluster import Cluster
from haagent.sim.host import Host
from haagent.sim.network import Wire


class Kind(Enum):
    """Kinds of faults, by the names under which they are written."""

    LOSS = "loss"
    BURSTS = "bursts"
    CORRUPTION = "corruption"
    DUPLICATION = "duplication"
    JITTER = "jitter"
    ONE_WAY = "one-way"
    MULTICAST = "multicast"
    GATEWAY = "gateway"
    PARTITION = "partition"
    KILL = "kill"
    POWER = "power"
    FORGET = "forget"
    PAUSE = "pause"
    SUSPEND = "suspend"
    SLOW = "slow"
    CLOCK = "clock"
    DRIFT = "drift"
    LINK = "link"
    STOP = "stop"
    RESTART = "restart"
    REFUSE = "refuse"
    DISK = "disk"
    REPLAY = "replay"


MASTER = "master"
"""A target: the node that answers for the first group when the fault begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong for some time."""

    kind: Kind
    at: MonoNs
    """When it begins; the simulation begins at 0."""
    length: DurationNs | None = None
    """Until it ends by itself; None lasts until all is healed."""
    targets: tuple[str, ...] = ()
    """Names of nodes, or :data:`MASTER`: the one that is hurt; sender and receiver of a one-way
    block; one side of a partition; all that get nothing that is sent to all (multicast).  None
    where all wires are hurt."""
    amount: int = 0
    """How much: percent of datagrams (loss, duplication, corruption), nanoseconds (jitter, slow,
    clock, mean of bursts), parts in a million (drift), datagrams (replay).  Other kinds have
    none."""


LINE = {
    Kind.LOSS,
    Kind.BURSTS,
    Kind.CORRUPTION,
    Kind.JITTER,
    Kind.ONE_WAY,
    Kind.MULTICAST,
    Kind.PARTITION,
    Kind.LINK,
}
"""Faults that can keep two agents from hearing each other."""

DUPLICATING = LINE | {Kind.FORGET, Kind.DISK, Kind.SLOW}
"""Faults under which a term can be used twice: unheard, forgotten, or answered too late."""

SHARING = LINE | {Kind.SLOW, Kind.REPLAY}
"""Faults under which two hosts can answer for an address at one instant: who is not heard, is
heard too late or is heard from the past holds nobody back.  All others must not, in any order."""

SHARING_IF_PROBED = {Kind.SUSPEND}
"""The same where detection is by probes: a machine that stands still, and its kernel with it, is
found dead before its fence has closed, and wakes with it open."""

HARMLESS = {
    Kind.CLOCK,
    Kind.DRIFT,
    Kind.DUPLICATION,
    Kind.DISK,
    Kind.GATEWAY,
    Kind.REPLAY,
}
"""Faults that must change no master."""

AUDIBLE = HARMLESS | {Kind.JITTER, Kind.MULTICAST}
"""Faults under which an agent that asks takes no living one for dead."""

HANDING_OVER = {Kind.STOP, Kind.RESTART}
"""Faults that make a master hand over, whatever preemption says."""

PENALISED = {Kind.REFUSE, Kind.SLOW}
"""Faults that can keep a claim from being confirmed in time."""

WIRES = {
    Kind.LOSS,
    Kind.BURSTS,
    Kind.CORRUPTION,
    Kind.DUPLICATION,
    Kind.JITTER,
    Kind.REPLAY,
}
"""Faults of all wires at once, which have no target."""

NETWORK = WIRES | {Kind.ONE_WAY, Kind.MULTICAST, Kind.GATEWAY, Kind.PARTITION}
"""Faults of what is between the hosts."""

DOWN = {Kind.KILL, Kind.POWER, Kind.FORGET, Kind.STOP, Kind.RESTART}
"""Faults after which an agent starts again."""

_STILL = {Kind.PAUSE, Kind.SUSPEND}
"""Faults during which an agent does nothing."""


def targets_of(kind: Kind, nodes: int) -> range:
    """Return how many targets a fault of this kind can have among so many nodes."""
    if kind in WIRES:
        return range(1)
    if kind is Kind.ONE_WAY:
        return range(2, 3)
    if kind is Kind.MULTICAST:
        return range(1, nodes + 1)
    return range(1, nodes if kind is Kind.PARTITION else 2)


class Faults:
    """Those of one cluster; each ends what it did, and nothing that another one still does."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._active: list[Fault] = []

    def strike(self, fault: Fault) -> None:
        """Put the begin of ``fault``, and its end, into the schedule."""
        self._cluster.schedule.at(fault.at, self._begin, fault)

    def heal(self) -> None:
        """End all that is wrong; an agent told to stop is not waited for."""
        self._cluster.note("all", "is healed")
        self._active.clear()
        self._cluster.network.heal()
        for host in self._cluster.hosts:
            host.slowness = DurationNs(0)
            host.refuses_claims = host.disk_full = False
            host.resume()
            host.drift(0)
            _start(host)
            host.set_link(_interface(host), up=True)

    def _begin(self, fault: Fault) -> None:
        if fault.targets == (MASTER,):
            fault = replace(fault, targets=(self._master(),))
        self._note(fault, "begins")
        self._active.append(fault)
        if fault.kind in NETWORK:
            _hurt_network(fault, self._cluster)
        else:
            _hurt_host(fault, self._cluster.host(fault.targets[0]))
        if fault.length is not None:
            self._cluster.schedule.after(fault.length, self._end, fault)

    def _end(self, fault: Fault) -> None:
        if fault not in self._active:
            return  # all was healed before
        self._note(fault, "ends")
        self._active.remove(fault)
        if fault.kind in NETWORK:
            self._heal_network()
        else:
            _heal_host(fault, self._cluster.host(fault.targets[0]), self._active)

    def _master(self) -> str:
        """Return who answers, or who ranks first when nobody does."""
        hosts = self._cluster.hosts
        answering = self._cluster.answering()
        return next((h for h in hosts if h.label in answering), hosts[0]).settings.node

    def _heal_network(self) -> None:
        self._cluster.network.heal()
        for fault in self._active:
            if fault.kind in NETWORK - {Kind.REPLAY}:
                _hurt_network(fault, self._cluster)

    def _note(self, fault: Fault, text: str) -> None:
        self._cluster.note(" ".join(fault.targets) or "net", f"fault {fault.kind.value} {text}")


def _hurt_network(fault: Fault, cluster: Cluster) -> None:
    network = cluster.network
    indexes = [cluster.host(node).index for node in fault.targets]
    match fault.kind:
        case Kind.ONE_WAY:
            network.wire(*indexes).cut = True
        case Kind.MULTICAST:
            for source, target in product(range(len(cluster.hosts)), indexes):
                if source != target:
                    network.wire(source, target).cut_to_all = True
        case Kind.GATEWAY:
            for wire in network.routes(*indexes):
                wire.cut = True
        case Kind.PARTITION:
            network.split(set(indexes))
        case Kind.REPLAY:
            network.replay(fault.amount)
        case _:
            for wire in network.wires():
                _spoil(wire, fault)


def _spoil(wire: Wire, fault: Fault) -> None:
    share = fault.amount / 100
    match fault.kind:
        case Kind.LOSS:
            wire.loss = share
        case Kind.BURSTS:
            wire.bursts = DurationNs(fault.amount)
        case Kind.CORRUPTION:
            wire.corruption = share
        case Kind.DUPLICATION:
            wire.duplication = share
        case _:
            wire.jitter, wire.reorders = DurationNs(fault.amount), True


def _hurt_host(fault: Fault, host: Host) -> None:
    match fault.kind:
        case Kind.KILL:
            host.kill()
        case Kind.POWER | Kind.FORGET:
            host.power_off(forget=fault.kind is Kind.FORGET)
        case Kind.PAUSE:
            host.pause()
        case Kind.SUSPEND:
            host.suspend()
        case Kind.STOP:
            host.stop()
        case Kind.RESTART:
            host.restart()
        case Kind.CLOCK:
            host.wall_error = DurationNs(fault.amount)
        case Kind.DRIFT:
            host.drift(fault.amount)
        case Kind.SLOW:
            host.slowness = DurationNs(fault.amount)
        case Kind.REFUSE:
            host.refuses_claims = True
        case Kind.LINK:
            host.set_link(_interface(host), up=False)
        case _:
            host.disk_full = True


def _heal_host(fault: Fault, host: Host, others: Sequence[Fault]) -> None:
    lasting = {other.kind for other in others if other.targets == fault.targets}
    alike = next((kinds for kinds in (DOWN, _STILL) if fault.kind in kinds), {fault.kind})
    if lasting & alike:
        return
    match fault.kind:
        case Kind.PAUSE | Kind.SUSPEND:
            host.resume()
        case Kind.DRIFT:
            host.drift(0)
        case Kind.SLOW:
            host.slowness = DurationNs(0)
        case Kind.REFUSE:
            host.refuses_claims = False
        case Kind.DISK:
            host.disk_full = False
        case Kind.LINK:
            host.set_link(_interface(host), up=True)
        case Kind.CLOCK:
            pass  # a step of the wall clock is not taken back
        case _:
            _start(host)


def _start(host: Host) -> None:
    if host.stopping:
        host.kill()
    host.start()


def _interface(host: Host) -> str:
    """Return the one that goes down: that of its first group."""
    return host.settings.groups[0].interface
