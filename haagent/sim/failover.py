"""How long a crash takes: from a master's loss of power to the first answer by another host.

What this module does not do: judge it.  docs/benchmarks.md has the figures of real processes.
"""

from random import Random

from haagent.core.settings import Preempt
from haagent.core.units import DurationNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.swarm import agents

INTERVAL = milliseconds(200)

CALM = seconds(7)
"""From the start to the crash: an election, and a rhythm to be known by."""

LONGEST = seconds(10)

LOOK = milliseconds(1)


def failover(seed: int, count: int, loss: float) -> DurationNs | None:
    """Return how long ``count`` agents leave the address of a crashed master unanswered.

    ``loss`` is the share of datagrams that each wire loses by itself.  None when nobody takes
    over, or nobody was master.

    Unit: nanoseconds, to the next whole :data:`LOOK`.
    """
    cluster = Cluster(
        agents(count=count, preempt=Preempt.NEVER, interval=INTERVAL), seed, reorders=True
    )
    for wire in cluster.network.wires():
        wire.loss = loss
    phase = Random(seed).randrange(INTERVAL)  # noqa: S311  # repeatable, not secret
    cluster.start()
    cluster.run(DurationNs(CALM + phase))
    masters = [host for host in cluster.hosts if host.label in cluster.answering()]
    if len(masters) != 1:
        return None
    masters[0].power_off()
    crash = cluster.schedule.now
    while not cluster.answering() and cluster.schedule.now < crash + LONGEST:
        cluster.run(LOOK)
    return DurationNs(cluster.schedule.now - crash) if cluster.answering() else None
