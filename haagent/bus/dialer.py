"""Keeps this agent connected to one peer, for as long as the peer lives.

What this module does not do: decide whom we connect to, or use the connection
(``haagent.bus.bus``).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import TypeAlias
from urllib.parse import quote

from grpc import aio

from haagent.bus.connection import MOST_BYTES, PeerUnreachableError, Stream
from haagent.bus.credentials import Credentials
from haagent.bus.hello import certificate_name
from haagent.control import haagent_pb2_grpc as pb_grpc
from haagent.control.haagent_pb2 import BusFrame, BusHello
from haagent.core.identity import NodeId
from haagent.core.status import PathStatus, PeerStatus

HELLO_S = 5.0
"""For connecting, TLS and the hellos."""

KEEPALIVE_MS = 3_000
"""A peer that has nothing to say is asked so often whether it is there, and has as long for it."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
"""Between two attempts; it doubles."""

_STEADY_S = 30.0
"""A connection that has lasted so long was a good one."""

_TELL_AFTER = 4
"""Attempts in vain before somebody is told: a peer that restarts is back by then."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_MS),
    # Peers are neighbours, whatever the environment says of a proxy.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    # A connection is for this attempt alone; it is never somebody else's old one.
    ("grpc.use_local_subchannel_pool", 1),
)

Meet: TypeAlias = Callable[[PeerStatus, Stream, BusHello], Awaitable[str]]
"""Uses a stream to a peer that has said hello; returns why it has ended.

Raises: PeerUnreachableError when the hello is not the peer's."""


class Dialer:
    """See the module docstring."""

    def __init__(
        self,
        node: NodeId,
        port: int,
        credentials: Credentials,
        *,
        heard: Callable[[], PeerStatus | None],
        hello: Callable[[], BusHello],
        meet: Meet,
        tell: Callable[[str], None],
    ) -> None:
        """``heard``: the peer as heartbeats have it; ``tell`` gets what goes on being wrong."""
        self.trouble = ""
        """Why the newest attempt has failed, or its connection has ended."""
        self._node = node
        self._port = port
        self._credentials = credentials
        self._heard = heard
        self._hello = hello
        self._meet = meet
        self._tell = tell
        self._in_vain = 0

    async def run(self) -> None:
        """Be connected, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        for attempt in count():
            begun_s = loop.time()
            try:
                self._in_vain += 1
                self.trouble = await self._attempt(attempt)
            except PeerUnreachableError as error:
                self.trouble = str(error)
            if self._in_vain == _TELL_AFTER:
                self._tell(f"cannot be connected to, and is tried again: {self.trouble}")
            if loop.time() - begun_s > _STEADY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _attempt(self, number: int) -> str:
        peer = self._heard()
        if peer is None or not peer.paths:
            raise PeerUnreachableError("is not heard")
        # The path that was heard last, then another one.
        paths = sorted(peer.paths, key=lambda path: path.last_heard, reverse=True)
        path = paths[number % len(paths)]
        ours = self._hello()
        async with _dialled(path, self._port, peer.node, self._credentials, ours) as (stream, said):
            self._in_vain = 0
            return await self._meet(peer, stream, said)


@asynccontextmanager
async def _dialled(
    path: PathStatus, port: int, node: NodeId, credentials: Credentials, ours: BusHello
) -> AsyncIterator[tuple[Stream, BusHello]]:
    """Connect to ``node``, whose certificate has to say so; give the stream, and its hello.

    Raises: PeerUnreachableError.
    """
    options = (*_OPTIONS, ("grpc.ssl_target_name_override", certificate_name(node)))
    where = target(path, port)
    async with aio.secure_channel(where, credentials.channel, options) as channel:
        stream = pb_grpc.PeerBusStub(channel).Connect()
        try:
            async with asyncio.timeout(HELLO_S):
                await stream.write(BusFrame(hello=ours))
                frame: object = await stream.read()
        except TimeoutError:
            text = f"does not answer within {HELLO_S:g} s"
            raise PeerUnreachableError(text) from None
        except (aio.AioRpcError, aio.BaseError, asyncio.InvalidStateError):
            # A write to a call that has failed does not say why it has; the call does.
            text = (await stream.details() or "has hung up").rpartition(f"{where}: ")[2]
            raise PeerUnreachableError(" ".join(text.split())) from None
        if not isinstance(frame, BusFrame) or frame.WhichOneof("frame") != "hello":
            raise PeerUnreachableError("does not say who it is")
        yield stream, frame.hello


def target(path: PathStatus, port: int) -> str:
    """Return what gRPC calls the peer that is heard on ``path``."""
    address = path.source
    if address.version == 4:
        return f"ipv4:{address}:{port}"
    scope = f"%{path.interface}" if address.is_link_local else ""
    return f"ipv6:{quote(f'[{address}{scope}]')}:{port}"
