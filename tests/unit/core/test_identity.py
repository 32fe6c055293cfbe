"""Names become ids, ids become order; and the two kinds of time."""

from haagent.core.identity import (
    HEALTHY,
    BootId,
    NodeId,
    Priority,
    Rank,
    boot_id,
    cluster_id,
    group_id,
    node_id,
)
from haagent.core.units import MonoNs, between, later, milliseconds, seconds


def test_every_agent_derives_the_same_id_from_a_name() -> None:
    """The first bits of SHA-256, so that a file need not name a number (ADR 0002)."""
    assert node_id("lb1") == NodeId(0x948E_9224_60DE_D069)
    assert cluster_id("example") == 0x50D8_58E0
    assert group_id("web") == 0x4B5E


def test_a_later_boot_is_greater_whatever_chance_says() -> None:
    assert boot_id(5, 0xFFFF_FFFF) < boot_id(6, 0)
    assert boot_id(5, 1) != boot_id(5, 2)


def test_a_boot_id_keeps_within_64_bits() -> None:
    assert boot_id(1 << 32 | 7, 1 << 32 | 9) == BootId(7 << 32 | 9)


def test_the_higher_priority_ranks_above() -> None:
    assert Rank(HEALTHY, Priority(101), NodeId(1)) > Rank(HEALTHY, Priority(100), NodeId(2))


def test_whoever_is_healthy_ranks_above_any_priority() -> None:
    assert Rank(HEALTHY, Priority(1), NodeId(1)) > Rank(HEALTHY - 1, Priority(254), NodeId(2))


def test_equal_priorities_are_told_apart_by_the_node() -> None:
    assert Rank(HEALTHY, Priority(100), NodeId(2)) > Rank(HEALTHY, Priority(100), NodeId(1))


def test_durations_are_what_lies_between_two_instants() -> None:
    start = MonoNs(7)

    assert between(start, later(start, seconds(1))) == milliseconds(1000)
    assert between(later(start, seconds(1)), start) == -milliseconds(1000)
