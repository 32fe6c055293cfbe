"""Asks HAProxy every second what its servers do, for those who look on.

Nothing is decided by it.  A list that takes long to tell is asked for less often, and where
HAProxy does not answer nothing is told.

What this module does not do: change HAProxy, or say why it does not answer (``runtime``).
"""

import time
from collections.abc import Mapping
from itertools import islice
from threading import Event as Flag

from haagent.adapters.haproxy.exchange import exchange
from haagent.adapters.haproxy.thread import in_thread
from haagent.core.actions import Backend
from haagent.core.status import Traffic
from haagent.wire.haproxy.framing import batches
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
        """``most``: servers of each backend of which it is told, the first that are wanted."""
        self._path = socket_path
        self._most = most
        self._wanted: tuple[Backend, ...] = ()
        self._ended = Flag()
        self.latest: Mapping[tuple[str, str], Traffic] = {}
        """By backend and server; never changed, but replaced."""

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Ask for the servers of ``backends``; the latest call counts."""
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
        wanted = {
            backend.name: {server.name for server in islice(backend.servers, self._most)}
            for backend in self._wanted
        }
        asked = batches(map(show_statistics, wanted))
        answers = [answer for batch in asked for answer in exchange(self._path, batch)]
        return {
            (backend, server): traffic
            for (backend, names), answer in zip(wanted.items(), answers, strict=True)
            for server, traffic in read_traffic(answer, names).items()
        }
