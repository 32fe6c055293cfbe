"""What bounds the cost of a flood: a debt of processor time, and strangers who are ignored.

Those who were refused lately are ignored for a second: the kernel drops what they send, so that
what is genuine does not drown in it.  Whoever was once genuine is never ignored: else a forger
could silence a peer by its name.

What this module does not do: decide when there is a flood; the readers of the sockets do.
"""

import asyncio
import socket

from haagent.adapters.datagrams import filter as socket_filter
from haagent.core.settings import IPAddress

AT_ONCE_S = 0.003
"""Processor time that may be used beyond the share at once: some hundred datagrams."""

_MOST_DEBT_S = 0.009
"""So that no pause is long, whatever else keeps the loop busy."""

_IGNORED_S = 1.0
_MOST_IGNORED = 64
"""Sources, of more than which the kernel's filter does not know."""


class Debt:
    """Processor time used beyond a share of it."""

    def __init__(self, share: float, now_s: float, used_s: float) -> None:
        """``used_s`` counts up, here and in :meth:`settle`."""
        self._share = share
        self._looked_s, self._used_s = now_s, used_s
        self.owed_s = 0.0

    def settle(self, now_s: float, used_s: float) -> None:
        """Add what was used since the last time, less what could have been."""
        more_s = used_s - self._used_s - self._share * (now_s - self._looked_s)
        self._looked_s, self._used_s = now_s, used_s
        self.owed_s = min(max(0.0, self.owed_s + more_s), _MOST_DEBT_S)

    @property
    def pause_s(self) -> float:
        """How long nothing must be used until nothing is owed."""
        return self.owed_s / self._share


class Strangers:
    """Who sent to ``sock`` what was refused, and has never sent anything genuine."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._sock = sock
        self._loop = loop
        self._genuine: set[IPAddress] = set()
        self._refused: set[IPAddress] = set()
        """Of late."""
        self._ignored: set[IPAddress] = set()
        self._timer: asyncio.TimerHandle | None = None

    def note(self, source: IPAddress, *, genuine: bool) -> None:
        """Remember what ``source`` has sent."""
        if genuine:
            self._genuine.add(source)
        elif len(self._refused) < _MOST_IGNORED:
            self._refused.add(source)

    def are_ignoring(self, source: IPAddress) -> bool:
        """Return whether this is one whom the kernel drops, but for what it has queued."""
        return source in self._ignored

    def ignore(self) -> bool:
        """Have the kernel drop what they send for a second; return whether that may help."""
        strangers = self._refused - self._genuine
        if not strangers or self._ignored:
            return False
        self._ignored = strangers
        socket_filter.ignore(self._sock, strangers)
        self._timer = self._loop.call_later(_IGNORED_S, self._forgive)
        return True

    def forget(self) -> None:
        """Hold nothing against anybody any more but those who are ignored now."""
        self._refused = set()

    def close(self) -> None:
        """Leave the socket alone."""
        if self._timer:
            self._timer.cancel()

    def _forgive(self) -> None:
        self._ignored = set()
        socket_filter.lift(self._sock)
