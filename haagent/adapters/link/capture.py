"""Datagrams on the wire: what arrives at an interface, before any filter of this host sees it.

:func:`open_tap` gives a packet socket that passes UDP of some ports alone; :func:`read` takes one
datagram from it.  Nobody who else listens on those ports loses anything by it.

Source: packet(7).
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from haagent.adapters.link import sockets
from haagent.wire import bpf, udp
from haagent.wire.udp import UdpDatagram

_ETH_P_IP = 0x0800
_ETHERTYPE = 0xFFFF_F000
"""SKF_AD_OFF + SKF_AD_PROTOCOL: the frame's header is not part of what is filtered."""
_PACKET_OUTGOING = 4
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_MOST_BYTES = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Tapped:
    """A datagram, and where it was seen."""

    interface: str
    mac: str
    """Of the host that sent it on this link, lower case with colons; empty without Ethernet."""
    sent: bool
    """Whether it left this host."""
    datagram: UdpDatagram


def open_tap(interface: str, ports: Sequence[int], *, sent_too: bool) -> socket.socket:
    """Return a socket for UDP from or to ``ports`` on ``interface``, over IPv4 and IPv6.

    ``sent_too``: also what this host sends.
    Raises: OSError, for want of CAP_NET_RAW or of the interface.
    """
    try:
        # Protocol 0: nothing arrives before the filter stands.
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
        try:
            if not sent_too:
                tap.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            sockets.pass_only(tap, _by_ports(ports))
            # What this host sends is told to nobody who asked for one protocol.
            tap.bind((interface, sockets.ETH_P_ALL))
        except OSError:
            tap.close()
            raise
    except OSError as error:
        raise sockets.explained(error, f"cannot listen on {interface}") from error
    return tap


def read(tap: socket.socket) -> Tapped | None:
    """Return the next datagram; None when none waits, or the interface is down."""
    with suppress(OSError):
        while True:
            packet, (interface, _, kind, _, mac) = tap.recvfrom(_MOST_BYTES)
            datagram = udp.parse(packet)
            if datagram is not None:
                return Tapped(
                    interface=interface,
                    mac=mac.hex(":"),
                    sent=kind == _PACKET_OUTGOING,
                    datagram=datagram,
                )
    return None


def _by_ports(ports: Sequence[int]) -> bpf.Program:
    """Return what passes UDP from or to ``ports``; the packet begins with its IP header."""
    passes = [step for port in ports for step in ((bpf.IF_EQUAL, 0, 1, port), bpf.PASS)]
    ipv4 = [
        *bpf.only(bpf.LOAD_BYTE, 9, udp.PROTOCOL),
        (bpf.INDEX_IP_HEADER, 0, 0, 0),
        *((bpf.LOAD_INDEXED_HALF, 0, 0, 0), *passes),
        *((bpf.LOAD_INDEXED_HALF, 0, 0, 2), *passes),
        bpf.DROP,
    ]
    ipv6 = [
        *bpf.only(bpf.LOAD_HALF, _ETHERTYPE, sockets.ETH_P_IPV6),
        *bpf.only(bpf.LOAD_BYTE, 6, udp.PROTOCOL),
        *((bpf.LOAD_HALF, 0, 0, 40), *passes),
        *((bpf.LOAD_HALF, 0, 0, 42), *passes),
        bpf.DROP,
    ]
    return [
        (bpf.LOAD_HALF, 0, 0, _ETHERTYPE),
        (bpf.IF_EQUAL, 0, len(ipv4), _ETH_P_IP),
        *ipv4,
        *ipv6,
    ]
