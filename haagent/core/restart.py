"""A planned restart: the masterships that the next process of this agent goes on with.

First the groups that this agent is not master of are left, as at a stop.  Then it promises
its peers to be heard of again within a second, not a heartbeat's interval, and asks each for
a proof that it has heard so.  When all have answered, the addresses stay as they are, behind
fences that are open for as long as the peers wait, and the process may end.  Otherwise
everything is handed over, as at a stop.

What this module does not do: keep anything over the end of the process, or find out whether
the next one has the same configuration (``haagent.runtime.restart``).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random

from haagent.core.actions import Action, Tenure
from haagent.core.election import Election, Say
from haagent.core.group import Group
from haagent.core.identity import NodeId
from haagent.core.membership import Membership
from haagent.core.messages import Header, Probe, ProbeAck, State
from haagent.core.outbox import Outbox
from haagent.core.settings import HeartbeatSettings
from haagent.core.units import Moment, MonoNs, later, milliseconds

ASK_INTERVAL = milliseconds(20)
ASK_TIMEOUT = milliseconds(200)
"""How long the peers may take to confirm the promise."""


@dataclass(slots=True)
class _Question:
    """One group and one peer that has to know of the promise."""

    group: Group
    peer: NodeId
    nonce: int


class Restart:
    """See the module docstring."""

    def __init__(
        self,
        *,
        groups: Collection[Group],
        not_before: MonoNs,
        node: NodeId,
        timing: HeartbeatSettings,
        membership: Membership,
        outbox: Outbox,
        random: Random,
    ) -> None:
        """``groups`` are those that this agent is master of.

        ``not_before``: when an agent that has just begun knows all peers that hear it.
        """
        self.groups = groups
        self._node = node
        self._lease = timing.restart_lease
        self._membership = membership
        self._outbox = outbox
        self._random = random
        self._questions: list[_Question] = []
        self._promised_at: MonoNs | None = None
        self._due = not_before
        self._over = False
        self.kept: tuple[Tenure, ...] = ()
        """The masterships that the next process goes on with, once all have confirmed."""

    def tick(self, now: Moment, *, alone: bool) -> list[Action]:
        """Do what is due; ``alone`` says that the other groups are left and nothing is unsaid."""
        if self._over or not alone:
            return []
        if self._promised_at is None:
            return self._promise(now) if now.mono >= self._due else []
        deposed = any(group.election.state is not State.MASTER for group in self.groups)
        if deposed or now.mono >= later(self._promised_at, ASK_TIMEOUT):
            return self._give_up(now)
        if not self._questions:
            return self._keep(self._promised_at)
        return self._ask(now) if now.mono >= self._due else []

    def confirmed(self, header: Header, ack: ProbeAck) -> None:
        """Take in that a peer has heard the promise: as a follower, or it would not wait."""
        if header.master == self._node:
            answered = (header.sender, ack.nonce)
            self._questions = [q for q in self._questions if (q.peer, q.nonce) != answered]

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return None if self._over else self._due

    def _promise(self, now: Moment) -> list[Action]:
        self._promised_at = now.mono
        actions: list[Action] = []
        for group in self.groups:
            group.election.restarting = True
            # To all, for the sake of those that hear us and that we do not hear.
            actions += group.beat(now)
            self._questions += self._questions_of(group)
        return [*actions, *(self._ask(now) if self._questions else self._keep(now.mono))]

    def _questions_of(self, group: Group) -> Iterator[_Question]:
        for header in self._membership.voters(group.settings.id).values():
            # Whoever is out of it listens for longer than the promise before it stands.
            if header.state not in {State.INIT, State.FAULT}:
                yield _Question(group, header.sender, self._random.getrandbits(64))

    def _ask(self, now: Moment) -> list[Action]:
        self._due = later(now.mono, ASK_INTERVAL)
        actions: list[Action] = []
        for question in self._questions:
            probe = Probe(destination=question.peer, nonce=question.nonce)
            say = Say(probe, to=question.peer)
            actions += self._outbox.once(now, question.group.election, say)
        return actions

    def _keep(self, promised_at: MonoNs) -> list[Action]:
        self._over = True
        until = later(promised_at, self._lease)
        actions: list[Action] = []
        for group in self.groups:
            actions += group.ownership.vouch(until)
        self.kept = tuple(
            Tenure(
                group=group.settings.id,
                term=group.election.term,
                until=until,
                chosen=group.election.chosen,
            )
            for group in self.groups
        )
        return actions

    def _give_up(self, now: Moment) -> list[Action]:
        self._over = True
        actions: list[Action] = []
        for group in self.groups:
            actions += group.lead(now, Election.stop)
        return actions
