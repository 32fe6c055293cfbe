"""``haagent status`` as operators and scripts run it: the real command, a real agent's socket."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path

import pytest

from haagent.control.reply import RuntimeFacts, status_reply
from haagent.core.actions import Backend, Record, Server, Severity
from haagent.core.checks import CheckSettings, CommandCheck, Consequence, HAProxyCheck, PingCheck
from haagent.core.clocks import Hlc, Stamp
from haagent.core.fleet.node import Standing
from haagent.core.identity import BootId, Priority, Term, boot_id, group_id, node_id
from haagent.core.messages import DiscardReason, RoleReason, Service, State
from haagent.core.settings import FenceLevel, IPInterface
from haagent.core.status import (
    AddressStatus,
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
    ServiceStatus,
    Status,
    Traffic,
)
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, milliseconds, seconds

HAAGENT = str(Path(sys.executable).with_name("haagent"))
CONF = Path(__file__).parents[3] / "conf"

AGENT = """
import asyncio, sys
from pathlib import Path
from haagent.control.haagent_pb2 import StatusReply
from haagent.control.server import ControlServer

async def main():
    reply = StatusReply.FromString(sys.stdin.buffer.read())
    server = ControlServer(Path(sys.argv[1]), lambda: reply, None)
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""

NOW = Moment(MonoNs(seconds(100_000)), WallNs(1_767_225_600_123_000_000))


def ago(milliseconds_ago: int) -> MonoNs:
    return MonoNs(NOW.mono - milliseconds(milliseconds_ago))


def on_eth0(address: IPInterface, *, held: bool) -> AddressStatus:
    return AddressStatus(interface="eth0", address=address, held=held)


OURS = RoleStatus(
    group="web",
    state=State.MASTER,
    reason=RoleReason.MASTER_SILENT,
    since=ago(12_000),
    base_priority=Priority(150),
    priority=Priority(150),
    health=100,
    term=Term(7),
    master="lb1",
)
THEIRS = replace(
    OURS,
    state=State.BACKUP,
    reason=RoleReason.FOLLOWING,
    since=ago(11_000),
    priority=Priority(100),
    health=100,
)
LB2 = PeerStatus(
    name="lb2",
    node=node_id("lb2"),
    boot=boot_id(3, 0xABCD),
    alive=True,
    last_heard=ago(45),
    hears_us=True,
    paths=(
        PathStatus(
            interface="eth0",
            source=IPv4Address("10.0.0.12"),
            last_heard=ago(45),
            loss_permille=0,
            round_trip=DurationNs(412_000),
        ),
        PathStatus(
            interface="eth1",
            source=IPv6Address("fe80::12"),
            last_heard=ago(48),
            loss_permille=12,
            round_trip=milliseconds(41),
        ),
    ),
    roles=(THEIRS,),
)
APP1 = Server(name="app1", address=IPv4Address("10.0.0.21"), port=8080, weight=100, check=True)
# Rich takes "[fd00::22]" for markup, and it would vanish, where markup is on.
APP2 = replace(APP1, name="app2", address=IPv6Address("fd00::22"))
WEB_SERVICE = Service(name="web", port=8080, weight=100, healthy=True)
APP1_NODE = NodeStatus(
    name="app1",
    node_class="default",
    address=IPv4Address("10.0.0.21"),
    standing=Standing.ALIVE,
    since=ago(600_000),
    last_heard=ago(400),
    interval_ms=1000,
    busy_permille=421,
    services=(WEB_SERVICE, replace(WEB_SERVICE, name="api", port=8081, healthy=False)),
)
NODES = NodesStatus(
    services=(
        ServiceStatus(name="api", serving=0, unhealthy=1, held=0, dead=1, left=0),
        ServiceStatus(name="web", serving=12, unhealthy=0, held=0, dead=1, left=1),
    ),
    total=14,
    shown=(
        replace(APP1_NODE, name="app2", standing=Standing.DEAD, last_heard=ago(9_000)),
        APP1_NODE,
    ),
)
HAPROXY = CheckSettings(name="haproxy", what=HAProxyCheck("/run/h.sock"), timeout=milliseconds(500))
GATEWAY = CheckSettings(
    name="gateway",
    what=PingCheck(IPv4Address("10.0.0.1")),
    timeout=milliseconds(500),
    on_fail=Consequence.DEMOTE,
)
DISK = CheckSettings(name="disk", what=CommandCheck(("test", "-w", "/")), timeout=milliseconds(500))
HEALTHY = Status(
    node="lb1",
    node_id=node_id("lb1"),
    boot=BootId(0x0000_0002_0000_0001),
    cluster="shop",
    groups=(
        GroupStatus(
            role=OURS,
            interface="eth0",
            addresses=(
                on_eth0(IPv4Interface("10.0.0.100/32"), held=True),
                AddressStatus(
                    interface="eth0", address=IPv6Interface("2001:db8::100/128"), held=True
                ),
            ),
            preempts_at=None,
            checks=(
                CheckStatus(
                    check=HAPROXY, passed=True, since=ago(11_500), text="HAProxy 2.6.12, pid 1"
                ),
                CheckStatus(check=GATEWAY, passed=False, since=ago(3_000), text="no answer"),
                CheckStatus(check=DISK, passed=None, since=None, text=""),
            ),
        ),
    ),
    peers=(LB2,),
    haproxy=BackendsStatus(
        reachable=True,
        wanted=(Backend("app", (APP1, APP2)),),
        seen=(Backend("app", (APP1,)),),
        trouble="backend app lacks app2",
    ),
    nodes=NODES,
    hooks=(
        HookStatus(
            queue="group web",
            kind="any",
            ok=False,
            text="ended with exit code 22: [red]cannot connect[/red]",
            ended=ago(12_000),
            took=milliseconds(2_040),
        ),
        HookStatus(
            queue="group web",
            kind="master",
            ok=True,
            text="done",
            ended=ago(11_000),
            took=milliseconds(31),
        ),
    ),
    alarms=(
        Alarm(
            kind="path.silent",
            text="nothing is heard on eth2",
            severity=Severity.WARNING,
            since=ago(90_000),
        ),
    ),
    records=(
        Record(
            number=5,
            stamp=Stamp(Hlc(1_767_225_588_123, 2), 41),
            severity=Severity.NOTICE,
            kind="role.changed",
            text="backup -> master: the master fell silent",
            group="web",
            term=Term(7),
            cause=3,
            evidence=("lb2 grants",),
            heard=(("lb2", 40),),
        ),
        Record(
            number=6,
            stamp=Stamp(Hlc(1_767_225_590_000, 0), 44),
            severity=Severity.INFO,
            kind="peer.alive",
            text="lb2 is heard again",
            group=None,
            term=None,
        ),
    ),
)
FACTS = RuntimeFacts(
    version="0.1.0",
    pid=812,
    started=ago(3 * 3_600_000),
    config_file="/etc/haagent/haagent.yml",
    loop_lateness=milliseconds(2),
    discards={(IPv4Address("10.0.0.66"), DiscardReason.BAD_MAC): 12},
    fence=FenceLevel.NFT,
    fence_refused=("fence level bpf cannot be had: no CAP_BPF",),
    checks={
        (group_id("web"), "gateway"): CheckRuns(
            runs=12, failed=4, text="no answer in 0.5 s [red]", age=milliseconds(250)
        )
    },
    traffic={
        ("app", "app1"): Traffic(
            status="DOWN",
            sessions=3,
            sessions_per_s=40,
            sessions_total=1200,
            bytes_in=5_000,
            bytes_out=99_000_000_000,
        )
    },
    bus={"lb2": "Failed to connect to remote host: Connection refused"},
)


LB1_STALLED = replace(
    HEALTHY,
    groups=(
        GroupStatus(
            role=replace(OURS, state=State.FAULT, reason=RoleReason.STALLED, master=None),
            interface="eth0",
            addresses=(on_eth0(IPv4Interface("10.0.0.100/32"), held=False),),
            preempts_at=MonoNs(NOW.mono + 4_200_000_000),
        ),
    ),
    peers=(
        replace(
            LB2,
            alive=False,
            last_heard=ago(3_700_000),
            hears_us=False,
            roles=(replace(THEIRS, state=State.MASTER),),
        ),
    ),
    haproxy=BackendsStatus(
        reachable=False, wanted=(Backend("app", (APP1,)),), seen=(), trouble="connection refused"
    ),
    nodes=NodesStatus(services=(), total=0, shown=()),
    alarms=(
        Alarm(
            kind="address.conflict",
            text="10.0.0.100 is at [52:54:00:aa:bb:cc] too",
            severity=Severity.CRITICAL,
            since=ago(5_000),
        ),
    ),
)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@contextmanager
def agent(socket: Path, status: Status) -> Iterator[None]:
    """Run a process that answers on ``socket`` with ``status``."""
    command = [sys.executable, "-c", AGENT, str(socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(status_reply(status, NOW, FACTS).SerializeToString())
        process.stdin.close()
        assert process.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            process.kill()


def run(socket: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [HAAGENT, "status", "--socket", str(socket), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def run_on_terminal(socket: Path, *command: str) -> str:
    """Return what appears on a terminal of 80 columns without colour."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [HAAGENT, *command, "--socket", str(socket)],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "80"},
    ):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # The terminal has hung up: all is read.
            while more := os.read(ours, 4096):
                shown += more
    os.close(ours)
    return "".join(line.rstrip() + "\n" for line in shown.decode().splitlines())


def assert_golden(name: str, text: str) -> None:
    """Compare with the file ``name`` beside this one; HAAGENT_UPDATE=1 rewrites it."""
    golden = Path(__file__).with_name(name)
    if os.environ.get("HAAGENT_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("status", "name"),
    [(HEALTHY, "status_healthy.txt"), (LB1_STALLED, "status_stalled.txt")],
    ids=["healthy", "stalled"],
)
def test_the_screen_tells_the_whole_cluster_in_80_columns(
    status: Status, name: str, socket: Path
) -> None:
    with agent(socket, status):
        screen = run_on_terminal(socket, "status")

    assert max(map(len, screen.splitlines())) <= 80
    assert_golden(name, screen)


def test_of_a_long_list_the_screen_says_how_many_more_there_are(socket: Path) -> None:
    servers = tuple(
        Server(name=f"s{n:03}", address=IPv4Address("192.0.2.1"), port=80, weight=1, check=True)
        for n in range(205)
    )
    haproxy = BackendsStatus(
        reachable=True,
        wanted=(Backend("app", servers),),
        seen=(Backend("app", servers[1:]),),
        trouble="",
        file="/etc/haproxy/haproxy.cfg",
        file_trouble="/etc/haproxy/haproxy.cfg: No space left on device",
    )
    with agent(socket, replace(HEALTHY, haproxy=haproxy)):
        lines = [line.strip() for line in run(socket).stdout.splitlines()]

    assert "5 more in backend app: haagent haproxy show" in lines
    assert "file /etc/haproxy/haproxy.cfg: No space left on device" in lines
    assert sum("in place" in line for line in lines) == 199
    assert not any("not wanted" in line or "missing" in line for line in lines)


def test_no_line_is_broken_on_its_way_into_a_file(socket: Path) -> None:
    with agent(socket, LB1_STALLED):
        lines = run(socket).stdout.splitlines()

    assert any("lb1    fault" in line and "gave everything up" in line for line in lines)


def test_json_has_every_field_and_numbers_that_are_numbers(socket: Path) -> None:
    with agent(socket, HEALTHY):
        result = run(socket, "--json")

    assert result.returncode == 0
    assert_golden("status_healthy.json", result.stdout)


def test_what_is_absent_is_null_and_never_left_out(socket: Path) -> None:
    with agent(socket, replace(HEALTHY, groups=LB1_STALLED.groups, haproxy=None)):
        reply = json.loads(run(socket, "--json").stdout)

    assert reply["haproxy"] is None
    assert reply["groups"][0]["role"]["master"] is None


def test_a_group_with_a_living_master_is_well(socket: Path) -> None:
    """It does not matter on which agent: any of them tells."""
    lb2_leads = replace(
        HEALTHY,
        groups=LB1_STALLED.groups,
        peers=(replace(LB2, roles=(replace(THEIRS, state=State.MASTER),)),),
    )
    with agent(socket, lb2_leads):
        result = run(socket)

    assert (result.returncode, result.stderr) == (0, "")
    assert "group web: master lb2" in result.stdout


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_silent_master_and_a_critical_alarm_are_reasons_for_exit_code_1(
    form: list[str], socket: Path
) -> None:
    with agent(socket, LB1_STALLED):
        result = run(socket, *form)

    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "haagent: group web has no master",
        "haagent: address.conflict: 10.0.0.100 is at [52:54:00:aa:bb:cc] too",
    ]


def test_two_masters_and_two_holders_are_both_named(socket: Path) -> None:
    split = replace(HEALTHY, peers=(replace(LB2, roles=(replace(THEIRS, state=State.MASTER),)),))
    with agent(socket, split):
        screen = run(socket).stdout

    assert "group web: 2 masters: lb1, lb2" in screen
    assert "10.0.0.100/32      eth0       lb1, lb2" in screen


def test_without_an_agent_the_exit_code_is_3_and_the_socket_is_named(socket: Path) -> None:
    result = run(socket, "--json")

    assert (result.returncode, result.stdout) == (3, "")
    assert str(socket) in result.stderr


def test_a_misspelt_option_is_exit_code_2(socket: Path) -> None:
    assert run(socket, "--jason").returncode == 2


def test_the_socket_can_be_taken_from_the_configuration(socket: Path, tmp_path: Path) -> None:
    config = tmp_path / "haagent.yml"
    example = (CONF / "pair-lb1.yml").read_text()
    config.write_text(f"{example}\ncontrol_socket: {socket}\n")

    with agent(socket, HEALTHY):
        command = [HAAGENT, "status", "--config", str(config)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert "group web: master lb1" in result.stdout


def test_a_watch_prints_one_json_a_line_until_it_is_interrupted(socket: Path) -> None:
    command = [HAAGENT, "status", "--socket", str(socket), "--json", "--watch"]
    with agent(socket, HEALTHY), subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        nodes = [json.loads(watching.stdout.readline())["node"] for _ in range(2)]
        watching.send_signal(signal.SIGINT)

        assert (nodes, watching.wait(10)) == (["lb1", "lb1"], 0)


def test_a_watch_on_a_terminal_gives_the_screen_back_when_it_is_interrupted(socket: Path) -> None:
    ours, theirs = pty.openpty()
    command = [HAAGENT, "status", "--socket", str(socket), "--watch"]
    environment = {**os.environ, "TERM": "xterm"}
    with (
        agent(socket, HEALTHY),
        subprocess.Popen(command, stdout=theirs, env=environment) as watching,
    ):
        os.close(theirs)
        shown = b""
        while b"group web" not in shown:
            shown += os.read(ours, 4096)
        watching.send_signal(signal.SIGINT)
        with suppress(OSError):
            while more := os.read(ours, 4096):
                shown += more

        assert watching.wait(10) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in shown
    assert b"\x1b[?1049l" in shown.split(b"group web")[-1]


def test_a_watch_ends_with_3_when_the_agent_dies(socket: Path) -> None:
    command = [HAAGENT, "status", "--socket", str(socket), "--json", "--watch"]
    with agent(socket, HEALTHY):
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert watching.stdout is not None
        watching.stdout.readline()
    _, errors = watching.communicate(timeout=10)

    assert watching.returncode == 3
    assert b"the agent closed the connection" in errors
