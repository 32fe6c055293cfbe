"""A master that cannot be heard: it is silent before the next one claims, and takes part again."""

import time

import pytest

from haagent.lab.cluster import VIP_IPV4
from haagent.lab.witness import Witness
from tests.lab.conftest import BY_ROLE, Begin

pytestmark = pytest.mark.unhurried


def test_a_master_that_loses_its_own_address_gives_up_the_virtual_one(begin: Begin) -> None:
    site = begin(BY_ROLE)
    lb1 = site.cluster.balancers["lb1"]
    witness = Witness(site.lab, site.cluster.balancers, VIP_IPV4)
    witness.wait_for("lb1", time.monotonic_ns())

    lost = time.monotonic_ns()
    lb1.run("ip", "address", "del", "192.0.2.11/24", "dev", "eth0")
    site.settle(lb1="fault", lb2="master")

    assert witness.both("lb1", "lb2", lost) == 0
    assert site.role("lb1").reason == "no_path"
    site.lab.wait_until(
        lambda: "no IPv4 address of its own" in site.alarms("lb1")["path.down"],
        5,
        "lb1 says what ails the path",
    )

    lb1.run("ip", "address", "add", "192.0.2.11/24", "dev", "eth0")
    site.settle(lb1="master", lb2="backup")
    assert site.alarms("lb1") == {}


def test_a_master_whose_words_the_firewall_keeps_back_gives_up_the_address(begin: Begin) -> None:
    site = begin(BY_ROLE)
    lb1 = site.cluster.balancers["lb1"]
    witness = Witness(site.lab, site.cluster.balancers, VIP_IPV4)
    witness.wait_for("lb1", time.monotonic_ns())

    lost = time.monotonic_ns()
    rule = (
        "table ip keep { chain out { type filter hook output priority 0; udp dport 6940 drop;}; }"
    )
    lb1.run("nft", rule)
    site.settle(lb1="fault", lb2="master")

    assert witness.both("lb1", "lb2", lost) == 0
    assert "Operation not permitted" in site.alarms("lb1")["path.down"]
    lb1.run("nft", "delete", "table", "ip", "keep")
    site.settle(lb1="master", lb2="backup")
