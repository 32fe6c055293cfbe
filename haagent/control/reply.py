"""The core's :class:`Status` and the facts of the process as one ``StatusReply``.

A pure function of its arguments: instants become ages at ``now``, enumerations become
lower-case words, ids become hexadecimal digits.

What this module does not do: speak gRPC (``server``), or lay anything out for people
(``haagent.cli.status_screen``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from haagent.control import haagent_pb2 as pb
from haagent.core.actions import Backend, Record, Server
from haagent.core.identity import GroupId, group_id
from haagent.core.messages import DiscardReason
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.status import (
    Alarm,
    BackendsStatus,
    CheckRuns,
    CheckStatus,
    GroupStatus,
    HookStatus,
    NodesStatus,
    NodeStatus,
    PathStatus,
    PeerStatus,
    RoleStatus,
    Status,
    Traffic,
)
from haagent.core.timeline import Entry
from haagent.core.units import DurationNs, Moment, MonoNs, between

STATUS_VERSION = 1
"""Rises when a field changes its meaning; a new field does not raise it."""

MOST_SERVERS = 200
"""Of each backend in a status; how many there are is told as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """What only the process knows about itself."""

    version: str
    pid: int
    started: MonoNs
    config_file: str
    loop_lateness: DurationNs
    """The latest that the event loop woke in the last minute."""
    discards: Mapping[tuple[IPAddress, DiscardReason], int]
    """How many datagrams changed nothing, since the start."""
    fence: FenceLevel
    fence_refused: tuple[str, ...]
    """Why no better level of the fence is in force, a sentence each."""
    checks: Mapping[tuple[GroupId, str], CheckRuns]
    """By group and name of the check; those that are made now."""
    traffic: Mapping[tuple[str, str], Traffic]
    """By backend and server, of those of which HAProxy has told."""
    bus: Mapping[str, str]
    """By name of each living peer: ``connected``, or why the peer bus does not reach it."""


def status_reply(status: Status, now: Moment, facts: RuntimeFacts) -> pb.StatusReply:
    """Return ``status`` and ``facts`` as they are told at ``now``."""
    return pb.StatusReply(
        status_version=STATUS_VERSION,
        time=rfc3339(now.wall // 1_000_000),
        node=status.node,
        node_id=f"{status.node_id:016x}",
        boot_id=f"{status.boot:016x}",
        cluster=status.cluster,
        alarms=[_alarm(alarm, now) for alarm in status.alarms],
        groups=[_group(group, now, facts) for group in status.groups],
        peers=[_peer(peer, now, facts) for peer in status.peers],
        haproxy=None if status.haproxy is None else _haproxy(status.haproxy, facts),
        nodes=None if status.nodes is None else _nodes(status.nodes, now),
        hooks=[_hook(hook, now) for hook in status.hooks],
        records=[record_reply(record) for record in status.records],
        runtime=_runtime(facts, now),
    )


def _alarm(alarm: Alarm, now: Moment) -> pb.Alarm:
    return pb.Alarm(
        severity=_word(alarm.severity),
        kind=alarm.kind,
        text=alarm.text,
        age_ms=_age_ms(alarm.since, now),
    )


def _hook(hook: HookStatus, now: Moment) -> pb.Hook:
    return pb.Hook(
        queue=hook.queue,
        kind=hook.kind,
        ok=hook.ok,
        text=hook.text,
        ended_age_ms=_age_ms(hook.ended, now),
        took_ms=hook.took // 1_000_000,
    )


def _group(group: GroupStatus, now: Moment, facts: RuntimeFacts) -> pb.Group:
    key = group_id(group.role.group)
    return pb.Group(
        role=_role(group.role, now),
        interface=group.interface,
        addresses=[pb.Address(address=str(one.address), held=one.held) for one in group.addresses],
        preempts_in_ms=_ms_until(group.preempts_at, now),
        checks=[
            _check(check, facts.checks.get((key, check.check.name), CheckRuns()), now)
            for check in group.checks
        ],
    )


def _check(status: CheckStatus, runs: CheckRuns, now: Moment) -> pb.Check:
    return pb.Check(
        name=status.check.name,
        what=str(status.check.what),
        on_fail=_word(status.check.on_fail),
        passed=status.passed,
        age_ms=None if status.since is None else _age_ms(status.since, now),
        runs=runs.runs,
        failed=runs.failed,
        text=runs.text or status.text,
        ended_age_ms=None if runs.age is None else runs.age // 1_000_000,
    )


def _role(role: RoleStatus, now: Moment) -> pb.Role:
    return pb.Role(
        group=role.group,
        state=_word(role.state),
        reason=_word(role.reason),
        reason_text=role.reason.text,
        age_ms=_age_ms(role.since, now),
        base_priority=role.base_priority,
        priority=role.priority,
        health=role.health,
        term=role.term,
        master=role.master,
    )


def _peer(peer: PeerStatus, now: Moment, facts: RuntimeFacts) -> pb.Peer:
    return pb.Peer(
        name=peer.name,
        node_id=f"{peer.node:016x}",
        boot_id=f"{peer.boot:016x}",
        alive=peer.alive,
        last_heard_age_ms=_age_ms(peer.last_heard, now),
        hears_us=peer.hears_us,
        paths=[_path(path, now) for path in peer.paths],
        roles=[_role(role, now) for role in peer.roles],
        bus=facts.bus.get(peer.name, ""),
    )


def _path(path: PathStatus, now: Moment) -> pb.Path:
    return pb.Path(
        interface=path.interface,
        source=str(path.source),
        last_heard_age_ms=_age_ms(path.last_heard, now),
        loss_permille=path.loss_permille,
        round_trip_us=None if path.round_trip is None else path.round_trip // 1000,
    )


def _haproxy(haproxy: BackendsStatus, facts: RuntimeFacts) -> pb.Haproxy:
    return pb.Haproxy(
        reachable=haproxy.reachable,
        wanted=[_backend(backend, {}) for backend in haproxy.wanted],
        seen=[_backend(backend, facts.traffic) for backend in haproxy.seen],
        trouble=haproxy.trouble,
        file=haproxy.file,
        file_trouble=haproxy.file_trouble,
    )


def _nodes(nodes: NodesStatus, now: Moment) -> pb.Nodes:
    return pb.Nodes(
        services=[
            pb.ServiceCount(
                service=each.name,
                serving=each.serving,
                unhealthy=each.unhealthy,
                held=each.held,
                dead=each.dead,
                left=each.left,
            )
            for each in nodes.services
        ],
        total=nodes.total,
        shown=[_node(node, now) for node in nodes.shown],
    )


def _node(node: NodeStatus, now: Moment) -> pb.AppNode:
    return pb.AppNode(
        name=node.name,
        node_class=node.node_class,
        address=str(node.address),
        standing=_word(node.standing),
        age_ms=_age_ms(node.since, now),
        last_heard_age_ms=_age_ms(node.last_heard, now),
        interval_ms=node.interval_ms,
        busy_permille=node.busy_permille,
        services=[
            pb.NodeService(name=s.name, port=s.port, weight=s.weight, healthy=s.healthy)
            for s in node.services
        ],
    )


def _backend(backend: Backend, traffic: Mapping[tuple[str, str], Traffic]) -> pb.Backend:
    # A status is made in the loop, up to five times a second for each who watches.
    servers = [
        server_reply(server, traffic.get((backend.name, server.name)))
        for server in backend.servers[:MOST_SERVERS]
    ]
    return pb.Backend(name=backend.name, servers=servers, count=len(backend.servers))


def server_reply(server: Server, traffic: Traffic | None = None) -> pb.Server:
    """Return ``server`` as it is told, with what it does where HAProxy has told that."""
    return pb.Server(
        name=server.name,
        address=str(server.address),
        port=server.port,
        weight=server.weight,
        check=server.check,
        traffic=None if traffic is None else _traffic(traffic),
    )


def _traffic(traffic: Traffic) -> pb.Traffic:
    return pb.Traffic(
        status=traffic.status,
        sessions=traffic.sessions,
        sessions_per_s=traffic.sessions_per_s,
        sessions_total=traffic.sessions_total,
        bytes_in=traffic.bytes_in,
        bytes_out=traffic.bytes_out,
    )


def event(entry: Entry) -> pb.Event:
    """Return one record of the history."""
    return pb.Event(
        node=entry.node, boot_id=f"{entry.boot:016x}", record=record_reply(entry.record)
    )


def record_reply(record: Record) -> pb.Record:
    """Return ``record`` as it is told."""
    hlc = record.stamp.hlc
    return pb.Record(
        time=rfc3339(hlc.ms),
        hlc=pb.Hlc(ms=hlc.ms, counter=hlc.counter),
        lamport=record.stamp.lamport,
        severity=_word(record.severity),
        kind=record.kind,
        text=record.text,
        group=record.group,
        term=record.term,
        number=record.number,
        cause=record.cause,
        evidence=record.evidence,
        heard=[pb.HeardOf(node=name, lamport=lamport) for name, lamport in record.heard],
    )


def _runtime(facts: RuntimeFacts, now: Moment) -> pb.Runtime:
    return pb.Runtime(
        version=facts.version,
        pid=facts.pid,
        uptime_ms=_age_ms(facts.started, now),
        config_file=facts.config_file,
        loop_lateness_ms=facts.loop_lateness / 1_000_000,
        discards=[
            pb.Discards(source=str(source), reason=_word(reason), count=count)
            for (source, reason), count in facts.discards.items()
        ],
        fence=_word(facts.fence),
        fence_refused=facts.fence_refused,
    )


def _ms_until(due: MonoNs | None, now: Moment) -> int | None:
    return None if due is None else max(0, between(now.mono, due)) // 1_000_000


def _age_ms(since: MonoNs, now: Moment) -> int:
    # The kernel stamps a datagram before we read our clock, but on a path of its own:
    # an instant may seem to lie a little ahead of ``now``.
    return max(0, between(since, now.mono)) // 1_000_000


def _word(member: Enum) -> str:
    return member.name.lower()


def rfc3339(ms: int) -> str:
    """Return the instant ``ms`` after the epoch, to the millisecond, in UTC."""
    instant = datetime.fromtimestamp(ms / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
