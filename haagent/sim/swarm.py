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
    WIRES,
    Fault,
    Faults,
    Kind,
)

FIRST_FAULT, HEALED, PATIENCE = seconds(4), seconds(24), seconds(3)
"""Faults begin after the first election; by HEALED all are over; a preemption is given
PATIENCE beyond its delay."""

CHANGES_A_FAULT = 4
"""A fault can cost the master when it begins and when it ends, and each time the better
agent preempts later."""


REPLAYED = 500
"""Datagrams that an attacker brings at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a run depends on."""

    seed: int
    """Of what happens by chance in the run itself: delays, losses, tokens."""
    agents: int
    interval: DurationNs = milliseconds(200)
    preempt: Preempt = Preempt.AFTER
    groups: int = 1
    paths: int = 1
    ties: bool = False
    """Whether all priorities are equal."""
    codec: bool = False
    """See :class:`~haagent.sim.cluster.Cluster` for these three."""
    reorders: bool = False
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one scenario."""

    scenario: Scenario
    violations: tuple[str, ...]
    changes: int
    """How often a host began to be master."""
    trace: tuple[str, ...]
    digest: str
    """Hash over the trace and the end state: equal for equal scenarios."""
    node_time: DurationNs
    """Simulated time, summed over the hosts."""

    def explain(self) -> str:
        """Return what a person needs to go on from here."""
        return "\n".join([f"seed {self.scenario.seed}", *self.violations, *self.trace[-60:]])


def simulate(seed: int) -> Result:
    """Play what :func:`draw` draws from ``seed``."""
    return play(draw(seed))


def draw(seed: int) -> Scenario:
    """Return the scenario of one seed."""
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    count = random.choice([2, 3, 3, 4, 5])
    return Scenario(
        seed=seed,
        agents=count,
        preempt=random.choice(list(Preempt)),
        groups=random.choice([1, 1, 2]),
        paths=random.choice([1, 1, 2]),
        interval=milliseconds(random.choice([50, 200, 200, 200, 500])),
        ties=random.random() < 0.2,
        codec=random.random() < 0.1,
        reorders=random.random() < 0.5,
        faults=_draw_faults(random, [f"lb{index + 1}" for index in range(count)]),
    )


def play(scenario: Scenario) -> Result:
    """Run a scenario: an election, 20 s of faults, healing, one master, and the better one."""
    settings = agents(
        count=scenario.agents,
        preempt=scenario.preempt,
        groups=scenario.groups,
        paths=scenario.paths,
        interval=scenario.interval,
        ties=scenario.ties,
    )
    cluster = Cluster(
        settings,
        scenario.seed,
        codec=scenario.codec,
        reorders=scenario.reorders,
    )
    faults = Faults(cluster)
    for fault in scenario.faults:
        faults.strike(fault)
    cluster.start()
    cluster.schedule.run(MonoNs(FIRST_FAULT))
    violations = cluster.disagreements()
    cluster.schedule.run(MonoNs(HEALED))
    faults.heal()
    kinds = {fault.kind for fault in scenario.faults}
    penalty = CLAIM_PENALTY if PENALISED & kinds else DurationNs(0)
    cluster.run(settling_time(settings[0], len(settings), penalty=penalty))
    violations += cluster.disagreements()
    violations += cluster.watch(DurationNs(settings[0].groups[0].preempt_after + PATIENCE))
    violations += [*cluster.disagreements(), *outranked(cluster.hosts)]
    violations += cluster.safety.violations
    violations += _count(cluster, scenario.faults)
    violations += [] if SHARING & kinds else cluster.safety.shared
    return Result(
        scenario=scenario,
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


def _draw_faults(random: Random, nodes: Sequence[str]) -> tuple[Fault, ...]:
    kinds = [kind for kind in Kind if random.random() < 0.3]
    return tuple(
        _draw_fault(random, random.choice(kinds), nodes)
        for _ in range(random.randrange(8) if kinds else 0)
    )


def _draw_fault(random: Random, kind: Kind, nodes: Sequence[str]) -> Fault:
    return Fault(
        kind=kind,
        at=MonoNs(random.randrange(FIRST_FAULT, HEALED)),
        length=DurationNs(int(seconds(1) * 10 ** random.uniform(-1.3, 0.9))),
        targets=_draw_targets(random, kind, nodes),
        amount=_draw_amount(random, kind),
    )


def _draw_targets(random: Random, kind: Kind, nodes: Sequence[str]) -> tuple[str, ...]:
    if kind in WIRES:
        return ()
    if kind is Kind.ONE_WAY:
        return tuple(random.sample(nodes, 2))
    if kind is Kind.PARTITION:
        return tuple(sorted(random.sample(nodes, random.randrange(1, len(nodes)))))
    return (random.choice(nodes),)


def _draw_amount(random: Random, kind: Kind) -> int:
    match kind:
        case Kind.LOSS | Kind.DUPLICATION:
            return random.choice([2, 10, 20])
        case Kind.JITTER:
            return milliseconds(20)
        case Kind.SLOW:
            return random.randrange(milliseconds(30))
        case Kind.CLOCK:
            return 24 * random.randrange(-seconds(3600), seconds(3600))
        case Kind.REPLAY:
            return REPLAYED
        case _:
            return 0


def _count(cluster: Cluster, faults: Sequence[Fault]) -> list[str]:
    """Return whether there were more masters than the faults excuse."""
    found: list[str] = []
    harmful = [fault for fault in faults if fault.kind not in HARMLESS]
    most = len(cluster.hosts[0].settings.groups) * (1 + CHANGES_A_FAULT * len(harmful))
    if cluster.safety.changes > most:
        found.append(f"{cluster.safety.changes} changes of master, {len(harmful)} faults")
    if not DUPLICATING & {fault.kind for fault in faults}:
        found += cluster.safety.duplicates
    return found
