"""One group on this agent: its election leads, its ownership follows, its words go out.

Order of what follows from a change of role: release, then say; claim, then say, then
announce (an address is announced when the kernel confirms it).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Concatenate, ParamSpec

from haagent.core.actions import Action, AskAddress, CancelHook, ReserveTerm, Severity
from haagent.core.checks import CheckSettings
from haagent.core.election import Election, Say
from haagent.core.events import CheckReported, HookEnded, Steered
from haagent.core.group_hooks import GroupHooks
from haagent.core.health import Health
from haagent.core.hooks import Hooks
from haagent.core.identity import NO_TERM, NodeId, Term
from haagent.core.journal import Journal
from haagent.core.membership import Membership
from haagent.core.messages import Heartbeat, RoleReason, State
from haagent.core.outbox import Outbox
from haagent.core.ownership import Ownership
from haagent.core.settings import (
    AgentSettings,
    GroupSettings,
    HeartbeatSettings,
    IPAddress,
    OnFail,
    Preempt,
)
from haagent.core.units import (
    DurationNs,
    Moment,
    MonoNs,
    between,
    earliest,
    later,
    milliseconds,
    seconds,
)

P = ParamSpec("P")

ANNOUNCEMENTS = 3
"""Heartbeats that promise a longer interval before it applies, because two may be lost."""

ASK_BEFORE = milliseconds(60)
"""How long before the end of listening the link is asked who has the addresses."""

TERMS_RESERVED = 8
"""Terms written to disk ahead of use, so that a slow disk never delays a takeover."""

RESERVE_RETRY = seconds(5)
"""When a disk that took no terms is tried again."""


class Group:
    """See the module docstring."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        group: GroupSettings,
        election: Election,
        membership: Membership,
        journal: Journal,
        outbox: Outbox,
        hooks: Hooks,
    ) -> None:
        self.settings = group
        self.election = election
        self.ownership = Ownership(group, journal)
        self.hooks = GroupHooks(
            node=settings.node,
            group=group,
            election=election,
            hooks=hooks,
            membership=membership,
        )
        self.health = Health(group, journal)
        self.config_hash = config_hash(settings.heartbeat, group)
        self._node_name = settings.node
        self._membership = membership
        self._journal = journal
        self._outbox = outbox
        self._timing = settings.heartbeat
        self._heartbeat_due: MonoNs | None = None
        self._pace = election.interval
        """How often heartbeats are sent now: as promised, or oftener."""
        self._announced = 0
        """Heartbeats that have promised a longer interval than the pace."""
        self.due: MonoNs | None = None
        """When :meth:`tick` is due, as of its last call."""
        self._held = False
        self._master: NodeId | None = None
        """The last master, as it was told."""
        self.cause: int | None = None
        """Number of the record that the next change of master follows from."""
        self.changes: Counter[tuple[State, RoleReason]] = Counter()
        """How often this agent has come into each state for each reason."""
        self._asked_for: MonoNs | None = None
        """The end of listening before which we have asked for the addresses."""
        self._reserved = NO_TERM
        self._reserve_due: MonoNs | None = None

    def lead(
        self,
        now: Moment,
        change: Callable[Concatenate[Election, MonoNs, P], list[Say]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> list[Action]:
        """Let ``change`` happen to the election; return what follows from it, in order."""
        election = self.election
        state, term = election.state, election.term
        says = change(election, now.mono, *args, **kwargs)
        if election.state is not state:
            self._role_changed(now, state)
        if election.master != self._master:
            self._notice_master(now)
        if election.holds_back is not self._held:
            self._notice_hold(now)
        words: list[Action] = []
        for say in says:
            words += self._outbox.say(now, election, say)
        match state.owns_addresses, election.state.owns_addresses:
            case True, False:
                # Release first: a peer may act on our word at once, and then two hosts answer.
                words = [*self.hooks.cancel(), *self.ownership.let_go(election.term), *words]
            case False, True:
                words = [*self._take(now), *words]
            case True, True if election.term != term:
                words += self.ownership.renew(now, election.term)
            case _:
                pass
        if election.state is not state or election.stopping:
            self.hooks.notice_role(now)
        return [*words, *self._reserve(now)]

    def hook_ended(self, now: Moment, event: HookEnded) -> list[Action]:
        """Take in that a hook has ended: the addresses may have waited for it."""
        return self._go_on(now, self.hooks.ended(event))

    def reconfigure(self, now: Moment, group: GroupSettings) -> list[Action]:
        """Go on with ``group``; the peers hear of it at once."""
        self._journal.record(now, "config.applied", news(self.settings, group), group=group.name)
        self.settings = self.hooks.settings = group
        self.config_hash = config_hash(self._timing, group)
        self.election.reconfigure(group)
        self.health.reconfigure(now, group)
        self._heartbeat_due = now.mono
        return [*self.ownership.reconfigure(now, group), *self._heed_health(now)]

    def check_reported(self, now: Moment, event: CheckReported) -> list[Action]:
        """Take in what a check has come to; the peers hear of what follows at once."""
        number = self.health.reported(now, event)
        state, cause = self.election.state, self.cause
        self.cause = cause if number is None else number
        actions = self._heed_health(now)
        if self.election.state is state:
            self.cause = cause  # It explains no later change.
        return actions if number is None else [*actions, *self.beat(now)]

    def steer(self, now: Moment, steered: Steered) -> list[Action]:
        """Go by what an operator wants of this agent."""
        return self.lead(
            now, Election.steer, maintenance=steered.maintenance, paused=steered.paused
        )

    def leave(self, now: Moment) -> list[Action]:
        """Go for good: hand over, or give up, and say so; then release what is still here."""
        actions = self.lead(now, Election.stop)
        if self.election.stopped:
            self.health.leave(now)
            actions += self.ownership.reconfigure(now, replace(self.settings, addresses=()))
        return actions

    @property
    def left(self) -> bool:
        """Whether nothing is left of this group: not an address, not a word to be said again."""
        return (
            self.election.stopped
            and self.ownership.empty
            and not self._outbox.has_more_of(self.election)
        )

    def address_seen(self, now: Moment, address: IPAddress, mac: str) -> list[Action]:
        """Take in that another host showed an address as its own, be it one of this group."""
        if address not in {each.ip for each in self.settings.addresses}:
            return []
        # Before we have asked, its agent may only not have been heard yet.
        if self.election.listens_until is not None and self._asked_for is not None:
            text = f"{address} is in use by {mac}, whose agent is not heard; listens on"
            self._journal.record(
                now, "address.in_use", text, severity=Severity.WARNING, group=self.settings.name
            )
        actions = self.lead(now, Election.address_seen)
        return [*actions, *self.ownership.foreign(now, address, mac)]

    def tick(self, now: Moment) -> list[Action]:
        """Do what is due."""
        self.due = self._deadline()
        if (self.due is None or now.mono < self.due) and not self.election.wants_out:
            return []
        actions = self.lead(now, Election.tick)
        actions += self._wait_no_longer(now)
        actions += self.ownership.tick(now)
        if self.ownership.gives_up(now):
            actions += self.lead(now, Election.claim_failed)
        actions = [*actions, *self._ask(now), *self._beat(now), *self._reserve(now)]
        self.due = self._deadline()
        return actions

    def not_reserved(self, now: Moment) -> None:
        """Take in that terms could not be written."""
        self._reserve_due = later(now.mono, RESERVE_RETRY)

    def announce(self, now: Moment) -> list[Action]:
        """Tell the neighbours again who has the addresses, if we have.

        Where a peer is heard anew a partition may have ended, and beyond it another master,
        since gone, may have told them otherwise.
        """
        if not self.election.state.owns_addresses:
            return []
        return [*self.ownership.renew(now, self.election.term)]

    def beat(self, now: Moment) -> list[Action]:
        """Send a heartbeat now, and keep the addresses heard for as long as it allows.

        Who has not begun has nothing to say.
        """
        if self._heartbeat_due is not None:
            self._heartbeat_due = now.mono
        return self._beat(now)

    def hasten(self, now: Moment) -> None:
        """Send the next heartbeat now if from now on they are to come more often."""
        if self.election.interval < self._pace:
            self._heartbeat_due = now.mono

    def silent_for(self, now: Moment) -> DurationNs:
        """Return how long the peers of this master have missed its heartbeats; 0 when none."""
        if self._heartbeat_due is None or not self.election.state.owns_addresses:
            return DurationNs(0)
        return DurationNs(now.mono - self._heartbeat_due + self._pace)

    def _deadline(self) -> MonoNs | None:
        return earliest(
            self._heartbeat_due,
            self._ask_due,
            self._reserve_due,
            self.election.deadline(),
            self.hooks.due,
            self.ownership.deadline(),
        )

    @property
    def _ask_due(self) -> MonoNs | None:
        end = self.election.listens_until
        return None if end is None or end == self._asked_for else MonoNs(end - ASK_BEFORE)

    def _ask(self, now: Moment) -> list[Action]:
        # A master that restarts is not heard, but its addresses are.
        if self._ask_due is None or now.mono < self._ask_due:
            return []
        self._asked_for = self.election.listens_until
        return self.ask_for_addresses()

    def ask_for_addresses(self) -> list[Action]:
        """Return the question who on the link has the addresses."""
        interface = self.settings.interface
        return [AskAddress(interface=interface, address=a) for a in self.settings.addresses]

    def _take(self, now: Moment) -> list[Action]:
        election = self.election
        if election.reason is RoleReason.RESTARTED and election.tenure is not None:
            self.hooks.goes_on()
            return [*self.ownership.keep(now, election.term, election.tenure.until)]
        run = self.hooks.hold_up(now)
        if run is None:
            return [*self.ownership.take(now, election.term)]
        text = f"before_claim comes first, for {run.hook.timeout // 1_000_000} ms at most"
        self._journal.record(now, "claim.waits", text, group=self.settings.name, term=election.term)
        return [run]

    def _wait_no_longer(self, now: Moment) -> list[Action]:
        before = self.hooks.before_claim
        outcome = self.hooks.overdue(now)
        if outcome is None or before is None:
            return []
        return [CancelHook(before), *self._go_on(now, outcome)]

    def _go_on(self, now: Moment, outcome: OnFail | None) -> list[Action]:
        """Do what comes after ``before_claim``."""
        match outcome:
            case None:
                return []
            case OnFail.GIVE_WAY:
                return self.lead(now, Election.claim_failed)
            case OnFail.CLAIM:
                self.hooks.notice_role(now)
                return [*self.ownership.take(now, self.election.term)]

    def _heed_health(self, now: Moment) -> list[Action]:
        health = self.health
        return self.lead(
            now,
            Election.set_health,
            released=health.released,
            demoted_by=health.demoted_by,
            judged=health.judged,
        )

    def _role_changed(self, now: Moment, before: State) -> None:
        election = self.election
        self._heartbeat_due = now.mono
        self.changes[election.state, election.reason] += 1
        self.cause = self._journal.record(
            now,
            "role.changed",
            f"{before.name.lower()} -> {election.state.name.lower()}: {election.reason.text}",
            group=self.settings.name,
            term=election.term,
            cause=self.cause,
            evidence=election.answers if before is State.CANDIDATE else (),
        )
        if election.state is State.MASTER:
            self.cause = None  # What led here explains no later change.

    def _notice_hold(self, now: Moment) -> None:
        self._held = self.election.holds_back
        name = self.settings.name
        if self._held:
            text = f"{name} has no master, and this agent may not become it: paused or drained"
            self._journal.alarm(now, "group.held", name, text, severity=Severity.ERROR)
        else:
            self._journal.clear(now, "group.held", name)

    def _notice_master(self, now: Moment) -> None:
        master = self.election.master
        if master is None:
            return
        peer = self._membership.get(master)
        if peer is not None and peer.introduced:
            self._journal.record(
                now,
                "master.changed",
                f"{peer.name} is master",
                group=self.settings.name,
                term=self.election.term,
                cause=self.cause,
            )
            self.cause = None
        # Of ourselves the change of role tells, and who is not known by name will be.
        if peer is None or peer.introduced:
            self._master = master

    def _beat(self, now: Moment) -> list[Action]:
        if self._heartbeat_due is None or now.mono < self._heartbeat_due:
            return []
        wanted = self.election.interval
        # A shorter interval counts at once, a longer one when it has been announced.
        self._announced = self._announced + 1 if wanted > self._pace else 0
        if wanted < self._pace or self._announced > ANNOUNCEMENTS:
            self._pace, self._announced = wanted, 0
        # In rhythm, because the peers measure how late we are; unless it is lost anyway.
        in_rhythm = 0 <= between(self._heartbeat_due, now.mono) < self._pace // 2
        due = self._heartbeat_due if in_rhythm else now.mono
        self._heartbeat_due = later(due, self._pace)
        if self.election.stopped or self.election.reason is RoleReason.DUPLICATE_NODE:
            # After the goodbye there is nothing to promise; and two voices under one name
            # would confuse everybody else, so that ours stays silent.
            return []
        heartbeats = self._outbox.once(now, self.election, Say(self._heartbeat(now)))
        if self.election.mute or not self.election.state.owns_addresses:
            return [*heartbeats]
        return [*heartbeats, *self.ownership.vouch(later(now.mono, self._timing.lease))]

    def _heartbeat(self, now: Moment) -> Heartbeat:
        election = self.election
        return Heartbeat(
            name=self._node_name,
            reason=election.shown_reason,
            role_age_ms=between(election.since, now.mono) // 1_000_000,
            heard=tuple(peer.heard_entry(now.mono) for peer in self._membership.living()),
            config_hash=self.config_hash,
        )

    def _reserve(self, now: Moment) -> list[Action]:
        again = self._reserve_due is not None and self._reserve_due <= now.mono
        if self.election.term + TERMS_RESERVED // 2 > self._reserved:
            self._reserved = Term(self.election.term + TERMS_RESERVED)
        elif not again:
            return []
        self._reserve_due = None
        return [ReserveTerm(self.settings.id, self._reserved)]


def news(old: GroupSettings, new: GroupSettings) -> str:
    """Return what is in force now, and of the addresses and the checks what is new."""
    text = f"priority {new.priority}, preempt {new.preempt.value}"
    if new.preempt is Preempt.AFTER:
        text += f" {new.preempt_after // 1_000_000} ms"
    if new.interface != old.interface:
        text += f", on {new.interface} instead of {old.interface}"
    if new.hooks != old.hooks:
        text += ", other hooks"
    for word, these, those in (
        ("with", new.addresses, old.addresses),
        ("without", old.addresses, new.addresses),
    ):
        found = [str(address) for address in these if address not in those]
        text += f", {word} {', '.join(found)}" if found else ""
    for word, checks, others in (
        ("checks", new.checks, old.checks),
        ("no longer checks", old.checks, [*new.checks, *_renewed(old, new)]),
    ):
        names = [check.name for check in checks if check not in others]
        text += f", {word} {', '.join(names)}" if names else ""
    return text


def _renewed(old: GroupSettings, new: GroupSettings) -> list[CheckSettings]:
    """Return the checks that go on in another way."""
    names = {check.name for check in new.checks}
    return [check for check in old.checks if check.name in names]


def config_hash(timing: HeartbeatSettings, group: GroupSettings) -> int:
    """Return 64 bits over what all agents of a group must have alike."""
    addresses = sorted(str(address) for address in group.addresses)
    text = "\n".join([group.name, str(timing.interval), *addresses])
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
