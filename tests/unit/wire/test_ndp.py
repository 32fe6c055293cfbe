"""Neighbour discovery frames, read by another implementation (scapy) and by our own."""

from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from haagent.wire.ndp import NdpSighting, neighbor_probe, parse, unsolicited_na

MAC = bytes.fromhex("02a0b0c0d0e0")
VIP = IPv6Address("2001:db8::ab:cdef:1234")
OWN = IPv6Address("fe80::a0:b0ff:fec0:d0e0")
OTHER = "02:00:00:00:00:01"


def recomputed(frame: bytes) -> bytes:
    """Return ``frame`` with the checksum and the lengths that scapy finds right."""
    packet = Ether(frame)
    del packet[IPv6].plen
    del packet[IPv6].payload.cksum
    return bytes(packet)


def advertisement(hop_limit: int = 255, target: str = str(VIP), **fields: int) -> Packet:
    """Return an advertisement of ``VIP`` as another host sends it."""
    ip = IPv6(src=str(VIP), dst="ff02::1", hlim=hop_limit)
    message = ICMPv6ND_NA(tgt=target)
    for name, value in fields.items():
        setattr(message, name, value)
    return Ether(src=OTHER) / ip / message


def option(mac: bytes = MAC) -> Packet:
    return ICMPv6NDOptDstLLAddr(lladdr=mac.hex(":"))


def test_an_announcement_overrides_what_all_nodes_have_in_their_caches() -> None:
    frame = unsolicited_na(MAC, VIP)
    packet = Ether(frame)
    ip, message, link = packet[IPv6], packet[ICMPv6ND_NA], packet[ICMPv6NDOptDstLLAddr]

    assert (packet.src, packet.dst) == (MAC.hex(":"), "33:33:00:00:00:01")
    assert (ip.src, ip.dst, ip.hlim, ip.nh) == (str(VIP), "ff02::1", 255, 58)
    assert (message.R, message.S, message.O, message.tgt) == (0, 0, 1, str(VIP))
    assert link.lladdr == MAC.hex(":")
    assert recomputed(frame) == frame


def test_a_probe_asks_the_solicited_node_group_to_answer_its_source_alone() -> None:
    frame = neighbor_probe(MAC, OWN, VIP)
    packet = Ether(frame)
    ip, message = packet[IPv6], packet[ICMPv6ND_NS]

    assert (packet.src, packet.dst) == (MAC.hex(":"), "33:33:ff:ef:12:34")
    assert (ip.src, ip.dst, ip.hlim, ip.nh) == (str(OWN), "ff02::1:ffef:1234", 255, 58)
    assert (message.code, message.tgt) == (0, str(VIP))
    assert packet[ICMPv6NDOptSrcLLAddr].lladdr == MAC.hex(":")
    assert recomputed(frame) == frame


def test_a_probe_may_ask_one_host_alone() -> None:
    frame = neighbor_probe(MAC, OWN, VIP, bytes.fromhex(OTHER.replace(":", "")))
    packet = Ether(frame)
    ip, message = packet[IPv6], packet[ICMPv6ND_NS]

    assert (packet.src, packet.dst) == (MAC.hex(":"), OTHER)
    assert (ip.src, ip.dst, ip.hlim, message.tgt) == (str(OWN), str(VIP), 255, str(VIP))
    assert recomputed(frame) == frame


def test_an_advertisement_shows_who_has_an_address() -> None:
    """Padding behind the packet, and other options beside ours, do not matter."""
    frame = bytes(advertisement() / ICMPv6NDOptSrcLLAddr(lladdr=OTHER) / option())

    assert parse(frame + bytes(7)) == NdpSighting(
        address=VIP, mac=MAC, frame_source=bytes.fromhex("020000000001")
    )


def test_an_advertisement_without_the_option_means_the_sender_of_the_frame() -> None:
    sender = bytes.fromhex("020000000001")

    assert parse(bytes(advertisement())) == NdpSighting(
        address=VIP, mac=sender, frame_source=sender
    )


def test_a_solicited_advertisement_to_one_host_shows_who_has_an_address() -> None:
    packet = advertisement(S=1) / option()
    packet[IPv6].dst = "2001:db8::1"

    assert parse(bytes(packet)) is not None


def test_a_probe_shows_nobody() -> None:
    assert parse(neighbor_probe(MAC, OWN, VIP)) is None


@pytest.mark.parametrize(
    "packet",
    [
        advertisement(hop_limit=254) / option(),
        advertisement(code=1) / option(),
        advertisement(cksum=0xBAD) / option(),
        advertisement(target="ff02::1") / option(),
        advertisement(S=1) / option(),
        advertisement() / Raw(b"\x02\x00" + MAC),
        advertisement() / Raw(b"\x02\x02" + MAC),
        advertisement() / Raw(b"\x02"),
        Ether() / IPv6(hlim=255) / ICMPv6EchoRequest(data=bytes(24)),
        Ether() / IPv6(hlim=255) / IPv6ExtHdrFragment(nh=58) / ICMPv6ND_NA(tgt=str(VIP)),
        Ether(type=0x0800) / Raw(bytes(72)),
    ],
    ids=[
        "from another link", "code", "checksum", "multicast target", "solicited by everybody",
        "option of no length", "option past the end", "half an option", "echo", "fragment", "IPv4",
    ],
)  # fmt: skip
def test_an_advertisement_that_is_not_sound_shows_nobody(packet: Packet) -> None:
    """Source: RFC 4861 7.1.2, one rule each."""
    assert parse(bytes(packet)) is None


def test_a_truncated_frame_shows_nobody() -> None:
    frame = unsolicited_na(MAC, VIP)

    assert {parse(frame[:size]) for size in range(len(frame))} == {None}
