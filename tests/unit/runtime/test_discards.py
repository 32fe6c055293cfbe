"""What is thrown away: counted within bounds, and told often enough to be noticed."""

import logging
from ipaddress import IPv4Address

import pytest

from haagent.core.events import Event, StrangerHeard
from haagent.core.messages import DiscardReason
from haagent.core.units import MonoNs
from haagent.runtime.discards import MAX_COUNTED, MAX_ORDINARY, MAX_TOLD, QUIET, Discards
from haagent.runtime.log import logger

STRANGER = IPv4Address("192.0.2.66")
BAD_MAC, UNPROVEN = DiscardReason.BAD_MAC, DiscardReason.UNPROVEN
START = MonoNs(1_000)


def test_who_is_refused_is_told_once_a_minute_and_counted_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    posted: list[Event] = []
    discards = Discards(posted.append)

    with caplog.at_level(logging.WARNING, logger.name):
        for moment in (START, START + 1, START + QUIET - 1, START + QUIET):
            discards.count(MonoNs(moment), STRANGER, BAD_MAC, "why")

    assert discards.counts == {(STRANGER, BAD_MAC): 4}
    assert posted == [StrangerHeard(STRANGER, BAD_MAC)] * 2
    assert [record.getMessage() for record in caplog.records] == [
        f"datagram from 192.0.2.66 discarded, bad_mac: why ({times} so far)" for times in (1, 4)
    ]


def test_what_is_ordinary_is_counted_and_not_told() -> None:
    posted: list[Event] = []
    discards = Discards(posted.append)

    discards.count(START, STRANGER, UNPROVEN)

    assert discards.counts == {(STRANGER, UNPROVEN): 1}
    assert posted == []


def test_the_first_words_of_a_fleet_keep_no_stranger_from_being_counted() -> None:
    discards = Discards(lambda _: None)
    for number in range(10_000):
        discards.count(START, IPv4Address(number), UNPROVEN)
    discards.count(START, STRANGER, BAD_MAC)

    assert len(discards.counts) == MAX_ORDINARY + 1
    assert discards.counts[STRANGER, BAD_MAC] == 1


def test_a_fleet_with_the_wrong_key_fills_neither_memory_nor_log() -> None:
    posted: list[Event] = []
    discards = Discards(posted.append)
    for number in range(10_000):
        discards.count(START, IPv4Address(number), BAD_MAC)

    assert len(discards.counts) == MAX_COUNTED
    assert len(posted) == MAX_TOLD
