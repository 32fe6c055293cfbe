"""Datagrams with their IP header: what scapy builds is read, and what is none is refused."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from haagent.core.settings import IPAddress
from haagent.wire.udp import UdpDatagram, packed, parse

ENDS: list[tuple[IPAddress, IPAddress]] = [
    (IPv4Address("192.0.2.1"), IPv4Address("224.0.0.254")),
    (IPv6Address("fe80::1"), IPv6Address("ff02::114")),
]


def ip(source: IPAddress, destination: IPAddress) -> IP | IPv6:
    src, dst = str(source), str(destination)
    return (
        IP(ttl=255, src=src, dst=dst) if source.version == 4 else IPv6(hlim=255, src=src, dst=dst)
    )


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_a_datagram_of_scapy_is_read(source: IPAddress, destination: IPAddress) -> None:
    packet = bytes(ip(source, destination) / UDP(sport=6940, dport=6941) / b"said")

    # Short frames are padded.
    assert parse(packet + bytes(6)) == UdpDatagram(
        source=source,
        destination=destination,
        ttl=255,
        source_port=6940,
        destination_port=6941,
        payload=b"said",
    )


@pytest.mark.parametrize(("source", "destination"), ENDS)
def test_what_is_packed_is_what_scapy_builds(source: IPAddress, destination: IPAddress) -> None:
    built = bytes(ip(source, destination) / UDP(sport=6940, dport=6940) / b"odd")

    assert packed(source, destination, 6940, b"odd") == built[-11:]


def test_fragments_other_protocols_and_cut_headers_are_none() -> None:
    whole = ip(*ENDS[0]) / UDP(sport=6940, dport=6940) / b"said"
    fragment = IP(src="192.0.2.1", dst="192.0.2.2", flags="MF") / UDP() / b"said"
    tcp = IP(src="192.0.2.1", dst="192.0.2.2", proto=6) / (b"\0" * 20)

    assert parse(bytes(whole)) is not None
    assert [parse(bytes(fragment)), parse(bytes(tcp)), parse(bytes(whole)[:27])] == [None] * 3


@given(st.binary(max_size=80))
def test_no_bytes_raise(packet: bytes) -> None:
    datagram = parse(packet)

    assert datagram is None or datagram.source == ip_address(datagram.source)
