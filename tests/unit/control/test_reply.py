"""What becomes of single values on their way to the control socket."""

from dataclasses import replace
from ipaddress import IPv4Address

from haagent.control.reply import MOST_SERVERS, RuntimeFacts, status_reply
from haagent.core.actions import Backend, Server, Severity
from haagent.core.identity import BootId, NodeId
from haagent.core.settings import FenceLevel
from haagent.core.status import Alarm, BackendsStatus, NodesStatus, Status, Traffic
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, seconds

NOW = Moment(MonoNs(seconds(100)), WallNs(0))
STATUS = Status(
    node="lb1",
    node_id=NodeId(0xFF),
    boot=BootId(2**64 - 1),
    cluster="shop",
    groups=(),
    peers=(),
    haproxy=None,
    alarms=(),
    records=(),
)
FACTS = RuntimeFacts(
    version="0.1.0",
    pid=1,
    started=MonoNs(seconds(40)),
    config_file="",
    loop_lateness=DurationNs(1_500_000),
    discards={},
    fence=FenceLevel.BPF,
    fence_refused=(),
    checks={},
    traffic={},
    bus={},
)


def alarm_since(since: MonoNs) -> Alarm:
    return Alarm(kind="a", text="b", severity=Severity.CRITICAL, since=since)


def test_ids_use_all_their_bits_and_every_digit() -> None:
    reply = status_reply(STATUS, NOW, FACTS)

    assert (reply.node_id, reply.boot_id) == ("0" * 14 + "ff", "f" * 16)


def test_instants_become_ages_in_milliseconds() -> None:
    reply = status_reply(replace(STATUS, alarms=(alarm_since(MonoNs(seconds(99))),)), NOW, FACTS)

    assert (reply.alarms[0].age_ms, reply.runtime.uptime_ms) == (1_000, 60_000)


def test_an_instant_ahead_of_the_clock_has_the_age_zero() -> None:
    """The kernel may stamp a datagram after the moment that the step began with."""
    reply = status_reply(replace(STATUS, alarms=(alarm_since(MonoNs(NOW.mono + 1)),)), NOW, FACTS)

    assert reply.alarms[0].age_ms == 0


def test_no_configured_haproxy_is_absent_and_not_empty() -> None:
    assert not status_reply(STATUS, NOW, FACTS).HasField("haproxy")


def test_a_status_has_the_first_servers_of_a_long_list_and_how_many_there_are() -> None:
    server = Server(name="s", address=IPv4Address("192.0.2.1"), port=80, weight=1, check=True)
    backend = Backend("app", (server,) * (MOST_SERVERS + 1))
    haproxy = BackendsStatus(reachable=True, wanted=(backend,), seen=(backend,), trouble="")

    told = status_reply(replace(STATUS, haproxy=haproxy), NOW, FACTS).haproxy

    for each in (told.wanted[0], told.seen[0]):
        assert (len(each.servers), each.count) == (MOST_SERVERS, MOST_SERVERS + 1)


def test_what_a_server_does_is_told_of_what_haproxy_has_and_not_of_what_is_wanted() -> None:
    server = Server(name="s", address=IPv4Address("192.0.2.1"), port=80, weight=1, check=True)
    backends = (Backend("app", (server,)), Backend("other", (server,)))
    haproxy = BackendsStatus(reachable=True, wanted=backends, seen=backends, trouble="")
    traffic = Traffic(
        status="UP", sessions=3, sessions_per_s=4, sessions_total=5, bytes_in=6, bytes_out=7
    )
    facts = replace(FACTS, traffic={("app", "s"): traffic})

    told = status_reply(replace(STATUS, haproxy=haproxy), NOW, facts).haproxy

    (app,), (other,) = (backend.servers for backend in told.seen)
    assert (app.traffic.status, app.traffic.sessions, app.traffic.sessions_per_s) == ("UP", 3, 4)
    assert (app.traffic.sessions_total, app.traffic.bytes_in, app.traffic.bytes_out) == (5, 6, 7)
    assert not other.HasField("traffic")
    assert not any(s.HasField("traffic") for backend in told.wanted for s in backend.servers)


def test_no_configured_app_nodes_are_absent_and_not_empty() -> None:
    none_yet = replace(STATUS, nodes=NodesStatus(services=(), total=0, shown=()))

    assert not status_reply(STATUS, NOW, FACTS).HasField("nodes")
    assert status_reply(none_yet, NOW, FACTS).HasField("nodes")
