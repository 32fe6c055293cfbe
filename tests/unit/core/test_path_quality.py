"""What is lost of a peer's heartbeats on a path, and what only seems to be."""

from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import BootId, GroupId, NodeId, Priority, Term
from haagent.core.messages import Flag, Header, State
from haagent.core.path_quality import ENOUGH, MOST, PathQuality
from haagent.core.replay import ReplayWindow
from haagent.core.units import MonoNs, milliseconds

WEB, MAIL = GroupId(1), GroupId(2)


def header(sequence: int, interval_ms: int, group: GroupId) -> Header:
    return Header(
        sender=NodeId(2),
        boot=BootId(1),
        sequence=sequence,
        group=group,
        path=0,
        flags=Flag.NONE,
        term=Term(1),
        master=None,
        state=State.BACKUP,
        base_priority=Priority(100),
        priority=Priority(100),
        health=100,
        interval_ms=interval_ms,
        timeout_ms=600,
        stamp=Stamp(Hlc(0, 0), 0),
    )


class Way:
    """A path, and a peer who sends on it what it sends."""

    def __init__(self) -> None:
        self.quality = PathQuality()
        self.window = ReplayWindow(0)
        self.sequence = 0
        self.ms = 0

    def sends(
        self,
        count: int = 1,
        *,
        every_ms: int = 200,
        promise_ms: int = 200,
        lost: bool = False,
        group: GroupId = WEB,
    ) -> None:
        """Have heartbeats sent, each so long after the one before."""
        for _ in range(count):
            self.ms += every_ms
            self.sequence += 1
            if not lost:
                self.comes(self.sequence, promise_ms, group)

    def comes(self, sequence: int, promise_ms: int = 200, group: GroupId = WEB) -> None:
        assert self.window.accept(sequence)
        self.quality.heartbeat(header(sequence, promise_ms, group), self.now, self.window)

    def loss(self) -> int | None:
        return self.quality.loss_permille(self.now, self.window)

    @property
    def now(self) -> MonoNs:
        return MonoNs(milliseconds(self.ms))


def test_nothing_is_told_before_enough_was_due() -> None:
    way = Way()
    way.sends(ENOUGH)
    assert way.loss() is None

    way.sends()

    assert way.loss() == 0


def test_one_heartbeat_of_ten_that_never_comes_is_a_loss_of_a_tenth() -> None:
    way = Way()
    for _ in range(20):
        way.sends(9)
        way.sends(lost=True)
    way.sends()

    assert way.loss() == 100


def test_several_that_are_lost_in_a_row_all_count() -> None:
    way = Way()
    way.sends(1 + MOST - 11)
    way.sends(10, lost=True)
    way.sends()

    assert way.loss() == 100


def test_what_was_lost_is_forgotten_once_a_hundred_have_come() -> None:
    way = Way()
    way.sends(50)
    way.sends(20, lost=True)
    way.sends(MOST)

    assert way.loss() == 0


def test_of_one_who_speaks_seldom_the_last_half_minute_counts() -> None:
    way = Way()
    way.sends(20, every_ms=1000, promise_ms=1000)
    way.sends(10, every_ms=1000, lost=True)
    way.sends(20, every_ms=1000, promise_ms=1000)
    assert way.loss() == 1000 * 10 // 30

    way.sends(10, every_ms=1000, promise_ms=1000)

    assert way.loss() == 0


def test_numbers_that_were_spent_on_others_are_no_loss() -> None:
    way = Way()
    for _ in range(50):
        way.sends()
        way.sequence += 3

    assert way.loss() == 0


def test_a_sender_that_is_stalled_has_lost_nothing() -> None:
    way = Way()
    for _ in range(50):
        way.sends()
        way.ms += 1000

    assert way.loss() == 0


def test_each_of_two_paths_has_a_loss_of_its_own() -> None:
    way, other = Way(), PathQuality()
    for turn in range(200):
        way.sends(lost=turn % 4 == 0)
        way.sequence += 1
        assert way.window.accept(way.sequence)
        other.heartbeat(header(way.sequence, 200, WEB), way.now, way.window)

    assert way.loss() == 250
    assert other.loss_permille(way.now, way.window) == 0


def test_a_path_that_has_fallen_silent_loses_all_that_others_still_carry() -> None:
    way = Way()
    way.sends(MOST)
    for _ in range(MOST // 2):
        way.ms += 200
        way.sequence += 2
        assert way.window.accept(way.sequence)
    assert way.loss() == 490, "the newest may still come"

    way.ms += 60_000
    way.sequence += 1000
    assert way.window.accept(way.sequence)

    assert way.loss() == 1000


def test_one_that_is_overtaken_by_the_next_is_not_lost() -> None:
    way = Way()
    way.sends(49)
    way.sends(lost=True)
    way.sends()
    way.comes(way.sequence - 1)
    way.sends(49)

    assert way.loss() == 0


def test_a_copy_in_time_stands_for_the_one_that_was_lost() -> None:
    way = Way()
    for turn in range(50):
        way.sends(lost=turn % 2 == 0)
        way.sends(every_ms=1)

    assert way.loss() == 0


def test_what_is_said_twice_is_due_once() -> None:
    way = Way()
    for turn in range(120):
        way.sends(every_ms=190, lost=turn % 10 == 5)
        way.sends(every_ms=10, lost=turn % 10 == 5)

    assert way.loss() == 100


def test_a_change_of_the_interval_is_no_loss() -> None:
    way = Way()
    way.sends(50)
    way.sends(3, promise_ms=1000)  # As promised, before it applies.
    way.sends(20, every_ms=1000, promise_ms=1000)
    way.sends(every_ms=300)
    way.sends(50)

    assert way.loss() == 0


def test_groups_have_rhythms_of_their_own() -> None:
    way = Way()
    for turn in range(100):
        way.sends(lost=turn % 10 == 0, group=WEB)
        if turn % 5 == 4:
            way.sends(every_ms=0, promise_ms=1000, group=MAIL)

    assert way.loss() == 80, "8 of the last 100, of which 17 are of the slower one"


def test_a_group_that_was_left_is_expected_no_more() -> None:
    way = Way()
    way.sends(50, group=WEB)
    way.sends(every_ms=0, group=MAIL)
    way.quality.forget(MAIL)
    way.sends(50, group=WEB)

    assert way.loss() == 0


def test_a_way_whose_delay_varies_loses_nothing() -> None:
    way = Way()
    for _ in range(30):
        way.sends(every_ms=50)
        way.sends(every_ms=390)

    assert way.loss() == 0
