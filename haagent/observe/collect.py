"""The core's :class:`Status`, and what only the process knows, as :class:`Facts`.

A pure function of its arguments, which are frozen: it runs in a thread.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from haagent.core.messages import DiscardReason
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.status import (
    Alarm,
    BackendsStatus,
    GroupStatus,
    PathStatus,
    PeerStatus,
    ServiceStatus,
    Status,
    Traffic,
)
from haagent.core.units import DurationNs, Moment, MonoNs, between
from haagent.observe.facts import (
    AlarmFacts,
    BackendFacts,
    ChangeFacts,
    ConfigurationFacts,
    DatagramFacts,
    Facts,
    GroupFacts,
    HAProxyFacts,
    LatenessFacts,
    PathFacts,
    PeerFacts,
    ProcessFacts,
    ServerFacts,
    ServiceFacts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the core does not know."""

    version: str
    interval: DurationNs
    fence: FenceLevel
    open_addresses: frozenset[tuple[str, IPAddress]]
    """Interface and address of what the fence lets be heard."""
    datagrams: tuple[DatagramFacts, ...]
    discards: Mapping[tuple[IPAddress, DiscardReason], int]
    lateness: LatenessFacts
    configuration: ConfigurationFacts
    process: ProcessFacts
    traffic: Mapping[tuple[str, str], Traffic]
    """Of HAProxy's servers, by backend and server: of some, when there are many."""


def facts_of(status: Status, now: Moment, around: Surroundings) -> Facts:
    """Return what there is to be told at ``now``."""
    discards: Counter[str] = Counter()
    for (_, reason), count in around.discards.items():
        discards[reason.name.lower()] += count
    return Facts(
        version=around.version,
        node=status.node,
        cluster=status.cluster,
        interval_s=around.interval / 1e9,
        fence=around.fence.value,
        groups=tuple(_group(group, now, around) for group in status.groups),
        peers=tuple(_peer(peer, now) for peer in status.peers),
        haproxy=None if status.haproxy is None else _haproxy(status.haproxy, around),
        services=() if status.nodes is None else tuple(map(_service, status.nodes.services)),
        alarms=tuple(_alarms(status.alarms)),
        datagrams=around.datagrams,
        discards=dict(discards),
        lateness=around.lateness,
        configuration=around.configuration,
        process=around.process,
    )


def _group(group: GroupStatus, now: Moment, around: Surroundings) -> GroupFacts:
    role, addresses = group.role, group.addresses
    held = [(each.interface, each.address.ip) for each in addresses if each.held]
    return GroupFacts(
        name=role.group,
        state=role.state.name.lower(),
        reason_text=role.reason.text,
        age_s=_age_s(role.since, now),
        term=role.term,
        priority=role.priority,
        base_priority=role.base_priority,
        health=role.health,
        addresses=len(addresses),
        held=len(held),
        open=len(around.open_addresses.intersection(held)),
        changes=tuple(
            ChangeFacts(
                state=change.state.name.lower(),
                reason=change.reason.name.lower(),
                count=change.count,
            )
            for change in group.changes
        ),
    )


def _peer(peer: PeerStatus, now: Moment) -> PeerFacts:
    return PeerFacts(
        name=peer.name,
        alive=peer.alive,
        hears_us=peer.hears_us,
        heard_age_s=_age_s(peer.last_heard, now),
        paths=tuple(_path(path, now) for path in peer.paths),
    )


def _path(path: PathStatus, now: Moment) -> PathFacts:
    return PathFacts(
        interface=path.interface,
        family=f"ipv{path.source.version}",
        heard_age_s=_age_s(path.last_heard, now),
        loss_ratio=None if path.loss_permille is None else path.loss_permille / 1000,
        round_trip_s=None if path.round_trip is None else path.round_trip / 1e9,
    )


def _haproxy(haproxy: BackendsStatus, around: Surroundings) -> HAProxyFacts:
    seen = {backend.name: len(backend.servers) for backend in haproxy.seen}
    return HAProxyFacts(
        reachable=haproxy.reachable,
        in_sync=haproxy.reachable and not haproxy.trouble,
        backends=tuple(
            BackendFacts(name=each.name, wanted=len(each.servers), seen=seen.get(each.name, 0))
            for each in haproxy.wanted
        ),
        servers=tuple(_server(*each) for each in around.traffic.items()),
    )


def _server(server: tuple[str, str], traffic: Traffic) -> ServerFacts:
    backend, name = server
    return ServerFacts(
        backend=backend,
        name=name,
        # With a word more while its checks begin to say otherwise: ``UP 1/3``.
        up=traffic.status.startswith(("UP", "no check")),
        sessions=traffic.sessions,
        sessions_total=traffic.sessions_total,
        bytes_in=traffic.bytes_in,
        bytes_out=traffic.bytes_out,
    )


def _service(service: ServiceStatus) -> ServiceFacts:
    return ServiceFacts(
        name=service.name,
        serving=service.serving,
        unhealthy=service.unhealthy,
        held=service.held,
        dead=service.dead,
        left=service.left,
    )


def _alarms(alarms: Iterable[Alarm]) -> Iterable[AlarmFacts]:
    counts = Counter((alarm.kind, alarm.severity.name.lower()) for alarm in alarms)
    for (kind, severity), count in counts.items():
        yield AlarmFacts(kind=kind, severity=severity, count=count)


def _age_s(since: MonoNs, now: Moment) -> float:
    # The kernel may have stamped a datagram after the clock was read.
    return max(0, between(since, now.mono)) / 1e9
