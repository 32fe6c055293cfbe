"""One agent with something of everything."""

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

WEB = GroupFacts(
    name="web",
    state="master",
    reason_text="took over by planned handover",
    age_s=21.5,
    term=26,
    priority=150,
    base_priority=150,
    health=100,
    addresses=2,
    held=2,
    open=1,
    changes=(
        ChangeFacts(state="listen", reason="starting", count=1),
        ChangeFacts(state="master", reason="handover", count=2),
        ChangeFacts(state="master", reason="master_died", count=1),
    ),
)
MAIL = GroupFacts(
    name="mail",
    state="backup",
    reason_text="follows the master that it hears",
    age_s=3.0,
    term=4,
    priority=100,
    base_priority=100,
    health=60,
    addresses=1,
    held=0,
    open=0,
    changes=(),
)

FACTS = Facts(
    version="0.1.0",
    node="lb1",
    cluster="shop",
    interval_s=0.2,
    fence="bpf",
    groups=(WEB, MAIL),
    peers=(
        PeerFacts(
            name="lb2",
            alive=True,
            hears_us=False,
            heard_age_s=0.1,
            paths=(
                PathFacts(
                    interface="eth0",
                    family="ipv4",
                    heard_age_s=0.1,
                    loss_ratio=0.012,
                    round_trip_s=0.0004,
                ),
                PathFacts(
                    interface="eth0",
                    family="ipv6",
                    heard_age_s=31.0,
                    loss_ratio=None,
                    round_trip_s=None,
                ),
            ),
        ),
        PeerFacts(name="lb3", alive=False, hears_us=False, heard_age_s=900.0, paths=()),
    ),
    haproxy=HAProxyFacts(
        reachable=True,
        in_sync=False,
        backends=(BackendFacts(name="app", wanted=10_000, seen=9_999),),
        servers=(
            ServerFacts(
                backend="app",
                name="app1",
                up=True,
                sessions=3,
                sessions_total=1200,
                bytes_in=5_000,
                bytes_out=99_000_000_000,
            ),
        ),
    ),
    services=(ServiceFacts(name="shop", serving=9_990, unhealthy=4, held=3, dead=2, left=1),),
    alarms=(AlarmFacts(kind="path.down", severity="warning", count=2),),
    datagrams=(DatagramFacts(interface="eth0", type="heartbeat", sent=12, received=34),),
    discards={"bad_mac": 7},
    lateness=LatenessFacts(bounds_s=(0.001, 0.02), counts=(990, 9, 1), sum_s=0.5, worst_s=0.03),
    configuration=ConfigurationFacts(accepted=False, accepted_at_s=1_795_285_793.5),
    process=ProcessFacts(cpu_s=1.5, memory_bytes=70 << 20, started_at_s=1_795_285_000.0),
)
