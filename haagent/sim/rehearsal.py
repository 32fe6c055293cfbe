"""A scenario played for a person: what happened when, who answered, and which rules were broken.

Unlike :func:`haagent.sim.swarm.play` nothing is healed by force: a fault without a length lasts
until the end, and the end is judged only if the time since the last change suffices.

What this module does not do: print (``haagent.cli.simulate``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from haagent.core.election import CLAIM_PENALTY
from haagent.core.settings import AgentSettings, IPAddress, Preempt
from haagent.core.units import DurationNs, MonoNs, between, seconds
from haagent.sim.checks import Safety, disagreements, outranked, settling_time
from haagent.sim.cluster import Cluster
from haagent.sim.faults import DOWN, HARMLESS, MASTER, PENALISED, Fault, Kind
from haagent.sim.swarm import PATIENCE, Scenario, stage, unexcused

_Span: TypeAlias = tuple[MonoNs, tuple[str, ...]]
"""From when on an address was answered for, and by which nodes."""

HANG = seconds(5)

LONGEST_DELAY = seconds(60)
"""A longer delay of a preemption is not waited for."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the story."""

    at: MonoNs
    who: str
    """A node, several, ``net`` for the wires, or an address."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How an address was answered for, from the first answer to the end."""

    address: IPAddress
    by_nobody: DurationNs
    longest_by_nobody: DurationNs
    by_several: DurationNs


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What came of it."""

    story: tuple[Happening, ...]
    services: tuple[Service, ...]
    changes: int
    """How often an agent began to be master."""
    violations: tuple[str, ...]
    judged: bool
    """Whether the time sufficed to judge the end."""


def typical_faults(settings: Sequence[AgentSettings]) -> tuple[Fault, ...]:
    """Return what befalls masters: silent death, an end of the process, a hang, a cut link."""
    begin = _whole_seconds(settings[0].heartbeat.listen + HANG)
    step = _whole_seconds(HANG + _calm(settings, ()))
    kinds = {Kind.POWER: HANG, Kind.KILL: seconds(1), Kind.PAUSE: HANG, Kind.LINK: HANG}
    return tuple(
        Fault(kind=kind, at=MonoNs(begin + step * index), length=length, targets=(MASTER,))
        for index, (kind, length) in enumerate(kinds.items())
    )


def needed(scenario: Scenario) -> DurationNs:
    """Return how long it takes until all faults are over and the end can be judged."""
    settings = scenario.settings
    ends = [fault.at + (fault.length or 0) for fault in scenario.faults]
    last = max([settings[0].heartbeat.listen, *ends])
    return _whole_seconds(last + _calm(settings, scenario.faults))


def rehearse(scenario: Scenario, duration: DurationNs) -> Rehearsal:
    """Play ``scenario`` for ``duration``."""
    cluster, _ = stage(scenario, labels=scenario.nodes)
    cluster.run(duration)
    lasting = {fault.kind for fault in scenario.faults if fault.length is None}
    judged = needed(scenario) <= duration and lasting <= DOWN | HARMLESS
    addresses = [each.ip for group in scenario.settings[0].groups for each in group.addresses]
    spans = {ip: _spans(cluster.safety, ip, MonoNs(duration)) for ip in addresses}
    told = [Happening(*each) for each in cluster.story(details=False)]
    answers = [
        Happening(at, str(ip), f"answered by {' and '.join(who) or 'nobody'}")
        for ip in addresses
        for at, who in spans[ip]
    ]
    violations = [*cluster.safety.violations, *unexcused(cluster.safety, scenario)]
    return Rehearsal(
        story=tuple(sorted([*told, *answers], key=lambda happening: happening.at)),
        services=tuple(_service(ip, spans[ip], MonoNs(duration)) for ip in addresses),
        changes=cluster.safety.changes,
        violations=(*violations, *(_trouble(cluster) if judged else ())),
        judged=judged,
    )


def _whole_seconds(length: int) -> DurationNs:
    return seconds(-(-length // seconds(1)))


def _calm(settings: Sequence[AgentSettings], faults: Sequence[Fault]) -> DurationNs:
    """Return how long after the last fault the right agent is master."""
    penalised = any(fault.kind in PENALISED for fault in faults)
    penalty = CLAIM_PENALTY if penalised else DurationNs(0)
    delays = [
        group.preempt_after
        for group in settings[0].groups
        if group.preempt is Preempt.AFTER and group.preempt_after <= LONGEST_DELAY
    ]
    settled = settling_time(settings[0], len(settings), penalty=penalty)
    return DurationNs(settled + max(delays, default=0) + PATIENCE)


def _trouble(cluster: Cluster) -> list[str]:
    """Return in what those that run do not agree, or not on the right master."""
    running = [host for host in cluster.hosts if host.agent is not None]
    if not running:
        return []
    found = disagreements(running, cluster.network.neighbours)
    waits = any(group.preempt_after > LONGEST_DELAY for group in running[0].settings.groups)
    return found if waits else [*found, *outranked(running)]


def _spans(safety: Safety, address: IPAddress, end: MonoNs) -> list[_Span]:
    """Return who answered for ``address``, and from when on."""
    log = [(at, label, until) for at, label, ip, until in safety.answered if ip == address]
    spans: list[_Span] = []
    ends: dict[str, MonoNs] = {}
    for (at, label, until), then in zip(log, [*(at for at, _, _ in log[1:]), end], strict=True):
        ends[label] = until
        for mark in sorted({at, *(end for end in ends.values() if at < end < then)}):
            who = tuple(sorted(each for each, end in ends.items() if end > mark))
            if who != (spans[-1][1] if spans else ()):
                spans.append((mark, who))
    return spans


def _service(address: IPAddress, spans: Sequence[_Span], end: MonoNs) -> Service:
    lengths = [
        (len(who), between(at, then)) for (at, who), (then, _) in pairwise([*spans, (end, ())])
    ]
    gaps = [length for answering, length in lengths if answering == 0]
    return Service(
        address=address,
        by_nobody=DurationNs(sum(gaps)),
        longest_by_nobody=max(gaps, default=DurationNs(0)),
        by_several=DurationNs(sum(length for answering, length in lengths if answering > 1)),
    )
