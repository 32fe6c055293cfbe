"""What led to a change is found in memory, and where that ends in a real file on the disk."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.adapters import clock
from haagent.adapters.event_store import NAME, EventStore
from haagent.control.explanation import UnknownGroupError
from haagent.control.haagent_pb2 import ExplainReply
from haagent.core.actions import Record
from haagent.core.identity import BootId
from haagent.runtime.explaining import explain
from haagent.runtime.history import History
from tests.unit.cli.test_status import NOW
from tests.unit.control.test_explanation import LB1_DIED, LB2_STOOD, LB2_WON, ON_LB2, ROLE, record

TAKEOVER = [LB1_DIED, LB2_STOOD, LB2_WON]
"""In the order in which they are recorded."""


def explained(
    directory: Path, kept: Iterable[Record] = (), *, memory: Iterable[Record] = (), boot: int = 2
) -> ExplainReply:
    """What an agent says that has ``memory``, and on its disk ``kept`` as of the start ``boot``."""

    async def story() -> ExplainReply:
        store = EventStore(directory)
        running = asyncio.create_task(store.run(lambda _told: None))
        before = History(store, "lb2", BootId(boot), clock.now)
        for each in kept:
            before.keep(each)
        try:
            history = History(store, "lb2", BootId(2), clock.now)
            return await explain("web", replace(ON_LB2, records=tuple(memory)), NOW, history)
        finally:
            await store.finish(10)
            await running

    return asyncio.run(story())


def chain(reply: ExplainReply) -> tuple[list[int], int | None]:
    lost = reply.lost_cause if reply.HasField("lost_cause") else None
    return [each.number for each in reply.records], lost


def test_what_is_in_memory_is_told_without_a_look_at_the_disk(tmp_path: Path) -> None:
    reply = explained(tmp_path, memory=TAKEOVER)

    assert (chain(reply), reply.trouble) == (([43, 42, 41], None), "")
    assert not (tmp_path / NAME).exists()


def test_what_other_records_have_driven_out_of_memory_is_on_the_disk(tmp_path: Path) -> None:
    noise = [record(number, "node.alive", "app1", group=None) for number in range(44, 400)]

    by_memory = explained(tmp_path, memory=TAKEOVER)
    reply = explained(tmp_path, [*TAKEOVER, *noise], memory=noise[-256:])

    assert (chain(reply), reply.text) == (([43, 42, 41], None), by_memory.text)


def test_a_cause_alone_that_is_out_of_memory_is_on_the_disk(tmp_path: Path) -> None:
    assert chain(explained(tmp_path, TAKEOVER, memory=TAKEOVER[1:])) == ([43, 42, 41], None)


def test_the_newest_change_is_that_of_the_group(tmp_path: Path) -> None:
    later = [
        record(44, ROLE, "backup -> master: the master left", group="mail"),
        record(45, "address.removed", "10.0.0.100/32 was removed from eth0 by somebody else"),
    ]

    assert chain(explained(tmp_path, memory=[*TAKEOVER, *later])) == ([43, 42, 41], None)
    assert chain(explained(tmp_path, [*TAKEOVER, *later])) == ([43, 42, 41], None)


def test_what_an_earlier_start_recorded_is_no_cause(tmp_path: Path) -> None:
    """Numbers count within one start."""
    assert chain(explained(tmp_path, TAKEOVER, boot=1)) == ([], None)
    assert chain(explained(tmp_path, memory=TAKEOVER[2:])) == ([43], 42)


def test_what_is_nowhere_is_said_to_be_lost(tmp_path: Path) -> None:
    assert chain(explained(tmp_path, TAKEOVER[1:], memory=TAKEOVER[1:])) == ([43, 42], 41)


@pytest.mark.parametrize("cause", [43, 44])
def test_a_record_that_would_be_its_own_cause_ends_the_chain(tmp_path: Path, cause: int) -> None:
    later = record(44, "peer.dead", "lb1 is dead", cause=43)

    reply = explained(tmp_path, memory=[replace(LB2_WON, cause=cause), later])

    assert chain(reply) == ([43], cause)


def test_a_chain_is_followed_to_its_end_however_long(tmp_path: Path) -> None:
    steps = [record(n, "peer.late", f"step {n}", cause=n - 1 or None) for n in range(1, 256)]
    won = record(256, ROLE, "candidate -> master: the master fell silent", cause=255)

    reply = explained(tmp_path, steps, memory=[*steps[100:], won])

    assert chain(reply) == ([*range(256, 0, -1)], None)
    assert reply.text.endswith(": step 1")


def test_a_disk_that_cannot_be_read_costs_what_is_on_it_and_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()

    reply = explained(tmp_path, memory=TAKEOVER[1:])

    assert chain(reply) == ([43, 42], 41)
    assert "Is a directory" in reply.trouble


def test_a_disk_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody answers: the thread of the store has not been begun."""
    history = History(EventStore(tmp_path), "lb2", BootId(2), clock.now)
    status = replace(ON_LB2, records=tuple(TAKEOVER[1:]))

    reply = asyncio.run(explain("web", status, NOW, history))

    assert (chain(reply), reply.trouble) == (([43, 42], 41), "the disk does not answer")


def test_a_group_that_is_not_there_is_not_looked_for(tmp_path: Path) -> None:
    history = History(EventStore(tmp_path), "lb2", BootId(2), clock.now)

    with pytest.raises(UnknownGroupError, match="no group 'wbe'"):
        asyncio.run(explain("wbe", ON_LB2, NOW, history))
