"""The simulated world itself: what kernels and wires do, whatever the agents make of it."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from haagent.core.actions import AskHost
from haagent.core.events import HostAnswered
from haagent.core.settings import IPAddress
from haagent.core.units import milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.swarm import agents

GATEWAY = IPv4Address("10.0.0.254")
ROUTER = -1


def cluster_with_gateway() -> Cluster:
    """Two hosts, started, of which the first one's process is paused: its events queue up."""
    settings = agents(count=2)
    timing = settings[0].heartbeat
    path = replace(timing.paths[0], reference=GATEWAY)
    timing = replace(timing, paths=(path,))
    cluster = Cluster([replace(each, heartbeat=timing) for each in settings], seed=1)
    cluster.start()
    cluster.run(seconds(4))
    cluster.hosts[0].pause()
    return cluster


def ask(cluster: Cluster, address: IPAddress) -> list[HostAnswered]:
    """Have the first host ask once; return the answers that it gets."""
    cluster.hosts[0]._perform(AskHost(0, address))
    cluster.run(milliseconds(10))
    return [event for event in cluster.hosts[0]._events if isinstance(event, HostAnswered)]


def address_of(cluster: Cluster, position: int) -> IPAddress:
    return cluster.hosts[position]._ports["eth0"].address


@pytest.mark.parametrize("state", ["runs", "pause", "kill", "stop"])
def test_a_kernel_answers_whatever_its_process_does(state: str) -> None:
    cluster = cluster_with_gateway()
    target = address_of(cluster, 1)
    if state != "runs":
        getattr(cluster.hosts[1], state)()
        cluster.run(milliseconds(100))

    assert ask(cluster, target) == [HostAnswered(0, target, "ARP")]


def test_a_kernel_without_power_does_not_answer() -> None:
    cluster = cluster_with_gateway()
    cluster.hosts[1].power_off()

    assert ask(cluster, address_of(cluster, 1)) == []


def test_a_kernel_behind_a_port_that_is_down_does_not_answer() -> None:
    cluster = cluster_with_gateway()
    cluster.hosts[1].set_link("eth0", up=False)

    assert ask(cluster, address_of(cluster, 1)) == []


@pytest.mark.parametrize("wire", [(0, 1), (1, 0)])
def test_question_and_answer_each_need_their_wire(wire: tuple[int, int]) -> None:
    cluster = cluster_with_gateway()
    cluster.network.wire(*wire).cut = True

    assert ask(cluster, address_of(cluster, 1)) == []


@pytest.mark.parametrize("wire", [None, (0, ROUTER), (ROUTER, 0), (1, ROUTER)])
def test_the_gateway_answers_by_wires_of_its_own(wire: tuple[int, int] | None) -> None:
    cluster = cluster_with_gateway()
    cluster.network.split({0, ROUTER})
    if wire is not None:
        cluster.network.wire(*wire).cut = True
    answers = ask(cluster, GATEWAY)

    assert answers == ([] if wire and 0 in wire else [HostAnswered(0, GATEWAY, "ARP")])


def test_nobody_answers_at_an_address_that_nobody_has() -> None:
    assert ask(cluster_with_gateway(), IPv4Address("10.0.0.77")) == []
