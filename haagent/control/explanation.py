"""Who is master of a group, why, and why not another, as one agent knows it.

A pure function of its arguments; the agent wrote down what it has decided, and on what.

What this module does not do: find the records (``haagent.runtime.explaining``), or lay anything
out for people (``haagent.cli.explain``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from haagent.control import haagent_pb2 as pb
from haagent.control.reply import record_reply, rfc3339
from haagent.core.actions import Record
from haagent.core.identity import HEALTHY, NodeId
from haagent.core.status import RoleStatus, Status
from haagent.core.units import DurationNs, Moment, between, in_words

CHANGES = ("role.changed", "master.changed")
"""Kinds of the records that tell of a change in a group."""


class UnknownGroupError(Exception):
    """There is no such group; the text names those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A change in a group, and what led to it."""

    records: tuple[Record, ...] = ()
    """The change first, after each its cause; empty when no record tells of a change."""
    lost: int | None = None
    """Number of the cause of the last one, when that is no longer kept."""
    trouble: str = ""
    """Why it could not be looked for everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agent:
    """One agent in the group."""

    name: str
    node: NodeId
    role: RoleStatus
    silence: DurationNs | None = None
    """Since it was last heard; None while it is alive."""


def explanation(group: str, status: Status, now: Moment, chain: Chain) -> pb.ExplainReply:
    """Return what ``status`` and ``chain`` tell of ``group`` at ``now``.

    Raises: UnknownGroupError.
    """
    require(group, status)
    agents = [*_agents(group, status, now)]
    masters = [a.name for a in agents if a.silence is None and a.role.state.owns_addresses]
    return pb.ExplainReply(
        time=rfc3339(now.wall // 1_000_000),
        node=status.node,
        group=group,
        masters=masters,
        text=_sentence(group, agents, masters, now, chain),
        records=map(record_reply, chain.records),
        lost_cause=chain.lost,
        ranks=[_candidate(agent, chain) for agent in sorted(agents, key=_rank, reverse=True)],
        trouble=chain.trouble,
    )


def require(group: str, status: Status) -> None:
    """Return when the agent has ``group``.  Raises: UnknownGroupError."""
    groups = [each.role.group for each in status.groups]
    if group not in groups:
        text = f"no group {group!r}, there is {', '.join(groups)}"
        raise UnknownGroupError(text)


def _agents(group: str, status: Status, now: Moment) -> Iterator[_Agent]:
    """Yield each agent of ``group``, ours first."""
    for ours in status.groups:
        if ours.role.group == group:
            yield _Agent(name=status.node, node=status.node_id, role=ours.role)
    for peer in status.peers:
        silence = None if peer.alive else between(peer.last_heard, now.mono)
        for role in peer.roles:
            if role.group == group:
                yield _Agent(name=peer.name, node=peer.node, role=role, silence=silence)


def _sentence(
    group: str, agents: list[_Agent], masters: list[str], now: Moment, chain: Chain
) -> str:
    """Return who is master and why, in one line."""
    roles = {agent.name: agent.role for agent in agents}
    match masters:
        case []:
            ours = agents[0]
            state = ours.role.state.name.lower()
            return f"{group} has no master: {ours.name} is in {state}: {ours.role.reason.text}"
        case [master]:
            role = roles[master]
            since = f"for {in_words(between(role.since, now.mono))} (term {role.term})"
            return f"{master} has been master of {group} {since}: {_because(role, chain)}"
        case several:
            return f"{group} has {len(several)} masters: {', '.join(several)}"


def _because(role: RoleStatus, chain: Chain) -> str:
    beginning = chain.records[-1:]
    texts = [record.text for record in beginning if record.kind not in CHANGES]
    return ": ".join([role.reason.text, *texts])


def _rank(agent: _Agent) -> tuple[bool, int, int, NodeId]:
    """Return what is greater the better the agent is; who cannot be master comes last."""
    role = agent.role
    return _not_electable(agent) is None, role.health, role.priority, agent.node


def _candidate(agent: _Agent, chain: Chain) -> pb.Candidate:
    role = agent.role
    return pb.Candidate(
        agent=agent.name,
        base_priority=role.base_priority,
        priority=role.priority,
        demoted=0 < role.health < HEALTHY,
        state=role.state.name.lower() if agent.silence is None else "silent",
        answer=_answer(agent.name, chain),
        not_electable=_not_electable(agent),
    )


def _answer(agent: str, chain: Chain) -> str | None:
    """Return what is recorded as the newest answer of ``agent``: its name begins the line."""
    for record in chain.records:
        for line in reversed(record.evidence):
            if record.kind in CHANGES and line.startswith(f"{agent} "):
                return line.removeprefix(f"{agent} ")
    return None


def _not_electable(agent: _Agent) -> str | None:
    role = agent.role
    if agent.silence is not None:
        was = role.state.name.lower()
        return f"silent for {in_words(agent.silence)}, was {was} when last heard"
    if role.state.owns_addresses and not role.priority:
        return "hands over as soon as another agent can take over"
    return None if role.priority else role.reason.text
