"""HAProxy reloads its configuration, and it is seen to have done so.

A reload fails silently where HAProxy can: the old processes go on, and only the master's count of
failures tells.  So nothing is believed but a new process that has the wanted servers.

Every function raises ReloadError, whose text says what is wrong, and takes a limited time.
"""

import time
from collections.abc import Callable, Sequence

from haagent.adapters.haproxy.exchange import ask, exchange, explain
from haagent.core.actions import Backend
from haagent.wire.haproxy import master
from haagent.wire.haproxy.tables import SHOW_PROCESS, read_process, read_table, show

RELOAD_S = 30.0
"""HAProxy reads 10,000 servers in 0.6 s; with certificates and maps it may take longer."""
VERIFY_S = 15.0
_LOOK_S = 0.05


class ReloadError(Exception):
    """HAProxy did not take the file."""


def process_of(socket: str) -> str:
    """Return which HAProxy answers on the ``stats socket``; empty when none runs."""
    try:
        return read_process(*exchange(socket, [SHOW_PROCESS])) or "unknown"
    except (FileNotFoundError, ConnectionRefusedError):
        return ""
    except OSError as error:
        raise ReloadError(explain(error, socket)) from None


def by_master(socket: str, wait: Callable[[float], object]) -> None:
    """Have the master process at ``socket`` reload; return once it has new workers.

    ``wait`` passes so many seconds.
    """
    deadline = time.monotonic() + RELOAD_S
    before = _processes(socket, deadline, wait)
    try:
        answer = ask(socket, master.RELOAD, RELOAD_S).decode(errors="replace")
    except OSError:
        answer = ""  # The master of 2.6 begins anew at once; what follows tells.
    if why := master.refusal(answer):
        message = f"HAProxy did not reload: {why}"
        raise ReloadError(message)
    while time.monotonic() < deadline:
        now = _processes(socket, deadline, wait)
        if now.failed > before.failed:
            raise ReloadError("HAProxy did not reload (`show proc` of its master: failed)")
        if now.workers - before.workers:
            return
        wait(_LOOK_S)
    message = f"HAProxy has no new worker {RELOAD_S:.0f} s after the reload"
    raise ReloadError(message)


def verify(
    socket: str, before: str, backends: Sequence[Backend], wait: Callable[[float], object]
) -> None:
    """Return once another process than ``before`` answers and has the servers of ``backends``."""
    deadline = time.monotonic() + VERIFY_S
    while why := _shortfall(socket, before, backends):
        if time.monotonic() >= deadline:
            message = f"{VERIFY_S:.0f} s after the reload {why}"
            raise ReloadError(message)
        wait(_LOOK_S)


def _processes(socket: str, deadline: float, wait: Callable[[float], object]) -> master.Processes:
    """Return what the master has; right after its start it may refuse connections."""
    while True:
        try:
            answer = ask(socket, master.SHOW).decode(errors="replace")
        except OSError as error:
            if time.monotonic() >= deadline or isinstance(error, PermissionError):
                message = f"the master socket {socket}: {error.strerror or error}"
                raise ReloadError(message) from None
            wait(_LOOK_S)
            continue
        found = master.read_processes(answer)
        if found is None:
            message = f"{socket} is not the socket of HAProxy's master process"
            raise ReloadError(message)
        return found


def _shortfall(socket: str, before: str, backends: Sequence[Backend]) -> str:
    """Return what is not yet as it should be; empty when all is."""
    try:
        process, *answers = exchange(socket, [SHOW_PROCESS, *map(show, backends)])
    except OSError as error:
        return f"HAProxy does not answer on {socket}: {error.strerror or error}"
    if read_process(process) == before:
        return "the old process of HAProxy still answers"
    for backend, answer in zip(backends, answers, strict=True):
        table = read_table(answer)
        if isinstance(table, str):
            return f"HAProxy has no backend {backend.name}"
        for server in backend.servers:
            held = table.get(server.name)
            if held is None or (held.address, held.port) != (server.address, server.port):
                return f"HAProxy has not the server {backend.name}/{server.name}"
    return ""
