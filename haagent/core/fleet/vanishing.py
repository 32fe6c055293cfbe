"""Suspects this agent itself when very many app nodes vanish at once (protocol.md 8).

A switch that fails, or a socket that drops, looks from here like the death of all nodes; and a
balancer without servers is worse than one with dead servers, which HAProxy's own checks find.
So when more than 30 % vanish within 5 s they are held: they count as before, until a third party
on the link (the ``reference`` of a path) has answered, or until each is heard again.

An answer at once means that this agent hears, and the nodes do not speak: they are dead.  One
that comes late tells of a network that was away: each gets its timeout once more.  Where there is
nobody to ask, or nobody answers, they stay held.

What this module does not do: know when a node has vanished, or what follows from its death.
"""

from collections.abc import Collection
from enum import Enum, auto

from haagent.core.actions import AskHost
from haagent.core.fleet.node import Node
from haagent.core.identity import NodeId
from haagent.core.settings import IPAddress
from haagent.core.units import MonoNs, between, later, milliseconds, seconds

MOST_VANISHED_PERCENT = 30
WINDOW = seconds(5)
FEWEST_LIVING = 4
"""Of so few that one or two are more than 30 %, each is judged by itself."""
FEWEST_VANISHED = 2

AT_ONCE = milliseconds(500)
"""Who answers within this after the first question was there all the time."""
ASK_PAUSE = milliseconds(100)
ASK_PAUSE_LATER = seconds(1)

TRUST = seconds(1)
"""For so long after an answer at once it is not asked again."""


class Verdict(Enum):
    """What an answer means for those that are held."""

    DEAD = auto()
    WAIT = auto()
    """They get their timeout once more."""


class Vanishing:
    """See the module docstring."""

    def __init__(self, references: Collection[tuple[int, IPAddress]]) -> None:
        """``references``: index of the path, and address, of each third party."""
        self._references = frozenset(references)
        self._gone: dict[NodeId, tuple[MonoNs, Node]] = {}
        """Who has vanished in the last 5 s, in the order of time."""
        self._suspected: MonoNs | None = None
        """Since when this agent suspects itself, until an answer or until all are back."""
        self._ask_due: MonoNs | None = None
        self._trusted_until = MonoNs(0)

    @property
    def suspected(self) -> bool:
        return self._suspected is not None

    @property
    def can_ask(self) -> bool:
        return bool(self._references)

    def add(self, now: MonoNs, node: Node, living: int) -> list[Node]:
        """Take in that ``node`` vanishes, of so many ``living``; return who is to be held for it.

        None: it may be believed to be dead.
        """
        if now < self._trusted_until:
            return []
        while self._gone and between(next(iter(self._gone.values()))[0], now) > WINDOW:
            del self._gone[next(iter(self._gone))]
        self.forget(node)
        self._gone[node.id] = (now, node)
        if self._suspected is not None:
            return [node]
        others = len(self._gone) - 1
        if not _too_many(len(self._gone), living + others):
            return []
        self._suspected = now
        self._ask_due = now if self._references else None
        return [each for _, each in self._gone.values()]

    def tick(self, now: MonoNs) -> list[AskHost]:
        """Return the questions that are due."""
        if self._ask_due is None or self._suspected is None or now < self._ask_due:
            return []
        prompt = between(self._suspected, now) < AT_ONCE
        self._ask_due = later(now, ASK_PAUSE if prompt else ASK_PAUSE_LATER)
        return [AskHost(path, address) for path, address in sorted(self._references, key=str)]

    def answered(self, now: MonoNs, path: int, source: IPAddress) -> Verdict | None:
        """Take in that a kernel has answered; return what follows, if anything does."""
        if self._suspected is None or (path, source) not in self._references:
            return None
        at_once = between(self._suspected, now) <= AT_ONCE
        self.calm()
        if not at_once:
            return Verdict.WAIT
        self._trusted_until = later(now, TRUST)
        return Verdict.DEAD

    def calm(self) -> None:
        """End the suspicion."""
        self._suspected = self._ask_due = None
        self._gone.clear()

    def forget(self, node: Node) -> None:
        """Take in that ``node`` has not vanished after all."""
        self._gone.pop(node.id, None)

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return self._ask_due


def _too_many(vanished: int, living: int) -> bool:
    if living < FEWEST_LIVING or vanished < FEWEST_VANISHED:
        return False
    return 100 * vanished > MOST_VANISHED_PERCENT * living
