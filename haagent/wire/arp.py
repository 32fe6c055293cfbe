"""ARP frames that announce, ask for and reveal the owner of an IPv4 address.

The announcements and the questions are whole Ethernet frames for a packet socket; :func:`parse`
reads what others broadcast.  A MAC address is 6 bytes; ``mac.hex(":")`` shows it.

What this module does not do: decide when to announce (``haagent.core.ownership``), or
compare what it saw with our own address.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct

_FRAME = Struct("!6s6sHHHBBH6s4s6s4s")
"""Ethernet destination, source, type; then the packet of RFC 826."""

_BROADCAST = b"\xff" * 6
_NO_MAC = bytes(6)
_NOBODY = IPv4Address(0)
_FIXED = (0x0806, 1, 0x0800, 6, 4)
"""EtherType of ARP, hardware Ethernet, protocol IPv4, and the lengths of both addresses."""

_REQUEST, _REPLY = 1, 2


@dataclass(frozen=True, slots=True)
class ArpSighting:
    """A host that showed ``address`` as its own, under ``mac``."""

    address: IPv4Address
    mac: bytes


def gratuitous_request(mac: bytes, address: IPv4Address) -> bytes:
    """Return the announcement of ``address`` at ``mac`` as a request for itself.

    Shape: 42 bytes, broadcast; sender and target are ``address``.
    Source: RFC 5227 2.3 (ARP Announcement), RFC 9568 6.4.2 (at takeover).
    """
    return _frame(_REQUEST, sender=(mac, address), target=(_NO_MAC, address))


def gratuitous_reply(mac: bytes, address: IPv4Address) -> bytes:
    """Return the same announcement as a reply, for hosts that learn from replies alone.

    Shape: 42 bytes, broadcast; sender and target are both ``mac`` and ``address``.
    Source: RFC 5944 4.6 (gratuitous ARP, reply form).
    """
    return _frame(_REPLY, sender=(mac, address), target=(mac, address))


def probe(mac: bytes, address: IPv4Address) -> bytes:
    """Return the question who has ``address``, which changes no neighbour's cache.

    Shape: 42 bytes, broadcast; the sender's address is 0.0.0.0.
    Source: RFC 5227 2.1.1 (ARP Probe).
    """
    return _frame(_REQUEST, sender=(mac, _NOBODY), target=(_NO_MAC, address))


def request(mac: bytes, source: IPv4Address, address: IPv4Address, to: bytes | None) -> bytes:
    """Return the question of ``source``, a host at ``mac``, whether ``address`` is there.

    Shape: 42 bytes, to the host at ``to`` alone, or broadcast.
    Source: RFC 826; RFC 1122 2.3.2.1 (asking one host).
    """
    sender, target = (mac, source), (_NO_MAC, address)
    return _frame(_REQUEST, sender=sender, target=target, to=to or _BROADCAST)


def parse(frame: bytes) -> ArpSighting | None:
    """Return who claims which address in ``frame``; None for probes and all else.

    Requests claim as replies do: both fill the caches of those who hear them.

    Source: RFC 826 (packet reception), RFC 5227 2.4 (a conflict is in the sender's fields).
    """
    if len(frame) < _FRAME.size:
        return None
    _, _, *fixed, operation, mac, address, _, _ = _FRAME.unpack_from(frame)
    if tuple(fixed) != _FIXED or operation not in {_REQUEST, _REPLY}:
        return None
    claimed = IPv4Address(address)
    return None if claimed == _NOBODY else ArpSighting(claimed, mac)


def _frame(
    operation: int,
    *,
    sender: tuple[bytes, IPv4Address],
    target: tuple[bytes, IPv4Address],
    to: bytes = _BROADCAST,
) -> bytes:
    source, claimed = sender
    hardware, wanted = target
    ends = (source, claimed.packed, hardware, wanted.packed)
    return _FRAME.pack(to, source, *_FIXED, operation, *ends)
