"""Our frames before the judge that counts: the neighbour table of another kernel."""

import select
import socket
import time
from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

import pytest

from haagent.wire import arp, ndp
from tests.adapters.conftest import Pair

OLD_MAC = "02:00:00:00:00:0a"
NEW_MAC = bytes.fromhex("02000000000b")
VIP4 = IPv4Address("10.77.0.10")
VIP6 = IPv6Address("fd77::10")
NEW6 = IPv6Address("fe80::b")
FAR4 = IPv4Address("10.77.0.2")
FAR6 = IPv6Address("fd77::2")
DEADLINE_S = 5.0

_Sighting = TypeVar("_Sighting")


def packet_socket() -> socket.socket:
    ethertype_all = 3
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype_all))
    raw.bind(("eth0", ethertype_all))
    return raw


def neighbour_of_far(pair: Pair, address: object) -> str:
    return pair.run_far("ip", "neigh", "show", str(address), "dev", "eth0")


def mac_of_far(pair: Pair) -> bytes:
    shown = pair.run_far("cat", "/sys/class/net/eth0/address")
    return bytes.fromhex(shown.strip().replace(":", ""))


def know_old_mac(pair: Pair, address: object) -> None:
    entry = (str(address), "lladdr", OLD_MAC, "dev", "eth0", "nud", "reachable")
    pair.run_far("ip", "neigh", "replace", *entry)


def await_ipv6(pair: Pair) -> None:
    """Wait until the far kernel listens: it joins no group before its link is settled."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        own = pair.run_far("ip", "addr", "show", "dev", "eth0", "scope", "link", "-tentative")
        if "fe80:" in own:
            return
    pytest.fail("the far host has no link-local address")


def await_neighbour(pair: Pair, address: object, mac: str) -> str:
    """Return the entry once it names ``mac``, or what it still is at the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while mac not in (entry := neighbour_of_far(pair, address)) and time.monotonic() < deadline:
        pass
    return entry


def await_sighting(
    raw: socket.socket, parse: Callable[[bytes], _Sighting | None]
) -> _Sighting | None:
    deadline = time.monotonic() + DEADLINE_S
    while (left := deadline - time.monotonic()) > 0 and select.select([raw], [], [], left)[0]:
        if (sighting := parse(raw.recv(2048))) is not None:
            return sighting
    return None


@pytest.mark.parametrize(
    ("address", "frame"),
    [
        (VIP4, arp.gratuitous_request(NEW_MAC, VIP4)),
        (VIP4, arp.gratuitous_reply(NEW_MAC, VIP4)),
        (VIP6, ndp.unsolicited_na(NEW_MAC, VIP6)),
    ],
    ids=["gratuitous request", "gratuitous reply", "unsolicited advertisement"],
)
def test_an_announcement_moves_the_address_in_a_neighbours_table(
    pair: Pair, address: IPv4Address | IPv6Address, frame: bytes
) -> None:
    """At once: the kernel makes an exception from its lock time for gratuitous ARP."""
    await_ipv6(pair)
    know_old_mac(pair, address)
    with closing(packet_socket()) as raw:
        raw.send(frame)

    assert NEW_MAC.hex(":") in await_neighbour(pair, address, NEW_MAC.hex(":"))


def test_the_owner_of_an_ipv4_address_answers_a_probe_and_learns_nothing(pair: Pair) -> None:
    know_old_mac(pair, VIP4)
    with closing(packet_socket()) as raw:
        raw.send(arp.probe(NEW_MAC, VIP4))
        raw.send(arp.probe(NEW_MAC, FAR4))
        sighting = await_sighting(raw, arp.parse)

    assert sighting == arp.ArpSighting(FAR4, mac_of_far(pair))
    assert OLD_MAC in neighbour_of_far(pair, VIP4)
    assert NEW_MAC.hex(":") not in pair.run_far("ip", "neigh", "show")


def test_the_owner_of_an_ipv6_address_answers_who_asked_and_learns_nothing_of_the_address(
    pair: Pair,
) -> None:
    """An answer to all nodes would lead them back to the owner that we take over from."""
    await_ipv6(pair)
    know_old_mac(pair, VIP6)
    answers: list[bytes] = []

    def parse(frame: bytes) -> ndp.NdpSighting | None:
        sighting = ndp.parse(frame)
        if sighting:
            answers.append(frame)
        return sighting

    with closing(packet_socket()) as raw:
        raw.send(ndp.neighbor_probe(NEW_MAC, NEW6, VIP6))
        raw.send(ndp.neighbor_probe(NEW_MAC, NEW6, FAR6))
        sighting = await_sighting(raw, parse)

    mac = mac_of_far(pair)
    assert sighting == ndp.NdpSighting(address=FAR6, mac=mac, frame_source=mac)
    assert [frame[:6] for frame in answers] == [NEW_MAC]
    assert OLD_MAC in neighbour_of_far(pair, VIP6)
