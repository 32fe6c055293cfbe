"""The fixed timeout: dead is who has been silent for as long as it promised not to be."""

from haagent.core.detector import FixedTimeout, Verdict
from haagent.core.units import MonoNs, milliseconds


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


def test_a_peer_is_dead_at_the_deadline_and_alive_one_nanosecond_before() -> None:
    detector = FixedTimeout(at(100), milliseconds(600))

    assert detector.deadline() == at(700)
    assert detector.verdict(MonoNs(at(700) - 1)) is Verdict.ALIVE
    assert detector.verdict(at(700)) is Verdict.DEAD


def test_every_datagram_begins_the_wait_anew_with_its_own_promise() -> None:
    detector = FixedTimeout(at(100), milliseconds(600))
    detector.heard(at(200), milliseconds(3000))

    assert detector.deadline() == at(3200)


def test_the_dead_may_be_heard_again() -> None:
    detector = FixedTimeout(at(100), milliseconds(600))
    detector.heard(at(900), milliseconds(600))

    assert detector.verdict(at(900)) is Verdict.ALIVE
