"""The limits of every connection: one request, a few seconds, and only so many at a time.

aiohttp bounds what a request may hold, but not how long it may take to come, nor how long its
answer may take to be read.  Here a connection older than :data:`LIFETIME_S` is ended whatever it
does, so nobody can hold one by sending nothing, or a byte at a time, or by not reading.  When
there are too many the oldest gives way: a crowd of idle ones keeps nobody out.  The streams of
viewers alone last as long as they are read, and have a limit of their own (``viewers``).
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Set as AbstractSet

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

LIFETIME_S = 10.0

MOST = 128
"""Connections at a time: some more than the viewers and scrapers that anybody has."""

LOOK_S = 1.0

_AT_ONCE = struct.pack("ii", 1, 0)
"""``struct linger`` of socket(7): reset, and forget what was not sent."""


class Connections:
    """Makes the protocol of each new connection; :meth:`run` ends those that are too old."""

    def __init__(self, server: web.Server, streams: AbstractSet[RequestHandler]) -> None:
        self._server = server
        self._streams = streams
        self._seen_at_s: dict[RequestHandler, float] = {}
        self.cut: Counter[str] = Counter({"crowded": 0, "slow": 0})
        """How many were ended by us, and why."""

    def __call__(self) -> RequestHandler:
        # Soon, and not now: of those that came together with this one none is counted yet.
        asyncio.get_running_loop().call_soon(self._make_room)
        return self._server()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._open())

    async def run(self) -> None:
        """End what is too old, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = loop.time()
            open_ones = self._open()
            # Only what is open is remembered.
            self._seen_at_s = {
                each: now_s if self._is_read(each) else self._seen_at_s.get(each, now_s)
                for each in open_ones
            }
            for each, since_s in self._seen_at_s.items():
                if now_s - since_s >= LIFETIME_S:
                    self._cut(each, "slow")

    def _make_room(self) -> None:
        open_ones = [each for each in self._open() if each not in self._streams]
        for each in open_ones[: max(0, len(open_ones) - MOST + 1)]:
            self._cut(each, "crowded")

    def _is_read(self, connection: RequestHandler) -> bool:
        """Return whether it is a stream of which nothing waits to be read."""
        transport = connection.transport
        return (
            connection in self._streams
            and isinstance(transport, asyncio.WriteTransport)
            and not transport.get_write_buffer_size()
        )

    def _open(self) -> list[RequestHandler]:
        """Return the connections, the oldest first."""
        return [
            each
            for each in self._server.connections
            if each.transport is not None and not each.transport.is_closing()
        ]

    def _cut(self, connection: RequestHandler, why: str) -> None:
        transport = connection.transport
        if isinstance(transport, asyncio.WriteTransport):
            # Neither we nor, without lingering, the kernel keep what a client does not read.
            link = transport.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            transport.abort()
            self.cut[why] += 1
