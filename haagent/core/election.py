"""The election of one group's master: a bully election in best-effort mode.

Feed it what happens; each method returns what to say, and :attr:`Election.state` is the
role to hold from then on.  A candidate asks every living agent once; a better one objects
and stands itself, one that still hears the master objects, the others grant.  Who does not
answer in time is not waited for.  Planned moves go by RESIGN: the old master lets go before
the new one takes hold.

What this module does not do: judge who is alive (``membership``), touch an address or
order releases and words (``ownership``, ``agent``).

Source: Garcia-Molina 1982; protocol.md 3.
"""

from dataclasses import dataclass
from random import Random
from typing import assert_never

from haagent.core.actions import Tenure
from haagent.core.identity import NOT_ELECTABLE, Ballot, BootId, NodeId, Priority, Rank, Term
from haagent.core.membership import Membership
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Election as Call,
    ElectionKind,
    Goodbye,
    Header,
    Heartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.core.settings import GroupSettings, HeartbeatSettings, Preempt
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds, seconds

PREPARE_TIMEOUT = seconds(2)
"""How long a successor may take to get ready."""

COMMIT_TIMEOUT = milliseconds(250)
"""How long the old master waits for the new one's victory before anybody may stand again."""

TRANSFER_INTERVAL = seconds(1)
"""How often a better agent repeats its request for a handover."""

CLAIM_PENALTY = seconds(10)
"""How long an agent that could not claim the addresses stays out of the election."""

OVERSLEPT = milliseconds(5)
"""A wait that is noticed to be over so late may be over because this agent slept."""

TWIN_SILENCE = seconds(5)
"""How long another agent of our own name must be silent before we listen again."""


@dataclass(frozen=True, slots=True)
class Say:
    """Something to send: to one peer, or to all when ``to`` is None."""

    body: Body
    to: NodeId | None = None


class Election:
    """See the module docstring."""

    def __init__(
        self,
        *,
        group: GroupSettings,
        timing: HeartbeatSettings,
        membership: Membership,
        node: NodeId,
        boot: BootId,
        term: Term,
        random: Random,
        tenure: Tenure | None = None,
    ) -> None:
        self.group = group
        self._timing = timing
        self._membership = membership
        self._node = node
        self._boot = boot
        self._random = random
        self.term = term
        self.state = State.INIT
        self.reason = RoleReason.STARTING
        self.since = MonoNs(0)
        self.master: NodeId | None = None
        self._ballot = Ballot(node, boot, 0)
        """Of our newest candidacy; as master, of our mastership."""
        self._standing_for = RoleReason.NO_MASTER
        """Why we stand, or would stand when the wait is over."""
        self._granted: set[NodeId] = set()
        self._successor: NodeId | None = None
        self._met: tuple[NodeId, Term] | None = None
        """The mastership that we last asserted ours against."""
        self._stopping = False
        self.tenure = tenure
        """The mastership that the process before this one has left to us."""
        self.mute = False
        """Whether nothing that we say leaves this host."""
        self.restarting = False
        """Whether the next process of this agent is to go on with this mastership."""
        self._due: MonoNs | None = None
        """End of the wait that the state is in."""
        self._prolonged = False
        """Whether that wait was over once, and prolonged because this agent had slept."""
        self._transfer_due: MonoNs | None = None
        """When to ask a lesser master for a handover."""

    @property
    def priority(self) -> Priority:
        """The effective priority: 0 while this agent may not be master."""
        return self.group.priority if self.electable else NOT_ELECTABLE

    @property
    def electable(self) -> bool:
        out = {State.INIT, State.LISTEN, State.FAULT}
        return self.state not in out and not self._stopping

    @property
    def interval(self) -> DurationNs:
        """How often this agent promises to be heard of in this group."""
        quiet = self.state in {State.BACKUP, State.FAULT}
        return self._timing.backup_interval if quiet else self._timing.interval

    @property
    def promise(self) -> DurationNs:
        """How soon this agent says that it will be heard of again in this group."""
        return self._timing.restart_interval if self.restarting else self.interval

    @property
    def listens_until(self) -> MonoNs | None:
        """When this agent stands if it has heard no master; None when it does not listen."""
        return self._due if self.state is State.LISTEN else None

    @property
    def rank(self) -> Rank:
        return Rank(self.priority, self._node)

    @property
    def stopping(self) -> bool:
        """Whether this agent leaves the group for good, or has left it."""
        return self._stopping

    @property
    def stopped(self) -> bool:
        """Whether this agent has left the group for good."""
        return self._stopping and self.state is State.FAULT

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        waits = (self._due, self._transfer_due)
        return min((due for due in waits if due is not None), default=None)

    def reconfigure(self, group: GroupSettings) -> None:
        """Go on with another priority or preemption; a handover is planned anew."""
        self.group = group
        self._transfer_due = None

    # What happens to this agent itself.

    def link_changed(self, now: MonoNs, *, up: bool) -> list[Say]:
        """Take part while the interface of the group is up, and only then."""
        if self._stopping and self.state is State.FAULT:
            return []
        if not up:
            return self._fail(now, RoleReason.LINK_DOWN)
        if self.state is State.INIT and self.tenure is not None and now < self.tenure.until:
            return self._go_on(now, self.tenure)
        if self.state in {State.INIT, State.FAULT}:
            return self._listen(now, RoleReason.STARTING)
        return []

    def muted(self, now: MonoNs) -> list[Say]:
        """Step down: nobody can hear this agent, so the others have taken over."""
        if self.state in {State.INIT, State.FAULT}:
            return []
        return self._leave(now) if self._stopping else self._fail(now, RoleReason.NO_PATH)

    def stalled(self, now: MonoNs) -> list[Say]:
        """Give everything up: the peers have taken over while this agent was away."""
        if self.state in {State.INIT, State.FAULT}:
            return []
        return self._leave(now) if self._stopping else self._listen(now, RoleReason.STALLED)

    def claim_failed(self, now: MonoNs) -> list[Say]:
        """Step down: the addresses cannot be put on the interface."""
        says = self._fail(now, RoleReason.CLAIM_FAILED)
        self._due = later(now, CLAIM_PENALTY)
        return says

    def address_seen(self, now: MonoNs) -> list[Say]:
        """Listen on: a master that is not heard, because it restarts, has told somebody else."""
        if self.state is State.LISTEN and self._due is not None:
            last = later(self.since, DurationNs(self._timing.listen + self._timing.restart_lease))
            self._due = max(self._due, min(last, later(now, self._timing.listen)))
        return []

    def twin_heard(self, now: MonoNs) -> list[Say]:
        """Stay out while another agent with our node name is heard."""
        if self.state is State.FAULT and self.reason is not RoleReason.DUPLICATE_NODE:
            return []
        says = self._fail(now, RoleReason.DUPLICATE_NODE)
        self._due = later(now, TWIN_SILENCE)
        return says

    def stop(self, now: MonoNs) -> list[Say]:
        """Leave for good: hand over first when there is somebody to hand over to."""
        self.restarting = False
        if self._stopping:
            return []
        self._stopping = True
        successors = self._membership.better(self.group.id, Rank(NOT_ELECTABLE, NodeId(0)))
        if self.state is State.MASTER and successors:
            return self._prepare(now, successors[0])
        if self.state is State.RESIGNING:
            return []
        return self._leave(now)

    # What peers say, and that they fall silent.

    def heard(self, now: MonoNs, header: Header, body: Body) -> list[Say]:
        """Take in an admitted datagram about this group."""
        return [*self._heard_term(header), *self._heard_body(now, header, body)]

    def _heard_term(self, header: Header) -> list[Say]:
        # Every mastership has a term of its own: a master that learns of a higher one, say
        # from an agent that came back with terms in reserve, asserts itself under the next.
        overtaken = header.term > self.term
        self.term = max(self.term, header.term)
        if not overtaken or self.state is not State.MASTER or header.state.owns_addresses:
            return []
        self.term = self._next_term()
        return [Say(Coordinator(ballot=self._ballot))]

    def _heard_body(self, now: MonoNs, header: Header, body: Body) -> list[Say]:
        match body:
            case Heartbeat() | Probe() | ProbeAck() | Coordinator():
                return self._heard_view(now, header)
            case Call(kind=ElectionKind.TRANSFER):
                return self._heard_transfer(now, header)
            case Call():
                return self._heard_candidate(now, header, body)
            case Answer():
                return self._heard_answer(now, header, body)
            case Resign():
                return self._heard_resign(now, header, body)
            case Goodbye():
                return self._heard_goodbye(now, header)
            case _:
                assert_never(body)

    def peer_lost(self, now: MonoNs, node: NodeId, reason: RoleReason) -> list[Say]:
        """Take in that a peer is dead; ``reason`` is why we stand if it was the master."""
        if node == self._successor and self.state is State.RESIGNING:
            return self._abort(now)
        if node == self.master:
            return self._master_lost(now, reason)
        return []

    def tick(self, now: MonoNs) -> list[Say]:
        """Do what is due; an early call changes nothing."""
        if self._due is not None and now >= self._due:
            slept = between(self._due, now) > OVERSLEPT
            self._prolonged = slept and not self._prolonged
            if self._prolonged:
                # What the others said meanwhile, that one of them has won, say, waits unread.
                self._due = later(now, self._timing.answer_timeout)
                return []
            self._due = None
            return self._wait_over(now)
        if self._transfer_due is not None and now >= self._transfer_due:
            return self._ask_transfer(now)
        return []

    def _wait_over(self, now: MonoNs) -> list[Say]:
        match self.state:
            case State.LISTEN | State.BACKUP:
                return self._stand(now)
            case State.CANDIDATE:
                return self._win(now)
            case State.RESIGNING:
                return self._abort(now)
            case State.FAULT if not self._stopping and self.reason is not RoleReason.LINK_DOWN:
                return self._listen(now, RoleReason.STARTING)
            case State.FAULT | State.INIT | State.MASTER:
                return []
            case _:
                assert_never(self.state)

    # Standing for master.

    def _master_lost(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        self.master = None
        self._transfer_due = None
        if self.state is not State.BACKUP:
            return []
        for header in self._membership.voters(self.group.id).values():
            if header.state is State.MASTER:
                return self._heard_master(now, header)
        position = len(self._membership.better(self.group.id, self.rank))
        self._standing_for = reason
        self._due = later(now, DurationNs(position * self._timing.stagger))
        return self._wait_over_now(now)

    def _wait_over_now(self, now: MonoNs) -> list[Say]:
        # The best backup does not even wait for the next turn of the loop.
        return self.tick(now) if self._due is not None and self._due <= now else []

    def _stand(self, now: MonoNs) -> list[Say]:
        # The dead are asked as well: it is the last probe before two masters.  Three lost
        # heartbeats in a row are not rare at 10 % loss, three lost round trips are.
        if self.state is State.LISTEN:
            self._standing_for = RoleReason.NO_MASTER
        if self._stopping:
            return self._leave(now)
        if self.mute:
            return self._fail(now, RoleReason.NO_PATH)
        self._draw_ballot()
        if not self._membership.peers():
            return self._win(now)
        self._granted = set()
        self.master = self._transfer_due = None
        self._become(now, State.CANDIDATE, self._standing_for)
        self._due = later(now, self._timing.answer_timeout)
        call = Call(kind=ElectionKind.VOTE, ballot=self._ballot, proposed_term=self._next_term())
        return [Say(call)]

    def _draw_ballot(self) -> None:
        self._ballot = Ballot(self._node, self._boot, self._ballot.number + 1)

    def _win(self, now: MonoNs) -> list[Say]:
        self.term = self._next_term()
        return self._rule(now)

    def _rule(self, now: MonoNs) -> list[Say]:
        self._become(now, State.MASTER, self._standing_for)
        self.master = self._node
        self._due = self._transfer_due = self._successor = None
        return [Say(Coordinator(ballot=self._ballot))]

    def _go_on(self, now: MonoNs, tenure: Tenure) -> list[Say]:
        # Under the same term: to everybody else it is the same mastership.
        self.term = tenure.term
        self._standing_for = RoleReason.RESTARTED
        self._draw_ballot()
        return self._rule(now)

    def _voters(self) -> set[NodeId]:
        return set(self._membership.voters(self.group.id))

    def _next_term(self) -> Term:
        return Term(self.term + 1)

    def _heard_answer(self, now: MonoNs, header: Header, answer: Answer) -> list[Say]:
        if self.state is not State.CANDIDATE or answer.ballot != self._ballot:
            return []
        if answer.objection is None or self._may_ignore(answer.objection):
            self._granted.add(header.sender)
            # What is granted after the wait was granted before what else waits unread.
            in_time = self._due is not None and now <= self._due and not self._prolonged
            return self._win(now) if in_time and self._granted >= self._voters() else []
        self.term = max(self.term, answer.objection.term)
        self._become(now, State.BACKUP, RoleReason.GAVE_WAY)
        self._due = later(now, self._back_off(answer.objection))
        return []

    def _may_ignore(self, objection: Objection) -> bool:
        # A better agent that has just started is worth waiting for when all start
        # together, but not when a group has lost its master.
        not_ready = objection.code is ObjectionCode.NOT_READY
        return not_ready and self._standing_for is not RoleReason.NO_MASTER

    def _back_off(self, objection: Objection) -> DurationNs:
        match objection.code:
            case ObjectionCode.RANK:
                return DurationNs(3 * self._timing.answer_timeout)
            case ObjectionCode.TERM:
                return DurationNs(self._random.randrange(self._timing.answer_timeout))
            case _:
                return milliseconds(objection.remaining_ms)

    # Answering a candidate.

    def _heard_candidate(self, now: MonoNs, header: Header, call: Call) -> list[Say]:
        objection = self._object(now, header, call)
        answer = Say(
            Answer(destination=header.sender, ballot=call.ballot, objection=objection),
            to=header.sender,
        )
        if objection is not None and objection.code is ObjectionCode.RANK:
            return [answer, *self._stand_now(now)]
        if objection is None and call.kind is ElectionKind.VOTE:
            self._give_way(now)
        return [answer]

    def _object(self, now: MonoNs, header: Header, call: Call) -> Objection | None:
        candidate = header.rank
        if (age := self._master_age(now)) is not None and self.master != header.sender:
            return self._objection(ObjectionCode.ALIVE, DurationNs(self._timing.takeover - age))
        if self.electable and self.rank > candidate:
            return self._objection(ObjectionCode.RANK, self._timing.answer_timeout)
        own = Rank(self.group.priority, self._node)
        if self.state is State.LISTEN and self._due is not None and own > candidate:
            return self._objection(ObjectionCode.NOT_READY, between(now, self._due))
        if call.proposed_term <= self.term:
            return self._objection(ObjectionCode.TERM, self._timing.answer_timeout)
        return None

    def _master_age(self, now: MonoNs) -> DurationNs | None:
        # Who hears the master knows that its fence may be open: the veto against a claim of
        # one that does not hear it, or heard it longer ago.
        if self.state.owns_addresses:
            return DurationNs(0)
        peer = None if self.master is None else self._membership.get(self.master)
        if peer is None or not peer.alive or self.group.id not in peer.views:
            return None
        age = between(peer.last_heard, now)
        # As the master has promised, which is more while it restarts.
        lease = 3 * milliseconds(peer.views[self.group.id].header.interval_ms)
        return age if age < lease else None

    def _objection(self, code: ObjectionCode, remaining: DurationNs) -> Objection:
        remaining_ms = max(0, -(-remaining // 1_000_000))
        return Objection(code=code, remaining_ms=remaining_ms, term=self.term)

    def _stand_now(self, now: MonoNs) -> list[Say]:
        if self.state is not State.BACKUP:
            return []
        if self.master is not None:
            self._standing_for = RoleReason.MASTER_SILENT
        return self._stand(now)

    def _give_way(self, now: MonoNs) -> None:
        if self.state is State.CANDIDATE:
            self._become(now, State.BACKUP, RoleReason.GAVE_WAY)
        if self.state is State.BACKUP:
            self._due = later(now, DurationNs(3 * self._timing.answer_timeout))

    # Following a master, and meeting another one.

    def _heard_view(self, now: MonoNs, header: Header) -> list[Say]:
        if header.state.owns_addresses:
            return self._heard_master(now, header)
        if header.sender == self.master:
            return self._master_lost(now, RoleReason.MASTER_LEFT)
        return []

    def _heard_master(self, now: MonoNs, header: Header) -> list[Say]:
        if self.state.owns_addresses:
            return self._meet(now, header)
        if self.state in {State.INIT, State.FAULT}:
            return []
        if self._is_stale(header):
            self._due = None
            return []
        if self._stopping:
            return self._leave(now)
        if self.master != header.sender or self.state is not State.BACKUP:
            self._follow(now, header)
        self._due = None
        self._plan_transfer(now, header)
        return []

    def _follow(self, now: MonoNs, master: Header) -> None:
        lost = {RoleReason.HANDED_OVER, RoleReason.OUTRANKED}
        keep = self.state is State.BACKUP and self.reason in lost
        self._become(now, State.BACKUP, self.reason if keep else RoleReason.FOLLOWING)
        self.master = master.sender
        self._transfer_due = None

    def _is_stale(self, header: Header) -> bool:
        # While two masters settle, follow the one that will win.
        known = self._membership.voters(self.group.id).get(self.master or NodeId(0))
        if known is None or known.sender == header.sender or not known.state.owns_addresses:
            return False
        return known.rank > header.rank

    def _meet(self, now: MonoNs, header: Header) -> list[Say]:
        if header.rank > self.rank:
            self._due = self._successor = None
            if self._stopping:
                return self._leave(now)
            self._become(now, State.BACKUP, RoleReason.OUTRANKED)
            self.master = header.sender
            return []
        if (meeting := (header.sender, header.term)) == self._met:
            return []
        # Rank decides, not the term: an agent that flaps alone cannot win by counting up.
        # Even a master of a lower term has told the neighbours that the addresses are its.
        self._met = meeting
        self.term = Term(max(self.term, header.term) + 1)
        return [Say(Coordinator(ballot=self._ballot))]

    def _heard_goodbye(self, now: MonoNs, header: Header) -> list[Say]:
        if header.sender == self._successor and self.state is State.RESIGNING:
            return self._abort(now)
        if header.sender == self.master:
            return self._master_lost(now, RoleReason.MASTER_LEFT)
        return []

    # Planned handover.

    def _plan_transfer(self, now: MonoNs, master: Header) -> None:
        wanted = self.group.preempt is not Preempt.NEVER and self.rank > master.rank
        if not wanted or not self.electable:
            self._transfer_due = None
        elif self._transfer_due is None:
            after = self.group.preempt is Preempt.AFTER
            delay = self.group.preempt_after if after else DurationNs(0)
            self._transfer_due = later(now, delay)

    def _ask_transfer(self, now: MonoNs) -> list[Say]:
        self._transfer_due = later(now, TRANSFER_INTERVAL)
        if self.state is not State.BACKUP or self.master is None:
            self._transfer_due = None
            return []
        call = Call(
            kind=ElectionKind.TRANSFER, ballot=self._ballot, proposed_term=self._next_term()
        )
        return [Say(call, to=self.master)]

    def _heard_transfer(self, now: MonoNs, header: Header) -> list[Say]:
        if self.state is State.MASTER and header.electable and header.rank > self.rank:
            return self._prepare(now, header.sender)
        return []

    def _prepare(self, now: MonoNs, successor: NodeId) -> list[Say]:
        self._become(now, State.RESIGNING, RoleReason.HANDED_OVER)
        self._successor = successor
        self._due = later(now, PREPARE_TIMEOUT)
        return [self._resign(ResignPhase.PREPARE, successor)]

    def _abort(self, now: MonoNs) -> list[Say]:
        successor, self._successor = self._successor, None
        assert successor is not None
        if self._stopping:
            return self._leave(now)
        self._standing_for = RoleReason.HANDOVER_FAILED
        return [self._resign(ResignPhase.ABORT, successor), *self._rule(now)]

    def _heard_resign(self, now: MonoNs, header: Header, resign: Resign) -> list[Say]:
        match resign.phase:
            case ResignPhase.PREPARE if resign.successor == self._node and self.electable:
                ready = Resign(phase=ResignPhase.READY, ballot=resign.ballot, successor=self._node)
                return [Say(ready, to=header.sender)]
            case ResignPhase.READY if self._waits_for(header.sender, resign.ballot):
                return self._commit(now, header.sender)
            case ResignPhase.COMMIT if header.sender == self.master:
                return self._succeed(now, resign.successor)
            case _:
                return []

    def _waits_for(self, node: NodeId, ballot: Ballot) -> bool:
        waiting = self.state is State.RESIGNING and node == self._successor
        return waiting and ballot == self._ballot

    def _commit(self, now: MonoNs, successor: NodeId) -> list[Say]:
        self._become(now, State.BACKUP, RoleReason.HANDED_OVER)
        self._await_coordinator(now)
        self._successor = None
        return [self._resign(ResignPhase.COMMIT, successor)]

    def _succeed(self, now: MonoNs, successor: NodeId) -> list[Say]:
        if self.state is not State.BACKUP:
            return []
        if successor == self._node and self.electable:
            self._standing_for = RoleReason.HANDOVER
            self._draw_ballot()
            return self._win(now)
        self._await_coordinator(now)
        return []

    def _await_coordinator(self, now: MonoNs) -> None:
        self.master = None
        self._transfer_due = None
        self._standing_for = RoleReason.MASTER_LEFT
        self._due = later(now, COMMIT_TIMEOUT)

    def _resign(self, phase: ResignPhase, successor: NodeId) -> Say:
        return Say(Resign(phase=phase, ballot=self._ballot, successor=successor))

    # Changes of state.

    def _listen(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        self._become(now, State.LISTEN, reason)
        self.master = self._transfer_due = self._successor = None
        self._due = later(now, self._timing.listen)
        return []

    def _fail(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        was_in = self.state not in {State.INIT, State.FAULT}
        self._become(now, State.FAULT, reason)
        self.master = self._due = self._transfer_due = self._successor = None
        return [Say(Goodbye(reason=reason))] if was_in else []

    def _leave(self, now: MonoNs) -> list[Say]:
        self._stopping = True
        # Also where nothing was held: the peers need not wait to find us gone.
        return self._fail(now, RoleReason.STOPPING) or [Say(Goodbye(reason=RoleReason.STOPPING))]

    def _become(self, now: MonoNs, state: State, reason: RoleReason) -> None:
        if self.state is not state:
            self.since = now
        self.state = state
        self.reason = reason
