"""The sockets of app nodes against the kernel: who is heard and answered, and in what portions."""

import asyncio
import contextlib
import os
import random
import select
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

import pytest
from pyroute2 import netns

from haagent.adapters import clock
from haagent.adapters.datagrams.node_reader import BATCH, REST_S, SHARE
from haagent.adapters.datagrams.nodes import RECEIVE_BUFFER, NodeDatagrams, _enlarge
from haagent.core.events import NodeHeard, NodesHeard
from haagent.core.identity import BootId, NodeId, node_id
from haagent.core.messages import Load, NodeAck, NodeHeartbeat
from haagent.core.settings import (
    MULTICAST_IPV4,
    MULTICAST_IPV6,
    HeartbeatSettings,
    IPAddress,
    NodesSettings,
    PathSettings,
)
from haagent.core.units import milliseconds
from haagent.wire.auth import derive_node_key
from haagent.wire.node import AgentEnd, NodeEnd
from tests.adapters.conftest import Pair, in_loop, until

CLUSTER_KEY = bytes(32)
PORT = 6941
NEAR4, FAR4 = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
NEAR6, FAR6 = IPv6Address("fd77::1"), IPv6Address("fd77::2")
ON_ETH0 = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
NODES = NodesSettings()
HEARTBEAT = NodeHeartbeat(
    sender=node_id("app1"),
    boot=BootId(1),
    sequence=0,
    path=0,
    interval_ms=1000,
    nonce=0,
    leaving=False,
    load=Load(cpu_permille=0, memory_permille=0, queue_percent=0),
    name="app1",
    node_class="default",
    address=FAR4,
    services=(),
)
APP1 = NodeEnd(derive_node_key(CLUSTER_KEY, "example", node_id("app1")), "example", "app1")
FORGED = APP1.encode(HEARTBEAT)[:-1] + b"x"
EVERY_DESTINATION = pytest.mark.parametrize(
    "destination", [NEAR4, NEAR6, MULTICAST_IPV4, MULTICAST_IPV6], ids=str
)


def said(sequence: int) -> bytes:
    return APP1.encode(replace(HEARTBEAT, sequence=sequence))


class Agent:
    """A running ``NodeDatagrams`` and what it said."""

    def __init__(self, settings: NodesSettings | None, heartbeat: HeartbeatSettings) -> None:
        self.wire = AgentEnd(CLUSTER_KEY, "example")
        self.batches: list[NodesHeard] = []
        self.refused = 0
        self.work_s = {True: 0.0, False: 0.0}
        """For each datagram, by whether it is genuine."""
        self.troubles: list[tuple[str, str]] = []
        self.datagrams = NodeDatagrams(
            settings=settings,
            heartbeat=heartbeat,
            read=self.read,
            hear=self.batches.append,
            now=clock.now,
            trouble=lambda interface, text: self.troubles.append((interface, text)),
        )

    def read(self, payload: bytes, *_: object) -> NodeHeartbeat | None:
        result = self.wire.decode(payload)
        genuine = isinstance(result, NodeHeartbeat)
        self.refused += not genuine
        end_s = time.thread_time() + self.work_s[genuine]
        while time.thread_time() < end_s:
            pass
        return result if isinstance(result, NodeHeartbeat) else None

    def heard(self) -> list[NodeHeard]:
        return [node for batch in self.batches for node in batch.heard]

    def sequences(self) -> list[int]:
        return [node.heartbeat.sequence for node in self.heard()]

    def answer(self, node: NodeHeard) -> None:
        ack = NodeAck(
            destination=node.heartbeat.sender,
            agent=NodeId(1),
            boot=node.heartbeat.boot,
            sequence=node.heartbeat.sequence,
            nonce=7,
            interval_ms=1000,
            jitter_ms=0,
        )
        self.datagrams.send(node.way, node.source, node.port, self.wire.encode(ack))


@asynccontextmanager
async def running(
    settings: NodesSettings | None = NODES, heartbeat: HeartbeatSettings = ON_ETH0
) -> AsyncIterator[Agent]:
    agent = Agent(settings, heartbeat)
    task = asyncio.create_task(agent.datagrams.run())
    try:
        await asyncio.sleep(0)  # One turn, in which the sockets that can be opened are opened.
        yield agent
    finally:
        assert not task.done(), "run() ended by itself"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextmanager
def node(pair: Pair, towards: IPAddress = NEAR4) -> Iterator[socket.socket]:
    """The socket of an app node at the far end, on any port."""
    netns.setns(pair.far)
    ipv4 = towards.version == 4
    sock = socket.socket(socket.AF_INET if ipv4 else socket.AF_INET6, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("eth0")
    netns.setns(pair.near)
    if ipv4:
        interface = struct.pack("=4s4si", bytes(4), bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    sock.settimeout(5)
    with sock:
        yield sock


async def until_link_local(pair: Pair) -> None:
    """Wait until duplicate address detection is over; the other addresses skip it."""
    show = ("ip", "-6", "addr", "show", "dev", "eth0")
    await until(lambda: "scope link" in pair.run_near(*show))
    await until(lambda: "tentative" not in pair.run_near(*show) + pair.run_far(*show))


# Who is heard and answered


@EVERY_DESTINATION
def test_a_node_is_heard_and_answered(pair: Pair, destination: IPAddress) -> None:
    """Also from a link-local address, whose interface the answer must find by itself."""

    @in_loop
    async def story() -> None:
        await until_link_local(pair)
        async with running() as agent:
            with node(pair, destination) as far:
                far.sendto(said(5), (str(destination), PORT))
                await until(agent.heard)

                (heard,) = agent.heard()
                assert heard.heartbeat == replace(HEARTBEAT, sequence=5)
                assert heard.port == far.getsockname()[1]
                if destination is MULTICAST_IPV6:
                    assert heard.source.is_link_local
                else:
                    assert heard.source == (FAR4 if destination.version == 4 else FAR6)

                agent.answer(heard)
                answer = APP1.decode(far.recv(2000))
                assert isinstance(answer, NodeAck)
                assert (answer.sequence, answer.nonce) == (5, 7)

    story()


@pytest.mark.parametrize("second", ["10.77.0.99/24", "fd77::99/64"])
def test_an_answer_comes_from_the_address_that_the_node_knows(pair: Pair, second: str) -> None:
    """A translator of addresses on the way, and a connected socket, let no other through."""
    pair.run_near("ip", "addr", "add", second, "dev", "eth0", *(["nodad"] if ":" in second else []))
    near = ip_address(second.partition("/")[0])
    if near.version == 6:
        pair.until_answered(str(near), at=pair.near)

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair, near) as far:
                far.connect((str(near), PORT))
                far.send(said(0))
                await until(agent.heard)
                agent.answer(agent.heard()[0])

                assert isinstance(APP1.decode(far.recv(2000)), NodeAck)

    story()


def test_a_node_behind_a_router_is_heard(pair: Pair) -> None:
    """With whatever hop limit is left."""

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                far.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)

    story()


def test_the_group_of_the_heartbeat_path_is_heard_and_no_other(pair: Pair) -> None:
    group = IPv4Address("224.0.0.200")
    heartbeat = HeartbeatSettings(paths=(PathSettings(interface="eth0", group=group),))

    @in_loop
    async def story() -> None:
        async with running(heartbeat=heartbeat) as agent:
            with node(pair) as far:
                far.sendto(said(1), (str(MULTICAST_IPV4), PORT))
                far.sendto(said(2), (str(group), PORT))
                await until(agent.heard)

                assert agent.sequences() == [2]

    story()


def test_only_the_interfaces_of_the_file_are_heard(pair: Pair) -> None:
    peer = ("type", "veth", "peer", "name", "eth1", "netns", pair.far)
    pair.run_near("ip", "link", "add", "eth1", *peer)
    pair.run_near("ip", "link", "set", "eth1", "up")
    pair.run_far("ip", "link", "set", "eth1", "up")
    pair.until_up("eth1")
    pair.run_far("ip", "addr", "add", "10.78.0.2/24", "dev", "eth1")
    pair.run_near("ip", "addr", "add", "10.78.0.1/24", "dev", "eth1")

    @in_loop
    async def story() -> None:
        async with running(NodesSettings(interfaces=("eth1",))) as agent:
            with node(pair) as far:
                far.sendto(said(1), (str(NEAR4), PORT))
                far.sendto(said(2), ("10.78.0.1", PORT))
                await until(agent.heard)

                assert agent.sequences() == [2]
                assert agent.troubles == [("eth1", "")]

    story()


def test_what_is_forged_too_long_or_random_is_refused(pair: Pair) -> None:
    chance = random.Random(1)

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                far.sendto(said(0), (str(NEAR4), PORT))  # None whom a flood would have ignored.
                await until(agent.heard)
                for _ in range(1000):
                    far.sendto(chance.randbytes(chance.randrange(200)), (str(NEAR4), PORT))
                far.sendto(bytes(1233), (str(NEAR4), PORT))
                far.sendto(FORGED, (str(NEAR4), PORT))
                far.sendto(said(1), (str(NEAR4), PORT))
                await until(lambda: agent.sequences() == [0, 1])

                assert agent.refused == 1002

    story()


# In what portions


def test_a_burst_is_heard_in_portions_that_leave_the_loop_its_turns(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                for sequence in range(1000):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                at_each_turn = [0]
                while at_each_turn[-1] < 1000:
                    await asyncio.sleep(0)
                    at_each_turn.append(len(agent.heard()))

                assert max(b - a for a, b in pairwise(at_each_turn)) == BATCH
                assert agent.sequences() == list(range(1000))

    story()


def test_a_busy_fleet_does_not_wake_the_loop_for_each_datagram(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                began_s = time.monotonic()
                for sequence in range(500):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                    await asyncio.sleep(0.001)
                await until(lambda: len(agent.heard()) == 500)

                rests = (time.monotonic() - began_s) / REST_S
                assert 2 <= len(agent.batches) <= rests + 2

    story()


def test_the_first_after_a_silence_is_heard_at_once(pair: Pair) -> None:
    """The rest is over, and the loop waits for the socket again."""

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)
                await asyncio.sleep(3 * REST_S)
                far.sendto(said(1), (str(NEAR4), PORT))
                for _ in range(2):  # The loop sees the socket, and calls what reads it.
                    await asyncio.sleep(0)

                assert agent.sequences() == [0, 1]

    story()


def test_what_had_to_wait_is_as_old_as_it_is(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                # The kernel begins to stamp a moment after it was asked to.
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)
                far.sendto(said(1), (str(NEAR4), PORT))
                select.select([], [], [], 0.2)  # The loop is busy with something else.
                await until(lambda: agent.sequences() == [0, 1])

                age = clock.now().mono - agent.heard()[1].received_at
                assert age >= milliseconds(190)

    story()


def test_the_receive_buffer_holds_what_a_fleet_says_in_a_second(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                for sequence in range(10_000):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                await until(lambda: len(agent.heard()) == 10_000)

                assert agent.sequences() == list(range(10_000))

    story()


def test_what_did_not_fit_into_the_buffer_is_told(pair: Pair) -> None:
    """Then the silence of a node proves nothing."""

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                for sequence in range(10_000):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                await until(lambda: len(agent.heard()) == 10_000)
                assert not any(batch.missed for batch in agent.batches)

                for _ in range(100_000):
                    far.sendto(FORGED, (str(NEAR4), PORT))
                await until(lambda: any(batch.missed for batch in agent.batches))

    story()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_privilege_the_buffer_is_what_the_kernel_gives() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        _enlarge(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * RECEIVE_BUFFER
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        before = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        os.seteuid(65534)
        try:
            _enlarge(sock)
        finally:
            os.seteuid(0)
        assert before <= sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * RECEIVE_BUFFER


# A flood


@pytest.mark.usefixtures("real_time")
def test_refusing_takes_no_more_than_its_share_of_the_processor(pair: Pair) -> None:
    """From the address of a genuine node, so that nothing but the pauses can hold it back."""

    @in_loop
    async def story() -> None:
        async with running() as agent:
            agent.work_s[False] = 0.0001
            with node(pair) as far:
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)
                began_s, used_s, spent_s = time.monotonic(), time.thread_time(), 0.0
                while time.monotonic() < began_s + 2:
                    sending_s = time.thread_time()
                    for _ in range(50):
                        far.sendto(FORGED, (str(NEAR4), PORT))
                    spent_s += time.thread_time() - sending_s
                    await asyncio.sleep(0.001)
                used_s = time.thread_time() - used_s - spent_s
                passed_s = time.monotonic() - began_s

                assert agent.refused > 100
                assert used_s / passed_s < 2 * SHARE

    story()


@pytest.mark.usefixtures("real_time")
def test_nodes_are_heard_through_a_strangers_flood(pair: Pair) -> None:
    pair.run_far("ip", "addr", "add", "10.77.0.3/24", "dev", "eth0")

    @in_loop
    async def story() -> None:
        async with running() as agent:
            agent.work_s[False] = 0.0001
            with node(pair) as far, node(pair) as stranger:
                stranger.bind(("10.77.0.3", 0))
                for sequence in range(100):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                    for _ in range(100):
                        stranger.sendto(FORGED, (str(NEAR4), PORT))
                    await asyncio.sleep(0.005)
                await until(lambda: len(agent.heard()) == 100)

                # The kernel dropped most of the others.
                assert agent.refused < 5000

    story()


@pytest.mark.usefixtures("real_time")
def test_a_fleet_is_no_flood_however_busy(pair: Pair) -> None:
    """What is genuine is never paused for: only refusing has a share."""

    @in_loop
    async def story() -> None:
        async with running() as agent:
            agent.work_s[True] = 0.0001
            with node(pair) as far:
                for sequence in range(3000):
                    far.sendto(said(sequence), (str(NEAR4), PORT))
                began_s = time.monotonic()
                await until(lambda: len(agent.heard()) == 3000)

                # 0.3 s of work; with a share of a tenth it would take three seconds.
                assert time.monotonic() - began_s < 2

    story()


# What is survived


def test_an_interface_that_comes_later_is_waited_for(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        pair.run_near("ip", "link", "set", "eth0", "down")
        pair.run_near("ip", "link", "set", "eth0", "name", "eth1")
        async with running() as agent:
            assert agent.troubles == [("eth0", "eth0: no such interface, waiting for it")]
            pair.run_near("ip", "link", "set", "eth1", "name", "eth0")
            pair.run_near("ip", "link", "set", "eth0", "up")
            pair.until_up()
            await until(lambda: agent.troubles[1:])
            with node(pair) as far:
                far.sendto(said(0), (str(MULTICAST_IPV4), PORT))
                await until(agent.heard)

            assert agent.troubles[1:] == [("eth0", "")]

    story()


def test_an_interface_that_is_made_anew_is_heard_again(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)
            pair.run_near("ip", "link", "del", "eth0")
            await until(lambda: agent.troubles[1:])
            agent.answer(agent.heard()[0])  # It goes nowhere, and harms nobody.
            peer = ("type", "veth", "peer", "name", "eth0", "netns", pair.far)
            pair.run_near("ip", "link", "add", "eth0", *peer)
            pair.run_near("ip", "addr", "add", "10.77.0.1/24", "dev", "eth0")
            pair.run_near("ip", "link", "set", "eth0", "up")
            pair.run_far("ip", "addr", "add", "10.77.0.2/24", "dev", "eth0")
            pair.run_far("ip", "link", "set", "eth0", "up")
            pair.until_up()
            await until(lambda: agent.troubles[2:])
            with node(pair) as far:
                far.sendto(said(1), (str(MULTICAST_IPV4), PORT))
                await until(lambda: len(agent.heard()) == 2)
                agent.answer(agent.heard()[1])
                assert isinstance(APP1.decode(far.recv(2000)), NodeAck)

            waiting = "eth0: no such interface, waiting for it"
            assert agent.troubles == [("eth0", ""), ("eth0", waiting), ("eth0", "")]

    story()


def test_another_port_counts_from_the_next_look_on_and_none_closes_all(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running() as agent:
            agent.datagrams.settings = NodesSettings(port=7000)
            with node(pair) as far:

                def heard_there() -> bool:
                    far.sendto(said(1), (str(NEAR4), 7000))
                    return bool(agent.heard())

                await until(heard_there)
                agent.datagrams.settings = None
                await until(lambda: not agent.datagrams._open)

    story()


def test_without_settings_nobody_is_heard(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        async with running(None) as agent:
            assert agent.datagrams._open == {}
            agent.datagrams.settings = NODES
            await until(lambda: agent.datagrams._open)
            assert agent.troubles == [("eth0", "")]

    story()


def test_a_port_that_another_program_has_is_told_and_tried_again(pair: Pair) -> None:
    @in_loop
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("", PORT))
            async with running() as agent:
                text = "eth0: cannot hear app nodes over IPv4: Address already in use, trying again"
                assert agent.troubles == [("eth0", text)]
                other.close()
                await until(lambda: agent.troubles[1:])
                assert agent.troubles[1:] == [("eth0", "")]

    story()


def test_a_host_whose_ipv6_is_switched_off_hears_nodes_over_ipv4(pair: Pair) -> None:
    pair.run_near("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")

    @in_loop
    async def story() -> None:
        async with running() as agent:
            with node(pair) as far:
                far.sendto(said(0), (str(NEAR4), PORT))
                await until(agent.heard)
            assert agent.troubles == [("eth0", "")]

    story()
