"""What the agent needs runs out, goes away or changes under it, and comes back."""

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from haagent.lab.agents import Agent
from haagent.lab.cluster import VIP_IPV4, VIP_IPV6
from haagent.lab.host import NETWORKS, Host
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from tests.lab.conftest import BY_ROLE, Begin, Site
from tests.lab.test_fence import AT_ONCE, BOTH_GUARDS, MS, fenced

S = 1_000 * MS

IN_ITS_DIRECTORY = """
for last; do :; done
cd "$(dirname "$last")" && {} && exec "$@"
"""
"""The last word of an agent's command is its configuration file."""


def after(preparation: str) -> tuple[str, ...]:
    """Return what executes an agent once the shell has done this in the agent's directory."""
    return ("sh", "-c", IN_ITS_DIRECTORY.format(preparation.strip()), "sh")


def inside(agent: Agent, path: Path) -> Path:
    """Return ``path`` as the agent sees it, whose mount namespace is its own."""
    return Path(f"/proc/{agent.process.pid}/root{path}")


# The disk and the log.

DISK = "mount -t tmpfs -o size=512k tmpfs state && ! head -c 999999 /dev/zero 2>&- >state/full"


def test_a_full_disk_delays_no_takeover_and_its_alarm_ends_when_there_is_space(
    begin: Begin,
) -> None:
    site = begin(through=after(DISK))
    agent = site.agents["lb2"]
    client, _ = site.probe()

    killed = site.agents["lb1"].process.kill()

    assert site.gap(client, killed, by="lb2") < 1 * S
    assert "No space left on device" in site.alarms("lb2")["state.unwritable"]
    assert "full" in site.alarms("lb2")["events.unwritable"]
    inside(agent, agent.state_dir / "full").unlink()
    over = {"state.unwritable", "events.unwritable"}
    site.lab.wait_until(lambda: over.isdisjoint(site.alarms("lb2")), 10, "it is over")
    died = agent.ask("events", "--local", "--kind", "peer.dead")
    assert ("lb1" in died.stdout, died.stderr) == (True, ""), "it waited for the disk"
    assert '"web": ' in inside(agent, agent.state_dir / "state.json").read_text()


NARROW_LOG = "mkfifo narrow && exec 2<>narrow"


def test_a_log_that_nobody_reads_holds_up_neither_heartbeats_nor_an_end(begin: Begin) -> None:
    site = begin(through=after(NARROW_LOG))
    for agent in site.agents.values():
        stuff(agent.host.directory / "narrow")
    ipv4, _ = site.probe()

    stopped = site.agents["lb1"].process.stop(deadline_s=3)

    assert site.gap(ipv4, stopped, by="lb2") < 200 * MS
    assert site.agents["lb1"].process.exit_code == 0
    assert site.holders(VIP_IPV4) == ["lb2"]
    assert site.reigns("lb2") == ["took over by planned handover"]


def stuff(pipe: Path) -> None:
    """Fill a named pipe that somebody has open, so that the next writer waits."""
    descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    try:
        while os.write(descriptor, bytes(4096)):
            pass
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


# Memory.


@pytest.fixture
def memory_cgroup(lab: Lab) -> Iterator[Path]:
    """A new group that may have 8 MiB more than what its processes had before; empty at last."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root, limit = (v1, "memory.limit_in_bytes") if v1.exists() else (v2, "memory.max")
    group = root / f"haagent-{lab.prefix}"
    group.mkdir()
    if not (group / limit).exists():
        group.rmdir()
        pytest.skip("needs the memory controller of cgroups")
    (group / limit).write_text(str(8 << 20))
    yield group
    for host in lab.hosts.values():
        host.end_processes()
    lab.wait_until(lambda: not (group / "cgroup.procs").read_text(), 5, "the group is empty")
    group.rmdir()


HOG = "kill -STOP $$ && exec tail /dev/zero"


@BOTH_GUARDS
def test_a_master_that_the_kernel_kills_for_want_of_memory_is_silent_at_once(
    begin: Begin, level: str, memory_cgroup: Path
) -> None:
    site, witness = fenced(begin, level)
    agent = site.agents["lb1"].process
    Path(f"/proc/{agent.pid}/oom_score_adj").write_text("1000")
    (memory_cgroup / "cgroup.procs").write_text(str(agent.pid))
    hog = site.cluster.apps["app1"].start("hog", "sh", "-c", HOG)
    site.lab.wait_until(lambda: is_stopped(hog), 5, "the hog waits")
    (memory_cgroup / "cgroup.procs").write_text(str(hog.pid))

    let_go = hog.thaw()
    witness.wait_for("lb2", let_go)
    witness.wait(3, let_go)

    assert agent.exit_code == -9
    # Counted from the hog's first byte, and not from the kill: some ms, more on a busy machine.
    assert witness.last_answer("lb1", let_go) < 200 * MS
    assert witness.both("lb1", "lb2", let_go) == 0


def is_stopped(process: Process) -> bool:
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


# The wall clock.

WRONG_CLOCK = Path(__file__).with_name("wall_clock")
WALL_CLOCK = f"""
echo 0 >error && export WALL_CLOCK_ERROR=$PWD/error PYTHONPATH={WRONG_CLOCK}
"""


def test_wall_clocks_that_step_by_hours_change_no_master_and_no_order(begin: Begin) -> None:
    site = begin(through=after(WALL_CLOCK))
    term = site.role("lb1").term
    client, _ = site.probe()
    began = time.monotonic_ns()

    for name, hours in [("lb1", 5), ("lb1", -7), ("lb2", 9), ("lb2", -3), ("lb1", 0)]:
        step_clock(site, name, hours)
    killed = site.agents["lb1"].process.kill()

    assert site.gap(client, killed, by="lb2") < 1 * S
    assert client.failures(began, killed) == []
    assert len(site.reigns("lb2")) == 1
    assert site.role("lb2").term == term + 1
    stamps = [(each.hlc.ms, each.hlc.counter) for each in site.status("lb2").records]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == len(stamps)
    assert in_order_of_cause(site)


def in_order_of_cause(site: Site) -> bool:
    """Whether what lb2 tells of all agents has each event before what it led to.

    The agent of lb1 was killed: another is started, which has its history.
    """
    site.agents["lb1"].start()
    site.lab.wait_until(lambda: "lb2 is master" in site.records("lb1", "master.changed"), 10, "lb1")

    def told() -> list[str]:
        done = site.agents["lb2"].ask("events", "--group", "web", "--json")
        return [] if "missing" in done.stderr else done.stdout.splitlines()

    events = [json.loads(line) for line in site.lab.wait_until(told, 30, "lb2 has lb1's events")]
    boots = {event["boot_id"]: event["node"] for event in events}
    first, second = (boot for boot, node in boots.items() if node == "lb1")
    (other,) = (boot for boot, node in boots.items() if node == "lb2")
    found = [(event["boot_id"], event["record"]["text"]) for event in events]

    def place(boot: str, words: str) -> int:
        return next(at for at, (of, text) in enumerate(found) if of == boot and words in text)

    story = [
        place(first, "-> master"),
        place(other, "lb1 is master"),
        place(other, "-> master"),
        place(second, "lb2 is master"),
    ]
    return story == sorted(story)


def step_clock(site: Site, name: str, hours: int) -> None:
    """Put the clock of one agent wrong by so much, and wait until it and the peer speak of it."""
    directory = site.agents[name].host.directory
    (directory / "new").write_text(str(hours * 3600))
    (directory / "new").rename(directory / "error")

    def stepped() -> bool:
        told = datetime.fromisoformat(site.status(name).time)
        return abs(told - datetime.now(UTC) - timedelta(hours=hours)) < timedelta(minutes=1)

    site.lab.wait_until(stepped, 5, f"{name} is {hours} hours ahead")
    behind = {"lb1": "lb2", "lb2": "lb1"}[name] if hours > 0 else name
    site.lab.wait_until(lambda: "clock.skew" in site.alarms(behind), 5, "the alarm")


# The interface.


@BOTH_GUARDS
def test_an_interface_that_is_renamed_takes_no_address_along(begin: Begin, level: str) -> None:
    site, witness = fenced(begin, level, BY_ROLE)
    lb1 = site.cluster.balancers["lb1"]

    renamed = time.monotonic_ns()
    lb1.run("ip", "link", "set", "eth0", "name", "away0")
    site.settle(lb2="master")
    witness.wait(2, renamed)

    assert witness.both("lb1", "lb2", renamed) == 0
    assert not lb1.holds(VIP_IPV4, "away0")
    back = time.monotonic_ns()
    lb1.run("ip", "link", "set", "away0", "name", "eth0")
    site.settle(lb1="master", lb2="backup")
    assert witness.both("lb2", "lb1", back) == 0
    assert "link.down" not in site.alarms("lb1")


@BOTH_GUARDS
def test_an_interface_that_visits_another_namespace_comes_back_guarded(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level, BY_ROLE)
    lb1, elsewhere = site.cluster.balancers["lb1"], site.lab.add_host("elsewhere", 60)

    moved = time.monotonic_ns()
    move(lb1, "eth0", elsewhere, "visitor0")
    site.settle(lb2="master")
    assert witness.both("lb1", "lb2", moved) == 0
    assert not elsewhere.holds(VIP_IPV4, "visitor0")
    back = time.monotonic_ns()
    move(elsewhere, "visitor0", lb1, "eth0")
    lb1.run("ip", "link", "set", "eth0", "up")
    for address in NETWORKS[0].addresses(lb1.number):
        lb1.run("ip", "address", "add", str(address), "dev", "eth0", "nodad")
    site.settle(lb1="master", lb2="backup")
    witness.wait_for("lb1", back)

    assert witness.both("lb2", "lb1", back) == 0
    killed = site.agents["lb1"].process.kill()
    witness.wait_for("lb2", killed)
    assert witness.last_answer("lb1", killed) < AT_ONCE


def move(source: Host, name: str, destination: Host, new_name: str) -> None:
    where = ("netns", destination.namespace, "name", new_name)
    source.run("ip", "link", "set", name, *where)


@BOTH_GUARDS
def test_another_interface_that_takes_the_name_at_once_is_guarded_first(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level, BY_ROLE)
    lb1 = site.cluster.balancers["lb1"]

    lb1._unplug()
    lb1._plug_in(NETWORKS[0])
    site.lab.wait_until(lambda: len(site.reigns("lb1")) == 2, 10, "lb1 is master again")
    site.settle_all()
    witness.wait_for("lb1", time.monotonic_ns())

    assert site.reigns("lb1")[1:] == ["took over by planned handover"]
    killed = site.agents["lb1"].process.kill()
    witness.wait_for("lb2", killed)
    assert witness.last_answer("lb1", killed) < AT_ONCE


@pytest.mark.parametrize("victim", ["lb1", "lb2"])
def test_an_interface_in_a_bridge_hears_nothing_and_takes_no_part(
    begin: Begin, victim: str
) -> None:
    site, witness = fenced(begin, "bpf", BY_ROLE)
    host, other = site.cluster.balancers[victim], "lb2" if victim == "lb1" else "lb1"

    enslaved = time.monotonic_ns()
    host.run("ip", "link", "add", "br0", "up", "type", "bridge")
    host.run("ip", "link", "set", "eth0", "master", "br0")
    site.settle(**{victim: "fault", other: "master"})
    witness.wait(3, enslaved)

    assert witness.both("lb1", "lb2", enslaved) == 0
    assert "eth0" in site.alarms(victim)["link.down"]
    host.run("ip", "link", "set", "eth0", "nomaster")
    site.settle(lb1="master", lb2="backup")
    assert "link.down" not in site.alarms(victim)


def test_a_master_whose_only_address_is_refused_gives_way_and_comes_back(begin: Begin) -> None:
    site = begin(lambda name: re.sub("addresses: .*", f"addresses: ['{VIP_IPV6}']", BY_ROLE(name)))
    lb1 = site.cluster.balancers["lb1"]

    lb1.run("sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=1")
    site.settle(lb1="fault", lb2="master")

    assert "IPv6 is disabled on this device" in site.alarms("lb1")["address.unclaimed"]
    lb1.run("sysctl", "-q", "net.ipv6.conf.eth0.disable_ipv6=0")
    site.settle(lb1="master", lb2="backup")
    assert "address.unclaimed" not in site.alarms("lb1")


# Others who change what is theirs, without a pause.

STORM_S = 10


@BOTH_GUARDS
def test_a_storm_of_foreign_addresses_changes_no_master_and_hides_no_removal(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level)
    lb1 = site.cluster.balancers["lb1"]
    client, _ = site.probe()
    foreign = [f"10.81.{n // 250}.{n % 250}/32 dev eth0" for n in range(2000)]
    batch = lb1.directory / "batch"
    batch.write_text("\n".join(f"address {do} {each}" for do in ("add", "del") for each in foreign))

    began = time.monotonic_ns()
    lb1.start("storm", "sh", "-c", f"while ip -batch {batch}; do :; done")
    witness.wait(STORM_S, began)

    # The storm holds the kernel's lock of all addresses, so that a heartbeat may be late.
    assert len(client.failures(began)) < 50
    assert site.reigns("lb2") == []
    lb1.run("ip", "address", "del", f"{VIP_IPV4}/32", "dev", "eth0")
    site.lab.wait_until(lambda: lb1.holds(VIP_IPV4), 1, "it is back")
    assert len(site.records("lb1", "address.removed")) == 1


RULESET = """
table ip other
delete table ip other
table ip other { chain other { type filter hook input priority 0; policy accept;
%s
}
}
"""


@BOTH_GUARDS
def test_a_storm_of_foreign_rules_changes_no_master(begin: Begin, level: str) -> None:
    site, witness = fenced(begin, level)
    lb1 = site.cluster.balancers["lb1"]
    client, _ = site.probe()
    rules = lb1.directory / "rules"
    sources = (f"10.{n // 250}.{n % 250}.1" for n in range(5000))
    rules.write_text(RULESET % "\n".join(f"ip saddr {each} counter drop" for each in sources))

    began = time.monotonic_ns()
    storm = lb1.start("storm", "sh", "-c", f"while nft -f {rules}; do echo; done")
    witness.wait(STORM_S, began)

    assert storm.log_text().count("\n") > STORM_S
    assert site.reigns("lb2") == []
    assert client.failures(began) == []
