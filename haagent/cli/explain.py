"""``haagent explain GROUP``: who is master of a group, why, and why not another.

It shows the newest change in the group that one agent has seen, what led to it, back along the
causes as far as the mastership before, and all agents in the order of their rank.  An agent that
follows explains as well as the master: each records what it has seen itself.

Exit codes: 0 explained, also that there is no master, 2 no such group, 3 no agent answers.

What this module does not do: find out or judge (``haagent.control.explanation``, in the agent).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from haagent.cli.control_socket import control_socket
from haagent.cli.status_screen import columns, indented, terminal, title
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, UnknownGroup, fetch_explanation
from haagent.control.plain import as_json

_TIMEOUT_S = 3.0


def explain(group: str, socket: Path | None, config: Path | None, in_json: bool) -> None:
    """Explain ``group`` as the agent behind ``socket``, or that ``config`` names, knows it."""
    try:
        reply = fetch_explanation(control_socket(socket, config), _TIMEOUT_S, group)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    except UnknownGroup as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(2)
    if in_json:
        print(as_json(reply))
    else:
        terminal().print(*_screen(reply), sep="\n")


def _screen(reply: pb.ExplainReply) -> Iterator[RenderableType]:
    yield Text(reply.text, "bold")
    yield title(f"the newest change that {reply.node} has seen, and what led to it")
    for record in reply.records:
        yield indented(Text(f"{record.time}  {record.kind}", "dim"))
        yield indented(Text(record.text), by=4)
        for line in record.evidence:
            yield indented(Text(line), by=6)
    if not reply.records:
        yield indented(Text("none is among the records that are kept"))
    if reply.HasField("lost_cause"):
        yield indented(Text(f"led to by record {reply.lost_cause}, which is no longer kept"))
    if reply.trouble:
        yield indented(Text(f"the records on the disk could not be looked at: {reply.trouble}"))
    yield title("by rank")
    table = columns("agent", "priority", "effective", "state", "answer", "electable", giving_way=2)
    for each in reply.ranks:
        table.add_row(
            each.agent,
            str(each.base_priority),
            f"{each.priority} demoted" if each.demoted else str(each.priority),
            each.state,
            each.answer,
            f"no: {each.not_electable}" if each.HasField("not_electable") else "yes",
        )
    yield indented(table)
