"""haagent.adapters.netlink against the real kernel, in the namespace ``near``."""

import asyncio
import errno
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Any

import pytest

from haagent.adapters.netlink import Netlink
from haagent.core.events import AddressRemoved, Event, LinkChanged
from haagent.core.settings import IPAddress, IPInterface
from haagent.core.units import DurationNs, milliseconds, seconds
from tests.adapters.conftest import Pair, in_loop, until

VIP4 = IPv4Interface("10.77.0.100/32")
VIP6 = IPv6Interface("fd77::100/128")
OTHER = IPv4Interface("10.77.0.101/32")
BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
MINUTE = ("valid_lft", "60", "preferred_lft", "60")
PATIENCE_S = 5.0
ADDRESSES: dict[str, frozenset[IPAddress]] = {"eth0": frozenset({VIP4.ip, VIP6.ip, OTHER.ip})}


class Watch:
    """A running Netlink and what it posted."""

    def __init__(self, **addresses: frozenset[IPAddress]) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.netlink = Netlink(addresses or ADDRESSES, self._events.put_nowait, milliseconds(20))

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE_S):
            return await self._events.get()

    def nothing_more(self) -> bool:
        return self._events.empty()


@asynccontextmanager
async def watching(**addresses: frozenset[IPAddress]) -> AsyncIterator[Watch]:
    watch = Watch(**addresses)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(watch.netlink.run())
        yield watch
        running.cancel()


def quiet() -> Netlink:
    """A Netlink that nobody runs."""
    return Netlink(ADDRESSES, lambda _: None, milliseconds(20))


def shown(pair: Pair, address: IPInterface) -> dict[str, Any]:
    """Return what the kernel says of ``address``, {} when it is not there."""
    for link in json.loads(pair.run_near("ip", "-j", "-d", "addr", "show", "dev", "eth0")):
        for entry in link.get("addr_info", ()):
            if entry["local"] == str(address.ip):
                found: dict[str, Any] = entry
                return found
    return {}


@in_loop
async def test_a_claimed_ipv4_address_has_no_prefix_route_and_no_end(pair: Pair) -> None:
    await quiet().claim("eth0", IPv4Interface("10.78.0.100/24"))

    entry = shown(pair, IPv4Interface("10.78.0.100/24"))
    assert (entry["prefixlen"], entry["noprefixroute"]) == (24, True)
    assert entry["valid_life_time"] == 0xFFFF_FFFF
    assert "10.78" not in pair.run_near("ip", "route")


@in_loop
async def test_a_claimed_ipv6_address_is_usable_at_once_and_never_a_source(pair: Pair) -> None:
    await quiet().claim("eth0", VIP6)

    entry = shown(pair, VIP6)
    assert (entry["noprefixroute"], entry["nodad"], entry["deprecated"]) == (True, True, True)
    assert "tentative" not in entry
    assert (entry["preferred_life_time"], entry["valid_life_time"]) == (0, 0xFFFF_FFFF)
    assert "src fd77::1 " in pair.run_near("ip", "route", "get", "fd77::2")


@in_loop
async def test_a_claimed_ipv4_address_is_not_chosen_as_a_source(pair: Pair) -> None:
    await quiet().claim("eth0", VIP4)

    assert "src 10.77.0.1 " in pair.run_near("ip", "route", "get", "10.77.0.2")


@BOTH
@in_loop
async def test_a_lifetime_is_rounded_up_to_whole_seconds_and_can_be_taken_back(
    pair: Pair, vip: IPInterface
) -> None:
    netlink = quiet()

    await netlink.claim("eth0", vip, DurationNs(59_000_000_001))
    assert shown(pair, vip)["valid_life_time"] in (59, 60)  # a second may have passed
    assert shown(pair, vip).get("deprecated", False) == (vip.version == 6)

    await netlink.claim("eth0", vip)
    assert shown(pair, vip)["valid_life_time"] == 0xFFFF_FFFF


@BOTH
@in_loop
async def test_an_address_that_is_not_claimed_again_expires_and_that_is_told(
    pair: Pair, vip: IPInterface
) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", vip, seconds(1))
        assert shown(pair, vip)

        assert await watch.next() == AddressRemoved("eth0", vip.ip)
    assert not shown(pair, vip)


@BOTH
@in_loop
async def test_an_address_that_is_claimed_again_outlives_its_first_lifetime(
    pair: Pair, vip: IPInterface
) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        limit = asyncio.get_running_loop().time() + 3.0
        while asyncio.get_running_loop().time() < limit:
            await watch.netlink.claim("eth0", vip, seconds(2))
            await asyncio.sleep(0.1)

        assert watch.nothing_more()
    assert shown(pair, vip)


@BOTH
@in_loop
async def test_claiming_twice_and_releasing_twice_is_harmless(pair: Pair, vip: IPInterface) -> None:
    netlink = quiet()

    await netlink.claim("eth0", vip)
    await netlink.claim("eth0", vip)
    assert shown(pair, vip)
    await netlink.release("eth0", vip)
    await netlink.release("eth0", vip)
    assert not shown(pair, vip)


@in_loop
async def test_claiming_corrects_what_somebody_else_had_set(pair: Pair) -> None:
    pair.run_near("ip", "addr", "add", str(VIP6), "dev", "eth0", *MINUTE)
    pair.run_near("ip", "addr", "add", str(VIP4), "dev", "eth0", *MINUTE)
    netlink = quiet()

    await netlink.claim("eth0", VIP6)
    await netlink.claim("eth0", VIP4)

    assert shown(pair, VIP6)["deprecated"]
    assert shown(pair, VIP6)["valid_life_time"] == 0xFFFF_FFFF
    assert shown(pair, VIP4)["valid_life_time"] == 0xFFFF_FFFF


@BOTH
@in_loop
async def test_release_removes_the_address_under_every_prefix_length(
    pair: Pair, vip: IPInterface
) -> None:
    pair.run_near("ip", "addr", "add", f"{vip.ip}/24", "dev", "eth0")
    netlink = quiet()
    await netlink.claim("eth0", vip)

    await netlink.release("eth0", vip)

    assert not shown(pair, vip)


@in_loop
async def test_release_leaves_the_other_addresses_alone(pair: Pair) -> None:
    before = pair.run_near("ip", "-br", "addr")
    netlink = quiet()
    await netlink.claim("eth0", VIP4)
    await netlink.claim("eth0", VIP6)

    await netlink.release("eth0", VIP4)
    await netlink.release("eth0", VIP6)

    assert pair.run_near("ip", "-br", "addr") == before


@BOTH
@in_loop
async def test_release_finds_an_address_on_an_interface_that_was_renamed_since(
    pair: Pair, vip: IPInterface
) -> None:
    """And another bears the name, also with the address."""
    netlink = quiet()
    await netlink.claim("eth0", vip)
    pair.run_near("ip", "link", "set", "eth0", "name", "eth7")
    pair.run_near("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth8")
    pair.run_near("ip", "addr", "add", str(vip), "dev", "eth0")

    await netlink.release("eth0", vip)

    assert str(vip.ip) not in pair.run_near("ip", "addr")


@BOTH
@in_loop
async def test_release_on_an_absent_interface_is_fine_and_claim_is_not(
    pair: Pair, vip: IPInterface
) -> None:
    netlink = quiet()

    await netlink.release("eth9", vip)
    with pytest.raises(OSError, match=f"cannot add {vip} to eth9: No such device") as refused:
        await netlink.claim("eth9", vip)
    assert refused.value.errno == errno.ENODEV


@in_loop
async def test_the_kernels_own_words_say_why_a_claim_is_refused(pair: Pair) -> None:
    pair.run_near("sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=1")

    with pytest.raises(OSError, match=r"(?i)ipv6.*disabled") as refused:
        await quiet().claim("eth0", VIP6)
    assert refused.value.errno == errno.EACCES


@in_loop
async def test_ours_are_the_tagged_and_the_virtual_addresses_and_no_others(pair: Pair) -> None:
    tagged = IPv4Interface("10.79.0.1/32")
    await quiet().claim("lo", tagged)
    pair.run_near("ip", "addr", "add", f"{VIP6.ip}/64", "dev", "eth0")
    pair.run_near("ip", "addr", "add", str(VIP4), "dev", "lo")

    found = await quiet().ours()

    assert sorted(found, key=str) == [("eth0", IPv6Interface("fd77::100/64")), ("lo", tagged)]


@in_loop
async def test_many_addresses_are_listed_whole(pair: Pair) -> None:
    many = [IPv4Interface((IPv4Address("10.80.0.0") + n, 32)) for n in range(1, 1001)]
    netlink = quiet()
    for address in many:
        await netlink.claim("eth0", address)

    assert [address for _, address in await netlink.ours()] == many


@in_loop
async def test_a_listing_ends_and_is_whole_while_others_change_addresses_without_end(
    pair: Pair,
) -> None:
    many = [IPv4Interface((IPv4Address("10.80.0.0") + n, 32)) for n in range(1, 1001)]
    netlink = quiet()
    for address in many:
        await netlink.claim("eth0", address)
    change = "addr add 10.81.0.1/32 dev lo\naddr del 10.81.0.1/32 dev lo\n" * 100
    with subprocess.Popen(["yes", change.strip()], stdout=subprocess.PIPE) as endless:  # noqa: ASYNC220
        storm = subprocess.Popen(["ip", "-batch", "-"], stdin=endless.stdout)  # noqa: ASYNC220
        try:
            for _ in range(20):
                found = [address for _, address in await netlink.ours()]
                assert set(found) >= set(many)
                assert len(found) == len(set(found))
            assert storm.poll() is None
        finally:
            storm.kill()
            storm.wait()
            endless.kill()


@BOTH
@in_loop
async def test_a_removal_by_somebody_else_is_posted_once(pair: Pair, vip: IPInterface) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", vip)

        pair.run_near("ip", "addr", "del", str(vip), "dev", "eth0")

        assert await watch.next() == AddressRemoved("eth0", vip.ip)
        await watch.netlink.claim("eth0", vip)
        pair.run_near("ip", "addr", "flush", "dev", "eth0", "scope", "global")
        assert await watch.next() == AddressRemoved("eth0", vip.ip)
        assert watch.nothing_more()


@BOTH
@in_loop
async def test_a_removal_is_posted_even_when_the_lifetime_is_refreshed_before_it_was_noticed(
    pair: Pair, vip: IPInterface
) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", vip, seconds(9))
        put_there_s = time.monotonic()
        await watch.netlink.prolong("eth0", vip, seconds(9))
        await watch.netlink.claim("eth0", OTHER)
        pair.run_near("ip", "addr", "del", str(OTHER), "dev", "eth0")
        # Whoever has seen that has also seen how old the first one is.
        assert await watch.next() == AddressRemoved("eth0", OTHER.ip)
        # The kernel tells the age in hundredths of a second.
        await until(lambda: time.monotonic() > put_there_s + 0.02)

        pair.run_near("ip", "addr", "del", str(vip), "dev", "eth0")
        await watch.netlink.prolong("eth0", vip, seconds(9))

        assert await watch.next() == AddressRemoved("eth0", vip.ip)
    assert shown(pair, vip)


@BOTH
@in_loop
async def test_our_own_release_is_not_posted_even_when_we_claim_again_at_once(
    pair: Pair, vip: IPInterface
) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", vip)
        await watch.netlink.release("eth0", vip)
        await watch.netlink.claim("eth0", vip)
        await watch.netlink.release("eth0", vip)
        await watch.netlink.claim("eth0", OTHER)

        pair.run_near("ip", "addr", "del", str(OTHER), "dev", "eth0")

        assert await watch.next() == AddressRemoved("eth0", OTHER.ip)
        assert watch.nothing_more()


@in_loop
async def test_an_address_that_we_never_claimed_may_go_unnoticed(pair: Pair) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", VIP6)
        pair.run_near("ip", "addr", "add", str(VIP4), "dev", "eth0")
        pair.run_near("ip", "addr", "del", str(VIP4), "dev", "eth0")
        pair.run_near("ip", "addr", "del", str(VIP6), "dev", "eth0")

        assert await watch.next() == AddressRemoved("eth0", VIP6.ip)
        assert watch.nothing_more()


@in_loop
async def test_a_removal_is_seen_in_spite_of_lost_messages(pair: Pair) -> None:
    """The loop is held up while more happens than the socket can hold."""
    storm = "".join(f"addr add 10.81.{n // 250}.{n % 250}/32 dev lo\n" for n in range(2000))
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", VIP4)

        subprocess.run(["ip", "-batch", "-"], input=storm, text=True, check=True)  # noqa: ASYNC221
        pair.run_near("ip", "addr", "del", str(VIP4), "dev", "eth0")

        assert await watch.next() == AddressRemoved("eth0", VIP4.ip)


@in_loop
async def test_a_lost_carrier_is_seen_by_the_poll(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        for up in (False, True) * 4:  # the quicker, the later the kernel's own word
            state = "up" if up else "down"
            began = time.monotonic()
            command = ("ip", "-n", pair.far, "link", "set", "eth0", state)
            process = await asyncio.create_subprocess_exec(*command)
            assert await watch.next() == LinkChanged("eth0", up=up)
            waited_ms = (time.monotonic() - began) * 1e3
            assert await process.wait() == 0
            with capsys.disabled():
                print(f" {state}: {waited_ms:.1f} ms", end="")


@in_loop
async def test_an_interface_without_the_ethtool_call_has_its_flags_read(pair: Pair) -> None:
    made = subprocess.run(  # noqa: ASYNC221
        ["ip", "link", "add", "plain0", "type", "ifb"], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("this kernel has no ifb interfaces")
    async with watching(plain0=frozenset()) as watch:
        assert await watch.next() == LinkChanged("plain0", up=False)
        pair.run_near("ip", "link", "set", "plain0", "up")
        assert await watch.next() == LinkChanged("plain0", up=True)


@in_loop
async def test_an_interface_may_come_later_go_and_come_again(pair: Pair) -> None:
    async with watching(eth7=frozenset({VIP4.ip})) as watch:
        assert await watch.next() == LinkChanged("eth7", up=False)
        for _ in range(2):
            pair.run_near("ip", "link", "add", "eth7", "type", "veth", "peer", "name", "eth8")
            pair.run_near("ip", "link", "set", "eth8", "up")
            pair.run_near("ip", "link", "set", "eth7", "up")
            assert await watch.next() == LinkChanged("eth7", up=True)
            await watch.netlink.claim("eth7", VIP4)
            pair.run_near("ip", "link", "del", "eth7")
            assert await watch.next() == LinkChanged("eth7", up=False)
        assert watch.nothing_more()


@in_loop
async def test_another_interface_under_the_old_name_is_a_link_gone_and_a_new_one(
    pair: Pair,
) -> None:
    """Even when the change falls between two looks, as here, where the loop is held up."""
    anew = "link add eth7 type veth peer name eth8\nlink set eth8 up\nlink set eth7 up\n"
    batch = ["ip", "-batch", "-"]
    subprocess.run(batch, input=anew, text=True, check=True)  # noqa: ASYNC221
    async with watching(eth7=frozenset({VIP4.ip})) as watch:
        assert await watch.next() == LinkChanged("eth7", up=True)
        await watch.netlink.claim("eth7", VIP4)

        subprocess.run(batch, input="link del eth7\n" + anew, text=True, check=True)  # noqa: ASYNC221

        assert await watch.next() == LinkChanged("eth7", up=False)
        assert await watch.next() == LinkChanged("eth7", up=True)
        assert watch.nothing_more()


@in_loop
async def test_an_interface_in_a_bridge_counts_as_down_until_it_leaves(pair: Pair) -> None:
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        pair.run_near("ip", "link", "add", "br0", "type", "bridge")
        for _ in range(2):
            pair.run_near("ip", "link", "set", "eth0", "master", "br0")
            assert await watch.next() == LinkChanged("eth0", up=False)
            pair.run_near("ip", "link", "set", "eth0", "nomaster")
            assert await watch.next() == LinkChanged("eth0", up=True)
        assert watch.nothing_more()


@in_loop
async def test_ipv6_addresses_lost_in_a_flap_that_nobody_saw_are_posted(pair: Pair) -> None:
    """Down and up again between two looks: the link seems unchanged, the address is gone."""
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)
        await watch.netlink.claim("eth0", VIP4)
        await watch.netlink.claim("eth0", VIP6)

        flap = "link set eth0 down\nlink set eth0 up\n"
        subprocess.run(["ip", "-batch", "-"], input=flap, text=True, check=True)  # noqa: ASYNC221

        assert await watch.next() == AddressRemoved("eth0", VIP6.ip)
        assert watch.nothing_more()


def test_without_the_capability_the_error_says_which_one(pair: Pair) -> None:
    attempt = (
        "import asyncio, ipaddress\n"
        "from haagent.adapters.netlink import Netlink\n"
        "n = Netlink({}, print, 10**9)\n"
        "for act in (n.claim, n.release):\n"
        "    try: asyncio.run(act('eth0', ipaddress.ip_interface('10.77.0.1/24')))\n"
        "    except PermissionError as error: print(error)\n"
    )
    powerless = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")

    said = pair.run_near(*powerless, sys.executable, "-c", attempt).splitlines()

    reason = "10.77.0.1/24 {} eth0: Operation not permitted (needs CAP_NET_ADMIN)"
    assert said == [
        f"[Errno 1] cannot add {reason.format('to')}",
        f"[Errno 1] cannot remove {reason.format('from')}",
    ]


@in_loop
async def test_another_interface_to_watch_is_told_of_at_once_and_one_given_up_no_more(
    pair: Pair,
) -> None:
    pair.run_near("ip", "link", "add", "eth1", "type", "veth", "peer", "eth2")
    async with watching() as watch:
        assert await watch.next() == LinkChanged("eth0", up=True)

        watch.netlink.watch({"eth0": frozenset({VIP4.ip}), "eth1": frozenset({VIP6.ip})})
        assert not watch.nothing_more()
        assert await watch.next() == LinkChanged("eth1", up=False)

        watch.netlink.watch({"eth1": frozenset({VIP6.ip})})
        pair.run_near("ip", "link", "set", "eth0", "down")
        pair.run_near("ip", "link", "set", "eth1", "up")
        pair.run_near("ip", "link", "set", "eth2", "up")
        assert await watch.next() == LinkChanged("eth1", up=True)
        assert watch.nothing_more()
