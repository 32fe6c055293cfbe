"""The app nodes: who is there, what each serves, how busy it is, and who has died.

A boot of a node counts once it has returned a nonce of ours; from then on only a heartbeat that
is newer than all before.  Silence for longer than its class allows (protocol.md 7.1) is death,
a goodbye is an end at once, and one that was dead is back after ``rise`` heartbeats.  Very many
deaths at once are not believed without a word of somebody else (``silences``).

Hearing one costs a few microseconds, and nothing ever looks at all of them: there may be ten
thousand, each second.

What this module does not do: make HAProxy's lists (``servers``), which takes in what has
changed by :meth:`Registry.take_changes`.
"""

from collections.abc import Collection
from itertools import islice
from random import Random

from haagent.core.actions import AckNode, Action, CountDiscard, Severity
from haagent.core.events import NodeHeard, NodesHeard
from haagent.core.fleet.census import Census
from haagent.core.fleet.news import NodeNews
from haagent.core.fleet.node import Node, Pace, Standing, fleet_pace_ms
from haagent.core.fleet.proof import NodeProofs
from haagent.core.fleet.silences import Silences
from haagent.core.hooks import Hooks
from haagent.core.identity import NodeId
from haagent.core.journal import Journal
from haagent.core.messages import DiscardReason, NodeAck
from haagent.core.settings import IPAddress, NodesSettings
from haagent.core.status import NodesStatus
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

OVERTAKEN = 16
"""Datagrams by which one path may be quicker than another: what comes late is no replay."""

DEAF = "more comes to the port of app nodes than this agent reads: none is dead for its silence"
DEAF_ALARM = seconds(60)

REMEMBERED = seconds(24 * 3600)
"""How long a node is known that is dead or has left."""


class Registry:
    """See the module docstring."""

    def __init__(
        self,
        *,
        settings: NodesSettings,
        agent: tuple[NodeId, str],
        journal: Journal,
        hooks: Hooks,
        random: Random,
        references: Collection[tuple[int, IPAddress]],
        begun: MonoNs,
    ) -> None:
        """``agent``: id and name of this one; ``references``: paths and addresses to be asked."""
        self._agent, name = agent
        self._journal = journal
        self._news = NodeNews(name, journal, hooks)
        self._proofs = NodeProofs(random)
        self._silences = Silences(references)
        self._nodes: dict[NodeId, Node] = {}
        self._absent: dict[NodeId, Node] = {}
        """Dead or left, in the order of time."""
        self._changed: dict[NodeId, Node] = {}
        self._census = Census()
        self._living = 0
        self._fleet_ms = 0
        self._paces: dict[str, Pace] = {}
        self._default = self._take_classes(settings)
        longest = max(pace.settings.timeout for pace in self._paces.values())
        self._settles_at: MonoNs | None = later(begun, longest)
        self._due: MonoNs | None = self._settles_at

    # What is said and asked.

    def heard(self, now: Moment, event: NodesHeard) -> list[Action]:
        """Take in what nodes have said; return the answers, and what follows else."""
        actions: list[Action] = []
        nodes = self._nodes
        for heard in event.heard:
            heartbeat = heard.heartbeat
            node = nodes.get(heartbeat.sender)
            if (
                node is None
                or not node.present
                or heartbeat.boot != node.boot
                or heartbeat.sequence <= node.sequence
                or heartbeat.leaving
            ):
                actions += self._greet(now, heard, node)
                continue
            node.sequence = heartbeat.sequence
            node.last_heard = at = heard.received_at
            node.deadline = MonoNs(at + node.timeout)
            if not heartbeat.interval_ms == node.promised_ms == node.pace.interval_ms:
                actions += self._agree(now, heard, node)
            if node.standing is Standing.HELD:
                self._release(now, node)
            if heartbeat.services is not node.services or heartbeat.address is not node.address:
                self._serves(now, heard, node)
            if node.works_otherwise(at, heartbeat.load):
                self._changed[node.id] = node
        if event.missed:
            self._be_deaf(now)
        if event.heard:
            self._silences.read_until(now.mono, event.heard[-1].received_at)
        self._due = self._next_due()
        return actions

    def host_answered(self, now: MonoNs, path: int, source: IPAddress) -> None:
        """Take in that a kernel has answered, be it one that we have asked about ourselves."""
        self._silences.host_answered(now, path, source)
        self._due = self._next_due()

    def overslept(self, now: MonoNs, lateness: DurationNs) -> None:
        """Take in that this agent was late itself: nobody is dead for what we have not read."""
        longest = max(pace.longest_pause for pace in self._paces.values())
        self._silences.overslept(now, lateness, longest)
        self._due = self._next_due()

    def _be_deaf(self, now: Moment) -> None:
        """Judge nobody until all that live have had time to be heard again."""
        longest = max(pace.settings.timeout for pace in self._paces.values())
        self._silences.missed(now.mono, longest)
        self._journal.alarm(
            now, "nodes.missed", DEAF, DEAF, severity=Severity.ERROR, lasts=DEAF_ALARM
        )

    def reconfigure(self, settings: NodesSettings) -> None:
        """Go by other classes; who is there stays there."""
        self._default = self._take_classes(settings)
        for node in self._nodes.values():
            node.expect(self._paces.get(node.class_name, self._default))

    # Time.

    def tick(self, now: Moment) -> list[Action]:
        """Do what is due."""
        if self._due is None or now.mono < self._due:
            return []
        if self._settles_at is not None and self._settles_at <= now.mono:
            self._settles_at = None
        self._take_in_silences(now)
        self._forget(now.mono)
        self._news.tick(now)
        questions = self._silences.questions(now.mono)
        self._due = self._next_due()
        return [*questions]

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return self._due

    # What others see.

    @property
    def settled(self) -> bool:
        """Whether all that live must have been heard by now."""
        return self._settles_at is None

    @property
    def has_changes(self) -> bool:
        return bool(self._changed)

    def take_changes(self, most: int) -> list[Node]:
        """Return and forget some of the nodes that serve, stand or work otherwise than before."""
        if len(self._changed) <= most:
            changed, self._changed = [*self._changed.values()], {}
            return changed
        changed = [*islice(self._changed.values(), most)]
        for node in changed:
            del self._changed[node.id]
        return changed

    def tell_all(self) -> None:
        """Have :meth:`take_changes` return every node, as to somebody who knows nothing yet."""
        self._changed.update(self._nodes)

    def status(self) -> NodesStatus:
        """Return counts, and some of the nodes."""
        return self._census.status()

    # Heartbeats that are not just one more.

    def _greet(self, now: Moment, heard: NodeHeard, node: Node | None) -> list[Action]:
        """Take in the first word of a boot, the last one, and what must change nothing."""
        heartbeat = heard.heartbeat
        if node is not None and node.boot == heartbeat.boot:
            if heartbeat.sequence <= node.sequence:
                overtaken = 0 < node.sequence - heartbeat.sequence <= OVERTAKEN
                return [] if overtaken else [CountDiscard(heard.source, DiscardReason.REPLAYED)]
            if node.present:
                return self._leave(now, heard, node)
            if node.proven and between(node.last_heard, heard.received_at) < node.timeout:
                return self._rise(now, heard, node)
        elif node is not None and node.present and heartbeat.boot < node.boot:
            # The younger of two boots is the one that lives, until it is silent.
            return [CountDiscard(heard.source, DiscardReason.UNPROVEN)]
        if heartbeat.leaving:
            return []
        nonce = self._proofs.proves(heard)
        return self._ask(now, heard) if nonce is None else self._admit(now, heard, node, nonce)

    def _ask(self, now: Moment, heard: NodeHeard) -> list[Action]:
        """Have a boot prove that it lives now."""
        nonce = self._proofs.question(now.mono, heard)
        actions: list[Action] = []
        if self._proofs.is_overdue(now.mono, heard.heartbeat.sender):
            actions.append(CountDiscard(heard.source, DiscardReason.UNPROVEN))
        if nonce is not None:
            pace = self._paces.get(heard.heartbeat.node_class, self._default)
            actions.append(self._ack(heard, nonce, pace))
        return actions

    def _admit(self, now: Moment, heard: NodeHeard, node: Node | None, nonce: int) -> list[Action]:
        heartbeat = heard.heartbeat
        pace = self._paces.get(heartbeat.node_class, self._default)
        if node is None:
            node = self._nodes[heartbeat.sender] = Node(heard, pace)
        was_there = node.present
        node.pace = pace
        node.begin(heard, nonce)
        if node.standing is Standing.DEAD:
            node.again = 0
            return self._rise(now, heard, node)
        actions = self._agree(now, heard, node)
        if node.standing is Standing.HELD:
            self._release(now, node)
        if was_there:
            node.joined_at = now.mono
            self._note(node)
            self._news.restarted(now, node)
        else:
            self._arrive(now, node)
            self._news.joined(now, node, known_class=heartbeat.node_class in self._paces)
        return actions

    def _rise(self, now: Moment, heard: NodeHeard, node: Node) -> list[Action]:
        """Take in one more heartbeat of a node that was dead."""
        node.take(heard)
        node.serves_otherwise(heard.heartbeat)
        node.again += 1
        answer = self._agree(now, heard, node)
        if node.again < node.pace.settings.rise:
            return answer
        self._news.returned(now, node)
        self._arrive(now, node)
        return answer

    def _arrive(self, now: Moment, node: Node) -> None:
        self._absent.pop(node.id, None)
        node.stand(now.mono, Standing.ALIVE)
        node.joined_at = now.mono
        self._silences.ended(node)
        self._silences.expect(node)
        self._count(+1)
        self._note(node)

    def _leave(self, now: Moment, heard: NodeHeard, node: Node) -> list[Action]:
        node.sequence = heard.heartbeat.sequence
        self._silences.ended(node)
        self._news.left(now, node)
        self._go(now, node, Standing.LEFT)
        self._calm(now)
        return []

    def _agree(self, now: Moment, heard: NodeHeard, node: Node) -> list[Action]:
        """Go by what the node promises; tell it the pace if it has another one."""
        promised_ms, pace = heard.heartbeat.interval_ms, node.pace
        untold = node.promised_ms == 0
        if promised_ms != node.promised_ms:
            node.take(heard)
        if not untold:
            if promised_ms == pace.interval_ms:
                return []
            # Of two agents that differ it follows the slower one: then it need not hear us often.
            tenths = 5 if promised_ms < pace.interval_ms else 100
            if now.mono < later(node.acked_at, milliseconds(pace.interval_ms * tenths // 10)):
                return []
        node.acked_at = now.mono
        return [self._ack(heard, node.nonce, pace)]

    def _ack(self, heard: NodeHeard, nonce: int, pace: Pace) -> AckNode:
        heartbeat = heard.heartbeat
        ack = NodeAck(
            destination=heartbeat.sender,
            agent=self._agent,
            boot=heartbeat.boot,
            sequence=heartbeat.sequence,
            nonce=nonce,
            interval_ms=pace.interval_ms,
            jitter_ms=pace.jitter_ms,
        )
        return AckNode(ack, heard.source, heard.port, heard.way)

    def _serves(self, now: Moment, heard: NodeHeard, node: Node) -> None:
        before = node.services
        if node.serves_otherwise(heard.heartbeat):
            self._news.serves(now, node, before)
            self._note(node)

    # Silence.

    def _take_in_silences(self, now: Moment) -> None:
        were_held = self._silences.any_held
        found = self._silences.judge(now.mono, self._living)
        for node in found.held:
            self._hold(now, node)
        for node in found.dead:
            self._die(now, node)
        if found.held and not were_held:
            asked = ", or a reference answers" if self._silences.can_ask else ""
            text = (
                f"{len(found.held)} app nodes or more vanished within 5 s: this agent may be cut "
                f"off itself, and keeps them in HAProxy until they are heard{asked}"
            )
            self._journal.alarm(now, "nodes.vanished", "", text, severity=Severity.CRITICAL)
        self._calm(now)

    def _hold(self, now: Moment, node: Node) -> None:
        if not node.present:
            self._absent.pop(node.id, None)
            node.proven = True
            self._count(+1)
        node.stand(now.mono, Standing.HELD)
        self._note(node)

    def _release(self, now: Moment, node: Node) -> None:
        """Take in that a node that was held is heard."""
        self._silences.ended(node)
        if node.mourned:
            self._news.returned(now, node)
        node.stand(now.mono, Standing.ALIVE)
        self._silences.expect(node)
        self._note(node)
        self._calm(now)

    def _calm(self, now: Moment) -> None:
        if not self._silences.any_held:
            self._journal.clear(now, "nodes.vanished", "")

    def _die(self, now: Moment, node: Node) -> None:
        if not node.mourned:
            self._news.died(now, node)
        self._go(now, node, Standing.DEAD)

    def _go(self, now: Moment, node: Node, standing: Standing) -> None:
        node.proven = False
        node.stand(now.mono, standing)
        self._absent[node.id] = node
        self._count(-1)
        self._note(node)

    def _forget(self, now: MonoNs) -> None:
        while self._absent:
            node = next(iter(self._absent.values()))
            if later(node.since, REMEMBERED) > now:
                return
            del self._absent[node.id], self._nodes[node.id]
            self._census.forget(node)

    # What is kept in order.

    def _note(self, node: Node) -> None:
        self._changed[node.id] = node
        self._census.count(node)

    def _count(self, more: int) -> None:
        self._living += more
        fleet_ms = fleet_pace_ms(self._living, self._fleet_ms)
        if fleet_ms != self._fleet_ms:
            self._fleet_ms = fleet_ms
            for pace in self._paces.values():
                pace.slow_down(fleet_ms)

    def _take_classes(self, settings: NodesSettings) -> Pace:
        self._paces = {each.name: Pace(each) for each in settings.classes}
        for pace in self._paces.values():
            pace.slow_down(self._fleet_ms)
        return self._paces[settings.classes[0].name]

    def _next_due(self) -> MonoNs | None:
        return earliest(
            self._silences.deadline(),
            self._settles_at,
            self._news.deadline(),
        )
