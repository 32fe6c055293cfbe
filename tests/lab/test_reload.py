"""A changed file is taken in, a bad one is not, and an equal one does nothing at all."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haagent.config import new_key
from haagent.lab.agents import Agent, with_capabilities
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4, VIP_IPV6, example
from haagent.lab.probes import probe_udp
from tests.lab.conftest import Begin, Lines, Site

MS = 1_000_000
LB1 = "192.0.2.11"
SECOND, THIRD = "192.0.2.101", "192.0.2.102"


def configured(name: str, old: str, new: str, kind: str = "by-role") -> str:
    text = (CONFIGURATIONS / f"{kind}-{name}.yml").read_text()
    assert old in text
    return text.replace(old, new)


def spoilt(old: str, new: str) -> Callable[[Agent], object]:
    return lambda agent: agent.configure(configured("lb1", old, new))


def replaced(spoil: Callable[[Path], object]) -> Callable[[Agent], object]:
    return lambda agent: spoil(agent.configuration_file)


def delete_and_make_a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


OTHER_GROUP = """groups:
  other:
    priority: 150
    interface: eth0
    addresses: [192.0.2.100]
"""


def make_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


BAD: dict[str, tuple[Callable[[Agent], object], int, str]] = {
    "not YAML": (spoilt("groups:", "groups: ["), 2, "haagent.yml:"),
    "unknown key": (spoilt("priority:", "prority:"), 2, "did you mean 'priority'"),
    "bad value": (spoilt("priority: 150", "priority: 500"), 2, "must be 1..254, is 500"),
    "address twice": (spoilt("groups:\n", OTHER_GROUP), 2, "must be given once"),
    "deleted": (replaced(Path.unlink), 2, "cannot be read"),
    "a directory": (replaced(delete_and_make_a_directory), 2, "cannot be read"),
    "a pipe": (replaced(make_a_pipe), 1, "could not be read within 2 s"),
    "not UTF-8": (replaced(lambda file: file.write_bytes(b"node: \xff")), 2, "must be UTF-8"),
    "empty": (replaced(lambda file: file.write_text("")), 2, "haagent.yml:1:1"),
    "nested too deep": (replaced(lambda file: file.write_text("[" * 9999)), 2, "haagent.yml:"),
    "no key file": (lambda agent: agent.key_file.unlink(), 2, "cluster.key: does not exist"),
    "short key": (lambda agent: agent.key_file.write_text("haagent-key-1:AAAA"), 2, "32 bytes"),
    "open key": (lambda agent: agent.key_file.chmod(0o644), 2, "others may use it"),
    "other key": (
        lambda agent: agent.key_file.write_text(new_key()),
        1,
        "takes a restart: the content of key_file",
    ),
    "no interface": (
        spoilt("    interface: eth0\n    addr", "    interface: eth7\n    addr"),
        2,
        "there is no interface 'eth7' here now",
    ),
    "takes a restart": (spoilt("node: lb1", "node: lb9"), 1, "takes a restart: node"),
    "moved address": (spoilt("  web:", "  other:"), 1, "192.0.2.100 is in group web"),
}


def restore(agent: Agent, key: str) -> None:
    if agent.configuration_file.is_dir():
        agent.configuration_file.rmdir()
    elif agent.configuration_file.is_fifo():
        agent.configuration_file.unlink()
    agent.configure(configured("lb1", "node: lb1", "node: lb1"))
    agent.key_file.touch(mode=0o600)
    agent.key_file.chmod(0o600)
    agent.key_file.write_text(key)


def test_no_bad_reload_moves_an_address_or_loses_a_packet(pair: Site) -> None:
    agent, term = pair.agents["lb1"], pair.role("lb1").term
    key = agent.key_file.read_text()
    addresses = pair.watch_addresses("lb1")
    probes = probe_udp(pair.cluster.client, VIP_IPV4)
    pair.lab.wait_until(lambda: probes.gap_after(0), 10, "answers")
    since = time.monotonic_ns()

    for kind, (spoil, code, why) in BAD.items():
        spoil(agent)
        ended = agent.reload()
        alarm = pair.alarms("lb1")["config.rejected"]
        role = pair.role("lb1")
        restore(agent, key)
        assert ended.returncode == code, (kind, ended)
        assert why in ended.stderr, (kind, ended)
        assert alarm.startswith("kept the old file: "), kind
        assert why in alarm, kind
        assert (role.state, role.priority, role.term) == ("master", 150, term), kind

    ended = agent.reload()
    assert (ended.returncode, ended.stdout) == (0, "unchanged\n")
    assert pair.alarms("lb1") == {}
    asked = len(probes.outcomes())
    assert asked > len(BAD) * 50
    assert probes.failures(since) == []
    assert [change.who for change in probes.changes()] == ["lb1"]
    assert addresses.heard("removed") == []


def test_a_signal_does_the_same_as_the_command(pair: Site) -> None:
    agent, term = pair.agents["lb1"], pair.role("lb1").term
    agent.configure(configured("lb1", "priority: 150", "priority: 500"))

    os.kill(agent.process.pid, signal.SIGHUP)
    pair.lab.wait_until(lambda: "config.rejected" in pair.alarms("lb1"), 5, "the alarm")

    place = f"{agent.configuration_file}:15:15: groups.web.priority"
    why = f"kept the old file: {place}: must be 1..254, is 500"
    assert pair.alarms("lb1")["config.rejected"] == why

    agent.configure(configured("lb1", "node: lb1", "node: lb1"))
    os.kill(agent.process.pid, signal.SIGHUP)
    pair.lab.wait_until(lambda: not pair.alarms("lb1"), 5, "the alarm ends")
    assert (pair.role("lb1").state, pair.role("lb1").term) == ("master", term)


def test_reloads_at_the_same_time_come_one_after_the_other(pair: Site) -> None:
    with ThreadPoolExecutor(4) as commands:
        ended = list(commands.map(lambda _: pair.agents["lb1"].reload(), range(4)))

    assert [(each.returncode, each.stdout) for each in ended] == [(0, "unchanged\n")] * 4


SENT = """
import socket, time
PORT = (6940).to_bytes(2, "big")
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
    s.bind(("eth0", 3))
    print("listening", flush=True)
    while True:
        frame, (_, _, direction, _, _) = s.recvfrom(2048)
        if direction != socket.PACKET_OUTGOING:
            continue
        kind = frame[12:14]
        if kind == b"\\x08\\x06" and frame[28:32] == frame[38:42]:
            word = "arp " + socket.inet_ntoa(frame[28:32])
        elif kind == b"\\x08\\x00" and frame[23] == 17 and frame[36:38] == PORT:
            word = "heartbeat"
        elif kind == b"\\x86\\xdd" and frame[20] == 58 and frame[38:40] == b"\\xff\\x02":
            word = "advertisement " + socket.inet_ntop(socket.AF_INET6, frame[62:78])
        else:
            continue
        print(time.monotonic_ns(), word, flush=True)
"""
"""What leaves the host of heartbeats, and of announcements, which nobody has asked for."""

NETLINK = """
import select, socket, struct, time
with (
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route,
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter,
):
    route.bind((0, 0xFFFF_FFFF & ~0x4))  # all but the neighbours
    netfilter.bind((0, 1 << 6))  # NFNLGRP_NFTABLES of NETLINK_NETFILTER
    print("listening", flush=True)
    while True:
        for each in select.select([route, netfilter], [], [])[0]:
            _, kind = struct.unpack_from("=IH", each.recv(65536))
            print(time.monotonic_ns(), each.proto, kind, flush=True)
"""
"""Every change of links, addresses, routes, traffic control and nftables."""


def test_an_equal_file_makes_no_packet_and_no_change_in_the_kernel(pair: Site) -> None:
    agent, host = pair.agents["lb1"], pair.cluster.balancers["lb1"]
    sent = Lines(pair.lab, host, SENT)
    kernel = Lines(pair.lab, host, NETLINK)
    records = len(pair.status("lb1").records)
    # Each five seconds the addresses' lifetimes are renewed; then there is time.
    pair.lab.wait_until(lambda: len(kernel.heard()) >= 2, 15, "a renewal of both addresses")
    pair.lab.wait_until(lambda: quiet_for(kernel, 300 * MS), 5, "its end")
    since = time.monotonic_ns()

    ended = [agent.reload() for _ in range(3)]
    heard = len(sent.heard("heartbeat", since))
    pair.lab.wait_until(lambda: len(sent.heard("heartbeat", since)) > heard + 2, 5, "heartbeats")

    until = time.monotonic_ns()
    assert [(each.returncode, each.stdout) for each in ended] == [(0, "unchanged\n")] * 3
    assert [at for at, _ in kernel.heard(since_ns=since) if at < since + 4500 * MS] == []
    beats = len(sent.heard("heartbeat", since))
    assert beats <= (until - since) / (200 * MS) + 1
    for address in (VIP_IPV4, VIP_IPV6):
        assert sent.heard(address, since) == []
    assert len(pair.status("lb1").records) == records


def quiet_for(lines: Lines, duration: int) -> bool:
    return time.monotonic_ns() - lines.heard()[-1][0] > duration


def test_a_higher_priority_is_followed_by_a_planned_handover(begin: Begin) -> None:
    site = begin()
    ipv4, _ = site.probe()
    site.agents["lb2"].configure(configured("lb2", "priority: 100", "priority: 200"))

    ended = site.agents["lb2"].reload()

    assert ended.stdout == "applied\ngroup web: priority 200, preempt after 2000 ms\n"
    site.settle(lb1="backup", lb2="master")
    assert site.reigns("lb2") == ["took over by planned handover"]
    assert site.records("lb2", "config.applied") == ["priority 200, preempt after 2000 ms"]
    assert [change.who for change in ipv4.changes()] == ["lb1", "lb2"]
    assert site.holders(VIP_IPV4) == ["lb2"]
    assert site.alarms("lb1") == site.alarms("lb2") == {}


LEVELS = pytest.mark.parametrize(
    ("through", "lost"),
    # nftables may lose what it judges in the moment in which rules take the place of others, here
    # twice; a lapse of the fence would cost hundreds.
    [((), 0), (with_capabilities("net_admin", "net_raw"), 4)],
    ids=["bpf", "nft"],
)


@LEVELS
def test_a_changed_group_leaves_the_other_one_alone(
    begin: Begin,
    through: tuple[str, ...],
    lost: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def configuration(name: str, addresses: str = f"[{SECOND},") -> str:
        note = f"echo $HAAGENT_GROUP >> {tmp_path / name}"
        hook = f"{{any: {{command: [sh, -c, '{note}'], user: root}}}}"
        text = configured(name, f"[{SECOND},", addresses, "active-active")
        return text.replace("    addresses:", f"    hooks: {hook}\n    addresses:")

    def hooks() -> list[str]:
        files = [file.read_text().split() for file in sorted(tmp_path.iterdir())]
        return [group for file in files for group in file]

    site = begin(configuration, interfaces=2, through=through)
    agents, client = site.agents, site.cluster.client
    first, second = probe_udp(client, VIP_IPV4), probe_udp(client, SECOND)
    site.lab.wait_until(lambda: first.gap_after(0) and second.gap_after(0), 10, "answers")
    sent = Lines(site.lab, site.cluster.balancers["lb1"], SENT)
    site.lab.wait_until(
        lambda: site.role("lb1", "first").age_ms > 1500, 10, "the last announcement of the claim"
    )
    site.lab.wait_until(lambda: len(hooks()) >= 4, 10, "the roles of both groups are told")
    told = hooks()
    since = time.monotonic_ns()

    def change(addresses: str) -> list[str]:
        for name, agent in agents.items():
            agent.configure(configuration(name, addresses))
        return [agent.reload().stdout for agent in agents.values()]

    added = change(f"[{SECOND}, {THIRD},")
    third = probe_udp(client, THIRD)
    site.lab.wait_until(lambda: third.gap_after(0, by="lb2"), 10, "the new address answers")
    assert [text.splitlines()[0] for text in added] == ["applied"] * 2
    assert site.holders(THIRD) == ["lb2"]

    change(f"[{SECOND},")
    site.lab.wait_until(lambda: site.holders(THIRD) == [], 10, "it is released")
    asked = time.monotonic_ns()
    site.lab.wait_until(lambda: len(first.outcomes()) > 100, 10, "probes")
    site.lab.wait_until(lambda: third.failures(asked), 10, "it is silent")

    losses = [len(each.failures(since)) for each in (first, second)]
    with capsys.disabled():
        print(f" [lost of {len(first.outcomes())} and {len(second.outcomes())}: {losses}]", end="")
    assert max(losses) <= lost
    assert len(sent.heard(VIP_IPV4, since)) <= 2, "announced beside the refresh of each minute"
    assert hooks() == told
    site.lab.wait_until(lambda: not site.alarms("lb1") and not site.alarms("lb2"), 10, "no alarm")


SECOND_GROUP = """  second:
    priority: 100
    interface: eth0
    addresses: [192.0.2.101, "2001:db8::101"]
"""


def test_a_removed_group_is_handed_over_and_comes_back_by_listening(begin: Begin) -> None:
    site = begin(example("active-active"), interfaces=2)
    lb2, client = site.agents["lb2"], site.cluster.client
    first, second = probe_udp(client, VIP_IPV4), probe_udp(client, SECOND)
    site.lab.wait_until(lambda: first.gap_after(0) and second.gap_after(0), 10, "answers")
    since = time.monotonic_ns()
    group = SECOND_GROUP.replace("100\n", "150\n")

    lb2.configure(configured("lb2", group, "", "active-active"))
    ended = lb2.reload()
    site.lab.wait_until(lambda: len(site.status("lb2").groups) == 1, 10, "the group is left")

    assert ended.stdout == "applied\ngroup second: left\n"
    site.settle("second", lb1="master")
    assert site.holders(SECOND) == ["lb1"]
    assert site.records("lb1", "peer.dead") == site.records("lb2", "peer.dead") == []

    lb2.configure(configured("lb2", group, group, "active-active"))
    assert lb2.reload().stdout == "applied\ngroup second: entered\n"
    site.settle("second", lb1="backup", lb2="master")

    assert first.failures(since) == []
    assert [change.who for change in second.changes(since)] == ["lb2", "lb1", "lb2"]
    assert len(second.failures(since)) < 100  # two handovers; a death would cost 600
