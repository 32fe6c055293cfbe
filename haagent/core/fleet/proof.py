"""Makes every boot of an app node prove that it lives now, by returning a nonce.

Authentic bytes may be a capture that is played back: of a boot that is over, or of a node that
has died.  So nothing counts before a heartbeat has brought back what was asked of that very boot.

What this module does not do: send the question (it is part of the answer that
``haagent.core.fleet.registry`` gives), or check a MAC (``haagent.wire.node``).
"""

from dataclasses import dataclass
from random import Random

from haagent.core.events import NodeHeard
from haagent.core.identity import BootId, NodeId
from haagent.core.units import MonoNs, later, milliseconds, seconds

ASK_PAUSE = milliseconds(50)
"""How soon the same boot is asked again, with the same nonce."""

PATIENCE = seconds(2)
"""For so long a boot that is being asked is not given up for an older one, nor wondered at."""

MOST_PENDING = 65_536
"""Each is a node with a genuine key, so this bounds memory and refuses nobody."""


@dataclass(slots=True)
class _Question:
    boot: BootId
    nonce: int
    since: MonoNs
    asked_at: MonoNs


class NodeProofs:
    """The boots that are being asked, one of each node."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pending: dict[NodeId, _Question] = {}

    def proves(self, heard: NodeHeard) -> int | None:
        """Return the nonce that is brought back, and ask no more; None where it is not."""
        heartbeat = heard.heartbeat
        question = self._pending.get(heartbeat.sender)
        if question is None or question.boot != heartbeat.boot:
            return None
        if heartbeat.nonce != question.nonce:
            return None
        del self._pending[heartbeat.sender]
        return question.nonce

    def question(self, now: MonoNs, heard: NodeHeard) -> int | None:
        """Return the nonce that is to be asked for now; None where that was just done."""
        heartbeat = heard.heartbeat
        question = self._pending.get(heartbeat.sender)
        if question is not None and question.boot > heartbeat.boot:
            if now < later(question.since, PATIENCE):
                return None
            question = None
        if question is None or question.boot != heartbeat.boot:
            self._pending.pop(heartbeat.sender, None)
            self._pending[heartbeat.sender] = _Question(heartbeat.boot, self.nonce(), now, now)
            if len(self._pending) > MOST_PENDING:
                del self._pending[next(iter(self._pending))]
            return self._pending[heartbeat.sender].nonce
        if now < later(question.asked_at, ASK_PAUSE):
            return None
        question.asked_at = now
        return question.nonce

    def is_overdue(self, now: MonoNs, node: NodeId) -> bool:
        """Return whether a node is being asked for so long that it is worth noting."""
        question = self._pending.get(node)
        return question is not None and now >= later(question.since, PATIENCE)

    def nonce(self) -> int:
        """Return a new nonce, u64 and not 0."""
        return self._random.getrandbits(64) or 1
