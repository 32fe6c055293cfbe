"""What must always hold, and what must hold once the world is calm.

:class:`Safety` sees every datagram at the instant at which it leaves; :func:`disagreements`
looks at all hosts at once.
"""

from collections.abc import Sequence
from typing import Protocol

from haagent.core.agent import Agent
from haagent.core.identity import GroupId, Term
from haagent.core.messages import Datagram, Discard, Heartbeat
from haagent.core.preemption import ASK_INTERVAL
from haagent.core.settings import AgentSettings, IPAddress, Preempt
from haagent.core.status import GroupStatus
from haagent.core.units import DurationNs, MonoNs, later, milliseconds

LEASES = 3
"""Intervals for which a heartbeat allows its sender to be heard."""

DRIFT = milliseconds(2)
"""By how much the clocks of two hosts can differ over a lease of 3 s: 500 ppm."""


class Safety:
    """Judges single hosts by their words and their kernels."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.changes = 0
        """How often a host began to be master."""
        self.duplicates: list[str] = []
        """Terms under which two hosts were master: possible while they cannot hear each other."""
        self.shared: list[str] = []
        """Instants at which a second host began to answer for an address."""
        self._answering: dict[IPAddress, dict[str, MonoNs]] = {}
        """Until when each host answers for each address, unless its kernel is told otherwise."""
        self._masters: set[tuple[str, GroupId]] = set()
        self._terms: dict[tuple[str, GroupId], Term] = {}
        self._forgetful: set[str] = set()
        self._vouched: dict[tuple[str, GroupId], MonoNs] = {}
        """Until when the last heartbeat of each master allows it to be heard."""
        self._owners: dict[tuple[GroupId, Term], str] = {}

    def started(self, label: str) -> None:
        """Take in that a new process begins."""
        self._masters = {key for key in self._masters if key[0] != label}
        self._vouched = {key: end for key, end in self._vouched.items() if key[0] != label}
        if label in self._forgetful:
            self._forgetful.discard(label)
            self._terms = {key: term for key, term in self._terms.items() if key[0] != label}

    def forgotten(self, label: str) -> None:
        """Take in that the next process of this host cannot know the terms of this one."""
        self._forgetful.add(label)

    def finished(self, label: str, held: Sequence[IPAddress]) -> None:
        """Judge what an agent that says it is done leaves behind."""
        if held:
            self.violations.append(f"{label} has finished and still has {held}")

    def corrupted(self, label: str, decoded: Datagram | Discard) -> None:
        """Judge what a host made of a datagram that was corrupted on the way."""
        if isinstance(decoded, Datagram):
            self.violations.append(f"{label} takes for genuine what is not: {decoded}")

    def opened(self, label: str, group: GroupId, now: MonoNs, until: MonoNs) -> None:
        """Judge that a host lets addresses of ``group`` be heard until that instant."""
        most = self._vouched.get((label, group), now) + DRIFT
        if until > most:
            text = f"opens its fence for {(until - now) / 1e6:.3f} ms, by no heartbeat that left"
            self.violations.append(f"{now / 1e9:.6f} {label} {text}")

    def answers(self, label: str, address: IPAddress, now: MonoNs, until: MonoNs) -> None:
        """Take in until when a host answers for ``address``: ``now`` when it does not."""
        ends = self._answering.setdefault(address, {})
        ends[label] = until
        others = [other for other, end in ends.items() if other != label and end > now]
        if until > now and others:
            self.shared.append(f"{now / 1e9:.6f} {label} and {others} answer for {address}")

    def said(
        self, label: str, datagram: Datagram, now: MonoNs, held: Sequence[IPAddress], *, left: bool
    ) -> None:
        """Judge a datagram; ``held`` are the addresses of its group on the sender's host.

        ``left``: whether it has left the host.
        """
        header = datagram.header
        key = (label, header.group)
        if header.term < self._terms.get(key, 0):
            self.violations.append(f"{label} fell from term {self._terms[key]} to {header.term}")
        self._terms[key] = header.term
        if not header.state.owns_addresses:
            self._masters.discard(key)
            self._vouched.pop(key, None)
            if held:
                self.violations.append(f"{label} has {held} and says {datagram}")
            return
        if left and isinstance(datagram.body, Heartbeat):
            self._vouched[key] = later(now, milliseconds(LEASES * header.interval_ms))
        if key not in self._masters:
            self._masters.add(key)
            self.changes += 1
        if self._owners.setdefault((header.group, header.term), label) != label:
            self.duplicates.append(f"{label} is also master in term {header.term}")
            self._owners[header.group, header.term] = label


class Machine(Protocol):
    """What :func:`disagreements` needs to see of a host."""

    index: int
    label: str
    settings: AgentSettings
    agent: Agent | None

    @property
    def mono(self) -> MonoNs:
        """The time on this host."""

    def answers(self, address: IPAddress) -> bool:
        """Return whether this host answers for ``address`` now."""


def settling_time(settings: AgentSettings, agents: int, *, penalty: DurationNs) -> DurationNs:
    """Return after what time of calm there is one master, whatever went on before.

    The sum of what can follow one upon the other: an agent that was restarted or stalled
    listens; the master that it heard may have died meanwhile (``takeover``); a candidate
    waits for its position and for answers, and, outranked by one that vanished, stands
    once more (5 E in all); ``penalty`` is how long an agent may stay out on purpose.
    """
    timing = settings.heartbeat
    stand = agents * timing.stagger + 5 * timing.answer_timeout
    return DurationNs(timing.listen + timing.takeover + stand + penalty)


def disagreements(hosts: Sequence[Machine], neighbours: dict[IPAddress, int]) -> list[str]:
    """Return all in which the connected, running ``hosts`` are not of one mind."""
    found: list[str] = []
    for group in hosts[0].settings.groups:
        masters = [host for host in hosts if _role(host, group.id).role.state.owns_addresses]
        if len(masters) != 1:
            found.append(f"masters of {group.name}: {[host.label for host in masters]}")
            continue
        master = masters[0]
        for address in group.addresses:
            answering = [host.label for host in hosts if host.answers(address.ip)]
            if answering != [master.label]:
                found.append(f"{answering} answer for {address}, master is {master.label}")
            if neighbours.get(address.ip) != master.index:
                found.append(f"clients do not find {address} on {master.label}")
        found += [
            f"{host.label} follows {follows}, master is {master.label}"
            for host in hosts
            if (follows := _role(host, group.id).role.master) != master.settings.node
        ]
    return found


def outranked(hosts: Sequence[Machine]) -> list[str]:
    """Return the masters that a better agent should have replaced by now."""
    found: list[str] = []
    for position, group in enumerate(hosts[0].settings.groups):
        ranks = {
            (host.settings.groups[position].priority, host.settings.node_id): host for host in hosts
        }
        best = ranks[max(ranks)]
        wants = best.settings.groups[position].preempt is not Preempt.NEVER
        status = _role(best, group.id)
        # Flap damping: who has failed often waits longer than the file says.
        damped = (status.preempts_at or 0) > later(best.mono, ASK_INTERVAL)
        if wants and not damped and not status.role.state.owns_addresses:
            found.append(f"{best.label} is not master of {group.name}")
    return found


def _role(host: Machine, group: GroupId) -> GroupStatus:
    assert host.agent is not None, f"{host.label} should run"
    position = [item.id for item in host.settings.groups].index(group)
    return host.agent.status().groups[position]
