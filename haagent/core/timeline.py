"""The records of one agent or of several in one order, in which no effect precedes its cause.

What one agent recorded stays in the order in which it did, whatever its clocks said.  Between
agents Lamport's counter keeps every effect after its cause: it follows each datagram, is no
time and goes on over restarts.  The hybrid clock is nearer to the time of day, and keeps the
order as long as no wall clock is off by more than ``haagent.core.clocks.MAX_SKEW``.

:class:`Merging` takes records as they arrive, also while they are made.

What this module does not do: fetch or keep records (``haagent.adapters.event_store``), or tell
which of them knew nothing of each other (``haagent.core.concurrency``).
Source: Lamport 1978.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

from haagent.core.actions import Record
from haagent.core.clocks import Stamp
from haagent.core.identity import BootId
from haagent.core.units import MonoNs, later, milliseconds

T = TypeVar("T")

WINDOW = milliseconds(700)
"""How long a record waits for one that precedes it, of an agent that has told all it had: above
the 0.1 s after which an agent looks what is new, on its way over two agents, and less than a
person minds."""


class Order(Enum):
    """By which of the two clocks the records of different agents are put in order."""

    LAMPORT = "lamport"
    HLC = "hlc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A record, and whose it is."""

    node: str
    boot: BootId
    record: Record


class Mark(NamedTuple):
    """What the place of a record depends on."""

    stamp: Stamp
    node: str


class _Waiting(NamedTuple, Generic[T]):
    since: MonoNs
    place: tuple[Any, ...]
    item: T


class Merging(Generic[T]):
    """The histories of agents, each of which comes in its own order, as one.

    As much waits in memory as has to: whatever a history may still have before it.
    """

    def __init__(self, nodes: Iterable[str], mark: Callable[[T], Mark], order: Order) -> None:
        self._mark = mark
        self._order = order
        self._waiting: dict[str, deque[_Waiting[T]]] = {}
        self._open = dict.fromkeys(nodes, True)
        """Whose history has not ended, and whether it has more that comes at once."""

    def add(self, now: MonoNs, node: str, items: Iterable[T], *, more: bool) -> None:
        """Take in what has come of one history; ``more``: and the next part is on its way."""
        waiting = self._waiting.setdefault(node, deque())
        waiting.extend(_Waiting(now, self._place(item), item) for item in items)
        self._open[node] = more

    def close(self, node: str) -> None:
        """Take in that nothing more is to be expected of ``node``."""
        self._open.pop(node, None)

    def take(self, now: MonoNs) -> Iterator[T]:
        """Yield what nothing can precede any more, or what has waited for :data:`WINDOW`."""
        while (due := self.due()) is not None and due <= now:
            heads = [waiting for waiting in self._waiting.values() if waiting]
            # The first of each that is left: so no history is ever turned round.
            yield min(heads, key=lambda waiting: waiting[0].place).popleft().item

    def due(self) -> MonoNs | None:
        """Return when something can be taken; None when something else has to come first."""
        heads = [waiting[0] for waiting in self._waiting.values() if waiting]
        since = min((head.since for head in heads), default=None)
        silent = [more for node, more in self._open.items() if not self._waiting.get(node)]
        if since is None or any(silent):
            return None
        return later(since, WINDOW) if silent else since

    def _place(self, item: T) -> tuple[Any, ...]:
        stamp, node = self._mark(item)
        if self._order is Order.LAMPORT:
            return stamp.lamport, stamp.hlc, node
        return stamp.hlc, stamp.lamport, node
