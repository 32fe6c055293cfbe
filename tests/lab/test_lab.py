"""The laboratory does what it says: its faults, its probers, its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.lab.agents import Agent
from haagent.lab.claims import leftovers, remove_leftovers
from haagent.lab.cluster import VIP_IPV4, VIP_IPV6, Cluster, start_services
from haagent.lab.errors import LabError
from haagent.lab.host import Host
from haagent.lab.namespaces import NETNS_DIRECTORY
from haagent.lab.probes import Probes, probe_http, probe_udp
from haagent.lab.topology import Lab

pytestmark = pytest.mark.unhurried

MS = 1_000_000


ASK = """
import socket, sys
from haagent.lab.responder import PORT
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.settimeout(0.3)
    try:
        s.sendto(b"?", (sys.argv[1], PORT))
        print(s.recv(100).decode())
    except OSError:
        print("no answer")
"""

JOIN = """
import socket, struct
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
    index = socket.if_nametoindex("eth0")
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    ipv4 = struct.pack("=4s4si", socket.inet_aton("224.0.0.254"), bytes(4), index)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, ipv4)
    ipv6 = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, "ff02::114"), index)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, ipv6)
    s.bind(("::", 6940))
    print("listening", flush=True)
    while True:
        print(s.recv(100).decode(), flush=True)
"""

TELL = """
import socket, sys
for family, address in ((socket.AF_INET, "224.0.0.254"), (socket.AF_INET6, "ff02::114%eth0")):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        if family == socket.AF_INET:
            own = socket.inet_aton(sys.argv[2])
            s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        s.sendto(f"{sys.argv[1]} {family}".encode(), socket.getaddrinfo(address, 6940)[0][4])
"""


def answering(lab: Lab, name: str, number: int, *, interfaces: int = 1) -> Host:
    """A host whose responder answers already."""
    host = lab.add_host(name, number, interfaces=interfaces)
    host.start_module("responder", "haagent.lab.responder", name)
    own = f"192.0.2.{number}"
    lab.wait_until(lambda: asked(host, own) == name, 10, f"{name} answers itself")
    return host


def asked(source: Host, address: str) -> str | None:
    """The name of the host that answers ``source`` at ``address``; None: no answer in 0.3 s."""
    answer = source.run(sys.executable, "-c", ASK, address).strip()
    return None if answer == "no answer" else answer.removeprefix("? ")


def received(host: Host) -> int:
    """How many frames came in at eth0."""
    return int(host.run("cat", "/sys/class/net/eth0/statistics/rx_packets"))


def answered(lab: Lab, probes: Probes) -> None:
    lab.wait_until(lambda: probes.gap_after(0), 10, "a first answer")


def take(address: str, holder: Host, client: Host) -> int:
    """Put ``address`` on ``holder`` and let ``client`` look for it anew; the instant before."""
    moment = time.monotonic_ns()
    holder.run("ip", "address", "add", f"{address}/32", "dev", "eth0")
    client.run("ip", "neighbour", "flush", "dev", "eth0")
    return moment


# Hosts


def test_hosts_reach_each_other_by_both_families_on_both_networks(lab: Lab) -> None:
    a = lab.add_host("a", 1, interfaces=2)
    answering(lab, "b", 2, interfaces=2)

    answers = [
        asked(a, each) for each in ("192.0.2.2", "2001:db8::2", "198.51.100.2", "2001:db8:1::2")
    ]

    assert answers == ["b"] * 4


def test_a_process_has_the_pid_its_own_group_and_a_log(lab: Lab) -> None:
    host = lab.add_host("a", 1)

    process = host.start("words", "sh", "-c", "echo $$ out; echo err >&2; exec cat /proc/self/stat")

    assert process.wait(10) == 0
    pid = process.pid
    assert process.log_text().startswith(f"{pid} out\nerr\n{pid} (cat) R {os.getpid()} {pid} ")


def test_processes_of_one_name_keep_a_log_each(lab: Lab) -> None:
    host = lab.add_host("a", 1)

    logs = [host.start("same", "true").log.name for _ in range(3)]

    assert logs == ["same.log", "same-2.log", "same-3.log"]


def test_a_process_that_ignores_sigterm_is_reported_and_dies_of_sigkill(lab: Lab) -> None:
    host = lab.add_host("a", 1)
    process = host.start(
        "stubborn", "sh", "-c", "trap '' TERM; echo ready; while :; do read x; done"
    )
    lab.wait_until(lambda: "ready" in process.log_text(), 10, "it ignores SIGTERM")

    with pytest.raises(TimeoutError, match="stubborn"):
        process.stop(deadline_s=0.2)
    process.kill()

    assert process.exit_code == -signal.SIGKILL


def test_a_frozen_host_process_answers_nothing_until_it_is_thawed(lab: Lab) -> None:
    a, b = answering(lab, "a", 1), answering(lab, "b", 2)
    probes = probe_udp(a, "192.0.2.2")
    answered(lab, probes)

    frozen = b.processes[0].freeze()
    lab.wait_until(lambda: probes.failures(frozen), 10, "requests are lost")
    thawed = b.processes[0].thaw()
    lab.wait_until(lambda: probes.gap_after(thawed, by="b"), 10, "b answers again")

    assert probes.longest_silence(frozen) >= 500 * MS


def test_a_reboot_ends_processes_and_leaves_only_configured_addresses(lab: Lab) -> None:
    host, other = lab.add_host("a", 1), answering(lab, "b", 2)
    before = host.addresses()
    host.run("ip", "address", "add", f"{VIP_IPV4}/32", "dev", "eth0")
    assert host.holds(VIP_IPV4)
    process = host.start("parent", "sh", "-c", "sleep 1000 & echo $!; wait")
    child = int(lab.wait_until(process.log_text, 10, "the child runs"))

    host.reboot()

    assert not process.running
    assert not is_alive(child)
    lab.wait_until(lambda: host.addresses() == before, 10, "the configured addresses")
    lab.wait_until(lambda: asked(host, "192.0.2.2") == other.name, 10, "the network")


def test_waiting_in_vain_says_for_what_and_shows_the_logs(lab: Lab) -> None:
    process = lab.add_host("a", 1).start("talker", "echo", "last words")
    process.wait(10)

    with pytest.raises(TimeoutError, match=r"(?s)pigs fly.*a talker.*ended with 0.*last words"):
        lab.wait_until(lambda: None, 0.05, "pigs fly")


# Faults


def test_a_cut_host_keeps_its_carrier_and_nothing_passes_either_way(lab: Lab) -> None:
    a, b = answering(lab, "a", 1), answering(lab, "b", 2)
    there, back = probe_udp(a, "192.0.2.2"), probe_udp(b, "2001:db8::1")
    answered(lab, there)
    answered(lab, back)

    lab.faults.cut(b)
    cut, frames = time.monotonic_ns(), (received(a), received(b))
    lab.wait_until(lambda: there.failures(cut) and back.failures(cut), 10, "requests are lost")

    assert (received(a), received(b)) == frames
    assert b.has_carrier()

    healed = lab.faults.heal()

    lab.wait_until(lambda: there.gap_after(healed, by="b"), 10, "the way there is open")
    lab.wait_until(lambda: back.gap_after(healed, by="a"), 10, "the way back is open")


def test_a_port_that_is_down_takes_the_carrier_and_gives_it_back(lab: Lab) -> None:
    a, b = lab.add_host("a", 1), answering(lab, "b", 2)

    lab.faults.port_down(b)

    lab.wait_until(lambda: not b.has_carrier(), 10, "b sees no carrier")
    assert a.has_carrier()
    assert asked(a, "192.0.2.2") is None

    lab.faults.heal()

    lab.wait_until(b.has_carrier, 10, "b sees its carrier")
    lab.wait_until(lambda: asked(a, "192.0.2.2") == "b", 10, "b is reached")


def test_a_one_way_drop_leaves_the_way_back_open(lab: Lab) -> None:
    a, b = answering(lab, "a", 1), answering(lab, "b", 2)
    assert asked(b, "192.0.2.1") == "a"  # Both know each other's hardware address now.

    lab.faults.drop_one_way(a, b)
    at_a, at_b = received(a), received(b)
    probe_udp(a, "192.0.2.2")
    probe_udp(b, "192.0.2.1")

    lab.wait_until(lambda: received(a) > at_a + 100, 10, "a hears b")
    assert received(b) == at_b


def test_a_fault_on_one_interface_leaves_the_other_alone(lab: Lab) -> None:
    a, b = lab.add_host("a", 1, interfaces=2), answering(lab, "b", 2, interfaces=2)

    lab.faults.cut(b, "eth1")

    assert asked(a, "198.51.100.2") is None
    assert asked(a, "192.0.2.2") == "b"


def test_loss_drops_about_the_share_that_was_asked(lab: Lab) -> None:
    """Half of one way is lost, and half of the way back: a quarter is answered."""
    a, b = lab.add_host("a", 1), answering(lab, "b", 2)
    assert asked(a, "192.0.2.2") == "b"
    lab.faults.loss(50, a, b)

    probes = probe_udp(a, "192.0.2.2")
    lab.wait_until(lambda: len(probes.outcomes()) > 2000, 30, "2000 outcomes")

    numbered = [o for o in probes.outcomes() if o.number < 1000]  # Losses are known later.
    share = sum(not o.ok for o in numbered) / len(numbered)
    assert 0.65 < share < 0.85  # 0.75, with a standard deviation of 0.014.


def test_blocked_multicast_leaves_unicast_and_what_it_needs(lab: Lab) -> None:
    a, b = answering(lab, "a", 1), answering(lab, "b", 2)
    ears = [host.start("ear", sys.executable, "-c", JOIN) for host in (a, b)]
    lab.wait_until(lambda: all(ear.log_text() for ear in ears), 10, "both listen")

    def tell(word: str) -> None:
        for host in (a, b):
            host.run(sys.executable, "-c", TELL, word, f"192.0.2.{host.number}")

    def heard(word: str) -> list[int]:
        return [ear.log_text().count(word) for ear in ears]

    tell("before")
    lab.wait_until(
        lambda: heard("before") == [4, 4], 10, "own words and the other's, by IPv4 and 6"
    )
    for host in (a, b):
        host.run("ip", "neighbour", "flush", "dev", "eth0")

    lab.faults.block_multicast(a)
    tell("meanwhile")

    for asker, other in ((a, b), (b, a)):
        for address in (f"192.0.2.{other.number}", f"2001:db8::{other.number}"):
            assert asked(asker, address) == other.name
    lab.faults.heal()
    tell("after")
    lab.wait_until(lambda: heard("after") == [4, 4], 10, "multicast passes again")
    assert heard("meanwhile") == [2, 2], "their own words come back to them, no other"


def test_one_of_two_faults_is_healed_alone(lab: Lab) -> None:
    a, b, c = lab.add_host("a", 1), answering(lab, "b", 2), answering(lab, "c", 3)
    cut_b = lab.faults.cut(b)
    lab.faults.cut(c)

    lab.faults.heal(cut_b)

    lab.wait_until(lambda: asked(a, "192.0.2.2") == "b", 10, "b is reached")
    assert asked(a, "192.0.2.3") is None


# Probers


def test_a_prober_sees_which_host_answers_and_how_long_nobody_did(lab: Lab) -> None:
    a, b, client = answering(lab, "a", 1), answering(lab, "b", 2), lab.add_host("client", 50)
    take(VIP_IPV4, a, client)
    probes = probe_udp(client, VIP_IPV4)
    answered(lab, probes)

    fault = lab.faults.cut(a).since_ns
    lost = lab.wait_until(lambda: probes.failures(fault), 10, "requests are lost")[0]
    moved = take(VIP_IPV4, b, client)
    gap = lab.wait_until(lambda: probes.gap_after(fault, by="b"), 10, "b answers")
    now = time.monotonic_ns()

    assert lost.detail == "lost"
    assert [change.who for change in probes.changes()] == ["a", "b"]
    assert moved - fault < gap < now - fault
    assert probes.longest_silence(fault) == pytest.approx(gap, abs=50 * MS)
    assert not probes.returned_within(60_000 * MS)


def test_a_prober_tells_when_two_hosts_answer_in_turn(lab: Lab) -> None:
    a, b, client = answering(lab, "a", 1), answering(lab, "b", 2), lab.add_host("client", 50)
    take(VIP_IPV4, a, client)
    probes = probe_udp(client, VIP_IPV4)
    answered(lab, probes)

    for old, new in ((a, b), (b, a)):
        old.run("ip", "address", "del", f"{VIP_IPV4}/32", "dev", "eth0")
        take(VIP_IPV4, new, client)
        lab.wait_until(lambda: probes.changes()[-1].who != old.name, 10, "the other answers")  # noqa: B023

    assert [change.who for change in probes.changes()] == ["a", "b", "a"]
    assert [change.who for change in probes.returned_within(60_000 * MS)] == ["a"]
    assert not probes.returned_within(1)


def test_a_prober_goes_on_while_the_network_is_unreachable(lab: Lab) -> None:
    a = answering(lab, "a", 1)
    answering(lab, "b", 2)
    probes = probe_udp(a, "192.0.2.2")
    answered(lab, probes)

    a.run("ip", "link", "set", "eth0", "down")
    unreachable = {"ENETUNREACH", "EHOSTUNREACH"}
    down = time.monotonic_ns()
    lab.wait_until(
        lambda: unreachable & {each.detail for each in probes.failures(down)}, 10, "errors"
    )
    up = time.monotonic_ns()
    a.run("ip", "link", "set", "eth0", "up")

    assert lab.wait_until(lambda: probes.gap_after(up, by="b"), 10, "it answers again")


@pytest.mark.parametrize("address", [VIP_IPV4, VIP_IPV6])
def test_http_names_the_haproxy_and_the_application(
    lab: Lab, cluster: Cluster, address: str
) -> None:
    lb1 = cluster.balancers["lb1"]
    lb1.run("ip", "address", "add", address, "dev", "eth0")
    haproxy = cluster.haproxies["lb1"]
    for number in (1, 2):
        haproxy.ask(f"add server app/app{number} 192.0.2.{20 + number}:8080")
        haproxy.ask(f"enable server app/app{number}")

    probes = probe_http(cluster.client, address)
    names = {("lb1", "app1"), ("lb1", "app2")}
    lab.wait_until(lambda: names <= {(o.who, o.detail) for o in probes.outcomes()}, 10, "both")
    lab.wait_until(lambda: probes.rate() > 25, 10, "a steady rate")

    assert {name: each.address for name, each in haproxy.servers("app").items()} == {
        "app1": "192.0.2.21:8080",
        "app2": "192.0.2.22:8080",
    }


def test_http_counts_the_answer_of_a_haproxy_without_servers_as_a_failure(
    lab: Lab, cluster: Cluster
) -> None:
    probes = probe_http(cluster.client, "192.0.2.12")

    failure = lab.wait_until(probes.failures, 10, "a failure")[0]

    assert (failure.who, failure.detail) == ("lb2", "503")


def test_a_killed_haproxy_answers_nothing_and_starts_again(lab: Lab, cluster: Cluster) -> None:
    haproxy = cluster.haproxies["lb1"]

    haproxy.process.kill()
    assert not haproxy.answers()
    haproxy.start()

    lab.wait_until(haproxy.answers, 10, "HAProxy is back")


def test_the_services_of_a_rebooted_host_start_again(lab: Lab, cluster: Cluster) -> None:
    cluster.balancers["lb1"].reboot()
    assert not cluster.haproxies["lb1"].answers()

    start_services(cluster, "lb1")

    lab.wait_until(cluster.haproxies["lb1"].answers, 10, "HAProxy is back")
    probes = probe_udp(cluster.client, "192.0.2.11")
    lab.wait_until(lambda: probes.gap_after(0, by="lb1"), 10, "the responder is back")


# Agents


def test_an_agents_files_are_the_laboratorys_and_its_key_is_private(lab: Lab) -> None:
    text = "node: a\nkey_file: /etc/haagent/cluster.key\n# a comment\ngroups:\n  key_file: mine\n"

    agent = Agent(lab.add_host("a", 1), text, "secret\n")

    assert agent.key_file.read_text() == "secret\n"
    assert agent.key_file.stat().st_mode & 0o777 == 0o600
    assert agent.configuration_file.read_text() == (
        f"node: a\nkey_file: {agent.key_file}\n# a comment\ngroups:\n  key_file: mine\n"
        f"state_dir: {agent.state_dir}\ncontrol_socket: {agent.control_socket}\n"
    )


# The end

BUILDER = """
import signal, sys, threading
from haagent.lab.topology import Lab
# A shell has those that it starts in the background ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("begun", flush=True)
with Lab(sys.argv[1]) as lab:
    for number in range(1, 9):
        lab.add_host(f"h{number}", number).start("family", "sh", "-c", "sleep 1000 & wait")
    print("built", flush=True)
    threading.Event().wait()
"""
"""A laboratory in a process of its own."""


def builder(prefix: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUILDER, prefix]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def remains(prefix: str) -> list[str]:
    namespaces = [p.name for p in NETNS_DIRECTORY.glob(f"{prefix}-*")]
    return namespaces + [str(p) for p in Path("/run").glob(f"haagent-lab-{prefix}*")]


def said(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


def families(parent: int) -> list[int]:
    """The processes whose parent is ``parent``."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in children.split()]


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has buried yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], deadline_s: float = 10) -> bool:
    end = time.monotonic() + deadline_s
    while not condition() and time.monotonic() < end:
        os.sched_yield()
    return condition()


def test_nothing_remains_after_the_end(prefix: str) -> None:
    with Lab(prefix) as lab:
        process = lab.add_host("a", 1).start("family", "sh", "-c", "sleep 1000 & echo $!; wait")
        child = int(lab.wait_until(process.log_text, 10, "the child runs"))
        assert remains(prefix)

    assert not remains(prefix)
    assert not process.running
    assert not is_alive(child)


def test_nothing_remains_after_an_exception(prefix: str) -> None:
    with pytest.raises(LabError, match="exit 3"), Lab(prefix) as lab:
        lab.add_host("a", 1).run("sh", "-c", "sleep 1000 >/dev/null 2>&1 & exit 3")

    assert not remains(prefix)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_remains_after_a_signal(prefix: str, number: signal.Signals) -> None:
    process = builder(prefix)
    said(process, "begun")
    said(process, "built")
    children = families(process.pid)
    assert len(children) == 8

    process.send_signal(number)
    process.communicate(timeout=30)

    assert not remains(prefix)
    assert not [pid for pid in children if is_alive(pid)]


@pytest.mark.parametrize("delay_ms", range(0, 300, 30))
def test_nothing_remains_after_ctrl_c_while_building(prefix: str, delay_ms: int) -> None:
    """Ctrl-C strikes at different steps."""
    process = builder(prefix)
    said(process, "begun")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(delay_ms / 1000)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert "KeyboardInterrupt" in errors
    assert not remains(prefix)


def test_nothing_remains_after_a_second_ctrl_c_while_removing(prefix: str) -> None:
    process = builder(prefix)
    said(process, "begun")
    said(process, "built")
    whole = len(remains(prefix))

    process.send_signal(signal.SIGINT)
    assert eventually(lambda: len(remains(prefix)) < whole)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert not remains(prefix)


def test_after_sigkill_processes_die_and_the_leftovers_can_be_removed(prefix: str) -> None:
    process = builder(prefix)
    said(process, "begun")
    said(process, "built")
    children = families(process.pid)

    process.kill()
    process.communicate()

    assert eventually(lambda: not any(map(is_alive, children)))
    assert prefix in leftovers()
    with pytest.raises(LabError, match="remove_leftovers"), Lab(prefix):
        pass
    remove_leftovers(prefix)
    assert not remains(prefix)
    with Lab(prefix):
        pass


def test_a_running_laboratory_is_neither_doubled_nor_removed(lab: Lab) -> None:
    host = lab.add_host("a", 1)

    with pytest.raises(LabError, match="is running"), Lab(lab.prefix):
        pass
    with pytest.raises(LabError, match="is running"):
        remove_leftovers(lab.prefix)

    assert lab.prefix not in leftovers()
    assert host.addresses()


def test_a_namespace_of_somebody_else_stays(prefix: str) -> None:
    foreign = f"{prefix}-lb1"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        with pytest.raises(LabError, match=foreign), Lab(prefix) as lab:
            lab.add_host("lb1", 1)

        assert remains(prefix) == [foreign]
    finally:
        subprocess.run(["ip", "netns", "del", foreign], check=True)


@pytest.mark.parametrize("name", ["a-b", "", "Lb1", "../x", "elevenchars"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="must be"):
        Lab(name)
