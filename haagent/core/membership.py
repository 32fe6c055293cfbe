"""Who is there: sessions with other agents, proven fresh, and whether each is alive.

A boot of a peer counts only after it has answered a nonce of ours (protocol.md 4.2), so a
capture played back later changes nothing.  After that every sequence number counts once.

What this module does not do: check a MAC (``haagent.wire.auth``), or judge who should be
master (``haagent.core.election``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from haagent.core.detector import Verdict
from haagent.core.events import DatagramReceived
from haagent.core.identity import BootId, GroupId, NodeId, Rank
from haagent.core.messages import (
    Answer,
    DiscardReason,
    Header,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
)
from haagent.core.peer import Peer
from haagent.core.settings import HeartbeatSettings, IPAddress
from haagent.core.units import DurationNs, MonoNs, between, later, milliseconds

CHALLENGE_INTERVAL = milliseconds(50)
"""How soon an unanswered challenge is repeated, with the same nonce."""

MAX_PENDING = 32
"""Bound on boots that are being challenged; the oldest gives way."""


_TO_ONE = (Probe, ProbeAck, ProbeRequest, ProbeResult, Answer)
"""What counts for its destination alone."""


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
        self._moved = False
        """Whether any peer came, went, or was heard from somewhere new since :meth:`places`."""
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
        before = peer.alive, peer.moves
        peer.heard(event, self._node)
        self._moved |= (peer.alive, peer.moves) != before
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
                self._moved = True
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
        if self._moved:
            self._moved = False
            self._places = frozenset(
                (path, source)
                for peer in self._peers.values()
                if peer.alive
                for path, (source, _) in peer.paths.items()
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

    def was_away(self) -> None:
        """Take in that this agent has been silent: that it is not heard means nothing yet."""
        for peer in self._peers.values():
            peer.hears_us = peer.turned_deaf = False
            peer.deaf_since = None

    def deadline(self) -> MonoNs | None:
        """Return when the next living peer is due to be found dead."""
        alive = [peer.detector.deadline() for peer in self._peers.values() if peer.alive]
        return max(min(alive), self._forgiven_until) if alive else None

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
        self._moved = True
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
        self._moved = True
        return peer
