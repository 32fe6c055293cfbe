"""One seed: a random cluster, a random set of faults, then calm and the verdict.

Swarm testing (Groce et al. 2012): each seed switches only some kinds of faults on, because
faults hide each other.

What this module does not do: print or fail.  A :class:`Result` says what was wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from random import Random

from haagent.core.election import CLAIM_PENALTY
from haagent.core.identity import Priority
from haagent.core.settings import (
    AgentSettings,
    Detection,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
    Preempt,
)
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.checks import Safety, outranked, settling_time
from haagent.sim.cluster import Cluster
from haagent.sim.faults import (
    AUDIBLE,
    DUPLICATING,
    HANDING_OVER,
    HARMLESS,
    LINE,
    PENALISED,
    SHARING,
    SHARING_IF_PROBED,
    WIRES,
    Fault,
    Faults,
    Kind,
)
from haagent.sim.network import Delays

FIRST_FAULT, HEALED, END = seconds(4), seconds(34), seconds(40)
"""Faults begin after the first election; by HEALED all are over; END is later where settling
takes longer."""

PREEMPT_AFTER, PATIENCE = seconds(2), seconds(1)
"""A preemption is given PATIENCE beyond its delay."""

CHANGES_A_FAULT = 4
"""A fault can cost the master when it begins and when it ends, and each time the better
agent preempts later."""

ABOUT_TO_ASK = seconds(2)
"""Longer than the pause after which a request for a handover is repeated."""

GATEWAY = IPv4Address("192.0.2.1")

INTERVALS_MS = [50, 100, *[200] * 10, *[500] * 4]
"""Short ones seldom: they take the more time the shorter they are, and what is proportional to
the interval shows nothing new."""

ONE_WAY_ALONE = 0.1
"""Share of the seeds in which one agent does not hear one other, and no more harm is done."""

SLIGHT_LOSS = 10
"""Percent; five questions in a row and their answers are lost once in some thousand years."""

REPLAYED = 500
"""Datagrams that an attacker brings at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a run depends on."""

    seed: int
    """Of what happens by chance in the run itself: delays, losses, tokens."""
    agents: int = 3
    interval: DurationNs = milliseconds(200)
    preempt: Preempt = Preempt.AFTER
    groups: int = 1
    paths: int = 1
    ties: bool = False
    """Whether all priorities are equal."""
    detection: Detection = Detection.PROBING
    gateway: bool = False
    """Whether the agents have a gateway as reference."""
    codec: bool = False
    """See :class:`~haagent.sim.cluster.Cluster` for these three."""
    reorders: bool = False
    delays: Delays = Delays.EXPONENTIAL
    configured: tuple[AgentSettings, ...] = ()
    """The agents as configuration files have them; empty, they are as told above."""
    faults: tuple[Fault, ...] = ()

    @property
    def nodes(self) -> list[str]:
        """Return the names that faults may hit."""
        return [settings.node for settings in self.settings]

    @property
    def settings(self) -> tuple[AgentSettings, ...]:
        """Return the settings of each agent."""
        return self.configured or agents(
            count=self.agents,
            preempt=self.preempt,
            groups=self.groups,
            paths=self.paths,
            interval=self.interval,
            ties=self.ties,
            detection=self.detection,
            gateway=self.gateway,
            preempt_after=PREEMPT_AFTER,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one scenario."""

    scenario: Scenario
    violations: tuple[str, ...]
    changes: int
    """How often a host began to be master."""
    cluster: Cluster
    """At the end."""

    @property
    def trace(self) -> tuple[str, ...]:
        """What happened, a line each."""
        return tuple(self.cluster.trace)

    @property
    def digest(self) -> str:
        """Hash over the trace and the end state: equal for equal scenarios."""
        return self.cluster.digest()

    @property
    def node_time(self) -> DurationNs:
        """Simulated time, summed over the hosts."""
        return DurationNs(self.cluster.schedule.now * len(self.cluster.hosts))

    def explain(self) -> str:
        """Return what a person needs to go on from here."""
        return "\n".join([f"seed {self.scenario.seed}", *self.violations, *self.trace[-60:]])


def simulate(seed: int) -> Result:
    """Play what :func:`draw` draws from ``seed``."""
    return play(draw(seed))


def draw(seed: int) -> Scenario:
    """Return the scenario of one seed."""
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    count = random.choice([2, 3, 3, 3, 4, 4, 5])
    return Scenario(
        seed=seed,
        agents=count,
        preempt=random.choice(list(Preempt)),
        groups=random.choice([1, 1, 1, 1, 1, 2]),
        paths=random.choice([1, 1, 1, 1, 1, 2]),
        interval=milliseconds(random.choice(INTERVALS_MS)),
        ties=random.random() < 0.2,
        detection=random.choice([Detection.PROBING] * 3 + [Detection.FIXED]),
        gateway=random.random() < 0.5,
        codec=random.random() < 0.1,
        reorders=random.random() < 0.5,
        delays=random.choice(list(Delays)),
        faults=_draw_faults(random, [f"lb{index + 1}" for index in range(count)]),
    )


def stage(scenario: Scenario, labels: Sequence[str] = ()) -> tuple[Cluster, Faults]:
    """Return the cluster of a scenario, started, and its faults, which are still to come."""
    cluster = Cluster(
        scenario.settings,
        scenario.seed,
        codec=scenario.codec,
        reorders=scenario.reorders,
        delays=scenario.delays,
        labels=labels,
    )
    faults = Faults(cluster)
    for fault in scenario.faults:
        faults.strike(fault)
    cluster.start()
    return cluster, faults


def play(scenario: Scenario) -> Result:
    """Run a scenario: an election, 30 s of faults, healing, one master, and the better one."""
    settings = scenario.settings
    cluster, faults = stage(scenario)
    cluster.schedule.run(MonoNs(FIRST_FAULT))
    # A scenario from a file may hurt the first election; seeds never do.
    early = any(fault.at < FIRST_FAULT for fault in scenario.faults)
    violations = [] if early else cluster.disagreements()
    cluster.schedule.run(MonoNs(HEALED))
    faults.heal()
    cluster.run(settling_time(settings[0], len(settings), penalty=_penalty(scenario.faults)))
    violations += cluster.disagreements()
    calm = DurationNs(
        max(settings[0].groups[0].preempt_after + PATIENCE, END - cluster.schedule.now)
    )
    violations += cluster.watch(calm)
    if outranked(cluster.hosts):
        # One that has waited for longer than others, because it failed often, is about to ask.
        cluster.run(ABOUT_TO_ASK)
    violations += [*cluster.disagreements(), *outranked(cluster.hosts)]
    violations += cluster.safety.violations
    violations += unexcused(cluster.safety, scenario)
    return Result(
        scenario=scenario,
        violations=tuple(violations),
        changes=cluster.safety.changes,
        cluster=cluster,
    )


def agents(
    *,
    count: int,
    preempt: Preempt = Preempt.AFTER,
    groups: int = 1,
    paths: int = 1,
    interval: DurationNs = milliseconds(200),
    ties: bool = False,
    detection: Detection = Detection.PROBING,
    gateway: bool = False,
    preempt_after: DurationNs = seconds(5),
) -> tuple[AgentSettings, ...]:
    """Return the settings of ``count`` agents, the first the best of the first group.

    A second group ranks them the other way round; with ``ties`` all priorities are equal.
    """
    timing = HeartbeatSettings(
        paths=tuple(
            PathSettings(interface=f"eth{path}", reference=GATEWAY if gateway else None)
            for path in range(paths)
        ),
        interval=interval,
        detection=detection,
    )
    return tuple(
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
                    preempt_after=preempt_after,
                )
                for number in range(groups)
            ),
        )
        for index in range(count)
    )


def _draw_faults(random: Random, nodes: Sequence[str]) -> tuple[Fault, ...]:
    kinds = [kind for kind in Kind if random.random() < 0.3]
    if len(nodes) > 2 and random.random() < ONE_WAY_ALONE:
        block = _draw_fault(random, Kind.ONE_WAY, nodes)
        harmless = [kind for kind in kinds if kind in HARMLESS]
        return (block, *_draw_some(random, harmless, nodes))
    return tuple(_draw_some(random, kinds, nodes))


def _draw_some(random: Random, kinds: Sequence[Kind], nodes: Sequence[str]) -> Iterator[Fault]:
    for _ in range(random.randrange(12) if kinds else 0):
        yield _draw_fault(random, random.choice(kinds), nodes)


def _draw_fault(random: Random, kind: Kind, nodes: Sequence[str]) -> Fault:
    return Fault(
        kind=kind,
        # Whole milliseconds, as they are written (haagent.sim.scenario).
        at=MonoNs(random.randrange(FIRST_FAULT, HEALED, milliseconds(1))),
        length=milliseconds(int(1000 * 10 ** random.uniform(-1.3, 0.9))),
        targets=_draw_targets(random, kind, nodes),
        amount=_draw_amount(random, kind),
    )


def _draw_targets(random: Random, kind: Kind, nodes: Sequence[str]) -> tuple[str, ...]:
    if kind in WIRES:
        return ()
    if kind is Kind.ONE_WAY:
        return tuple(random.sample(nodes, 2))
    if kind in {Kind.PARTITION, Kind.MULTICAST}:
        return tuple(sorted(random.sample(nodes, random.randrange(1, len(nodes)))))
    return (random.choice(nodes),)


def _draw_amount(random: Random, kind: Kind) -> int:
    match kind:
        case Kind.LOSS | Kind.DUPLICATION | Kind.CORRUPTION:
            return random.choice([2, 10, 20])
        case Kind.BURSTS:
            return milliseconds(random.choice([20, 100, 500]))
        case Kind.DRIFT:
            return random.randint(-500, 500)
        case Kind.JITTER:
            return milliseconds(20)
        case Kind.SLOW:
            return milliseconds(random.randrange(1, 30))
        case Kind.CLOCK:
            return seconds(random.randrange(-24 * 3600, 24 * 3600))
        case Kind.REPLAY:
            return REPLAYED
        case _:
            return 0


def _penalty(faults: Sequence[Fault]) -> DurationNs:
    """Return how long an agent may stay out of the election once all is healed."""
    for fault in faults:
        last = HEALED if fault.length is None else fault.at + fault.length
        if fault.kind in PENALISED and last + CLAIM_PENALTY > HEALED:
            return CLAIM_PENALTY
    return DurationNs(0)


def unexcused(safety: Safety, scenario: Scenario) -> list[str]:
    """Return what must not have happened under just these faults."""
    found: list[str] = []
    kinds = {fault.kind for fault in scenario.faults}
    harmful = [fault for fault in scenario.faults if fault.kind not in HARMLESS]
    groups = scenario.settings[0].groups
    most = len(groups) * (1 + CHANGES_A_FAULT * len(harmful))
    if _is_one_way(scenario):
        most = len(groups)
    if safety.changes > most:
        found.append(f"{safety.changes} changes of master, {len(harmful)} faults")
    if not DUPLICATING & kinds:
        found += safety.duplicates
    probing = scenario.settings[0].heartbeat.detection is Detection.PROBING
    if not (SHARING | (SHARING_IF_PROBED if probing else set())) & kinds:
        found += safety.shared
    if not harmful or (probing and all(_is_audible(fault) for fault in harmful)):
        found += safety.accusations
    if not (HANDING_OVER | LINE) & kinds:
        pause = {Preempt.NEVER: END, Preempt.AFTER: groups[0].preempt_after}.get(groups[0].preempt)
        found += [] if pause is None else safety.hasty_handovers(pause)
    return found


def _is_audible(fault: Fault) -> bool:
    """Return whether who is asked under ``fault`` is still heard (protocol.md 2.3)."""
    return fault.kind in AUDIBLE or (fault.kind is Kind.LOSS and fault.amount <= SLIGHT_LOSS)


def _is_one_way(scenario: Scenario) -> bool:
    """Return whether of three or more agents one does not hear one other, and that is all."""
    harmful = [fault for fault in scenario.faults if fault.kind not in HARMLESS]
    blocks = {(fault.kind, fault.targets) for fault in harmful}
    return (
        len(scenario.nodes) > 2
        and {kind for kind, _ in blocks} == {Kind.ONE_WAY}
        and len(blocks) == 1
    )
