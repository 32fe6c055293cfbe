"""Asks HAProxy every second what its servers do, for those who look on.

Nothing is decided by it.  Of a long list only the beginning is read; many backends are asked less
often, and where HAProxy does not answer nothing is told.

What this module does not do: change HAProxy, or say why it does not answer (``runtime``).
"""

import time
from collections.abc import Mapping
from threading import Event as Flag

from haagent.adapters.haproxy.exchange import first_lines
from haagent.adapters.haproxy.thread import in_thread
from haagent.core.actions import Backend
from haagent.core.status import Traffic
from haagent.wire.haproxy.tables import show_statistics
from haagent.wire.haproxy.traffic import read_traffic

POLL_S = 1.0
"""HAProxy's own rates are those of the last second."""
SHARE = 0.02
"""Of the time, in which HAProxy tells and we read."""
LONGEST_S = 10.0
"""Between two looks, however long they take: older numbers would be taken for new ones."""


class HAProxyTraffic:
    """See the module docstring.  To be used in one event loop."""

    def __init__(self, socket_path: str, most: int) -> None:
        """``most``: servers of each backend of which it is told, the first that HAProxy has."""
        self._path = socket_path
        self._most = most
        self._wanted: tuple[Backend, ...] = ()
        self._ended = Flag()
        self.latest: Mapping[tuple[str, str], Traffic] = {}
        """By backend and server; never changed, but replaced."""

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Ask about ``backends``; the latest call counts."""
        self._wanted = backends

    async def run(self) -> None:
        """Keep :attr:`latest` up to date until cancelled."""
        await in_thread(self._work, self._ended.set, "haproxy-traffic")

    def _work(self) -> None:
        pause_s = 0.0
        while not self._ended.wait(pause_s):
            begun = time.monotonic()
            try:
                self.latest = self._ask()
            except OSError:
                self.latest, pause_s = {}, POLL_S
            else:
                took_s = time.monotonic() - begun
                pause_s = min(max(POLL_S, took_s / SHARE), LONGEST_S)

    def _ask(self) -> dict[tuple[str, str], Traffic]:
        found: dict[tuple[str, str], Traffic] = {}
        for backend in self._wanted:
            answer = first_lines(self._path, show_statistics(backend.name), 1 + self._most)
            for server, traffic in read_traffic(answer).items():
                found[backend.name, server] = traffic
        return found
