"""What waits in the timing wheel comes up, and when."""

from haagent.core.fleet.wheel import SLOT, Wheel
from haagent.core.units import MonoNs, milliseconds


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


def test_it_comes_up_within_a_slot_of_its_time_and_never_before() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.file(MonoNs(at(31) + 1), "a")

    assert wheel.deadline() == at(40)
    assert [*wheel.take(MonoNs(at(40) - 1))] == []
    assert [*wheel.take(at(40))] == ["a"]
    assert wheel.deadline() is None


def test_a_time_that_is_a_slots_own_is_kept_exactly() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.file(at(40), "a")

    assert wheel.deadline() == at(40)


def test_slots_come_up_in_the_order_of_time_however_they_were_filed() -> None:
    wheel: Wheel[str] = Wheel()
    for ms, item in ((300, "c"), (100, "a"), (200, "b"), (95, "a too"), (400, "later")):
        wheel.file(at(ms), item)

    assert [*wheel.take(at(300))] == ["a", "a too", "b", "c"]
    assert wheel.deadline() == at(400)


def test_what_is_filed_anew_while_taking_comes_up_in_its_own_time() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.file(at(100), "a")
    taken = []
    for item in wheel.take(at(200)):
        taken.append(item)
        if len(taken) == 1:
            wheel.file(MonoNs(at(200) + SLOT), "later")
            wheel.file(at(150), "now")

    assert taken == ["a", "now"]
    assert wheel.deadline() == at(210)
