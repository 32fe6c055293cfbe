"""HAProxy's Runtime API as text: what to ask, what the answer means, what to change.

``show`` asks for the servers of a backend, ``read_table`` reads the answer, ``plan`` says
which commands lead from there to the wanted list, and ``observe`` says how it ended.
``request`` and ``replies`` are the framing: one line in interactive mode, so that each
command's answer stands between two prompts.

What this module does not do: open a socket (``haagent.adapters.haproxy_runtime``), or
decide which servers are wanted (``haagent.core.backends``).

Source: HAProxy 2.6 management guide 9.3, and the behaviour of 2.6.12 where they differ.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from typing import TypeAlias

from haagent.core.actions import Backend, Server
from haagent.core.events import BackendsObserved
from haagent.core.settings import IPAddress

MAX_BATCH_COMMANDS = 100
MAX_BATCH_BYTES = 8192
"""Half of HAProxy's default buffer (``tune.bufsize``)."""

CHECK = "check inter 1s fastinter 200ms fall 2 rise 1"
"""How our servers are checked.  A server starts as up and one failure from down; later, a
failed check is repeated after 200 ms, so an app that refuses connections is out in 1.2 s."""

_PROMPT = "\n> "
_NAME = re.compile(r"[\w.:-]+", re.ASCII)
"""HAProxy's own rule for names."""
_COMMAND = re.compile(r"[\w .:/%\[\]-]+", re.ASCII)
"""No newline or ``;`` (a second command), no ``<`` (a payload), no backslash."""

_FORCED_MAINTENANCE = 0x01
_OUT_OF_SERVICE = 0x3B
"""Maintenance or drain, forced, inherited or for want of an address."""
_CHECK_ENABLED = 0x04
_STOPPED = "0"

_STILL_CONNECTED = "Server still has connections"
_ADVICE = {
    "Permission denied": "give the `stats socket` in haproxy.cfg `level admin`",
    "Unknown command": "HAProxy 2.6 or newer is needed",
    "Can't find backend": "add the backend to haproxy.cfg",
    "dynamic load balancing": "give the backend `balance roundrobin` or `leastconn`",
    "elements pointing to it": "it is in maintenance; take the server out of haproxy.cfg",
    "Health check was not configured": "add `check` to the server's line in haproxy.cfg",
}
"""Part of an answer, and what the operator can do."""
_MAX_TROUBLES = 5
_MAX_QUOTE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One server as HAProxy has it."""

    name: str
    address: IPAddress | None
    """None for a name that is not resolved and for a Unix socket."""
    port: int
    weight: int
    check: bool
    """Whether health checks are made."""
    in_maintenance: bool
    """Forced into it, which ``del server`` requires."""
    in_service: bool
    """Neither in maintenance nor draining; a failed health check does not count."""
    forced_down: bool
    """Down although nothing checks it: by ``health down``, or ``disable health`` while down."""


Table: TypeAlias = dict[str, Held] | str
"""The servers of one backend by name; or what HAProxy said instead."""


@dataclass(frozen=True, slots=True)
class Change:
    """The commands that put one server right, in order."""

    server: str
    """``backend/server``."""
    commands: tuple[str, ...]


def show(backend: Backend) -> str:
    """Return the command whose answer :func:`read_table` reads."""
    return f"show servers state {backend.name}"


def batches(commands: Iterable[str]) -> Iterator[list[str]]:
    """Yield ``commands`` in order, in lists that are fit for one :func:`request`."""
    batch: list[str] = []
    size = 0
    for command in commands:
        if batch and (len(batch) == MAX_BATCH_COMMANDS or size + len(command) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(command)
        size += len(command) + 1
    if batch:
        yield batch


def request(commands: Sequence[str]) -> bytes:
    """Return the line that asks for ``commands`` and then for the end of the connection."""
    for command in commands:
        assert _COMMAND.fullmatch(command), f"not one command: {command!r}"
    return ";".join(("prompt", *commands, "quit")).encode() + b"\n"


def replies(data: bytes, count: int) -> list[str] | None:
    """Return the answers to a :func:`request` of ``count`` commands.

    None when ``data`` is not the whole answer of a HAProxy.
    """
    first, *answers = data.decode(errors="replace").split(_PROMPT)
    if first or len(answers) != count + 1 or answers.pop():
        return None
    return [answer.strip() for answer in answers]


def read_table(answer: str) -> Table:
    """Return what ``show servers state`` tells; the answer itself when it is no such table.

    Shape: the version, a comment with the names of the columns, a line for each server.
    """
    version, *rows = answer.splitlines() or [""]
    if version != "1":
        return answer
    try:
        servers = [_held(_COLUMNS(row.split())) for row in rows if not row.startswith("#")]
    except (ValueError, IndexError):
        return answer
    return {server.name: server for server in servers}


def plan(backend: Backend, held: Mapping[str, Held]) -> list[Change]:
    """Return the changes that make ``held`` the wanted list; none when it is.

    New servers come before old ones go, so the backend is not empty between.
    """
    return [change for change in _changes(backend, held) if change.commands]


def observe(
    wanted: Sequence[Backend], tables: Sequence[Table], answers: Mapping[str, str]
) -> BackendsObserved:
    """Return what HAProxy has now, one table for each wanted backend.

    ``answers`` are those to the commands that were given before the tables were read: a
    command that would still be needed was refused.  Only servers in service are reported, so
    what was seen equals what was wanted, order included, when HAProxy serves just that.  A
    removed server that waits for its last connection is neither seen nor trouble.
    """
    backends = []
    troubles = []
    for backend, table in zip(wanted, tables, strict=True):
        if isinstance(table, str):
            troubles.append(_explain(f"backend {backend.name}", table))
        else:
            backends.append(Backend(backend.name, _in_service(backend, table)))
            troubles += _refusals(plan(backend, table), answers) if answers else []
    return BackendsObserved(
        reachable=True, backends=tuple(backends), trouble="; ".join(_shorten(troubles))
    )


_COLUMNS = itemgetter(3, 4, 5, 6, 7, 13, 14, 18)
"""Name, address, operational and administrative state, weight, state of the check and of the
agent check, port: their places in format version 1 (``show servers state``)."""


@lru_cache(maxsize=4096)
def _held(columns: tuple[str, ...]) -> Held:
    """Return the server of one row.  Remembered, because most polls find what the last one did."""
    name, address, state, admin, weight, check, agent, port = columns
    if not _NAME.fullmatch(name):
        raise ValueError(name)
    in_service = not int(admin) & _OUT_OF_SERVICE
    return Held(
        name=name,
        address=None if address == "-" else ip_address(address),
        port=int(port),
        weight=int(weight),
        check=bool(int(check) & _CHECK_ENABLED),
        in_maintenance=bool(int(admin) & _FORCED_MAINTENANCE),
        in_service=in_service,
        forced_down=(
            in_service and state == _STOPPED and not (int(check) | int(agent)) & _CHECK_ENABLED
        ),
    )


def _changes(backend: Backend, held: Mapping[str, Held]) -> Iterator[Change]:
    for server in backend.servers:
        path = f"{backend.name}/{server.name}"
        yield Change(path, _settle(path, server, held.get(server.name)))
    wanted = {server.name for server in backend.servers}
    for name, old in held.items():
        if name not in wanted:
            path = f"{backend.name}/{name}"
            yield Change(path, _remove(path, old))


def _settle(path: str, server: Server, held: Held | None) -> tuple[str, ...]:
    if held is None:
        return _add(path, server)
    if held.address is None:
        # HAProxy changes an address only within the families that have one.
        return (*_remove(path, held), *_add(path, server))
    return tuple(_adjust(path, server, held))


def _add(path: str, server: Server) -> tuple[str, ...]:
    """A server starts in maintenance and unchecked.

    Each is added with check parameters, because they cannot be given later.
    """
    host = f"[{server.address}]" if isinstance(server.address, IPv6Address) else server.address
    add = f"add server {path} {host}:{server.port} weight {server.weight} {CHECK}"
    health = (f"enable health {path}",) if server.check else ()
    return (add, *health, f"set server {path} state ready")


def _adjust(path: str, server: Server, held: Held) -> Iterator[str]:
    if (held.address, held.port) != (server.address, server.port):
        yield f"set server {path} addr {server.address} port {server.port}"
    if held.weight != server.weight:
        yield f"set server {path} weight {server.weight}"
    if held.check != server.check:
        yield f"{'enable' if server.check else 'disable'} health {path}"
    if not held.in_service:
        yield f"set server {path} state ready"
    elif held.forced_down:
        yield f"set server {path} health up"


def _remove(path: str, held: Held) -> tuple[str, ...]:
    """Sessions are left to end by themselves; HAProxy refuses to delete until they have."""
    delete = f"del server {path}"
    return (delete,) if held.in_maintenance else (f"set server {path} state maint", delete)


def _in_service(backend: Backend, held: Mapping[str, Held]) -> tuple[Server, ...]:
    names = dict.fromkeys((*(server.name for server in backend.servers), *held))
    return tuple(
        Server(name=s.name, address=s.address, port=s.port, weight=s.weight, check=s.check)
        for s in map(held.get, names)
        if s is not None and s.in_service and s.address is not None
    )


def _refusals(left: Iterable[Change], answers: Mapping[str, str]) -> list[str]:
    """The first command of a change that is left is the one that failed; the rest follow it."""
    servers: dict[str, list[str]] = {}
    for change in left:
        command, *rest = change.commands
        answer = answers.get(command)
        leaving = not rest and _STILL_CONNECTED in (answer or "")
        if answer is not None and not leaving:
            servers.setdefault(answer or f"`{command}` had no effect", []).append(change.server)
    return [
        _explain(f"server {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else ""), said)
        for said, names in servers.items()
    ]


def _explain(what: str, said: str) -> str:
    advice = [f" ({text})" for part, text in _ADVICE.items() if part in said]
    quote = " ".join(said.split())[:_MAX_QUOTE].rstrip(".")
    return f"{what}: {quote}{''.join(advice)}"


def _shorten(troubles: Sequence[str]) -> Sequence[str]:
    if len(troubles) <= _MAX_TROUBLES:
        return troubles
    return (*troubles[:_MAX_TROUBLES], f"and {len(troubles) - _MAX_TROUBLES} more")
