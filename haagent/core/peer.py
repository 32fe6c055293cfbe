"""One other agent, as it is heard: a proven boot, what it says of each group, whom it hears.

What this module does not do: prove a boot (``haagent.core.membership``), or judge whether it
lives (``haagent.core.detector``).
"""

from collections import defaultdict
from dataclasses import dataclass

from haagent.core.detector import Detector
from haagent.core.events import DatagramReceived
from haagent.core.identity import GroupId, NodeId
from haagent.core.messages import Flag, Goodbye, Header, Heard, Heartbeat, RoleReason
from haagent.core.path_quality import PathQuality
from haagent.core.replay import ReplayWindow
from haagent.core.settings import HeartbeatSettings, IPAddress, patience
from haagent.core.units import MonoNs, between, later, milliseconds


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
        self.named = False
        """Whether it has ever said its name."""
        self.views: dict[GroupId, View] = {}
        self.paths: dict[int, tuple[IPAddress, MonoNs]] = {}
        self.qualities: defaultdict[int, PathQuality] = defaultdict(PathQuality)
        """How well each path carries what it says."""
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
        self.echo: Heard | None = None
        """What it last said that it has heard of us."""
        self.misses_multicast = False
        """Whether it says that nothing that we send to all arrives."""
        self.window = ReplayWindow(header.sequence)
        self.detector = Detector(timing, at)
        self._newest = header.sequence, at
        """The highest number heard, and when."""
        self._deafness = patience(timing.backup_interval)
        self._patience = milliseconds(header.timeout_ms)
        """How long it may be silent, as it has promised."""
        self._broadcast_due = later(at, self._patience)
        """Until when anything that it sends to all has to arrive here."""

    def heard(self, event: DatagramReceived, us: NodeId) -> None:
        """Take in an admitted datagram."""
        header, body = event.datagram.header, event.datagram.body
        at = self.last_heard = event.received_at
        self.moves += not self.speaks_from(event)
        self.paths[event.path] = (event.source, at)
        self.ended.discard(event.path)
        overtaken = header.sequence < self._newest[0]
        if not overtaken:
            self._newest = header.sequence, at
        self._keep_view(header, body if isinstance(body, Heartbeat) else None, at)
        if isinstance(body, Heartbeat):
            self.name, self.named = body.name, True
            self.echo = _entry_of(us, body)
            if not overtaken:
                self._keep_ears(at, self.echo)
            stream = (event.path, header.group)
            interval = milliseconds(header.interval_ms)
            self.detector.heartbeat(stream, at, interval)
            self.qualities[event.path].heartbeat(header, at, self.window)
        if isinstance(body, Goodbye) and body.reason is RoleReason.STOPPING:
            del self.views[header.group]
            self._expect_none(header.group)
        self.alive = bool(self.views)
        self._count_promises(header)
        if Flag.UNICAST not in header.flags:
            self._broadcast_due = later(at, self._patience)
        self.detector.lives(at, self._patience)

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
            self._expect_none(group)
            self._count_promises(left.header)
            self.detector.lives(self.last_heard, self._patience)

    def speaks_from(self, event: DatagramReceived) -> bool:
        """Return whether ``event`` came from where this peer was last heard on that path."""
        source, _ = self.paths.get(event.path, (None, None))
        return source == event.source

    def loss_permille(self, path: int) -> int | None:
        """Return how much of what it says there is lost of late; None before that is known."""
        return self.qualities[path].loss_permille(self.last_heard, self.window)

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
        sequence, at = self._newest
        return Heard(
            node=self.node,
            sequence_low=sequence & 0xFFFF_FFFF,
            age_us=between(at, now) // 1000,
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

    def _expect_none(self, group: GroupId) -> None:
        self.detector.forget(group)
        for quality in self.qualities.values():
            quality.forget(group)

    def _keep_ears(self, at: MonoNs, entry: Heard | None) -> None:
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
        timeout_ms = header.timeout_ms
        if len(self.views) > 1 or header.group not in self.views:
            promises = (view.header.timeout_ms for view in self.views.values())
            timeout_ms = min(promises, default=timeout_ms)
        self._patience = milliseconds(timeout_ms)


def _entry_of(node: NodeId, heartbeat: Heartbeat) -> Heard | None:
    for each in heartbeat.heard:
        if each.node == node:
            return each
    return None
