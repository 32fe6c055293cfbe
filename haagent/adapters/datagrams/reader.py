"""Reads the socket of one path, and bounds what a flood can cost.

When the thread of the loop has used more of the processor than its share, those who were
refused lately are ignored for a second: the kernel drops what they send, so that what is
genuine does not drown in it.  Where that is not enough the socket is left alone for a while,
and the kernel throws away what does not fit into it, which costs nobody anything.

Whoever was once genuine is never ignored: else a forger could silence a peer by its name.

The kernel stamps each datagram on its arrival, so that one which has waited, for a busy loop or
for a process that was stopped, does not look fresh.  The stamp is wall time; ``arrival`` says
when it is believed.

What this module does not do: tell genuine from forged; ``receive`` says it.
"""

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from haagent.adapters.datagrams import filter as socket_filter
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, later

MAX_PAYLOAD = 1232
"""Bytes; what the smallest IPv6 link carries in one packet (RFC 8200 5: 1280 less 48)."""

SHARE = 0.3
"""Of one processor, which the loop may use in a flood, for reading and for all else."""

_BATCH = 64
"""Datagrams read in one turn of the loop, so that a flood cannot keep it from its timers.
Fewer than that are not a flood, however busy the loop is with other things."""

_AT_ONCE_S = 0.003
"""Processor time that may be used beyond the share at once: some hundred datagrams."""

_MOST_DEBT_S = 0.009
"""So that no pause is longer than 30 ms, whatever else keeps the loop busy."""

_IGNORED_S = 1.0
_MOST_IGNORED = 64
"""Sources, of more than which the kernel's filter does not know."""

_SO_TIMESTAMPNS = 35
"""From asm-generic/socket.h; Python 3.11 does not name it."""

_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_SPACE = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(4)
"""For the time of arrival, and for TTL or hop limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One datagram as it came."""

    path: int
    source: IPAddress
    """Without scope; ``path`` tells the interface."""
    ttl: int
    """TTL or hop limit; 0 when the kernel did not tell."""
    payload: bytes
    """At most :data:`MAX_PAYLOAD` bytes; longer datagrams are dropped."""
    received_at: MonoNs
    """When the kernel got it, as far as that can be told."""


class Reader:
    """See the module docstring.  Owns the socket; belongs to the thread of the running loop."""

    def __init__(
        self,
        path: int,
        sock: socket.socket,
        receive: Callable[[Received], bool],
        now: Callable[[], Moment],
    ) -> None:
        """``receive`` gets each datagram and returns whether it is genuine."""
        self._path = path
        self._sock = sock
        self._receive = receive
        self._now = now
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._emptied = now().mono
        """When there was last nothing in the socket."""
        self._loop = asyncio.get_running_loop()
        self._genuine: set[IPAddress] = set()
        self._refused: set[IPAddress] = set()
        """Since there was no debt."""
        self._ignored: set[IPAddress] = set()
        self._debt_s = 0.0
        """Processor time used beyond the share."""
        self._count = 0
        """Datagrams since there was no debt."""
        self._looked_s, self._used_s = self._loop.time(), time.thread_time()
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        self._listen()

    def close(self) -> None:
        """Give up the socket."""
        for timer in self._timers.values():
            timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._drain)

    def _drain(self) -> None:
        self._count += self._read_batch()
        self._settle_debt()
        if self._debt_s > _AT_ONCE_S and self._count > _BATCH:
            self._meet_flood()

    def _meet_flood(self) -> None:
        strangers = self._refused - self._genuine
        if strangers and not self._ignored:
            self._ignore(strangers)
        else:
            self._loop.remove_reader(self._sock)
            self._later(self._debt_s / SHARE, self._listen)

    def _ignore(self, strangers: set[IPAddress]) -> None:
        self._ignored = strangers
        socket_filter.ignore(self._sock, strangers)
        self._later(_IGNORED_S, self._forgive)
        # What waits in the socket must still be read, and costs little to skip.
        self._forget_debt()

    def _forgive(self) -> None:
        self._ignored = set()
        socket_filter.lift(self._sock)

    def _read_batch(self) -> int:
        """Return how many there were."""
        now = self._now()
        for count in range(_BATCH):
            try:
                payload, ancillary, flags, sender = self._sock.recvmsg(
                    MAX_PAYLOAD, _ANCILLARY_SPACE
                )
            except BlockingIOError:
                self._emptied = now.mono
                return count
            except OSError:
                continue  # An error that the network left in the socket: reading it removes it.
            source = _address(sender[0])
            if not flags & socket.MSG_TRUNC and source not in self._ignored:
                ttl, stamp = _told(ancillary)
                if stamp is not None and stamp > now.wall:
                    # It came after the batch was begun, in which we may have been stopped.
                    now = self._now()
                received = Received(
                    path=self._path,
                    source=source,
                    ttl=ttl,
                    payload=payload,
                    received_at=arrival(now, stamp, self._emptied),
                )
                self._note(source, genuine=self._receive(received))
        return _BATCH

    def _note(self, source: IPAddress, *, genuine: bool) -> None:
        if genuine:
            self._genuine.add(source)
        elif len(self._refused) < _MOST_IGNORED:
            self._refused.add(source)

    def _settle_debt(self) -> None:
        """Add what the thread has used since the last time, less what it was entitled to."""
        now_s, used_s = self._loop.time(), time.thread_time()
        more_s = used_s - self._used_s - SHARE * (now_s - self._looked_s)
        self._looked_s, self._used_s = now_s, used_s
        self._debt_s = min(max(0.0, self._debt_s + more_s), _MOST_DEBT_S)
        if not self._debt_s:
            self._forget_debt()

    def _forget_debt(self) -> None:
        self._debt_s, self._count = 0.0, 0
        self._refused = set()

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self._timers[call] = self._loop.call_later(delay_s, call)


def arrival(now: Moment, stamp: WallNs | None, emptied: MonoNs) -> MonoNs:
    """Return when a datagram arrived that is read ``now`` and has ``stamp``.

    ``emptied``: when there was last nothing to read.  What is read now came after that, or the
    wall clock has been stepped since; then it counts as having come now.
    """
    if stamp is None:
        return now.mono
    arrived = later(now.mono, DurationNs(stamp - now.wall))
    return arrived if emptied <= arrived <= now.mono else now.mono


def _told(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, WallNs | None]:
    """Return TTL or hop limit, 0 when it is not told, and the time of arrival."""
    ttl, stamp = 0, None
    for level, _, data in ancillary:
        if level == socket.SOL_SOCKET:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            stamp = WallNs(seconds * 1_000_000_000 + nanoseconds)
        else:
            ttl = int.from_bytes(data, sys.byteorder)
    return ttl, stamp


_address = lru_cache(maxsize=1024)(ip_address)
"""Parsing costs as much as reading a datagram, and the senders are few."""
