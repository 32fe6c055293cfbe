"""What agents tell of the paths between them, against what their wires do."""

from haagent.core.units import milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.network import Delays
from haagent.sim.swarm import agents


def measured(cluster: Cluster, host: int, peer: str) -> list[tuple[int | None, int | None]]:
    """Loss in permille and round trip in ns of each path, as that host tells them."""
    agent = cluster.hosts[host].agent
    assert agent is not None
    (found,) = (each for each in agent.status().peers if each.name == peer)
    return [(path.loss_permille, path.round_trip) for path in found.paths]


def begun() -> Cluster:
    """Two agents with two paths and two groups, each master of one."""
    settings = agents(count=2, paths=2, groups=2)
    cluster = Cluster(settings, seed=1, codec=True, delays=Delays.CONSTANT)
    cluster.start()
    return cluster


def test_the_round_trip_of_every_path_is_twice_the_delay_of_the_wire() -> None:
    cluster = begun()
    for pair in ((0, 1), (1, 0)):
        cluster.network.wire(*pair).jitter = milliseconds(10)
    cluster.run(seconds(40))

    for host, peer in ((0, "lb2"), (1, "lb1")):
        for loss, round_trip in measured(cluster, host, peer):
            assert loss == 0
            # An age travels in whole microseconds.
            assert round_trip is not None
            assert abs(round_trip - 2 * milliseconds(10) - 400_000) < 2_000


def test_a_wire_that_loses_a_fifth_does_so_by_what_hears_it_and_the_way_back_nothing() -> None:
    cluster = begun()
    cluster.run(seconds(10))
    cluster.network.wire(0, 1).loss = 0.2
    cluster.run(seconds(60))

    assert [loss for loss, _ in measured(cluster, 0, "lb2")] == [0, 0]
    for loss, _ in measured(cluster, 1, "lb1"):
        assert loss is not None
        assert 100 <= loss <= 300


def test_stalls_and_changes_of_master_are_no_loss() -> None:
    cluster = begun()
    cluster.run(seconds(10))
    for _ in range(5):
        cluster.hosts[0].pause()
        cluster.run(milliseconds(1500))
        cluster.hosts[0].resume()
        cluster.run(seconds(3))

    assert [loss for loss, _ in measured(cluster, 1, "lb1")] == [0, 0]
    assert [loss for loss, _ in measured(cluster, 0, "lb2")] == [0, 0]


def test_copies_for_somebody_else_are_no_loss() -> None:
    cluster = Cluster(agents(count=3, paths=2, groups=2), seed=1)
    cluster.start()
    cluster.run(seconds(10))
    cluster.network.wire(0, 2).cut_to_all = True
    cluster.run(seconds(30))

    assert [loss for loss, _ in measured(cluster, 1, "lb1")] == [0, 0]
    assert [loss for loss, _ in measured(cluster, 2, "lb1")] == [0, 0]
