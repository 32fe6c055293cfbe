"""Which commands make what HAProxy has into what is wanted, and how that ended.

``plan`` gives the changes, ``in_order`` their commands in the order of importance, and ``observe``
says what is there afterwards and which changes were refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from haagent.core.actions import Backend, Server
from haagent.core.events import BackendsObserved
from haagent.core.settings import IPAddress
from haagent.wire.haproxy.configuration import CHECK, endpoint
from haagent.wire.haproxy.tables import Held, Table

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


class Stage(IntEnum):
    """When a command is given: what keeps requests from a dead server comes first."""

    OUT = 0
    """Out of service, where another server of the backend remains in it."""
    ADJUST = 1
    ADD = 2
    """Takes the longest, by far."""
    OUT_LATE = 3
    """Out of service, where none but new servers remain."""
    DELETE = 4


@dataclass(frozen=True, slots=True)
class Change:
    """What puts one server right."""

    server: str
    """``backend/server``."""
    steps: tuple[tuple[Stage, str], ...]
    """The commands, in order."""

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(command for _, command in self.steps)


def plan(backend: Backend, held: Mapping[str, Held]) -> list[Change]:
    """Return the changes that make ``held`` the wanted list; none when it is."""
    return [change for change in _changes(backend, held) if change.steps]


def in_order(changes: Iterable[Change]) -> list[str]:
    """Return all commands, the most urgent first; those of one server stay in their order."""
    steps = [step for change in changes for step in change.steps]
    return [command for _, command in sorted(steps, key=lambda step: step[0])]


def is_urgent(change: Change) -> bool:
    """Return whether more is to be done than to share the requests out otherwise."""
    stages = {stage for stage, _ in change.steps}
    return stages != {Stage.ADJUST} or " weight " not in change.commands[-1]


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


def _changes(backend: Backend, held: Mapping[str, Held]) -> Iterator[Change]:
    out = Stage.OUT if _something_remains(backend, held) else Stage.OUT_LATE
    for server in backend.servers:
        there = held.get(server.name)
        if there is None or not there.serves(server):
            path = f"{backend.name}/{server.name}"
            yield Change(path, _settle(path, server, there, out))
    if not backend.whole:
        return
    wanted = {server.name for server in backend.servers}
    for name, old in held.items():
        if name not in wanted:
            path = f"{backend.name}/{name}"
            yield Change(path, tuple(_remove(path, old, out)))


def _something_remains(backend: Backend, held: Mapping[str, Held]) -> bool:
    """Return whether a server that is there goes on with its share of the requests."""
    there = ((server, held.get(server.name)) for server in backend.servers if server.weight)
    return any(
        old is not None
        and old.in_service
        and old.weight
        and (old.address, old.port) == (server.address, server.port)
        for server, old in there
    )


def _settle(
    path: str, server: Server, held: Held | None, out: Stage
) -> tuple[tuple[Stage, str], ...]:
    if held is None:
        return _all_in(Stage.ADD, _add(path, server))
    if held.address is None:
        # HAProxy changes an address only within the families that have one.
        anew = [command for _, command in _remove(path, held, out)]
        return _all_in(Stage.ADD, (*anew, *_add(path, server)))
    stage = Stage.ADJUST if server.weight or not held.weight else out
    return _all_in(stage, _adjust(path, server, held))


def _all_in(stage: Stage, commands: Iterable[str]) -> tuple[tuple[Stage, str], ...]:
    return tuple((stage, command) for command in commands)


def _add(path: str, server: Server) -> Iterator[str]:
    """Add a server: it starts in maintenance and unchecked, but can be checked at any time."""
    yield f"add server {path} {endpoint(server)} weight {server.weight} {CHECK}"
    if server.check:
        yield f"enable health {path}"
    # Not `enabled` with `add server`: HAProxy 2.6 then sends it nothing.
    yield f"set server {path} state ready"


def _adjust(path: str, server: Server, held: Held) -> Iterator[str]:
    if (held.address, held.port) != (server.address, server.port):
        yield f"set server {path} addr {server.address} port {server.port}"
    if held.check != server.check:
        yield f"{'enable' if server.check else 'disable'} health {path}"
    if not held.in_service:
        yield f"set server {path} state ready"
    elif held.forced_down:
        yield f"set server {path} health up"
    if held.weight != server.weight:
        yield f"set server {path} weight {server.weight}"


def _remove(path: str, held: Held, out: Stage) -> Iterator[tuple[Stage, str]]:
    """Sessions are left to end by themselves; HAProxy refuses to delete until they have."""
    if not held.in_maintenance:
        yield out, f"set server {path} state maint"
    yield Stage.DELETE, f"del server {path}"


def _in_service(backend: Backend, held: Mapping[str, Held]) -> tuple[Server, ...]:
    """Return what serves, in the wanted order; what is as wanted is the very same object."""
    wanted = {server.name: server for server in backend.servers}
    found = (held.get(name) for name in dict.fromkeys((*wanted, *held)))
    return tuple(
        _as_server(each, wanted.get(each.name), each.address)
        for each in found
        if each is not None and each.in_service and each.address is not None
    )


def _as_server(held: Held, wanted: Server | None, address: IPAddress) -> Server:
    if wanted is not None and held.serves(wanted):
        return wanted
    return Server(
        name=held.name, address=address, port=held.port, weight=held.weight, check=held.check
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
