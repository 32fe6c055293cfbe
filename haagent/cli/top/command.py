"""``haagent top`` as it is begun and ended.

Exit codes: 0 ended by the operator; 1 Textual is not installed; 2 bad usage, or no terminal.  An
agent that does not answer is no reason to end: it is waited for.
"""

import sys
from pathlib import Path

from haagent.cli.control_socket import control_socket


def top(socket: Path | None, config: Path | None) -> None:
    """Show the cluster as the agent behind ``socket``, or that ``config`` names, sees it."""
    path = control_socket(socket, config)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "haagent: top takes a terminal; haagent status --watch goes anywhere", file=sys.stderr
        )
        sys.exit(2)
    try:
        # It takes a third of a second to import, and is not on every server.
        from haagent.cli.top.app import Top  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "textual":
            raise
        print("haagent: top takes textual: pip install 'haagent[top]'", file=sys.stderr)
        sys.exit(1)
    Top(path).run()
