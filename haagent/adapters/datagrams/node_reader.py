"""Reads a socket on which app nodes are heard: many at a time, and never too many.

While it is quiet the loop waits for the socket.  After a batch the socket rests, so that a busy
fleet wakes the loop some fifty times a second and not ten thousand times.  One turn of the loop
reads so few that the heartbeats of the peers stay punctual; what is left waits for the next.

What is genuine may come as fast as it likes: an operator has as many nodes as he has.  The
processor time that goes into refusing has a bounded share, as in
``haagent.adapters.datagrams.reader``.  A flood that is greater than that fills the buffer, and
then what genuine nodes say gets lost as well: the event says so.

What this module does not do: tell genuine from forged; ``read`` says it.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeAlias

from haagent.adapters.datagrams import stamps
from haagent.adapters.datagrams.flood import AT_ONCE_S, Debt, Strangers
from haagent.adapters.datagrams.reader import MAX_PAYLOAD
from haagent.core.events import NodeHeard, NodesHeard
from haagent.core.messages import NodeHeartbeat
from haagent.core.settings import IPAddress
from haagent.core.units import Moment, MonoNs

REST_S = 0.02
"""How long a busy socket is left alone; also how much later a heartbeat is acted upon."""

BATCH = 128
"""Datagrams read in one turn of the loop: some 10 us each."""

SHARE = 0.1
"""Of one processor, for refusing."""

_SO_MEMINFO = 55
"""From asm-generic/socket.h; Python 3.11 does not name it."""

_MEMINFO = struct.Struct("=2I")
"""Bytes in the receive buffer, and how many it holds (SK_MEMINFO_ of linux/sock_diag.h)."""

_SPACE = stamps.space(20)
"""For the address and the interface that a datagram came by."""

Read: TypeAlias = Callable[[bytes, IPAddress, MonoNs], NodeHeartbeat | None]
"""Makes a heartbeat of what came from an address at a moment; None when it is refused."""


class NodeReader:
    """See the module docstring.  Owns the socket; belongs to the thread of the running loop."""

    def __init__(
        self,
        sock: socket.socket,
        read: Read,
        hear: Callable[[NodesHeard], None],
        way: Callable[[bytes], int],
        now: Callable[[], Moment],
    ) -> None:
        """``way`` makes a number of what the kernel tells of where a datagram came by."""
        self._sock = sock
        self._read = read
        self._hear = hear
        self._way = lru_cache(maxsize=256)(way)
        self._now = now
        stamps.stamp_arrivals(sock)
        self._emptied = now().mono
        """When there was last nothing in the socket."""
        self._loop = asyncio.get_running_loop()
        self._strangers = Strangers(sock, self._loop)
        self._wasted_s = 0.0
        """Processor time that went into refusing."""
        self._debt = Debt(SHARE, self._loop.time(), self._wasted_s)
        self._listening = False
        self._next: asyncio.Handle | None = None
        self._listen()

    def close(self) -> None:
        """Give up the socket."""
        if self._next:
            self._next.cancel()
        self._strangers.close()
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def send(
        self, payload: bytes, control: tuple[int, int, bytes], target: tuple[str, int]
    ) -> None:
        """Send one datagram.  Raises: OSError."""
        self._sock.sendmsg([payload], [control], 0, target)

    def _turn(self) -> None:
        """Read a batch, and see when to read the next one."""
        began_s = time.thread_time()
        missed = self._is_full()
        heard, refused, emptied = self._read_batch()
        if refused:
            used_s = time.thread_time() - began_s
            self._wasted_s += used_s * refused / (refused + len(heard))
        if pause_s := self._flood_pause():
            self._rest(pause_s)
        elif not emptied:
            self._rest(0)
        elif heard or refused:
            self._rest(REST_S)
        else:
            self._listen()
        if heard or missed:
            self._hear(NodesHeard(tuple(heard), missed))

    def _is_full(self) -> bool:
        """Return whether something may have been thrown away since the last turn.

        Nobody but us empties the buffer, so it is as full now as it was then.
        """
        info = self._sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        used, limit, *_ = _MEMINFO.unpack(info)
        return bool(4 * used > 3 * limit)

    def _flood_pause(self) -> float:
        """Return for how long to leave the socket alone; see first whether that can be avoided."""
        self._debt.settle(self._loop.time(), self._wasted_s)
        if self._debt.owed_s > AT_ONCE_S and not self._strangers.ignore():
            return self._debt.pause_s
        if not 0 < self._debt.owed_s <= AT_ONCE_S:
            # Paid, or about to be: what still waits in the socket costs little to skip.
            self._debt.owed_s = 0.0
            self._strangers.forget()
        return 0.0

    def _listen(self) -> None:
        if not self._listening:
            self._loop.add_reader(self._sock, self._turn)
            self._listening = True

    def _rest(self, seconds: float) -> None:
        if self._listening:
            self._loop.remove_reader(self._sock)
            self._listening = False
        self._next = self._loop.call_later(seconds, self._turn)

    def _read_batch(self) -> tuple[list[NodeHeard], int, bool]:
        """Return what was heard, how many were refused, and whether there is nothing left."""
        now = self._now()
        heard: list[NodeHeard] = []
        refused = 0
        for _ in range(BATCH):
            try:
                payload, ancillary, flags, sender = self._sock.recvmsg(MAX_PAYLOAD, _SPACE)
            except BlockingIOError:
                self._emptied = now.mono
                return heard, refused, True
            except OSError:
                continue  # An error that the network left in the socket: reading it removes it.
            whole = b"" if flags & socket.MSG_TRUNC else payload
            node = self._take(now, whole, ancillary, sender)
            if node is None:
                refused += 1
            else:
                heard.append(node)
        return heard, refused, False

    def _take(
        self,
        now: Moment,
        payload: bytes,
        ancillary: list[tuple[int, int, bytes]],
        sender: tuple[str, int],
    ) -> NodeHeard | None:
        """Return who was heard; None when it is refused."""
        source = _address(sender[0])
        if self._strangers.are_ignoring(source):
            return None
        info, stamp = stamps.told(ancillary)
        if stamp is not None and stamp > now.wall:
            # It came after the batch was begun, in which we may have been stopped.
            now = self._now()
        received_at = stamps.arrival(now, stamp, self._emptied)
        heartbeat = self._read(payload, source, received_at)
        self._strangers.note(source, genuine=heartbeat is not None)
        if heartbeat is None:
            return None
        return NodeHeard(
            source=source,
            port=sender[1],
            way=self._way(info),
            received_at=received_at,
            heartbeat=heartbeat,
        )


_address = lru_cache(maxsize=1 << 14)(ip_address)
"""Parsing costs as much as reading a datagram."""
