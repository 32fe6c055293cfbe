"""The peer bus between two agents' processes, with real certificates, over the loopback interface.

Threads of gRPC stay in the namespace that they began in, so these tests use none.  One port serves
both ends: only the higher needs it, and has it first; that the lower cannot have it harms nothing.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address
from subprocess import PIPE, STDOUT

import grpc
import pytest
from grpc import aio

from haagent.bus.bus import CONNECTED, Member, PeerBus
from haagent.bus.certificates import certificates
from haagent.bus.connection import MOST_BYTES, PeerUnreachableError
from haagent.bus.credentials import make_credentials
from haagent.bus.hello import certificate_name, hello
from haagent.control import haagent_pb2_grpc as pb_grpc
from haagent.control.haagent_pb2 import BusFrame, EventsReply, EventsRequest
from haagent.core.identity import BootId, node_id
from haagent.core.status import PathStatus, PeerStatus
from haagent.core.units import MonoNs
from tests.adapters.conftest import in_loop, until

SEED, OTHER_SEED = bytes(range(32)), bytes(32)
LOWER, HIGHER = sorted(("lb1", "lb2"), key=node_id)
"""The first connects to the second."""

LIMIT_S = 60.0

PEER = """
import asyncio, json, sys
from ipaddress import ip_address
from haagent.bus.bus import Member, PeerBus
from haagent.control.haagent_pb2 import EventsReply
from haagent.core.identity import node_id
from haagent.core.status import PathStatus, PeerStatus

asked = json.loads(sys.argv[1])

async def answers(request, closing):
    for number in range(asked["parts"]):
        yield EventsReply(node=asked["node"], trouble=f"part {number}")

def say(level, text):
    print(text, flush=True)

async def main():
    path = PathStatus(
        interface="eth0", source=ip_address(asked["source"]), last_heard=0,
        loss_permille=None, round_trip=None,
    )
    peer = PeerStatus(
        name=asked["peer"], node=node_id(asked["peer"]), boot=1, alive=True, last_heard=0,
        hears_us=True, paths=(path,), roles=(),
    )
    member = Member(
        cluster="shop", node=asked["node"], boot=asked["boot"], seed=bytes.fromhex(asked["seed"])
    )
    await PeerBus(member, asked["port"], lambda: [peer], answers, say).run()

asyncio.run(main())
"""


class Near:
    """The end under test, and what heartbeats tell it of the other one."""

    def __init__(self, name: str, port: int, source: str = "127.0.0.1") -> None:
        self.name = name
        self.port = port
        self.far = LOWER if name == HIGHER else HIGHER
        path = PathStatus(
            interface="eth0",
            source=ip_address(source),
            last_heard=MonoNs(0),
            loss_permille=None,
            round_trip=None,
        )
        self.peer = PeerStatus(
            name=self.far,
            node=node_id(self.far),
            boot=BootId(1),
            alive=True,
            last_heard=MonoNs(0),
            hears_us=True,
            paths=(path,),
            roles=(),
        )
        self.log: list[str] = []
        member = Member(cluster="shop", node=name, boot=BootId(1), seed=SEED)
        self.bus = PeerBus(
            member, port, lambda: [self.peer], _answers, lambda _, text: self.log.append(text)
        )

    @property
    def state(self) -> str:
        return self.bus.states().get(self.far, "")

    async def connected(self) -> None:
        await until(lambda: self.state == CONNECTED, LIMIT_S)

    async def tells(self, why: str) -> None:
        """Wait until ``why`` is a part of why the other end is not connected."""
        await until(lambda: why in self.state, LIMIT_S)

    async def ask(self) -> list[str]:
        return [part.trouble async for part in self.bus.ask_events(self.far, EventsRequest())]

    @contextmanager
    def far_end(self, **options: object) -> Iterator["subprocess.Popen[str]"]:
        """Run the other end, which by then listens if that is its part."""
        asked = {"node": self.far, "peer": self.name, "source": "127.0.0.1", "boot": 1}
        asked |= {"port": self.port, "seed": SEED.hex(), "parts": 3}
        command = [sys.executable, "-c", PEER, json.dumps(asked | options)]
        # What importing haagent has set here is to be set there by itself.
        environment = {name: value for name, value in os.environ.items() if "GRPC" not in name}
        with subprocess.Popen(
            command, env=environment, stdout=PIPE, stderr=STDOUT, text=True
        ) as process:
            try:
                assert process.stdout is not None
                assert "listen" in process.stdout.readline()
                yield process
            finally:
                process.kill()


@pytest.fixture
def port() -> int:
    """A port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


async def _answers(
    _request: EventsRequest, closing: asyncio.Event
) -> AsyncGenerator[EventsReply, None]:
    yield EventsReply()
    await closing.wait()


@asynccontextmanager
async def running(near: Near) -> AsyncIterator[None]:
    """The end under test, which listens by then; it ends in time, whatever it is about."""
    task = asyncio.create_task(near.bus.run())
    await until(lambda: near.log, LIMIT_S)
    try:
        yield
    finally:
        task.cancel()
        async with asyncio.timeout(LIMIT_S):
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def knocking(
    port: int, name: str | None = LOWER, *, seed: bytes = SEED, trusts: bytes = SEED
) -> AsyncIterator[aio.Channel]:
    """A channel of whoever has made a certificate for ``name`` from ``seed``; None: without one."""
    made = certificates(seed, "shop", name or LOWER)
    own = (made["key"].encode(), made["certificate"].encode()) if name else (None, None)
    authority = certificates(trusts, "shop", HIGHER)["authority"].encode()
    options = (("grpc.ssl_target_name_override", certificate_name(node_id(HIGHER))),)
    credentials = grpc.ssl_channel_credentials(authority, *own)
    async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        yield channel


def say_hello(cluster: str = "shop", node: str = LOWER, boot: int = 1, epoch: int = 1) -> BusFrame:
    return BusFrame(hello=hello(cluster, node, node_id(node), BootId(boot), epoch))


async def answer(channel: aio.Channel, frame: BusFrame) -> str:
    """Return what comes of a first frame: who answers, or why nobody does."""
    call = pb_grpc.PeerBusStub(channel).Connect()
    with suppress(aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(frame)
        if isinstance(said := await call.read(), BusFrame):
            return said.hello.node
    return str(await call.details())


@in_loop
async def test_the_lower_end_connects_and_asks(port: int) -> None:
    near = Near(LOWER, port)
    with near.far_end():
        async with running(near):
            await near.connected()

            assert await near.ask() == ["part 0", "part 1", "part 2"]


@in_loop
async def test_agents_connect_over_ipv6_as_well(port: int) -> None:
    near = Near(LOWER, port, "::1")
    with near.far_end():
        async with running(near):
            await near.connected()


@in_loop
async def test_the_higher_end_is_connected_to_and_asks_and_again_after_a_kill(port: int) -> None:
    near = Near(HIGHER, port)
    async with running(near):
        for _ in range(2):
            with near.far_end() as far:
                await near.connected()
                assert await near.ask() == ["part 0", "part 1", "part 2"]
                far.kill()

                await until(lambda: near.state != CONNECTED, LIMIT_S)
            with pytest.raises(PeerUnreachableError, match="has not connected"):
                await near.ask()


@in_loop
async def test_a_peer_that_stands_still_is_given_up_and_holds_up_nothing(port: int) -> None:
    near = Near(LOWER, port)
    with near.far_end() as far:
        async with running(near):
            await near.connected()
            far.send_signal(signal.SIGSTOP)
            with pytest.raises(PeerUnreachableError, match="has not answered for"):
                await anext(near.bus.ask_events(near.far, EventsRequest(), patience_s=0.1))

            await until(lambda: near.state != CONNECTED, LIMIT_S)
            far.send_signal(signal.SIGCONT)
            await near.connected()
            far.send_signal(signal.SIGSTOP)


@in_loop
async def test_who_is_dead_or_has_started_anew_loses_his_connection(port: int) -> None:
    near = Near(LOWER, port)
    with near.far_end():
        async with running(near):
            await near.connected()

            near.peer = replace(near.peer, boot=BootId(2))
            near.bus.look()
            await near.tells("is of another boot than its heartbeats")
            near.peer = replace(near.peer, alive=False)
            near.bus.look()
            assert near.bus.states() == {}
            with pytest.raises(PeerUnreachableError, match="is not alive"):
                await near.ask()
            near.peer = replace(near.peer, boot=BootId(1), alive=True)
            near.bus.look()
            await near.connected()


@in_loop
async def test_an_agent_whose_certificate_is_of_another_key_is_not_connected_to(port: int) -> None:
    near = Near(LOWER, port)
    with near.far_end(seed=OTHER_SEED.hex()):
        async with running(near):
            await near.tells("certificate")


@in_loop
async def test_strangers_are_refused_and_the_peer_is_not(port: int) -> None:
    near = Near(HIGHER, port)
    async with running(near):
        for stranger in (
            knocking(port, seed=OTHER_SEED),
            knocking(port, None),
            knocking(port, seed=OTHER_SEED, trusts=OTHER_SEED),
        ):
            async with stranger as channel:
                assert "failed to connect" in await answer(channel, say_hello())
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.settimeout(LIMIT_S)
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert await asyncio.to_thread(plain.recv, 100) == b""
        for name, frame, why in (
            ("lb3", say_hello(), "the certificate is of another agent"),
            ("lb3", say_hello(node="lb3"), "'lb3' is not heard here"),
            (LOWER, say_hello(cluster="mail"), "is of cluster 'mail', not 'shop'"),
            (LOWER, say_hello(boot=2), "is of another boot than its heartbeats"),
            (LOWER, BusFrame(more=1), "no hello"),
        ):
            async with knocking(port, name) as channel:
                assert await answer(channel, frame) == why
        refused = [line for line in near.log if "refused" in line]
        async with knocking(port) as channel:
            assert await answer(channel, say_hello()) == HIGHER
            await near.connected()

    assert len(refused) == 1, "a line a minute"


@in_loop
async def test_a_crowd_of_strangers_writes_no_line_into_the_journal(port: int) -> None:
    """gRPC would write one for each of them."""
    near = Near(LOWER, port)
    with near.far_end() as far:
        for stranger in (None, LOWER) * 5:
            async with knocking(port, stranger, seed=OTHER_SEED) as channel:
                assert "failed to connect" in await answer(channel, say_hello())
        far.kill()

        assert far.communicate(timeout=LIMIT_S)[0] == ""


@in_loop
async def test_a_newer_connection_takes_the_place_of_an_older_one(port: int) -> None:
    near = Near(HIGHER, port)
    async with running(near), knocking(port) as channel:
        first, second = (pb_grpc.PeerBusStub(channel).Connect() for _ in range(2))
        for call, epoch in ((first, 4), (second, 5)):
            await call.write(say_hello(epoch=epoch))
            assert isinstance(await call.read(), BusFrame)

        assert not isinstance(await first.read(), BusFrame)
        assert await answer(channel, say_hello(epoch=5)) == "there is a newer connection"
        assert near.state == CONNECTED


@in_loop
async def test_frames_that_are_too_long_or_make_no_sense_cost_the_sender_its_connection(
    port: int,
) -> None:
    near = Near(HIGHER, port)
    async with running(near):
        for epoch, payload in enumerate((bytes(MOST_BYTES + 1), b"\xff\xff\xff"), start=1):
            async with knocking(port) as channel:
                connect: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
                    "/haagent.v1.PeerBus/Connect"
                )
                call = connect()
                await call.write(say_hello(epoch=epoch).SerializeToString())
                assert isinstance(await call.read(), bytes)
                await near.connected()
                await call.write(payload)

                await until(lambda: near.state != CONNECTED, LIMIT_S)
        async with knocking(port) as channel:
            assert await answer(channel, say_hello(epoch=9)) == HIGHER


@in_loop
async def test_a_hundred_strangers_at_once_keep_nobody_out_for_long(port: int) -> None:
    near = Near(HIGHER, port)
    async with running(near):
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        try:
            with near.far_end():
                await near.connected()
        finally:
            for each in crowd:
                each.close()


@in_loop
async def test_a_certificate_that_cannot_be_made_is_told() -> None:
    with pytest.raises(OSError, match="no certificate: ended with exit code 1: ValueError"):
        await make_credentials(SEED, "shop", "")


@in_loop
async def test_a_port_that_is_taken_is_told_and_tried_again(port: int) -> None:
    near = Near(HIGHER, port)
    with socket.create_server(("127.0.0.1", port)):
        async with running(near):
            assert near.log == [
                f"cannot listen on TCP port {port}: Address already in use; tried again"
            ]
            assert "Address already in use" in near.state
