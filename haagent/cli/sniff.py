"""``haagent sniff``: what agents and app nodes say to each other, live or from a capture.

Live, it needs CAP_NET_RAW and takes nothing from anybody: it looks at the wire, not at a port.
With the key of the cluster it tells what is genuine; without one it shows what anybody claims.

Exit codes: 0 done, also by Ctrl-C; 1 it cannot listen or the capture cannot be read to its end;
2 bad usage, configuration or key.

What this module does not do: lay a datagram out (``sniff_line``).
"""

import json
import select
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from haagent.adapters import clock
from haagent.adapters.link.capture import open_tap, read as read_tap
from haagent.cli.configuration import read
from haagent.cli.sniff_line import Names, Seen, line, values
from haagent.config import KeyFileError, read_key
from haagent.core.settings import DEFAULT_PORT, AgentSettings, NodesSettings
from haagent.core.units import WallNs
from haagent.wire.inspection import Inspector
from haagent.wire.udp import UdpDatagram


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the operator asked for."""

    interfaces: tuple[str, ...]
    """None: those of the configuration, or else all."""
    pcap: Path | None
    config: Path | None
    key: Path | None
    cluster: str
    groups: tuple[str, ...]
    count: int | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose datagrams they are, and where they are to be heard."""

    inspector: Inspector
    names: Names
    ports: tuple[int, ...]
    interfaces: tuple[str, ...]


def sniff(wanted: Wanted) -> None:
    """Show each datagram as it comes, until there are enough, the file ends, or Ctrl-C."""
    place = _place(wanted)
    heard = _from_file(wanted.pcap, place.ports) if wanted.pcap else _live(place)
    shown = 0
    try:
        for at, interface, datagram in heard:
            inspected = place.inspector.inspect(datagram.payload, datagram.source, datagram.ttl)
            seen = Seen(at, interface, datagram, inspected)
            place.names.learn(inspected.said)
            if wanted.as_json:
                print(json.dumps(values(seen, place.names)), flush=True)
            else:
                print(line(seen, place.names), flush=True)
            shown += 1
            if shown == wanted.count:
                return
    except KeyboardInterrupt:
        pass


def _place(wanted: Wanted) -> _Place:
    settings, file, ports = None, wanted.key, (DEFAULT_PORT, NodesSettings().port)
    if wanted.config is not None:
        loaded = read(wanted.config)
        settings, file = loaded.settings, loaded.key_file
        ports = settings.heartbeat.port, (settings.nodes or NodesSettings()).port
    cluster = settings.cluster if settings else wanted.cluster
    groups = tuple(group.name for group in settings.groups) if settings else wanted.groups
    interfaces = wanted.interfaces or _interfaces(settings)
    try:
        key = None if file is None else read_key(file)
        inspector = Inspector(key, cluster, groups)
    except (KeyFileError, ValueError) as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(2)
    nodes = (settings.node,) if settings else ()
    return _Place(inspector, Names(groups, nodes), ports, interfaces)


def _interfaces(settings: AgentSettings | None) -> tuple[str, ...]:
    if settings is None:
        return tuple(name for _, name in socket.if_nameindex())
    nodes = settings.nodes.interfaces if settings.nodes else ()
    paths = (path.interface for path in settings.heartbeat.paths)
    return tuple(dict.fromkeys((*paths, *nodes)))


def _from_file(path: Path, ports: tuple[int, ...]) -> Iterator[tuple[WallNs, str, UdpDatagram]]:
    from haagent.adapters.capture_file import CaptureError, captured  # noqa: PLC0415

    try:
        for one in captured(path):
            # An answer to an app node goes to whatever port the node has.
            if {one.datagram.source_port, one.datagram.destination_port} & {*ports}:
                yield one
    except CaptureError as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(1)


def _live(place: _Place) -> Iterator[tuple[WallNs, str, UdpDatagram]]:
    taps = {name: tap for name in place.interfaces if (tap := _tap(name, place.ports))}
    if not taps:
        sys.exit(1)
    print(f"listening on {', '.join(taps)}", file=sys.stderr)
    while True:
        ready, _, _ = select.select(taps.values(), [], [])
        for tap in ready:
            tapped = read_tap(tap)
            if tapped is not None:
                yield clock.now().wall, tapped.interface, tapped.datagram


def _tap(interface: str, ports: tuple[int, ...]) -> socket.socket | None:
    """Return where to listen on ``interface``; None, with why on stderr, where nobody can."""
    try:
        return open_tap(interface, ports, sent_too=True)
    except OSError as error:
        print(f"haagent: {error.strerror}", file=sys.stderr)
        return None
