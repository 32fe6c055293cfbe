"""Reads the socket of one path, and bounds what a flood can cost.

When the thread of the loop has used more of the processor than its share, strangers are
ignored for a second.  Where that is not enough the socket is left alone for a while, and the
kernel throws away what does not fit into it, which costs nobody anything.

What this module does not do: tell genuine from forged; ``receive`` says it.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from haagent.adapters.datagrams import stamps
from haagent.adapters.datagrams.flood import AT_ONCE_S, Debt, Strangers
from haagent.core.settings import IPAddress
from haagent.core.units import Moment, MonoNs

MAX_PAYLOAD = 1232
"""Bytes; what the smallest IPv6 link carries in one packet (RFC 8200 5: 1280 less 48)."""

SHARE = 0.3
"""Of one processor, which the loop may use in a flood, for reading and for all else."""

_BATCH = 64
"""Datagrams read in one turn of the loop, so that a flood cannot keep it from its timers.
Fewer than that are not a flood, however busy the loop is with other things."""

_SPACE = stamps.space(4)
"""For TTL or hop limit."""


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
        stamps.stamp_arrivals(sock)
        self._emptied = now().mono
        """When there was last nothing in the socket."""
        self._loop = asyncio.get_running_loop()
        self._strangers = Strangers(sock, self._loop)
        self._debt = Debt(SHARE, self._loop.time(), time.thread_time())
        self._count = 0
        """Datagrams since there was no debt."""
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Give up the socket."""
        if self._pause:
            self._pause.cancel()
        self._strangers.close()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._drain)

    def _drain(self) -> None:
        self._count += self._read_batch()
        self._debt.settle(self._loop.time(), time.thread_time())
        if not self._debt.owed_s:
            self._forget_debt()
        if self._debt.owed_s > AT_ONCE_S and self._count > _BATCH:
            self._meet_flood()

    def _meet_flood(self) -> None:
        if self._strangers.ignore():
            # What waits in the socket must still be read, and costs little to skip.
            self._forget_debt()
        else:
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(self._debt.pause_s, self._listen)

    def _read_batch(self) -> int:
        """Return how many there were."""
        now = self._now()
        for count in range(_BATCH):
            try:
                payload, ancillary, flags, sender = self._sock.recvmsg(MAX_PAYLOAD, _SPACE)
            except BlockingIOError:
                self._emptied = now.mono
                return count
            except OSError:
                continue  # An error that the network left in the socket: reading it removes it.
            source = _address(sender[0])
            if not flags & socket.MSG_TRUNC and not self._strangers.are_ignoring(source):
                ttl, stamp = stamps.told(ancillary)
                if stamp is not None and stamp > now.wall:
                    # It came after the batch was begun, in which we may have been stopped.
                    now = self._now()
                received = Received(
                    path=self._path,
                    source=source,
                    ttl=int.from_bytes(ttl, sys.byteorder),
                    payload=payload,
                    received_at=stamps.arrival(now, stamp, self._emptied),
                )
                self._strangers.note(source, genuine=self._receive(received))
        return _BATCH

    def _forget_debt(self) -> None:
        self._debt.owed_s, self._count = 0.0, 0
        self._strangers.forget()


_address = lru_cache(maxsize=1024)(ip_address)
"""Parsing costs as much as reading a datagram, and the senders are few."""
