"""ARP frames, read by another implementation (scapy) and by our own."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.l2 import ARP, Ether

from haagent.wire.arp import (
    ArpSighting,
    gratuitous_reply,
    gratuitous_request,
    parse,
    probe,
    request,
)

MAC = bytes.fromhex("02a0b0c0d0e0")
VIP = IPv4Address("192.0.2.10")


def dissected(frame: bytes) -> tuple[object, ...]:
    ether = Ether(frame)
    arp = ether[ARP]
    assert (ether.type, arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (0x0806, 1, 0x0800, 6, 4)
    assert ether.src == MAC.hex(":")
    return ether.dst, arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst


def test_a_gratuitous_request_asks_everybody_for_our_own_address() -> None:
    assert dissected(gratuitous_request(MAC, VIP)) == (
        *("ff:ff:ff:ff:ff:ff", 1),
        *("02:a0:b0:c0:d0:e0", "192.0.2.10"),
        *("00:00:00:00:00:00", "192.0.2.10"),
    )


def test_a_gratuitous_reply_tells_everybody_our_own_address() -> None:
    assert dissected(gratuitous_reply(MAC, VIP)) == (
        *("ff:ff:ff:ff:ff:ff", 2),
        *("02:a0:b0:c0:d0:e0", "192.0.2.10"),
        *("02:a0:b0:c0:d0:e0", "192.0.2.10"),
    )


def test_a_probe_asks_without_claiming() -> None:
    assert dissected(probe(MAC, VIP)) == (
        *("ff:ff:ff:ff:ff:ff", 1),
        *("02:a0:b0:c0:d0:e0", "0.0.0.0"),
        *("00:00:00:00:00:00", "192.0.2.10"),
    )


@pytest.mark.parametrize("to", ["02:00:00:00:00:01", None], ids=["one host", "all"])
def test_a_request_asks_one_host_or_all_whether_it_has_an_address(to: str | None) -> None:
    mac = None if to is None else bytes.fromhex(to.replace(":", ""))

    assert dissected(request(MAC, IPv4Address("192.0.2.1"), VIP, mac)) == (
        *(to or "ff:ff:ff:ff:ff:ff", 1),
        *("02:a0:b0:c0:d0:e0", "192.0.2.1"),
        *("00:00:00:00:00:00", "192.0.2.10"),
    )


@pytest.mark.parametrize("operation", ["who-has", "is-at"])
def test_requests_and_replies_of_others_show_who_has_an_address(operation: str) -> None:
    """Here an answer to somebody else, padded as a network card pads it."""
    arp = ARP(op=operation, hwsrc=MAC.hex(":"), psrc=str(VIP), pdst="192.0.2.1")
    frame = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / arp) + bytes(18)

    assert parse(frame) == ArpSighting(VIP, MAC)


def test_a_probe_shows_nobody() -> None:
    assert parse(probe(MAC, VIP)) is None


def test_a_truncated_frame_shows_nobody() -> None:
    frame = gratuitous_request(MAC, VIP)

    assert {parse(frame[:size]) for size in range(len(frame))} == {None}


@pytest.mark.parametrize(
    ("offset", "new"),
    [(12, b"\x08\x00"), (14, b"\0\x06"), (16, b"\x86\xdd"), (18, b"\x08"), (19, b"\x10"),
     (20, b"\0\x03")],
    ids=["ethertype", "hardware", "protocol", "hardware length", "protocol length", "operation"],
)  # fmt: skip
def test_a_frame_that_is_not_arp_for_ipv4_shows_nobody(offset: int, new: bytes) -> None:
    frame = gratuitous_request(MAC, VIP)

    assert parse(frame[:offset] + new + frame[offset + len(new) :]) is None
