"""When an agent suspects itself, because so many app nodes vanish at once."""

from ipaddress import IPv4Address

import pytest

from haagent.core.actions import AskHost
from haagent.core.events import NodeHeard
from haagent.core.fleet.node import Node, Pace
from haagent.core.fleet.vanishing import Vanishing, Verdict
from haagent.core.identity import boot_id, node_id
from haagent.core.messages import Load, NodeHeartbeat
from haagent.core.settings import NodeClassSettings
from haagent.core.units import MonoNs, milliseconds

GATEWAY, STRANGER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


def node(number: int) -> Node:
    name = f"app{number}"
    heartbeat = NodeHeartbeat(
        sender=node_id(name),
        boot=boot_id(1, 0),
        sequence=1,
        path=0,
        interval_ms=1000,
        nonce=1,
        leaving=False,
        load=Load(cpu_permille=0, memory_permille=0, queue_percent=0),
        name=name,
        node_class="default",
        address=STRANGER,
        services=(),
    )
    heard = NodeHeard(source=STRANGER, port=1, way=0, received_at=at(0), heartbeat=heartbeat)
    return Node(heard, Pace(NodeClassSettings()))


def vanish(tested: Vanishing, living: int, *instants_ms: int) -> list[int]:
    """Return how many are held for each of those that vanish one after the other."""
    return [
        len(tested.add(at(ms), node(number), living - number))
        for number, ms in enumerate(instants_ms)
    ]


def suspicious() -> Vanishing:
    tested = Vanishing([(0, GATEWAY)])
    assert vanish(tested, 4, 1000, 1000) == [0, 2]
    return tested


@pytest.mark.parametrize(
    ("living", "held"),
    [
        (3, [0, 0, 0]),
        (4, [0, 2]),
        (6, [0, 2]),
        (7, [0, 0, 3]),
        (10, [0, 0, 0, 4]),
        (100, [0] * 30 + [31, 1, 1]),
    ],
)
def test_more_than_thirty_of_a_hundred_are_too_many(living: int, held: list[int]) -> None:
    """Two at least, and of four at least."""
    tested = Vanishing([])

    assert vanish(tested, living, *[1000] * len(held)) == held


def test_what_happens_more_than_five_seconds_apart_is_no_crowd() -> None:
    assert vanish(Vanishing([]), 4, 0, 5000) == [0, 2]
    assert vanish(Vanishing([]), 4, 0, 5001) == [0, 0]


def test_one_that_was_heard_again_is_not_counted() -> None:
    tested, first = Vanishing([]), node(1)
    tested.add(at(0), first, 4)
    tested.forget(first)

    assert tested.add(at(100), node(2), 4) == []


def test_the_references_are_asked_at_once_and_then_less_and_less() -> None:
    tested = suspicious()
    asked = []
    while (due := tested.deadline()) is not None and due <= at(4000):
        assert tested.tick(due) == [AskHost(0, GATEWAY)]
        asked.append(due // 1_000_000)

    assert asked == [1000, 1100, 1200, 1300, 1400, 1500, 2500, 3500]


def test_without_anybody_to_ask_nobody_is_asked() -> None:
    tested = Vanishing([])
    vanish(tested, 4, 0, 0)

    assert tested.deadline() is None


def test_only_a_reference_answers_for_us_and_only_when_it_matters() -> None:
    assert suspicious().answered(at(1010), 0, STRANGER) is None
    assert suspicious().answered(at(1010), 1, GATEWAY) is None
    assert Vanishing([(0, GATEWAY)]).answered(at(1010), 0, GATEWAY) is None


def test_an_answer_at_once_is_believed_for_a_second() -> None:
    tested = suspicious()
    assert tested.answered(at(1500), 0, GATEWAY) is Verdict.DEAD

    assert vanish(tested, 4, 2499, 2499) == [0, 0]
    assert vanish(tested, 4, 2500, 2500) == [0, 2]


def test_a_late_answer_is_no_proof_of_a_death() -> None:
    tested = suspicious()

    assert tested.answered(at(1501), 0, GATEWAY) is Verdict.WAIT
    assert vanish(tested, 4, 1600, 1600) == [0, 2]
