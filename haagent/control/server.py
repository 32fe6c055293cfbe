"""The agent's end of the control socket: gRPC on a Unix socket, in the daemon's own loop.

:meth:`ControlServer.run` serves until it is cancelled; the driver calls
:meth:`ControlServer.changed` after each step.  Whoever may open the socket (root, and the
group of the daemon) may ask, may reload and may steer it; the limits below keep it at that.

What this module does not do: know what a status contains (``reply``), or open the socket
for a client (``client``).
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from grpc import aio

from haagent.control import haagent_pb2 as pb, haagent_pb2_grpc as pb_grpc
from haagent.control.explanation import UnknownGroupError
from haagent.control.hanging_up import hang_up

SHORTEST_PAUSE_S = 0.2
"""Between two replies of one Watch: a person reads no faster, and a storm costs no more."""

LONGEST_PAUSE_S = 1.0
"""Between two replies of one Watch when nothing changes, so that the ages move."""

_GRACE_S = 0.5
"""For what a client has yet to read when the agent ends; one that reads takes none of it."""

MOST_CONNECTIONS = 64
MOST_CALLS = 8
"""Of one connection: who keeps his calls open holds up nobody but himself."""

MOST_FOLLOWERS = 48
"""Calls that do not end by themselves; the connections beyond are for those that do."""

_OPTIONS = (
    # Requests are a few bytes; more is a mistake or an attack.
    ("grpc.max_receive_message_length", 4096),
    # File descriptors are the daemon's own too.
    ("grpc.max_allowed_incoming_connections", MOST_CONNECTIONS),
    ("grpc.max_concurrent_streams", MOST_CALLS),
    ("grpc.server_handshake_timeout_ms", 2_000),
    ("grpc.max_connection_idle_ms", 5_000),
)

SteerRequest: TypeAlias = pb.DrainRequest | pb.UndrainRequest | pb.PauseRequest | pb.ResumeRequest

_Context: TypeAlias = aio.ServicerContext[object, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What whoever may open the socket can ask of the agent, besides its status."""

    reload: Callable[[pb.ReloadRequest], Awaitable[pb.ReloadReply]]
    steer: Callable[[SteerRequest], Awaitable[pb.SteerReply]]
    fail_over: Callable[[pb.FailoverRequest], Awaitable[pb.FailoverReply]]
    explain: Callable[[pb.ExplainRequest], Awaitable[pb.ExplainReply]]
    """Raises UnknownGroupError."""
    doctor: Callable[[pb.DoctorRequest], Awaitable[pb.DoctorReply]]
    haproxy: Callable[[], Awaitable[Iterable[pb.HaproxyReply]]]
    events: Callable[[pb.EventsRequest, asyncio.Event], AsyncGenerator[pb.EventsReply, None]]
    """Yields the parts; they end when the event is set at the latest."""


class ControlServer:
    """See the module docstring."""

    def __init__(self, socket_path: Path, view: Callable[[], pb.StatusReply], calls: Calls) -> None:
        self._socket_path = socket_path
        self._agent = _Agent(view, calls)
        self.listening = asyncio.Event()
        """Set once a client can connect."""

    def changed(self) -> None:
        """Tell every Watch that the view may have changed; cheap enough for each step."""
        self._agent.changed()

    async def run(self) -> None:
        """Serve until cancelled; then the socket is gone.

        Raises: OSError when the socket cannot be made, with EADDRINUSE when another
        process answers on it.
        """
        server = aio.server(options=_OPTIONS)
        pb_grpc.add_AgentServicer_to_server(self._agent, server)
        _bind(server, self._socket_path)
        starting = asyncio.create_task(server.start())
        try:
            await asyncio.shield(starting)
            self.listening.set()
            # Not wait_for_termination(): cancelling that one keeps stop() from waiting.
            await asyncio.Event().wait()
        finally:
            # A gRPC server that is cancelled half-way through its start cannot be stopped.
            await starting
            self._agent.close()
            loop = asyncio.get_running_loop()
            name = os.fspath(self._socket_path)
            hanging_up = loop.call_later(_GRACE_S, hang_up, lambda one: one.getsockname() == name)
            await server.stop(_GRACE_S)
            hanging_up.cancel()


def require_unused(socket_path: Path) -> None:
    """Return when no process answers on ``socket_path``, whether or not there is a file.

    Raises: OSError; EADDRINUSE when a process answers, EEXIST when the file is no socket.
    """
    if not socket_path.exists():
        return
    if not stat.S_ISSOCK(socket_path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "not a socket, so not ours to replace", socket_path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(socket_path))
        except ConnectionRefusedError:
            return
        except BlockingIOError:
            pass  # A listener whose queue is full is alive as well.
    raise OSError(errno.EADDRINUSE, "another agent answers on this socket", socket_path)


class _Agent(pb_grpc.AgentServicer):
    """The service of ``haagent.proto``."""

    def __init__(self, view: Callable[[], pb.StatusReply], calls: Calls) -> None:
        self._view = view
        self._calls = calls
        self._change = asyncio.Event()
        self._closing = asyncio.Event()
        self._followers = 0

    def changed(self) -> None:
        # Each change has an event of its own, so that every Watch wakes for it once
        # and none has to say when it has seen it.
        self._change.set()
        self._change = asyncio.Event()

    def close(self) -> None:
        """End every Watch: gRPC would cancel it, and report that as a mistake of ours."""
        self._closing.set()
        self.changed()

    async def Status(  # noqa: N802 - the name in haagent.proto
        self, _request: pb.StatusRequest, _context: _Context
    ) -> pb.StatusReply:
        return self._view()

    async def Watch(  # noqa: N802 - the name in haagent.proto
        self, _request: pb.WatchRequest, context: _Context
    ) -> AsyncIterator[pb.StatusReply]:
        """Yield the view; a client that does not read stops its own stream at the yield."""
        await self._follow(context)
        while not self._closing.is_set():
            change = self._change
            yield self._view()
            await _wait(self._closing, SHORTEST_PAUSE_S)
            await _wait(change, LONGEST_PAUSE_S - SHORTEST_PAUSE_S)

    async def Explain(  # noqa: N802 - the name in haagent.proto
        self, request: pb.ExplainRequest, context: _Context
    ) -> pb.ExplainReply:
        try:
            return await self._calls.explain(request)
        except UnknownGroupError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))

    async def Reload(  # noqa: N802 - the name in haagent.proto
        self, request: pb.ReloadRequest, _context: _Context
    ) -> pb.ReloadReply:
        return await self._calls.reload(request)

    async def Drain(  # noqa: N802 - the name in haagent.proto
        self, request: pb.DrainRequest, _context: _Context
    ) -> pb.SteerReply:
        return await self._calls.steer(request)

    async def Undrain(  # noqa: N802 - the name in haagent.proto
        self, request: pb.UndrainRequest, _context: _Context
    ) -> pb.SteerReply:
        return await self._calls.steer(request)

    async def Pause(  # noqa: N802 - the name in haagent.proto
        self, request: pb.PauseRequest, _context: _Context
    ) -> pb.SteerReply:
        return await self._calls.steer(request)

    async def Resume(  # noqa: N802 - the name in haagent.proto
        self, request: pb.ResumeRequest, _context: _Context
    ) -> pb.SteerReply:
        return await self._calls.steer(request)

    async def Failover(  # noqa: N802 - the name in haagent.proto
        self, request: pb.FailoverRequest, _context: _Context
    ) -> pb.FailoverReply:
        return await self._calls.fail_over(request)

    async def Doctor(  # noqa: N802 - the name in haagent.proto
        self, request: pb.DoctorRequest, _context: _Context
    ) -> pb.DoctorReply:
        return await self._calls.doctor(request)

    async def Haproxy(  # noqa: N802 - the name in haagent.proto
        self, _request: pb.HaproxyRequest, _context: _Context
    ) -> AsyncIterator[pb.HaproxyReply]:
        """Yield the parts; between two of them the loop has others to serve."""
        for part in await self._calls.haproxy():
            yield part

    async def Events(  # noqa: N802 - the name in haagent.proto
        self, request: pb.EventsRequest, context: _Context
    ) -> AsyncIterator[pb.EventsReply]:
        """Yield the parts; a client that does not read stops its own stream at the yield."""
        await self._follow(context)
        # What it holds open goes with the client, and not when somebody collects it.
        async with aclosing(self._calls.events(request, self._closing)) as parts:
            async for part in parts:
                yield part

    async def _follow(self, context: _Context) -> None:
        """Take a place among those who follow, until the call is over; end it where none is."""
        if self._followers >= MOST_FOLLOWERS:
            text = f"{MOST_FOLLOWERS} others follow already"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._followers += 1
        # Not at the end of the generator: one that is left at a yield ends when it is collected.
        # To the stub no function is a callback.
        context.add_done_callback(self._unfollow)  # type: ignore[arg-type]

    def _unfollow(self, _context: _Context) -> None:
        self._followers -= 1


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()


def _bind(server: aio.Server, socket_path: Path) -> None:
    if not socket_path.parent.exists():
        socket_path.parent.mkdir(parents=True)
        socket_path.parent.chmod(0o750)
    # gRPC replaces whatever socket it finds, so the question must be asked before.
    require_unused(socket_path)
    # By umask, not chmod: between bind and chmod the socket would have another mode.
    umask = os.umask(0o117)
    try:
        server.add_insecure_port(f"unix:{socket_path}")
    finally:
        os.umask(umask)
