"""Whether the processes of other agents still live, told by their kernels: a TCP connection each.

Everybody listens on the heartbeat's port number, and connects to every peer that it is told to
watch.  Nothing is said over a connection: its end, and that another one is refused, is what it is
for.  A kernel closes the connections of a process that was killed within a millisecond; neither
a host that dies nor one that is cut off, nor a process that hangs, closes anything.

Whoever can forge segments on the link can forge an end: the core asks the agent itself before it
believes it.

What this module does not do: find out who is there (``haagent.core.membership``).

Source: RFC 9293 3.10.7.1 (a segment to a closed port is answered by a reset).
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from haagent.core.events import Event, ProcessEnded
from haagent.core.settings import HeartbeatSettings, IPAddress

RETRY_S = 1.0
"""How long to wait before connecting again to where that failed, or did not last."""

PAUSE_S = 0.002
"""The shortest pause before that, where a connection did not last; it doubles."""

CONNECT_TIMEOUT_S = 2.0
GUESTS = 64
"""How many may be connected to us; the kernel accepts more, and they are closed again."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 5}
"""Seconds, seconds and probes: a host that restarts has forgotten its connections, and says so."""

Place = tuple[int, IPAddress]
"""Index of a path, and an address on it."""


class Processes:
    """See the module docstring.  Used inside a running loop."""

    def __init__(
        self,
        settings: HeartbeatSettings,
        post: Callable[[Event], None],
        trouble: Callable[[str], None],
    ) -> None:
        """``trouble`` is told once why nobody can connect to us."""
        self._settings = settings
        self._post = post
        self._trouble = trouble
        self._watching: dict[Place, asyncio.Task[None]] = {}
        self._guests: set[asyncio.Transport] = set()

    def watch(self, places: frozenset[Place]) -> None:
        """Watch exactly the processes behind ``places``."""
        for place in [*self._watching]:
            if place not in places:
                self._watching.pop(place).cancel()
        for path, address in places - self._watching.keys():
            self._watching[path, address] = asyncio.create_task(self._watch(path, address))

    async def run(self) -> None:
        """Let others connect to us, until cancelled; without a port, only watch."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(lambda: _Guest(self._guests), sock=self._listener())
        except OSError as error:
            text = f"cannot listen on TCP port {self._settings.port}: {error.strerror}"
            self._trouble(f"{text}; that this process ends is found by its silence only")
            await asyncio.Event().wait()
        async with server:
            try:
                await server.serve_forever()
            finally:
                self.watch(frozenset())
                for guest in self._guests:
                    guest.abort()

    def _listener(self) -> socket.socket:
        address = ("", self._settings.port)
        if socket.has_dualstack_ipv6():
            return socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(address)

    async def _watch(self, path: int, address: IPAddress) -> None:
        while True:
            with suppress(OSError):  # TimeoutError is one.
                await self._follow(path, address)
            await asyncio.sleep(RETRY_S)

    async def _follow(self, path: int, address: IPAddress) -> None:
        """Return when a process that we were connected to has ended.

        Raises: OSError when it cannot be reached, or be reached any more.
        """
        connection = await self._connect(path, address)
        pause_s = 0.0
        while True:
            since = asyncio.get_running_loop().time()
            with connection:
                await _until_closed(connection)
            # A host may close the connections of a process before its port, or have no place
            # for us: then the next connection does not last either.
            lasted = asyncio.get_running_loop().time() - since > RETRY_S
            pause_s = 0 if lasted else min(max(2 * pause_s, PAUSE_S), RETRY_S)
            await asyncio.sleep(pause_s)
            try:
                connection = await self._connect(path, address)
            except ConnectionRefusedError:
                self._post(ProcessEnded(path, address))
                return

    async def _connect(self, path: int, address: IPAddress) -> socket.socket:
        """Raises: OSError."""
        interface = self._settings.paths[path].interface
        scope = socket.if_nametoindex(interface) if address.is_link_local else 0
        ipv4 = address.version == 4
        where = (str(address), self._settings.port, *(() if ipv4 else (0, scope)))
        opened = socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                opened.setsockopt(socket.IPPROTO_TCP, option, value)
            device = interface.encode() + b"\0"
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            connecting = asyncio.get_running_loop().sock_connect(opened, where)
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except BaseException:
            opened.close()
            raise
        return opened


async def _until_closed(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # A reset ends it as well.
        while await loop.sock_recv(connection, 1024):
            pass


class _Guest(asyncio.Protocol):
    """One connection to us; who says anything is no agent."""

    def __init__(self, guests: set[asyncio.Transport]) -> None:
        self._guests = guests

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._guests) < GUESTS:
            self._guests.add(transport)
        else:
            transport.abort()

    def data_received(self, _data: bytes) -> None:
        self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        self._guests.discard(self._transport)
