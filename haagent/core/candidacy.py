"""The newest candidacy of this agent in one group: its ballot, its round, the answers.

A candidate first asks who would grant (PRE), which changes nothing anywhere, and then for
grants (VOTE).  Each round has a ballot of its own, so that no answer counts in the other.

Source: protocol.md 3.5; the first round is Raft's pre-vote (Ongaro 2014, 9.6).
"""

from haagent.core.identity import Ballot, BootId, NodeId, Term
from haagent.core.messages import Election, ElectionKind, RoleReason


class Candidacy:
    """See the module docstring."""

    def __init__(self, node: NodeId, boot: BootId) -> None:
        self._node = node
        self._boot = boot
        self.ballot = Ballot(node, boot, 0)
        """Of our newest candidacy; as master, of our mastership."""
        self.reason = RoleReason.NO_MASTER
        """Why we stand, or would stand when the wait is over."""
        self.kind = ElectionKind.PRE
        self.answers: list[str] = []
        """What was asked and answered, a line each."""
        self._granted: set[NodeId] = set()

    def begin(self) -> None:
        """Stand anew, with nothing asked yet."""
        self.answers = []
        self._draw_ballot()

    def ask(self, kind: ElectionKind, term: Term) -> Election:
        """Return the question of a round."""
        if kind is ElectionKind.VOTE:
            self._draw_ballot()
        self.kind = kind
        self._granted = set()
        return Election(kind=kind, ballot=self.ballot, proposed_term=term)

    def granted(self, voter: NodeId, name: str) -> None:
        """Take in that a voter has no objection."""
        if voter not in self._granted:
            self._granted.add(voter)
            self.answers.append(f"{name} grants ({self.kind.name})")

    def objected(self, name: str, why: str) -> None:
        """Take in that a voter objects."""
        self.answers.append(f"{name} objects ({self.kind.name}): {why}")

    def has(self, voters: set[NodeId]) -> bool:
        """Return whether all ``voters`` have granted."""
        return self._granted >= voters

    @property
    def has_none(self) -> bool:
        """Whether nobody has granted in this round."""
        return not self._granted

    def _draw_ballot(self) -> None:
        self.ballot = Ballot(self._node, self._boot, self.ballot.number + 1)
