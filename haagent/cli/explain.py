"""``haagent explain GROUP``: who is master of a group, why, and why not another.

It shows the newest change in the group among the records that one agent keeps, what led to it,
back along the causes as far as the mastership before, and all agents in the order of their rank.
An agent that follows explains as well as the master: each records what it has seen itself.

Exit codes: 0 explained, also that there is no master, 2 no such group, 3 no agent answers.

What this module does not do: judge.  The agent wrote down what it has decided, and on what.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from haagent.cli.control_socket import control_socket
from haagent.cli.status import agents_in, is_demoted, masters
from haagent.cli.status_screen import columns, duration, indented, terminal, title
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_status
from haagent.control.plain import values_of

_TIMEOUT_S = 3.0

_CHANGES = {"role.changed", "master.changed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """A change in a group, and what led to it."""

    records: tuple[pb.Record, ...] = ()
    """The change first, after each its cause; empty when no record tells of a change."""
    lost: int | None = None
    """Number of the cause of the last one, when that is no longer kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """An agent, and what speaks against it as master."""

    agent: str
    base_priority: int
    priority: int
    demoted: bool
    """Whether it ranks below all whose checks pass."""
    """Effective."""
    state: str
    answer: str | None
    """What it said to whoever stood, as that one recorded it."""
    not_electable: str | None
    """Why; None where nothing speaks against it."""


def explain(group: str, socket: Path | None, config: Path | None, as_json: bool) -> None:
    """Explain ``group`` as the agent behind ``socket``, or that ``config`` names, knows it."""
    try:
        reply = fetch_status(control_socket(socket, config), _TIMEOUT_S)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    groups = [each.role.group for each in reply.groups]
    if group not in groups:
        print(f"haagent: no group {group!r}, there is {', '.join(groups)}", file=sys.stderr)
        sys.exit(2)
    chain = _chain(group, reply)
    ranks = _ranks(group, reply, chain)
    if as_json:
        print(json.dumps(_plain(group, reply, chain, ranks), indent=2))
    else:
        terminal().print(*_screen(group, reply, chain, ranks), sep="\n")


def _chain(group: str, reply: pb.StatusReply) -> _Chain:
    kept = {record.number: record for record in reply.records}
    records = [r for r in reply.records if r.group == group and r.kind in _CHANGES][-1:]
    while records and records[-1].HasField("cause"):
        cause = records[-1].cause
        # What led to a record was recorded before it, so this comes to an end.
        if cause not in kept or cause >= records[-1].number:
            return _Chain(records=tuple(records), lost=cause)
        records.append(kept[cause])
    return _Chain(records=tuple(records))


def _ranks(group: str, reply: pb.StatusReply, chain: _Chain) -> list[_Candidate]:
    """Return all agents of ``group``, the best first; who cannot be master comes last."""
    ids = {reply.node: reply.node_id} | {peer.name: peer.node_id for peer in reply.peers}
    ranked = []
    for agent, role, silence_ms in agents_in(group, reply):
        candidate = _Candidate(
            agent=agent,
            base_priority=role.base_priority,
            priority=role.priority,
            demoted=is_demoted(role),
            state=role.state if silence_ms is None else "silent",
            answer=_answer(agent, chain),
            not_electable=_not_electable(role, silence_ms),
        )
        electable = candidate.not_electable is None
        ranked.append((electable, role.health, role.priority, ids[agent], candidate))
    return [candidate for *_, candidate in sorted(ranked, key=lambda r: r[:4], reverse=True)]


def _answer(agent: str, chain: _Chain) -> str | None:
    """Return what is recorded as the newest answer of ``agent``: its name begins the line."""
    for record in chain.records:
        for line in reversed(record.evidence):
            if record.kind in _CHANGES and line.startswith(f"{agent} "):
                return line.removeprefix(f"{agent} ")
    return None


def _not_electable(role: pb.Role, silence_ms: int | None) -> str | None:
    if silence_ms is not None:
        return f"silent for {duration(silence_ms)}, was {role.state} when last heard"
    if role.state in {"master", "resigning"} and not role.priority:
        return "hands over as soon as another agent can take over"
    return None if role.priority else role.reason_text


def _sentence(group: str, reply: pb.StatusReply, chain: _Chain) -> str:
    """Return who is master and why, in one line."""
    roles = {agent: role for agent, role, _ in agents_in(group, reply)}
    match masters(group, reply):
        case []:
            ours = roles[reply.node]
            return f"{group} has no master: {reply.node} is in {ours.state}: {ours.reason_text}"
        case [master]:
            role = roles[master]
            since = f"for {duration(role.age_ms)} (term {role.term})"
            return f"{master} has been master of {group} {since}: {_because(role, chain)}"
        case several:
            return f"{group} has {len(several)} masters: {', '.join(several)}"


def _because(role: pb.Role, chain: _Chain) -> str:
    beginning = chain.records[-1:]
    texts = [record.text for record in beginning if record.kind not in _CHANGES]
    return ": ".join([role.reason_text, *texts])


def _plain(
    group: str, reply: pb.StatusReply, chain: _Chain, ranks: list[_Candidate]
) -> dict[str, object]:
    return {
        "time": reply.time,
        "node": reply.node,
        "group": group,
        "masters": masters(group, reply),
        "text": _sentence(group, reply, chain),
        "records": [values_of(record) for record in chain.records],
        "lost_cause": chain.lost,
        "ranks": [asdict(candidate) for candidate in ranks],
    }


def _screen(
    group: str, reply: pb.StatusReply, chain: _Chain, ranks: list[_Candidate]
) -> Iterator[RenderableType]:
    yield Text(_sentence(group, reply, chain), "bold")
    yield title(f"the newest change that {reply.node} has seen, and what led to it")
    for record in chain.records:
        yield indented(Text(f"{record.time}  {record.kind}", "dim"))
        yield indented(Text(record.text), by=4)
        for line in record.evidence:
            yield indented(Text(line), by=6)
    if not chain.records:
        yield indented(Text("none is among the records that are kept"))
    if chain.lost is not None:
        yield indented(Text(f"led to by record {chain.lost}, which is no longer kept"))
    yield title("by rank")
    table = columns("agent", "priority", "effective", "state", "answer", "electable", giving_way=2)
    for each in ranks:
        against = "yes" if each.not_electable is None else f"no: {each.not_electable}"
        table.add_row(
            each.agent,
            str(each.base_priority),
            f"{each.priority} demoted" if each.demoted else str(each.priority),
            each.state,
            each.answer or "",
            against,
        )
    yield indented(table)
