"""What can go wrong in a simulated cluster: each fault begins, and some time later ends.

What this module does not do: choose faults (``haagent.sim.swarm``).
"""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from random import Random

from haagent.core.units import DurationNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.host import Host
from haagent.sim.network import Wire


class Fault(Enum):
    """Kinds of faults."""

    LOSS = auto()
    DUPLICATION = auto()
    JITTER = auto()
    ONE_WAY = auto()
    PARTITION = auto()
    KILL = auto()
    POWER = auto()
    FORGET = auto()
    PAUSE = auto()
    SLOW = auto()
    CLOCK = auto()
    LINK = auto()
    STOP = auto()
    RESTART = auto()
    REFUSE = auto()
    DISK = auto()
    REPLAY = auto()


LINE = {Fault.LOSS, Fault.JITTER, Fault.ONE_WAY, Fault.PARTITION, Fault.LINK}
"""Faults that can keep two agents from hearing each other."""

DUPLICATING = LINE | {Fault.FORGET, Fault.DISK, Fault.SLOW}
"""Faults under which a term can be used twice: unheard, forgotten, or answered too late."""

SHARING = LINE | {Fault.SLOW, Fault.REPLAY}
"""Faults under which two hosts can answer for an address at one instant: who is not heard, is
heard too late or is heard from the past holds nobody back.  All others must not, in any order."""

HARMLESS = {Fault.CLOCK, Fault.DUPLICATION, Fault.DISK, Fault.REPLAY}
"""Faults that must change no master."""

PENALISED = {Fault.REFUSE, Fault.SLOW}
"""Faults that can keep a claim from being confirmed in time."""


REPLAYED = 500
"""Datagrams that an attacker brings at once."""

_WIRES = {Fault.LOSS, Fault.DUPLICATION, Fault.JITTER}
"""Faults of all wires at once."""

_NETWORK = _WIRES | LINE | {Fault.REPLAY}


def strike(
    fault: Fault, cluster: Cluster, random: Random, length: DurationNs
) -> Callable[[], None]:
    """Return what makes ``fault`` begin, somewhere, and end after ``length``."""
    host = random.choice(cluster.hosts)
    if fault in _WIRES:
        begin = _spoil_wires(fault, cluster, random)
    elif fault is Fault.REPLAY:
        begin = partial(cluster.network.replay, REPLAYED)
    elif fault in LINE:
        begin = _cut(fault, cluster, random, host)
    else:
        begin = _hurt(fault, host, random)

    where = "net" if fault in _NETWORK else host.label

    def end() -> None:
        cluster.note(where, f"{fault.name} ends")
        if fault in _NETWORK:
            cluster.network.heal()
        if fault is Fault.LINK or fault not in _NETWORK:
            repair(host)

    def run() -> None:
        cluster.note(where, f"{fault.name} begins")
        begin()
        cluster.schedule.after(length, end)

    return run


def repair(host: Host) -> None:
    """End all that is wrong with ``host``; an agent told to stop is not waited for."""
    host.slowness = DurationNs(0)
    host.refuses_claims = host.disk_full = False
    if host.stopping:
        host.kill()
    host.resume()
    host.start()
    host.set_link("eth0", up=True)


def _spoil_wires(fault: Fault, cluster: Cluster, random: Random) -> Callable[[], None]:
    share = random.choice([0.02, 0.1, 0.2])

    def spoil(wire: Wire) -> None:
        match fault:
            case Fault.LOSS:
                wire.loss = share
            case Fault.DUPLICATION:
                wire.duplication = share
            case _:
                wire.jitter, wire.reorders = milliseconds(20), True

    def begin() -> None:
        for wire in cluster.network.wires():
            spoil(wire)

    return begin


def _cut(fault: Fault, cluster: Cluster, random: Random, host: Host) -> Callable[[], None]:
    indexes = range(len(cluster.hosts))
    target = random.choice([index for index in indexes if index != host.index])
    side = {index for index in indexes if random.random() < 0.5}

    def begin() -> None:
        match fault:
            case Fault.ONE_WAY:
                cluster.network.wire(host.index, target).cut = True
            case Fault.PARTITION:
                cluster.network.split(side)
            case _:
                host.set_link("eth0", up=False)

    return begin


def _hurt(fault: Fault, host: Host, random: Random) -> Callable[[], None]:
    wall_step = DurationNs(24 * random.randrange(-seconds(3600), seconds(3600)))
    step_time = DurationNs(random.randrange(milliseconds(30)))

    def begin() -> None:
        match fault:
            case Fault.KILL:
                host.kill()
            case Fault.POWER | Fault.FORGET:
                host.power_off(forget=fault is Fault.FORGET)
            case Fault.PAUSE:
                host.pause()
            case Fault.STOP:
                host.stop()
            case Fault.RESTART:
                host.restart()
            case Fault.CLOCK:
                host.wall_error = wall_step
            case Fault.SLOW:
                host.slowness = step_time
            case Fault.REFUSE:
                host.refuses_claims = True
            case _:
                host.disk_full = True

    return begin
