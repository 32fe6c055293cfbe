"""Heartbeat sockets against the kernel: what leaves, what is let in, and what is survived."""

import asyncio
import contextlib
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

import pytest
from pyroute2 import netns

from haagent.adapters import clock
from haagent.adapters.datagrams import MAX_PAYLOAD, Datagrams, Received, source_addresses
from haagent.adapters.datagrams.reader import SHARE
from haagent.adapters.datagrams.stamps import arrival
from haagent.core.settings import (
    DEFAULT_PORT,
    MULTICAST_IPV4,
    MULTICAST_IPV6,
    HeartbeatSettings,
    IPAddress,
    PathSettings,
)
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds
from tests.adapters.conftest import Pair, until

NOW = Moment(MonoNs(77), WallNs(0))
FORGED = b"forged"
STRANGER4, STRANGER6 = IPv4Address("10.77.0.3"), IPv6Address("fd77::3")
NEAR4, FAR4 = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
NEAR6, FAR6 = IPv6Address("fd77::1"), IPv6Address("fd77::2")
MULTICAST4 = PathSettings(interface="eth0")
MULTICAST6 = PathSettings(interface="eth0", group=MULTICAST_IPV6)
UNICAST4 = PathSettings(interface="eth0", peers=(FAR4,))
UNICAST6 = PathSettings(interface="eth0", peers=(FAR6,))
OUTPUT_CHAIN = "add table inet t; add chain inet t c { type filter hook output priority 0; }"
EVERY_KIND = pytest.mark.parametrize(
    "path",
    [MULTICAST4, MULTICAST6, UNICAST4, UNICAST6],
    ids=["multicast4", "multicast6", "unicast4", "unicast6"],
)


class Agent:
    """A running ``Datagrams`` and what it said."""

    def __init__(
        self, *paths: PathSettings, virtual: frozenset[IPAddress], now: Callable[[], Moment]
    ) -> None:
        self.received: list[Received] = []
        self.work_s = 0.0
        """For each datagram."""
        self.troubles: list[tuple[int, str]] = []
        self.mutes: list[bool] = []
        self.datagrams = Datagrams(
            HeartbeatSettings(paths=paths),
            virtual,
            self.receive,
            now,
            self.trouble,
        )

    def trouble(self, path: int, text: str, carries: bool) -> None:
        self.troubles.append((path, text))
        self.mutes.append(not carries)

    def receive(self, received: Received) -> bool:
        """Take ``FORGED`` for what it is, and some processor time."""
        end_s = time.thread_time() + self.work_s
        self.received.append(received)
        while time.thread_time() < end_s:
            pass
        return received.payload != FORGED

    def forged(self) -> int:
        return len(self.received) - len(self.genuine())

    def genuine(self) -> list[bytes]:
        return [payload for payload in self.payloads() if payload != FORGED]

    async def until_open(self, path: int = 0) -> None:
        await until(lambda: self.datagrams.local_address(path) is not None)

    def payloads(self) -> list[bytes]:
        return [received.payload for received in self.received]


@asynccontextmanager
async def running(
    *paths: PathSettings,
    virtual: IPAddress | None = None,
    now: Callable[[], Moment] = lambda: NOW,
) -> AsyncIterator[Agent]:
    agent = Agent(*paths, virtual=frozenset({virtual} if virtual else ()), now=now)
    task = asyncio.create_task(agent.datagrams.run())
    try:
        await asyncio.sleep(0)  # One turn, in which the paths that can be opened are opened.
        yield agent
    finally:
        assert not task.done(), "run() ended by itself"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextmanager
def far_socket(pair: Pair, family: socket.AddressFamily) -> Iterator[socket.socket]:
    """A plain heartbeat socket in the far namespace that tells TTL and traffic class."""
    netns.setns(pair.far)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    index = socket.if_nametoindex("eth0")
    netns.setns(pair.near)
    if family == socket.AF_INET:
        membership = struct.pack("=4s4si", MULTICAST_IPV4.packed, bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
        sock.bind(("0.0.0.0", DEFAULT_PORT))
    else:
        membership = struct.pack("=16si", MULTICAST_IPV6.packed, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.bind(("::", DEFAULT_PORT))
    sock.settimeout(5)
    with sock:
        yield sock


def family_of(path: PathSettings) -> socket.AddressFamily:
    version = (path.peers[0] if path.peers else path.group).version
    return socket.AF_INET if version == 4 else socket.AF_INET6


def seen(sock: socket.socket) -> tuple[bytes, IPAddress, set[int]]:
    """Return payload, source, and the values of TTL and traffic class of the next datagram."""
    payload, ancillary, _, sender = sock.recvmsg(2000, 64)
    return (
        payload,
        ip_address(sender[0]),
        {int.from_bytes(data, "little") for *_, data in ancillary},
    )


def target(sock: socket.socket, address: IPAddress) -> tuple[Any, ...]:
    return (str(address), DEFAULT_PORT)


def near_address(pair: Pair, path: PathSettings) -> IPAddress:
    """Return where the far end reaches the near end on ``path``."""
    if not path.peers:
        return path.group
    return NEAR4 if path.peers[0].version == 4 else NEAR6


def link_local(pair: Pair) -> IPv6Address:
    words = pair.run_near("ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope", "link").split()
    return IPv6Address(words[words.index("inet6") + 1].partition("/")[0])


async def until_link_local(pair: Pair, path: PathSettings = MULTICAST6) -> None:
    """Wait, where ``path`` needs them, until the link-local addresses may be used.

    Duplicate address detection comes first; the other addresses of the pair skip it.
    """
    if path is not MULTICAST6:
        return
    show = ("ip", "-6", "addr", "show", "dev", "eth0")
    await until(lambda: "scope link" in pair.run_near(*show), 10)
    await until(lambda: "tentative" not in pair.run_near(*show) + pair.run_far(*show), 10)


# What leaves


@EVERY_KIND
def test_heartbeats_leave_with_hop_limit_255_and_class_cs6(pair: Pair, path: PathSettings) -> None:
    async def story() -> None:
        await until_link_local(pair, path)
        with far_socket(pair, family_of(path)) as far:
            async with running(path) as agent:
                agent.datagrams.send(0, None, b"heartbeat")

                source = agent.datagrams.local_address(0)
                assert seen(far) == (b"heartbeat", source, {255, 0xC0})
                assert agent.troubles == []

    asyncio.run(story())


def test_each_kind_of_path_has_the_source_that_its_peers_expect(pair: Pair) -> None:
    async def story() -> None:
        await until_link_local(pair)
        async with running(MULTICAST4, MULTICAST6, UNICAST4, UNICAST6) as agent:
            sources = [agent.datagrams.local_address(path) for path in range(4)]
            assert sources == [NEAR4, link_local(pair), NEAR4, NEAR6]

    asyncio.run(story())


@EVERY_KIND
def test_a_heartbeat_has_the_priority_of_control_traffic(pair: Pair, path: PathSettings) -> None:
    """Seen by the kernel's own classifier, since a veth carries no priority."""
    rule = "udp dport 6940 meta priority 0:6 counter name urgent"
    ruleset = f"{OUTPUT_CHAIN}; add counter inet t urgent; add rule inet t c {rule}"

    async def story() -> None:
        await until_link_local(pair, path)
        pair.run_near("nft", ruleset)
        async with running(path) as agent:
            agent.datagrams.send(0, None, b"heartbeat")

            assert "packets 1 " in pair.run_near("nft", "list", "counter", "inet", "t", "urgent")

    asyncio.run(story())


@pytest.mark.parametrize("path", [MULTICAST4, UNICAST4], ids=["multicast", "unicast"])
def test_an_ipv4_virtual_address_that_stands_first_is_not_the_source(
    pair: Pair, path: PathSettings
) -> None:
    async def story() -> None:
        virtual = IPv4Address("10.77.0.100")
        pair.run_near("ip", "-4", "addr", "flush", "dev", "eth0")
        pair.run_near("ip", "addr", "add", f"{virtual}/24", "dev", "eth0")
        pair.run_near("ip", "addr", "add", f"{NEAR4}/24", "dev", "eth0")
        with far_socket(pair, socket.AF_INET) as far:
            async with running(path, virtual=virtual) as agent:
                agent.datagrams.send(0, None, b"")
                assert seen(far)[1] == NEAR4
            async with running(path) as agent:
                agent.datagrams.send(0, None, b"")
                assert seen(far)[1] == virtual, "it does stand first"

    asyncio.run(story())


def test_an_ipv6_virtual_address_that_stands_first_is_not_the_source(pair: Pair) -> None:
    async def story() -> None:
        virtual = IPv6Address("fd77::100")
        pair.run_near("ip", "addr", "add", f"{virtual}/64", "dev", "eth0", "nodad")
        with far_socket(pair, socket.AF_INET6) as far:
            async with running(UNICAST6, virtual=virtual) as agent:
                agent.datagrams.send(0, None, b"")
                assert seen(far)[1] == NEAR6
            async with running(UNICAST6) as agent:
                agent.datagrams.send(0, None, b"")
                assert seen(far)[1] == virtual, "it does stand first"

    asyncio.run(story())


def test_with_only_a_virtual_address_nothing_is_sent(pair: Pair) -> None:
    async def story() -> None:
        async with running(UNICAST4, virtual=NEAR4) as agent:
            agent.datagrams.send(0, None, b"heartbeat")

            assert agent.datagrams.local_address(0) is None
            text = "eth0: no IPv4 address of its own, waiting for one"
            assert agent.troubles == [(0, text)]

    asyncio.run(story())


def test_a_newer_address_does_not_change_the_source_of_an_open_path(pair: Pair) -> None:
    """The kernel puts a new IPv6 address before the old ones."""

    async def story() -> None:
        async with running(UNICAST6, PathSettings(interface="late", peers=(FAR6,))) as agent:
            pair.run_near("ip", "addr", "add", "fd77::99/64", "dev", "eth0", "nodad")
            pair.run_near("ip", "link", "add", "late", "type", "veth")
            pair.run_near("ip", "addr", "add", "fd99::1/64", "dev", "late", "nodad")
            pair.run_near("ip", "link", "set", "late", "up")
            await agent.until_open(1)  # So the addresses were looked at again.

            assert agent.datagrams.local_address(0) == NEAR6

    asyncio.run(story())


def test_the_source_is_on_the_network_of_the_peers_where_there_is_one() -> None:
    addresses = [ip_interface(text) for text in ("fe80::1/64", "fd01::1/64", "fd02::1/64")]
    path = PathSettings(interface="eth0", peers=(IPv6Address("fd02::2"),))

    assert [str(source) for source in source_addresses(path, addresses, frozenset())] == [
        "fd02::1",
        "fd01::1",
    ]


def test_link_local_peers_get_a_link_local_source() -> None:
    addresses = [ip_interface(text) for text in ("fd01::1/64", "fe80::1/64")]
    path = PathSettings(interface="eth0", peers=(IPv6Address("fe80::2"),))

    assert source_addresses(path, addresses, frozenset()) == [IPv6Address("fe80::1")]


# What is let in


@EVERY_KIND
def test_a_datagram_comes_with_its_source_hop_limit_and_path(
    pair: Pair, path: PathSettings
) -> None:
    async def story() -> None:
        await until_link_local(pair, path)
        with far_socket(pair, family_of(path)) as far:
            ipv4 = family_of(path) == socket.AF_INET
            level = socket.IPPROTO_IP if ipv4 else socket.IPPROTO_IPV6
            for option in (
                (socket.IP_TTL, socket.IP_MULTICAST_TTL)
                if ipv4
                else (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS)
            ):
                far.setsockopt(level, option, 254)
            other = UNICAST6 if ipv4 else UNICAST4
            async with running(other, path) as agent:
                far.sendto(b"heartbeat", target(far, near_address(pair, path)))
                await until(lambda: agent.received)

                (received,) = agent.received
                if path is MULTICAST6:
                    assert received.source.is_link_local
                else:
                    assert received.source == (FAR4 if ipv4 else FAR6)
                assert (received.path, received.ttl) == (1, 254)
                assert (received.payload, received.received_at) == (b"heartbeat", NOW.mono)

    asyncio.run(story())


@EVERY_KIND
def test_an_answer_to_the_source_of_a_datagram_arrives(pair: Pair, path: PathSettings) -> None:
    """An address without a scope is enough, also for a link-local source."""

    async def story() -> None:
        await until_link_local(pair, path)
        with far_socket(pair, family_of(path)) as far:
            async with running(path) as agent:
                far.sendto(b"question", target(far, near_address(pair, path)))
                await until(lambda: agent.received)
                agent.datagrams.send(0, agent.received[0].source, b"answer")

                assert seen(far)[0] == b"answer"

    asyncio.run(story())


def test_an_agent_does_not_hear_itself(pair: Pair) -> None:
    async def story() -> None:
        await until_link_local(pair)
        same_list_everywhere = PathSettings(interface="eth0", peers=(NEAR4, FAR4))
        async with running(MULTICAST4, MULTICAST6, same_list_everywhere, UNICAST6) as agent:
            for path in range(4):
                agent.datagrams.send(path, None, b"mine")
            with far_socket(pair, socket.AF_INET) as far:
                far.sendto(b"theirs", target(far, NEAR4))
            await until(lambda: agent.received)

            assert agent.payloads() == [b"theirs"]

    asyncio.run(story())


def test_a_group_that_only_another_program_joined_is_not_heard(pair: Pair) -> None:
    async def story() -> None:
        foreign = IPv4Address("224.0.0.253")
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
            far_socket(pair, socket.AF_INET) as far,
        ):
            index = socket.if_nametoindex("eth0")
            membership = struct.pack("=4s4si", foreign.packed, bytes(4), index)
            other.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            async with running(MULTICAST4) as agent:
                far.sendto(b"foreign", target(far, foreign))
                far.sendto(b"ours", target(far, MULTICAST_IPV4))
                await until(lambda: agent.received)

                assert agent.payloads() == [b"ours"]

    asyncio.run(story())


def test_a_datagram_from_another_interface_is_not_heard(pair: Pair) -> None:
    async def story() -> None:
        peer = ("type", "veth", "peer", "name", "eth1", "netns", pair.far)
        pair.run_near("ip", "link", "add", "eth1", *peer)
        pair.run_near("ip", "link", "set", "eth1", "up")
        pair.run_far("ip", "link", "set", "eth1", "up")
        pair.until_up("eth1")
        pair.run_far("ip", "addr", "add", "10.78.0.2/24", "dev", "eth1")
        pair.run_near("ip", "addr", "add", "10.78.0.1/24", "dev", "eth1")
        async with running(MULTICAST4) as agent:
            with far_socket(pair, socket.AF_INET) as far:
                far.sendto(b"over eth1", target(far, IPv4Address("10.78.0.1")))
                far.sendto(b"over eth0", target(far, NEAR4))
            await until(lambda: agent.received)

            assert agent.payloads() == [b"over eth0"]

    asyncio.run(story())


def test_the_largest_payload_passes_and_one_byte_more_is_dropped(pair: Pair) -> None:
    async def story() -> None:
        with far_socket(pair, socket.AF_INET) as far:
            async with running(UNICAST4) as agent:
                far.sendto(bytes(MAX_PAYLOAD + 1), target(far, NEAR4))
                far.sendto(bytes(MAX_PAYLOAD), target(far, NEAR4))
                await until(lambda: agent.received)

                assert agent.payloads() == [bytes(MAX_PAYLOAD)]

    asyncio.run(story())


def test_ten_thousand_random_datagrams_do_no_harm(pair: Pair) -> None:
    """Sent in rounds that fit the receive buffer, so that each must come through."""

    async def story() -> None:
        chance = random.Random(1)
        sent: list[bytes] = []
        with far_socket(pair, socket.AF_INET) as far:
            async with running(MULTICAST4) as agent:
                for _ in range(200):
                    for _ in range(50):
                        sent.append(chance.randbytes(chance.randrange(200)))
                        far.sendto(sent[-1], target(far, MULTICAST_IPV4))
                    await until(lambda: len(agent.received) == len(sent))

                assert agent.payloads() == sent

    asyncio.run(story())


def test_a_flood_leaves_the_loop_its_turns(pair: Pair) -> None:
    async def story() -> None:
        with far_socket(pair, socket.AF_INET) as far:
            async with running(UNICAST4) as agent:
                for _ in range(150):
                    far.sendto(b"flood", target(far, NEAR4))
                seen_at_each_turn = []
                while len(agent.received) < 150:
                    await asyncio.sleep(0)
                    seen_at_each_turn.append(len(agent.received))

                assert {64, 128} <= set(seen_at_each_turn)

    asyncio.run(story())


FLOOD = """
import socket, sys
source, target = sys.argv[1:]
family = socket.AF_INET6 if ":" in source else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.bind((source, 0))
    s.connect((target, 6940))
    while True:
        s.send(b"forged")
"""


@contextmanager
def flood(pair: Pair, source: IPAddress, at: IPAddress) -> Iterator[None]:
    """The far end sends forged datagrams as fast as it can."""
    command = ["ip", "netns", "exec", pair.far, sys.executable, "-c", FLOOD, str(source), str(at)]
    with subprocess.Popen(command) as process:
        try:
            yield
            assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()


@pytest.mark.usefixtures("real_time")
def test_a_flood_takes_no_more_than_its_share_of_the_processor(pair: Pair) -> None:
    """From a peer's own address, so that nothing but the pauses can hold it back."""

    async def story() -> None:
        with far_socket(pair, socket.AF_INET) as far:
            async with running(UNICAST4) as agent:
                agent.work_s = 0.0001
                far.sendto(b"heartbeat", target(far, NEAR4))
                await until(lambda: agent.received)
                with flood(pair, FAR4, NEAR4):
                    await until(lambda: agent.forged() > 1000)
                    began_s, used_s = time.monotonic(), time.thread_time()
                    await asyncio.sleep(2)
                    used_s = time.thread_time() - used_s
                    passed_s = time.monotonic() - began_s

                assert SHARE * 0.3 < used_s / passed_s < SHARE * 1.2

    asyncio.run(story())


@pytest.mark.usefixtures("real_time")
@pytest.mark.parametrize("path", [UNICAST4, UNICAST6], ids=["ipv4", "ipv6"])
def test_a_peer_is_heard_through_a_strangers_flood_and_the_stranger_after_it(
    pair: Pair, path: PathSettings
) -> None:
    ipv4 = family_of(path) == socket.AF_INET
    near, stranger, length = (NEAR4, STRANGER4, 24) if ipv4 else (NEAR6, STRANGER6, 64)
    # Not the source of anything that does not ask for it.
    option = () if ipv4 else ("nodad", "preferred_lft", "0")
    pair.run_far("ip", "addr", "add", f"{stranger}/{length}", "dev", "eth0", *option)

    async def story() -> None:
        with far_socket(pair, family_of(path)) as far:
            async with running(path) as agent:
                with flood(pair, stranger, near):
                    await until(lambda: agent.forged() > 100)
                    before = agent.forged()
                    for _ in range(100):
                        far.sendto(b"heartbeat", target(far, near))
                        await asyncio.sleep(0.02)
                    # All but those that came while the stranger was heard again for a moment.
                    await until(lambda: len(agent.genuine()) > 90)
                    assert agent.forged() < before + 10_000

                before = agent.forged()
                with flood(pair, stranger, near):
                    await until(lambda: agent.forged() > before)

    asyncio.run(story())


# When it came

CLOCKED = """
import asyncio
from haagent.adapters import clock
from haagent.adapters.datagrams import Datagrams, Received
from haagent.core.settings import HeartbeatSettings, PathSettings

def say(received: Received) -> bool:
    print(received.payload.decode(), received.received_at, clock.now().mono, flush=True)
    return True

settings = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
asyncio.run(Datagrams(settings, frozenset(), say, clock.now, print).run())
"""
STOPPED = milliseconds(200)


def test_a_process_that_was_stopped_knows_when_each_datagram_came(pair: Pair) -> None:
    command = ["ip", "netns", "exec", pair.near, sys.executable, "-c", CLOCKED]
    with (
        far_socket(pair, socket.AF_INET) as far,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            while not select.select([process.stdout], [], [], 0.05)[0]:
                far.sendto(b"0", target(far, NEAR4))
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            sent = [boottime()]
            far.sendto(str(sent[0]).encode(), target(far, NEAR4))
            select.select([], [], [], STOPPED / 2e9)
            sent.append(boottime())
            far.sendto(str(sent[1]).encode(), target(far, NEAR4))
            select.select([], [], [], STOPPED / 2e9)
            os.kill(process.pid, signal.SIGCONT)

            told: dict[int, tuple[int, int]] = {}
            while len(told) < 2:
                words = process.stdout.readline().split()
                if words[0] in map(str, sent):
                    told[int(words[0])] = int(words[1]), int(words[2])
        finally:
            process.kill()
    for at, (came, read) in told.items():
        assert 0 <= came - at < milliseconds(50)
        assert read - at >= STOPPED / 2


@pytest.mark.parametrize("step", [1, -1], ids=["forward", "back"])
def test_a_step_of_the_wall_clock_makes_no_datagram_older_or_newer(pair: Pair, step: int) -> None:
    error = 0

    def now() -> Moment:
        right = clock.now()
        return Moment(right.mono, WallNs(right.wall + error))

    async def story() -> None:
        nonlocal error
        with far_socket(pair, socket.AF_INET) as far:
            async with running(UNICAST4, now=now) as agent:
                opened = boottime()
                await until(lambda: boottime() - opened > STOPPED)
                far.sendto(b"before", target(far, NEAR4))
                await until(lambda: agent.payloads() == [b"before"])
                error = step * STOPPED
                sent = boottime()
                far.sendto(b"after", target(far, NEAR4))
                await until(lambda: agent.payloads() == [b"before", b"after"])

                assert 0 <= agent.received[-1].received_at - sent < milliseconds(50)

    asyncio.run(story())


def boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize(
    ("stamp", "arrived"),
    [(1_000_000, 5_000), (999_990, 4_990), (999_900, 4_900), (None, 5_000)],
    ids=["now", "a little ago", "as long ago as can be", "no stamp"],
)
def test_a_datagram_came_when_the_kernel_says(stamp: int | None, arrived: int) -> None:
    now = Moment(MonoNs(5_000), WallNs(1_000_000))

    told = None if stamp is None else WallNs(stamp)
    assert arrival(now, told, emptied=MonoNs(4_900)) == arrived


@pytest.mark.parametrize(
    "stamp", [999_899, 0, 1_000_001, 2_000_000], ids=["by 1 ns", "forward", "back, by 1 ns", "back"]
)
def test_a_stamp_before_the_socket_was_empty_or_after_now_is_not_believed(stamp: int) -> None:
    """The wall clock was stepped between arrival and now."""
    now = Moment(MonoNs(5_000), WallNs(1_000_000))

    assert arrival(now, WallNs(stamp), emptied=MonoNs(4_900)) == now.mono


# What is survived


def test_an_interface_absent_at_start_is_waited_for(pair: Pair) -> None:
    async def story() -> None:
        pair.run_near("ip", "link", "set", "eth0", "down")
        pair.run_near("ip", "link", "set", "eth0", "name", "eth1")
        async with running(MULTICAST4) as agent:
            assert agent.troubles == [(0, "eth0: no such interface, waiting for it")]
            pair.run_near("ip", "link", "set", "eth1", "name", "eth0")
            pair.run_near("ip", "link", "set", "eth0", "up")
            pair.until_up()
            await agent.until_open()

            with far_socket(pair, socket.AF_INET) as far:
                far.sendto(b"heartbeat", target(far, MULTICAST_IPV4))
            await until(lambda: agent.received)
            assert agent.troubles[1:] == [(0, "")]

    asyncio.run(story())


def test_a_renamed_interface_is_no_longer_ours(pair: Pair) -> None:
    async def story() -> None:
        async with running(MULTICAST4) as agent:
            pair.run_near("ip", "link", "set", "eth0", "down")
            pair.run_near("ip", "link", "set", "eth0", "name", "eth1")
            await until(lambda: agent.troubles)

            assert agent.troubles == [(0, "eth0: no such interface, waiting for it")]
            assert agent.datagrams.local_address(0) is None

    asyncio.run(story())


@pytest.mark.parametrize("path", [MULTICAST4, MULTICAST6], ids=["ipv4", "ipv6"])
def test_an_interface_that_is_deleted_and_made_again_carries_on(
    pair: Pair, path: PathSettings
) -> None:
    async def story() -> None:
        await until_link_local(pair, path)
        async with running(path) as agent:
            pair.run_near("ip", "link", "del", "eth0")
            peer = ("type", "veth", "peer", "name", "eth0", "netns", pair.far)
            pair.run_near("ip", "link", "add", "eth0", *peer)
            pair.run_near("ip", "addr", "add", "10.77.0.1/24", "dev", "eth0")
            pair.run_near("ip", "link", "set", "eth0", "up")
            pair.run_far("ip", "addr", "add", "10.77.0.2/24", "dev", "eth0")
            pair.run_far("ip", "link", "set", "eth0", "up")
            pair.until_up()
            await until_link_local(pair, path)

            with far_socket(pair, family_of(path)) as far:

                def heard() -> list[Received]:
                    far.sendto(b"again", target(far, path.group))
                    return agent.received

                await until(heard)
                far.settimeout(0.1)

                def answered() -> bool:
                    agent.datagrams.send(0, None, b"here")
                    with contextlib.suppress(TimeoutError):
                        return seen(far)[0] == b"here"
                    return False

                await until(answered)

    asyncio.run(story())


def test_an_address_that_comes_later_opens_the_path_and_its_going_closes_it(pair: Pair) -> None:
    async def story() -> None:
        text = "eth0: no IPv4 address of its own, waiting for one"
        pair.run_near("ip", "-4", "addr", "flush", "dev", "eth0")
        async with running(MULTICAST4) as agent:
            assert agent.troubles == [(0, text)]
            pair.run_near("ip", "addr", "add", "10.77.0.5/24", "dev", "eth0")
            await agent.until_open()
            assert agent.datagrams.local_address(0) == IPv4Address("10.77.0.5")
            pair.run_near("ip", "-4", "addr", "flush", "dev", "eth0")
            await until(lambda: agent.datagrams.local_address(0) is None)

            assert agent.troubles == [(0, text), (0, ""), (0, text)]

    asyncio.run(story())


def test_a_port_that_is_taken_is_tried_again(pair: Pair) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", DEFAULT_PORT))
            async with running(MULTICAST4) as agent:
                text = "eth0: cannot open UDP port 6940: Address already in use, trying again"
                assert agent.troubles == [(0, text)]
                other.close()
                await agent.until_open()

                assert agent.troubles == [(0, text), (0, "")]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "near", "counter"),
    [(UNICAST4, NEAR4, "IcmpInDestUnreachs"), (UNICAST6, NEAR6, "Icmp6InDestUnreachs")],
    ids=["ipv4", "ipv6"],
)
def test_a_far_end_that_is_closed_breaks_nothing(
    pair: Pair, path: PathSettings, near: IPAddress, counter: str
) -> None:
    """Its port-unreachable messages arrive and are ignored."""

    def refusals() -> int:
        return int(pair.run_near("nstat", "-asz", counter).split()[-2])

    async def story() -> None:
        async with running(path) as agent:
            for _ in range(20):
                agent.datagrams.send(0, None, b"anybody?")
            await until(lambda: refusals() > 0)
            with far_socket(pair, family_of(path)) as far:
                agent.datagrams.send(0, None, b"there you are")
                assert seen(far)[0] == b"there you are"
                far.sendto(b"yes", target(far, near))
            await until(lambda: agent.received)

            assert agent.troubles == []

    asyncio.run(story())


def test_a_firewall_is_reported_once_and_its_end_once(pair: Pair) -> None:
    async def story() -> None:
        async with running(UNICAST4) as agent:
            pair.run_near("nft", f"{OUTPUT_CHAIN}; add rule inet t c udp dport 6940 drop")
            for _ in range(3):
                assert not agent.datagrams.send(0, None, b"heartbeat")
            pair.run_near("nft", "delete", "table", "inet", "t")
            for _ in range(3):
                assert agent.datagrams.send(0, None, b"heartbeat")
            assert agent.mutes == [True, False]

            text = "eth0: cannot send to 10.77.0.2: Operation not permitted"
            assert agent.troubles == [(0, text), (0, "")]

    asyncio.run(story())


def test_one_peer_out_of_reach_does_not_keep_a_heartbeat_from_the_others(pair: Pair) -> None:
    async def story() -> None:
        nowhere = IPv6Address("2001:db8::1")
        with far_socket(pair, socket.AF_INET6) as far:
            path = PathSettings(interface="eth0", peers=(nowhere, FAR6))
            async with running(path) as agent:
                agent.datagrams.send(0, None, b"first")
                agent.datagrams.send(0, None, b"second")

                assert [seen(far)[0], seen(far)[0]] == [b"first", b"second"]
                text = "eth0: cannot send to 2001:db8::1: Network is unreachable"
                assert agent.troubles == [(0, text)]
                assert agent.mutes == [False]

    asyncio.run(story())


def test_a_peer_whose_host_is_gone_makes_nobody_mute(pair: Pair) -> None:
    async def story() -> None:
        gone = IPv4Address("10.77.0.9")
        async with running(PathSettings(interface="eth0", peers=(gone,))) as agent:

            def asked_for() -> bool:
                agent.datagrams.send(0, None, b"heartbeat")
                state = pair.run_near("ip", "neighbor", "show", str(gone))
                return "INCOMPLETE" in state or "FAILED" in state

            await until(asked_for)
            for _ in range(1000):  # More than the socket keeps for who does not answer.
                agent.datagrams.send(0, None, bytes(1000))
            assert not any(agent.mutes)

    asyncio.run(story())


def test_a_link_that_is_down_is_reported_until_it_carries_again(pair: Pair) -> None:
    async def story() -> None:
        async with running(MULTICAST4) as agent:
            pair.run_near("ip", "link", "set", "eth0", "down")
            agent.datagrams.send(0, None, b"heartbeat")
            pair.run_near("ip", "link", "set", "eth0", "up")
            agent.datagrams.send(0, None, b"heartbeat")

            text = "eth0: cannot send to 224.0.0.254: Network is unreachable"
            assert agent.troubles == [(0, text), (0, "")]

    asyncio.run(story())


def test_an_ended_run_gives_its_ports_back(pair: Pair) -> None:
    async def story() -> None:
        async with running(MULTICAST4, MULTICAST6):
            pass
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::", DEFAULT_PORT))

    asyncio.run(story())


def test_no_child_process_inherits_a_heartbeat_socket(pair: Pair) -> None:
    async def story() -> None:
        async with running(MULTICAST4, MULTICAST6):
            listing = await asyncio.create_subprocess_exec(
                "ls", "-l", "/proc/self/fd", stdout=asyncio.subprocess.PIPE, close_fds=False
            )
            output, _ = await listing.communicate()

            assert b"socket:" not in output

    asyncio.run(story())
