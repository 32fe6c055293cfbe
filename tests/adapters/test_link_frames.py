"""haagent.adapters.link.frames against the real kernel: ``near`` runs it, ``far`` answers."""

import asyncio
import errno
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address

import pytest

from haagent.adapters.link import SILENCE_S, LinkFrames
from haagent.core.events import Event, ForeignAddressSeen
from haagent.core.settings import IPAddress
from haagent.wire import arp, ndp
from tests.adapters.conftest import Pair, in_loop

VIP4 = IPv4Address("10.77.0.100")
VIP6 = IPv6Address("fd77::100")
BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
STRANGER = bytes.fromhex("020000000099")
STRANGER6 = IPv6Address("fe80::99")
ANOTHER = bytes.fromhex("020000000098")
OUR_OTHER = bytes.fromhex("020000000097")
PATIENCE_S = 5.0


class Listener:
    """A running LinkFrames and what it posted."""

    def __init__(self, addresses: dict[str, frozenset[IPAddress]]) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.frames = LinkFrames(addresses, self._events.put_nowait)

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            return await self._events.get()

    async def next_while(self, act: Callable[[], None]) -> Event:
        """Act again and again until an event comes."""
        event = asyncio.create_task(self.next())
        while not event.done():
            act()
            await asyncio.wait([event], timeout=0.05)
        return event.result()

    def nothing_more(self) -> bool:
        return self._events.empty()

    def waiting(self) -> int:
        return self._events.qsize()

    def passed_the_filter(self) -> int:
        """Return how many frames reached the socket since the last call (packet(7))."""
        packets = self.frames._open["eth0"].socket.getsockopt(263, 6, 8)
        return int.from_bytes(packets[:4], sys.byteorder)


@asynccontextmanager
async def listening(*addresses: IPAddress, interface: str = "eth0") -> AsyncIterator[Listener]:
    listener = Listener({interface: frozenset(addresses)})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(listener.frames.run())
        await asyncio.sleep(0)  # one turn of the loop: the socket is open
        yield listener
        running.cancel()


def claim_by(mac: bytes, vip: IPAddress) -> bytes:
    """Return a frame in which ``mac`` claims ``vip``."""
    if isinstance(vip, IPv4Address):
        return arp.gratuitous_reply(mac, vip)
    return ndp.unsolicited_na(mac, vip)


def mac_of(text: str) -> str:
    """Return the MAC address in the output of ``ip -j link``."""
    found: str = json.loads(text)[0]["address"]
    return found


def far_mac(pair: Pair) -> str:
    return mac_of(pair.run_far("ip", "-j", "link", "show", "eth0"))


def near_mac(pair: Pair) -> str:
    return mac_of(pair.run_near("ip", "-j", "link", "show", "eth0"))


def put_on_far(pair: Pair, vip: IPAddress) -> None:
    pair.run_far("ip", "addr", "add", str(vip), "dev", "eth0", *(["nodad"] * (vip.version == 6)))
    if vip.version == 6:
        pair.until_answered(str(vip), at=pair.far)


def pull_out(pair: Pair) -> None:
    pair.run_near("ip", "link", "del", "eth0")


def plug_in(pair: Pair) -> None:
    pair.run_far("ip", "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", pair.near)
    pair.run_near("ip", "link", "set", "eth0", "up")
    pair.run_far("ip", "link", "set", "eth0", "up")
    pair.until_up()


@BOTH
@in_loop
async def test_an_announcement_changes_what_the_neighbours_believe(
    pair: Pair, vip: IPAddress
) -> None:
    entry = (str(vip), "lladdr", STRANGER.hex(":"), "dev", "eth0", "nud", "stale")
    pair.run_far("ip", "neigh", "add", *entry)

    ours = f"{vip} dev eth0 lladdr {near_mac(pair)} "
    async with listening(vip) as listener, asyncio.timeout(PATIENCE_S):
        # Again and again, because the far kernel takes no IPv6 while its link settles.
        while ours not in pair.run_far("ip", "neigh", "show", str(vip)):
            listener.frames.announce("eth0", vip)
            await asyncio.sleep(0.02)


@BOTH
@in_loop
async def test_a_host_that_has_the_address_answers_our_question(pair: Pair, vip: IPAddress) -> None:
    put_on_far(pair, vip)
    async with listening(VIP4, VIP6) as listener:
        event = await listener.next_while(lambda: listener.frames.announce("eth0", vip))

        assert event == ForeignAddressSeen("eth0", vip, far_mac(pair))


@BOTH
@in_loop
async def test_a_kernel_that_announces_the_address_unasked_is_seen(
    pair: Pair, vip: IPAddress
) -> None:
    put_on_far(pair, vip)
    pair.run_far("sysctl", "-q", "net.ipv4.conf.eth0.arp_notify=1")
    pair.run_far("sysctl", "-q", "net.ipv6.conf.eth0.ndisc_notify=1")
    async with listening(vip) as listener:
        pair.run_far("ip", "link", "set", "eth0", "address", STRANGER.hex(":"))

        assert await listener.next() == ForeignAddressSeen("eth0", vip, STRANGER.hex(":"))


@BOTH
@in_loop
async def test_our_own_frames_are_not_foreign_even_when_the_network_returns_them(
    pair: Pair, vip: IPAddress
) -> None:
    other = ("eth7", "address", OUR_OTHER.hex(":"))
    pair.run_near("ip", "link", "add", *other, "type", "veth", "peer", "eth8")
    async with listening(VIP4, VIP6) as listener:
        listener.frames.announce("eth0", vip)
        mine = bytes.fromhex(near_mac(pair).replace(":", ""))
        pair.send_from_far(*(claim_by(mac, vip) for mac in (mine, OUR_OTHER, STRANGER)))

        assert await listener.next() == ForeignAddressSeen("eth0", vip, STRANGER.hex(":"))
        assert listener.nothing_more()


@BOTH
@in_loop
async def test_frames_about_other_addresses_do_not_even_reach_the_agent(
    pair: Pair, vip: IPAddress
) -> None:
    async with listening(VIP4, VIP6) as listener:
        listener.passed_the_filter()
        advertisement = ndp.unsolicited_na(STRANGER, VIP6)
        pair.send_from_far(
            advertisement[:20] + bytes((socket.IPPROTO_UDP,)) + advertisement[21:],
            arp.gratuitous_request(STRANGER, IPv4Address("10.77.0.2")),
            arp.probe(STRANGER, VIP4),
            ndp.unsolicited_na(STRANGER, IPv6Address("fd77::2")),
            ndp.neighbor_probe(STRANGER, STRANGER6, VIP6),
        )
        pair.run_far("ip", "addr", "add", "10.77.0.3/24", "dev", "eth0")
        pair.send_from_far(claim_by(STRANGER, vip))

        assert listener.passed_the_filter() == 1
        assert await listener.next() == ForeignAddressSeen("eth0", vip, STRANGER.hex(":"))
        assert listener.nothing_more()


@BOTH
@in_loop
async def test_the_answers_of_our_own_kernel_do_not_reach_the_agent(
    pair: Pair, vip: IPAddress
) -> None:
    pair.run_near("ip", "addr", "add", str(vip), "dev", "eth0", *(["nodad"] * (vip.version == 6)))
    async with listening(VIP4, VIP6) as listener:
        listener.passed_the_filter()
        pair.send_from_far(arp.probe(STRANGER, VIP4), ndp.neighbor_probe(STRANGER, STRANGER6, VIP6))
        pair.send_from_far(claim_by(STRANGER, vip))

        assert listener.passed_the_filter() == 1


@in_loop
async def test_an_address_with_the_same_last_words_is_another_address(pair: Pair) -> None:
    async with listening(VIP6) as listener:
        alike = IPv6Address("fd78::100")
        pair.send_from_far(claim_by(STRANGER, alike), claim_by(ANOTHER, VIP6))

        assert await listener.next() == ForeignAddressSeen("eth0", VIP6, ANOTHER.hex(":"))
        assert listener.nothing_more()


@BOTH
@in_loop
async def test_the_vlans_above_an_interface_are_other_links(pair: Pair, vip: IPAddress) -> None:
    plain = claim_by(STRANGER, vip)
    tagged = plain[:12] + bytes.fromhex("8100000a") + plain[12:]
    async with listening(VIP4, VIP6) as listener:
        pair.send_from_far(tagged, claim_by(ANOTHER, vip))

        assert await listener.next() == ForeignAddressSeen("eth0", vip, ANOTHER.hex(":"))
        assert listener.nothing_more()


@BOTH
@in_loop
async def test_the_same_sight_is_posted_once_a_second_and_a_new_one_at_once(
    pair: Pair, vip: IPAddress
) -> None:
    loop = asyncio.get_running_loop()
    async with listening(vip) as listener:
        pair.send_from_far(*[claim_by(STRANGER, vip)] * 200, claim_by(ANOTHER, vip))
        assert await listener.next() == ForeignAddressSeen("eth0", vip, STRANGER.hex(":"))
        first = loop.time()
        assert await listener.next() == ForeignAddressSeen("eth0", vip, ANOTHER.hex(":"))
        assert listener.nothing_more()

        again = await listener.next_while(lambda: pair.send_from_far(claim_by(STRANGER, vip)))
        assert again == ForeignAddressSeen("eth0", vip, STRANGER.hex(":"))
        assert loop.time() - first > SILENCE_S - 0.2


@in_loop
async def test_a_flood_is_read_in_portions_with_pauses_between(pair: Pair) -> None:
    claims = [claim_by(STRANGER[:4] + number.to_bytes(2, "big"), VIP4) for number in range(150)]
    async with listening(VIP4) as listener:
        pair.send_from_far(*claims)

        for _ in range(20):
            await asyncio.sleep(0)
        assert listener.waiting() == 64
        async with asyncio.timeout(PATIENCE_S):
            while listener.waiting() < 150:
                await asyncio.sleep(0.001)
                assert listener.waiting() in {64, 128, 150}


@in_loop
async def test_an_interface_that_came_again_is_announced_on_without_waiting(pair: Pair) -> None:
    async with listening(VIP4) as listener:
        pull_out(pair)
        with pytest.raises(OSError, match=f"announce {VIP4} on eth0: No such device") as refused:
            listener.frames.announce("eth0", VIP4)
        assert refused.value.errno == errno.ENODEV
        plug_in(pair)
        put_on_far(pair, VIP4)

        listener.frames.announce("eth0", VIP4)

        assert await listener.next() == ForeignAddressSeen("eth0", VIP4, far_mac(pair))


@in_loop
async def test_an_interface_that_comes_late_or_again_is_listened_on(pair: Pair) -> None:
    pull_out(pair)
    async with listening(VIP4) as listener:
        for stranger in (STRANGER, ANOTHER):
            plug_in(pair)
            send = partial(pair.send_from_far, claim_by(stranger, VIP4))
            event = await listener.next_while(send)
            assert event == ForeignAddressSeen("eth0", VIP4, stranger.hex(":"))
            pull_out(pair)


@in_loop
async def test_a_link_that_was_down_carries_the_very_next_announcement(pair: Pair) -> None:
    put_on_far(pair, VIP4)
    async with listening(VIP4) as listener:
        pair.run_near("ip", "link", "set", "eth0", "down")
        with pytest.raises(OSError, match="Network is down"):
            listener.frames.announce("eth0", VIP4)
        pair.run_near("ip", "link", "set", "eth0", "up")
        pair.until_up()

        listener.frames.announce("eth0", VIP4)

        assert await listener.next() == ForeignAddressSeen("eth0", VIP4, far_mac(pair))


@in_loop
async def test_where_there_is_no_ethernet_nothing_can_be_announced(pair: Pair) -> None:
    async with listening(VIP4, interface="lo") as listener:
        with pytest.raises(OSError, match=f"announce {VIP4} on lo: not an Ethernet interface"):
            listener.frames.announce("lo", VIP4)


def test_without_the_capability_the_error_says_which_one(pair: Pair) -> None:
    attempt = (
        "import asyncio, ipaddress\n"
        "from haagent.adapters.link import LinkFrames\n"
        "vip = ipaddress.ip_address('10.77.0.100')\n"
        "try: asyncio.run(LinkFrames({'eth0': frozenset({vip})}, print).run())\n"
        "except PermissionError as error: print(error)\n"
    )
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")

    said = pair.run_near(*powerless, sys.executable, "-c", attempt)

    assert said == (
        "[Errno 1] cannot listen on eth0: Operation not permitted (needs CAP_NET_RAW)\n"
    )


@in_loop
async def test_other_addresses_are_looked_for_as_soon_as_that_is_said(pair: Pair) -> None:
    async with listening(VIP4) as listener:
        listener.frames.watch({"eth0": frozenset({VIP6})})
        pair.send_from_far(claim_by(STRANGER, VIP4), claim_by(STRANGER, VIP6))

        assert await listener.next() == ForeignAddressSeen("eth0", VIP6, STRANGER.hex(":"))
        assert listener.nothing_more()
        assert listener.passed_the_filter() == 1

        listener.frames.watch({})
        assert listener.frames._open == {}
