"""When a node sends, and what: the first heartbeat, the grid, news, answers, the goodbye."""

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import example, given, strategies as st

from haagent.core.appnode.sender import BETWEEN_NEWS, LOAD_STEP_PERMILLE, Endpoint, Say, Sender
from haagent.core.appnode.settings import NodePathSettings, NodeSettings, ServiceSettings
from haagent.core.checks import CheckSettings, TCPCheck
from haagent.core.identity import BootId, node_id
from haagent.core.messages import Load, NodeAck, NodeHeartbeat, Service
from haagent.core.units import DurationNs, MonoNs, later, milliseconds, seconds

START = MonoNs(seconds(1000))
BOOT = BootId(7)
T = seconds(1)
J = DurationNs(T // 10)
CHECK = CheckSettings(
    name="app", what=TCPCheck(IPv4Address("127.0.0.1"), 80), timeout=milliseconds(500)
)
SETTINGS = NodeSettings(
    node="app1",
    cluster="shop",
    paths=(NodePathSettings(interface="eth0"),),
    services=(ServiceSettings(name="app", port=8080), ServiceSettings(name="api", port=81)),
    address=IPv4Address("192.0.2.21"),
)
CHECKED = replace(SETTINGS, services=(ServiceSettings(name="app", port=8080, check=CHECK),))
AGENT = Endpoint(0, IPv4Address("192.0.2.11"), 6941)
IDLE = Load(cpu_permille=0, memory_permille=0, queue_percent=0)
_sequences = count(1)


def sender(settings: NodeSettings = SETTINGS, seed: int = 1, **more: object) -> Sender:
    return Sender(START, settings, BOOT, Random(seed), **more)  # type: ignore[arg-type]


def begun(settings: NodeSettings = SETTINGS) -> tuple[Sender, MonoNs]:
    """A sender just after its first heartbeat, and when that was."""
    ours = sender(settings)
    due = ours.deadline()
    assert ours.tick(due) or settings.address is None
    return ours, due


def ack(agent: str = "lb1", nonce: int = 5, ms: int = 1000, boot: BootId = BOOT) -> NodeAck:
    return NodeAck(
        destination=node_id("app1"),
        agent=node_id(agent),
        boot=boot,
        sequence=next(_sequences),
        nonce=nonce,
        interval_ms=ms,
        jitter_ms=ms // 10,
    )


def sent(says: list[Say]) -> list[NodeHeartbeat]:
    return [each.heartbeat for each in says]


def health(says: list[Say]) -> list[bool]:
    return [service.healthy for each in says for service in each.heartbeat.services]


def test_the_first_heartbeat_says_everything() -> None:
    ours = sender()

    assert ours.tick(ours.deadline()) == [
        Say(
            NodeHeartbeat(
                sender=node_id("app1"),
                boot=BOOT,
                sequence=1,
                path=0,
                interval_ms=1000,
                nonce=0,
                leaving=False,
                load=IDLE,
                name="app1",
                node_class="default",
                address=IPv4Address("192.0.2.21"),
                services=(
                    Service(name="app", port=8080, weight=100, healthy=True),
                    Service(name="api", port=81, weight=100, healthy=True),
                ),
            )
        )
    ]


def test_nothing_is_sent_one_nanosecond_early() -> None:
    ours = sender()

    assert ours.tick(MonoNs(ours.deadline() - 1)) == []


def test_the_first_heartbeat_comes_at_the_nodes_own_place_in_the_interval() -> None:
    place = START + node_id("app1") % T

    assert abs(sender().deadline() - place) <= J // 2


def test_a_fleet_that_starts_together_does_not_send_together() -> None:
    firsts = [
        sender(replace(SETTINGS, node=f"app{n}"), seed=n).deadline() - START for n in range(1000)
    ]

    tenths = [sum(tenth <= 10 * due / T < tenth + 1 for due in firsts) for tenth in range(10)]
    assert all(60 < each < 150 for each in tenths), tenths


@given(seed=st.integers(0, 1 << 32), late=st.lists(st.integers(0, J), min_size=30, max_size=30))
def test_any_n_intervals_take_n_times_t_give_or_take_j(seed: int, late: list[int]) -> None:
    """However late each wake-up was: neither chance nor lateness adds up."""
    ours = sender(seed=seed)
    dues = []
    for delay in late:
        dues.append(ours.deadline())
        assert ours.tick(MonoNs(dues[-1] + delay))

    for first in range(len(dues)):
        for n in range(1, len(dues) - first):
            assert abs(dues[first + n] - dues[first] - n * T) <= J


def test_a_node_that_stood_still_sends_once_and_goes_on_in_its_place() -> None:
    ours, first = begun()
    woken = later(first, DurationNs(100 * T + T // 2))

    assert len(ours.tick(woken)) == 1
    assert ours.tick(woken) == []

    assert woken < ours.deadline() <= woken + T
    assert abs((ours.deadline() - START - node_id("app1")) % T) % (T - J) <= J


def test_before_the_first_place_in_the_grid_nothing_is_news() -> None:
    """A fleet that starts together opens its paths together as well."""
    ours = sender(CHECKED)
    early = MonoNs(ours.deadline() - 1)

    assert ours.reachable(early, None, anew=True) == []
    assert ours.checked(early, "app", True) == []
    assert ours.measured(early, replace(IDLE, cpu_permille=900)) == []

    assert health(ours.tick(ours.deadline())) == [True]


def test_every_path_gets_a_datagram_with_a_number_of_its_own() -> None:
    paths = (NodePathSettings(interface="eth0"), NodePathSettings(interface="eth1"))
    ours, _first = begun(replace(SETTINGS, paths=paths))

    again = sent(ours.tick(ours.deadline()))

    assert [(each.path, each.sequence) for each in again] == [(0, 3), (1, 4)]


def test_nothing_is_said_before_it_is_known_where_the_services_listen() -> None:
    ours, _first = begun(replace(SETTINGS, address=None))
    assert ours.tick(ours.deadline()) == []

    says = ours.reachable(MonoNs(ours.deadline() - 1), IPv4Address("192.0.2.99"), anew=False)

    assert [each.address for each in sent(says)] == [IPv4Address("192.0.2.99")]


def test_the_same_address_again_is_no_news_and_a_path_that_opens_is() -> None:
    ours, first = begun()
    now = later(first, BETWEEN_NEWS)

    assert ours.reachable(now, IPv4Address("192.0.2.21"), anew=False) == []
    assert ours.reachable(now, None, anew=False) == []
    assert len(ours.reachable(now, None, anew=True)) == 1


def test_the_address_of_the_file_counts_before_that_of_the_interface() -> None:
    ours, first = begun()

    says = ours.reachable(later(first, BETWEEN_NEWS), IPv4Address("192.0.2.99"), anew=True)

    assert [each.address for each in sent(says)] == [IPv4Address("192.0.2.21")]


def test_a_service_with_a_check_is_unhealthy_until_it_has_passed() -> None:
    ours = sender(CHECKED)
    assert health(ours.tick(ours.deadline())) == [False]


def test_a_service_that_has_passed_before_a_reload_is_healthy() -> None:
    ours = sender(CHECKED, healthy=frozenset({"app"}), sequence=41)

    says = ours.tick(ours.deadline())

    assert health(says) == [True]
    assert [each.sequence for each in sent(says)] == [42]


def test_a_change_of_health_is_sent_at_once_and_leaves_the_grid_alone() -> None:
    ours, first = begun(CHECKED)
    due = ours.deadline()
    now = later(first, BETWEEN_NEWS)

    assert health(ours.checked(now, "app", True)) == [True]

    assert ours.deadline() == due


def test_health_that_has_not_changed_is_no_news() -> None:
    ours, first = begun(CHECKED)
    now = later(first, BETWEEN_NEWS)

    assert ours.checked(now, "app", False) == []
    assert ours.checked(now, "gone", True) == []


def test_news_wait_until_the_last_are_100_ms_old_and_are_told_once() -> None:
    ours, first = begun(CHECKED)

    assert ours.checked(later(first, milliseconds(1)), "app", True) == []
    assert ours.checked(later(first, milliseconds(2)), "app", False) == []
    assert ours.checked(later(first, milliseconds(3)), "app", True) == []

    assert ours.deadline() == later(first, BETWEEN_NEWS)
    assert ours.tick(MonoNs(ours.deadline() - 1)) == []
    assert health(ours.tick(ours.deadline())) == [True]
    assert ours.tick(later(first, BETWEEN_NEWS)) == []


@pytest.mark.parametrize(
    "load",
    [replace(IDLE, cpu_permille=LOAD_STEP_PERMILLE), replace(IDLE, memory_permille=150)],
    ids=["cpu", "memory"],
)
def test_a_step_of_the_load_is_sent_at_once(load: Load) -> None:
    ours, first = begun()

    assert [each.load for each in sent(ours.measured(later(first, BETWEEN_NEWS), load))] == [load]


def test_a_little_more_load_waits_for_the_next_heartbeat() -> None:
    ours, first = begun()
    load = Load(cpu_permille=99, memory_permille=99, queue_percent=500)

    assert ours.measured(later(first, BETWEEN_NEWS), load) == []
    assert [each.load for each in sent(ours.tick(ours.deadline()))] == [load]


def test_a_restless_load_is_news_once_in_an_interval() -> None:
    """So a fleet never sends more than twice what its interval allows for."""
    ours, first = begun()
    busy = replace(IDLE, cpu_permille=500)
    assert ours.measured(later(first, BETWEEN_NEWS), busy)

    assert ours.measured(later(first, milliseconds(300)), IDLE) == []
    assert ours.tick(later(first, milliseconds(500))) == []

    due = ours.deadline()
    ours.tick(due)
    assert ours.measured(later(due, BETWEEN_NEWS), busy)


def test_an_agent_that_asks_has_its_answer_at_once_and_alone() -> None:
    ours, first = begun()

    says = ours.acknowledged(later(first, milliseconds(1)), ack(nonce=99), AGENT)

    assert [(each.to, each.heartbeat.nonce) for each in says] == [(AGENT, 99)]
    assert ours.answered


def test_the_newest_nonce_is_in_every_heartbeat() -> None:
    ours, first = begun()
    ours.acknowledged(first, ack("lb1", nonce=99), AGENT)
    ours.acknowledged(first, ack("lb2", nonce=98), AGENT)

    assert [each.nonce for each in sent(ours.tick(ours.deadline()))] == [98]


def test_an_agent_that_asks_the_same_again_has_one_answer_in_an_interval() -> None:
    """Two agents that want different paces both ask again with each heartbeat."""
    ours, first = begun()
    ours.acknowledged(first, ack("lb1", nonce=1, ms=1000), AGENT)

    assert len(ours.acknowledged(first, ack("lb2", nonce=2, ms=500), AGENT)) == 1
    assert ours.acknowledged(first, ack("lb2", nonce=2, ms=500), AGENT) == []
    assert len(ours.acknowledged(first, ack("lb2", nonce=3, ms=500), AGENT)) == 1

    now = ours.deadline()
    ours.tick(now)
    assert len(ours.acknowledged(now, ack("lb2", nonce=2, ms=500), AGENT)) == 1


def test_an_answer_to_another_boot_or_an_old_one_means_nothing() -> None:
    ours, first = begun()
    old = ack(ms=100)
    ours.acknowledged(first, ack(ms=1000), AGENT)
    due = ours.deadline()

    assert ours.acknowledged(first, ack(boot=BootId(6), ms=100), AGENT) == []
    assert ours.acknowledged(first, old, AGENT) == []

    assert (ours.interval, ours.deadline()) == (T, due)


def test_a_shorter_interval_counts_from_now_on() -> None:
    ours, first = begun()
    now = later(first, milliseconds(10))

    says = ours.acknowledged(now, ack(ms=200), AGENT)

    assert [each.interval_ms for each in sent(says)] == [200]
    assert now < ours.deadline() <= later(now, milliseconds(210))


@given(
    after_ms=st.integers(0, 900),
    ms=st.integers(50, 950),
    node=st.integers(0, 500),
    seed=st.integers(0, 99),
)
@example(after_ms=321, ms=785, node=500, seed=86)
@example(after_ms=800, ms=900, node=2, seed=2)
@example(after_ms=800, ms=900, node=3, seed=3)
@example(after_ms=800, ms=900, node=4, seed=4)
def test_after_a_change_no_heartbeat_comes_later_than_was_promised(
    after_ms: int, ms: int, node: int, seed: int
) -> None:
    ours = sender(replace(SETTINGS, node=f"app{node}"), seed)
    first = ours.deadline()
    ours.tick(first)
    promised = ours.deadline()
    now = min(later(first, milliseconds(after_ms)), MonoNs(promised - 1))
    ours.acknowledged(now, ack(ms=ms), AGENT)

    assert ours.deadline() <= promised
    dues = []
    for _ in range(5):
        dues.append(ours.deadline())
        assert ours.tick(dues[-1])
    most = milliseconds(ms + ms // 10)
    assert all(0 < b - a <= most for a, b in pairwise(dues))


def test_a_longer_interval_comes_after_three_heartbeats_that_promise_it() -> None:
    ours, first = begun()
    ours.acknowledged(first, ack(ms=5000), AGENT)
    dues = []

    for _ in range(6):
        dues.append(ours.deadline())
        (heartbeat,) = sent(ours.tick(dues[-1]))
        assert heartbeat.interval_ms == 5000

    gaps = [b - a for a, b in zip([first, *dues], dues, strict=False)]
    assert all(gap <= T + J for gap in gaps[:3])
    assert gaps[3] <= 5.5 * T
    assert all(4.5 * T <= gap <= 5.5 * T for gap in gaps[4:])


def test_a_goodbye_says_so_on_every_path() -> None:
    ours, _first = begun()

    assert [(each.leaving, each.sequence) for each in sent(ours.leave())] == [(True, 2)]
    assert [(each.leaving, each.sequence) for each in sent(ours.leave())] == [(True, 3)]
