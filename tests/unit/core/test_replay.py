"""Every sequence number counts once, and none that is too old to tell."""

from hypothesis import given, strategies as st

from haagent.core.replay import WINDOW, ReplayWindow


def test_a_number_counts_once() -> None:
    window = ReplayWindow(5)

    assert not window.accept(5)
    assert window.accept(6)
    assert not window.accept(6)


def test_a_number_that_was_overtaken_counts_once_too() -> None:
    window = ReplayWindow(5)
    window.accept(8)

    assert window.accept(7)
    assert not window.accept(7)


def test_the_oldest_number_of_the_window_counts_and_the_one_before_does_not() -> None:
    window = ReplayWindow(0)
    window.accept(WINDOW + 10)

    assert window.accept(11)
    assert not window.accept(10)


def test_a_number_leaves_the_window_seen_or_not() -> None:
    window = ReplayWindow(0)
    window.accept(WINDOW - 1)
    assert not window.accept(0)

    window.accept(WINDOW)

    assert not window.accept(0)


def test_a_leap_forgets_all_that_was_seen_but_accepts_none_of_it() -> None:
    """And costs nothing: a capture of last year must not make us allocate its distance."""
    window = ReplayWindow(1)
    window.accept(1 << 63)

    assert not window.accept(1)
    assert window.accept((1 << 63) - WINDOW + 1)
    assert not window.accept((1 << 63) - WINDOW)


@given(st.lists(st.integers(0, 3 * WINDOW), min_size=1, max_size=60))
def test_no_order_of_arrival_makes_a_number_count_twice(arrivals: list[int]) -> None:
    window = ReplayWindow(arrivals[0])
    accepted = [arrivals[0], *(number for number in arrivals[1:] if window.accept(number))]

    assert len(accepted) == len(set(accepted))


def test_what_was_sent_before_the_window_began_may_be_a_capture() -> None:
    window = ReplayWindow(500)

    assert not window.accept(499)
    assert window.accept(501)
