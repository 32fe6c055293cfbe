"""``haagent status``: the whole cluster as one agent sees it, for people and for scripts.

Exit codes: 0 every group has a master, 1 one has none or a critical alarm is on (which, on
stderr), 3 no agent answers.  A watch ends with 0 on Ctrl-C.

What this module does not do: draw the screen (``status_screen``).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from haagent.cli.control_socket import control_socket
from haagent.control import haagent_pb2 as pb, plain
from haagent.control.client import AgentUnreachable, fetch_status, watch
from haagent.core.identity import HEALTHY

_TIMEOUT_S = 3.0


def status(socket: Path | None, config: Path | None, as_json: bool, keep_watching: bool) -> None:
    """Show what the agent behind ``socket``, or behind the one that ``config`` names, knows."""
    path = control_socket(socket, config)
    try:
        if keep_watching:
            _show_all(watch(path, _TIMEOUT_S), as_json)
        else:
            reply = fetch_status(path, _TIMEOUT_S)
            _show(reply, as_json)
            _exit_by(_troubles(reply))
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(0 if keep_watching else 130)


def agents_in(group: str, reply: pb.StatusReply) -> Iterator[tuple[str, pb.Role, int | None]]:
    """Yield name, role and, of a silent one, the silence in ms of each agent, ours first."""
    for ours in reply.groups:
        if ours.role.group == group:
            yield reply.node, ours.role, None
    for peer in reply.peers:
        for role in peer.roles:
            if role.group == group:
                yield peer.name, role, None if peer.alive else peer.last_heard_age_ms


def is_demoted(role: pb.Role) -> bool:
    """Return whether a check has the agent rank below all whose checks pass."""
    return 0 < role.health < HEALTHY


def masters(group: str, reply: pb.StatusReply) -> list[str]:
    """Return the names of the living agents that own the addresses of ``group`` by role."""
    return [
        name
        for name, role, silence_ms in agents_in(group, reply)
        if silence_ms is None and role.state in {"master", "resigning"}
    ]


def _show(reply: pb.StatusReply, as_json: bool) -> None:
    if as_json:
        print(plain.as_json(reply))
    else:
        from haagent.cli.status_screen import show  # noqa: PLC0415

        show(reply)


def _show_all(replies: Iterator[pb.StatusReply], as_json: bool) -> None:
    if as_json:
        for reply in replies:
            print(json.dumps(plain.values_of(reply)), flush=True)
    else:
        from haagent.cli.status_screen import show_live  # noqa: PLC0415

        show_live(replies)


def _troubles(reply: pb.StatusReply) -> list[str]:
    orphans = [
        f"group {group.role.group} has no master"
        for group in reply.groups
        if not masters(group.role.group, reply)
    ]
    alarms = [
        f"{alarm.kind}: {alarm.text}" for alarm in reply.alarms if alarm.severity == "critical"
    ]
    return orphans + alarms


def _exit_by(troubles: list[str]) -> None:
    for trouble in troubles:
        print(f"haagent: {trouble}", file=sys.stderr)
    sys.exit(1 if troubles else 0)
