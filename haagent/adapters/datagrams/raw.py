"""Heartbeats beside an agent: a raw socket speaks from its port, and hears what came through.

What a raw socket hears has passed the filters of this host, and nobody loses it by that; a second
socket on the port would take from the agent what was sent to this host alone.

What this module does not do: see what was dropped (``haagent.adapters.link.capture``).

Source: raw(7), RFC 3542 3 (raw sockets of IPv6: no IP header).
"""

import socket
import struct
import sys
from ipaddress import IPv6Address

from haagent.adapters.datagrams import options
from haagent.core.settings import IPAddress, PathSettings
from haagent.wire import bpf, udp
from haagent.wire.udp import UdpDatagram

_MOST_BYTES = 2048
_PKTINFO = struct.Struct("=16si")
_IPV6_RECVPKTINFO = 49


class RawUdp:
    """See the module docstring."""

    def __init__(self, settings: PathSettings, local: IPAddress, port: int) -> None:
        """Speak on the path from ``local``, whose family it is.

        Raises: OSError, for want of CAP_NET_RAW or of the interface.
        """
        self._local = local
        self._port = port
        self._index = socket.if_nametoindex(settings.interface)
        family = socket.AF_INET if local.version == 4 else socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
        try:
            program = bpf.sock_fprog(_to_port(local.version, port))
            self.socket.setsockopt(socket.SOL_SOCKET, bpf.SO_ATTACH_FILTER, program)
            options.confine(self.socket, settings, self._index, local.version)
            if local.version == 6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        except OSError:
            self.socket.close()
            raise

    def send(self, target: IPAddress, payload: bytes) -> None:
        """Send ``payload`` from port to port.  Raises: OSError."""
        datagram = udp.packed(self._local, target, self._port, payload)
        # For a raw socket of IPv6 a port is the protocol: 0 or the very one.
        options.send_from(self.socket, self._index, self._local, (target, 0), datagram)

    def read(self) -> UdpDatagram | None:
        """Return the next datagram to the port; None when none waits, or the interface is down."""
        space = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(4)
        try:
            packet, ancillary, _, sender = self.socket.recvmsg(_MOST_BYTES, space)
        except OSError:
            return None
        if self._local.version == 4:
            return udp.parse(packet)
        told = {kind: data for _, kind, data in ancillary}
        # As IPv6 would have it in front, so that it is read as everywhere else.
        destination, _ = _PKTINFO.unpack(told[socket.IPV6_PKTINFO])
        hop_limit = int.from_bytes(told[socket.IPV6_HOPLIMIT], sys.byteorder)
        source = IPv6Address(sender[0].partition("%")[0]).packed
        begin = struct.pack("!IHBB", 6 << 28, len(packet), udp.PROTOCOL, hop_limit)
        return udp.parse(begin + source + destination + packet)

    def close(self) -> None:
        """Give up the socket."""
        self.socket.close()


def _to_port(version: int, port: int) -> bpf.Program:
    """Return what passes datagrams to ``port``; in IPv4 what is filtered has the IP header."""
    if version == 6:
        return [*bpf.only(bpf.LOAD_HALF, 2, port), bpf.PASS]
    return [
        (bpf.INDEX_IP_HEADER, 0, 0, 0),
        *bpf.only(bpf.LOAD_INDEXED_HALF, 2, port),
        bpf.PASS,
    ]
