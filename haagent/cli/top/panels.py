"""What ``haagent top`` shows of a status: alarms first, then groups, paths and HAProxy.

It is made for 80 columns: what does not matter at 3 a.m. is left to ``haagent status``.  A state
is a word; colour only repeats it.
"""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from haagent.cli.status import masters
from haagent.cli.status_screen import (
    agents,
    columns,
    duration,
    endpoint,
    health,
    holders_in,
    indented,
    loss,
    master_in,
    round_trip,
    servers,
    word,
)
from haagent.control import haagent_pb2 as pb

_UNKNOWN = "-"

_FEW_SERVERS = 40
"""More than fit on most screens, and drawing two hundred takes a quarter of a processor."""


class Verbatim:
    """Shows ``part`` as it stands: ``[fd00::1]`` is no markup, nor is what a peer may have said."""

    def __init__(self, part: RenderableType) -> None:
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._part, options.update(markup=False))


def panels(reply: pb.StatusReply) -> Verbatim:
    """Return everything that is shown of ``reply``."""
    groups = (part for group in reply.groups for part in _group(group, reply))
    return Verbatim(Group(*_alarms(reply), *groups, *_paths(reply), *_haproxy(reply)))


def _alarms(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if reply.alarms:
        yield Text(f"alarms: {len(reply.alarms)}", "bold")
    for alarm in reply.alarms:
        rest = f" {alarm.kind} for {duration(alarm.age_ms)}: {alarm.text}"
        yield Text.assemble("  ", shouted(alarm.severity), rest)


def shouted(severity: str) -> Text:
    """Return ``severity`` so that it is seen without colour too."""
    return Text(severity.upper(), word(severity).style)


def _group(group: pb.Group, reply: pb.StatusReply) -> Iterator[RenderableType]:
    owners = masters(group.role.group, reply)
    text = f"group {group.role.group}: {master_in(owners)}"
    yield Text(text, "bold" if len(owners) == 1 else "bold red")
    places = (f"{address} on {holders}" for address, holders in holders_in(group, reply))
    yield Text(f"  {', '.join(places)}")
    yield indented(agents(group.role.group, reply))


def _paths(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if not reply.peers:
        yield Text("peers: none heard yet", "bold")
        return
    table = columns("peer", "state", "path", "heard", "loss", "round trip", "hears us", "from")
    for peer in reply.peers:
        state = word("alive" if peer.alive else "silent")
        hears_us = Text("yes") if peer.hears_us else Text("no", "red")
        for path in peer.paths or [pb.Path(interface=_UNKNOWN)]:
            heard = duration(path.last_heard_age_ms)
            times = loss(path) or _UNKNOWN, round_trip(path) or _UNKNOWN
            row = path.interface, heard, *times, hears_us, path.source
            table.add_row(peer.name, state, *row)
    yield Text("peers", "bold")
    yield indented(table)


def _haproxy(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if not reply.HasField("haproxy"):
        return
    haproxy = reply.haproxy
    trouble = haproxy.trouble if haproxy.reachable else f"not reachable: {haproxy.trouble}"
    yield Text(f"haproxy: {trouble}", "bold red") if trouble else Text("haproxy", "bold")
    names = "weight", "state", "health", "open", "per s", "in", "out", "address"
    table = columns("server", *names, gap=1)
    rows = sorted(servers(haproxy), key=_is_well)
    for backend, want, have, state in rows[:_FEW_SERVERS]:
        server = have or want or pb.Server()
        row = str(server.weight), word(state), *_traffic(server), endpoint(server)
        table.add_row(f"{backend}/{server.name}", *row)
    yield indented(table)
    if len(rows) > _FEW_SERVERS:
        yield Text("  and more, these first that are in trouble: haagent haproxy show has all")


def _is_well(row: tuple[str, pb.Server | None, pb.Server | None, str]) -> bool:
    _, _, have, state = row
    return state == "in place" and not (have and have.traffic.status.startswith("DOWN"))


def _traffic(server: pb.Server) -> tuple[str | Text, ...]:
    if not server.HasField("traffic"):
        return (_UNKNOWN,) * 5
    of = server.traffic
    open_now, new = str(of.sessions), str(of.sessions_per_s)
    return health(server), open_now, new, amount(of.bytes_in), amount(of.bytes_out)


def amount(count: int) -> str:
    """Return ``count`` of bytes for a person, in at most five characters."""
    number, unit = float(count), ""
    for larger in "kMGTPE":
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"
