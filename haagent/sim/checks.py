"""What must always hold, and what must hold once the world is calm.

:class:`Safety` sees every datagram at the instant at which it leaves; :func:`disagreements`
looks at all hosts at once.
"""

from collections.abc import Sequence
from typing import Protocol

from haagent.core.actions import Action, ClaimAddress, Record
from haagent.core.agent import Agent
from haagent.core.identity import GroupId, Term
from haagent.core.messages import Datagram, Discard, Header, Heartbeat, RoleReason
from haagent.core.preemption import ASK_INTERVAL
from haagent.core.settings import (
    AgentSettings,
    GroupSettings,
    HeartbeatSettings,
    IPAddress,
    Preempt,
)
from haagent.core.status import GroupStatus
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds

START = MonoNs(0)

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
        self.accusations: list[str] = []
        """Agents that another one took for dead."""
        self._handovers: list[tuple[MonoNs, DurationNs]] = []
        """When masterships began by planned handover, and how old the one before was."""
        self._begun: dict[GroupId, MonoNs] = {}
        """When the newest mastership of each group began."""
        self._new_masters: dict[tuple[str, GroupId], DurationNs] = {}
        """Those that have not yet said why they are master: how old the one before was."""
        self._counts: dict[str, int] = {}
        """The number of the newest record of each agent."""
        self._recorded: dict[tuple[str, str], Term] = {}
        """The term in which each agent last recorded a change of role, by name of the group."""
        self._answering: dict[IPAddress, dict[str, MonoNs]] = {}
        """Until when each host answers for each address, unless its kernel is told otherwise."""
        self.answered: list[tuple[MonoNs, str, IPAddress, MonoNs]] = []
        """When a host learned until when it answers for an address, in the order of time."""
        self._masters: set[tuple[str, GroupId]] = set()
        self._terms: dict[tuple[str, GroupId], Term] = {}
        self._forgetful: set[str] = set()
        self._vouched: dict[tuple[str, GroupId], tuple[MonoNs, Header]] = {}
        """The last heartbeat of each master that has left its host, and when that was."""
        self._owners: dict[tuple[GroupId, Term], str] = {}

    def started(self, label: str) -> None:
        """Take in that a new process begins."""
        self._masters = {key for key in self._masters if key[0] != label}
        self._new_masters = {k: age for k, age in self._new_masters.items() if k[0] != label}
        self._vouched = {key: last for key, last in self._vouched.items() if key[0] != label}
        self._recorded = {key: term for key, term in self._recorded.items() if key[0] != label}
        self._counts[label] = 0
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

    def decided(self, label: str, groups: Sequence[GroupSettings], actions: list[Action]) -> None:
        """Judge that what an agent does to addresses stands in its journal (I10)."""
        claims = []
        for action in actions:
            if isinstance(action, Record):
                self._record(label, action)
            elif isinstance(action, ClaimAddress):
                claims.append(action)
        for claim in claims:
            name = next(group.name for group in groups if group.id == claim.group)
            recorded = self._recorded.get((label, name))
            if recorded is None or recorded > claim.term:
                self.violations.append(f"{label} has no record behind {claim}")

    def _record(self, label: str, record: Record) -> None:
        number = self._counts[label] + 1
        if record.number != number or (record.cause or 0) >= number:
            self.violations.append(f"{label} numbers its records wrongly: {record}")
        self._counts[label] = record.number
        if record.kind == "peer.dead":
            self.accusations.append(f"{label}: {record.text}")
        if record.kind == "role.changed":
            assert record.group is not None
            assert record.term is not None
            self._recorded[label, record.group] = record.term

    def corrupted(self, label: str, decoded: Datagram | Discard) -> None:
        """Judge what a host made of a datagram that was corrupted on the way."""
        if isinstance(decoded, Datagram):
            self.violations.append(f"{label} takes for genuine what is not: {decoded}")

    def opened(
        self, label: str, group: GroupId, now: MonoNs, until: MonoNs, timing: HeartbeatSettings
    ) -> None:
        """Judge that a host lets addresses of ``group`` be heard until that instant (I3)."""
        said_at, header = self._vouched.get((label, group), (None, None))
        lease = timing.restart_lease if header and header.restarting else timing.lease
        if said_at is None or until > said_at + lease + DRIFT:
            text = f"opens its fence for {(until - now) / 1e6:.3f} ms, by no heartbeat that left"
            self.violations.append(f"{now / 1e9:.6f} {label} {text}")

    def answers(self, label: str, address: IPAddress, now: MonoNs, until: MonoNs) -> None:
        """Take in until when a host answers for ``address``: ``now`` when it does not."""
        self.answered.append((now, label, address, until))
        ends = self._answering.setdefault(address, {})
        if ends.get(label) == until:
            return
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
        if isinstance(datagram.body, Heartbeat) and key in self._new_masters:
            age = self._new_masters.pop(key)
            if datagram.body.reason is RoleReason.HANDOVER:
                self._handovers.append((now, age))
        if left and isinstance(datagram.body, Heartbeat):
            self._vouched[key] = now, header
        if key not in self._masters:
            self._masters.add(key)
            self._new_masters[key] = between(self._begun.get(header.group, START), now)
            self._begun[header.group] = now
            self.changes += 1
        if self._owners.setdefault((header.group, header.term), label) != label:
            self.duplicates.append(f"{label} is also master in term {header.term}")
            self._owners[header.group, header.term] = label

    def hasty_handovers(self, pause: DurationNs) -> list[str]:
        """Return the handovers by masters that had not been master for ``pause`` (I9)."""
        return [
            f"{at / 1e9:.6f} handed over after {age / 1e9:.3f} s"
            for at, age in self._handovers
            if age < pause - DRIFT
        ]


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
