"""The agent: joins the machines into one function from events to actions.

Feed every event to :meth:`Agent.step`, perform the actions it returns in order, and call it
again with ``Tick`` no later than :meth:`Agent.deadline`.  Total: every state accepts every
event.  Pure: the same settings, seed and events give the same actions.

Order inside a step: own lateness, clocks, membership and detector, election, ownership,
backends.  A machine never calls back.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import assert_never

from haagent.core.actions import (
    Action,
    AnnounceAddress,
    ClaimAddress,
    CloseFence,
    CountDiscard,
    Finished,
    OpenFence,
    ReleaseAddress,
    ReserveTerm,
    Severity,
    Tenure,
    WatchProcesses,
)
from haagent.core.backends import Backends
from haagent.core.clocks import Clocks
from haagent.core.election import Election
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    AddressRemoved,
    BackendsObserved,
    CheckReported,
    DatagramReceived,
    Event,
    FailoverAsked,
    FileSettled,
    ForeignAddressSeen,
    HookEnded,
    HostAnswered,
    LinkChanged,
    NodesHeard,
    NotificationEnded,
    PathChanged,
    ProcessEnded,
    RecordsKept,
    RestartRequested,
    SettingsChanged,
    SettingsRejected,
    Steered,
    StopRequested,
    StrangerHeard,
    Tick,
)
from haagent.core.fleet.registry import Registry
from haagent.core.group import Group
from haagent.core.groups import Groups
from haagent.core.hooks import Hooks
from haagent.core.identity import BootId, GroupId, Term
from haagent.core.inquiry import Inquiry
from haagent.core.journal import Journal
from haagent.core.membership import Membership
from haagent.core.messages import (
    DiscardReason,
    Heartbeat,
    Probe,
    ProbeAck,
    RoleReason,
    State,
)
from haagent.core.outbox import Outbox
from haagent.core.overview import Overview
from haagent.core.paths import Paths
from haagent.core.peer import Peer
from haagent.core.restart import Restart
from haagent.core.settings import AgentSettings, IPAddress
from haagent.core.status import PeerStatus, Status
from haagent.core.steering import in_force, shown
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

LATENESS = milliseconds(5)
"""Of our own, which puts off what we think of others; less is common on a busy machine."""

TWIN_ALARM = seconds(10)
CONFIG_ALARM = seconds(30)
SKEW_ALARM = seconds(30)
STRANGER_ALARM = seconds(90)
"""Longer than the minute at which the same stranger is reported again."""


class Agent:
    """See the module docstring."""

    def __init__(
        self,
        settings: AgentSettings,
        boot: BootId,
        terms: Mapping[GroupId, Term],
        random: Random,
        kept: Iterable[Tenure] = (),
        *,
        lamport: int = 0,
        heard: Mapping[str, int] | None = None,
    ) -> None:
        """Make an agent that has not begun; ``terms`` are those reserved by earlier boots.

        ``kept``: what the process before this one has left to us, as in ``Finished``.
        ``lamport``: what the counter had got to when earlier boots made their last record, and
        ``heard`` of which counters of others they had heard by then.
        """
        self._settings = settings
        self._timing = settings.heartbeat
        self._node = settings.node_id
        self._boot = boot
        self._clocks = Clocks(lamport, heard)
        self._journal = Journal(self._clocks)
        self._hooks = Hooks(self._journal)
        self._membership = Membership(self._node, boot, self._timing, random)
        self._outbox = Outbox(
            node=self._node,
            boot=boot,
            paths=len(self._timing.paths),
            clocks=self._clocks,
            membership=self._membership,
        )
        self._random = random
        self._inquiry = Inquiry(
            membership=self._membership,
            outbox=self._outbox,
            journal=self._journal,
            random=random,
        )
        self._groups = Groups(
            settings=settings,
            boot=boot,
            terms=terms,
            kept=kept,
            membership=self._membership,
            journal=self._journal,
            outbox=self._outbox,
            hooks=self._hooks,
            random=random,
        )
        self._backends = Backends(settings.haproxy, self._journal) if settings.haproxy else None
        self._registry: Registry | None = None
        self._watched: frozenset[tuple[int, IPAddress]] = frozenset()
        self._paths = Paths(self._timing, self._journal)
        self._steered = Steered(maintenance=False, paused=False)
        self._drain_due: MonoNs | None = None
        """When the maintenance ends by itself."""
        self._stopping = False
        self._begun: MonoNs | None = None
        """When the first step was."""
        self._restart: Restart | None = None
        self._finished = False
        self._due: MonoNs | None = None

    def step(self, now: Moment, event: Event) -> list[Action]:
        """Return what is to be done now that ``event`` has happened."""
        if self._finished:
            return []
        if self._begun is None:
            self._begun = now.mono
            self._registry = self._make_registry(self._settings, now.mono)
        actions = self._notice_lateness(now, event)
        actions += self._take_in(now, event)
        actions += self._tick(now)
        actions += self._update_backends(now)
        actions += self._watch_processes()
        actions += self._groups.watch_checks()
        actions += self._journal.take()
        actions += self._hooks.take()
        actions += self._finish()
        self._due = self._next_due()
        return actions

    def deadline(self) -> MonoNs | None:
        """Return when the next Tick is due; a late or early one does no harm."""
        return self._due

    def status(self) -> Status:
        """Return a frozen view of everything."""
        overview = self._overview()
        return Status(
            node=self._settings.node,
            node_id=self._node,
            boot=self._boot,
            cluster=self._settings.cluster,
            groups=overview.groups(),
            peers=overview.peers(),
            haproxy=self._backends.status() if self._backends else None,
            nodes=self._registry.status() if self._registry else None,
            hooks=self._hooks.status(),
            steered=None if self._begun is None else self._steered,
            alarms=self._journal.alarms,
            records=self._journal.records,
        )

    def peers(self) -> tuple[PeerStatus, ...]:
        """Return what :meth:`status` has of the peers, for much less."""
        return self._overview().peers()

    def _overview(self) -> Overview:
        return Overview(self._settings, self._groups, self._membership)

    # Own lateness.

    def _notice_lateness(self, now: Moment, event: Event) -> list[Action]:
        lateness = DurationNs(0) if self._due is None else between(self._due, now.mono)
        unread = DurationNs(0)
        if isinstance(event, DatagramReceived):
            # More of what others have said may wait behind it.
            unread = between(event.received_at, now.mono)
        slow = max(lateness, unread)
        if slow >= LATENESS:
            self._membership.forgive(now.mono, min(slow, self._timing.interval))
            if self._registry is not None:
                self._registry.overslept(now.mono, slow)
        if lateness < self._timing.interval // 4:
            return []
        silent = [group.silent_for(now) for group in self._groups]
        stall = max(lateness, *silent)
        if stall < self._timing.takeover:
            return []
        self._membership.was_away()
        text = f"stalled for {stall // 1_000_000} ms, longer than the peers wait"
        self._journal.record(now, "agent.stalled", text, severity=Severity.ERROR)
        return self._groups.lead(now, Election.stalled)

    # Events.

    def _take_in(self, now: Moment, event: Event) -> list[Action]:
        match event:
            case Tick():
                return []
            case NodesHeard():
                return [] if self._registry is None else self._registry.heard(now, event)
            case DatagramReceived():
                return self._receive(now, event)
            case PathChanged() | StrangerHeard():
                return self._watch_paths(now, event)
            case ProcessEnded() | HostAnswered():
                return self._told_of_peer(now, event)
            case LinkChanged(interface, up):
                return self._groups.link_changed(now, interface, up=up)
            case AddressRemoved() | ForeignAddressSeen():
                return self._disturbed(now, event)
            case ActionDone() | ActionFailed() | HookEnded() | NotificationEnded() | RecordsKept():
                return self._settled(now, event)
            case BackendsObserved() | FileSettled() | CheckReported():
                return self._observe(now, event)
            case StopRequested() | RestartRequested():
                leave = self._stop if isinstance(event, StopRequested) else self._leave_to_next
                return leave(now)
            case SettingsChanged() | SettingsRejected() | Steered() | FailoverAsked():
                return self._reconfigure(now, event)
            case _:
                assert_never(event)

    def _receive(self, now: Moment, event: DatagramReceived) -> list[Action]:
        group = self._groups.get(event.datagram.header.group)
        if group is None:
            return [CountDiscard(event.source, DiscardReason.UNKNOWN_GROUP)]
        actions = self._answer_probe(now, group, event)
        result = self._membership.admit(now.mono, event)
        if isinstance(result, Peer):
            return [*actions, *self._admitted(now, group, event, result)]
        if result.challenge is not None:
            actions.append(
                self._outbox.on_path(
                    now, group.election, event.path, event.source, result.challenge
                )
            )
        return [*actions, CountDiscard(event.source, result.reason)]

    def _answer_probe(self, now: Moment, group: Group, event: DatagramReceived) -> list[Action]:
        """Prove that we are alive in this boot, to anybody of the cluster who asks us."""
        header, body = event.datagram.header, event.datagram.body
        if not isinstance(body, Probe) or body.destination != self._node:
            return []
        if (header.sender, header.boot) == (self._node, self._boot):
            return []
        ack = ProbeAck(destination=header.sender, nonce=body.nonce)
        return [self._outbox.on_path(now, group.election, event.path, event.source, ack)]

    def _admitted(
        self, now: Moment, group: Group, event: DatagramReceived, peer: Peer
    ) -> list[Action]:
        header, body = event.datagram.header, event.datagram.body
        if self._restart is not None and isinstance(body, ProbeAck):
            self._restart.confirmed(header, body)
        if not self._clocks.merge(now.wall, header.stamp):
            text = f"the clock of {peer.name} is more than 10 s ahead of ours"
            self._journal.alarm(now, "clock.skew", peer.name, text, lasts=SKEW_ALARM)
        if peer.node == self._node:
            return self._twin_heard(now, group, event, peer)
        if peer.named:
            self._clocks.hear(peer.name, header.stamp.lamport)
        actions: list[Action] = [*self._inquiry.heard(now, group, peer, event)]
        if isinstance(body, Heartbeat):
            self._compare_configuration(now, group, peer, body)
        if peer.alive and isinstance(body, Heartbeat) and not peer.introduced:
            peer.introduced = True
            self._journal.record(now, "peer.alive", f"{peer.name} is heard")
            for each in self._groups:
                actions += each.announce(now)
        if not peer.alive and peer.introduced:
            peer.introduced = False
            self._journal.record(now, "peer.left", f"{peer.name} left")
        return [*actions, *group.lead(now, Election.heard, header, body)]

    def _twin_heard(
        self, now: Moment, group: Group, event: DatagramReceived, twin: Peer
    ) -> list[Action]:
        """Find out which of two agents with the same node name has to stay out."""
        text = f"the agent at {event.source} also calls itself {self._settings.node}"
        self._journal.alarm(
            now, "node.duplicate", "", text, severity=Severity.CRITICAL, lasts=TWIN_ALARM
        )
        theirs = event.datagram.header
        out = {State.INIT, State.LISTEN, State.FAULT}
        our_claim = (group.election.state not in out, self._boot)
        if our_claim > (theirs.state not in out, twin.boot) or theirs.state is State.FAULT:
            return []
        return self._groups.lead(now, Election.twin_heard)

    def _compare_configuration(
        self, now: Moment, group: Group, peer: Peer, heartbeat: Heartbeat
    ) -> None:
        equal = heartbeat.config_hash == group.config_hash
        if equal and self._journal.quiet:
            return
        subject = f"{peer.name} {group.settings.name}"
        if equal:
            self._journal.clear(now, "config.differs", subject)
            return
        text = f"{peer.name} has other addresses or another interval in {group.settings.name}"
        self._journal.alarm(now, "config.differs", subject, text, lasts=CONFIG_ALARM)

    def _path_changed(self, now: Moment, event: PathChanged) -> list[Action]:
        self._paths.changed(now, event)
        mute = self._paths.mute
        actions: list[Action] = []
        for group in self._groups:
            group.election.mute = mute
            if not mute and group.election.reason is RoleReason.NO_PATH:
                actions += self._groups.follow_link(now, group)
        return actions

    def _watch_paths(self, now: Moment, event: PathChanged | StrangerHeard) -> list[Action]:
        match event:
            case PathChanged():
                return self._path_changed(now, event)
            case StrangerHeard(source, reason):
                text = f"{source} sends datagrams that are refused: {reason.name.lower()}"
                self._journal.alarm(now, "peer.refused", text, text, lasts=STRANGER_ALARM)
        return []

    def _told_of_peer(self, now: Moment, event: ProcessEnded | HostAnswered) -> list[Action]:
        if isinstance(event, HostAnswered):
            self._membership.host_answered(now.mono, event.path, event.source, event.protocol)
            if self._registry is not None:
                self._registry.host_answered(now.mono, event.path, event.source)
        else:
            self._membership.process_ended(now.mono, event.path, event.source)
        return []

    def _disturbed(self, now: Moment, event: AddressRemoved | ForeignAddressSeen) -> list[Action]:
        actions: list[Action] = []
        for group in self._groups.on(event.interface):
            if isinstance(event, AddressRemoved):
                group.ownership.removed(now, event.address)
            else:
                self._membership.address_answered(now.mono, group.election.master, event.address)
                actions += group.address_seen(now, event.address, event.mac)
        return actions

    def _settled(
        self,
        now: Moment,
        event: ActionDone | ActionFailed | HookEnded | NotificationEnded | RecordsKept,
    ) -> list[Action]:
        match event:
            case ActionDone():
                return self._done(now, event)
            case ActionFailed():
                return self._failed(now, event)
            case HookEnded():
                self._hooks.ended(now, event)
                actions: list[Action] = []
                for group in self._groups:
                    actions += group.hook_ended(now, event)
                return actions
            case NotificationEnded(urls_file, trouble):
                if trouble:
                    self._journal.alarm(now, "notify.failing", urls_file, trouble)
                else:
                    self._journal.clear(now, "notify.failing", urls_file)
                return []
            case RecordsKept():
                return self._records_kept(now, event)

    def _records_kept(self, now: Moment, event: RecordsKept) -> list[Action]:
        warning = Severity.WARNING
        if event.damage:
            self._journal.record(now, "events.damaged", event.damage, severity=warning)
        if event.trouble:
            text = f"records cannot be written: {event.trouble}"
            self._journal.alarm(now, "events.unwritable", "", text)
        else:
            self._journal.clear(now, "events.unwritable", "")
        if event.lost:
            text = f"{event.lost} records were not written, and are in the journal only"
            self._journal.record(now, "events.lost", text, severity=warning)
        return []

    def _done(self, now: Moment, event: ActionDone) -> list[Action]:
        match event.action:
            case ClaimAddress() | ReleaseAddress() as action:
                group = self._groups.get(action.group)
                return [] if group is None else [*group.ownership.done(now, action)]
            case ReserveTerm():
                self._journal.clear(now, "state.unwritable", "")
            case _:
                pass
        return []

    def _failed(self, now: Moment, failure: ActionFailed) -> list[Action]:
        match failure.action:
            case (
                ClaimAddress() | ReleaseAddress() | OpenFence() | CloseFence() | AnnounceAddress()
            ) as action:
                group = self._groups.get(action.group)
                if group is not None:
                    group.ownership.failed(now, failure)
            case ReserveTerm():
                text = f"terms cannot be written and may repeat after a restart: {failure.text}"
                self._journal.alarm(now, "state.unwritable", "", text)
                self._groups[failure.action.group].not_reserved(now)
            case _:
                pass
        return []

    def _observe(
        self, now: Moment, event: BackendsObserved | FileSettled | CheckReported
    ) -> list[Action]:
        if isinstance(event, CheckReported):
            group = self._groups.get(event.group)
            return [] if group is None else group.check_reported(now, event)
        if self._backends is not None:
            self._backends.observed(event)
        of_file = isinstance(event, FileSettled)
        kind = "haproxy.file" if of_file else "haproxy.trouble"
        if event.trouble:
            text = event.trouble if of_file else f"HAProxy: {event.trouble}"
            self._journal.alarm(now, kind, "", text)
        else:
            self._journal.clear(now, kind, "")
        if isinstance(event, FileSettled) and event.news:
            self._journal.record(now, "haproxy.written", event.news)
        return []

    def _stop(self, now: Moment) -> list[Action]:
        self._stopping, self._restart = True, None
        return self._groups.lead(now, Election.stop)

    def _leave_to_next(self, now: Moment) -> list[Action]:
        """Stop, but leave what we are master of to the next process, if the peers agree."""
        if self._stopping:
            return []
        masters = [
            group
            for group in self._groups
            # What waits for a hook is not there to be kept.
            if group.election.state is State.MASTER and group.hooks.before_claim is None
        ]
        if not masters or self._begun is None:
            return self._stop(now)
        self._stopping = True
        self._restart = Restart(
            groups=masters,
            not_before=later(self._begun, self._timing.listen),
            node=self._node,
            timing=self._timing,
            membership=self._membership,
            outbox=self._outbox,
            random=self._random,
        )
        actions: list[Action] = []
        for group in self._groups:
            if group not in masters:
                actions += group.lead(now, Election.stop)
        return actions

    def _reconfigure(
        self, now: Moment, event: SettingsChanged | SettingsRejected | Steered | FailoverAsked
    ) -> list[Action]:
        if isinstance(event, Steered):
            return self._steer(now, event)
        if isinstance(event, FailoverAsked):
            return self._fail_over(now, event)
        if isinstance(event, SettingsRejected):
            self._journal.alarm(now, "config.rejected", "", f"kept the old file: {event.text}")
            return []
        self._journal.clear(now, "config.rejected", "")
        if self._stopping:
            return []
        if event.settings.nodes != self._settings.nodes:
            self._follow_nodes(now, event.settings)
        self._settings = event.settings
        actions = self._groups.reconfigure(now, event.settings.groups)
        haproxy = event.settings.haproxy
        if (
            self._backends is not None
            and haproxy is not None
            and self._backends.reconfigure(haproxy)
        ):
            self._journal.record(now, "config.applied", "HAProxy servers as the file has them")
        return actions

    def _follow_nodes(self, now: Moment, settings: AgentSettings) -> None:
        """Go by the classes of app nodes in the file; who is alive stays known."""
        self._journal.record(now, "config.applied", "app nodes as the file has them")
        if settings.nodes is None or self._registry is None:
            self._registry = self._make_registry(settings, now.mono)
            self._journal.clear(now, "nodes.vanished", "")
        else:
            self._registry.reconfigure(settings.nodes)

    def _fail_over(self, now: Moment, event: FailoverAsked) -> list[Action]:
        group, peer = self._groups.get(event.group), self._membership.get(event.to)
        if group is None or peer is None:
            return []
        text = f"an operator wants {peer.name} to be master"
        name, term = group.settings.name, group.election.term
        before, cause = group.election.state, group.cause
        group.cause = self._journal.record(now, "failover.asked", text, group=name, term=term)
        actions = group.lead(now, Election.fail_over, event.to)
        if group.election.state is before:
            group.cause = cause  # It explains no later change.
        return actions

    def _steer(self, now: Moment, event: Steered) -> list[Action]:
        self._steered = steered = in_force(event, now.wall)
        self._drain_due, until = None, ""
        if steered.until is not None:
            # From here on no step of the wall clock counts.
            self._drain_due = later(now.mono, DurationNs(steered.until - now.wall))
            until = f" until {shown(steered.until, now.wall)}"
        out = f"is kept out{until}, and hands over what it has"
        for kind, on, text in (
            ("agent.maintenance", steered.maintenance, out),
            ("agent.paused", steered.paused, "masters stay as they are, whatever happens"),
        ):
            if on:
                self._journal.alarm(now, kind, "", text)
            else:
                self._journal.clear(now, kind, "")
        actions: list[Action] = []
        for group in self._groups:
            actions += group.steer(now, steered)
            # At once: nobody is to count on an agent, or to stand, who would not if he knew.
            actions += group.beat(now)
        return actions

    # What is due, and what follows for HAProxy and for the end.

    def _tick(self, now: Moment) -> list[Action]:
        self._journal.tick(now)
        actions: list[Action] = [*self._outbox.tick(now)]
        if self._drain_due is not None and now.mono >= self._drain_due:
            actions += self._steer(now, replace(self._steered, maintenance=False, until=None))
        if not self._stopping:
            actions += self._groups.come_and_go(now, self._steered)
        dead, asked = self._membership.judge(now.mono)
        for peer in dead:
            actions += self._peer_died(now, peer)
        for peer in asked:
            shared = [group for group in self._groups if group.settings.id in peer.views]
            actions += self._inquiry.ask(now, shared, peer)
            for group in shared:
                group.hasten(now)
        if self._registry is not None:
            actions += self._registry.tick(now)
        if self._paths.given_up(now.mono):
            actions += self._groups.lead(now, Election.muted)
        if self._restart is not None:
            actions += self._restart.tick(now, alone=self._is_left(self._restart.groups))
            if self._restart.kept:
                return actions  # The last word: one more heartbeat would promise less.
        for group in self._groups:
            actions += group.tick(now)
        return actions

    def _peer_died(self, now: Moment, peer: Peer) -> list[Action]:
        peer.introduced = False
        number = self._journal.record(
            now,
            "peer.dead",
            peer.epitaph(now.mono),
            severity=Severity.WARNING,
            evidence=self._membership.evidence(now.mono, peer),
        )
        reason = RoleReason.MASTER_DIED if peer.process_ended else RoleReason.MASTER_SILENT
        actions: list[Action] = []
        for group in self._groups:
            if peer.node == group.election.master:
                group.cause = number
            actions += group.lead(now, Election.peer_lost, peer.node, reason)
        return actions

    def _watch_processes(self) -> list[Action]:
        places = self._membership.places()
        if places == self._watched:
            return []
        self._watched = places
        return [WatchProcesses(places)]

    def _is_left(self, kept: Collection[Group]) -> bool:
        """Return whether all groups but those ``kept`` are left, and all is said."""
        others = (group for group in self._groups if group not in kept)
        return self._outbox.empty and all(group.election.stopped for group in others)

    def _update_backends(self, now: Moment) -> list[Action]:
        if self._backends is None:
            return []
        states = {group.settings.id: group.election.state for group in self._groups}
        terms = {group.settings.id: group.election.term for group in self._groups}
        alive = {peer.name for peer in self._membership.living()}
        return [*self._backends.update(now, states, terms, alive, self._registry)]

    def _finish(self) -> list[Action]:
        if not self._stopping:
            return []
        tenures = () if self._restart is None else self._restart.kept
        if not self._is_left([self._groups[tenure.group] for tenure in tenures]):
            return []
        self._finished = True
        return [Finished(tenures)]

    def _next_due(self) -> MonoNs | None:
        if self._finished:
            return None
        restart_due = None
        if self._restart is not None and self._is_left(self._restart.groups):
            restart_due = self._restart.deadline()
        return earliest(
            *[group.due for group in self._groups],
            self._paths.deadline(),
            self._drain_due,
            self._membership.deadline(),
            self._outbox.deadline(),
            self._journal.deadline(),
            self._registry.deadline() if self._registry is not None else None,
            self._backends.deadline() if self._backends is not None else None,
            restart_due,
        )

    def _make_registry(self, settings: AgentSettings, begun: MonoNs) -> Registry | None:
        if settings.nodes is None:
            return None
        return Registry(
            settings=settings.nodes,
            agent=(self._node, settings.node),
            journal=self._journal,
            hooks=self._hooks,
            random=self._random,
            references=[*self._membership.references()],
            begun=begun,
        )
