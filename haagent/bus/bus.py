"""The peer bus of one agent: a connection with every living peer, and what is asked over it.

Run :meth:`PeerBus.run` as a task, and call :meth:`PeerBus.look` when peers may have come, gone or
moved.  Of two agents the one with the lower id connects; what fails is tried again for as long as
the peer lives.  A newer connection of a peer takes the place of an older one.

What this module does not do: find out who lives, which heartbeats tell (``haagent.core``); or
matter to an election.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from logging import INFO, WARNING

import grpc

from haagent.bus.connection import Answers, Connection, PeerUnreachableError, Stream
from haagent.bus.credentials import Credentials, make_credentials
from haagent.bus.dialer import FIRST_PAUSE_S, HELLO_S, LONGEST_PAUSE_S, Dialer
from haagent.bus.hello import certificate_name, difference, hello
from haagent.bus.server import Context, listening
from haagent.control.haagent_pb2 import BusFrame, BusHello, EventsReply, EventsRequest
from haagent.core.identity import BootId, NodeId, node_id
from haagent.core.status import PeerStatus

CONNECTED = "connected"

PATIENCE_S = 10.0
"""For each part of an answer; who has nothing to say yet says that every 3 s."""

_TELL_REFUSALS_S = 60.0
"""Between two lines of the log about those who were refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who this agent is to its peers."""

    cluster: str
    node: str
    boot: BootId
    seed: bytes
    """Of the certificates: ``haagent.wire.auth.derive_bus_seed``."""

    @property
    def identity(self) -> NodeId:
        return node_id(self.node)


class PeerBus:
    """See the module docstring.  To be used inside the running loop."""

    def __init__(
        self,
        member: Member,
        port: int,
        peers: Callable[[], Iterable[PeerStatus]],
        answers: Answers,
        log: Callable[[int, str], None],
    ) -> None:
        """``peers`` gives everybody that heartbeats tell of, ``answers`` what we are asked for."""
        self._member = member
        self._port = port
        self._peers = peers
        self._answers = answers
        self._log = log
        self._changed = asyncio.Event()
        self._epochs = count(1)
        self._connections: dict[NodeId, Connection] = {}
        self._dialling: dict[NodeId, tuple[Dialer, asyncio.Task[None]]] = {}
        self._own_trouble = "its certificate is being made"
        """Why nobody can connect to us; empty when they can."""
        self._refused = 0
        self._told_s = float("-inf")

    def look(self) -> None:
        """Connect to who is there now, and let go of who is not; returns at once."""
        self._changed.set()

    def states(self) -> dict[str, str]:
        """Return for each living peer, by name, ``connected`` or why it is not."""
        return {peer.name: self._state(peer.node) for peer in self._living().values()}

    async def ask_events(
        self, node: str, request: EventsRequest, patience_s: float = PATIENCE_S
    ) -> AsyncGenerator[EventsReply, None]:
        """Yield the parts of what the agent called ``node`` has recorded, as they are taken.

        Raises: PeerUnreachableError when there is no connection, it ends, or the peer says nothing
        for ``patience_s``.
        """
        connection = self._connections.get(node_id(node))
        if connection is None:
            raise PeerUnreachableError(self.states().get(node, "is not alive"))
        async with aclosing(connection.ask(request, patience_s)) as parts:
            async for part in parts:
                yield part

    async def run(self) -> None:
        """Listen and connect, until cancelled."""
        credentials = await self._credentials()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(credentials))
            group.create_task(self._follow(credentials, group))

    async def _credentials(self) -> Credentials:
        member, pause_s = self._member, FIRST_PAUSE_S
        while True:
            try:
                return await make_credentials(member.seed, member.cluster, member.node)
            except OSError as error:
                self._trouble(str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _listen(self, credentials: Credentials) -> None:
        while True:
            try:
                async with listening(self._port, credentials, self._accept):
                    self._own_trouble = ""
                    self._log(INFO, f"listens on TCP port {self._port}")
                    await asyncio.Event().wait()
            except OSError as error:
                reason = error.strerror or error
                self._trouble(f"cannot listen on TCP port {self._port}: {reason}")
            await asyncio.sleep(LONGEST_PAUSE_S)

    def _trouble(self, text: str) -> None:
        if text != self._own_trouble:
            self._own_trouble = text
            self._log(WARNING, f"{text}; tried again")

    # Who is there.

    def _living(self) -> dict[NodeId, PeerStatus]:
        return {peer.node: peer for peer in self._peers() if peer.alive}

    def _state(self, node: NodeId) -> str:
        if node in self._connections:
            return CONNECTED
        if node in self._dialling:
            return self._dialling[node][0].trouble or "is being connected to"
        return self._own_trouble or "has not connected"

    async def _follow(self, credentials: Credentials, group: asyncio.TaskGroup) -> None:
        """Keep to those who live."""
        while True:
            self._changed.clear()
            living = self._living()
            for node, connection in self._connections.items():
                if node not in living:
                    connection.close("is not alive")
                elif difference(connection.hello, living[node], self._member.cluster):
                    connection.close("has started anew")
            wanted = {node for node in living if node > self._member.identity}
            for node in self._dialling.keys() - wanted:
                self._dialling.pop(node)[1].cancel()
            for node in wanted - self._dialling.keys():
                dialer = self._dialer(living[node], credentials)
                self._dialling[node] = dialer, group.create_task(dialer.run())
            await self._changed.wait()

    def _dialer(self, peer: PeerStatus, credentials: Credentials) -> Dialer:
        return Dialer(
            peer.node,
            self._port,
            credentials,
            heard=lambda: self._living().get(peer.node),
            hello=lambda: self._hello(next(self._epochs)),
            meet=self._meet,
            tell=lambda text: self._log(WARNING, f"{peer.name} {text}"),
        )

    def _hello(self, epoch: int) -> BusHello:
        member = self._member
        return hello(member.cluster, member.node, member.identity, member.boot, epoch)

    # Those who are connected.

    async def _meet(self, peer: PeerStatus, stream: Stream, said: BusHello) -> str:
        """Use a stream that we have opened until it ends; return why.

        Raises: PeerUnreachableError when it is not the peer's.
        """
        if why := difference(said, peer, self._member.cluster):
            raise PeerUnreachableError(why)
        return await self._use(peer, Connection(stream, said, self._answers))

    async def _accept(self, context: Context) -> None:
        """Use a stream that somebody with a certificate of the cluster has opened."""
        try:
            async with asyncio.timeout(HELLO_S):
                frame: object = await context.read()
        except TimeoutError:
            frame = None
        said = frame.hello if isinstance(frame, BusFrame) else BusHello()
        peer = self._living().get(node_id(said.node))
        if why := self._objection(said, peer, context):
            self._tell_refused(context.peer(), why)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        assert peer is not None
        await context.write(BusFrame(hello=self._hello(said.epoch)))
        await self._use(peer, Connection(context, said, self._answers))

    def _objection(self, said: BusHello, peer: PeerStatus | None, context: Context) -> str:
        if not said.node:
            return "no hello"
        if peer is None:
            return f"{said.node!r} is not heard here"
        names = context.auth_context().get("x509_subject_alternative_name", ())
        if certificate_name(peer.node).encode() not in names:
            return "the certificate is of another agent"
        if why := difference(said, peer, self._member.cluster):
            return why
        here = self._connections.get(peer.node)
        if here and here.hello.boot_id == said.boot_id and here.hello.epoch >= said.epoch:
            return "there is a newer connection"
        return ""

    async def _use(self, peer: PeerStatus, connection: Connection) -> str:
        if older := self._connections.get(peer.node):
            older.close("a newer connection has taken its place")
        self._connections[peer.node] = connection
        self._log(INFO, f"{peer.name} is connected")
        try:
            return await connection.run()
        finally:
            if self._connections.get(peer.node) is connection:
                del self._connections[peer.node]

    def _tell_refused(self, source: str, why: str) -> None:
        self._refused += 1
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= _TELL_REFUSALS_S:
            self._told_s = now_s
            self._log(WARNING, f"{source} was refused: {why} ({self._refused} since the start)")
