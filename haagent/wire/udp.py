"""UDP datagrams with their IP header, as a packet socket or a capture has them.

:func:`parse` reads a packet that begins with its IP header; :func:`packed` makes what a raw socket
sends, of which the kernel makes the IP header.

What this module does not do: put fragments together, or read extension headers; datagrams of
haagent have neither.

Source: RFC 768 (UDP), RFC 791 3.1 (IPv4), RFC 8200 3, 8.1 (IPv6, checksum).
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from haagent.core.settings import IPAddress
from haagent.wire.icmp import checksum

_IPV4 = Struct("!BBHHHBBH4s4s")
_IPV6 = Struct("!IHBB16s16s")
_UDP = Struct("!HHHH")
PROTOCOL = 17
_FRAGMENT = 0x3FFF
"""More fragments, or an offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpDatagram:
    """One datagram, with what its IP header says."""

    source: IPAddress
    destination: IPAddress
    ttl: int
    """Or hop limit."""
    source_port: int
    destination_port: int
    payload: bytes
    """Shorter than was sent where the capture was cut."""


def parse(packet: bytes) -> UdpDatagram | None:
    """Return the datagram in ``packet``, which begins with the IP header; None for all else."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _IPV4.size:
        first, _, _, _, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(packet)
        begin = 4 * (first & 0x0F)
        if protocol != PROTOCOL or fragment & _FRAGMENT or begin < _IPV4.size:
            return None
        return _udp(packet, begin, IPv4Address(source), IPv4Address(destination), ttl)
    if version == 6 and len(packet) >= _IPV6.size:
        _, _, protocol, ttl, source, destination = _IPV6.unpack_from(packet)
        if protocol != PROTOCOL:
            return None
        return _udp(packet, _IPV6.size, IPv6Address(source), IPv6Address(destination), ttl)
    return None


def packed(source: IPAddress, destination: IPAddress, port: int, payload: bytes) -> bytes:
    """Return header and ``payload`` of a datagram from and to ``port``."""
    size = _UDP.size + len(payload)
    ends = source.packed + destination.packed
    pseudo_header = ends + size.to_bytes(4, "big") + PROTOCOL.to_bytes(4, "big")
    total = checksum(pseudo_header + _UDP.pack(port, port, size, 0) + payload)
    # 0 would mean that there is none.
    return _UDP.pack(port, port, size, total or 0xFFFF) + payload


def _udp(
    packet: bytes, begin: int, source: IPAddress, destination: IPAddress, ttl: int
) -> UdpDatagram | None:
    if len(packet) < begin + _UDP.size:
        return None
    source_port, destination_port, size, _ = _UDP.unpack_from(packet, begin)
    if size < _UDP.size:
        return None
    return UdpDatagram(
        source=source,
        destination=destination,
        ttl=ttl,
        source_port=source_port,
        destination_port=destination_port,
        payload=packet[begin + _UDP.size : begin + size],
    )
