"""ICMP echo, for IPv4 and IPv6: the question, and the answer to our own.

A message begins behind the IP header.  The kernel fills in the checksum of ICMPv6, which covers
that header too.

What this module does not do: verify a checksum on arrival.  Who compares the data that comes
back with what was sent needs none.

Source: RFC 792 (echo), RFC 4443 4.1, 4.2 (ICMPv6 echo), RFC 1071 (checksum).
"""

from struct import Struct, unpack

_ECHO = Struct("!BBHHH")
"""Type, code, checksum, identifier, sequence number: the same in both."""

_REQUEST = {4: 8, 6: 128}
REPLY = {4: 0, 6: 129}
"""By the version of IP."""


def echo_request(version: int, identifier: int, data: bytes) -> bytes:
    """Return the question whose answer brings ``data`` back.

    Unit: 16 bits of identifier; the sequence number is 0.
    """
    kind = _REQUEST[version]
    message = _ECHO.pack(kind, 0, 0, identifier, 0) + data
    if version == 6:
        return message
    return _ECHO.pack(kind, 0, checksum(message), identifier, 0) + data


def echoed(version: int, identifier: int, message: bytes) -> bytes | None:
    """Return the data that came back; None when ``message`` is no answer to ``identifier``."""
    if len(message) < _ECHO.size:
        return None
    kind, code, _, whose, _ = _ECHO.unpack_from(message)
    if (kind, code, whose) != (REPLY[version], 0, identifier):
        return None
    return message[_ECHO.size :]


def checksum(covered: bytes) -> int:
    """Return the checksum to send with ``covered``; 0 when it already carries the right one."""
    even = covered + bytes(len(covered) % 2)
    total: int = sum(unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
