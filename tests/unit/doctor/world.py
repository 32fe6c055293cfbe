"""A healthy pair as the doctor finds it on lb1, for tests that break one thing of it."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_interface
from typing import Any

from haagent.core.group import config_hash
from haagent.core.identity import Priority, node_id
from haagent.core.settings import (
    AgentSettings,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
)
from haagent.doctor.examine import examine
from haagent.doctor.facts import (
    Asked,
    Count,
    Facts,
    Host,
    Machine,
    Owner,
    Path,
    Proxy,
    RunningAgent,
    Voice,
)
from haagent.doctor.findings import Finding, Severity

LB2 = node_id("lb2")
OURS, THEIRS, VIP = (IPv4Address(f"192.0.2.{number}") for number in (11, 12, 100))
THEIR_MAC = "02:00:c0:00:02:0c"

WEB = GroupSettings(
    name="web",
    priority=Priority(150),
    interface="eth0",
    addresses=(ip_interface("192.0.2.100/32"),),
)
SETTINGS = AgentSettings(
    node="lb1",
    cluster="shop",
    heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
    groups=(WEB,),
)
VOICE = Voice(
    node=LB2,
    name="lb2",
    source=THEIRS,
    macs=frozenset({THEIR_MAC}),
    wire=Count(5, 20),
    passed=Count(5, 20),
    hears_us=True,
    configurations={WEB.id: config_hash(SETTINGS.heartbeat, WEB)},
)
HOST = Host(address=THEIRS, protocols=frozenset({"ARP", "ICMP"}), port="open")
PATH = Path(
    settings=SETTINGS.heartbeat.paths[0],
    local=OURS,
    voices=(VOICE,),
    asked={LB2: Asked(10, 10, 10, 10)},
    hosts=(HOST,),
)
MACHINE = Machine(
    addresses=(("eth0", ip_interface("192.0.2.11/24")), ("eth0", WEB.addresses[0])),
    sysctls={"net.ipv4.ip_nonlocal_bind": "0", "net.ipv4.conf.all.rp_filter": "0"},
    synchronised=True,
)
AGENT = RunningAgent(lateness_ms=0.3, roles={"web": "master"}, uptime_ms=60_000)
HEALTHY = Facts(
    settings=SETTINGS,
    agent=AGENT,
    paths=(PATH,),
    owners=(),
    machine=MACHINE,
    proxy=Proxy(trouble="", listens=frozenset({IPv4Address(0)})),
)
"""lb1 is master and has the address, lb2 is heard."""


def with_path(**changes: Any) -> Facts:
    return replace(HEALTHY, paths=(replace(PATH, **changes),))


def with_voice(**changes: Any) -> Facts:
    return with_path(voices=(replace(VOICE, **changes),))


def with_machine(**changes: Any) -> Facts:
    return replace(HEALTHY, machine=replace(MACHINE, **changes))


def as_backup(*owners: Owner, **changes: Any) -> Facts:
    """lb2 is master, and has the address."""
    theirs = with_voice(masters=frozenset({WEB.id}), **changes)
    machine = replace(MACHINE, addresses=MACHINE.addresses[:1])
    agent = replace(AGENT, roles={"web": "backup"})
    return replace(theirs, machine=machine, agent=agent, owners=owners)


def kinds(facts: Facts) -> list[tuple[str, str]]:
    """Return severity and kind of all that is found."""
    return [(finding.severity.name.lower(), finding.kind) for finding in examine(facts)]


def only(facts: Facts) -> Finding:
    """Return the one thing that is found."""
    (finding,) = examine(facts)
    return finding


ERROR, WARNING, NOTICE = Severity.ERROR, Severity.WARNING, Severity.NOTICE
