"""``haagent reload``: have the running agent take in its configuration file as it is now.

``--dry-run`` says what would come of it, with the same exit code, and touches nothing.

Exit codes: 0 applied or unchanged, 1 refused, 2 the file or what it names cannot be used, 3 no
agent answers.  With 1 and 2 the old configuration stays in force, and the status shows why.
"""

import sys
from pathlib import Path

from haagent.cli.control_socket import control_socket
from haagent.control.client import AgentUnreachable, fetch_status, reload as ask, seen
from haagent.control.haagent_pb2 import ReloadRequest

_TIMEOUT_S = 10.0
"""A reload takes milliseconds, and the longer the busier the machine; another may come first."""

_EXIT_CODES = {"applied": 0, "unchanged": 0, "refused": 1, "invalid": 2}


def reload(socket: Path | None, config: Path | None, *, dry_run: bool) -> None:
    """Ask the agent behind ``socket``, or behind the one that ``config`` names."""
    path = control_socket(socket, config)
    try:
        request = ReloadRequest(dry_run=dry_run, seen=seen(fetch_status(path, _TIMEOUT_S)))
        reply = ask(path, _TIMEOUT_S, request)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    code = _EXIT_CODES[reply.outcome]
    outcome = f"would be {reply.outcome}" if dry_run else reply.outcome
    lines = [outcome, *reply.lines]
    if code:
        what_is = "nothing was touched" if dry_run else "the old configuration stays in force"
        lines = [*reply.lines, f"haagent: {outcome}, {what_is}"]
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    sys.exit(code)
