"""App nodes as servers of a backend, one change after the other."""

from ipaddress import IPv4Address

from haagent.core.actions import Server
from haagent.core.events import NodeHeard
from haagent.core.fleet.node import Node, Pace, Standing
from haagent.core.fleet.servers import AT_A_TIME, BREATH, Change, NodeServers
from haagent.core.identity import boot_id, node_id
from haagent.core.messages import Load, NodeHeartbeat, Service
from haagent.core.settings import NodeClassSettings, NodeServersSettings, Policy, WhenEmpty
from haagent.core.units import MonoNs, milliseconds, seconds

NOW = MonoNs(0)
PACE = Pace(NodeClassSettings(slow_start=seconds(10)))


def node(number: int, *, busy: int = 0, healthy: bool = True) -> Node:
    """Return a living node that serves ``app``."""
    name = f"app{number}"
    heartbeat = NodeHeartbeat(
        sender=node_id(name),
        boot=boot_id(1, 0),
        sequence=1,
        path=0,
        interval_ms=1000,
        nonce=1,
        leaving=False,
        load=Load(cpu_permille=busy, memory_permille=0, queue_percent=0),
        name=name,
        node_class="default",
        address=IPv4Address("192.0.2.21"),
        services=(Service(name="app", port=80, weight=100, healthy=healthy),),
    )
    found = Node(
        NodeHeard(source=heartbeat.address, port=1, way=0, received_at=NOW, heartbeat=heartbeat),
        PACE,
    )
    found.stand(NOW, Standing.ALIVE)
    return found


def servers(policy: Policy = Policy.STATIC, empty: WhenEmpty = WhenEmpty.KEEP) -> NodeServers:
    settings = NodeServersSettings(service="app", policy=policy, when_empty=empty)
    return NodeServers(settings, ["spare"])


def seconds_later(count: int) -> MonoNs:
    return MonoNs(NOW + seconds(count))


def weights(tested: NodeServers) -> dict[str, int]:
    return {server.name: server.weight for server in tested.servers() or ()}


def test_a_node_is_a_server_where_its_service_listens() -> None:
    tested = servers()

    assert tested.consider(NOW, node(1), joins=True) is Change.SERVER
    assert tested.servers() == (
        Server(name="app1", address=IPv4Address("192.0.2.21"), port=80, weight=100, check=True),
    )


def test_what_has_not_changed_changes_nothing() -> None:
    tested, app1 = servers(), node(1)
    tested.consider(NOW, app1, joins=True)

    assert tested.consider(NOW, app1, joins=True) is Change.NONE


def test_another_address_is_another_server_and_another_weight_is_not() -> None:
    tested, app1 = servers(), node(1)
    tested.consider(NOW, app1, joins=True)

    app1.services = (Service(name="app", port=80, weight=50, healthy=True),)
    assert tested.consider(NOW, app1, joins=True) is Change.WEIGHT
    app1.address = IPv4Address("192.0.2.99")
    assert tested.consider(NOW, app1, joins=True) is Change.SERVER


def test_who_is_ill_or_serves_something_else_is_none() -> None:
    tested, other = servers(), node(2)
    other.services = (Service(name="api", port=80, weight=100, healthy=True),)

    assert tested.consider(NOW, node(1, healthy=False), joins=True) is Change.NONE
    assert tested.consider(NOW, other, joins=True) is Change.NONE
    assert tested.is_empty


def test_one_that_is_held_stays() -> None:
    tested, app1 = servers(), node(1)
    tested.consider(NOW, app1, joins=True)
    app1.stand(NOW, Standing.HELD)

    assert tested.consider(NOW, app1, joins=True) is Change.NONE
    assert weights(tested) == {"app1": 100}


def test_when_the_last_is_gone_its_servers_stay_or_go() -> None:
    for empty, left in ((WhenEmpty.KEEP, {"app1": 100}), (WhenEmpty.REMOVE, {})):
        tested, app1 = servers(empty=empty), node(1)
        tested.consider(NOW, app1, joins=True)
        assert weights(tested) == {"app1": 100}
        app1.stand(NOW, Standing.DEAD)

        assert tested.consider(NOW, app1, joins=True) is Change.SERVER
        assert tested.is_empty
        assert weights(tested) == left


def test_without_any_ever_what_haproxy_has_is_left_alone_unless_it_is_to_go() -> None:
    assert servers().servers() is None
    assert servers(empty=WhenEmpty.REMOVE).servers() == ()


def test_the_first_of_a_service_does_not_begin_slowly_and_who_joins_it_does() -> None:
    tested = servers()
    tested.consider(NOW, node(1), joins=True)
    tested.consider(NOW, node(2), joins=True)

    assert weights(tested) == {"app1": 100, "app2": 10}


def test_nobody_begins_slowly_who_was_there_before_us() -> None:
    tested = servers()
    tested.consider(NOW, node(1), joins=False)
    tested.consider(NOW, node(2), joins=False)

    assert weights(tested) == {"app1": 100, "app2": 100}
    assert tested.deadline() is None


def test_a_slow_start_takes_a_step_each_second_until_it_is_over() -> None:
    tested = servers()
    tested.consider(NOW, node(1), joins=True)
    tested.consider(NOW, node(2), joins=True)
    seen = []
    while (due := tested.deadline()) is not None:
        assert tested.tick(MonoNs(due - 1)) is Change.NONE
        assert tested.tick(due) is Change.WEIGHT
        seen.append(weights(tested)["app2"])

    assert seen == [19, 28, 37, 46, 55, 64, 73, 82, 91, 100]


def test_a_server_of_the_file_keeps_its_name() -> None:
    tested = NodeServers(NodeServersSettings(service="app"), ["app1"])
    app1 = node(1)

    assert tested.consider(NOW, app1, joins=True) is Change.NONE
    assert [*tested.clashes.values()] == ["app1"]
    app1.stand(NOW, Standing.DEAD)
    tested.consider(NOW, app1, joins=True)
    assert not tested.clashes


def test_the_lowest_gets_all_and_the_next_one_follows() -> None:
    tested = servers(Policy.LOWEST_ID)
    nodes = {number: node(number) for number in (10, 2, 30)}
    for each in nodes.values():
        tested.consider(NOW, each, joins=True)
    assert weights(tested) == {"app10": 0, "app2": 100, "app30": 0}

    nodes[2].stand(NOW, Standing.DEAD)
    tested.consider(NOW, nodes[2], joins=True)

    assert weights(tested) == {"app10": 100, "app30": 0}


def test_another_policy_holds_once_all_are_considered_anew() -> None:
    tested, nodes = servers(), [node(1, busy=700), node(2)]
    for each in nodes:
        tested.consider(NOW, each, joins=False)

    for policy, expected in (
        (Policy.WEIGHTED, {"app1": 30, "app2": 100}),
        (Policy.LOWEST_ID, {"app1": 100, "app2": 0}),
    ):
        tested.reconfigure(NodeServersSettings(service="app", policy=policy), [])
        for each in nodes:
            tested.consider(NOW, each, joins=False)
        assert weights(tested) == expected


def test_another_least_load_is_found_within_a_second_and_followed_a_part_at_a_time() -> None:
    tested = servers(Policy.LEAST_LOAD)
    nodes = [node(number, busy=300) for number in range(AT_A_TIME + 1)]
    idle = node(9999)
    for each in (*nodes, idle):
        tested.consider(NOW, each, joins=False)
    assert set(weights(tested).values()) == {100}
    due = tested.deadline()
    assert due == seconds_later(1)

    tested.tick(seconds_later(1))
    assert sorted(weights(tested).values())[-2:] == [100, 100]
    tested.tick(MonoNs(seconds_later(1) + BREATH))
    assert sorted(weights(tested).values())[-2:] == [5, 100]

    idle.stand(NOW, Standing.DEAD)
    tested.consider(NOW, idle, joins=False)
    for ms in (0, 1):
        tested.tick(MonoNs(seconds_later(3) + milliseconds(ms)))
    assert set(weights(tested).values()) == {100}


def test_a_load_that_flickers_moves_nothing_and_one_that_jumps_counts_by_half() -> None:
    app1 = node(1, busy=200)
    flickering = [
        app1.works_otherwise(
            MonoNs(milliseconds(1000 * second)),
            Load(cpu_permille=cpu, memory_permille=0, queue_percent=0),
        )
        for second, cpu in enumerate((240, 170, 230, 160, 240, 180), 1)
    ]
    busy = Load(cpu_permille=1000, memory_permille=0, queue_percent=0)

    assert not any(flickering)
    assert app1.works_otherwise(MonoNs(seconds(10)), busy)
    assert 590 <= app1.weighed <= 610
    # Not twice within a second, and then it is nearly all.
    assert not app1.works_otherwise(MonoNs(seconds(10) + milliseconds(500)), busy)
    assert app1.works_otherwise(MonoNs(seconds(11)), busy)
    assert app1.weighed > 850
