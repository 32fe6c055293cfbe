"""The adapters of the local HAProxy as one: each gets what is wanted, and runs by itself."""

import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial

from haagent.adapters import programs
from haagent.adapters.haproxy.file import HAProxyFile
from haagent.adapters.haproxy.inspection import inspect
from haagent.adapters.haproxy.runtime import HAProxyRuntime
from haagent.adapters.haproxy.thread import in_thread
from haagent.adapters.haproxy.traffic import HAProxyTraffic
from haagent.control import haagent_pb2 as pb
from haagent.control.reply import MOST_SERVERS, server_reply
from haagent.core.actions import Backend
from haagent.core.events import Event
from haagent.core.settings import HAProxySettings
from haagent.core.status import BackendsStatus, Traffic
from haagent.wire.haproxy.listing import Row
from haagent.wire.haproxy.master import alerts
from haagent.wire.haproxy.tables import Held

PART = 500
"""Servers in one message: 100 KB at most of the 4 MB that gRPC takes, and 1 ms of the loop."""


class HAProxy:
    """See the module docstring."""

    def __init__(self, settings: HAProxySettings, post: Callable[[Event], None]) -> None:
        self._settings = settings
        self._runtime = HAProxyRuntime(settings.socket, post)
        self._traffic = HAProxyTraffic(settings.socket, MOST_SERVERS)
        self._file = None
        if settings.file is not None:
            self._file = HAProxyFile(settings.file, settings.socket, _run, post)

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Have exactly ``backends``, soon; the latest call counts."""
        self._runtime.want(backends)
        self._traffic.want(backends)
        if self._file is not None:
            self._file.want(backends)

    @property
    def traffic(self) -> Mapping[tuple[str, str], Traffic]:
        """What HAProxy has told last of what its servers do, by backend and server."""
        return self._traffic.latest

    def reconfigure(self, settings: HAProxySettings) -> None:
        """Go by ``settings``: other servers; make the file anew, whose template may be another."""
        self._settings = settings
        if self._file is not None:
            self._file.again()

    async def inspect(self, status: BackendsStatus) -> list[pb.HaproxyReply]:
        """Return every server that HAProxy has at this moment beside what is wanted, in parts."""
        parts: list[pb.HaproxyReply] = []
        work = partial(self._inspect, status, parts)
        await in_thread(work, lambda: None, "haproxy-inspect")
        return parts

    def _inspect(self, status: BackendsStatus, parts: list[pb.HaproxyReply]) -> None:
        found, trouble = inspect(self._settings.socket, status.wanted)
        of_file = {(b.name, s.name) for b in self._settings.backends for s in b.servers}
        head = pb.HaproxyReply(
            configured=True,
            reachable=not trouble,
            trouble=trouble or status.trouble,
            file=status.file,
            file_trouble=status.file_trouble,
        )
        parts.append(head)
        for begin in range(0, len(found), PART):
            servers = [_server(row, of_file) for row in found[begin : begin + PART]]
            parts.append(pb.HaproxyReply(servers=servers))

    def runs(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        """Return what is to run for as long as the agent does."""
        file = [] if self._file is None else [self._file.run]
        return [self._runtime.run, self._traffic.run, *file]


def _server(row: Row, of_file: Collection[tuple[str, str]]) -> pb.HaproxyServer:
    source = "file" if (row.backend, row.name) in of_file else "node"
    return pb.HaproxyServer(
        backend=row.backend,
        name=row.name,
        source="" if row.wanted is None else source,
        wanted=None if row.wanted is None else server_reply(row.wanted),
        actual=None if row.actual is None else _held(row.actual),
        state=row.state,
        status=row.status,
        difference=row.difference,
    )


def _held(held: Held) -> pb.Server:
    return pb.Server(
        name=held.name,
        address="" if held.address is None else str(held.address),
        port=held.port,
        weight=held.weight,
        check=held.check,
    )


def _run(words: Sequence[str], timeout_s: float) -> str:
    """Run a command as whoever the agent is; return why it failed, as HAProxy tells it."""
    as_root = "root" if os.geteuid() == 0 else None  # Who runs the agent as root means it.
    ended = programs.run(words, timeout_s=timeout_s, user=as_root)
    return "" if ended.ok else alerts(ended.output) or ended.text
