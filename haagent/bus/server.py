"""Lets peers connect: gRPC over TCP with mutual TLS, in the daemon's own loop.

Threads of gRPC do the TLS, so strangers cost the loop nothing; who has no certificate of the
cluster does not get as far as a call.

What this module does not do: judge who has connected (``haagent.bus.bus``).
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from grpc import aio

from haagent.bus.connection import MOST_BYTES
from haagent.bus.credentials import Credentials
from haagent.bus.dialer import KEEPALIVE_MS
from haagent.control import haagent_pb2 as pb, haagent_pb2_grpc as pb_grpc
from haagent.control.hanging_up import hang_up

_GUESTS = 64
"""How many may be connected; a stranger is thrown out after 2 s."""

_GRACE_S = 0.2
"""For what a peer has yet to read when the agent ends; one that reads takes none of it."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_allowed_incoming_connections", _GUESTS),
    ("grpc.server_handshake_timeout_ms", 2_000),
    ("grpc.max_connection_idle_ms", 10_000),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", KEEPALIVE_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    # Otherwise another process could share the port, and take some of our guests.
    ("grpc.so_reuseport", 0),
)

Context: TypeAlias = "aio.ServicerContext[pb.BusFrame, pb.BusFrame]"


@asynccontextmanager
async def listening(
    port: int, credentials: Credentials, accept: Callable[[Context], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have ``accept`` deal with each who connects, for as long as the context lasts.

    Raises: OSError when the port cannot be had.
    """
    _require_free(port)
    server = aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_GUESTS)
    pb_grpc.add_PeerBusServicer_to_server(_PeerBus(accept), server)
    try:
        server.add_secure_port(f"[::]:{port}", credentials.server)
    except RuntimeError as error:
        raise OSError(str(error)) from None
    starting = asyncio.create_task(server.start())
    try:
        await asyncio.shield(starting)
        yield
    finally:
        # A gRPC server that is cancelled half-way through its start cannot be stopped.
        await starting
        loop = asyncio.get_running_loop()
        hanging_up = loop.call_later(_GRACE_S, hang_up, lambda one: _is_at(one, port))
        await server.stop(None)
        hanging_up.cancel()


class _PeerBus(pb_grpc.PeerBusServicer):
    """The service of ``haagent.proto``."""

    def __init__(self, accept: Callable[[Context], Awaitable[None]]) -> None:
        self._accept = accept

    async def Connect(  # noqa: N802 - the name in haagent.proto
        self, _frames: object, context: Context
    ) -> None:
        await self._accept(context)


def _is_at(one: socket.socket, port: int) -> bool:
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
        return False
    return bool(one.getsockname()[1] == port)


def _require_free(port: int) -> None:
    """Raises: OSError with the kernel's reason, which gRPC keeps to itself."""
    address = ("", port)
    try:
        if socket.has_dualstack_ipv6():
            socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True).close()
        else:
            socket.create_server(address).close()
    except OSError as error:
        # What Python adds to it, (while attempting to bind ...), is said already.
        raise OSError(error.errno, os.strerror(error.errno or 0)) from None
