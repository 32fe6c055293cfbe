"""Asks after late peers, and takes in what agents tell of each other.

A late peer is asked itself, its kernel, the other agents and a third party on the link; what
its group's addresses answer is asked as well.  Every heartbeat says whom its sender hears,
and how: so a way that carries nothing, or nothing that goes to all, is noticed at its other
end, and said in an alarm.

What this module does not do: reach a verdict (``detector``).
"""

from collections.abc import Collection
from random import Random

from haagent.core.actions import Action, AskHost
from haagent.core.election import Say
from haagent.core.events import DatagramReceived
from haagent.core.group import Group
from haagent.core.identity import NodeId
from haagent.core.journal import Journal
from haagent.core.membership import Membership
from haagent.core.messages import Heard, Heartbeat, Probe, ProbeRequest, ProbeResult
from haagent.core.outbox import Outbox
from haagent.core.peer import Peer
from haagent.core.units import DurationNs, Moment, between, milliseconds, seconds

STALE = milliseconds(5)
"""What waited unread for so long tells of ways as they were, and is no reason for an alarm."""

LINE_ALARM = seconds(5)
"""How long it is said that a way carries nothing, after that was last noticed."""


class Inquiry:
    """See the module docstring."""

    def __init__(
        self,
        *,
        membership: Membership,
        outbox: Outbox,
        journal: Journal,
        random: Random,
    ) -> None:
        self._membership = membership
        self._outbox = outbox
        self._journal = journal
        self._random = random

    def ask(self, now: Moment, groups: Collection[Group], suspect: Peer) -> list[Action]:
        """Return one round of questions; ``groups`` are those that we share with the suspect."""
        if self._membership.isolated_from(suspect) and suspect.detector.asked:
            text = "neither the references nor any other agent answer: this one is cut off"
            self._judge(now, "agent.isolated", "", text, wrong=True)
        election = next(iter(groups)).election
        actions: list[Action] = [*self._outbox.once(now, election, self._probe(suspect.node))]
        for other in self._membership.living():
            if other is not suspect:
                request = ProbeRequest(destination=other.node, target=suspect.node)
                actions += self._outbox.once(now, election, Say(request, to=other.node))
        actions += [AskHost(path, source) for path, (source, _) in suspect.paths.items()]
        actions += [AskHost(path, address) for path, address in self._membership.references()]
        for group in groups:
            if group.election.master == suspect.node:
                actions += group.ask_for_addresses()
        return actions

    def heard(self, now: Moment, group: Group, peer: Peer, event: DatagramReceived) -> list[Action]:
        """Take in what a datagram tells of who hears whom, and how; return the answer."""
        actions: list[Action] = []
        fresh = between(peer.last_heard, now.mono) < STALE
        if fresh:
            actions += self._notice_voice(now, group, peer)
        match event.datagram.body:
            case Heartbeat(heard=heard):
                self._measure(peer, event)
                if fresh:
                    self._notice_ears(now, peer)
                self._relay(now, peer, heard)
            case ProbeResult(heard=heard):
                self._relay(now, peer, heard)
            case ProbeRequest(target=target):
                actions += self._answer(now, group, peer, target)
            case _:
                pass
        return actions

    def _notice_voice(self, now: Moment, group: Group, peer: Peer) -> list[Action]:
        wrong = peer.by_unicast_only
        if not wrong and self._journal.quiet:
            return []
        text = f"nothing that {peer.name} sends to all arrives here; it is asked for copies"
        news = self._judge(now, "path.multicast", f"{peer.name} voice", text, wrong=wrong)
        # Our next heartbeat asks for them.
        return group.beat(now) if news else []

    def _measure(self, peer: Peer, event: DatagramReceived) -> None:
        echo = peer.echo
        sent = None if echo is None else self._outbox.sent(echo.sequence_low)
        if echo is None or sent is None:
            return
        sent_at, path = sent
        trip = DurationNs(max(0, between(sent_at, event.received_at) - echo.age_us * 1000))
        peer.detector.round_trip.sample(trip)
        if path == event.path:  # Otherwise there and back were two ways.
            peer.qualities[path].round_trip.sample(trip)

    def _notice_ears(self, now: Moment, peer: Peer) -> None:
        deaf, misses = peer.is_deaf(now.mono), peer.misses_multicast
        if not deaf and not misses and self._journal.quiet:
            return
        name = peer.name
        self._journal.clear(now, "link.asymmetric", f"{name} voice")
        if deaf or peer.hears_us:
            text = f"{name} does not hear us, though we hear it"
            self._judge(now, "link.asymmetric", f"{name} ears", text, wrong=deaf)
        text = f"nothing that we send to all arrives at {name}; it is sent copies"
        self._judge(now, "path.multicast", f"{name} ears", text, wrong=misses)

    def _judge(self, now: Moment, kind: str, subject: str, text: str, *, wrong: bool) -> bool:
        """Have the alarm up while something is wrong; return whether that is news."""
        if wrong:
            return self._journal.alarm(now, kind, subject, text, lasts=LINE_ALARM) is not None
        self._journal.clear(now, kind, subject)
        return False

    def _relay(self, now: Moment, teller: Peer, heard: Collection[Heard]) -> None:
        for entry in heard:
            target = self._membership.get(entry.node)
            if target is None or target.detector.suspicion is None or target is teller:
                continue
            if target.relayed(now.mono, entry):
                text = f"nothing that {target.name} says arrives here, but {teller.name} hears it"
                self._judge(now, "link.asymmetric", f"{target.name} voice", text, wrong=True)

    def _answer(self, now: Moment, group: Group, peer: Peer, target: NodeId) -> list[Action]:
        """Tell how long ago we have heard another agent, and ask it for a sign of life."""
        known = self._membership.get(target)
        if known is None or not known.alive:
            return []
        result = ProbeResult(destination=peer.node, heard=(known.heard_entry(now.mono),))
        answer = self._outbox.once(now, group.election, Say(result, to=peer.node))
        return [*answer, *self._outbox.once(now, group.election, self._probe(target))]

    def _probe(self, node: NodeId) -> Say:
        return Say(Probe(destination=node, nonce=self._random.getrandbits(64)), to=node)
