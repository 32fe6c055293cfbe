"""The metrics: :class:`Facts` in Prometheus' text format.

Names, units and labels by Prometheus' rules (prometheus.io/docs/practices/naming); what they mean
is in ``docs/monitoring.md``.  How many series there are depends on the groups, peers, paths and
backends of the configuration, and never on how many app nodes there are; of the servers of each
backend there are some at most.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from haagent.observe.facts import Facts, GroupFacts, HAProxyFacts, LatenessFacts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STATES = (
    "init",
    "listen",
    "backup",
    "suspect",
    "candidate",
    "master",
    "resigning",
    "fault",
)

STANDINGS = ("serving", "unhealthy", "held", "dead", "left")

Labels: TypeAlias = Mapping[str, str]
Samples: TypeAlias = Iterator[tuple[Labels, float]]


def exposition(facts: Facts, *more: Metric) -> bytes:
    """Return all metrics as they are served; ``more`` are those of the server itself."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Made([*families(facts), *more]))
    return generate_latest(registry)


def gauge(name: str, text: str, *samples: tuple[Labels, float]) -> Metric:
    """Return a metric that goes up and down."""
    return _filled(GaugeMetricFamily(name, text), samples)


def counter(name: str, text: str, *samples: tuple[Labels, float]) -> Metric:
    """Return a metric that only rises, until the agent starts again; its name gets ``_total``."""
    return _filled(CounterMetricFamily(name, text), samples, "_total")


def families(facts: Facts) -> Iterator[Metric]:
    """Yield every metric of the agent."""
    yield gauge(
        "haagent_build_info", "Version of haagent, always 1.", ({"version": facts.version}, 1)
    )
    yield gauge(
        "haagent_agent_info",
        "Name of the agent and of its cluster, always 1.",
        ({"cluster": facts.cluster, "node": facts.node}, 1),
    )
    yield gauge(
        "haagent_heartbeat_interval_seconds",
        "How often a master sends heartbeats.",
        ({}, facts.interval_s),
    )
    yield from _groups(facts)
    yield from _peers(facts)
    yield from _datagrams(facts)
    if facts.haproxy is not None:
        yield from _haproxy(facts.haproxy)
    yield gauge(
        "haagent_nodes",
        "How many app nodes have the service, by how they stand.",
        *(
            ({"service": each.name, "standing": standing}, getattr(each, standing))
            for each in facts.services
            for standing in STANDINGS
        ),
    )
    yield gauge(
        "haagent_alarms",
        "How many alarms are on; a kind of which none is on has no series.",
        *(({"kind": a.kind, "severity": a.severity}, a.count) for a in facts.alarms),
    )
    yield from _process(facts)
    yield _lateness(facts.lateness)


def _groups(facts: Facts) -> Iterator[Metric]:
    def of(group: GroupFacts, **more: str) -> Labels:
        return {"cluster": facts.cluster, "group": group.name, **more}

    groups = facts.groups
    yield gauge(
        "haagent_group_state",
        "State of this agent in the group: 1 for the one that it is in.",
        *((of(g, state=state), g.state == state) for g in groups for state in STATES),
    )
    for name, text in (
        ("state_age_seconds", "How long this agent has been in its state."),
        ("term", "Term of the group; rises with every change of master."),
        ("priority", "Effective priority of this agent; 0 while it cannot be master."),
        ("base_priority", "Priority of this agent as configured."),
        ("health", "Health of this agent; below 100 while checks demote it."),
        ("addresses", "Virtual addresses of the group."),
        ("addresses_held", "Virtual addresses that are on this host, confirmed by the kernel."),
        ("addresses_open", "Virtual addresses on this host that the fence lets be heard."),
    ):
        value = _GROUP_VALUES.get(name, name)
        samples = ((of(g), float(getattr(g, value))) for g in groups)
        yield gauge(f"haagent_group_{name}", text, *samples)
    yield counter(
        "haagent_group_role_changes",
        "How often this agent has come into the state for the reason.",
        *((of(g, state=c.state, reason=c.reason), c.count) for g in groups for c in g.changes),
    )
    yield counter(
        "haagent_group_became_master",
        "How often this agent has become master.",
        *((of(g), sum(c.count for c in g.changes if c.state == "master")) for g in groups),
    )


_GROUP_VALUES = {
    "state_age_seconds": "age_s",
    "addresses_held": "held",
    "addresses_open": "open",
}
"""The field of a metric that is not called like it."""


def _peers(facts: Facts) -> Iterator[Metric]:
    peers = facts.peers
    cluster = {"cluster": facts.cluster}
    yield gauge(
        "haagent_peers_alive",
        "How many other agents are alive.",
        (cluster, sum(peer.alive for peer in peers)),
    )
    yield gauge(
        "haagent_peer_alive",
        "Whether the other agent is alive.",
        *(({**cluster, "peer": peer.name}, peer.alive) for peer in peers),
    )
    yield gauge(
        "haagent_peer_hears_us",
        "Whether the other agent hears this one.",
        *(({**cluster, "peer": peer.name}, peer.hears_us) for peer in peers),
    )
    yield gauge(
        "haagent_peer_last_heard_age_seconds",
        "How long ago the other agent was heard.",
        *(({**cluster, "peer": peer.name}, peer.heard_age_s) for peer in peers),
    )
    yield from _paths(facts)


def _paths(facts: Facts) -> Iterator[Metric]:
    paths = [
        (
            {
                "cluster": facts.cluster,
                "peer": peer.name,
                "interface": path.interface,
                "family": path.family,
            },
            path,
        )
        for peer in facts.peers
        for path in peer.paths
    ]
    yield gauge(
        "haagent_peer_path_last_heard_age_seconds",
        "How long ago the other agent was heard on the path.",
        *((labels, path.heard_age_s) for labels, path in paths),
    )
    yield gauge(
        "haagent_peer_path_loss_ratio",
        "How much of its heartbeats was lost on the path of late.",
        *((labels, p.loss_ratio) for labels, p in paths if p.loss_ratio is not None),
    )
    yield gauge(
        "haagent_peer_path_round_trip_seconds",
        "How long it takes to the other agent and back on the path, of late.",
        *((labels, p.round_trip_s) for labels, p in paths if p.round_trip_s is not None),
    )


def _datagrams(facts: Facts) -> Iterator[Metric]:
    each = [({"interface": d.interface, "type": d.type}, d) for d in facts.datagrams]
    yield counter(
        "haagent_datagrams_sent",
        "Datagrams that have left this host, by type; a heartbeat counts on each path.",
        *((labels, d.sent) for labels, d in each),
    )
    yield counter(
        "haagent_datagrams_received",
        "Genuine datagrams that came, by type.",
        *((labels, d.received) for labels, d in each),
    )
    yield counter(
        "haagent_datagrams_discarded",
        "Datagrams that changed nothing, by reason.",
        *(({"reason": reason}, count) for reason, count in facts.discards.items()),
    )


def _haproxy(haproxy: HAProxyFacts) -> Iterator[Metric]:
    yield gauge(
        "haagent_haproxy_reachable", "Whether the local HAProxy answers.", ({}, haproxy.reachable)
    )
    yield gauge(
        "haagent_haproxy_in_sync",
        "Whether the local HAProxy has the servers that are wanted.",
        ({}, haproxy.in_sync),
    )
    yield gauge(
        "haagent_backend_servers_wanted",
        "How many servers the backend is to have.",
        *(({"backend": each.name}, each.wanted) for each in haproxy.backends),
    )
    yield gauge(
        "haagent_backend_servers_seen",
        "How many servers HAProxy was last seen to have in the backend.",
        *(({"backend": each.name}, each.seen) for each in haproxy.backends),
    )
    yield from _servers(haproxy)


def _servers(haproxy: HAProxyFacts) -> Iterator[Metric]:
    each = [
        ({"backend": server.backend, "server": server.name}, server) for server in haproxy.servers
    ]
    yield gauge(
        "haagent_server_up",
        "Whether HAProxy sends requests to the server.",
        *((labels, server.up) for labels, server in each),
    )
    yield gauge(
        "haagent_server_current_sessions",
        "Sessions that are open with the server.",
        *((labels, server.sessions) for labels, server in each),
    )
    yield counter(
        "haagent_server_sessions",
        "Sessions that the server has had, since HAProxy started.",
        *((labels, server.sessions_total) for labels, server in each),
    )
    yield counter(
        "haagent_server_bytes_in",
        "Bytes that clients have sent to the server, since HAProxy started.",
        *((labels, server.bytes_in) for labels, server in each),
    )
    yield counter(
        "haagent_server_bytes_out",
        "Bytes that the server has sent to clients, since HAProxy started.",
        *((labels, server.bytes_out) for labels, server in each),
    )


def _process(facts: Facts) -> Iterator[Metric]:
    yield gauge("haagent_fence_info", "Level of the fence, always 1.", ({"level": facts.fence}, 1))
    configuration, process = facts.configuration, facts.process
    yield gauge(
        "haagent_config_last_reload_successful",
        "Whether the configuration was accepted when it was read last.",
        ({}, configuration.accepted),
    )
    yield gauge(
        "haagent_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was accepted, in seconds since 1970.",
        ({}, configuration.accepted_at_s),
    )
    yield counter(
        "process_cpu_seconds", "Processor time that the agent has used.", ({}, process.cpu_s)
    )
    yield gauge(
        "process_resident_memory_bytes",
        "Memory of the agent that is resident.",
        ({}, process.memory_bytes),
    )
    yield gauge(
        "process_start_time_seconds",
        "When the agent was started, in seconds since 1970.",
        ({}, process.started_at_s),
    )
    yield gauge(
        "haagent_loop_lateness_worst_seconds",
        "The latest that the agent's loop woke in the last minute.",
        ({}, facts.lateness.worst_s),
    )


def _lateness(lateness: LatenessFacts) -> Metric:
    ends = [*map(str, lateness.bounds_s), "+Inf"]
    buckets = list(zip(ends, accumulate(lateness.counts), strict=True))
    return HistogramMetricFamily(
        "haagent_loop_lateness_seconds",
        "How late the agent's loop woke when something was due.",
        buckets=buckets,
        sum_value=lateness.sum_s,
    )


def _filled(family: Metric, samples: tuple[tuple[Labels, float], ...], suffix: str = "") -> Metric:
    for labels, value in samples:
        family.add_sample(f"{family.name}{suffix}", dict(labels), float(value))
    return family


class _Made(Collector):
    """Metrics as they are."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics
