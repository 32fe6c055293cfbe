"""``haagent failover GROUP``: the master hands a group over to whom the operator wants.

Exit codes: 0 the agent that is wanted is master; 1 refused, or that one did not get ready; 2 the
file that names the socket cannot be used; 3 no agent answers.
"""

import sys
import time
import uuid
from pathlib import Path

from haagent.cli.control_socket import control_socket
from haagent.control.client import AgentUnreachable, fail_over, fetch_status, seen, watch
from haagent.control.haagent_pb2 import FailoverRequest, Role

_TIMEOUT_S = 10.0
_HANDOVER_S = 5.0
"""A successor that does not get ready is given up after 2 s, and its victory is then heard of."""


def failover(group: str, socket: Path | None, config: Path | None, *, to: str, force: bool) -> None:
    """Ask the agent behind ``socket``, or behind the one that ``config`` names; see it done."""
    path = control_socket(socket, config)
    request = FailoverRequest(group=group, to=to, force=force, id=uuid.uuid4().hex)
    try:
        request.seen.extend(seen(fetch_status(path, _TIMEOUT_S), group))
        reply = fail_over(path, _TIMEOUT_S, request)
        role = _settled(path, group, reply.to) if reply.outcome == "begun" else None
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    if reply.outcome == "refused":
        print(
            *reply.lines,
            "haagent: failover refused, nothing has changed",
            sep="\n",
            file=sys.stderr,
        )
        sys.exit(1)
    if role is None:
        print(f"{reply.to} is master of {group} already")
    elif role.master == reply.to:
        print(f"{reply.to} is master of {group}")
    else:
        now = f"{role.master} is master" if role.master else "it has no master"
        print(f"haagent: {reply.to} did not take {group} over: {now}", file=sys.stderr)
        sys.exit(1)


def _settled(socket: Path, group: str, wanted: str) -> Role:
    """Return the agent's part in ``group`` once the handover has come to an end, or is too long."""
    deadline = time.monotonic() + _HANDOVER_S
    role = Role()
    for reply in watch(socket, _TIMEOUT_S):
        role = next((each.role for each in reply.groups if each.role.group == group), Role())
        if role.state == "master" or role.master == wanted or time.monotonic() > deadline:
            break
    return role
