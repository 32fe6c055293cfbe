"""Neighbour discovery frames that announce, ask for and reveal the owner of an IPv6 address.

The announcement and the question are whole Ethernet frames for a packet socket; :func:`parse`
reads the advertisements of others.  A MAC address is 6 bytes; ``mac.hex(":")`` shows it.

What this module does not do: decide when to announce (``haagent.core.ownership``), or
compare what it saw with our own address.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address
from struct import Struct

from haagent.wire.icmp import checksum

_ETHERNET = Struct("!6s6sH")
_IPV6 = Struct("!IHBB16s16s")
_MESSAGE = Struct("!BBHI16s")
"""ICMPv6 type, code, checksum, flags, target: the same in both messages."""

_ETHERTYPE_IPV6 = 0x86DD
_VERSION_6 = 6 << 28
_ICMPV6 = 58
_HOP_LIMIT = 255
"""Whoever is not on this link cannot send it (RFC 4861 3.1)."""

_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED = 1 << 30
_OVERRIDE = 1 << 29
_SOURCE_LINK_LAYER_ADDRESS, _TARGET_LINK_LAYER_ADDRESS = 1, 2

_ALL_NODES = IPv6Address("ff02::1")
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0")


@dataclass(frozen=True, slots=True, kw_only=True)
class NdpSighting:
    """A host that advertised ``address`` as its own, to be reached at ``mac``."""

    address: IPv6Address
    mac: bytes
    frame_source: bytes
    """Source MAC of the frame; a proxy's, where it differs from ``mac``."""


def unsolicited_na(mac: bytes, address: IPv6Address) -> bytes:
    """Return the announcement of ``address`` at ``mac``, which overrides what caches hold.

    Shape: 86 bytes, from ``address`` to all nodes; override set, router and solicited clear.
    Source: RFC 4861 4.4 (layout), 7.2.6 (unsolicited), RFC 9568 6.4.2 (at takeover).
    """
    option = bytes((_TARGET_LINK_LAYER_ADDRESS, 1)) + mac
    message = _MESSAGE.pack(_ADVERTISEMENT, 0, 0, _OVERRIDE, address.packed) + option
    to = _group_mac(_ALL_NODES)
    return _frame(mac, to, source=address, destination=_ALL_NODES, message=message)


def neighbor_probe(
    mac: bytes, source: IPv6Address, address: IPv6Address, to: bytes | None = None
) -> bytes:
    """Return the question of ``source``, a host at ``mac``, who has ``address``.

    Only ``source`` is answered.  A question from ::, as in duplicate address detection, is
    answered to all nodes, and so would give the address back to whoever still has it.

    Shape: 86 bytes, to the host at ``to`` alone, or to the solicited-node group of ``address``.
    Source: RFC 4861 4.3 (layout), 7.2.4 (who is answered), RFC 4291 2.7.1 (the group).
    """
    destination = address
    if to is None:
        destination = IPv6Address(int(_SOLICITED_NODE) | int(address) & 0xFF_FFFF)
        to = _group_mac(destination)
    option = bytes((_SOURCE_LINK_LAYER_ADDRESS, 1)) + mac
    message = _MESSAGE.pack(_SOLICITATION, 0, 0, 0, address.packed) + option
    return _frame(mac, to, source=source, destination=destination, message=message)


def parse(frame: bytes) -> NdpSighting | None:
    """Return who advertises which address in ``frame``; None for all else.

    An advertisement without a link-layer option, as an answer to a unicast question may
    be, means the MAC that it came from.

    Source: RFC 4861 7.1.2 (what makes an advertisement valid).
    """
    message = _advertisement(frame)
    if message is None:
        return None
    *_, target = _MESSAGE.unpack_from(message)
    options = _options(message[_MESSAGE.size :])
    if options is None or IPv6Address(target).is_multicast:
        return None
    frame_source = frame[6:12]
    mac = options.get(_TARGET_LINK_LAYER_ADDRESS, frame_source)[:6]
    return NdpSighting(address=IPv6Address(target), mac=mac, frame_source=frame_source)


def _group_mac(group: IPv6Address) -> bytes:
    """Source: RFC 2464 7."""
    return b"\x33\x33" + group.packed[12:]


def _frame(
    mac: bytes, to: bytes, *, source: IPv6Address, destination: IPv6Address, message: bytes
) -> bytes:
    """Return ``message``, whose checksum field is 0, with everything that goes before it."""
    total = _checksum(source.packed, destination.packed, message)
    ethernet = _ETHERNET.pack(to, mac, _ETHERTYPE_IPV6)
    ends = (source.packed, destination.packed)
    ip = _IPV6.pack(_VERSION_6, len(message), _ICMPV6, _HOP_LIMIT, *ends)
    return ethernet + ip + message[:2] + total.to_bytes(2, "big") + message[4:]


def _advertisement(frame: bytes) -> bytes | None:
    """Return the ICMPv6 message in ``frame`` when it is a sound neighbour advertisement."""
    begin = _ETHERNET.size + _IPV6.size
    if len(frame) < begin + _MESSAGE.size:
        return None
    _, _, ethertype = _ETHERNET.unpack_from(frame)
    version, size, next_header, hop_limit, source, destination = _IPV6.unpack_from(
        frame, _ETHERNET.size
    )
    message = frame[begin : begin + size]
    # Fragments and extension headers never carry neighbour discovery (RFC 6980 5).
    expected = (_ETHERTYPE_IPV6, 6, _ICMPV6, _HOP_LIMIT, size)
    if (ethertype, version >> 28, next_header, hop_limit, len(message)) != expected:
        return None
    if size < _MESSAGE.size or _checksum(source, destination, message) != 0:
        return None
    kind, code, _, flags, _ = _MESSAGE.unpack_from(message)
    answers_everybody = flags & _SOLICITED and IPv6Address(destination).is_multicast
    return message if (kind, code) == (_ADVERTISEMENT, 0) and not answers_everybody else None


def _options(data: bytes) -> dict[int, bytes] | None:
    """Return the values of the options by type; None when their lengths do not add up.

    Source: RFC 4861 4.6: type, length in units of 8 bytes, value.
    """
    options: dict[int, bytes] = {}
    while data:
        size = 8 * data[1] if len(data) > 1 else 0
        if not 0 < size <= len(data):
            return None
        options[data[0]] = data[2:size]
        data = data[size:]
    return options


def _checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """Return the checksum to send with ``message``; 0 when it already carries the right one.

    Source: RFC 4443 2.3 and RFC 8200 8.1 (pseudo-header).
    """
    pseudo_header = (
        source + destination + len(message).to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
    )
    return checksum(pseudo_header + message)
