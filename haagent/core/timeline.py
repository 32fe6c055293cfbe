"""The records of one agent or of several in one order, in which no effect precedes its cause.

What one agent recorded stays in the order in which it did, whatever its clocks said.  Between
agents Lamport's counter keeps every effect after its cause: it follows each datagram, is no
time and goes on over restarts.  The hybrid clock is nearer to the time of day, and keeps the
order as long as no wall clock is off by more than ``haagent.core.clocks.MAX_SKEW``.

What this module does not do: fetch or keep records (``haagent.adapters.event_store``).
Source: Lamport 1978.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from heapq import merge
from typing import NamedTuple, TypeVar

from haagent.core.actions import Record
from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import BootId

T = TypeVar("T")


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


def merged(
    histories: Iterable[Iterable[T]], mark: Callable[[T], Mark], order: Order
) -> Iterator[T]:
    """Yield what is in all ``histories``, each of which is one agent's in its own order.

    Takes no more of a history than it has to, so that a long one need not be in memory.
    """

    def place(item: T) -> tuple[int, Hlc, str] | tuple[Hlc, int, str]:
        stamp, node = mark(item)
        if order is Order.LAMPORT:
            return stamp.lamport, stamp.hlc, node
        return stamp.hlc, stamp.lamport, node

    # It compares the first of each that is left, and so never turns one history round.
    return merge(*histories, key=place)
