"""The order of records: by cause and effect, whatever the wall clocks say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, strategies as st

from haagent.core.clocks import Clocks, Hlc, Stamp
from haagent.core.timeline import Mark, Order, merged
from haagent.core.units import WallNs, milliseconds, seconds

HOUR = seconds(3600)


@dataclass(frozen=True)
class Noted:
    """A record, and all records of anybody that led to it, as only the test knows them."""

    mark: Mark
    name: str
    before: frozenset[str]


@dataclass
class Recorder:
    """An agent that records and talks; its wall clock is off by ``skew``."""

    name: str
    skew: int = 0
    clocks: Clocks = field(default_factory=Clocks)
    history: list[Noted] = field(default_factory=list)
    known: frozenset[str] = frozenset()

    def record(self, time: int) -> None:
        stamp = self.clocks.tick(WallNs(time + self.skew))
        noted = Noted(Mark(stamp, self.name), f"{self.name}{len(self.history)}", self.known)
        self.history.append(noted)
        self.known |= {noted.name}

    def tell(self, time: int, other: "Recorder") -> None:
        stamp = self.clocks.tick(WallNs(time + self.skew))
        other.clocks.merge(WallNs(time + other.skew), stamp)
        other.known |= self.known

    def restart(self) -> None:
        """Go on as a new process does, which knows the last record that was kept."""
        last = self.history[-1].mark.stamp.lamport if self.history else 0
        self.clocks = Clocks(last)


def names(histories: Sequence[list[Noted]], order: Order) -> list[str]:
    return [noted.name for noted in merged(histories, lambda noted: noted.mark, order)]


def is_causal(histories: Sequence[list[Noted]], order: Order) -> bool:
    """Whether everything comes after all that led to it, and nothing is lost."""
    seen: set[str] = set()
    for noted in merged(histories, lambda noted: noted.mark, order):
        if not noted.before <= seen:
            return False
        seen.add(noted.name)
    return len(seen) == sum(map(len, histories))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["record", "tell", "restart", "step"]),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(-2 * HOUR, 2 * HOUR),
    ),
    max_size=60,
)


def lived(steps: list[tuple[str, int, int, int]]) -> list[Recorder]:
    """Three agents after ``steps``, 50 ms apart; a step moves one wall clock."""
    agents = [Recorder(name) for name in "abc"]
    for number, (what, one, other, skew) in enumerate(steps):
        time, agent = HOUR * 24 + number * milliseconds(50), agents[one]
        match what:
            case "record":
                agent.record(time)
            case "tell":
                agent.tell(time, agents[other])
            case "restart":
                agent.restart()
            case _:
                agent.skew = skew
    return agents


@given(STEPS)
def test_no_step_of_a_wall_clock_and_no_restart_puts_an_effect_before_its_cause(
    steps: list[tuple[str, int, int, int]],
) -> None:
    assert is_causal([agent.history for agent in lived(steps)], Order.LAMPORT)


@given(STEPS.map(lambda steps: [step for step in steps if step[0] in {"record", "tell"}]))
def test_with_clocks_in_step_time_keeps_the_order_as_well(
    steps: list[tuple[str, int, int, int]],
) -> None:
    assert is_causal([agent.history for agent in lived(steps)], Order.HLC)


@pytest.mark.parametrize("order", Order)
@given(steps=STEPS)
def test_one_history_is_never_turned_round(
    order: Order, steps: list[tuple[str, int, int, int]]
) -> None:
    for agent in lived(steps):
        assert names([agent.history], order) == [noted.name for noted in agent.history]


def test_a_clock_that_is_an_hour_ahead_would_mislead_by_time_alone() -> None:
    """What the other order is for: the cause was recorded where it was an hour later."""
    ahead, right = Recorder("a", skew=HOUR), Recorder("b")
    ahead.record(HOUR)
    ahead.tell(HOUR, right)
    right.record(HOUR + milliseconds(1))
    histories = [ahead.history, right.history]

    assert names(histories, Order.LAMPORT) == ["a0", "b0"]
    assert names(histories, Order.HLC) == ["b0", "a0"]


def test_equal_counters_go_by_time_and_then_by_name() -> None:
    def noted(name: str, ms: int) -> list[Noted]:
        return [Noted(Mark(Stamp(Hlc(ms, 0), 7), name), name, frozenset())]

    histories = [noted("c", 2), noted("b", 2), noted("a", 3)]

    for some in itertools.permutations(histories):
        assert names(some, Order.LAMPORT) == ["b", "c", "a"]


def test_a_long_history_is_taken_only_as_far_as_it_has_to_be() -> None:
    random = Random(7)
    endless = (Mark(Stamp(Hlc(number, 0), number), "a") for number in itertools.count())

    found = merged([endless], lambda mark: mark, random.choice([*Order]))

    assert [mark.stamp.lamport for mark in itertools.islice(found, 3)] == [0, 1, 2]
