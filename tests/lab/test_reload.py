"""SIGHUP: a changed file is taken in, a bad one is not, and an equal one does nothing at all."""

import os
import signal

from haagent.lab.agents import Agent
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4
from tests.lab.conftest import Begin, Site

MS = 1_000_000
LB1 = "192.0.2.11"


def reload(agent: Agent) -> None:
    os.kill(agent.process.pid, signal.SIGHUP)


def configured(name: str, old: str, new: str) -> str:
    text = (CONFIGURATIONS / f"by-role-{name}.yml").read_text()
    assert old in text
    return text.replace(old, new)


def test_a_file_with_mistakes_is_refused_and_the_old_one_stays(pair: Site) -> None:
    agent, term = pair.agents["lb1"], pair.role("lb1").term
    agent.configure(configured("lb1", "priority: 150", "priority: 500"))

    reload(agent)
    pair.lab.wait_until(lambda: "config.rejected" in pair.alarms("lb1"), 5, "the alarm")

    place = f"{agent.configuration_file}:15:15: groups.web.priority"
    why = f"kept the old file: {place}: must be 1..254, is 500"
    assert pair.alarms("lb1")["config.rejected"] == why
    assert (pair.role("lb1").state, pair.role("lb1").priority) == ("master", 150)

    agent.configure(configured("lb1", "node: lb1", "node: lb9"))
    reload(agent)
    pair.lab.wait_until(
        lambda: "takes a restart: node" in pair.alarms("lb1")["config.rejected"], 5, "the reason"
    )

    agent.configure(configured("lb1", "node: lb1", "node: lb1"))
    reload(agent)
    pair.lab.wait_until(lambda: not pair.alarms("lb1"), 5, "the alarm ends")
    assert (pair.role("lb1").state, pair.role("lb1").term) == ("master", term)


def test_an_equal_file_makes_no_datagram_and_no_change_of_an_address(pair: Site) -> None:
    agent, words = pair.agents["lb1"], pair.eavesdrop()
    addresses = pair.watch_addresses("lb1")
    pair.lab.wait_until(lambda: len(words.heard(LB1)) > 2, 10, "heartbeats")
    records = len(pair.status("lb1").records)

    for _ in range(3):
        heard = len(words.heard(LB1))
        reload(agent)
        pair.lab.wait_until(lambda: len(words.heard(LB1)) >= heard + 5, 10, "heartbeats")  # noqa: B023

    (first, _), *_, (last, _) = beats = words.heard(LB1)
    intervals = (last - first) / (200 * MS)
    assert len(beats) - 1 <= round(intervals) + 1, beats
    assert addresses.heard() == []
    assert len(pair.status("lb1").records) == records


def test_a_higher_priority_is_followed_by_a_planned_handover(begin: Begin) -> None:
    site = begin()
    ipv4, _ = site.probe()
    site.agents["lb2"].configure(configured("lb2", "priority: 100", "priority: 200"))

    reload(site.agents["lb2"])

    site.settle(lb1="backup", lb2="master")
    assert site.reigns("lb2") == ["took over by planned handover"]
    assert site.records("lb2", "config.applied") == ["priority 200, preempt after 2000 ms"]
    assert [change.who for change in ipv4.changes()] == ["lb1", "lb2"]
    assert site.holders(VIP_IPV4) == ["lb2"]
    assert site.alarms("lb1") == site.alarms("lb2") == {}
