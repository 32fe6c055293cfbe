"""What interval a node keeps, and what it promises, by what agents have said."""

from itertools import count

from haagent.core.appnode.pace import ANNOUNCEMENTS, FORGOTTEN_AFTER, LEAST, Pace, Paces
from haagent.core.identity import BootId, node_id
from haagent.core.messages import NodeAck
from haagent.core.units import MonoNs, later, milliseconds, seconds

NOW = MonoNs(seconds(100))
_sequences = count(1)


def word(agent: str, ms: int, jitter_ms: int = 0, sequence: int | None = None) -> NodeAck:
    """An answer of ``agent`` that dictates this, newer than all before."""
    return NodeAck(
        destination=node_id("app1"),
        agent=node_id(agent),
        boot=BootId(1),
        sequence=sequence or next(_sequences),
        nonce=1,
        interval_ms=ms,
        jitter_ms=jitter_ms,
    )


def test_a_node_keeps_its_own_pace_until_an_agent_speaks() -> None:
    paces = Paces(seconds(1))

    assert paces.kept == Pace(seconds(1), milliseconds(100))
    assert paces.promise == seconds(1)
    assert not paces.heard


def test_a_shorter_interval_is_kept_at_once() -> None:
    paces = Paces(seconds(1))

    assert paces.dictated(NOW, word("lb1", 200, 20))

    assert paces.kept == Pace(milliseconds(200), milliseconds(20))
    assert paces.promise == milliseconds(200)


def test_a_longer_interval_is_promised_at_once_and_kept_after_three_heartbeats() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 5000, 1000))

    for _ in range(ANNOUNCEMENTS - 1):
        paces.announced()
        assert (paces.kept.interval, paces.promise) == (seconds(1), seconds(5))
    paces.announced()

    assert paces.kept == Pace(seconds(5), seconds(1))
    assert paces.promise == seconds(5)


def test_a_still_longer_interval_is_announced_three_times_anew() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 2000))
    paces.announced()
    paces.announced()

    paces.dictated(NOW, word("lb1", 5000))
    paces.announced()

    assert (paces.kept.interval, paces.promise) == (seconds(1), seconds(5))


def test_a_longer_interval_that_is_taken_back_was_never_kept() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 5000))
    paces.announced()

    paces.dictated(NOW, word("lb1", 1000, 50))

    assert paces.kept == Pace(seconds(1), milliseconds(50))
    assert paces.promise == seconds(1)


def test_of_all_agents_newest_words_the_longest_counts() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 800))
    paces.dictated(NOW, word("lb2", 300))
    assert paces.kept.interval == milliseconds(800)

    paces.dictated(NOW, word("lb1", 200))

    assert paces.kept.interval == milliseconds(300)


def test_an_old_word_that_is_sent_again_changes_nothing() -> None:
    paces = Paces(seconds(1))
    old = word("lb1", 100)
    paces.dictated(NOW, word("lb1", 500))

    assert not paces.dictated(NOW, old)

    assert paces.kept.interval == milliseconds(500)


def test_of_two_agents_each_has_words_of_its_own_age() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 500, sequence=10_000))

    assert paces.dictated(NOW, word("lb2", 600, sequence=1))


def test_the_word_of_an_agent_that_is_long_silent_is_forgotten_when_another_speaks() -> None:
    paces = Paces(seconds(1))
    paces.dictated(NOW, word("lb1", 800))
    long_after = later(NOW, FORGOTTEN_AFTER)

    paces.dictated(MonoNs(long_after - 1), word("lb2", 300))
    assert paces.kept.interval == milliseconds(800)
    paces.dictated(long_after, word("lb2", 300))

    assert paces.kept.interval == milliseconds(300)


def test_no_agent_can_have_a_node_send_without_pause() -> None:
    paces = Paces(seconds(1))

    paces.dictated(NOW, word("lb1", 1))

    assert paces.kept.interval == LEAST
