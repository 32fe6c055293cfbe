"""``haagent reload``: have the running agent take in its configuration file as it is now.

Exit codes: 0 applied or unchanged, 1 refused, 2 the file or what it names cannot be used, 3 no
agent answers.  With 1 and 2 the old configuration stays in force, and the status shows why.
"""

import sys
from pathlib import Path

from haagent.cli.control_socket import control_socket
from haagent.control.client import AgentUnreachable, reload as ask

_TIMEOUT_S = 10.0
"""A reload takes milliseconds, and the longer the busier the machine; another may come first."""

_EXIT_CODES = {"applied": 0, "unchanged": 0, "refused": 1, "invalid": 2}


def reload(socket: Path | None, config: Path | None) -> None:
    """Ask the agent behind ``socket``, or behind the one that ``config`` names."""
    try:
        reply = ask(control_socket(socket, config), _TIMEOUT_S)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    code = _EXIT_CODES[reply.outcome]
    lines = [reply.outcome, *reply.lines]
    if code:
        lines = [*reply.lines, f"haagent: {reply.outcome}, the old configuration stays in force"]
    print(*lines, sep="\n", file=sys.stderr if code else sys.stdout)
    sys.exit(code)
