"""One seed: a random cluster, a random set of faults, then calm and the verdict.

Swarm testing (Groce et al. 2012): each seed switches only some kinds of faults on, because
faults hide each other.

What this module does not do: print or fail.  A :class:`Result` says what was wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from random import Random

from haagent.core.election import CLAIM_PENALTY
from haagent.core.identity import Priority
from haagent.core.settings import (
    AgentSettings,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
    Preempt,
)
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.checks import outranked, settling_time
from haagent.sim.cluster import Cluster
from haagent.sim.faults import (
    DUPLICATING,
    HARMLESS,
    PENALISED,
    SHARING,
    Fault,
    repair,
    strike,
)

FIRST_FAULT, HEALED, PATIENCE = seconds(4), seconds(24), seconds(3)
"""Faults begin after the first election; by HEALED all are over; a preemption is given
PATIENCE beyond its delay."""

CHANGES_A_FAULT = 4
"""A fault can cost the master when it begins and when it ends, and each time the better
agent preempts later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one seed."""

    seed: int
    faults: tuple[Fault, ...]
    """One for each time that something was broken."""
    violations: tuple[str, ...]
    changes: int
    """How often a host began to be master."""
    trace: tuple[str, ...]
    digest: str
    """Hash over the trace and the end state: equal for equal seeds."""
    node_time: DurationNs
    """Simulated time, summed over the hosts."""

    def explain(self) -> str:
        """Return what a person needs to go on from here."""
        return "\n".join([f"seed {self.seed}", *self.violations, *self.trace[-60:]])


def simulate(seed: int) -> Result:
    """Run one seed: an election, 20 s of faults, healing, one master, and the better one."""
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    settings = agents(
        count=random.choice([2, 3, 3, 4, 5]),
        preempt=random.choice(list(Preempt)),
        groups=random.choice([1, 1, 2]),
        paths=random.choice([1, 1, 2]),
        interval=milliseconds(random.choice([50, 200, 200, 200, 500])),
        ties=random.random() < 0.2,
    )
    cluster = Cluster(
        settings,
        seed,
        codec=random.random() < 0.1,
        kernel_stamps=random.random() < 0.5,
        reorders=random.random() < 0.5,
    )
    faults = _plan(cluster, random)
    cluster.start()
    cluster.schedule.run(MonoNs(FIRST_FAULT))
    violations = cluster.disagreements()
    cluster.schedule.run(MonoNs(HEALED))
    _heal(cluster)
    penalty = CLAIM_PENALTY if PENALISED & set(faults) else DurationNs(0)
    cluster.run(settling_time(settings[0], len(settings), penalty=penalty))
    violations += cluster.disagreements()
    violations += cluster.watch(DurationNs(settings[0].groups[0].preempt_after + PATIENCE))
    violations += [*cluster.disagreements(), *outranked(cluster.hosts)]
    violations += cluster.safety.violations
    violations += _count(cluster, faults)
    violations += [] if SHARING & set(faults) else cluster.safety.shared
    return Result(
        seed=seed,
        faults=tuple(faults),
        violations=tuple(violations),
        changes=cluster.safety.changes,
        trace=tuple(cluster.trace),
        digest=cluster.digest(),
        node_time=DurationNs(cluster.schedule.now * len(settings)),
    )


def agents(
    *,
    count: int,
    preempt: Preempt = Preempt.AFTER,
    groups: int = 1,
    paths: int = 1,
    interval: DurationNs = milliseconds(200),
    ties: bool = False,
) -> list[AgentSettings]:
    """Return the settings of ``count`` agents, the first the best of the first group.

    A second group ranks them the other way round; with ``ties`` all priorities are equal.
    """
    timing = HeartbeatSettings(
        paths=tuple(PathSettings(interface=f"eth{path}") for path in range(paths)),
        interval=interval,
    )
    return [
        AgentSettings(
            node=f"lb{index + 1}",
            cluster="simulated",
            heartbeat=timing,
            groups=tuple(
                GroupSettings(
                    name=("web", "mail")[number],
                    priority=Priority(100 if ties else (200 - index, 100 + index)[number]),
                    interface="eth0",
                    addresses=(
                        IPv4Interface(f"192.0.2.{10 + number}/24"),
                        IPv6Interface(f"2001:db8::{10 + number}/64"),
                    ),
                    preempt=preempt,
                )
                for number in range(groups)
            ),
        )
        for index in range(count)
    ]


def _plan(cluster: Cluster, random: Random) -> list[Fault]:
    """Put faults into the schedule of ``cluster``; return them."""
    kinds = [fault for fault in Fault if random.random() < 0.3]
    faults = [random.choice(kinds) for _ in range(random.randrange(8))] if kinds else []
    for fault in faults:
        begin = random.randrange(FIRST_FAULT, HEALED)
        length = DurationNs(int(seconds(1) * 10 ** random.uniform(-1.3, 0.9)))
        cluster.schedule.at(MonoNs(begin), strike(fault, cluster, random, length))
    return faults


def _heal(cluster: Cluster) -> None:
    cluster.note("all", "is healed")
    cluster.network.heal()
    for host in cluster.hosts:
        repair(host)


def _count(cluster: Cluster, faults: Sequence[Fault]) -> list[str]:
    """Return whether there were more masters than the faults excuse."""
    found: list[str] = []
    harmful = [fault for fault in faults if fault not in HARMLESS]
    most = len(cluster.hosts[0].settings.groups) * (1 + CHANGES_A_FAULT * len(harmful))
    if cluster.safety.changes > most:
        found.append(f"{cluster.safety.changes} changes of master, {len(harmful)} faults")
    if not DUPLICATING & set(faults):
        found += cluster.safety.duplicates
    return found
