"""The simulated world itself: what kernels and wires do, whatever the agents make of it."""

from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from random import Random
from statistics import mean

import pytest

from haagent.core.actions import AskHost
from haagent.core.events import HostAnswered
from haagent.core.settings import IPAddress, Preempt
from haagent.core.units import DurationNs, MonoNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.network import DELAY, JITTER, Claimed, Delays, Network, Payload, Port, Wire
from haagent.sim.schedule import Schedule
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


def arrivals(wire: Wire, count: int, *, every: DurationNs) -> list[int]:
    """Send ``count`` datagrams; return the delays of those that arrive, in nanoseconds."""
    random = Random(1)
    sent = [MonoNs(number * every) for number in range(count)]
    return [at - now for now in sent for at in wire.arrivals(now, random)]


@pytest.mark.parametrize("delays", Delays)
def test_delays_of_every_distribution_have_the_same_mean(delays: Delays) -> None:
    found = arrivals(Wire(delays, reorders=True), 20_000, every=milliseconds(10))

    assert mean(found) == pytest.approx(DELAY + JITTER, rel=0.02)
    assert (min(found) == max(found)) is (delays is Delays.CONSTANT)


def test_a_lognormal_delay_has_a_longer_tail_than_an_exponential_one() -> None:
    longest = {
        delays: max(arrivals(Wire(delays, reorders=True), 20_000, every=milliseconds(10)))
        for delays in (Delays.EXPONENTIAL, Delays.LOGNORMAL)
    }

    assert longest[Delays.LOGNORMAL] > 2 * longest[Delays.EXPONENTIAL]


@pytest.mark.parametrize("reorders", [False, True])
def test_datagrams_overtake_each_other_only_where_they_are_told_to(reorders: bool) -> None:
    wire = Wire(Delays.EXPONENTIAL, reorders=reorders)
    random = Random(1)
    found = [at for now in range(0, 10**7, 10**4) for at in wire.arrivals(MonoNs(now), random)]

    assert (found != sorted(found)) is reorders


@pytest.mark.parametrize("every", [milliseconds(5), milliseconds(200)])
def test_bursts_take_a_tenth_of_the_time_however_often_somebody_speaks(every: DurationNs) -> None:
    wire = Wire(Delays.CONSTANT, reorders=False)
    wire.bursts = milliseconds(100)
    share = 1 - len(arrivals(wire, 50_000, every=every)) / 50_000

    assert share == pytest.approx(0.1, abs=0.02)


def test_bursts_lose_many_in_a_row() -> None:
    wire = Wire(Delays.CONSTANT, reorders=False)
    wire.bursts = milliseconds(100)
    random = Random(1)
    lost = [not wire.arrivals(MonoNs(now), random) for now in range(0, 10**11, 10**7)]
    after_a_loss = [later for earlier, later in pairwise(lost) if earlier]

    assert sum(after_a_loss) / len(after_a_loss) > 0.8


@pytest.mark.parametrize("blocked", [False, True])
def test_a_block_of_what_is_sent_to_all_lets_pass_what_is_sent_to_one(blocked: bool) -> None:
    schedule = Schedule()
    network = Network(schedule, Random(1), 2, delays=Delays.CONSTANT, reorders=False)
    arrived: list[Payload] = []
    ports = [
        Port(host, "eth0", IPv4Address(f"10.0.0.{host}"), lambda _, __, it: arrived.append(it))
        for host in range(2)
    ]
    for port in ports:
        network.attach(port)
    network.wire(0, 1).cut_to_all = blocked
    question = Claimed(GATEWAY, None, question=True)
    network.send(ports[0], b"to all", None)
    network.send(ports[0], b"to one", ports[1].address)
    network.send(ports[0], question, None)
    schedule.run(MonoNs(seconds(1)))

    assert arrived == [*([] if blocked else [b"to all"]), b"to one", question]


def test_a_suspended_machine_answers_nobody_and_hears_later_what_came_meanwhile() -> None:
    cluster = cluster_with_gateway()
    other = cluster.hosts[1]
    other.suspend()
    assert ask(cluster, address_of(cluster, 1)) == []
    other.resume()
    cluster.run(milliseconds(10))

    assert ask(cluster, address_of(cluster, 1)) == 2 * [
        HostAnswered(0, address_of(cluster, 1), "ARP")
    ]


def test_a_suspended_master_answers_for_no_address_and_is_replaced() -> None:
    cluster = Cluster(agents(count=2, preempt=Preempt.NEVER), seed=1)
    cluster.start()
    cluster.run(seconds(4))
    cluster.hosts[0].suspend()
    assert cluster.answering() == []
    cluster.run(seconds(2))
    assert cluster.answering() == ["h2"]
    cluster.hosts[0].resume()
    cluster.run(seconds(4))

    assert cluster.answering() == ["h2"]
    assert cluster.safety.violations + cluster.safety.shared == []


@pytest.mark.parametrize("ppm", [-500, 500])
def test_a_clock_that_drifts_goes_by_its_rate_from_then_on(ppm: int) -> None:
    cluster = Cluster(agents(count=2), seed=1)
    host = cluster.hosts[0]
    cluster.run(seconds(1))
    begin = host.mono
    host.drift(ppm)
    cluster.run(seconds(1000))

    assert host.mono - begin == 10**12 + ppm * 10**6


def test_a_timer_of_a_drifting_clock_is_never_early() -> None:
    for ppm in (-500, -3, 0, 7, 500):
        cluster = Cluster(agents(count=2), seed=1)
        host = cluster.hosts[0]
        cluster.run(DurationNs(123_456_789))
        host.drift(ppm)
        for due in range(host.mono, host.mono + 10_000, 7):
            cluster.schedule.run(host._instant(MonoNs(due)))
            assert 0 <= host.mono - due <= 1


def test_what_is_corrupted_on_the_way_is_never_taken_for_genuine() -> None:
    cluster = Cluster(agents(count=2, preempt=Preempt.NEVER), seed=1, codec=True)
    cluster.start()
    cluster.run(seconds(4))
    for wire in cluster.network.wires():
        wire.corruption = 0.2
    cluster.run(seconds(60))

    assert cluster.safety.violations == []
    assert cluster.safety.changes <= 3
