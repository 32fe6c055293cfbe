"""haagent.adapters.link.hosts against the real kernel: ``near`` asks, ``far`` answers.

That somebody does not answer is seen when another has, who was asked after it.
"""

import asyncio
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from fcntl import ioctl
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from pyroute2 import netns

from haagent.adapters.link import ANSWERED_WITHIN_S, Hosts
from haagent.core.events import Event, HostAnswered
from haagent.core.settings import MULTICAST_IPV6, IPAddress, PathSettings
from haagent.wire import arp, icmp, ndp
from tests.adapters import conftest
from tests.adapters.conftest import Pair, in_loop

NEAR4, FAR4 = IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2")
NEAR6, FAR6 = IPv6Address("fd77::1"), IPv6Address("fd77::2")
OTHER4, OTHER6 = IPv4Address("10.77.0.3"), IPv6Address("fd77::3")
"""A second address of the far host."""
GHOST4, GHOST6 = IPv4Address("10.77.0.9"), IPv6Address("fd77::9")
"""Nobody's."""
STRANGER = bytes.fromhex("020000000099")
ANOTHER = bytes.fromhex("020000000098")
BOTH = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
INGRESS = (
    "add table netdev t; add chain netdev t c "
    "{ type filter hook ingress device eth0 priority 0; }; add rule netdev t c "
)
PATIENCE_S = 10.0


class Asker:
    """A running Hosts, and what it posted."""

    def __init__(self, path: PathSettings, source: IPAddress | None) -> None:
        self.events: list[Event] = []
        self.hosts = Hosts([path], lambda _path: source, self.events.append)

    def ask(self, *addresses: IPAddress) -> None:
        for address in addresses:
            self.hosts.ask(0, address)

    async def until(self, *events: Event) -> None:
        """Wait until all of these have been posted."""
        await until(lambda: set(events) <= set(self.events))

    def has(self, count: int) -> bool:
        return len(self.events) == count

    async def until_known(self, address: IPAddress) -> None:
        await until(lambda: self.hosts._hosts[0, address].mac)

    def passed_the_filter(self) -> int:
        """Return how many frames reached the socket since the last call (packet(7))."""
        packets = self.hosts._links[0].frames.socket.getsockopt(263, 6, 8)
        return int.from_bytes(packets[:4], sys.byteorder)


@asynccontextmanager
async def asking(
    source: IPAddress | None, interface: str = "eth0", reference: IPAddress | None = None
) -> AsyncIterator[Asker]:
    path = PathSettings(interface=interface, reference=reference)
    if source is None or source.version == 6:
        path = PathSettings(interface=interface, group=MULTICAST_IPV6, reference=reference)
    asker = Asker(path, source)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(asker.hosts.run())
        await asyncio.sleep(0)  # one turn of the loop: the sockets are open
        yield asker
        running.cancel()


until = partial(conftest.until, limit_s=PATIENCE_S)


def near(version: int) -> IPAddress:
    return NEAR4 if version == 4 else NEAR6


def far(version: int) -> IPAddress:
    return FAR4 if version == 4 else FAR6


def other(pair: Pair, version: int) -> IPAddress:
    """Give the far host its second address."""
    if version == 4:
        pair.run_far("ip", "addr", "add", f"{OTHER4}/24", "dev", "eth0")
        return OTHER4
    pair.run_far("ip", "addr", "add", f"{OTHER6}/64", "dev", "eth0", "nodad")
    pair.until_answered(str(OTHER6), at=pair.far)
    return OTHER6


def ghost(version: int) -> IPAddress:
    return GHOST4 if version == 4 else GHOST6


def answers(address: IPAddress) -> list[Event]:
    """Return all that a host on Ethernet answers to one question."""
    link = "ARP" if address.version == 4 else "NDP"
    return [HostAnswered(0, address, link), HostAnswered(0, address, "ICMP")]


def claim_by(mac: bytes, address: IPAddress) -> bytes:
    """Return a frame in which ``mac`` claims ``address``."""
    if isinstance(address, IPv4Address):
        return arp.gratuitous_reply(mac, address)
    return ndp.unsolicited_na(mac, address)


def echo_of_another_program(address: IPAddress) -> None:
    """Return when its echo has been answered."""
    family, protocol = socket.AF_INET, socket.IPPROTO_ICMP
    if address.version == 6:
        family, protocol = socket.AF_INET6, socket.IPPROTO_ICMPV6
    identifier, nonce = 0xA17E, b"another program"
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.settimeout(PATIENCE_S)
        message = icmp.echo_request(address.version, identifier, nonce)
        sock.sendto(message, (str(address), 0))
        while nonce not in (answer := sock.recv(2048)) or message in answer:
            pass


def mac_of_near(pair: Pair) -> bytes:
    shown = json.loads(pair.run_near("ip", "-j", "link", "show", "eth0"))[0]["address"]
    return bytes.fromhex(shown.replace(":", ""))


async def until_settled(pair: Pair, version: int) -> None:
    """Wait, where that is needed, until both kernels take part in neighbour discovery."""
    if version == 6:
        await link_local(pair)


async def link_local(pair: Pair) -> tuple[IPv6Address, IPv6Address]:
    """Return the link-local addresses of near and far, once they may be used."""
    show = ("ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", "link", "-tentative")

    def settled() -> list[IPv6Address]:
        listings = [json.loads(pair.run_near(*show)), json.loads(pair.run_far(*show))]
        found = [a for listing in listings for link in listing for a in link.get("addr_info", [])]
        return [IPv6Address(address["local"]) for address in found if address]

    await until(lambda: len(settled()) == 2)
    source, address = settled()
    return source, address


@BOTH
@in_loop
async def test_a_living_host_answers_each_question_once_by_each_protocol(
    pair: Pair, version: int
) -> None:
    await until_settled(pair, version)
    async with asking(near(version)) as asker:
        for count in range(3):
            asker.ask(far(version))
            await until(partial(asker.has, 2 * (count + 1)))

        assert sorted(map(str, asker.events)) == sorted(map(str, 3 * answers(far(version))))


@in_loop
async def test_a_link_local_host_is_asked_by_its_address_alone(pair: Pair) -> None:
    source, address = await link_local(pair)
    async with asking(source) as asker:
        asker.ask(address)

        await asker.until(*answers(address))


def test_a_host_answers_whose_process_is_stopped(pair: Pair) -> None:
    script = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('', 6940))\n"
        "print('ready', flush=True)\n"
        "while True: s.sendto(*s.recvfrom(100))\n"
    )
    command = ["ip", "netns", "exec", pair.far, sys.executable, "-I", "-c", script]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            client.connect((str(FAR4), 6940))
            client.settimeout(PATIENCE_S)
            client.send(b"alive?")
            assert client.recv(100) == b"alive?"
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            client.send(b"alive?")
            asyncio.run(until_answered(FAR4))
            assert select.select([client], [], [], 0)[0] == []
        finally:
            process.kill()


async def until_answered(address: IPAddress) -> None:
    async with asking(NEAR4) as asker:
        asker.ask(address)
        await asker.until(*answers(address))


@BOTH
@in_loop
async def test_a_host_that_is_cut_off_does_not_answer(pair: Pair, version: int) -> None:
    """All that is for its first address is dropped; for its second one, nothing is."""
    await until_settled(pair, version)
    lost, heard = far(version), other(pair, version)
    async with asking(near(version)) as asker:
        asker.ask(lost)
        await asker.until(*answers(lost))
        asker.events.clear()
        rules = (
            [f"arp daddr ip {lost} drop", f"ip daddr {lost} drop"]
            if version == 4
            else [
                f"icmpv6 type nd-neighbor-solicit @th,64,128 {int(lost):#x} drop",
                f"ip6 daddr {lost} drop",
            ]
        )
        for number, rule in enumerate(rules):
            pair.run_far("nft", (INGRESS if not number else "add rule netdev t c ") + rule)

        asker.ask(lost, lost, lost, heard)
        await asker.until(*answers(heard))
        assert set(asker.events) == set(answers(heard))

        pair.run_far("nft", "delete table netdev t")
        asker.ask(lost)
        await asker.until(*answers(lost))


@BOTH
@in_loop
async def test_an_address_that_nobody_has_is_not_answered_for(pair: Pair, version: int) -> None:
    await until_settled(pair, version)
    async with asking(near(version)) as asker:
        asker.ask(ghost(version), far(version))

        await asker.until(*answers(far(version)))
        assert set(asker.events) == set(answers(far(version)))


@BOTH
@in_loop
async def test_a_watched_host_is_found_where_the_network_has_stopped_to_carry_broadcasts(
    pair: Pair, version: int
) -> None:
    await until_settled(pair, version)
    known, unknown = far(version), other(pair, version)
    async with asking(near(version), reference=known) as asker:
        await asker.until_known(known)
        assert asker.events == []
        pair.run_far("nft", f"{INGRESS} meta pkttype {{ broadcast, multicast }} drop")

        asker.ask(unknown, known)
        await asker.until(answers(known)[0])
        assert answers(unknown)[0] not in asker.events

        pair.run_far("nft", "delete table netdev t")
        asker.hosts.watch(frozenset({(0, unknown)}))
        await asker.until_known(unknown)
        pair.run_far("nft", f"{INGRESS} meta pkttype {{ broadcast, multicast }} drop")
        asker.ask(unknown)
        await asker.until(answers(unknown)[0])


@BOTH
@in_loop
async def test_a_host_is_found_though_it_has_changed_its_mac(pair: Pair, version: int) -> None:
    await until_settled(pair, version)
    async with asking(near(version), reference=far(version)) as asker:
        await asker.until_known(far(version))
        # Nor does our own kernel look for it anew, whose question would be answered as well.
        known = (str(far(version)), "lladdr", ANOTHER.hex(":"), "dev", "eth0", "nud", "permanent")
        pair.run_near("ip", "neigh", "replace", *known)
        pair.run_far("ip", "link", "set", "eth0", "address", STRANGER.hex(":"))
        assert asker.hosts._hosts[0, far(version)].mac != STRANGER

        def answered() -> bool:
            asker.ask(far(version))
            return answers(far(version))[0] in asker.events

        await until(answered)
        assert asker.hosts._hosts[0, far(version)].mac == STRANGER


@BOTH
@in_loop
async def test_a_host_is_asked_from_our_own_address_and_not_beyond_the_link(
    pair: Pair, version: int
) -> None:
    """Though a virtual one stands first: the oldest one in IPv4, the newest in IPv6."""
    await until_settled(pair, version)
    if version == 4:
        pair.run_near("ip", "-4", "addr", "flush", "dev", "eth0")
        pair.run_near("ip", "addr", "add", "10.77.0.100/24", "dev", "eth0")
        pair.run_near("ip", "addr", "add", f"{NEAR4}/24", "dev", "eth0")
    else:
        pair.run_near("ip", "addr", "add", "fd77::100/64", "dev", "eth0", "nodad")
    words = (
        ("ip ttl", "ip saddr", "icmp") if version == 4 else ("ip6 hoplimit", "ip6 saddr", "icmpv6")
    )
    asked = f"{words[0]} 1 {words[1]} {near(version)} {words[2]} type echo-request counter"
    pair.run_far("nft", INGRESS + asked)
    async with asking(near(version)) as asker:
        asker.ask(far(version))
        await asker.until(*answers(far(version)))

        assert "packets 1 " in pair.run_far("nft", "list", "table", "netdev", "t")


@BOTH
@in_loop
async def test_frames_about_others_do_not_even_reach_the_agent(pair: Pair, version: int) -> None:
    await until_settled(pair, version)
    other(pair, version)
    tagged = claim_by(STRANGER, ghost(version))
    tagged = tagged[:12] + bytes.fromhex("8100000a") + tagged[12:]
    to_another = STRANGER + claim_by(STRANGER, ghost(version))[6:]
    async with asking(near(version)) as asker:
        asker.ask(ghost(version))
        asker.passed_the_filter()
        pair.send_from_far(
            tagged,
            to_another,
            claim_by(STRANGER, OTHER4),
            claim_by(STRANGER, OTHER6),
            claim_by(STRANGER, GHOST6 if version == 4 else GHOST4),
            arp.probe(STRANGER, GHOST4),
            ndp.neighbor_probe(STRANGER, IPv6Address("fe80::99"), GHOST6),
        )
        echo_of_another_program(far(version))
        pair.send_from_far(claim_by(STRANGER, ghost(version)))

        await asker.until(answers(ghost(version))[0])
        assert asker.passed_the_filter() == 1
        assert len(asker.events) == 1


@BOTH
@in_loop
async def test_what_answers_another_program_does_not_wake_the_agent(
    pair: Pair, version: int
) -> None:
    await until_settled(pair, version)
    async with asking(near(version)) as asker:
        ours = asker.hosts._links[0].echoes.socket
        asyncio.get_running_loop().remove_reader(ours)
        echo_of_another_program(far(version))

        assert select.select([ours], [], [], 0)[0] == []
        asker.ask(far(version))
        assert select.select([ours], [], [], PATIENCE_S)[0] == [ours]


@BOTH
@in_loop
async def test_our_own_mac_is_no_answer_and_a_flood_of_answers_is_one(
    pair: Pair, version: int
) -> None:
    await until_settled(pair, version)
    async with asking(near(version)) as asker:
        asker.ask(ghost(version))
        pair.send_from_far(claim_by(mac_of_near(pair), ghost(version)))
        asker.ask(far(version))
        await asker.until(*answers(far(version)))
        assert set(asker.events) == set(answers(far(version)))

        asker.events.clear()
        asker.ask(ghost(version))
        pair.send_from_far(*[claim_by(STRANGER, ghost(version))] * 200)
        await asker.until(answers(ghost(version))[0])
        await until(lambda: not select.select([asker.hosts._links[0].frames.socket], [], [], 0)[0])
        assert asker.events == [answers(ghost(version))[0]]


@BOTH
@in_loop
async def test_what_came_while_the_agent_was_stopped_does_not_answer_the_next_question(
    pair: Pair, version: int
) -> None:
    await until_settled(pair, version)
    async with asking(near(version)) as asker:
        asker.ask(ghost(version))
        end_s = time.monotonic() + ANSWERED_WITHIN_S
        # The loop stands still from here on, as that of a stopped process does.
        pair.send_from_far(claim_by(STRANGER, ghost(version)))
        select.select([], [], [], max(0.0, end_s - time.monotonic()))
        asker.ask(ghost(version), far(version))

        await asker.until(*answers(far(version)))
        assert set(asker.events) == set(answers(far(version)))
        pair.send_from_far(claim_by(STRANGER, ghost(version)))
        await asker.until(answers(ghost(version))[0])


@in_loop
async def test_an_interface_that_comes_late_or_again_is_asked_on_at_once(pair: Pair) -> None:
    def pull_out() -> None:
        pair.run_near("ip", "link", "del", "eth0")

    def plug_in() -> None:
        peer = ("type", "veth", "peer", "eth0", "netns", pair.near)
        pair.run_far("ip", "link", "add", "eth0", *peer)
        for run, address in ((pair.run_near, NEAR4), (pair.run_far, FAR4)):
            run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            run("ip", "link", "set", "eth0", "up")
        pair.until_up()

    pull_out()
    async with asking(NEAR4) as asker:
        for _ in range(2):
            asker.ask(FAR4)
            assert asker.events == []
            plug_in()
            asker.ask(FAR4)
            await asker.until(*answers(FAR4))
            asker.events.clear()
            pull_out()


@in_loop
async def test_a_link_that_was_down_carries_the_very_next_question(pair: Pair) -> None:
    async with asking(NEAR4) as asker:
        pair.run_near("ip", "link", "set", "eth0", "down")
        asker.ask(FAR4)
        pair.run_near("ip", "link", "set", "eth0", "up")
        pair.until_up()
        asker.ask(FAR4)

        await asker.until(*answers(FAR4))


@BOTH
@in_loop
async def test_where_there_is_no_ethernet_only_icmp_is_asked(pair: Pair, version: int) -> None:
    ends = ("10.78.0.1", "10.78.0.2") if version == 4 else ("fd78::1", "fd78::2")
    option = ("24",) if version == 4 else ("64", "nodad")
    with tunnel(pair):
        for place, address in ((pair.near, ends[0]), (pair.far, ends[1])):
            add = ("addr", "add", f"{address}/{option[0]}", "dev", "tun7", *option[1:])
            pair.run_near("ip", "-n", place, *add)
            pair.run_near("ip", "-n", place, "link", "set", "tun7", "up")
        async with asking(ip_address(ends[0]), interface="tun7") as asker:

            def answered() -> bool:
                asker.ask(ip_address(ends[1]))
                return bool(asker.events)

            await until(answered)
            assert set(asker.events) == {HostAnswered(0, ip_address(ends[1]), "ICMP")}


@contextmanager
def tunnel(pair: Pair) -> Iterator[None]:
    """Join the namespaces by ``tun7``, whose packets the running loop carries."""
    ends: list[int] = []
    for place in (pair.far, pair.near):
        netns.setns(place)
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        ends.append(end)
        ioctl(end, 0x400454CA, struct.pack("16sH22x", b"tun7", 0x1001))  # TUNSETIFF, IFF_TUN, NO_PI
    loop = asyncio.get_running_loop()
    loop.add_reader(ends[0], carry, *ends)
    loop.add_reader(ends[1], carry, *reversed(ends))
    try:
        yield
    finally:
        for end in ends:
            loop.remove_reader(end)
            os.close(end)


def carry(*ends: int) -> None:
    with suppress(OSError):  # The other end is not up yet.
        os.write(ends[1], os.read(ends[0], 2048))


@in_loop
async def test_a_path_without_an_address_of_its_own_asks_nobody(pair: Pair) -> None:
    async with asking(None, reference=FAR6) as asker:
        asker.ask(FAR4, FAR6)

        assert asker.hosts._hosts.keys() == {(0, FAR6)}
        assert asker.events == []


def test_without_the_capability_the_error_says_which_one(pair: Pair) -> None:
    attempt = (
        "import asyncio\n"
        "from haagent.adapters.link import Hosts\n"
        "from haagent.core.settings import PathSettings\n"
        "hosts = Hosts([PathSettings(interface='eth0')], lambda path: None, print)\n"
        "try: asyncio.run(hosts.run())\n"
        "except PermissionError as error: print(error)\n"
    )
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")

    said = pair.run_near(*powerless, sys.executable, "-c", attempt)

    assert said == (
        "[Errno 1] cannot ask hosts on eth0: Operation not permitted (needs CAP_NET_RAW)\n"
    )
