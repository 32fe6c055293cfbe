"""The order of records: by cause and effect, whatever the wall clocks say."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, strategies as st

from haagent.core.clocks import Clocks, Hlc, Stamp
from haagent.core.concurrency import Concurrency
from haagent.core.timeline import WINDOW, Mark, Merging, Order
from haagent.core.units import MonoNs, WallNs, milliseconds, seconds

HOUR = seconds(3600)


@dataclass(frozen=True)
class Noted:
    """A record, and all records of anybody that led to it, as only the test knows them."""

    mark: Mark
    name: str
    heard: dict[str, int]
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
        name = f"{self.name}{len(self.history)}"
        heard = dict(self.clocks.heard)
        self.history.append(Noted(Mark(stamp, self.name), name, heard, self.known))
        self.known |= {name}

    def tell(self, time: int, *others: "Recorder") -> None:
        stamp = self.clocks.tick(WallNs(time + self.skew))
        for other in others:
            if other is not self:
                other.clocks.merge(WallNs(time + other.skew), stamp)
                other.clocks.hear(self.name, stamp.lamport)
                other.known |= self.known

    def restart(self) -> None:
        """Go on as a new process does, which knows the last record that was kept."""
        last = self.history[-1] if self.history else None
        self.clocks = Clocks(last.mark.stamp.lamport, last.heard) if last else Clocks()
        self.known = (last.before | {last.name}) if last else frozenset()


def merged(histories: Sequence[Sequence[Noted]], order: Order) -> list[Noted]:
    """Return what comes of histories that are there as a whole."""
    names = [str(number) for number, _ in enumerate(histories)]
    merging = Merging[Noted](names, lambda noted: noted.mark, order)
    for name, history in zip(names, histories, strict=True):
        merging.add(MonoNs(0), name, history, more=False)
        merging.close(name)
    return [*merging.take(MonoNs(0))]


def names(items: Iterable[Noted]) -> list[str]:
    return [noted.name for noted in items]


def is_causal(histories: Sequence[list[Noted]], order: Order) -> bool:
    """Whether everything comes after all that led to it, and nothing is lost."""
    seen: set[str] = set()
    for noted in merged(histories, order):
        if not noted.before <= seen:
            return False
        seen.add(noted.name)
    return len(seen) == sum(map(len, histories))


def steps(*kinds: str) -> "st.SearchStrategy[list[tuple[str, int, int, int]]]":
    agents = st.integers(0, 4)
    return st.lists(
        st.tuples(st.sampled_from(kinds), agents, agents, st.integers(-2 * HOUR, 2 * HOUR)),
        max_size=60,
    )


STEPS = steps("record", "tell", "restart", "step")


def lived(steps: list[tuple[str, int, int, int]], agents: str = "abc") -> list[Recorder]:
    """Agents after ``steps``, 50 ms apart; a step moves one wall clock."""
    recorders = [Recorder(name) for name in agents]
    for number, (what, one, other, skew) in enumerate(steps):
        time, agent = HOUR * 24 + number * milliseconds(50), recorders[one % len(recorders)]
        match what:
            case "record":
                agent.record(time)
            case "tell":
                agent.tell(time, recorders[other % len(recorders)])
            case "tell all":
                agent.tell(time, *recorders)
            case "record, tell":
                agent.record(time)
                agent.tell(time, recorders[other % len(recorders)])
            case "restart":
                agent.restart()
            case _:
                agent.skew = skew
    return recorders


@given(STEPS)
def test_no_step_of_a_wall_clock_and_no_restart_puts_an_effect_before_its_cause(
    steps: list[tuple[str, int, int, int]],
) -> None:
    assert is_causal([agent.history for agent in lived(steps)], Order.LAMPORT)


@given(steps("record", "tell"))
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
        assert merged([agent.history], order) == agent.history


def test_a_clock_that_is_an_hour_ahead_would_mislead_by_time_alone() -> None:
    """What the other order is for: the cause was recorded where it was an hour later."""
    ahead, right = Recorder("a", skew=HOUR), Recorder("b")
    ahead.record(HOUR)
    ahead.tell(HOUR, right)
    right.record(HOUR + milliseconds(1))
    histories = [ahead.history, right.history]

    assert names(merged(histories, Order.LAMPORT)) == ["a0", "b0"]
    assert names(merged(histories, Order.HLC)) == ["b0", "a0"]


def noted(name: str, ms: int, lamport: int = 7) -> Noted:
    return Noted(Mark(Stamp(Hlc(ms, 0), lamport), name), f"{name}{ms}", {}, frozenset())


def test_equal_counters_go_by_time_and_then_by_name() -> None:
    histories = [[noted("c", 2)], [noted("b", 2)], [noted("a", 3)]]

    for some in itertools.permutations(histories):
        assert names(merged(some, Order.LAMPORT)) == ["b2", "c2", "a3"]


def merging(*nodes: str) -> Merging[Noted]:
    return Merging(nodes, lambda noted: noted.mark, Order.LAMPORT)


def taken(tested: Merging[Noted], ms: int) -> list[str]:
    return names(tested.take(MonoNs(milliseconds(ms))))


def test_nothing_is_shown_before_what_another_history_may_still_have() -> None:
    tested = merging("a", "b")
    tested.add(MonoNs(0), "a", [noted("a", 1, 1), noted("a", 2, 5)], more=True)
    waits = taken(tested, 60_000)
    tested.add(MonoNs(0), "b", [noted("b", 1, 3)], more=True)

    assert (waits, tested.due()) == ([], 0)
    assert (taken(tested, 60_000), tested.due()) == (["a1", "b1"], None)


def test_of_an_agent_that_can_no_longer_be_reached_nothing_is_awaited() -> None:
    tested = merging("a", "b")
    tested.add(MonoNs(0), "a", [noted("a", 1, 1)], more=True)
    tested.close("b")

    assert taken(tested, 0) == ["a1"]


def test_of_an_agent_that_has_told_all_it_had_so_far_something_is_awaited_for_a_moment() -> None:
    window_ms = WINDOW // 1_000_000
    tested = merging("a", "b")
    tested.add(MonoNs(0), "b", [], more=False)
    tested.add(MonoNs(0), "a", [noted("a", 1, 4)], more=False)
    early = taken(tested, window_ms - 1)
    tested.add(MonoNs(milliseconds(window_ms - 1)), "b", [noted("b", 1, 2)], more=False)

    assert early == []
    assert taken(tested, window_ms) == ["b1", "a1"]


def test_what_comes_too_late_is_shown_all_the_same() -> None:
    tested = merging("a", "b")
    tested.add(MonoNs(0), "b", [], more=False)
    tested.add(MonoNs(0), "a", [noted("a", 1, 4)], more=False)
    punctual = taken(tested, 2_000)
    tested.add(MonoNs(seconds(2)), "b", [noted("b", 1, 2)], more=False)

    assert (punctual, taken(tested, 4_000)) == (["a1"], ["b1"])


def test_what_one_agent_alone_records_is_shown_at_once() -> None:
    tested = merging("a")
    tested.add(MonoNs(0), "a", [noted("a", 1)], more=False)

    assert taken(tested, 0) == ["a1"]


def marked(shown: Iterable[Noted]) -> list[tuple[str, list[str]]]:
    """Return what is said to be concurrent with each record: a record of each other agent."""
    tested, newest, found = Concurrency(), dict[str, str](), []
    for each in shown:
        node = each.mark.node
        others = tested.add(node, each.mark.stamp.lamport, each.heard)
        found.append((each.name, [newest[other] for other in others]))
        newest[node] = each.name
    return found


def truly(shown: Sequence[Noted]) -> list[tuple[str, list[str]]]:
    """Return the same by all that led to each; nothing of who had never heard anybody."""
    newest: dict[str, Noted] = {}
    social: set[str] = set()
    found = []
    for each in shown:
        node = each.mark.node
        social |= {node} if each.heard else set()
        others = [other for at, other in sorted(newest.items()) if {at, node} <= social]
        others = [other for other in others if other.mark.node != node]
        unknown = [
            other.name
            for other in others
            if other.name not in each.before and each.name not in other.before
        ]
        found.append((each.name, unknown))
        newest[node] = each
    return found


@pytest.mark.parametrize("order", Order)
@given(steps=steps("record", "record", "tell all", "step"), agents=st.integers(2, 5))
def test_among_agents_that_hear_each_other_what_knew_nothing_of_each_other_is_marked(
    order: Order, steps: list[tuple[str, int, int, int]], agents: int
) -> None:
    shown = merged([agent.history for agent in lived(steps, "abcde"[:agents])], order)

    assert marked(shown) == truly(shown)


@given(steps=steps("record", "record, tell"), agents=st.integers(2, 5))
def test_what_was_heard_through_a_third_agent_is_known_from_what_that_one_recorded(
    steps: list[tuple[str, int, int, int]], agents: int
) -> None:
    shown = merged([agent.history for agent in lived(steps, "abcde"[:agents])], Order.LAMPORT)

    assert marked(shown) == truly(shown)


@given(steps("record", "tell", "restart", "step"))
def test_of_two_agents_what_is_marked_knew_nothing_of_each_other_over_restarts_too(
    steps: list[tuple[str, int, int, int]],
) -> None:
    shown = merged([agent.history for agent in lived(steps, "ab")], Order.LAMPORT)

    assert marked(shown) == truly(shown)


def test_who_heard_of_it_through_a_third_agent_knew_of_it() -> None:
    first, middle, last = Recorder("a"), Recorder("b"), Recorder("c")
    last.tell(0, first)
    first.record(1)
    first.tell(2, middle)
    middle.record(3)
    middle.tell(4, last)
    last.record(5)
    shown = merged([first.history, middle.history, last.history], Order.LAMPORT)

    assert marked(shown) == [("a0", []), ("b0", []), ("c0", [])]


def test_what_an_agent_has_shown_to_know_it_knows_for_ever() -> None:
    """Whom it has not heard for as long as it keeps records is not in the later ones."""
    tested = Concurrency()
    tested.add("a", 1, {"b": 0})
    tested.add("b", 3, {"a": 2})
    tested.add("a", 9, {"b": 5})

    assert tested.add("a", 10, {"c": 1}) == []


def test_an_effect_that_a_wrong_clock_puts_before_its_cause_is_not_concurrent_with_it() -> None:
    ahead, right = Recorder("a", skew=HOUR), Recorder("b")
    right.tell(0, ahead)
    ahead.record(1)
    ahead.tell(2, right)
    right.record(3)

    assert marked(merged([ahead.history, right.history], Order.HLC)) == [("b0", []), ("a0", [])]


def test_of_agents_that_never_heard_anybody_nothing_is_said() -> None:
    """So it is with the records of a version that did not keep what was heard."""
    alone, other = Recorder("a"), Recorder("b")
    alone.record(0)
    other.record(0)

    assert marked(merged([alone.history, other.history], Order.LAMPORT)) == [
        ("a0", []),
        ("b0", []),
    ]
