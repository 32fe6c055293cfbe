"""``haagent haproxy show`` and ``diff``: what HAProxy has at this moment, and what is wanted.

Exit codes of ``diff``: 0 all is as wanted, 1 something is not, or HAProxy does not answer; of
``show``: 0, and 1 when HAProxy does not answer.  Of both: 1 where no HAProxy is configured,
3 no agent answers.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from haagent.cli.control_socket import control_socket
from haagent.cli.status_screen import columns, endpoint, terminal
from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_haproxy
from haagent.control.plain import values_of

_TIMEOUT_S = 10.0
"""HAProxy itself is given 2 s for each backend that it does not answer for."""


def show(socket: Path | None, config: Path | None, as_json: bool) -> None:
    """Show every server that the HAProxy of the agent behind ``socket`` has or should have."""
    reply = _fetch(socket, config)
    if as_json:
        print(json.dumps(values_of(reply), indent=2))
    else:
        terminal().print(_all(reply.servers))
    _exit(reply, different=False)


def diff(socket: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the servers that are not as wanted."""
    reply = _fetch(socket, config)
    different = [server for server in reply.servers if server.difference]
    count = len(reply.servers)
    del reply.servers[:]
    reply.servers.extend(different)
    if as_json:
        print(json.dumps(values_of(reply), indent=2))
    elif different:
        terminal().print(_differences(different))
    elif reply.reachable:
        print(f"as wanted, {count} server{'' if count == 1 else 's'}")
    _exit(reply, different=bool(different))


def _fetch(socket: Path | None, config: Path | None) -> pb.HaproxyReply:
    try:
        return fetch_haproxy(control_socket(socket, config), _TIMEOUT_S)
    except AgentUnreachable as error:
        print(f"haagent: no agent answers: {error}", file=sys.stderr)
        sys.exit(3)


def _exit(reply: pb.HaproxyReply, *, different: bool) -> None:
    """End with the right code, and say on stderr what is wrong with HAProxy."""
    troubles = [reply.trouble, reply.file_trouble]
    if not reply.configured:
        troubles = ["no HAProxy is configured (`haproxy` in haagent.yml)"]
    for trouble in filter(None, troubles):
        print(f"haagent: {trouble}", file=sys.stderr)
    sys.exit(0 if reply.configured and reply.reachable and not different else 1)


def _all(servers: Iterable[pb.HaproxyServer]) -> Table:
    table = columns(
        "backend", "server", "address", "weight", "state", "HAProxy says", "from", "difference"
    )
    for each in servers:
        there = each.actual if each.HasField("actual") else each.wanted
        table.add_row(
            each.backend,
            each.name,
            endpoint(there),
            str(there.weight),
            each.state or "-",
            each.status or "-",
            each.source or "-",
            each.difference,
        )
    return table


def _differences(servers: Iterable[pb.HaproxyServer]) -> Table:
    table = columns("backend", "server", "difference", "wanted", "HAProxy has")
    for each in servers:
        wanted = _facts(each.wanted) if each.HasField("wanted") else "-"
        actual = f"{_facts(each.actual)}, {each.state}" if each.HasField("actual") else "-"
        table.add_row(each.backend, each.name, each.difference, wanted, actual)
    return table


def _facts(server: pb.Server) -> str:
    check = "checked" if server.check else "unchecked"
    return f"{endpoint(server)} weight {server.weight} {check}"
