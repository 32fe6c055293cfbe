"""``haagent check``: judge a configuration file, and say what follows from it.

What it prints as guaranteed and as not covered are the rows of protocol.md 3.9 that apply to
best-effort mode with the kernel fence.  Who may change addresses is also told which level of the
fence can be had here; that is tried without installing anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from textwrap import fill
from typing import TypeAlias, assert_never

from haagent.cli.check_hooks import hooks_of, told, waits
from haagent.cli.check_node import facts as facts_of_a_node
from haagent.cli.configuration import read_either
from haagent.config import Loaded, LoadedNode
from haagent.config.values import Profile, shown
from haagent.core.checks import Consequence
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    Detection,
    FenceLevel,
    GroupSettings,
    HAProxyFileSettings,
    HeartbeatSettings,
    NodeClassSettings,
    PathSettings,
    Preempt,
)
from haagent.core.units import DurationNs
from haagent.runtime.places import by_interface, places

_CAP_NET_ADMIN = 12

_CONSEQUENCES = {
    Consequence.RELEASE: "the agent gives the group up",
    Consequence.DEMOTE: "the agent ranks below every one that is better off",
}

Levels: TypeAlias = Sequence[FenceLevel]
"""Those that the agent may come to have, the best first."""


def check(config: Path) -> None:
    """Print OK and a summary of ``config``, the file of an agent or of an app node."""
    loaded = read_either(config)
    print("OK\n")
    if isinstance(loaded, LoadedNode):
        _print_facts(facts_of_a_node(loaded))
        return
    settings = loaded.settings
    levels, fence = _fence(settings)
    people = (("notify", told(entry)) for entry in loaded.notifications)
    times = _times(loaded.profile, settings.heartbeat)
    _print_facts((*_contents(settings), *_http(loaded), *people, *fence, *times))
    print("\nguaranteed:")
    _print_points(_guaranteed(settings.heartbeat, levels))
    print("\nnot covered:")
    _print_points(
        (
            *_unchecked(settings.groups),
            *_not_covered(settings.heartbeat, levels),
            *waits(settings.groups),
        )
    )


def _file(file: HAProxyFileSettings) -> str:
    made = f"made from {file.template}" if file.template else "its marked sections"
    way = f"the master at {file.master_socket}" if file.master_socket else f"systemd, {file.unit}"
    return f"file {file.path}, {made}; reloaded by {way if file.reloads else 'somebody else'}"


def _contents(settings: AgentSettings) -> Iterator[tuple[str, str]]:
    yield "node", f"{settings.node} of cluster {settings.cluster}"
    for path in settings.heartbeat.paths:
        yield "path", f"{path.interface}, {_reach(path)}, UDP port {settings.heartbeat.port}"
        if path.reference:
            yield "", f"reference {path.reference}"
    for group in settings.groups:
        addresses = ", ".join(map(str, group.addresses))
        yield "group", f"{group.name}: {addresses} on {group.interface}, priority {group.priority}"
        yield "", f"a better agent takes over from a healthy master: {_preemption(group)}"
        yield from (("", line) for line in hooks_of(group))
        for check in group.checks:
            yield "", f"check {check.name}: {check.what}"
            after = f"{shown(check.detection)} after it fails at most"
            yield "", f"  {_CONSEQUENCES[check.on_fail]}, {after}"
    if settings.haproxy:
        yield "haproxy", settings.haproxy.socket
        if settings.haproxy.file:
            yield "", _file(settings.haproxy.file)
        for backend in settings.haproxy.backends:
            yield "", f"backend {backend.name}: {', '.join(_servers(backend))}"
    if settings.nodes:
        yield "app nodes", f"UDP port {settings.nodes.port}"
        for each in settings.nodes.classes:
            yield "", f"class {each.name}: {_pace(each)}"


def _http(loaded: Loaded) -> Iterator[tuple[str, str]]:
    for number, endpoint in enumerate(loaded.http):
        yield "" if number else "http", f"http://{endpoint}/metrics, readable by whoever reaches it"


def _servers(backend: BackendSettings) -> Iterator[str]:
    yield from (server.name for server in backend.servers)
    if backend.nodes:
        yield f"app nodes that serve {backend.nodes.service} ({backend.nodes.policy.value})"


def _pace(each: NodeClassSettings) -> str:
    jitter = f" plus or minus {shown(each.jitter)}" if each.jitter else ""
    lost = (each.timeout - each.jitter) // each.interval - 1
    return (
        f"every {shown(each.interval)}{jitter}, dead after {shown(each.timeout)} of silence "
        f"({lost} may be lost), back after {each.rise}, full weight after {shown(each.slow_start)}"
    )


def _reach(path: PathSettings) -> str:
    if path.peers:
        return f"unicast to {', '.join(map(str, path.peers))}"
    return f"multicast {path.group}"


def _preemption(group: GroupSettings) -> str:
    if group.preempt is Preempt.AFTER:
        return f"after {shown(group.preempt_after)}"
    return str(group.preempt.value)


def _times(profile: Profile, heartbeat: HeartbeatSettings) -> Iterator[tuple[str, str]]:
    each = shown(heartbeat.interval), shown(heartbeat.backup_interval)
    better = f"{shown(heartbeat.stagger)} more for each better backup"
    yield "heartbeat", "every {} as master, every {} as backup".format(*each)
    match heartbeat.detection:
        case Detection.PROBING:
            mean_ms, most_ms = (round(times * heartbeat.interval / 1_000_000) for times in (1.4, 2))
            most = f"{most_ms}ms at most while heartbeats are punctual"
            hung = f"{shown(heartbeat.takeover)} after an agent hangs whose kernel answers"
            yield "detection", f"profile {profile.value}: who is late is asked at once, five times"
            yield "", f"{mean_ms}ms after a host dies on average, {most}"
            yield "", f"{hung}; {better}"
        case Detection.FIXED:
            soonest = shown(DurationNs(heartbeat.takeover - heartbeat.interval))
            found = f"{soonest} to {shown(heartbeat.takeover)} after the master dies"
            yield "detection", f"profile {profile.value}: by silence alone, as in VRRP"
            yield "", f"{found}, {better}"
        case _:
            assert_never(heartbeat.detection)
    yield "election", f"waits up to {shown(heartbeat.answer_timeout)} for answers"
    yield "start", f"listens {shown(heartbeat.listen)} before any claim"
    yield "stall", f"an agent that stood still for {shown(heartbeat.takeover)} first releases all"


def _guaranteed(heartbeat: HeartbeatSettings, levels: Levels) -> Iterator[str]:
    yield "agents that hear each other settle on exactly one master for each group"
    yield "a planned handover releases the addresses before another agent claims them"
    guards = [level.value for level in levels if level is not FenceLevel.LIFETIME]
    if guards:
        yield (
            f"at fence level{'s' * (len(guards) - 1)} {' and '.join(guards)} the addresses of an "
            "agent that is killed fall silent at once, of one that hangs or is stopped "
            f"{shown(heartbeat.lease)} after its last heartbeat, before a peer takes over"
        )
    if _cards(heartbeat) > 1:
        yield "no agent is taken for dead because one path to it failed"


def _unchecked(groups: Sequence[GroupSettings]) -> Iterator[str]:
    names = [group.name for group in groups if not group.checks]
    if names:
        yield (
            f"whatever fails on this server but the agent, HAProxy too, moves no address of "
            f"{' and '.join(names)}, for which there are no checks"
        )


def _not_covered(heartbeat: HeartbeatSettings, levels: Levels) -> Iterator[str]:
    if _cards(heartbeat) == 1:
        yield (
            "all paths use one network card: while agents there cannot hear each other, "
            "each side has a master of its own"
        )
    else:
        yield (
            "while all paths fail together (a common switch, driver or hypervisor), each side "
            "has a master of its own"
        )
        yield "a master that clients cannot reach stays master while a path still carries it"
    if FenceLevel.LIFETIME in levels:
        yield (
            f"at fence level lifetime the addresses of a dead or hung agent stay for up to "
            f"{_lifetime_s(heartbeat)} s, so that two servers may answer for them"
        )
    if FenceLevel.NFT in levels:
        yield "at fence level nft who flushes all nftables rules opens the fence for a moment"


def _fence(settings: AgentSettings) -> tuple[Levels, list[tuple[str, str]]]:
    """Return which levels it may be, and what is said of it."""
    levels = list(FenceLevel)
    allowed = levels[: levels.index(settings.fence) + 1]
    text = " or else ".join(level.value for level in allowed)
    least = "" if settings.fence is FenceLevel.LIFETIME else ", or the agent does not start"
    said = [("fence", f"{text}{least}; 'haagent status' shows which is in force")]
    if not _may_change_addresses():
        return allowed, said
    from haagent.adapters.fence import Fence  # noqa: PLC0415  # half of a start, for who needs it

    try:
        fence = Fence(by_interface(places(settings)), settings.fence)
    except OSError as error:
        return allowed, [*said, ("", f"here the agent would not start: {error.strerror}")]
    here = ("", f"here, and with these privileges: {fence.level.value}")
    return [fence.level], [*said, here, *(("", reason) for reason in fence.refused)]


def _may_change_addresses() -> bool:
    """Return whether this process has CAP_NET_ADMIN, without which no level can be tried."""
    with suppress(FileNotFoundError):  # a machine without /proc
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        held = next(line for line in lines if line.startswith("CapEff:")).split()[1]
        return bool(int(held, 16) >> _CAP_NET_ADMIN & 1)
    return False


def _lifetime_s(heartbeat: HeartbeatSettings) -> float:
    """Return how long an address with a lifetime may outlive its last heartbeat, in seconds.

    The kernel counts whole seconds and looks late: up to 1.4 s after the end.
    """
    return -(-heartbeat.lease // 1_000_000_000) + 1.4


def _cards(heartbeat: HeartbeatSettings) -> int:
    """Return on how many network cards the paths are; VLANs of one card (eth0.5) share it."""
    return len({path.interface.partition(".")[0] for path in heartbeat.paths})


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    for label, text in facts:
        print(f"{label:<13}{text}")


def _print_points(points: Iterable[str]) -> None:
    for point in points:
        print(fill(point, width=96, initial_indent="  - ", subsequent_indent="    "))
