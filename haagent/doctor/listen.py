"""Some seconds on every path: who is heard, what passes, and what answers.

Two ears on each path: one on the wire, and one behind the filters of this host.  Neither takes
anything from an agent that runs here.  The questions are probes, in a boot that never was: their
receivers answer them and take in nothing of what their header says.  Virtual addresses, hosts and
the TCP ports of agents are asked in the same time.

What this module does not do: judge what it hears (``network``, ``cluster``).
"""

import asyncio
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from haagent.adapters import clock
from haagent.adapters.datagrams.raw import RawUdp
from haagent.adapters.link import Hosts, LinkFrames
from haagent.adapters.link.capture import open_tap, read
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import Event, ForeignAddressSeen, HostAnswered
from haagent.core.identity import NO_TERM, NOT_ELECTABLE, NodeId, boot_id
from haagent.core.messages import Datagram, Flag, Header, Probe, State
from haagent.core.settings import AgentSettings, IPAddress
from haagent.core.units import milliseconds
from haagent.doctor.connect import CONNECT_S, SILENT, connect
from haagent.doctor.facts import Host, Owner, Path
from haagent.doctor.tally import Tally
from haagent.runtime.places import by_interface, places
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import encode
from haagent.wire.inspection import Inspector

ROUND_S = 0.25
"""Between questions; every other one goes to all."""

_INTERVAL = milliseconds(1000)


@dataclass(frozen=True, slots=True)
class Place:
    """Our own end of a path, or why there is none."""

    local: IPAddress | None
    trouble: str


@dataclass(frozen=True, slots=True)
class Listened:
    """What came of it."""

    paths: tuple[Path, ...]
    owners: tuple[Owner, ...]


class Visit:
    """See the module docstring.  Used once, inside a running loop."""

    def __init__(
        self,
        settings: AgentSettings,
        cluster_key: bytes,
        ends: Sequence[Place],
        nodes: frozenset[NodeId],
        known: Mapping[str, frozenset[tuple[NodeId, IPAddress]]],
    ) -> None:
        """``nodes`` may be there though they are not heard; ``known``: where, by interface.

        Raises: OSError for want of CAP_NET_RAW.
        """
        names = [group.name for group in settings.groups]
        self._settings = settings
        self._keyring = Keyring(cluster_key, settings.cluster, names)
        self._inspector = Inspector(cluster_key, settings.cluster, names)
        self._ends = ends
        self._nodes = nodes
        self._known = known
        paths = settings.heartbeat.paths
        self._tallies = [
            Tally(path, end.local, settings.node_id) for path, end in zip(paths, ends, strict=True)
        ]
        self._boot = boot_id(0, secrets.randbits(32))
        self._sequence = 0
        self._answers: dict[tuple[int, IPAddress], set[str]] = {}
        self._ports: dict[tuple[int, IPAddress], str] = {}
        self._owners: set[Owner] = set()
        virtual = by_interface(places(settings))
        self._frames = LinkFrames(virtual, self._post)
        self._hosts = Hosts(paths, lambda path: ends[path].local, self._post)
        self._raw: dict[int, RawUdp] = {}
        self._taps: list[socket.socket] = []

    async def run(self, seconds: float) -> Listened:
        """Listen and ask for ``seconds``; return what came of it.

        Raises: OSError for want of CAP_NET_RAW.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            self._open()
            tasks = [asyncio.create_task(run()) for run in (self._frames.run, self._hosts.run)]
            await self._ask(seconds)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close()
        paths = (self._path(index) for index in range(len(self._tallies)))
        return Listened(tuple(paths), tuple(sorted(self._owners, key=str)))

    def _open(self) -> None:
        """Raises: PermissionError for want of CAP_NET_RAW."""
        for index, tally in enumerate(self._tallies):
            if tally.local is None:
                continue
            try:
                self._listen(index, tally, tally.local)
            except PermissionError:
                raise
            except OSError as error:
                tally.unsent = f"it cannot be listened to: {error.strerror or error}"

    def _listen(self, index: int, tally: Tally, local: IPAddress) -> None:
        """Raises: OSError."""
        loop, port = asyncio.get_running_loop(), self._settings.heartbeat.port
        tap = open_tap(tally.settings.interface, [port], sent_too=False)
        self._taps.append(tap)
        loop.add_reader(tap, self._take_tapped, tap, tally)
        raw = self._raw[index] = RawUdp(tally.settings, local, port)
        loop.add_reader(raw.socket, self._take_passed, raw, tally)

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for tap in self._taps:
            loop.remove_reader(tap)
            tap.close()
        for raw in self._raw.values():
            loop.remove_reader(raw.socket)
            raw.close()

    def _take_tapped(self, tap: socket.socket, tally: Tally) -> None:
        port = self._settings.heartbeat.port
        while tapped := read(tap):
            datagram = tapped.datagram
            ours = tally.local is not None and datagram.source.version == tally.local.version
            if not ours or datagram.destination_port != port:
                continue
            inspected = self._inspector.inspect(datagram.payload, datagram.source, datagram.ttl)
            tally.saw(clock.now().wall, tapped.mac, datagram, inspected)

    def _take_passed(self, raw: RawUdp, tally: Tally) -> None:
        while datagram := raw.read():
            inspected = self._inspector.inspect(datagram.payload, datagram.source, datagram.ttl)
            tally.let_in(datagram, inspected)

    def _post(self, event: Event) -> None:
        match event:
            case ForeignAddressSeen(interface, address, mac):
                self._owners.add(Owner(interface, address, mac))
            case HostAnswered(path, source, protocol):
                self._answers.setdefault((path, source), set()).add(protocol)
            case _:
                pass

    async def _ask(self, seconds: float) -> None:
        """Ask all in turn, until the time is over; the last answers may still come."""
        loop = asyncio.get_running_loop()
        end, turn = loop.time() + seconds, 0
        connecting: dict[tuple[int, IPAddress], asyncio.Task[None]] = {}
        try:
            while (left := end - loop.time()) > 0:
                if left > ROUND_S:
                    self._probe(of_all=turn % 2 == 0)
                if turn % 4 == 2 and left > 2 * ROUND_S:
                    self._ask_link()
                    for place in self._places():
                        if place not in connecting and left > CONNECT_S:
                            connecting[place] = asyncio.create_task(self._connect(*place))
                turn += 1
                await asyncio.sleep(min(ROUND_S, left))
        finally:
            for task in connecting.values():
                task.cancel()
            await asyncio.gather(*connecting.values(), return_exceptions=True)

    def _probe(self, *, of_all: bool) -> None:
        for index, tally in enumerate(self._tallies):
            if index not in self._raw or (of_all and tally.settings.peers):
                continue
            others = tally.others()
            if of_all:
                targets = {(node, tally.settings.group) for node in {*self._nodes, *others}}
            else:
                # Whose a configured address is, only its answer says.
                anybody = {(node, a) for node in self._nodes for a in tally.settings.peers}
                targets = {*others.items(), *anybody, *self._known_on(tally)}
            for node, target in targets:
                if target != tally.local:
                    self._send(index, node, target)

    def _send(self, index: int, node: NodeId, target: IPAddress) -> None:
        tally = self._tallies[index]
        assert tally.local is not None, "only paths with an address are opened"
        probe = Probe(destination=node, nonce=secrets.randbits(64))
        self._sequence += 1
        datagram = Datagram(self._header(index, to_one=not target.is_multicast), probe)
        try:
            self._raw[index].send(target, encode(datagram, self._keyring, tally.local))
        except OSError as error:
            tally.unsent = f"to {target}: {error.strerror or error}"
        else:
            tally.asks(probe, of_all=target.is_multicast)

    def _header(self, path: int, *, to_one: bool) -> Header:
        """Return what an agent says that is nothing yet, and cannot become anything."""
        group = self._settings.groups[0]
        return Header(
            sender=self._settings.node_id,
            boot=self._boot,
            sequence=self._sequence,
            group=group.id,
            path=path,
            flags=Flag.UNICAST if to_one else Flag.NONE,
            term=NO_TERM,
            master=None,
            state=State.INIT,
            base_priority=group.priority,
            priority=NOT_ELECTABLE,
            health=0,
            interval_ms=_INTERVAL // 1_000_000,
            timeout_ms=4 * _INTERVAL // 1_000_000,
            stamp=Stamp(Hlc(clock.now().wall // 1_000_000, 0), 0),
        )

    def _ask_link(self) -> None:
        for path, address in self._places():
            self._hosts.ask(path, address)
        for interface, address in places(self._settings):
            with suppress(OSError):
                self._frames.ask(interface, address)

    def _places(self) -> list[tuple[int, IPAddress]]:
        """Return the hosts of other agents, heard or expected, on the paths that are open."""
        return [(index, address) for index in self._raw for address in self._addresses(index)]

    def _addresses(self, index: int) -> set[IPAddress]:
        tally = self._tallies[index]
        known = {address for _, address in self._known_on(tally)}
        return {*tally.settings.peers, *known, *tally.others().values()} - {tally.local}

    def _known_on(self, tally: Tally) -> set[tuple[NodeId, IPAddress]]:
        assert tally.local is not None, "only paths with an address are opened"
        version = tally.local.version
        known = self._known.get(tally.settings.interface, frozenset())
        return {(node, address) for node, address in known if address.version == version}

    async def _connect(self, index: int, address: IPAddress) -> None:
        # Until it is known, and where the visit ends before.
        self._ports[index, address] = SILENT
        interface = self._tallies[index].settings.interface
        where = address, self._settings.heartbeat.port
        self._ports[index, address] = await connect(interface, *where)

    def _path(self, index: int) -> Path:
        tally, end = self._tallies[index], self._ends[index]
        if tally.local is None:
            return Path(settings=tally.settings, trouble=end.trouble)
        hosts = (
            Host(
                address=address,
                protocols=frozenset(self._answers.get((index, address), ())),
                port=self._ports.get((index, address), SILENT),
            )
            for address in sorted(self._addresses(index), key=str)
        )
        return tally.path(tuple(hosts))
