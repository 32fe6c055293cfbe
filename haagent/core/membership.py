"""Who is there: sessions with other agents, proven fresh, and whether each is alive.

A boot of a peer counts only after it has answered a nonce of ours (protocol.md 4.2), so a
capture played back later changes nothing.  After that every sequence number counts once.

What this module does not do: check a MAC (``haagent.wire.auth``), or judge who should be
master (``haagent.core.election``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from haagent.core.detector import FixedTimeout, Verdict
from haagent.core.events import DatagramReceived
from haagent.core.identity import BootId, GroupId, NodeId, Rank
from haagent.core.messages import (
    Answer,
    DiscardReason,
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Probe,
    ProbeAck,
    RoleReason,
)
from haagent.core.replay import ReplayWindow
from haagent.core.settings import IPAddress
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds

CHALLENGE_INTERVAL = milliseconds(50)
"""How soon an unanswered challenge is repeated, with the same nonce."""

MAX_PENDING = 32
"""Bound on boots that are being challenged; the oldest gives way."""


@dataclass(slots=True)
class View:
    """What a peer last said of one group."""

    header: Header
    heartbeat: Heartbeat | None
    at: MonoNs


class Peer:
    """One proven boot of another agent."""

    def __init__(self, header: Header, at: MonoNs) -> None:
        self.node = header.sender
        self.boot = header.boot
        self.name = f"{header.sender:016x}"
        self.views: dict[GroupId, View] = {}
        self.paths: dict[int, tuple[IPAddress, MonoNs]] = {}
        self.ended: set[int] = set()
        """The paths on which its process was found to have ended since it was heard there."""
        self.last_heard = at
        self.alive = True
        self.introduced = False
        """Whether it has said its name since it was found alive."""
        self.hears_us = False
        self.window = ReplayWindow(header.sequence)
        self.detector = FixedTimeout(at, milliseconds(header.timeout_ms))
        self._newest_sequence = header.sequence

    def heard(self, event: DatagramReceived, us: NodeId) -> None:
        """Take in an admitted datagram."""
        header, body = event.datagram.header, event.datagram.body
        self.last_heard = event.received_at
        self.paths[event.path] = (event.source, event.received_at)
        self.ended.discard(event.path)
        self._newest_sequence = max(self._newest_sequence, header.sequence)
        self._keep_view(header, body if isinstance(body, Heartbeat) else None, event.received_at)
        if isinstance(body, Heartbeat):
            self.name = body.name
            self.hears_us = any(entry.node == us for entry in body.heard)
        if isinstance(body, Goodbye) and body.reason is RoleReason.STOPPING:
            del self.views[header.group]
        self.alive = bool(self.views)
        self.detector.heard(event.received_at, self._timeout(header))

    def forget(self, group: GroupId) -> None:
        """Go by what it said of other groups; without any it is no longer there for us."""
        if group in self.views:
            left = self.views.pop(group)
            self.alive = self.alive and bool(self.views)
            self.detector.heard(self.last_heard, self._timeout(left.header))

    def speaks_from(self, event: DatagramReceived) -> bool:
        """Return whether ``event`` came from where this peer was last heard on that path."""
        source, _ = self.paths.get(event.path, (None, None))
        return source == event.source

    @property
    def restarting(self) -> bool:
        """Whether it has said that its process ends and another goes on."""
        return any(view.header.restarting for view in self.views.values())

    def heard_entry(self, now: MonoNs) -> Heard:
        """Return this peer's line of our HEARD list."""
        return Heard(
            node=self.node,
            sequence_low=self._newest_sequence & 0xFFFF_FFFF,
            age_us=between(self.last_heard, now) // 1000,
        )

    def _keep_view(self, header: Header, heartbeat: Heartbeat | None, at: MonoNs) -> None:
        old = self.views.get(header.group)
        if old is not None and header.sequence < old.header.sequence:
            return  # Overtaken on the way: what it promises is no longer true.
        if heartbeat is None and old is not None:
            heartbeat = old.heartbeat
        self.views[header.group] = View(header, heartbeat, at)

    def _timeout(self, header: Header) -> DurationNs:
        # A peer that is master of any group speaks often: its shortest promise counts.
        promises = [view.header.timeout_ms for view in self.views.values()]
        return milliseconds(min(promises, default=header.timeout_ms))


@dataclass(slots=True)
class _Challenge:
    nonce: int
    sent_at: MonoNs


@dataclass(frozen=True, slots=True)
class Refused:
    """A datagram that must change nothing; ``challenge`` is to be sent back to its source."""

    reason: DiscardReason
    challenge: Probe | None = None


class Membership:
    """All other agents that one agent knows of."""

    def __init__(self, node: NodeId, boot: BootId, random: Random) -> None:
        self._node = node
        self._boot = boot
        self._random = random
        self._peers: dict[NodeId, Peer] = {}
        self._pending: dict[tuple[NodeId, BootId], _Challenge] = {}
        self._forgiven_until = MonoNs(0)

    def admit(self, now: MonoNs, event: DatagramReceived) -> Peer | Refused:
        """Return the peer whose datagram this is, or why it must change nothing."""
        header, body = event.datagram.header, event.datagram.body
        if (header.sender, header.boot) == (self._node, self._boot):
            return Refused(DiscardReason.OWN)
        if isinstance(body, Probe | ProbeAck | Answer) and body.destination != self._node:
            return Refused(DiscardReason.OTHER_DESTINATION)
        peer = self._peers.get(header.sender)
        if peer is None or peer.boot != header.boot:
            return self._prove(now, event)
        if not peer.window.accept(header.sequence):
            return Refused(DiscardReason.REPLAYED)
        peer.heard(event, self._node)
        return peer

    def expire(self, now: MonoNs) -> list[Peer]:
        """Return the peers that are found dead now, each once."""
        if now < self._forgiven_until:
            return []
        alive = [peer for peer in self._peers.values() if peer.alive]
        dead = [peer for peer in alive if peer.detector.verdict(now) is Verdict.DEAD]
        for peer in dead:
            peer.alive = False
        return dead

    def process_ended(self, path: int, source: IPAddress) -> list[Peer]:
        """Return the peers whose process has ended on every path on which they were heard."""
        dead = []
        for peer in self._peers.values():
            if peer.alive and not peer.restarting and peer.paths.get(path, (None,))[0] == source:
                peer.ended.add(path)
                peer.alive = peer.ended != peer.paths.keys()
                dead += [] if peer.alive else [peer]
        return dead

    def places(self) -> frozenset[tuple[int, IPAddress]]:
        """Return from where the living peers were last heard: path and address."""
        return frozenset(
            (path, source)
            for peer in self._peers.values()
            if peer.alive
            for path, (source, _) in peer.paths.items()
        )

    def forgive(self, now: MonoNs, lateness: DurationNs) -> None:
        """Put off every verdict after a late step of our own.

        Whatever waited in our sockets meanwhile bears the time at which it came; it must
        not make its sender dead, not even that of a peer that we meet only now.
        """
        self._forgiven_until = later(now, lateness)

    def deadline(self) -> MonoNs | None:
        """Return when the next living peer is due to be found dead."""
        alive = (peer for peer in self._peers.values() if peer.alive)
        due = min((peer.detector.deadline() for peer in alive), default=None)
        return None if due is None else max(due, self._forgiven_until)

    def peers(self) -> list[Peer]:
        """Return every peer ever proven, dead ones too, by name."""
        return sorted(self._peers.values(), key=lambda peer: peer.name)

    def get(self, node: NodeId) -> Peer | None:
        """Return the peer with this id, dead or alive."""
        return self._peers.get(node)

    def living(self) -> Iterator[Peer]:
        """Yield the living peers; another agent that uses our own name is none."""
        return (p for p in self._peers.values() if p.alive and p.node != self._node)

    def voters(self, group: GroupId) -> dict[NodeId, Header]:
        """Return what each living peer last said of ``group``."""
        return {p.node: p.views[group].header for p in self.living() if group in p.views}

    def better(self, group: GroupId, rank: Rank) -> list[NodeId]:
        """Return the living electable peers of ``group`` above ``rank``, best first."""
        above = [h for h in self.voters(group).values() if h.electable and h.rank > rank]
        return [header.sender for header in sorted(above, key=lambda h: h.rank, reverse=True)]

    def forget(self, group: GroupId) -> list[Peer]:
        """Drop what was said of a group that is ours no more; return the peers that go with it."""
        before = [peer for peer in self._peers.values() if peer.alive]
        for peer in self._peers.values():
            peer.forget(group)
        return [peer for peer in before if not peer.alive]

    def _prove(self, now: MonoNs, event: DatagramReceived) -> Peer | Refused:
        header, body = event.datagram.header, event.datagram.body
        known = self._peers.get(header.sender)
        if known is not None and known.alive and not known.speaks_from(event):
            # Two living boots of one node on two hosts are two agents with one name: the
            # newcomer must not take the place of the one that we know.  From the same
            # host it is a restart, and the earlier boot is gone.
            return Refused(DiscardReason.UNPROVEN)
        key = (header.sender, header.boot)
        challenge = self._pending.get(key)
        if challenge is not None and isinstance(body, ProbeAck) and body.nonce == challenge.nonce:
            del self._pending[key]
            return self._establish(event)
        if challenge is not None and now < later(challenge.sent_at, CHALLENGE_INTERVAL):
            return Refused(DiscardReason.UNPROVEN)
        if challenge is None:
            challenge = self._pend(key, now)
        challenge.sent_at = now
        probe = Probe(destination=header.sender, nonce=challenge.nonce)
        return Refused(DiscardReason.UNPROVEN, probe)

    def _pend(self, key: tuple[NodeId, BootId], now: MonoNs) -> _Challenge:
        if len(self._pending) >= MAX_PENDING:
            del self._pending[min(self._pending, key=lambda k: self._pending[k].sent_at)]
        challenge = _Challenge(self._random.getrandbits(64), now)
        self._pending[key] = challenge
        return challenge

    def _establish(self, event: DatagramReceived) -> Peer:
        header = event.datagram.header
        known = self._peers.get(header.sender)
        peer = Peer(header, event.received_at)
        if known is not None:
            peer.name = known.name
        peer.heard(event, self._node)
        self._peers[header.sender] = peer
        return peer
