"""Somebody interferes: with the address, with the name, with the control socket."""

import socket
import time
from random import Random

from haagent.lab.agents import Agent
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4, VIP_IPV6
from tests.lab.conftest import Begin, Site

MS = 1_000_000

FOREIGN_MAC = "02:00:00:00:00:99"


def test_the_backup_shows_the_whole_cluster_with_reasons_and_ages(pair: Site) -> None:
    status = pair.agents["lb2"].status()
    assert status is not None
    (group,), (peer,) = status["groups"], status["peers"]
    ours, theirs = group["role"], peer["roles"][0]

    assert (status["node"], status["cluster"], status["alarms"]) == ("lb2", "shop", [])
    assert (ours["state"], ours["reason"], ours["master"]) == ("backup", "following", "lb1")
    assert (theirs["state"], theirs["reason"], theirs["master"]) == ("master", "no_master", "lb1")
    assert (ours["priority"], theirs["priority"]) == (100, 150)
    assert ours["term"] == theirs["term"] > 0
    assert ours["reason_text"] == "follows the master that it hears"
    assert theirs["reason_text"] == "heard no master while listening"
    assert {each["address"]: each["held"] for each in group["addresses"]} == {
        f"{VIP_IPV4}/32": False,
        f"{VIP_IPV6}/128": False,
    }
    assert (peer["name"], peer["alive"], peer["hears_us"]) == ("lb1", True, True)
    assert [(path["interface"], path["source"]) for path in peer["paths"]] == [
        ("eth0", "192.0.2.11")
    ]
    assert peer["last_heard_age_ms"] < 1_000
    uptime_ms = status["runtime"]["uptime_ms"]
    assert 0 < ours["age_ms"] < uptime_ms
    assert 0 < theirs["age_ms"] < uptime_ms + 10_000


def test_an_address_that_somebody_removes_is_back_in_half_a_second(pair: Site) -> None:
    lb1, term = pair.cluster.balancers["lb1"], pair.role("lb1").term

    for address in (VIP_IPV4, VIP_IPV6):
        prefix_length = 32 if address == VIP_IPV4 else 128
        removed = time.monotonic_ns()
        lb1.run("ip", "address", "del", f"{address}/{prefix_length}", "dev", "eth0")
        pair.lab.wait_until(lambda: lb1.holds(address), 5, f"{address} is back")  # noqa: B023
        assert time.monotonic_ns() - removed < 500 * MS

    assert pair.records("lb1", "address.removed") == [
        f"{VIP_IPV4}/32 was removed from eth0 by somebody else",
        f"{VIP_IPV6}/128 was removed from eth0 by somebody else",
    ]
    assert (pair.role("lb1").state, pair.role("lb1").term) == ("master", term)


def test_garbage_on_the_control_socket_disturbs_nobody(pair: Site) -> None:
    random, term = Random(1), pair.role("lb1").term
    path = str(pair.agents["lb1"].control_socket)
    connections = []
    for size in (0, 1, 9, 1_000, 100_000):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(2)
        connection.connect(path)
        try:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" * (size == 9))
            connection.sendall(random.randbytes(size))
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has heard enough.
        connections.append(connection)

    # With all of them still open.
    assert (pair.role("lb1").state, pair.role("lb1").term) == ("master", term)
    for connection in connections:
        connection.close()
    assert pair.agents["lb1"].process.running
    assert (pair.role("lb2").state, pair.role("lb2").master) == ("backup", "lb1")


def test_an_address_that_a_foreign_host_has_is_an_alarm_with_its_mac_and_is_defended(
    begin: Begin,
) -> None:
    site = begin()
    term = site.role("lb1").term
    foreign = site.lab.add_host("foreign", 60)
    ipv4, ipv6 = site.probe()

    for address in (VIP_IPV4, VIP_IPV6):
        foreign.run("ip", "address", "add", address, "dev", "eth0")
    # A host that announces what it has, as at its boot.
    foreign.run("sysctl", "-q", "net.ipv4.conf.eth0.arp_notify=1")
    foreign.run("sysctl", "-q", "net.ipv6.conf.eth0.ndisc_notify=1")
    foreign.run("ip", "link", "set", "eth0", "address", FOREIGN_MAC)

    def conflicts() -> set[str]:
        alarms = site.status("lb1").alarms
        return {alarm.text for alarm in alarms if alarm.kind == "address.conflict"}

    expected = {f"{each} is also used by {FOREIGN_MAC} on eth0" for each in (VIP_IPV4, VIP_IPV6)}
    site.lab.wait_until(lambda: conflicts() == expected, 10, "an alarm for each address")
    taken = time.monotonic_ns()
    # The foreign host has no responder: whoever answers has defended the address.
    for probes in (ipv4, ipv6):
        site.gap(probes, taken, by="lb1")
    assert (site.role("lb1").state, site.role("lb1").term) == ("master", term)
    told = site.agents["lb1"].status()
    assert told is not None
    assert "critical" in {alarm["severity"] for alarm in told["alarms"]}


def test_an_address_that_a_foreign_host_already_has_is_claimed_with_an_alarm(
    begin: Begin,
) -> None:
    site = begin()
    for agent in site.agents.values():
        agent.process.stop()
    foreign = site.lab.add_host("foreign", 60)
    foreign.run("ip", "link", "set", "eth0", "address", FOREIGN_MAC)
    foreign.run("ip", "address", "add", VIP_IPV4, "dev", "eth0")

    site.agents["lb1"].start()
    site.settle(lb1="master")

    site.lab.wait_until(lambda: "address.conflict" in site.alarms("lb1"), 10, "the alarm")
    assert site.alarms("lb1")["address.conflict"] == (
        f"{VIP_IPV4} is also used by {FOREIGN_MAC} on eth0"
    )
    assert site.agents["lb1"].process.running


def test_an_agent_with_the_name_of_another_stays_out_and_the_service_goes_on(
    begin: Begin,
) -> None:
    site = begin()
    term = site.role("lb1").term
    text = (CONFIGURATIONS / "by-role-lb1.yml").read_text().partition("haproxy:")[0]
    key = site.agents["lb1"].key_file.read_text()
    twin = Agent(site.lab.add_host("twin", 60), text.replace("150", "200"), key)
    ipv4, ipv6 = site.probe()
    began = time.monotonic_ns()

    twin.start()

    site.lab.wait_until(lambda: "node.duplicate" in site.alarms("lb1"), 10, "an alarm on lb1")
    assert site.alarms("lb1")["node.duplicate"] == ("the agent at 192.0.2.60 also calls itself lb1")

    def twins_view() -> tuple[str, str, list[str]]:
        status = twin.status()
        assert status is not None
        role = status["groups"][0]["role"]
        return role["state"], role["reason"], [alarm["text"] for alarm in status["alarms"]]

    out = ("fault", "duplicate_node", ["the agent at 192.0.2.11 also calls itself lb1"])
    site.lab.wait_until(lambda: twins_view() == out, 10, "the newcomer stays out")

    def long_after() -> bool:
        return time.monotonic_ns() - began > 4_000 * MS

    site.lab.wait_until(long_after, 10, "longer than any wait of the newcomer")
    assert twins_view() == out
    assert not twin.host.holds(VIP_IPV4)
    assert (site.role("lb1").state, site.role("lb1").term) == ("master", term)
    assert (site.role("lb2").state, site.role("lb2").master) == ("backup", "lb1")
    for probes in (ipv4, ipv6):
        assert [change.who for change in probes.changes()] == ["lb1"]
        assert probes.failures(began) == []
