"""What is heard on one path, counted: turned into facts at the end.

Pure: datagrams go in as they were seen, :meth:`Tally.path` gives what is known of the path.

What this module does not do: listen or send (``listen``).
"""

from collections import Counter
from dataclasses import dataclass, field

from haagent.core.identity import GroupId, NodeId
from haagent.core.messages import (
    Datagram,
    Discard,
    DiscardReason,
    Heartbeat,
    Probe,
    ProbeAck,
)
from haagent.core.settings import IPAddress, PathSettings
from haagent.core.units import WallNs
from haagent.doctor.facts import Asked, Count, Host, Path, Stranger, Voice
from haagent.wire.inspection import Inspected, Proof
from haagent.wire.udp import UdpDatagram

MOST_STRANGERS = 16
"""A flood of forged sources says nothing that the first of them did not."""


@dataclass(slots=True)
class _Heard:
    """One agent, as it is heard from one address."""

    name: str
    macs: set[str] = field(default_factory=set)
    wire: Counter[bool] = field(default_factory=Counter)
    """Datagrams by whether they went to all."""
    passed: Counter[bool] = field(default_factory=Counter)
    newest: Heartbeat | None = None
    ahead_ms: int = 0
    configurations: dict[GroupId, int] = field(default_factory=dict)
    masters: dict[GroupId, bool] = field(default_factory=dict)
    """Whether it is master, by group."""
    moved: set[GroupId] = field(default_factory=set)


class Tally:
    """See the module docstring."""

    def __init__(self, settings: PathSettings, local: IPAddress | None, us: NodeId) -> None:
        self.settings = settings
        self.local = local
        self._us = us
        self._heard: dict[tuple[NodeId, IPAddress], _Heard] = {}
        self._strangers: Counter[tuple[IPAddress, Discard]] = Counter()
        self._macs: dict[tuple[IPAddress, Discard], set[str]] = {}
        self._sent: dict[int, tuple[NodeId, bool]] = {}
        """Who was asked with a nonce, and whether by what goes to all."""
        self._answered: set[int] = set()
        self.unsent = ""
        """Why the kernel would not send or listen."""

    def saw(self, at: WallNs, mac: str, datagram: UdpDatagram, inspected: Inspected) -> None:
        """Take in what arrived at the interface."""
        if datagram.source == self.local or not self._is_for_us(datagram):
            return
        said = inspected.said
        if inspected.proof is not Proof.OK or not isinstance(said, Datagram) or inspected.trouble:
            self._distrust(mac, datagram, inspected)
            return
        heard = self._of(said, datagram.source)
        heard.macs |= {mac} - {""}
        heard.wire[datagram.destination.is_multicast] += 1
        header, body = said.header, said.body
        heard.ahead_ms = header.stamp.hlc.ms - at // 1_000_000
        owns = header.state.owns_addresses
        if heard.masters.get(header.group, owns) is not owns:
            heard.moved.add(header.group)
        heard.masters[header.group] = owns
        if isinstance(body, Heartbeat):
            heard.name, heard.newest = body.name, body
            heard.configurations[header.group] = body.config_hash
        elif isinstance(body, ProbeAck) and body.nonce in self._sent:
            self._answered.add(body.nonce)

    def let_in(self, datagram: UdpDatagram, inspected: Inspected) -> None:
        """Take in what has passed the filters of this host."""
        said = inspected.said
        if inspected.proof is Proof.OK and isinstance(said, Datagram):
            key = said.header.sender, datagram.source
            if key in self._heard:
                self._heard[key].passed[datagram.destination.is_multicast] += 1

    def asks(self, probe: Probe, *, of_all: bool) -> None:
        """Take in that ``probe`` was sent, by what goes to all or to one alone."""
        self._sent[probe.nonce] = probe.destination, of_all

    def others(self) -> dict[NodeId, IPAddress]:
        """Return where each other agent is heard from."""
        return {node: source for node, source in self._heard if node != self._us}

    def path(self, hosts: tuple[Host, ...]) -> Path:
        """Return all that is known of the path."""
        return Path(
            settings=self.settings,
            local=self.local,
            voices=tuple(self._voice(*key, heard) for key, heard in self._heard.items()),
            strangers=tuple(
                Stranger(
                    source=key[0],
                    reason=key[1].reason,
                    detail=key[1].detail,
                    count=count,
                    macs=frozenset(self._macs[key]),
                )
                for key, count in self._strangers.items()
            ),
            asked=self._asked(),
            hosts=hosts,
            unsent=self.unsent,
        )

    def _is_for_us(self, datagram: UdpDatagram) -> bool:
        # A card that listens to everything shows what a switch floods.
        return datagram.destination.is_multicast or datagram.destination == self.local

    def _distrust(self, mac: str, datagram: UdpDatagram, inspected: Inspected) -> None:
        why = inspected.trouble
        if inspected.proof is Proof.BAD_MAC:
            why = Discard(DiscardReason.BAD_MAC)
        elif why is None:
            why = Discard(DiscardReason.MALFORMED, "not from an agent")
        key = datagram.source, why
        if key in self._strangers or len(self._strangers) < MOST_STRANGERS:
            self._strangers[key] += 1
            self._macs.setdefault(key, set()).update({mac} - {""})

    def _of(self, said: Datagram, source: IPAddress) -> _Heard:
        sender = said.header.sender
        return self._heard.setdefault((sender, source), _Heard(f"{sender:016x}"))

    def _voice(self, node: NodeId, source: IPAddress, heard: _Heard) -> Voice:
        hears_us, misses = None, False
        if heard.newest is not None:
            ours = [entry for entry in heard.newest.heard if entry.node == self._us]
            hears_us, misses = bool(ours), any(entry.by_unicast_only for entry in ours)
        return Voice(
            node=node,
            name=heard.name,
            source=source,
            macs=frozenset(heard.macs),
            wire=Count(heard.wire[True], heard.wire[False]),
            passed=Count(heard.passed[True], heard.passed[False]),
            hears_us=hears_us,
            misses_multicast=misses,
            ahead_ms=heard.ahead_ms,
            configurations=dict(heard.configurations),
            masters=frozenset(group for group, owns in heard.masters.items() if owns),
            moved=frozenset(heard.moved),
        )

    def _asked(self) -> dict[NodeId, Asked]:
        counts: dict[NodeId, Counter[tuple[bool, bool]]] = {}
        for nonce, (node, of_all) in self._sent.items():
            counts.setdefault(node, Counter())[of_all, nonce in self._answered] += 1
        return {
            node: Asked(
                to_all=count[True, True] + count[True, False],
                answered_to_all=count[True, True],
                to_one=count[False, True] + count[False, False],
                answered_to_one=count[False, True],
            )
            for node, count in counts.items()
        }
