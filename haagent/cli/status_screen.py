"""The screen of ``haagent status``: alarms first, then groups, peers, HAProxy, discards.

Plain lines and columns, no boxes: it reads without colour, fits 80 columns, and a line that
goes to a file or to grep is never broken.
"""

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from haagent.cli.status import agents_in, is_demoted, masters
from haagent.control import haagent_pb2 as pb
from haagent.core.units import in_words, milliseconds

_WIDE = 240
"""Columns when nobody's screen sets a width: enough that no line is broken."""

_NEWEST_HOOKS = 10
"""Hooks on the screen that ended well."""

_NEWEST = 5
"""Records on the screen; JSON has all that the agent keeps."""

_FEW_NODES = 10
"""App nodes on the screen, those in trouble first; JSON has a hundred."""

_STYLES = {
    "master": "bold green",
    "fault": "bold red",
    "fails": "bold red",
    "silent": "bold red",
    "dead": "bold red",
    "held": "yellow",
    "critical": "bold red",
    "error": "red",
    "warning": "yellow",
    "missing": "red",
    "differs": "red",
    "not wanted": "yellow",
}

_FENCE = {
    "bpf": "killed: silent at once; hung or stopped: 3 intervals after a heartbeat",
    "nft": "as level bpf, but whoever flushes all nftables rules opens it for a moment",
    "lifetime": "killed, hung or stopped: heard for whole seconds and up to 1.4 s more",
}
"""What an agent at each level of the fence has of its addresses, as in docs/guarantees.md."""


def show(reply: pb.StatusReply) -> None:
    """Print the screen once."""
    terminal().print(screen(reply))


def show_live(replies: Iterator[pb.StatusReply]) -> None:
    """Redraw the screen for each reply; where there is no screen, print one after the other."""
    console = terminal()
    if not console.is_interactive:
        for reply in replies:
            console.print(screen(reply))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for reply in replies:
            live.update(screen(reply), refresh=True)


def screen(reply: pb.StatusReply) -> Group:
    """Return everything that ``reply`` tells, for a width of 80 columns or more."""
    return Group(
        *_head(reply),
        *(part for group in reply.groups for part in _group(group, reply)),
        *_peers(reply),
        *_haproxy(reply),
        *_nodes(reply),
        *_hooks(reply),
        *_records(reply),
        *_discards(reply),
    )


def terminal() -> Console:
    """Return where a command prints what is for people."""
    # Names and texts come from configuration and from peers: nothing in them is markup.
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def _head(reply: pb.StatusReply) -> Iterator[RenderableType]:
    runtime = reply.runtime
    yield f"cluster {reply.cluster} as {reply.node} sees it at {reply.time}"
    yield (
        f"haagent {runtime.version}, pid {runtime.pid}, up {duration(runtime.uptime_ms)},"
        f" loop at most {runtime.loop_lateness_ms:.1f} ms late, fence {runtime.fence}"
    )
    if runtime.fence in _FENCE:
        yield f"  {_FENCE[runtime.fence]}"
    for reason in runtime.fence_refused:
        yield f"  {reason}"
    for alarm in reply.alarms:
        severity = alarm.severity.upper()
        line = f"{severity} {alarm.kind} for {duration(alarm.age_ms)}: {alarm.text}"
        yield Text(line, _STYLES.get(alarm.severity, ""))


def _group(group: pb.Group, reply: pb.StatusReply) -> Iterator[RenderableType]:
    name = group.role.group
    owners = masters(name, reply)
    yield title(f"group {name}: {master_in(owners)}", good=len(owners) == 1)
    yield indented(_addresses(group, reply))
    yield indented(agents(name, reply))
    yield from _checks(group)
    if group.HasField("preempts_in_ms"):
        yield f"  {reply.node} asks for a handover in {duration(group.preempts_in_ms)}"


def agents(group: str, reply: pb.StatusReply) -> Table:
    """Return each agent's part in ``group``."""
    table = columns("agent", "role", "for", "priority", "term", "reason")
    for agent, role, silence_ms in agents_in(group, reply):
        if silence_ms is None:
            state, age_ms, reason = role.state, role.age_ms, role.reason_text
        else:
            state, age_ms, reason = "silent", silence_ms, f"was {role.state} when last heard"
        priority = f"{role.priority} demoted" if is_demoted(role) else str(role.priority)
        rank = (priority, str(role.term))
        table.add_row(agent, word(state), duration(age_ms), *rank, reason)
    return table


def _checks(group: pb.Group) -> Iterator[RenderableType]:
    if not group.checks:
        return
    table = columns("check", "state", "for", "on fail", "looks at", "last result")
    for check in group.checks:
        state, age = "not yet", ""
        if check.HasField("passed"):
            state, age = "passes" if check.passed else "fails", duration(check.age_ms)
        table.add_row(check.name, word(state), age, check.on_fail, check.what, check.text)
    yield indented(table)


def master_in(owners: list[str]) -> str:
    """Return how many of ``owners`` there are, of whom there should be one, and who."""
    match owners:
        case []:
            return "no master"
        case [owner]:
            return f"master {owner}"
        case _:
            return f"{len(owners)} masters: {', '.join(owners)}"


def _addresses(group: pb.Group, reply: pb.StatusReply) -> Table:
    table = columns("address", "interface", "host")
    for address, holders in holders_in(group, reply):
        table.add_row(address, group.interface, holders)
    return table


def holders_in(group: pb.Group, reply: pb.StatusReply) -> Iterator[tuple[str, str]]:
    """Yield each address of ``group`` and the hosts that have it."""
    # Of our own host the kernel told us; of another we only know the role.
    others = [name for name in masters(group.role.group, reply) if name != reply.node]
    for address in group.addresses:
        holders = [reply.node, *others] if address.held else others
        yield address.address, ", ".join(holders) or "none"


def _peers(reply: pb.StatusReply) -> Iterator[RenderableType]:
    yield title("peers" if reply.peers else "peers: none heard yet")
    table = columns("peer", "state", "heard", "hears us")
    paths = columns("peer", "path", "from", "heard", "round trip", "lost")
    for peer in reply.peers:
        table.add_row(
            peer.name,
            word("alive" if peer.alive else "silent"),
            f"{duration(peer.last_heard_age_ms)} ago",
            Text("yes") if peer.hears_us else Text("no", "red"),
        )
        for path in peer.paths:
            heard = f"{duration(path.last_heard_age_ms)} ago"
            where = (path.interface, path.source)
            paths.add_row(peer.name, *where, heard, round_trip(path), loss(path))
    yield indented(table)
    if paths.row_count:
        yield indented(paths)
    for peer in reply.peers:
        if peer.bus not in {"", "connected"}:
            yield indented(Text(f"peer bus: {peer.name} {peer.bus}", "yellow"))


def round_trip(path: pb.Path) -> str:
    """Return the round trip time of ``path``; empty where it is not known."""
    return f"{path.round_trip_us / 1000:.1f} ms" if path.HasField("round_trip_us") else ""


def loss(path: pb.Path) -> Text:
    """Return what share is lost on ``path``; empty where it is not known."""
    if not path.HasField("loss_permille"):
        return Text()
    if not path.loss_permille:
        return Text("none")
    return Text(f"{path.loss_permille / 10:.1f} %", "red")


def _haproxy(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if not reply.HasField("haproxy"):
        return
    haproxy = reply.haproxy
    if not haproxy.reachable:
        yield title(f"haproxy: not reachable: {haproxy.trouble}", good=False)
    elif haproxy.trouble:
        yield title(f"haproxy: {haproxy.trouble}", good=False)
    else:
        yield title("haproxy: has what is wanted")
    table = columns("backend", "server", "address", "weight", "health", "sess/s", "state")
    for name, want, have, state in servers(haproxy):
        server = want or have or pb.Server()
        what = (endpoint(server), str(server.weight))
        table.add_row(name, server.name, *what, *_traffic(have), word(state))
    yield indented(table)
    for backend in haproxy.wanted:
        if backend.count > len(backend.servers):
            left = backend.count - len(backend.servers)
            yield f"  {left} more in backend {backend.name}: haagent haproxy show"
    if haproxy.file:
        yield Text(f"  file {haproxy.file_trouble or haproxy.file}", _red_if(haproxy.file_trouble))


def servers(
    haproxy: pb.Haproxy,
) -> Iterator[tuple[str, pb.Server | None, pb.Server | None, str]]:
    """Yield backend, server as wanted, as HAProxy has it, and how the two agree."""
    wanted, seen = _servers(haproxy.wanted), _servers(haproxy.seen)
    cut = {each.name for each in haproxy.wanted if each.count > len(each.servers)}
    for key in sorted(wanted.keys() | seen.keys()):
        want, have = wanted.get(key), seen.get(key)
        if key[0] in cut and (want is None or have is None):
            continue  # It may well be there: the lists are cut off at different servers.
        state = _agreement(want, have) if haproxy.reachable else "unknown"
        yield key[0], want, have, state


def _red_if(trouble: str) -> str:
    return "red" if trouble else ""


def _servers(backends: Iterable[pb.Backend]) -> dict[tuple[str, str], pb.Server]:
    return {
        (backend.name, server.name): server for backend in backends for server in backend.servers
    }


def _agreement(want: pb.Server | None, have: pb.Server | None) -> str:
    if have is None:
        return "missing"
    if want is None:
        return "not wanted"
    seen = pb.Server()
    seen.CopyFrom(have)
    seen.ClearField("traffic")  # Nobody has wanted that.
    return "in place" if want == seen else "differs"


def _traffic(server: pb.Server | None) -> tuple[Text, str]:
    if server is None or not server.HasField("traffic"):
        return Text(), ""
    return health(server), str(server.traffic.sessions_per_s)


def health(server: pb.Server) -> Text:
    """Return what HAProxy thinks of ``server``."""
    status = server.traffic.status
    return Text(status, "red" if status.startswith("DOWN") else "")


def endpoint(server: pb.Server) -> str:
    """Return address and port of ``server`` as HAProxy writes them."""
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"{host}:{server.port}"


def _nodes(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if not reply.HasField("nodes"):
        return
    nodes = reply.nodes
    well = all(not (each.unhealthy or each.held or each.dead) for each in nodes.services)
    yield title(f"app nodes: {nodes.total}" if nodes.total else "app nodes: none heard yet", well)
    if not nodes.total:
        return
    counts = columns("service", "serving", "unhealthy", "held", "dead", "left")
    for each in nodes.services:
        numbers = (each.serving, each.unhealthy, each.held, each.dead, each.left)
        counts.add_row(each.service, *map(str, numbers))
    yield indented(counts)
    table = columns("node", "state", "for", "heard", "busy", "services")
    for node in nodes.shown[:_FEW_NODES]:
        table.add_row(
            node.name,
            word(node.standing),
            duration(node.age_ms),
            f"{duration(node.last_heard_age_ms)} ago",
            f"{node.busy_permille // 10} %",
            ", ".join(f"{s.name}:{s.port}" + " unhealthy" * (not s.healthy) for s in node.services),
        )
    yield indented(table)
    if (more := nodes.total - len(nodes.shown[:_FEW_NODES])) > 0:
        yield f"  and {more} more"


def _hooks(reply: pb.StatusReply) -> Iterator[RenderableType]:
    failed = [hook for hook in reply.hooks if not hook.ok]
    # Of a fleet the newest do; but what has failed is never left out.
    shown = [*failed, *[hook for hook in reply.hooks if hook.ok][-_NEWEST_HOOKS:]]
    if shown:
        yield title("hooks", good=not failed)
        table = columns("hook", "of", "ended", "took", "result")
        for hook in shown:
            times = f"{duration(hook.ended_age_ms)} ago", duration(hook.took_ms)
            table.add_row(hook.kind, hook.queue, *times, Text(hook.text, "" if hook.ok else "red"))
        yield indented(table)


def _records(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if reply.records:
        yield title("newest records")
        table = columns("time", "severity", "kind", "text")
        for record in reply.records[-_NEWEST:]:
            table.add_row(record.time, word(record.severity), record.kind, record.text)
        yield indented(table)


def _discards(reply: pb.StatusReply) -> Iterator[RenderableType]:
    if reply.runtime.discards:
        yield title("discarded datagrams")
        table = columns("source", "reason", "count")
        for discards in reply.runtime.discards:
            table.add_row(discards.source, discards.reason, str(discards.count))
        yield indented(table)


def title(text: str, good: bool = True) -> Text:
    """Return the head line of a part, after an empty one."""
    return Text(f"\n{text}", "bold" if good else "bold red")


def columns(*names: str, giving_way: int = 1, gap: int = 2) -> Table:
    """Return a table of which the last ``giving_way`` columns break on a narrow screen.

    The others are short words.
    """
    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))
    for place, name in enumerate(names, start=1):
        whole = place <= len(names) - giving_way
        table.add_column(name, header_style="dim", no_wrap=whole, overflow="fold")
    return table


def indented(part: RenderableType, by: int = 2) -> RenderableType:
    """Return ``part`` moved to the right, with all its lines."""
    return Padding(part, (0, 0, 0, by), expand=False)


def word(text: str) -> Text:
    """Return ``text``, in the style of what it says if it is a state."""
    return Text(text, _STYLES.get(text, ""))


def duration(ms: int) -> str:
    """Return ``ms`` for a person."""
    return in_words(milliseconds(ms))
