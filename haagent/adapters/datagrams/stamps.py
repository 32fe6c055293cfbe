"""What the kernel tells of a datagram besides its bytes: above all, when it came.

The kernel stamps each datagram on its arrival, so that one which has waited, for a busy loop or
for a process that was stopped, does not look fresh.  The stamp is wall time; :func:`arrival`
says when it is believed.

Source: socket(7), cmsg(3).
"""

import socket
import struct

from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, later

_SO_TIMESTAMPNS = 35
"""From asm-generic/socket.h; Python 3.11 does not name it."""

_TIMESPEC = struct.Struct("@ll")


def space(more: int) -> int:
    """Return the room for the stamp and one other thing of ``more`` bytes."""
    return socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(more)


def stamp_arrivals(sock: socket.socket) -> None:
    """Have the kernel tell when each datagram came."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def told(ancillary: list[tuple[int, int, bytes]]) -> tuple[bytes, WallNs | None]:
    """Return the one other thing that the socket asked for, and the stamp; b"" and None if not
    told.
    """
    other, stamp = b"", None
    for level, _, data in ancillary:
        if level == socket.SOL_SOCKET:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            stamp = WallNs(seconds * 1_000_000_000 + nanoseconds)
        else:
            other = data
    return other, stamp


def arrival(now: Moment, stamp: WallNs | None, emptied: MonoNs) -> MonoNs:
    """Return when a datagram arrived that is read ``now`` and has ``stamp``.

    ``emptied``: when there was last nothing to read.  What is read now came after that, or the
    wall clock has been stepped since; then it counts as having come now.
    """
    if stamp is None:
        return now.mono
    arrived = later(now.mono, DurationNs(stamp - now.wall))
    return arrived if emptied <= arrived <= now.mono else now.mono
