"""Weights from what app nodes say of themselves."""

import pytest

from haagent.core.fleet.policy import business, least_load, natural, ramp, weight, weighted
from haagent.core.messages import Load
from haagent.core.units import milliseconds, seconds


def load(cpu: int = 0, memory: int = 0, queue: int = 0) -> Load:
    return Load(cpu_permille=cpu, memory_permille=memory, queue_percent=queue)


@pytest.mark.parametrize(
    ("told", "busy"),
    [
        (load(), 0),
        (load(cpu=420), 420),
        (load(cpu=1000, memory=1000, queue=65_535), 1000),
        (load(memory=900), 0),
        (load(memory=950), 500),
        (load(queue=100), 0),
        (load(queue=200), 500),
        (load(cpu=600, memory=950, queue=150), 600),
    ],
)
def test_a_host_is_as_busy_as_what_it_has_least_of(told: Load, busy: int) -> None:
    assert business(told) == busy


@pytest.mark.parametrize(("busy", "share"), [(0, 1000), (300, 700), (900, 100), (1000, 100)])
def test_a_weighted_share_is_what_is_left_and_a_tenth_at_least(busy: int, share: int) -> None:
    assert weighted(busy) == share


@pytest.mark.parametrize(
    ("busy", "least", "share"),
    [(100, 100, 1000), (150, 100, 1000), (250, 100, 525), (350, 100, 50), (1000, 0, 50)],
)
def test_least_load_falls_along_a_ramp_and_not_at_an_edge(
    busy: int, least: int, share: int
) -> None:
    assert least_load(busy, least) == share


@pytest.mark.parametrize(
    ("age_ms", "share"),
    [(0, 100), (999, 100), (1000, 325), (3999, 775), (4000, 1000), (9000, 1000)],
)
def test_a_slow_start_grows_each_second(age_ms: int, share: int) -> None:
    assert ramp(milliseconds(age_ms), seconds(4)) == share


def test_without_a_slow_start_the_share_is_whole_at_once() -> None:
    assert ramp(milliseconds(0), seconds(0)) == 1000


@pytest.mark.parametrize(
    ("base", "share", "expected"),
    [(100, 1000, 100), (100, 105, 11), (100, 104, 10), (1, 100, 1), (256, 1000, 256)],
)
def test_a_weight_is_rounded_and_never_nothing(base: int, share: int, expected: int) -> None:
    assert weight(base, share) == expected


@pytest.mark.parametrize(("base", "share"), [(0, 1000), (100, 0)])
def test_nothing_stays_nothing(base: int, share: int) -> None:
    """The operator's own drain, and all but the lowest under lowest-id."""
    assert weight(base, share) == 0


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["app10", "app9", "app1b", "10", "9", "app", "app1"]

    assert sorted(names, key=natural) == ["9", "10", "app", "app1", "app1b", "app9", "app10"]
