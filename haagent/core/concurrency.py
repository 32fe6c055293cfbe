"""Which records were made without knowledge of each other.

Two records of different agents are concurrent when neither agent had heard of the other's.
What an agent had heard of by then, its record says for itself (``Record.heard``); what its own
earlier records, and those of the agents that it had heard of, knew is added to that.

It is the truth where agents hear each other themselves, as they do while a path is sound.  Where
one hears another only through a third, that is known as far as the third has recorded something
between.  Only datagrams count: what an agent was told by the kernel, by HAProxy or by an operator
who had looked at another one is not known here.  Of records without ``heard``, of an agent that
had never heard any, nothing is said.

Source: Mattern 1988.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

_REMEMBERED = 256
"""Records of each agent that are looked at for what it knew when a third had heard of it."""


@dataclass(frozen=True, slots=True)
class _Line:
    lamport: int
    known: Mapping[str, int]
    """Of each agent the greatest counter that had led to it; its own included."""


class Concurrency:
    """Feed it the records in the order in which they are shown."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[_Line]] = {}

    def add(self, node: str, lamport: int, heard: Mapping[str, int]) -> list[str]:
        """Return the agents whose latest record before this one is concurrent with it."""
        ours = self._lines.setdefault(node, deque(maxlen=_REMEMBERED))
        known = dict(heard)
        if ours:
            _raise(known, ours[-1].known)
        for other in [*known]:
            _raise(known, self._known_to(other, known[other]))
        known[node] = lamport
        ours.append(_Line(lamport, known))
        return sorted(
            other
            for other, lines in self._lines.items()
            if other != node and _are_concurrent(node, ours[-1], other, lines[-1])
        )

    def _known_to(self, node: str, lamport: int) -> Mapping[str, int]:
        """Return what ``node`` knew when its counter was ``lamport``, as far as it is told."""
        lines = reversed(self._lines.get(node, ()))
        return next((line.known for line in lines if line.lamport <= lamport), {})


def _raise(known: dict[str, int], more: Mapping[str, int]) -> None:
    for node, lamport in more.items():
        known[node] = max(lamport, known.get(node, lamport))


def _are_concurrent(one: str, ours: _Line, other: str, theirs: _Line) -> bool:
    # Each knows at least itself.
    if len(ours.known) == 1 or len(theirs.known) == 1:
        return False
    knows = ours.known.get(other, -1) >= theirs.lamport
    return not knows and theirs.known.get(one, -1) < ours.lamport
