"""The configuration file of HAProxy: the lines of our servers, and those that a text has.

A file of the operator's own has a *marked section* for each backend of which haagent writes the
server lines::

    backend app
        balance roundrobin
        # BEGIN haagent app
        server app1 192.0.2.21:8080 weight 100
        # END haagent

What this module does not do: fill in a template, or touch a file (``haagent.adapters.haproxy``).
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address

from haagent.core.actions import Backend, Server

CHECK = "check inter 1s fastinter 200ms fall 2 rise 1"
"""How our servers are checked.  A server starts as up and one failure from down; later, a
failed check is repeated after 200 ms, so an app that refuses connections is out in 1.2 s."""

_BEGIN = re.compile(r"\s*#\s*BEGIN haagent (\S+)\s*")
_END = re.compile(r"\s*#\s*END haagent\b.*\s*")
_SECTION = re.compile(
    r"(global|defaults|frontend|backend|listen|peers|resolvers|mailers|userlist|program|cache|ring"
    r"|http-errors|fcgi-app|log-forward|log-profile|crt-store|traces)\b\s*(\S*)"
)
_SERVER = re.compile(r"\s*server\s+(\S+)\s+(\S+)")


class MarksError(ValueError):
    """A file whose marked sections are not what they should be; the text says what to do."""


def endpoint(server: Server) -> str:
    """Return ``192.0.2.1:80`` or ``[2001:db8::1]:80``."""
    host = f"[{server.address}]" if isinstance(server.address, IPv6Address) else server.address
    return f"{host}:{server.port}"


def line(server: Server) -> str:
    """Return the line of ``server``, without indentation and end."""
    check = f" {CHECK}" if server.check else ""
    return f"server {server.name} {endpoint(server)} weight {server.weight}{check}"


def with_servers(text: str, backends: Iterable[Backend]) -> str:
    """Return ``text`` with the lines of the servers in the marked section of each backend.

    Everything else stays as it is, to the byte.  Raises: MarksError.
    """
    wanted = {backend.name: backend for backend in backends}
    written: list[str] = []
    left = set(wanted)
    current: str | None = None
    for number, row in enumerate(text.splitlines(keepends=True), start=1):
        begun, ended = _BEGIN.fullmatch(row), _END.fullmatch(row)
        if begun:
            _require(current is None, number, "a marked section begins within another")
            current = begun[1]
            _require(current in wanted, number, f"{current} is no backend of haagent.yml")
            _require(current in left, number, f"a second marked section of {current}")
            left.remove(current)
            indent = row[: len(row) - len(row.lstrip())]
            written += [row, *(f"{indent}{line(each)}\n" for each in wanted[current].servers)]
        elif ended:
            _require(current is not None, number, "a marked section ends that has not begun")
            current = None
            written.append(row)
        elif current is None:
            written.append(row)
    _require(current is None, None, f"the marked section of {current} has no `# END haagent`")
    missing = ", ".join(name for name in wanted if name in left)
    _require(not missing, None, f"no line `# BEGIN haagent` for {missing}")
    return "".join(written)


def lacks(text: str, backends: Iterable[Backend]) -> str:
    """Return what of ``backends`` the text of a configuration has not; empty when it has all.

    Weights do not count: they are older in the file than in HAProxy.
    """
    there = _servers_in(text)
    for backend in backends:
        if backend.name not in there:
            return f"it has no backend {backend.name}"
        has = there[backend.name]
        for server in backend.servers:
            if has.pop(server.name, None) != endpoint(server):
                return f"it has no line `server {server.name} {endpoint(server)}` in {backend.name}"
        if has:
            return f"it has the server {next(iter(has))} in {backend.name}, which is not wanted"
    return ""


def _servers_in(text: str) -> Mapping[str, dict[str, str]]:
    """Return name and address of every server line of each backend."""
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for row in text.splitlines():
        section, server = _SECTION.match(row.strip()), _SERVER.match(row)
        if section:
            is_backend = section[1] in {"backend", "listen"}
            current = found.setdefault(section[2], {}) if is_backend else {}
        elif server:
            current[server[1]] = server[2]
    return found


def _require(condition: bool, number: int | None, text: str) -> None:
    if not condition:
        place = "" if number is None else f"line {number}: "
        message = f"{place}{text}"
        raise MarksError(message)


def same_servers(some: Iterable[Backend], others: Iterable[Backend]) -> bool:
    """Return whether a file for ``some`` does for ``others``: weights and order do not matter."""
    return _members(some) == _members(others)


def _members(backends: Iterable[Backend]) -> dict[str, frozenset[tuple[object, ...]]]:
    return {
        backend.name: frozenset((s.name, s.address, s.port, s.check) for s in backend.servers)
        for backend in backends
    }
