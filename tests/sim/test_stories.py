"""Single faults at exact times, and what must follow from each."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from haagent.core.messages import RoleReason, State
from haagent.core.settings import AgentSettings, Detection, Preempt
from haagent.core.units import DurationNs, milliseconds, seconds
from haagent.sim.cluster import Cluster
from haagent.sim.host import Host
from haagent.sim.swarm import agents


def settled(
    count: int = 3, *, preempt: Preempt = Preempt.NEVER, groups: int = 1, seed: int = 1
) -> Cluster:
    """A cluster four seconds after its start: h1 is master of the first group."""
    return started(agents(count=count, preempt=preempt, groups=groups), seed=seed)


def started(settings: Sequence[AgentSettings], *, seed: int = 1) -> Cluster:
    cluster = Cluster(settings, seed)
    cluster.start()
    cluster.run(seconds(4))
    return cluster


def takes(cluster: Cluster, *, no_longer_than: DurationNs, new: str) -> None:
    """Wait until ``new`` alone answers for the addresses."""
    end = cluster.schedule.now + no_longer_than
    while cluster.answering() != [new] and cluster.schedule.now < end:
        cluster.run(milliseconds(1))
    assert cluster.answering() == [new], trace(cluster)
    assert cluster.safety.shared == [], trace(cluster)


def silent_after(cluster: Cluster, label: str, *, no_longer_than: DurationNs) -> DurationNs:
    """Return how long ``label`` goes on answering, to the millisecond."""
    begin = cluster.schedule.now
    while label in cluster.answering() and cluster.schedule.now < begin + no_longer_than:
        cluster.run(milliseconds(1))
    assert label not in cluster.answering(), trace(cluster)
    return DurationNs(cluster.schedule.now - begin)


def role(host: Host) -> tuple[State, RoleReason]:
    assert host.agent is not None
    status = host.agent.status().groups[0].role
    return status.state, status.reason


def trace(cluster: Cluster) -> str:
    return "\n".join(cluster.trace[-40:])


def safe(cluster: Cluster) -> None:
    assert cluster.safety.violations == [], trace(cluster)
    assert cluster.safety.shared == [], trace(cluster)
    assert cluster.disagreements() == [], trace(cluster)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_best_agent_becomes_master_when_all_start_together(count: int) -> None:
    cluster = settled(count)

    assert cluster.holders() == ["h1"]
    assert cluster.safety.changes == 1
    safe(cluster)


def test_nothing_changes_for_an_hour_without_a_fault() -> None:
    cluster = settled(2)
    cluster.run(seconds(3600))

    assert cluster.safety.changes == 1
    safe(cluster)


def test_two_groups_of_opposite_priorities_have_masters_on_different_hosts() -> None:
    cluster = settled(2, groups=2)

    assert [cluster.holders(0), cluster.holders(1)] == [["h1"], ["h2"]]
    safe(cluster)


@pytest.mark.parametrize("seed", range(20))
def test_the_second_best_takes_over_when_the_master_dies_silently(seed: int) -> None:
    cluster = settled(seed=seed)
    cluster.hosts[0].power_off()

    takes(cluster, no_longer_than=milliseconds(700), new="h2")


def test_a_clean_stop_hands_over_within_some_milliseconds() -> None:
    cluster = settled()
    cluster.hosts[0].stop()

    takes(cluster, no_longer_than=milliseconds(5), new="h2")
    cluster.run(milliseconds(100))
    assert cluster.hosts[0].agent is None, "it has finished"
    assert role(cluster.hosts[1]) == (State.MASTER, RoleReason.HANDOVER)
    assert not cluster.safety.violations + cluster.safety.shared


def test_the_last_agent_releases_its_addresses_when_it_stops() -> None:
    cluster = settled(2)
    cluster.hosts[1].stop()
    cluster.run(seconds(1))
    cluster.hosts[0].stop()
    cluster.run(milliseconds(100))

    assert cluster.hosts[0].agent is None
    assert cluster.holders() == []
    assert not cluster.safety.violations


def test_masters_of_two_partitions_settle_by_rank_and_the_winner_announces_itself() -> None:
    cluster = settled(4)
    cluster.network.split({0, 1})
    cluster.run(seconds(5))
    divided = cluster.holders()
    cluster.network.heal()
    cluster.run(milliseconds(1500))

    assert divided == ["h1", "h3"]
    assert cluster.holders() == ["h1"]
    assert set(cluster.network.neighbours.values()) == {0}
    assert cluster.safety.shared, "each half has a master of its own"
    assert cluster.safety.violations == []
    assert cluster.disagreements() == []


@pytest.mark.parametrize("seed", range(20))
def test_one_direction_lost_between_two_of_three_changes_no_master(seed: int) -> None:
    cluster = settled(seed=seed)
    cluster.network.wire(0, 1).cut = True
    cluster.run(seconds(20))

    assert cluster.holders() == ["h1"], trace(cluster)
    assert cluster.safety.changes == 1, trace(cluster)


@pytest.mark.parametrize("seed", range(20))
def test_a_tenth_of_all_datagrams_lost_changes_the_master_at_most_once(seed: int) -> None:
    cluster = settled(2, seed=seed)
    for wire in cluster.network.wires():
        wire.loss = 0.1
    cluster.run(seconds(60))

    assert cluster.safety.changes <= 2, trace(cluster)


def test_a_capture_played_back_changes_nothing() -> None:
    """Of a life with two restarts, a handover and a takeover."""
    cluster = settled(preempt=Preempt.IMMEDIATELY)
    cluster.hosts[0].stop()
    cluster.run(seconds(4))
    cluster.hosts[0].start()
    cluster.run(seconds(4))
    cluster.hosts[0].power_off()
    cluster.run(seconds(4))
    cluster.hosts[0].start()
    cluster.run(seconds(4))
    changes = cluster.safety.changes
    for _ in range(20):
        cluster.network.replay(200)
        cluster.run(milliseconds(100))

    assert cluster.safety.changes == changes, trace(cluster)
    safe(cluster)


def test_a_capture_keeps_no_dead_master_alive() -> None:
    cluster = settled()
    cluster.hosts[0].power_off()
    for _ in range(7):
        cluster.network.replay(200)
        cluster.run(milliseconds(100))

    assert cluster.holders() == ["h2"], trace(cluster)


@pytest.mark.parametrize(
    ("detection", "silence", "asked"),
    [
        (Detection.FIXED, milliseconds(555), "lb1 has been silent"),
        (Detection.PROBING, milliseconds(240), "says Probe("),
    ],
)
def test_a_silent_master_is_asked_before_somebody_takes_its_place(
    detection: Detection, silence: DurationNs, asked: str
) -> None:
    """Heartbeats are lost, and the wire is good again when the last question goes out."""
    cluster = started(agents(count=2, preempt=Preempt.NEVER, detection=detection))
    cluster.run(milliseconds(50))
    begin = len(cluster.trace)
    cluster.network.wire(0, 1).cut = True
    cluster.run(silence)
    cluster.network.heal()
    cluster.run(seconds(2))

    assert any(asked in line for line in cluster.trace[begin:]), trace(cluster)
    assert cluster.safety.changes == 1, trace(cluster)
    safe(cluster)


@pytest.mark.parametrize("seed", range(20))
def test_a_paused_master_is_silent_before_the_next_one_claims_and_after_it_wakes(
    seed: int,
) -> None:
    cluster = settled(seed=seed)
    lease = cluster.hosts[0].settings.heartbeat.lease
    cluster.hosts[0].pause()
    silent_after(cluster, "h1", no_longer_than=lease)
    before_the_claim = cluster.holders()
    cluster.run(DurationNs(seconds(5) - cluster.schedule.now % seconds(1)))
    while_it_sleeps = (cluster.holders(), cluster.answering())
    cluster.hosts[0].resume()
    cluster.run(milliseconds(1))
    awake = (cluster.holders(), cluster.answering())
    cluster.run(seconds(3))

    assert before_the_claim == ["h1"]
    assert while_it_sleeps == (["h1", "h2"], ["h2"])
    assert awake == (["h2"], ["h2"])
    assert role(cluster.hosts[0])[0] is State.BACKUP
    safe(cluster)


@pytest.mark.parametrize("sleep_ms", range(580, 800, 20))
@pytest.mark.parametrize("count", [2, 3])
def test_a_master_that_wakes_while_it_is_replaced_answers_alone_or_not_at_all(
    count: int, sleep_ms: int
) -> None:
    cluster = settled(count)
    for _ in range(10):
        first = cluster.answering()[0]
        host = cluster.hosts[int(first[1:]) - 1]
        host.pause()
        cluster.run(milliseconds(sleep_ms))
        host.resume()
        cluster.run(DurationNs(seconds(4) + cluster.random.randrange(milliseconds(200))))

    safe(cluster)


def test_a_killed_master_is_silent_at_once_and_keeps_its_address_for_nobody() -> None:
    cluster = settled()
    cluster.hosts[0].kill()

    assert (cluster.holders(), cluster.answering()) == (["h1"], [])
    takes(cluster, no_longer_than=milliseconds(700), new="h2")


def test_a_killed_master_whose_kernel_does_not_notice_is_silent_by_its_lease() -> None:
    cluster = Cluster(agents(count=2, preempt=Preempt.NEVER), seed=1, closes_at_death=False)
    cluster.start()
    cluster.run(seconds(4))
    cluster.hosts[0].kill()
    answered = silent_after(cluster, "h1", no_longer_than=cluster.hosts[0].settings.heartbeat.lease)
    cluster.run(seconds(1))

    assert answered > milliseconds(300), "nothing but its lease has silenced it"
    assert cluster.answering() == ["h2"]
    assert cluster.safety.shared == []


def test_a_candidate_that_sleeps_while_another_wins_claims_nothing_when_it_wakes() -> None:
    cluster = settled()
    cluster.hosts[0].power_off()
    while role(cluster.hosts[1])[0] is not State.CANDIDATE:
        cluster.run(DurationNs(100_000))
    cluster.hosts[1].pause()
    cluster.run(milliseconds(500))
    cluster.hosts[1].resume()
    cluster.run(milliseconds(300))

    assert cluster.answering() == ["h3"], trace(cluster)
    assert cluster.safety.shared == [], trace(cluster)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_stands_beside_a_paused_master_because_another_one_does_not_hear_it(
    seed: int,
) -> None:
    """The best backup is asked for its vote while the lease of the master runs."""
    cluster = settled(seed=seed)
    cluster.network.wire(0, 2).cut = True
    cluster.run(DurationNs(seconds(1) + cluster.random.randrange(seconds(1))))
    cluster.hosts[0].pause()
    cluster.run(seconds(1))

    assert cluster.answering() == ["h2"], trace(cluster)
    assert cluster.safety.shared == [], trace(cluster)


def test_a_master_paused_between_its_decision_and_its_heartbeat_does_not_open_again() -> None:
    """It wakes before the lease is over that it has decided upon, and after another has won."""
    for offset in range(0, 200, 3):
        cluster = settled(2)
        master = cluster.hosts[0]
        master.slowness = milliseconds(4)
        cluster.run(milliseconds(600 + offset))
        master.pause()
        cluster.run(milliseconds(540))
        master.resume()
        cluster.run(seconds(2))

        assert cluster.safety.shared == [], trace(cluster)


def test_a_stall_that_nobody_noticed_changes_nothing() -> None:
    cluster = settled()
    cluster.hosts[0].pause()
    cluster.run(milliseconds(400))
    cluster.hosts[0].resume()
    cluster.run(seconds(2))

    assert cluster.safety.changes == 1
    safe(cluster)


def test_a_second_agent_of_the_same_name_stays_out() -> None:
    settings = agents(count=2)
    cluster = Cluster([*settings, replace(settings[0])], seed=1)
    cluster.hosts[0].start()
    cluster.hosts[1].start()
    cluster.run(seconds(4))
    cluster.hosts[2].start()
    cluster.run(seconds(10))

    assert cluster.holders() == ["h1"], trace(cluster)
    assert role(cluster.hosts[2]) == (State.FAULT, RoleReason.DUPLICATE_NODE), trace(cluster)
    assert cluster.safety.changes == 1


@pytest.mark.parametrize(
    ("preempt", "after"),
    [(Preempt.IMMEDIATELY, milliseconds(100)), (Preempt.AFTER, seconds(5))],
)
def test_a_better_agent_that_returns_is_handed_the_group(
    preempt: Preempt, after: DurationNs
) -> None:
    cluster = settled(preempt=preempt)
    cluster.hosts[0].power_off()
    cluster.run(seconds(10))
    cluster.hosts[0].start()
    takes(cluster, no_longer_than=DurationNs(after + seconds(1)), new="h1")

    assert cluster.safety.changes == 3
    cluster.run(seconds(10))
    assert cluster.safety.changes == 3
    safe(cluster)


def test_a_better_agent_that_returns_waits_when_it_shall_not_preempt() -> None:
    cluster = settled(preempt=Preempt.NEVER)
    cluster.hosts[0].power_off()
    cluster.run(seconds(10))
    cluster.hosts[0].start()
    cluster.run(seconds(60))

    assert cluster.holders() == ["h2"]
    assert cluster.safety.changes == 2
    safe(cluster)


def test_a_master_whose_interface_goes_down_is_replaced() -> None:
    cluster = started(agents(count=2, paths=2, preempt=Preempt.NEVER))
    cluster.hosts[0].set_link("eth0", up=False)

    takes(cluster, no_longer_than=milliseconds(10), new="h2")


def test_nobody_takes_over_when_one_of_two_paths_fails() -> None:
    cluster = started(agents(count=2, paths=2, preempt=Preempt.NEVER))
    cluster.hosts[0].set_link("eth1", up=False)
    cluster.run(seconds(10))

    assert cluster.safety.changes == 1
    safe(cluster)


def test_a_master_that_cannot_claim_its_addresses_leaves_them_to_the_next() -> None:
    settings = agents(count=2, preempt=Preempt.NEVER)
    cluster = Cluster(settings, seed=1)
    cluster.hosts[0].refuses_claims = True
    cluster.start()
    cluster.run(seconds(4))

    assert cluster.holders() == ["h2"]
    assert role(cluster.hosts[0]) == (State.FAULT, RoleReason.CLAIM_FAILED)
    assert not cluster.safety.violations


def test_a_full_disk_delays_no_takeover() -> None:
    cluster = settled()
    cluster.hosts[1].disk_full = True
    cluster.hosts[0].power_off()

    takes(cluster, no_longer_than=milliseconds(700), new="h2")


def test_a_master_killed_and_restarted_at_once_comes_back_as_a_backup() -> None:
    cluster = settled()
    cluster.hosts[0].kill()
    cluster.run(milliseconds(100))
    cluster.hosts[0].start()
    cluster.run(seconds(3))

    assert cluster.holders() == ["h2"]
    assert cluster.safety.changes == 2
    safe(cluster)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("interval", [milliseconds(10), milliseconds(200), seconds(1)])
def test_a_planned_restart_is_noticed_by_nobody(count: int, interval: DurationNs) -> None:
    cluster = started(agents(count=count, groups=2, interval=interval))
    cluster.run(seconds(20))
    restarting, changes = cluster.hosts[0], cluster.safety.changes
    restarting.restart()

    for millisecond in range(6000):
        if millisecond == 2900:
            restarting.start()
        assert cluster.answering() == ["h1"], trace(cluster)
        cluster.run(milliseconds(1))

    assert role(restarting) == (State.MASTER, RoleReason.RESTARTED)
    assert cluster.safety.changes == changes + (2 if count == 1 else 1), "one for each process"
    safe(cluster)


def test_a_restart_that_takes_too_long_ends_like_a_crash() -> None:
    cluster = settled(3)
    cluster.hosts[0].restart()

    takes(cluster, no_longer_than=milliseconds(3400), new="h2")
    cluster.hosts[0].start()
    cluster.run(seconds(3))

    assert cluster.answering() == ["h2"]
    safe(cluster)


@pytest.mark.parametrize("back_after", [milliseconds(500), milliseconds(2950)])
def test_an_agent_that_starts_during_a_restart_asks_who_has_the_address(
    back_after: DurationNs,
) -> None:
    """Nobody is there who could tell it of the restart."""
    cluster = settled(2)
    cluster.hosts[1].power_off()
    cluster.run(seconds(3))
    cluster.hosts[0].restart()
    cluster.hosts[1].start()
    cluster.run(back_after)
    cluster.hosts[0].start()
    cluster.run(seconds(3))

    assert cluster.answering() == ["h1"], trace(cluster)
    safe(cluster)


def test_a_restart_that_a_peer_cannot_confirm_hands_over() -> None:
    cluster = settled(3)
    cluster.network.wire(2, 0).cut = True
    cluster.hosts[0].restart()
    cluster.run(milliseconds(300))

    assert cluster.answering() == ["h2"], trace(cluster)
    assert cluster.hosts[0].agent is None
    assert cluster.safety.shared == [], trace(cluster)


def test_a_group_that_all_take_out_and_in_again_is_left_and_entered_by_listening() -> None:
    cluster = settled(groups=2)
    whole = [host.settings for host in cluster.hosts]
    kept, gone = whole[0].groups

    for host in cluster.hosts:
        host.reload(replace(host.settings, groups=(host.settings.groups[0],)))
        cluster.run(milliseconds(300))

    assert all(host.addresses.keys() <= {a.ip for a in kept.addresses} for host in cluster.hosts)
    assert cluster.watch(seconds(3)) == []
    assert cluster.disagreements() == []

    for host, settings in zip(cluster.hosts, whole, strict=True):
        host.reload(settings)
    cluster.run(seconds(4))

    assert [len(cluster.answering(group)) for group in (0, 1)] == [1, 1], trace(cluster)
    assert cluster.disagreements() == []
    assert {a.ip for a in gone.addresses} <= {ip for host in cluster.hosts for ip in host.addresses}
    safe(cluster)


def test_a_group_that_only_its_master_takes_out_is_handed_over_as_at_a_stop() -> None:
    cluster = settled()
    master, *others = cluster.hosts
    address = master.settings.groups[0].addresses[0].ip
    assert master.answers(address)

    master.reload(replace(master.settings, groups=()))
    cluster.run(milliseconds(100))

    assert [host.answers(address) for host in others].count(True) == 1, trace(cluster)
    assert master.addresses == {}
    safe(cluster)
