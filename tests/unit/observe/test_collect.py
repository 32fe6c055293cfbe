"""What becomes of the status of an agent that has stood up and fallen."""

import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address
from random import Random

import pytest

from haagent.core.actions import Backend, Server, Severity
from haagent.core.agent import Agent
from haagent.core.events import LinkChanged, Tick
from haagent.core.identity import BootId, NodeId, Priority
from haagent.core.messages import DiscardReason, State
from haagent.core.settings import (
    AgentSettings,
    FenceLevel,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
)
from haagent.core.status import Alarm, BackendsStatus, PathStatus, PeerStatus, Status, Traffic
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, milliseconds, seconds
from haagent.observe.collect import Surroundings, facts_of
from haagent.observe.facts import AlarmFacts, BackendFacts, Facts, PathFacts, ServerFacts
from haagent.observe.metrics import STATES
from tests.unit.observe.conftest import FACTS

VIP = IPv4Interface("192.0.2.100/32")
SETTINGS = AgentSettings(
    node="lb1",
    cluster="shop",
    heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
    groups=(GroupSettings(name="web", priority=Priority(150), interface="eth0", addresses=(VIP,)),),
)
AROUND = Surroundings(
    version="0.1.0",
    interval=milliseconds(200),
    fence=FenceLevel.BPF,
    open_addresses=frozenset(),
    datagrams=(),
    discards={},
    lateness=FACTS.lateness,
    configuration=FACTS.configuration,
    process=FACTS.process,
    traffic={},
)
NOW = Moment(MonoNs(seconds(100)), WallNs(0))


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(0))


def master() -> tuple[Agent, int]:
    """Return an agent that has become master alone, and when, in ms."""
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))
    agent.step(at(0), LinkChanged("eth0", up=True))
    now = 0
    while agent.status().groups[0].role.state is not State.MASTER:
        now += 10
        assert now < 5_000
        agent.step(at(now), Tick())
    return agent, now


def status() -> Status:
    return Agent(SETTINGS, BootId(1), {}, Random(1)).status()


def facts(status: Status, around: Surroundings = AROUND) -> Facts:
    return facts_of(status, NOW, around)


def test_each_change_of_role_counts_once_with_its_reason() -> None:
    agent, now = master()

    agent.step(at(now + 10), LinkChanged("eth0", up=False))

    changes = {(c.state, c.reason): c.count for c in facts(agent.status()).groups[0].changes}

    assert changes == {
        ("listen", "starting"): 1,
        ("master", "no_master"): 1,
        ("fault", "link_down"): 1,
    }


def test_an_address_is_open_only_where_the_kernel_has_it_and_the_fence_lets_it() -> None:
    plain = status()
    group = plain.groups[0]
    held = replace(group, addresses=tuple(replace(a, held=True) for a in group.addresses))
    open_here = replace(AROUND, open_addresses=frozenset({("eth0", VIP.ip)}))
    elsewhere = replace(AROUND, open_addresses=frozenset({("eth1", VIP.ip)}))

    def counts(group_status: object, around: Surroundings) -> tuple[int, int, int]:
        one = facts(replace(plain, groups=(group_status,)), around).groups[0]  # type: ignore[arg-type]
        return one.addresses, one.held, one.open

    assert counts(held, open_here) == (1, 1, 1)
    assert counts(held, elsewhere) == (1, 1, 0)
    assert counts(held, AROUND) == (1, 1, 0)
    assert counts(group, open_here) == (1, 0, 0)


def test_sources_of_discarded_datagrams_are_not_told_apart() -> None:
    """Whoever forges a source must not make a series."""
    sources = (IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv6Address("fe80::1"))
    discards = {(source, DiscardReason.BAD_MAC): 2 for source in sources}

    assert facts(status(), replace(AROUND, discards=discards)).discards == {"bad_mac": 6}


def test_alarms_of_one_kind_are_counted_together() -> None:
    def alarm(kind: str, severity: Severity) -> Alarm:
        return Alarm(kind=kind, text="", severity=severity, since=MonoNs(0))

    twice = (alarm("path.down", Severity.WARNING), alarm("path.down", Severity.WARNING))
    found = facts(replace(status(), alarms=(alarm("link.down", Severity.ERROR), *twice)))

    assert found.alarms == (
        AlarmFacts(kind="link.down", severity="error", count=1),
        AlarmFacts(kind="path.down", severity="warning", count=2),
    )


def test_ages_of_a_peer_are_seconds_and_never_negative() -> None:
    paths = (
        PathStatus(
            interface="eth0",
            source=ip_address("192.0.2.12"),
            last_heard=NOW.mono,
            loss_permille=12,
            round_trip=DurationNs(400_000),
        ),
        PathStatus(
            interface="eth0",
            source=ip_address("fe80::2"),
            last_heard=MonoNs(seconds(70)),
            loss_permille=None,
            round_trip=None,
        ),
    )
    peer = PeerStatus(
        name="lb2",
        node=NodeId(2),
        boot=BootId(2),
        alive=True,
        last_heard=MonoNs(NOW.mono + 1),
        hears_us=True,
        paths=paths,
        roles=(),
    )

    told = facts(replace(status(), peers=(peer,))).peers[0]

    assert told.heard_age_s == 0.0
    assert told.paths == (
        PathFacts(
            interface="eth0",
            family="ipv4",
            heard_age_s=0.0,
            loss_ratio=0.012,
            round_trip_s=0.0004,
        ),
        PathFacts(
            interface="eth0",
            family="ipv6",
            heard_age_s=30.0,
            loss_ratio=None,
            round_trip_s=None,
        ),
    )


@pytest.mark.parametrize(
    ("word", "up"), [("UP", True), ("UP 1/3", True), ("no check", True), ("DOWN", False)]
)
def test_a_server_is_up_while_haproxy_sends_requests_to_it(word: str, up: bool) -> None:
    traffic = Traffic(
        status=word, sessions=3, sessions_per_s=40, sessions_total=9, bytes_in=8, bytes_out=7
    )
    haproxy = BackendsStatus(reachable=True, wanted=(), seen=(), trouble="")
    around = replace(AROUND, traffic={("app", "a"): traffic})

    told = facts_of(replace(status(), haproxy=haproxy), NOW, around).haproxy

    assert told is not None
    assert told.servers == (
        ServerFacts(
            backend="app", name="a", up=up, sessions=3, sessions_total=9, bytes_in=8, bytes_out=7
        ),
    )


def test_a_backend_that_haproxy_does_not_have_has_no_server() -> None:
    server = Server(name="a", address=ip_address("192.0.2.21"), port=80, weight=100, check=True)
    wanted = (Backend("app", (server, server)), Backend("gone", (server,)))
    seen = (Backend("app", (server,)),)
    haproxy = BackendsStatus(reachable=True, wanted=wanted, seen=seen, trouble="no such backend")

    told = facts(replace(status(), haproxy=haproxy)).haproxy

    assert told is not None
    assert not told.in_sync
    assert told.backends == (
        BackendFacts(name="app", wanted=2, seen=1),
        BackendFacts(name="gone", wanted=1, seen=0),
    )


def test_every_state_has_a_series() -> None:
    assert {state.name.lower() for state in State} == set(STATES)


def test_the_heartbeat_interval_is_told_in_seconds() -> None:
    assert facts(status(), replace(AROUND, interval=DurationNs(50_000_000))).interval_s == 0.05


def test_the_agent_imports_nothing_of_the_server() -> None:
    """Which costs 17 MB and 0.1 s, and parses what strangers send."""
    script = "import sys, haagent.runtime.wiring; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    modules = done.stdout.split()
    assert "haagent.observe.child" in modules
    assert not {"aiohttp", "prometheus_client", "haagent.observe.metrics"}.intersection(modules)
