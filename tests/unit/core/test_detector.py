"""Late, probes, evidence, verdict: the detector of one peer, step by step."""

from itertools import pairwise
from random import Random

import pytest

from haagent.core.detector import (
    FIRST_RTO,
    LEAST_MARGIN,
    LEAST_RTO,
    Arrivals,
    Detector,
    RoundTrip,
    Verdict,
)
from haagent.core.identity import GroupId
from haagent.core.settings import Detection, HeartbeatSettings, PathSettings
from haagent.core.units import DurationNs, MonoNs, milliseconds

I = milliseconds(200)  # noqa: E741  # As the design calls it.
PATIENCE = milliseconds(650)
PATHS = (PathSettings(interface="eth0"),)
PROBING = HeartbeatSettings(paths=PATHS)
FIXED = HeartbeatSettings(paths=PATHS, detection=Detection.FIXED)
STREAM = (0, GroupId(1))


def at(ms: float) -> MonoNs:
    return MonoNs(int(ms * 1_000_000))


def beaten(count: int, timing: HeartbeatSettings = PROBING) -> Detector:
    """Return the detector of a peer that has sent ``count`` punctual heartbeats, from 0 on."""
    detector = Detector(timing, at(0))
    for number in range(count):
        beat(detector, number * 200)
    return detector


def beat(detector: Detector, ms: float, stream: tuple[int, GroupId] = STREAM) -> None:
    detector.heartbeat(stream, at(ms), I)
    detector.lives(at(ms), PATIENCE)


def rounds(detector: Detector, until_ms: float, *, isolated: bool = False) -> list[float]:
    """Return when the peer is asked until then, in ms; a death ends the list as -ms."""
    asked: list[float] = []
    while (due := detector.deadline()) <= at(until_ms):
        verdict = detector.tick(due, isolated=isolated)
        assert verdict is not Verdict.ALIVE, "woken for nothing"
        if verdict is Verdict.DEAD:
            return [*asked, -due / 1e6]
        asked.append(due / 1e6)
    return asked


def test_a_punctual_peer_is_late_a_small_margin_after_the_expected_heartbeat() -> None:
    assert beaten(20).deadline() == at(19 * 200 + 200 + 10)


def test_of_a_peer_known_for_a_moment_the_margin_is_a_guess() -> None:
    assert beaten(3).deadline() == at(2 * 200 + 200 + 50)


def test_the_margin_follows_the_jitter_and_has_bounds() -> None:
    random = Random(1)
    arrivals = Arrivals(at(0), I)
    for number in range(1, 100):
        arrivals.take_in(at(number * 200 + random.gauss(0, 3)))
    margin = arrivals.late_after(at(99 * 200)) - at(100 * 200)

    assert milliseconds(20) < margin < milliseconds(40)
    for number in range(100, 200):
        arrivals.take_in(at(number * 200 + random.choice([0, 24])))
    assert arrivals.late_after(at(199 * 200)) - at(200 * 200) <= I // 2 + milliseconds(24)


def test_a_short_interval_still_leaves_five_milliseconds() -> None:
    arrivals = Arrivals(at(0), milliseconds(50))
    for number in range(1, 20):
        arrivals.take_in(at(number * 50))

    assert arrivals.late_after(at(19 * 50)) == at(20 * 50) + LEAST_MARGIN


def test_a_lost_heartbeat_does_not_move_the_next_one() -> None:
    arrivals = Arrivals(at(0), I)
    for number in (1, 2, 3, 4, 5, 6, 7, 9):
        assert arrivals.take_in(at(number * 200))

    assert arrivals.late_after(at(1800)) == at(2000 + 10)


def test_one_far_out_of_rhythm_is_not_taken_in() -> None:
    arrivals = Arrivals(at(0), I)

    assert not arrivals.take_in(at(250))
    assert arrivals.take_in(at(220))


def test_a_silent_host_is_asked_five_times_and_is_dead_within_two_intervals() -> None:
    last = 19 * 200
    late = last + 210

    assert rounds(beaten(20), 10_000) == [
        late,
        late + 10,
        late + 30,
        late + 70,
        late + 150,
        -(late + 160),
    ]


def test_any_word_of_the_peer_ends_the_suspicion_and_the_next_heartbeat_is_awaited() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 225)
    detector.lives(at(19 * 200 + 226), PATIENCE)

    assert detector.suspicion is None
    assert detector.deadline() == at(21 * 200 + 10)


def test_a_hung_agent_is_dead_once_its_promise_is_over_and_asked_until_then() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 215)
    detector.host_answered(at(19 * 200 + 216), "ARP")
    asked = rounds(detector, 10_000)

    assert asked[-1] == -(19 * 200 + 650)
    assert max(b - a for a, b in pairwise(asked[:-1])) <= 80


def test_what_a_host_answered_to_an_earlier_suspicion_counts_no_more() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 215)
    detector.host_answered(at(19 * 200 + 216), "ARP")
    detector.lives(at(19 * 200 + 217), PATIENCE)

    assert rounds(detector, 10_000)[-1] == -(20 * 200 + 370)


def test_who_reaches_nobody_accuses_nobody_and_goes_on_asking() -> None:
    detector = beaten(20)
    asked = rounds(detector, 19 * 200 + 2000, isolated=True)

    assert min(asked) > 0
    assert len(asked) < 5 + 2000 / 50
    assert rounds(detector, 10_000) == [pytest.approx(-asked[-1], abs=60)]


def test_what_another_agent_heard_of_late_keeps_it_alive_until_the_next_slot() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 215)

    assert detector.relayed(at(4020), at(4001), PATIENCE)
    assert detector.suspicion is None
    assert detector.deadline() == at(21 * 200 + 10)


def test_what_another_agent_heard_long_ago_says_nothing() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 215)

    assert not detector.relayed(at(4020), at(19 * 200 + 1), PATIENCE)
    assert detector.suspicion is not None


def test_after_sleep_one_more_round_comes_before_the_verdict() -> None:
    detector = beaten(20)
    rounds(detector, 19 * 200 + 210 + 155)
    late = at(19 * 200 + 400)
    detector.overslept(late)

    assert detector.tick(late, isolated=False) is Verdict.ASK
    assert detector.tick(detector.deadline(), isolated=False) is Verdict.DEAD


def test_it_is_late_only_when_it_is_late_on_all_paths() -> None:
    detector = beaten(20)
    other = (1, GroupId(1))
    for number in range(20, 40):
        beat(detector, number * 200, other)

    assert detector.deadline() == at(40 * 200 + 10)


def test_of_two_rhythms_the_quicker_one_counts() -> None:
    detector = beaten(20)
    detector.heartbeat((0, GroupId(2)), at(3810), milliseconds(1000))
    detector.lives(at(3810), PATIENCE)

    assert detector.deadline() == at(4010)


def test_a_longer_interval_on_one_path_counts_for_the_others() -> None:
    detector = beaten(20)
    beat(detector, 3801, (1, GroupId(1)))
    detector.heartbeat(STREAM, at(4000), milliseconds(1000))
    detector.lives(at(4000), milliseconds(3250))

    assert detector.deadline() == at(4000 + 1250)


def test_a_group_that_it_left_is_awaited_no_more() -> None:
    detector = beaten(20)
    detector.heartbeat((0, GroupId(2)), at(3810), milliseconds(1000))
    detector.forget(STREAM[1])
    detector.lives(at(3820), PATIENCE)

    assert detector.deadline() == at(3820 + 650)


def test_a_fixed_timeout_asks_nobody() -> None:
    detector = beaten(20, FIXED)

    assert rounds(detector, 10_000) == [-(19 * 200 + 650)]


@pytest.mark.parametrize("timing", [PROBING, FIXED], ids=["probing", "fixed"])
def test_who_is_said_to_have_ended_is_asked_once_whatever_its_kernel_answers(
    timing: HeartbeatSettings,
) -> None:
    detector = beaten(20, timing)
    detector.process_ended(at(3850))
    detector.host_answered(at(3851), "ARP")
    heard_before = detector.relayed(at(3852), at(3849), PATIENCE)

    assert not heard_before
    assert rounds(detector, 10_000) == [3850, -3860]


def test_who_is_said_to_have_ended_and_answers_lives() -> None:
    detector = beaten(20)
    detector.process_ended(at(3850))
    asked = rounds(detector, 3851)
    detector.lives(at(3852), PATIENCE)

    assert asked == [3850]
    assert detector.deadline() == at(4010)


def test_an_answer_is_awaited_for_as_long_as_round_trips_take() -> None:
    trip = RoundTrip()
    first = trip.timeout(I)
    for _ in range(20):
        trip.sample(milliseconds(20))
    steady = trip.timeout(I)
    trip.sample(milliseconds(90))
    shaken = trip.timeout(I)
    for _ in range(200):
        trip.sample(DurationNs(100_000))

    assert first == FIRST_RTO
    assert milliseconds(20) <= steady < milliseconds(22)
    assert milliseconds(80) < shaken <= I // 2
    assert trip.timeout(I) == LEAST_RTO
