"""The election of one group's master: a bully election in best-effort mode.

Feed it what happens; each method returns what to say, and :attr:`Election.state` is the
role to hold from then on.  A candidate asks every living agent whether it would grant, and
then to grant; a better one objects and stands itself, one that still hears the master
objects, the others grant.  Who does not answer in time is not waited for.  Planned moves go
by RESIGN: the old master lets go before the new one takes hold.

What this module does not do: judge who is alive (``membership``), touch an address or
order releases and words (``ownership``, ``agent``).

Source: Garcia-Molina 1982; protocol.md 3.
"""

from dataclasses import dataclass
from random import Random
from typing import assert_never

from haagent.core.actions import Tenure
from haagent.core.candidacy import Candidacy
from haagent.core.identity import (
    HEALTHY,
    NOT_ELECTABLE,
    Ballot,
    BootId,
    NodeId,
    Priority,
    Rank,
    Term,
)
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
    ProbeRequest,
    ProbeResult,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.core.preemption import Preemption
from haagent.core.settings import Detection, GroupSettings, HeartbeatSettings, Preempt
from haagent.core.units import DurationNs, MonoNs, between, earliest, later, milliseconds, seconds

PREPARE_TIMEOUT = seconds(2)
"""How long a successor may take to get ready."""

COMMIT_TIMEOUT = milliseconds(250)
"""How long the old master waits for the new one's victory before anybody may stand again."""

FIRST_REPORTS = seconds(10)
"""How long an agent waits for checks that have not reported yet before it stands without them."""

DRAIN_PAUSE = seconds(5)
"""How long to wait before a handover for maintenance is tried again."""

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
        self._candidacy = Candidacy(node, boot)
        self._preemption = Preemption()
        self._successor: NodeId | None = None
        self._declined: NodeId | None = None
        """Who last did not get ready to take over for maintenance."""
        self._met: tuple[NodeId, Term] | None = None
        """The mastership that we last asserted ours against."""
        self._stopping = False
        self.tenure = tenure
        """The mastership that the process before this one has left to us."""
        self.mute = False
        """Whether nothing that we say leaves this host."""
        self._released = False
        """Whether a check forbids this agent to take part."""
        self._health = HEALTHY
        """Less for each check that demotes this agent, however many: never 0."""
        self._unjudged = bool(group.checks)
        """Whether this agent waits for the first report of a check."""
        self._judged_by: MonoNs | None = None
        """When it waits no longer; None before it first listens."""
        self.maintenance = False
        """Whether this agent is to be kept out, and hands over what it is master of."""
        self.paused = False
        """Whether this agent may become master by a planned handover only."""
        self._master_paused = False
        """Whether the last master had nobody take over from it."""
        self.chosen: int | None = None
        """Of a master that an operator chose before a better one: the best health since then."""
        self._chooses = False
        """Whether the handover that is under way is as an operator wants it."""
        self._invited: Ballot | None = None
        """The mastership whose end an operator wants, with this agent as its successor."""
        self.restarting = False
        """Whether the next process of this agent is to go on with this mastership."""
        self._due: MonoNs | None = None
        """End of the wait that the state is in."""
        self._prolonged = False
        """Whether that wait was over once, and prolonged because this agent had slept."""

    @property
    def priority(self) -> Priority:
        """The effective priority: 0 while this agent may not be master."""
        return self.group.priority if self.electable else NOT_ELECTABLE

    @property
    def health(self) -> int:
        """The effective health: 0 while this agent may not be master."""
        return self._health if self.electable else 0

    @property
    def electable(self) -> bool:
        out = {State.INIT, State.LISTEN, State.FAULT}
        kept_out = self._stopping or self.maintenance or self._unjudged
        return self.state not in out and not kept_out

    @property
    def wants_out(self) -> bool:
        """Whether this agent, when master, hands over as soon as somebody can take over."""
        # Whom an operator chose although it was demoted stays, until it gets worse.
        demoted = self._health < (HEALTHY if self.chosen is None else self.chosen)
        return self.maintenance or (demoted and not self.paused)

    @property
    def marks_choice(self) -> bool:
        """Whether the others are to know that an operator chose the master, or its successor."""
        return self._chooses if self.state is State.RESIGNING else self.chosen is not None

    @property
    def shown_state(self) -> State:
        """The state as others see it: a backup whose master has not answered at once suspects."""
        master = None if self.master is None else self._membership.get(self.master)
        if self.state is not State.BACKUP or master is None or not master.alive:
            return self.state
        suspicion = master.detector.suspicion
        return State.SUSPECT if suspicion is not None and suspicion.rounds > 1 else State.BACKUP

    @property
    def shown_reason(self) -> RoleReason:
        """The reason as others see it."""
        if self.maintenance and self.state is State.BACKUP:
            return RoleReason.MAINTENANCE
        if self.chosen is not None and self.reason is RoleReason.RESTARTED:
            return RoleReason.CHOSEN
        return self.reason

    @property
    def interval(self) -> DurationNs:
        """How often this agent promises to be heard of in this group.

        More often while anything is about to change, so that the others learn of it early.
        """
        match self.shown_state:
            case State.SUSPECT | State.CANDIDATE | State.RESIGNING:
                return self._timing.fast_interval
            case State.BACKUP | State.FAULT:
                return self._timing.backup_interval
            case _:
                return self._timing.interval

    @property
    def promise(self) -> DurationNs:
        """How soon this agent says that it will be heard of again in this group."""
        return self._timing.restart_interval if self.restarting else self.interval

    def slowest(self, promise: DurationNs) -> DurationNs:
        """What silence is counted by: a short interval for the moment makes nobody dead sooner."""
        return max(promise, self._timing.interval)

    @property
    def listens_until(self) -> MonoNs | None:
        """When this agent stands if it has heard no master; None when it does not listen."""
        return self._due if self.state is State.LISTEN else None

    @property
    def rank(self) -> Rank:
        return Rank(self.health, self.priority, self._node)

    @property
    def holds_back(self) -> bool:
        """Whether the group has no master, and this agent does not stand because it may not."""
        waits = self.state is State.BACKUP and self.master is None and self._due is None
        return waits and self._is_held

    @property
    def preempts_at(self) -> MonoNs | None:
        """When to ask a lesser master for a handover."""
        return self._preemption.due

    @property
    def ballot(self) -> Ballot:
        """Of our newest candidacy; as master, of our mastership."""
        return self._candidacy.ballot

    @property
    def answers(self) -> tuple[str, ...]:
        """What the others answered to our newest candidacy."""
        return tuple(self._candidacy.answers)

    @property
    def stopping(self) -> bool:
        """Whether this agent leaves the group for good, or has left it."""
        return self._stopping

    @property
    def stopped(self) -> bool:
        """Whether this agent has left the group for good."""
        return self._stopping and self.state is State.FAULT

    @property
    def _is_held(self) -> bool:
        """Whether this agent may not stand, as an operator wants it."""
        return self.paused or self.maintenance or self._master_paused

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due; while this agent wants out it is with every step."""
        return earliest(self._due, self._preemption.due)

    def reconfigure(self, group: GroupSettings) -> None:
        """Go on with another priority or preemption; a handover is planned anew."""
        self.group = group
        self._preemption.cancel()

    # What happens to this agent itself.

    def link_changed(self, now: MonoNs, *, up: bool) -> list[Say]:
        """Take part while the interface of the group is up, and only then."""
        if self._stopping and self.state is State.FAULT:
            return []
        if not up:
            return self._fail(now, RoleReason.LINK_DOWN)
        if self._released:
            return self._fail(now, RoleReason.CHECK_FAILED)
        if self.state is State.INIT and self.tenure is not None and now < self.tenure.until:
            return self._go_on(now, self.tenure)
        if self.state in {State.INIT, State.FAULT}:
            return self._listen(now, RoleReason.STARTING)
        return []

    def set_health(
        self, now: MonoNs, *, released: bool, demoted_by: int, judged: bool = True
    ) -> list[Say]:
        """Take in what the checks of the group have found.

        ``released``: give up, and stay out.  ``demoted_by``: of so many checks each is a reason to
        rank below every agent that has fewer; a master then hands over to such a one.
        ``judged``: every check has reported; until then only who is master already may be it.
        """
        self._set_judged(now, judged=judged)
        self._health = max(1, HEALTHY - demoted_by)
        if self.chosen is not None:
            self.chosen = max(self.chosen, self._health)
        self._released = released
        if self._must_let_go:
            return self._leave(now) if self._stopping else self._fail(now, RoleReason.CHECK_FAILED)
        kept_out = self.state is State.FAULT and self.reason is RoleReason.CHECK_FAILED
        if kept_out and not released and not self._stopping:
            return self._listen(now, RoleReason.STARTING)
        return self.tick(now)

    @property
    def _must_let_go(self) -> bool:
        """Whether a check takes this agent out now; an operator who pauses it wants no move."""
        held = self.paused and self.state.owns_addresses
        return self._released and not held and self.state not in {State.INIT, State.FAULT}

    def _set_judged(self, now: MonoNs, *, judged: bool) -> None:
        waited, self._unjudged = self._unjudged, not judged and not self.state.owns_addresses
        if waited and not self._unjudged and self._due is not None:
            # Of the ends that it may wait for, the one that is over.
            self._due = now if self._due == self._judged_by else self._due
        if self._unjudged and not waited:
            self._judged_by = later(now, FIRST_REPORTS)

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
        successors = self._successors()
        if self.state is State.MASTER and successors:
            return self._prepare(now, successors[0])
        if self.state is State.RESIGNING:
            return []
        return self._leave(now)

    def steer(self, now: MonoNs, *, maintenance: bool, paused: bool) -> list[Say]:
        """Keep out, and hand over; or keep things as they are; as the operator wants it."""
        self.maintenance, self.paused = maintenance, paused
        self._master_paused &= paused
        if self._must_let_go and not self._stopping:
            return self._fail(now, RoleReason.CHECK_FAILED)
        if self.state is State.CANDIDATE and self._is_held:
            self._become(now, State.BACKUP, RoleReason.GAVE_WAY)
            self._due = None
        waits = self.state is State.BACKUP and self.master is None and self._due is None
        if waits and not self._is_held:
            self._due = now
        return self.tick(now)

    def fail_over(self, now: MonoNs, to: NodeId) -> list[Say]:
        """Hand over to ``to``, as the operator wants it, if this is the master and that one can."""
        able = self._membership.better(self.group.id, Rank(0, NOT_ELECTABLE, NodeId(0)))
        if self.state is not State.MASTER or to not in able:
            return []
        says = self._prepare(now, to)
        self._chooses = True
        return says

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
        return [Say(Coordinator(ballot=self._candidacy.ballot))]

    def _heard_body(self, now: MonoNs, header: Header, body: Body) -> list[Say]:
        match body:
            case (
                Heartbeat() | Probe() | ProbeAck() | ProbeRequest() | ProbeResult() | Coordinator()
            ):
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
        if self._preemption.due is not None and now >= self._preemption.due:
            return self._ask_transfer(now)
        return self._drain(now)

    def _wait_over(self, now: MonoNs) -> list[Say]:
        match self.state:
            case State.LISTEN | State.BACKUP:
                return self._stand(now)
            case State.CANDIDATE:
                return self._next_round(now)
            case State.RESIGNING:
                return self._abort(now)
            case State.FAULT if not self._stopping and self.reason is not RoleReason.LINK_DOWN:
                return self.link_changed(now, up=True)
            case State.FAULT | State.INIT | State.MASTER | State.SUSPECT:
                return []
            case _:
                assert_never(self.state)

    # Standing for master.

    def _master_lost(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        self.master = None
        self._preemption.cancel()
        if self.state is not State.BACKUP:
            return []
        for header in self._membership.voters(self.group.id).values():
            if header.state is State.MASTER:
                return self._heard_master(now, header)
        position = len(self._membership.better(self.group.id, self.rank))
        self._candidacy.reason = reason
        self._due = later(now, DurationNs(position * self._timing.stagger))
        return self._wait_over_now(now)

    def _wait_over_now(self, now: MonoNs) -> list[Say]:
        # The best backup does not even wait for the next turn of the loop.
        return self.tick(now) if self._due is not None and self._due <= now else []

    def _stand(self, now: MonoNs) -> list[Say]:
        if self.state is State.LISTEN:
            self._candidacy.reason = RoleReason.NO_MASTER
        if self._stopping:
            return self._leave(now)
        if self.mute:
            return self._fail(now, RoleReason.NO_PATH)
        self.master = None
        self._preemption.cancel()
        if self._is_held:
            self._become(now, State.BACKUP, self.reason)
            return []
        if self._awaits_reports(now):
            self._become(now, State.BACKUP, RoleReason.UNCHECKED)
            return []
        self._candidacy.begin()
        if not self._may_answer():
            return self._win(now)
        self._become(now, State.CANDIDATE, self._candidacy.reason)
        return self._ask(now, ElectionKind.PRE)

    def _awaits_reports(self, now: MonoNs) -> bool:
        if self._unjudged and self._judged_by is not None and now < self._judged_by:
            self._due = self._judged_by
            return True
        self._unjudged = False  # A check that hangs is not to leave the group without a master.
        return False

    def _may_answer(self) -> bool:
        # Whoever was probed five times need not be asked once more.  A fixed timeout has asked
        # nobody: three lost heartbeats in a row are not rare at 10 % loss, three lost round
        # trips are.
        if self._timing.detection is Detection.FIXED:
            return bool(self._membership.peers())
        return bool(self._voters())

    def _ask(self, now: MonoNs, kind: ElectionKind) -> list[Say]:
        self._due = later(now, self._timing.answer_timeout)
        return [Say(self._candidacy.ask(kind, self._next_term()))]

    def _next_round(self, now: MonoNs) -> list[Say]:
        # Whoever has not answered the first question need not be asked the second.
        if self._candidacy.kind is ElectionKind.PRE and not self._candidacy.has_none:
            return self._ask(now, ElectionKind.VOTE)
        return self._win(now)

    def _win(self, now: MonoNs) -> list[Say]:
        self.term = self._next_term()
        return self._rule(now)

    def _rule(self, now: MonoNs) -> list[Say]:
        self._become(now, State.MASTER, self._candidacy.reason)
        self.master = self._node
        # From now on this agent's own word counts.
        self._master_paused = False
        self._due = self._successor = None
        self._preemption.cancel()
        return [Say(Coordinator(ballot=self._candidacy.ballot))]

    def _go_on(self, now: MonoNs, tenure: Tenure) -> list[Say]:
        # Under the same term: to everybody else it is the same mastership.
        self.term = tenure.term
        self._candidacy.reason = RoleReason.RESTARTED
        self._unjudged = False  # The checks were known to pass a moment ago.
        self._candidacy.begin()
        says = self._rule(now)
        self.chosen = tenure.chosen
        return says

    def _name(self, node: NodeId) -> str:
        peer = self._membership.get(node)
        return f"{node:016x}" if peer is None else peer.name

    def _voters(self) -> set[NodeId]:
        return set(self._membership.voters(self.group.id))

    def _next_term(self) -> Term:
        return Term(self.term + 1)

    def _heard_answer(self, now: MonoNs, header: Header, answer: Answer) -> list[Say]:
        if self.state is not State.CANDIDATE or answer.ballot != self._candidacy.ballot:
            return []
        if answer.objection is None or self._may_ignore(answer.objection):
            self._candidacy.granted(header.sender, self._name(header.sender))
            # What is granted after the wait was granted before what else waits unread.
            in_time = self._due is not None and now <= self._due and not self._prolonged
            all_granted = in_time and self._candidacy.has(self._voters())
            return self._next_round(now) if all_granted else []
        self._candidacy.objected(self._name(header.sender), answer.objection.code.text)
        self.term = max(self.term, answer.objection.term)
        self._become(now, State.BACKUP, RoleReason.GAVE_WAY)
        self._due = later(now, self._back_off(answer.objection))
        return []

    def _may_ignore(self, objection: Objection) -> bool:
        # A better agent that has just started is worth waiting for when all start
        # together, but not when a group has lost its master.
        not_ready = objection.code is ObjectionCode.NOT_READY
        return not_ready and self._candidacy.reason is not RoleReason.NO_MASTER

    def _back_off(self, objection: Objection) -> DurationNs:
        match objection.code:
            case ObjectionCode.RANK:
                return DurationNs(3 * self._timing.answer_timeout)
            case ObjectionCode.TERM:
                return DurationNs(self._random.randrange(self._timing.answer_timeout))
            case ObjectionCode.ALIVE if self._candidacy.reason is RoleReason.MASTER_DIED:
                # Told by a connection; the other one will be told as soon.
                return self._timing.answer_timeout
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
        if self._knows_master(now) and self.master != header.sender:
            return self._objection(ObjectionCode.ALIVE, self._timing.late)
        if self.paused or self._master_paused:
            return self._objection(ObjectionCode.PAUSED, self._timing.listen)
        if self.electable and self.rank > candidate:
            return self._objection(ObjectionCode.RANK, self._timing.answer_timeout)
        own = Rank(self._health, self.group.priority, self._node)
        if self.state is State.LISTEN and self._due is not None and own > candidate:
            return self._objection(ObjectionCode.NOT_READY, between(now, self._due))
        if call.proposed_term <= self.term:
            return self._objection(ObjectionCode.TERM, self._timing.answer_timeout)
        return None

    def _knows_master(self, now: MonoNs) -> bool:
        # Who hears the master, or sees its host answer, knows that its fence may be open: the
        # veto against a claim of one that does not.
        if self.state.owns_addresses:
            return True
        peer = None if self.master is None else self._membership.get(self.master)
        return peer is not None and self.group.id in peer.views and peer.vouched_for(now)

    def _objection(self, code: ObjectionCode, remaining: DurationNs) -> Objection:
        remaining_ms = max(0, -(-remaining // 1_000_000))
        return Objection(code=code, remaining_ms=remaining_ms, term=self.term)

    def _stand_now(self, now: MonoNs) -> list[Say]:
        if self.state is not State.BACKUP:
            return []
        if self.master is not None:
            self._candidacy.reason = RoleReason.MASTER_SILENT
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
        self._master_paused = header.paused
        self._plan_transfer(now, header)
        return []

    def _follow(self, now: MonoNs, master: Header) -> None:
        lost = {RoleReason.HANDED_OVER, RoleReason.OUTRANKED, RoleReason.UNHEARD}
        keep = self.state is State.BACKUP and self.reason in lost
        self._become(now, State.BACKUP, self.reason if keep else RoleReason.FOLLOWING)
        self.master = master.sender
        self._preemption.cancel()

    def _is_stale(self, header: Header) -> bool:
        # While two masters settle, follow the one that will win.
        if header.sender == self.master:
            return False
        known = self._membership.voters(self.group.id).get(self.master or NodeId(0))
        if known is None or not known.state.owns_addresses:
            return False
        return known.rank > header.rank

    def _meet(self, now: MonoNs, header: Header) -> list[Say]:
        if header.rank > self.rank:
            return self._step_down(now, header, RoleReason.OUTRANKED)
        if self._is_unheard(now, header):
            return self._step_down(now, header, RoleReason.UNHEARD)
        if (meeting := (header.sender, header.term)) == self._met:
            return []
        # Rank decides, not the term: an agent that flaps alone cannot win by counting up.
        # Even a master of a lower term has told the neighbours that the addresses are its.
        self._met = meeting
        self.term = Term(max(self.term, header.term) + 1)
        return [Say(Coordinator(ballot=self._candidacy.ballot))]

    def _step_down(self, now: MonoNs, header: Header, reason: RoleReason) -> list[Say]:
        self._due = self._successor = None
        if self._stopping:
            return self._leave(now)
        self._become(now, State.BACKUP, reason)
        self.master = header.sender
        return []

    def _is_unheard(self, now: MonoNs, header: Header) -> bool:
        """Return whether a lesser master has had the time to hear us, and does not.

        It will never give way: of the two, only this agent knows that there are two.
        """
        peer = self._membership.get(header.sender)
        since = None if peer is None else peer.deaf_since
        return since is not None and between(since, now) >= self._timing.takeover

    def _heard_goodbye(self, now: MonoNs, header: Header) -> list[Say]:
        if header.sender == self._successor and self.state is State.RESIGNING:
            return self._abort(now)
        if header.sender == self.master:
            return self._master_lost(now, RoleReason.MASTER_LEFT)
        return []

    # Planned handover.

    def _plan_transfer(self, now: MonoNs, master: Header) -> None:
        if self._wants_handover(now, master):
            self._preemption.plan(now, self.group)
        else:
            self._preemption.cancel()

    def _wants_handover(self, now: MonoNs, master: Header) -> bool:
        if self.group.preempt is Preempt.NEVER or self.rank <= master.rank:
            return False
        peer = self._membership.get(master.sender)
        hears_us = peer is not None and not peer.is_deaf(now)
        held = self.paused or master.paused or master.chosen
        return self.electable and hears_us and not held

    def _ask_transfer(self, now: MonoNs) -> list[Say]:
        self._preemption.ask_again(now)
        if self.state is not State.BACKUP or self.master is None:
            self._preemption.cancel()
            return []
        call = Call(
            kind=ElectionKind.TRANSFER,
            ballot=self._candidacy.ballot,
            proposed_term=self._next_term(),
        )
        return [Say(call, to=self.master)]

    def _heard_transfer(self, now: MonoNs, header: Header) -> list[Say]:
        if self.state is not State.MASTER or self.chosen is not None:
            return []
        if header.electable and header.rank > self.rank:
            return self._prepare(now, header.sender)
        return []

    def _drain(self, now: MonoNs) -> list[Say]:
        """Hand over as soon as somebody can take what this agent is not to keep."""
        waits = self._stopping or self._due is not None
        if self.state is not State.MASTER or not self.wants_out or waits:
            return []
        successors = self._successors()
        # One that did not get ready is asked again only if there is no other.
        successors.sort(key=lambda node: node == self._declined)
        return self._prepare(now, successors[0]) if successors else []

    def _successors(self) -> list[NodeId]:
        """Return to whom this agent could hand over, the best first.

        Demotion alone moves nothing to an agent that is no better off.
        """
        leaves = self.maintenance or self._stopping
        least = 0 if leaves else self._health + 1
        return self._membership.better(self.group.id, Rank(least, NOT_ELECTABLE, NodeId(0)))

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
        self._candidacy.reason = RoleReason.HANDOVER_FAILED
        says = [self._resign(ResignPhase.ABORT, successor), *self._rule(now)]
        if self.wants_out:
            self._declined, self._due = successor, later(now, DRAIN_PAUSE)
        return says

    def _heard_resign(self, now: MonoNs, header: Header, resign: Resign) -> list[Say]:
        match resign.phase:
            case ResignPhase.PREPARE if resign.successor == self._node and self.electable:
                self._invited = resign.ballot if header.chosen else None
                ready = Resign(phase=ResignPhase.READY, ballot=resign.ballot, successor=self._node)
                return [Say(ready, to=header.sender)]
            case ResignPhase.READY if self._waits_for(header.sender, resign.ballot):
                return self._commit(now, header.sender)
            case ResignPhase.COMMIT if header.sender == self.master:
                return self._succeed(now, resign)
            case _:
                return []

    def _waits_for(self, node: NodeId, ballot: Ballot) -> bool:
        waiting = self.state is State.RESIGNING and node == self._successor
        return waiting and ballot == self._candidacy.ballot

    def _commit(self, now: MonoNs, successor: NodeId) -> list[Say]:
        self._become(now, State.BACKUP, RoleReason.HANDED_OVER)
        self._await_coordinator(now)
        self._successor = None
        return [self._resign(ResignPhase.COMMIT, successor)]

    def _succeed(self, now: MonoNs, resign: Resign) -> list[Say]:
        if self.state is not State.BACKUP:
            return []
        if resign.successor == self._node and self.electable:
            # The best one needs no protection: a failover back ends the operator's word.
            chosen = resign.ballot == self._invited and self._is_second_choice
            self._candidacy.reason = RoleReason.CHOSEN if chosen else RoleReason.HANDOVER
            self._candidacy.begin()
            says = self._win(now)
            self.chosen = self._health if chosen else None
            return says
        self._await_coordinator(now)
        return []

    @property
    def _is_second_choice(self) -> bool:
        """Whether a living agent is preferred to this one by the files, be it well or not."""
        voters = self._membership.voters(self.group.id).values()
        ours = (self.group.priority, self._node)
        return any((each.base_priority, each.sender) > ours for each in voters)

    def _await_coordinator(self, now: MonoNs) -> None:
        self.master = None
        self._preemption.cancel()
        self._candidacy.reason = RoleReason.MASTER_LEFT
        self._due = later(now, COMMIT_TIMEOUT)

    def _resign(self, phase: ResignPhase, successor: NodeId) -> Say:
        return Say(Resign(phase=phase, ballot=self._candidacy.ballot, successor=successor))

    # Changes of state.

    def _listen(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        self._become(now, State.LISTEN, reason)
        self.master = self._successor = None
        self._preemption.cancel()
        self._due = later(now, self._timing.listen)
        if self._unjudged and self._judged_by is None:
            self._judged_by = later(now, FIRST_REPORTS)
        return []

    def _fail(self, now: MonoNs, reason: RoleReason) -> list[Say]:
        was_in = self.state not in {State.INIT, State.FAULT}
        self._become(now, State.FAULT, reason)
        self.master = self._due = self._successor = None
        self._preemption.cancel()
        return [Say(Goodbye(reason=reason))] if was_in else []

    def _leave(self, now: MonoNs) -> list[Say]:
        self._stopping = True
        # Also where nothing was held: the peers need not wait to find us gone.
        return self._fail(now, RoleReason.STOPPING) or [Say(Goodbye(reason=RoleReason.STOPPING))]

    def _become(self, now: MonoNs, state: State, reason: RoleReason) -> None:
        if self.state is not state:
            self.since = now
            if self.state.owns_addresses and not state.owns_addresses:
                demoted = reason is RoleReason.HANDED_OVER and self._health < HEALTHY
                self._preemption.lost(now, RoleReason.CHECK_FAILED if demoted else reason)
        self._chooses &= state is State.RESIGNING
        if not state.owns_addresses:
            self.chosen = None
        self.state = state
        self.reason = reason
