"""What HAProxy answers, read: the servers of a backend, their health, the process itself.

Columns are found by the name in the head line, never by their place, which differs between
versions.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from operator import itemgetter
from typing import TypeAlias

from haagent.core.actions import Backend, Server
from haagent.core.settings import IPAddress

SHOW_PROCESS = "show info"
"""Asks for what :func:`read_process` reads."""

_NAME = re.compile(r"[\w.:-]+", re.ASCII)
"""HAProxy's own rule for names."""

_FORCED_MAINTENANCE = 0x01
_OUT_OF_SERVICE = 0x3B
"""Maintenance or drain, forced, inherited or for want of an address."""
_MAINTENANCE = 0x23
_CHECK_ENABLED = 0x04
_STOPPED = "0"

_COLUMNS = (
    "srv_name",
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
    "srv_check_state",
    "srv_agent_state",
    "srv_port",
)
_HEALTH = ("svname", "status", "check_status")
_PROCESS = ("Pid: ", "Start_time_sec: ")
"""Lines of ``show info``.  The first alone may be the same after the restart of a container."""

_Row: TypeAlias = tuple[str, ...]


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
    draining: bool
    """Out of service, but not in maintenance."""
    forced_down: bool
    """Down although nothing checks it: by ``health down``, or ``disable health`` while down."""

    def serves(self, server: Server) -> bool:
        """Return whether nothing has to be done for ``server``."""
        return (
            self.in_service
            and not self.forced_down
            and self.weight == server.weight
            and self.port == server.port
            and self.check == server.check
            and self.address == server.address
        )


Table: TypeAlias = dict[str, Held] | str
"""The servers of one backend by name; or what HAProxy said instead."""


def show(backend: Backend) -> str:
    """Return the command whose answer :func:`read_table` reads."""
    return f"show servers state {backend.name}"


def show_statistics(backend: str) -> str:
    """Return the command whose answer :func:`statistics` reads; 4 is a server, -1 are all."""
    return f"show stat {backend} 4 -1"


class Tables:
    """Reads tables of the same backends again and again: what has not changed costs little."""

    def __init__(self) -> None:
        self._known: dict[str, dict[_Row, Held]] = {}

    def read(self, backend: str, answer: str) -> Table:
        """Return what ``show servers state`` tells; the answer itself when it is no such table.

        Shape: the version, a comment with the names of the columns, a line for each server.
        """
        known = self._known.get(backend, {})
        table: dict[str, Held] = {}
        anew: dict[_Row, Held] = {}
        try:
            # One row after the other: ten thousand at a time would set off the garbage collector.
            for row in _rows(answer):
                held = known.get(row)
                if held is None:
                    held = anew[row] = _held(row)
                table[held.name] = held
        except (ValueError, IndexError):
            return answer
        if anew or len(table) != len(known):
            rows = {**known, **anew}.items()
            self._known[backend] = {row: held for row, held in rows if table.get(held.name) is held}
        return table


def read_table(answer: str) -> Table:
    """Return what :meth:`Tables.read` does, of a backend that is read once."""
    return Tables().read("", answer)


def read_health(answer: str) -> dict[str, str]:
    """Return HAProxy's own word for each server, and the last check: ``UP L4OK``.

    Empty when the answer is no such table.
    """
    rows = statistics(answer, _HEALTH)
    return {name: f"{status} {check}".strip() for name, status, check in rows}


def statistics(answer: str, columns: Collection[str]) -> Iterator[list[str]]:
    """Yield these columns of each server; nothing when the answer is no such table."""
    head, *rows = answer.removeprefix("# ").splitlines() or [""]
    names = head.split(",")
    if not set(columns) <= set(names):
        return
    places = [names.index(name) for name in columns]
    last = max(places)
    for row in rows:
        # What is quoted, and may hold a comma, stands behind.
        cells = row.split(",", last + 1)
        if len(cells) > last:
            yield [cells[place] for place in places]


def read_process(answer: str) -> str:
    """Return what no other process of HAProxy has in common with this one."""
    return " ".join(line for line in answer.splitlines() if line.startswith(_PROCESS))


def _rows(answer: str) -> Iterator[_Row]:
    """Yield our columns of each server.  Raises: ValueError, IndexError."""
    version, head, *rows = answer.splitlines()
    if version != "1" or not head.startswith("# "):
        raise ValueError(version)
    names = head.removeprefix("# ").split()
    columns: Callable[[list[str]], _Row] = itemgetter(*map(names.index, _COLUMNS))
    return (columns(row.split()) for row in rows)


def _held(row: _Row) -> Held:
    name, address, state, admin, weight, check, agent, port = row
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
        draining=not in_service and not int(admin) & _MAINTENANCE,
        forced_down=(
            in_service and state == _STOPPED and not (int(check) | int(agent)) & _CHECK_ENABLED
        ),
    )
