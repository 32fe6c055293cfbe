"""A timing wheel: which of very many silences are over, without a look at all of them.

Whatever waits is filed in a slot of 10 ms.  Hearing a node does not move it: only when its slot
comes up it is looked at, and filed again where it has been heard meanwhile.  So a heartbeat
costs nothing here, and each node is moved once in a timeout.

What this module does not do: know what a silence means (``haagent.core.fleet.registry``).
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from haagent.core.units import MonoNs, milliseconds

T = TypeVar("T")

SLOT = milliseconds(10)
"""How much later than exactly something comes up, at most."""


class Wheel(Generic[T]):
    """See the module docstring."""

    def __init__(self) -> None:
        self._slots: dict[int, list[T]] = {}
        self._order: list[int] = []
        """The numbers of the slots, as a heap."""

    def file(self, due: MonoNs, item: T) -> None:
        """Have ``item`` come up at ``due``, or at most a slot later; it is not taken out before."""
        number = -(-due // SLOT)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = []
            heappush(self._order, number)
        slot.append(item)

    def take(self, until: MonoNs) -> Iterator[T]:
        """Yield and drop what has come up until then.

        What is filed meanwhile for a time that is over comes up in the same run.
        """
        while self._order and self._order[0] * SLOT <= until:
            yield from self._slots.pop(heappop(self._order))

    def deadline(self) -> MonoNs | None:
        """Return when something comes up next."""
        return MonoNs(self._order[0] * SLOT) if self._order else None
