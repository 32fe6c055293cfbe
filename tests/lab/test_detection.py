"""When a master is dead, and when it is only hard to hear: short runs of what ``tests/bench`` does.

Silence that is death ends within 2.2 intervals I.  Trouble that is not death changes no master,
and raises an alarm where an operator can do something.  Busy processors are in ``test_fence``.
"""

import time
from random import Random

import pytest

from haagent.lab.cluster import VIP_IPV4, by_rank
from haagent.lab.probes import Probes, probe_udp
from tests.lab.conftest import Begin, Site

MS = 1_000_000
SECOND = 1_000 * MS

INTERVAL = 200 * MS
DETECTION = 11 * INTERVAL // 5
"""The longest that a silent master is not missed, or a link that is lost not told of."""
BACKUP_DETECTION = 5 * DETECTION
"""The same of a backup, whose interval is 5 I."""

LONG = 20 * SECOND
"""How long that lasts which takes minutes in ``tests/bench``."""


def wait(site: Site, duration_ns: int) -> None:
    end = time.monotonic_ns() + duration_ns
    site.lab.wait_until(lambda: time.monotonic_ns() > end, duration_ns / SECOND + 5, "time passes")


def answered(site: Site) -> Probes:
    """A prober of the IPv4 address that has an answer already."""
    probes = probe_udp(site.cluster.client, VIP_IPV4)
    site.lab.wait_until(lambda: probes.gap_after(0), 10, "an answer")
    return probes


def reigns_of_others(site: Site) -> int:
    return sum(len(site.reigns(name)) for name in site.agents if name != "lb1")


def assert_nothing_changed(site: Site, probes: Probes, since_ns: int) -> None:
    """lb1 was and is master, for the client and by every agent's own word."""
    assert [change.who for change in probes.changes(since_ns)] == ["lb1"]
    assert (len(site.reigns("lb1")), reigns_of_others(site)) == (1, 0)
    assert site.role("lb1").state == "master"


def raised(site: Site, since_ns: int) -> dict[str, int]:
    """How long after ``since_ns`` each kind of alarm was raised by the first to raise it."""
    found: dict[str, int] = {}
    for name in site.agents:
        alarms = site.status(name).alarms
        now = time.monotonic_ns()
        for alarm in alarms:
            after = now - alarm.age_ms * MS - since_ns
            found[alarm.kind] = min(after, found.get(alarm.kind, after))
    return found


def wait_for_alarm(site: Site, kind: str, since_ns: int) -> int:
    """Wait until ``kind`` is raised; return how long after ``since_ns`` it was."""
    return site.lab.wait_until(lambda: raised(site, since_ns).get(kind), 10, f"the alarm {kind}")


def trial(site: Site, random: Random) -> None:
    """Wait until lb1 alone is master, its rhythm known; and then for any part of an interval."""
    site.settle(lb1="master", lb2="backup")
    wait(site, 10 * INTERVAL + random.randrange(INTERVAL))


def test_a_host_that_dies_silently_is_replaced_within_the_detection_time(begin: Begin) -> None:
    site, random = begin(), Random(1)
    lb1 = site.cluster.balancers["lb1"]
    ipv4 = answered(site)
    gaps = []

    for _ in range(5):
        trial(site, random)
        gaps.append(site.gap(ipv4, site.lab.faults.cut(lb1).since_ns, by="lb2"))
        site.lab.faults.heal()

    assert max(gaps) <= DETECTION, gaps


def test_a_killed_agent_is_replaced_at_once(begin: Begin) -> None:
    site, random = begin(), Random(2)
    ipv4 = answered(site)
    gaps = []

    for _ in range(3):
        trial(site, random)
        gaps.append(site.gap(ipv4, site.agents["lb1"].process.kill(), by="lb2"))
        site.agents["lb1"].start()

    assert max(gaps) <= 50 * MS, gaps


@pytest.mark.parametrize(("percent", "most"), [(10, 0), (30, 2)])
def test_lost_frames_between_the_agents_are_no_death(begin: Begin, percent: int, most: int) -> None:
    """With 30 % three heartbeats in a row are lost twice in this time: VRRP changes twice."""
    site = begin()
    lb1, lb2 = site.cluster.balancers.values()
    ipv4 = answered(site)

    lost = site.lab.faults.loss(percent, lb1, lb2).since_ns
    wait(site, LONG)

    if most:
        assert reigns_of_others(site) <= most
    else:
        assert_nothing_changed(site, ipv4, lost)


def test_a_master_that_is_stopped_for_a_moment_stays_master(begin: Begin) -> None:
    site, random = begin(), Random(3)
    agent = site.agents["lb1"].process
    ipv4 = answered(site)
    since = time.monotonic_ns()

    for _ in range(5):
        agent.freeze()
        wait(site, 300 * MS)
        agent.thaw()
        wait(site, random.randrange(300, 1_000) * MS)

    assert_nothing_changed(site, ipv4, since)


def test_blocked_multicast_is_an_alarm_and_unicast_goes_on(begin: Begin) -> None:
    site = begin()
    ipv4 = answered(site)

    blocked = site.lab.faults.block_multicast(site.cluster.balancers["lb1"]).since_ns
    after = wait_for_alarm(site, "path.multicast", blocked)
    wait(site, 5 * SECOND)

    assert after <= 2 * SECOND
    assert_nothing_changed(site, ipv4, blocked)
    site.lab.faults.heal()
    site.lab.wait_until(lambda: not raised(site, blocked), 15, "the alarm is over")
    assert_nothing_changed(site, ipv4, blocked)


def test_a_link_lost_one_way_is_told_by_the_third_agent(begin: Begin) -> None:
    site = begin(by_rank, balancers=3)
    hosts = site.cluster.balancers
    ipv4 = answered(site)

    lost = site.lab.faults.drop_one_way(hosts["lb1"], hosts["lb2"]).since_ns
    wait_for_alarm(site, "link.asymmetric", lost)
    wait(site, 5 * SECOND)

    assert_nothing_changed(site, ipv4, lost)
    site.lab.faults.heal()
    site.lab.wait_until(lambda: not raised(site, lost), 15, "the alarm is over")
    assert_nothing_changed(site, ipv4, lost)


@pytest.mark.parametrize(
    ("source", "destination", "limit"),
    [("lb1", "lb2", DETECTION), ("lb2", "lb1", BACKUP_DETECTION)],
)
def test_a_link_lost_one_way_between_two_is_settled_or_told(
    begin: Begin, source: str, destination: str, limit: int
) -> None:
    site = begin()
    hosts = site.cluster.balancers

    lost = site.lab.faults.drop_one_way(hosts[source], hosts[destination]).since_ns

    site.lab.wait_until(lambda: settled_or_told(site, lost), 10, "one other master, or an alarm")
    assert min(settled_or_told(site, lost)) <= limit
    wait(site, 5 * SECOND)
    assert settled_or_told(site, lost), "as long as it lasts"
    site.lab.faults.heal()
    site.settle(lb1="master", lb2="backup")


def settled_or_told(site: Site, since_ns: int) -> list[int]:
    """How long after ``since_ns`` lb2 alone was master, if it is, and alarms were raised."""
    lb1, lb2 = (site.role(name) for name in ("lb1", "lb2"))
    now = time.monotonic_ns()
    settled = (lb1.state, lb2.state) == ("backup", "master")
    moved = now - min(lb1.age_ms, lb2.age_ms) * MS - since_ns
    return [*raised(site, since_ns).values(), *([moved] if settled else [])]
