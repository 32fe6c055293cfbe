"""Who is there: sessions with other agents, proven fresh, and whether each is alive.

A boot of a peer counts only after it has answered a nonce of ours (protocol.md 4.2), so a
capture played back later changes nothing.  After that every sequence number counts once.

What this module does not do: check a MAC (``haagent.wire.auth``), or judge who should be
master (``haagent.core.election``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from haagent.core.detector import Detector, Verdict
from haagent.core.events import DatagramReceived
from haagent.core.identity import BootId, GroupId, NodeId, Rank
from haagent.core.messages import (
    Answer,
    DiscardReason,
    Flag,
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
    RoleReason,
)
from haagent.core.replay import ReplayWindow
from haagent.core.settings import HeartbeatSettings, IPAddress, patience
from haagent.core.units import DurationNs, MonoNs, between, earliest, later, milliseconds

CHALLENGE_INTERVAL = milliseconds(50)
"""How soon an unanswered challenge is repeated, with the same nonce."""

MAX_PENDING = 32
"""Bound on boots that are being challenged; the oldest gives way."""


_TO_ONE = Probe | ProbeAck | ProbeRequest | ProbeResult | Answer
"""What counts for its destination alone."""


@dataclass(slots=True)
class View:
    """What a peer last said of one group."""

    header: Header
    heartbeat: Heartbeat | None
    at: MonoNs


class Peer:
    """One proven boot of another agent."""

    def __init__(self, header: Header, at: MonoNs, timing: HeartbeatSettings) -> None:
        self.node = header.sender
        self.boot = header.boot
        self.name = f"{header.sender:016x}"
        self.views: dict[GroupId, View] = {}
        self.paths: dict[int, tuple[IPAddress, MonoNs]] = {}
        self.moves = 0
        """How often it was heard from somewhere new."""
        self.ended: set[int] = set()
        """The paths on which its process was found to have ended since it was heard there."""
        self.last_heard = at
        self.alive = True
        self.introduced = False
        """Whether it has said its name since it was found alive."""
        self.hears_us = False
        self.deaf_since: MonoNs | None = None
        """Since when it says that it does not hear us."""
        self.turned_deaf = False
        """Whether it has heard us before, since we hear it."""
        self.misses_multicast = False
        """Whether it says that nothing that we send to all arrives."""
        self.window = ReplayWindow(header.sequence)
        self.detector = Detector(timing, at)
        self._newest_sequence = header.sequence
        self._deafness = patience(timing.backup_interval)
        self._patience = milliseconds(header.timeout_ms)
        """How long it may be silent, as it has promised."""
        self._broadcast_due = later(at, self._patience)
        """Until when anything that it sends to all has to arrive here."""

    def heard(self, event: DatagramReceived, us: NodeId) -> None:
        """Take in an admitted datagram."""
        header, body = event.datagram.header, event.datagram.body
        self.last_heard = event.received_at
        self.moves += not self.speaks_from(event)
        self.paths[event.path] = (event.source, event.received_at)
        self.ended.discard(event.path)
        self._newest_sequence = max(self._newest_sequence, header.sequence)
        self._keep_view(header, body if isinstance(body, Heartbeat) else None, event.received_at)
        if isinstance(body, Heartbeat):
            self.name = body.name
            self._keep_ears(event.received_at, body, us)
            stream = (event.path, header.group)
            interval = milliseconds(header.interval_ms)
            self.detector.heartbeat(stream, event.received_at, interval)
        if isinstance(body, Goodbye) and body.reason is RoleReason.STOPPING:
            del self.views[header.group]
            self.detector.forget(header.group)
        self.alive = bool(self.views)
        self._count_promises(header)
        if Flag.UNICAST not in header.flags:
            self._broadcast_due = later(event.received_at, self._patience)
        self.detector.lives(event.received_at, self._patience)

    def epitaph(self, now: MonoNs) -> str:
        """Return how it was found dead, once it has been."""
        if self.process_ended:
            return f"the process of {self.name} has ended"
        silence = f"{self.name} has been silent for {between(self.last_heard, now) // 1_000_000} ms"
        suspicion = self.detector.suspicion
        if suspicion is None:
            return silence
        if suspicion.answers:
            return f"{silence}, though its host answers: its agent hangs"
        return f"{silence}, and its host does not answer"

    def dies(self) -> None:
        """Take in that it is dead."""
        self.alive = self.hears_us = self.turned_deaf = self.misses_multicast = False
        self.deaf_since = None

    def forget(self, group: GroupId) -> None:
        """Go by what it said of other groups; without any it is no longer there for us."""
        if group in self.views:
            left = self.views.pop(group)
            self.alive = self.alive and bool(self.views)
            self.detector.forget(group)
            self._count_promises(left.header)
            self.detector.lives(self.last_heard, self._patience)

    def speaks_from(self, event: DatagramReceived) -> bool:
        """Return whether ``event`` came from where this peer was last heard on that path."""
        source, _ = self.paths.get(event.path, (None, None))
        return source == event.source

    @property
    def process_ended(self) -> bool:
        """Whether its process has ended, as told on every path."""
        return self.ended == self.paths.keys()

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
            by_unicast_only=self.by_unicast_only,
        )

    @property
    def by_unicast_only(self) -> bool:
        """Whether what it sends to all has not arrived for as long as would make it dead."""
        return self.last_heard > self._broadcast_due

    def vouched_for(self, now: MonoNs) -> bool:
        """Return whether this agent itself knows it to live, or its host to answer still."""
        suspicion = self.detector.suspicion
        heard_of_late = between(self.last_heard, now) < self._patience
        return self.alive and heard_of_late and (suspicion is None or bool(suspicion.answers))

    def is_deaf(self, now: MonoNs) -> bool:
        """Return whether it is known not to hear us, though we hear it."""
        if self.deaf_since is None or not self.alive:
            return False
        return self.turned_deaf or now >= later(self.deaf_since, self._deafness)

    def relayed(self, now: MonoNs, heard: Heard) -> bool:
        """Take in what another agent heard of it; return whether only that keeps it alive."""
        at = MonoNs(now - heard.age_us * 1000)
        timeout = self._patience
        punctual = self.alive and self.detector.relayed(now, at, timeout)
        return punctual and between(self.last_heard, now) >= timeout

    def _keep_ears(self, at: MonoNs, heartbeat: Heartbeat, us: NodeId) -> None:
        entry = next((entry for entry in heartbeat.heard if entry.node == us), None)
        hears = entry is not None and entry.age_us * 1000 < self._deafness
        if hears:
            self.deaf_since = None
        elif self.deaf_since is None:
            self.deaf_since, self.turned_deaf = at, self.hears_us
        self.hears_us = hears
        self.misses_multicast = entry is not None and entry.by_unicast_only

    def _keep_view(self, header: Header, heartbeat: Heartbeat | None, at: MonoNs) -> None:
        old = self.views.get(header.group)
        if old is not None and header.sequence < old.header.sequence:
            return  # Overtaken on the way: what it promises is no longer true.
        if heartbeat is None and old is not None:
            heartbeat = old.heartbeat
        self.views[header.group] = View(header, heartbeat, at)

    def _count_promises(self, header: Header) -> None:
        # A peer that is master of any group speaks often: its shortest promise counts.
        promises = [view.header.timeout_ms for view in self.views.values()]
        self._patience = milliseconds(min(promises, default=header.timeout_ms))


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

    def __init__(
        self, node: NodeId, boot: BootId, timing: HeartbeatSettings, random: Random
    ) -> None:
        self._node = node
        self._boot = boot
        self._timing = timing
        self._random = random
        self._peers: dict[NodeId, Peer] = {}
        self._pending: dict[tuple[NodeId, BootId], _Challenge] = {}
        self._forgiven_until = MonoNs(0)
        self._known: list[tuple[Peer, int]] = []
        """The living, and how often each had moved, when their places were last asked for."""
        self._places: frozenset[tuple[int, IPAddress]] = frozenset()
        self._references = {
            (path, settings.reference): MonoNs(0)
            for path, settings in enumerate(timing.paths)
            if settings.reference is not None
        }
        """When each reference last answered."""

    def admit(self, now: MonoNs, event: DatagramReceived) -> Peer | Refused:
        """Return the peer whose datagram this is, or why it must change nothing."""
        header, body = event.datagram.header, event.datagram.body
        if (header.sender, header.boot) == (self._node, self._boot):
            return Refused(DiscardReason.OWN)
        if isinstance(body, _TO_ONE) and body.destination != self._node:
            return Refused(DiscardReason.OTHER_DESTINATION)
        peer = self._peers.get(header.sender)
        if peer is None or peer.boot != header.boot:
            return self._prove(now, event)
        if not peer.window.accept(header.sequence):
            return Refused(DiscardReason.REPLAYED)
        peer.heard(event, self._node)
        return peer

    def judge(self, now: MonoNs) -> tuple[list[Peer], list[Peer]]:
        """Return the peers that are found dead now, each once, and those to be asked now."""
        if now < self._forgiven_until:
            return [], []
        dead, asked = [], []
        for peer in self._peers.values():
            if not peer.alive or now < peer.detector.deadline():
                continue
            verdict = peer.detector.tick(now, isolated=self.isolated_from(peer))
            if verdict is Verdict.DEAD:
                peer.dies()
                dead.append(peer)
            elif verdict is Verdict.ASK:
                asked.append(peer)
        return dead, asked

    def isolated_from(self, suspect: Peer) -> bool:
        """Return whether nobody at all was heard since ``suspect`` was late.

        Then it is this agent that is cut off.  Without a reference nobody can tell.
        """
        suspicion = suspect.detector.suspicion
        if suspicion is None or not self._references:
            return False
        others = (peer.last_heard for peer in self._peers.values() if peer is not suspect)
        return all(at < suspicion.since for at in (*others, *self._references.values()))

    def address_answered(self, now: MonoNs, master: NodeId | None, address: IPAddress) -> None:
        """Take in that somebody still answers for a virtual address of ``master``."""
        peer = None if master is None else self._peers.get(master)
        if peer is not None:
            peer.detector.host_answered(now, str(address))

    def evidence(self, now: MonoNs, dead: Peer) -> tuple[str, ...]:
        """Return what the death of a peer was found out by, a line each."""
        lines = [
            f"last heard {between(at, now) // 1_000_000} ms ago on {self._on(path)}, from {source}"
            for path, (source, at) in dead.paths.items()
        ]
        lines += [f"its process ended, as told on {self._on(path)}" for path in sorted(dead.ended)]
        suspicion = dead.detector.suspicion
        if suspicion is None:
            return tuple(lines)
        late_ms = between(suspicion.since, now) // 1_000_000
        if suspicion.process_ended:
            return (*lines, f"asked itself all the same: no answer in {late_ms} ms")
        lines.append(f"late for {late_ms} ms, no answer to {suspicion.rounds} rounds of probes")
        answers = [
            f"{how} after {between(suspicion.since, at) // 1_000_000} ms"
            for how, at in suspicion.answers.items()
        ]
        lines.append(f"its host: {', '.join(answers) or 'no answer'}")
        others = (other.name for other in self.living() if other is not dead)
        lines += [f"{name} was asked, and does not hear it of late" for name in others]
        for (_, address), at in self._references.items():
            answer = "answers" if at >= suspicion.since else "does not answer"
            lines.append(f"reference {address}: {answer}")
        return tuple(lines)

    def _on(self, path: int) -> str:
        return self._timing.paths[path].interface

    def references(self) -> Iterator[tuple[int, IPAddress]]:
        """Yield the third parties that tell whether this agent is cut off: path and address."""
        yield from self._references

    def host_answered(self, now: MonoNs, path: int, source: IPAddress, how: str) -> None:
        """Take in that a kernel has answered: that of a peer, or a reference."""
        if (path, source) in self._references:
            self._references[path, source] = now
        for peer in self._peers.values():
            if peer.paths.get(path, (None,))[0] == source:
                peer.detector.host_answered(now, how)

    def process_ended(self, now: MonoNs, path: int, source: IPAddress) -> None:
        """Take in what the kernel at ``source`` says of the process there.

        It counts once the same is said on every path on which the peer was heard.
        """
        for peer in self._peers.values():
            if peer.alive and not peer.restarting and peer.paths.get(path, (None,))[0] == source:
                peer.ended.add(path)
                if peer.process_ended:
                    peer.detector.process_ended(now)

    def places(self) -> frozenset[tuple[int, IPAddress]]:
        """Return from where the living peers were last heard: path and address."""
        known = [(peer, peer.moves) for peer in self._peers.values() if peer.alive]
        if known != self._known:
            self._known = known
            self._places = frozenset(
                (path, source) for peer, _ in known for path, (source, _) in peer.paths.items()
            )
        return self._places

    def forgive(self, now: MonoNs, lateness: DurationNs) -> None:
        """Put off every verdict after a late step of our own.

        Whatever waited in our sockets meanwhile bears the time at which it came; it must
        not make its sender dead, not even that of a peer that we meet only now.
        """
        self._forgiven_until = later(now, lateness)
        for peer in self._peers.values():
            peer.detector.overslept(now)

    def deadline(self) -> MonoNs | None:
        """Return when the next living peer is due to be found dead."""
        alive = [peer.detector.deadline() for peer in self._peers.values() if peer.alive]
        due = earliest(*alive)
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
        peer = Peer(header, event.received_at, self._timing)
        if known is not None:
            peer.name = known.name
        peer.heard(event, self._node)
        self._peers[header.sender] = peer
        return peer
