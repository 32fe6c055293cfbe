"""The kernel fence: an agent that died, hangs or sleeps has no address, whatever was its end."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from haagent.config import new_key
from haagent.lab.agents import Agent, with_capabilities
from haagent.lab.cluster import VIP_IPV4
from haagent.lab.host import NETWORKS, Host
from haagent.lab.probes import probe_udp
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from haagent.lab.witness import Witness
from tests.lab.conftest import BY_ROLE, Begin, Site

MS = 1_000_000
AT_ONCE = 50 * MS
"""Where the guarantee is 10 ms, of which ``docs/benchmarks.md`` has the figures: this machine's
cores are shared with all probers, and with other tests."""

RIGHTS = ("net_admin", "net_raw", "sys_nice", "ipc_lock")
HIDE = """
library=$(ldconfig -p | sed -n "s/.*libnftables.so.1 .*=> //p" | head -n 1)
mount --bind /dev/null "$library" && exec "$@"
"""
"""A process of a host has a mount namespace of its own, which ends with it."""

THROUGH = {
    "bpf": (),
    "nft": with_capabilities(*RIGHTS),
    "lifetime": ("sh", "-c", HIDE, "sh", *with_capabilities(*RIGHTS)),
}
"""What starts an agent that can have this level, and no better one."""

BOTH_GUARDS = pytest.mark.parametrize("level", ["bpf", "nft"])


def once_master(name: str) -> str:
    """The pair's configuration, but who lost the address does not ask for it again."""
    text = BY_ROLE(name)
    assert "preempt: after 2s" in text
    return text.replace("preempt: after 2s", "preempt: never")


def fenced(
    begin: Begin, level: str, configuration: Callable[[str], str] = once_master
) -> tuple[Site, Witness]:
    """A pair at this level, lb1 its master, and a witness that has heard it."""
    site = begin(configuration, through=THROUGH[level])
    assert {site.status(name).runtime.fence for name in site.agents} == {level}
    witness = Witness(site.lab, site.cluster.balancers, VIP_IPV4)
    witness.wait_for("lb1", time.monotonic_ns())
    return site, witness


def guards(host: Host) -> str:
    """Everything that a guard could have left on the host."""
    filters = [
        host.run("tc", "filter", "show", "dev", "eth0", way) for way in ("ingress", "egress")
    ]
    qdiscs = host.run("tc", "qdisc", "show", "dev", "eth0")
    clsact = [line for line in qdiscs.splitlines() if "clsact" in line]
    return "".join([*filters, *clsact, host.run("nft", "list", "tables")])


@BOTH_GUARDS
def test_a_killed_master_is_silent_at_once_and_the_rest_of_its_host_is_not(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level)
    own_address = probe_udp(site.cluster.client, "192.0.2.11")
    client, _ = site.probe()
    site.lab.wait_until(lambda: own_address.gap_after(0), 10, "lb1 answers")

    killed = site.agents["lb1"].process.kill()
    witness.wait_for("lb2", killed)
    witness.wait(3, killed)

    assert witness.last_answer("lb1", killed) < AT_ONCE
    assert witness.both("lb1", "lb2", killed) == 0
    assert client.returned_within(3_000 * MS, killed) == []
    assert site.holders(VIP_IPV4) == ["lb1", "lb2"]
    assert own_address.failures(killed) == []


def test_without_any_guard_a_killed_masters_address_expires(begin: Begin) -> None:
    site, witness = fenced(begin, "lifetime")
    assert len(site.status("lb1").runtime.fence_refused) == 2

    killed = site.agents["lb1"].process.kill()
    site.lab.wait_until(lambda: site.holders(VIP_IPV4) == ["lb2"], 15, "lb2 alone has it")
    witness.wait(3, killed)

    assert witness.last_answer("lb1", killed) < 2_500 * MS


@BOTH_GUARDS
def test_a_master_that_was_stopped_is_silent_before_another_speaks_and_when_it_wakes(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level)
    agent = site.agents["lb1"].process

    stays_away(site, witness, agent.freeze, agent.thaw)


@BOTH_GUARDS
def test_a_master_in_a_frozen_cgroup_is_silent_before_another_speaks_and_when_it_wakes(
    begin: Begin, level: str, cgroup: Path
) -> None:
    site, witness = fenced(begin, level)
    (cgroup / "cgroup.procs").write_text(str(site.agents["lb1"].process.pid))

    def freeze(wanted: int) -> int:
        moment = time.monotonic_ns()
        (cgroup / "cgroup.freeze").write_text(str(wanted))
        return moment

    stays_away(site, witness, lambda: freeze(1), lambda: freeze(0))


def stays_away(
    site: Site, witness: Witness, pause: Callable[[], int], wake: Callable[[], int]
) -> None:
    """Pause the agent of lb1 for 5 s; see that it is never heard beside lb2, nor again."""
    paused = pause()
    witness.wait_for("lb2", paused)
    witness.wait(5, paused)
    woken = wake()
    site.settle(lb1="backup", lb2="master")
    witness.wait(1, woken)

    assert witness.both("lb1", "lb2", paused) == 0
    assert witness.answers("lb1", woken) == []
    assert site.records("lb1", "agent.stalled")
    assert site.holders(VIP_IPV4) == ["lb2"]


@pytest.fixture
def cgroup(lab: Lab) -> Iterator[Path]:
    """A new group of cgroup v2, which is empty again before the laboratory ends."""
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    root = next((each for each in roots if (each / "cgroup.controllers").exists()), None)
    if root is None:
        pytest.skip("needs cgroup v2")
    group = root / f"haagent-{lab.prefix}"
    group.mkdir()
    yield group
    (group / "cgroup.freeze").write_text("0")
    for pid in (group / "cgroup.procs").read_text().split():
        (root / "cgroup.procs").write_text(pid)
    group.rmdir()


def test_a_flushed_ruleset_does_not_touch_the_guard_of_level_bpf(begin: Begin) -> None:
    site, witness = fenced(begin, "bpf")
    client, _ = site.probe()

    flushed = time.monotonic_ns()
    site.cluster.balancers["lb1"].run("nft", "flush", "ruleset")
    witness.wait(2, flushed)

    assert client.failures(flushed) == []
    assert "fence put back" not in site.agents["lb1"].process.log_text()


def test_a_flushed_ruleset_is_mended_at_level_nft_and_told(begin: Begin) -> None:
    site, witness = fenced(begin, "nft")
    agent = site.agents["lb1"].process
    client, _ = site.probe()

    flushed = time.monotonic_ns()
    site.cluster.balancers["lb1"].run("nft", "flush", "ruleset")
    site.lab.wait_until(lambda: "fence put back on eth0" in agent.log_text(), 5, "it is told")
    witness.wait(2, flushed)

    # A new guard is closed until the next renewal opens it: a probe or two, one each millisecond.
    assert len(client.failures(flushed)) < 50
    killed = agent.kill()
    witness.wait_for("lb2", killed)
    assert witness.last_answer("lb1", killed) < AT_ONCE


@BOTH_GUARDS
def test_release_takes_the_guard_of_a_dead_agent_away_with_the_address(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level)
    lb1, agent = site.cluster.balancers["lb1"], site.agents["lb1"]
    killed = agent.process.kill()
    witness.wait_for("lb2", killed)
    assert "haagent" in guards(lb1)

    agent.release()

    assert guards(lb1) == ""
    assert not lb1.holds(VIP_IPV4)
    assert witness.last_answer("lb1", killed) < AT_ONCE


@BOTH_GUARDS
def test_an_agent_that_ends_in_good_order_leaves_nothing(begin: Begin, level: str) -> None:
    site, witness = fenced(begin, level)
    lb1, agent = site.cluster.balancers["lb1"], site.agents["lb1"].process
    assert "haagent" in guards(lb1)

    stopped = agent.stop()
    witness.wait_for("lb2", stopped)

    assert agent.exit_code == 0
    assert guards(lb1) == ""
    assert not lb1.holds(VIP_IPV4)
    assert witness.both("lb1", "lb2", stopped) == 0


def test_a_level_that_is_required_and_cannot_be_had_is_an_end_with_the_reason(lab: Lab) -> None:
    text = BY_ROLE("lb1").partition("haproxy:")[0] + "fence: {require: bpf}\n"
    agent = Agent(lab.add_host("lb1", 11), text, new_key())

    process = agent.start(*THROUGH["nft"])

    assert process.wait(10) == 1
    last = process.log_text().splitlines()[-1]
    assert "fence level bpf cannot be had: " in last
    assert last.endswith(" (needs CAP_BPF and CAP_NET_ADMIN)")
    assert "Traceback" not in process.log_text()
    assert not agent.host.holds(VIP_IPV4)
    assert guards(agent.host) == ""


@BOTH_GUARDS
def test_an_interface_that_was_deleted_is_guarded_again_under_its_name(
    begin: Begin, level: str
) -> None:
    site, witness = fenced(begin, level, BY_ROLE)
    lb1, agent = site.cluster.balancers["lb1"], site.agents["lb1"].process

    lb1._unplug()
    site.settle(lb2="master")
    lb1._plug_in(NETWORKS[0])
    site.settle(lb1="master", lb2="backup")

    witness.wait_for("lb1", time.monotonic_ns())
    killed = agent.kill()
    witness.wait_for("lb2", killed)
    assert witness.last_answer("lb1", killed) < AT_ONCE
    assert lb1.holds(VIP_IPV4)


@BOTH_GUARDS
def test_busy_processors_let_no_lease_end(begin: Begin, level: str) -> None:
    site, witness = fenced(begin, level)
    client, _ = site.probe()
    own_address = probe_udp(site.cluster.client, "192.0.2.11", interval_ms=2)
    site.lab.wait_until(lambda: own_address.gap_after(0), 10, "lb1 answers")
    burners = [burner(site.cluster.apps[name]) for name in ("app1", "app2") * 2]

    began = time.monotonic_ns()
    witness.wait(10, began)

    assert all(each.running for each in burners)
    # What the address without a fence loses too is for want of a processor.
    assert client.failures_beside(own_address, began) == []
    assert site.role("lb1").state == "master"
    assert site.reigns("lb2") == []


def burner(host: Host) -> Process:
    """Start what keeps one processor busy."""
    return host.start("burner", sys.executable, "-c", "while True: pass")
