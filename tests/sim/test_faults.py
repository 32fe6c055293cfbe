"""Faults as values: struck at their time, ended alone, played again from a list."""

from dataclasses import replace

from haagent.core.units import MonoNs, later, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.faults import Fault, Faults, Kind
from haagent.sim.swarm import Scenario, agents, draw, play


def struck(*faults: Fault) -> tuple[Cluster, Faults]:
    """A cluster with these faults before it."""
    cluster = Cluster(agents(count=2), seed=1)
    cluster.start()
    struck = Faults(cluster)
    for fault in faults:
        struck.strike(fault)
    return cluster, struck


def at(second: int) -> MonoNs:
    return MonoNs(seconds(second))


def test_a_fault_begins_and_ends_at_its_time() -> None:
    cluster, _ = struck(
        Fault(kind=Kind.ONE_WAY, at=at(2), length=seconds(3), targets=("lb1", "lb2")),
    )
    cut = []
    for _ in range(7):
        cluster.run(seconds(1))
        cut.append((cluster.network.wire(0, 1).cut, cluster.network.wire(1, 0).cut))

    assert cut == [(False, False), *[(True, False)] * 3, *[(False, False)] * 3]


def test_a_fault_without_a_length_lasts_until_all_is_healed() -> None:
    cluster, faults = struck(Fault(kind=Kind.POWER, at=at(1), targets=("lb1",)))

    cluster.run(seconds(60))
    assert cluster.hosts[0].agent is None
    faults.heal()
    assert cluster.hosts[0].agent is not None


def test_the_end_of_a_fault_leaves_alone_what_another_one_does() -> None:
    cluster, _ = struck(
        Fault(kind=Kind.LOSS, at=at(1), length=seconds(3), amount=10),
        Fault(kind=Kind.PARTITION, at=at(2), length=seconds(1), targets=("lb1",)),
        Fault(kind=Kind.KILL, at=at(1), length=seconds(3), targets=("lb2",)),
        Fault(kind=Kind.SLOW, at=at(1), length=seconds(1), targets=("lb2",), amount=1000),
    )
    cluster.run(seconds(3))

    wire, host = cluster.network.wire(0, 1), cluster.hosts[1]
    assert (wire.loss, wire.cut, host.slowness, host.agent) == (0.1, False, 0, None)
    cluster.run(seconds(1))
    assert cluster.network.wire(0, 1).loss == 0
    assert host.agent is not None


def test_a_scenario_is_all_that_a_run_depends_on() -> None:
    scenario = draw(7)
    fault = scenario.faults[0]
    moved = replace(fault, at=later(fault.at, milliseconds(1)))

    first = play(scenario)

    assert play(replace(scenario)).digest == first.digest
    assert play(replace(scenario, faults=(moved, *scenario.faults[1:]))).digest != first.digest
    assert play(Scenario(seed=7, agents=2)).violations == ()
