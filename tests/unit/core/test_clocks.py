"""The logical clocks: always forward, never dragged along by somebody's wrong clock."""

from haagent.core.clocks import GREATEST_LAMPORT, MAX_SKEW, Clocks, Hlc, Stamp
from haagent.core.units import WallNs, milliseconds


def wall(ms: int) -> WallNs:
    return WallNs(milliseconds(ms))


def test_events_in_one_millisecond_are_told_apart() -> None:
    clocks = Clocks()

    assert clocks.tick(wall(7)) == Stamp(Hlc(7, 0), 1)
    assert clocks.tick(wall(7)) == Stamp(Hlc(7, 1), 2)
    assert clocks.tick(wall(8)) == Stamp(Hlc(8, 0), 3)


def test_what_follows_a_datagram_is_stamped_later_than_it() -> None:
    clocks = Clocks()

    assert clocks.merge(wall(7), Stamp(Hlc(500, 3), 40))

    assert clocks.tick(wall(7)) == Stamp(Hlc(500, 5), 42)


def test_an_older_datagram_moves_neither_clock_back() -> None:
    clocks = Clocks()
    clocks.merge(wall(7), Stamp(Hlc(500, 3), 40))

    assert clocks.merge(wall(7), Stamp(Hlc(0, 0), 1))

    assert clocks.tick(wall(7)) == Stamp(Hlc(500, 6), 43)


def test_a_wall_clock_that_is_set_back_does_not_turn_the_order_round() -> None:
    clocks = Clocks()
    clocks.tick(wall(9000))

    assert clocks.tick(wall(5)) == Stamp(Hlc(9000, 1), 2)


def test_a_full_counter_goes_over_into_the_next_millisecond() -> None:
    clocks = Clocks()
    clocks.merge(wall(7), Stamp(Hlc(7, 0xFFFE), 0))

    assert clocks.tick(wall(7)).hlc == Hlc(8, 0)


def test_a_clock_ten_seconds_ahead_is_merged() -> None:
    clocks = Clocks()
    ahead = (wall(7) + MAX_SKEW) // 1_000_000

    assert clocks.merge(wall(7), Stamp(Hlc(ahead, 0), 0))

    assert clocks.tick(wall(7)).hlc == Hlc(ahead, 2)


def test_a_clock_further_ahead_moves_the_counter_of_lamport_alone() -> None:
    clocks = Clocks()
    ahead = (wall(7) + MAX_SKEW) // 1_000_000 + 1

    assert not clocks.merge(wall(7), Stamp(Hlc(ahead, 0), 40))

    assert clocks.tick(wall(7)) == Stamp(Hlc(7, 1), 42)


def test_the_counter_of_lamport_stays_in_the_range_of_the_wire() -> None:
    """One peer that says nonsense must not make all others unheard."""
    clocks = Clocks()
    clocks.merge(wall(7), Stamp(Hlc(0, 0), GREATEST_LAMPORT))

    assert clocks.tick(wall(7)).lamport == GREATEST_LAMPORT
    assert clocks.tick(wall(7)).lamport == GREATEST_LAMPORT


def test_a_new_process_counts_on_from_the_last_record() -> None:
    clocks = Clocks(70)

    assert clocks.tick(wall(7)) == Stamp(Hlc(7, 0), 71)
