"""Checks of services: when their outcome turns, and that each runs once at a time."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from socket import create_server

import pytest

from haagent.core.node_settings import Probe, ServiceCheckSettings, ServiceSettings
from haagent.core.units import milliseconds, seconds
from haagent.node.checks import Checks, Outcome, Verdict, ask

WAIT_S = 10


def check(**more: object) -> ServiceCheckSettings:
    """A check that says what a file says: here whether one exists."""
    settings = {"probe": Probe.TCP, "target": ("127.0.0.1", "1"), "interval": milliseconds(20)}
    return ServiceCheckSettings(**settings | more)  # type: ignore[arg-type]


def turns(verdict: Verdict, checks: str) -> str:
    """Play ``checks``, + or -; return at which of them the outcome turned."""
    return "".join("T" if verdict.turned_by(each == "+") else "." for each in checks)


@pytest.mark.parametrize("first", ["+", "-"])
def test_the_first_check_decides_alone(first: str) -> None:
    assert turns(Verdict(check(rise=3, fall=3)), first * 3) == "T.."


def test_rise_and_fall_count_checks_in_a_row() -> None:
    verdict = Verdict(check(rise=3, fall=2), healthy=True)

    assert turns(verdict, "-+-+--") == ".....T"
    assert turns(verdict, "++-+++") == ".....T"
    assert turns(verdict, "--") == ".T"


def test_what_was_healthy_before_needs_all_of_fall_to_turn() -> None:
    assert turns(Verdict(check(fall=2), healthy=True), "+-") == ".."


def services(*checks: ServiceCheckSettings) -> tuple[ServiceSettings, ...]:
    return tuple(
        ServiceSettings(name=f"s{n}", port=80, check=each) for n, each in enumerate(checks)
    )


@pytest.fixture
def outcomes() -> "Queue[Outcome]":
    return Queue()


@pytest.fixture
def running() -> Iterator[list[Checks]]:
    """What a test puts here is stopped afterwards."""
    running: list[Checks] = []
    yield running
    for each in running:
        each.stop()
        each.join(WAIT_S)


def test_a_turn_is_reported_once_with_what_the_check_found(
    outcomes: "Queue[Outcome]", running: list[Checks]
) -> None:
    with create_server(("127.0.0.1", 0)) as server:
        target = ("127.0.0.1", str(server.getsockname()[1]))
        running.append(Checks(services(check(target=target)), outcomes.put))
        first = outcomes.get(timeout=WAIT_S)
    second = outcomes.get(timeout=WAIT_S)

    assert (first.service, first.healthy) == ("s0", True)
    assert (second.service, second.healthy) == ("s0", False)
    assert second.text.endswith("connection refused")


def test_a_service_without_a_check_is_not_asked(outcomes: "Queue[Outcome]") -> None:
    before = threading.active_count()

    Checks((ServiceSettings(name="app", port=80),), outcomes.put)

    assert threading.active_count() == before


def test_a_program_that_hangs_holds_up_nobody_else_and_ends_in_time(
    outcomes: "Queue[Outcome]", running: list[Checks]
) -> None:
    hangs = check(
        probe=Probe.EXEC,
        target=(sys.executable, "-c", "import select; select.select([], [], [])"),
        timeout=milliseconds(300),
        user="root",
    )
    refused = check(interval=seconds(1))
    running.append(Checks(services(hangs, refused), outcomes.put))

    first, second = (outcomes.get(timeout=WAIT_S) for _ in range(2))

    assert (first.service, second.service) == ("s1", "s0")
    assert "did not end within its time" in second.text


def test_after_a_stop_nothing_is_reported(outcomes: "Queue[Outcome]") -> None:
    checks = Checks(services(check(target=("127.0.0.1", "1"))), outcomes.put)
    outcomes.get(timeout=WAIT_S)

    checks.stop()
    checks.join(WAIT_S)

    assert outcomes.empty()
    thread = checks.thread("s0")
    assert thread is not None
    assert not thread.is_alive()


def test_who_takes_over_waits_for_the_check_that_still_runs(
    tmp_path: Path, outcomes: "Queue[Outcome]", running: list[Checks]
) -> None:
    """Each run takes the directory, and fails when another has it."""
    lock = tmp_path / "lock"
    program = f"import os, select; os.mkdir({str(lock)!r}); select.select([], [], [], .3); "
    target = (sys.executable, "-c", program + f"os.rmdir({str(lock)!r})")
    slow = services(check(probe=Probe.EXEC, target=target, timeout=seconds(5), user="root"))
    first = Checks(slow, outcomes.put)
    deadline_s = time.monotonic() + WAIT_S
    while not lock.exists():
        assert time.monotonic() < deadline_s

    first.stop()
    running.append(Checks(slow, outcomes.put, before=first))

    assert outcomes.get(timeout=WAIT_S).healthy


@pytest.mark.parametrize("probe", Probe)
def test_every_kind_of_check_says_what_it_found(probe: Probe) -> None:
    targets = {
        Probe.TCP: ("127.0.0.1", "1"),
        Probe.HTTP: ("http://127.0.0.1:1/",),
        Probe.EXEC: ("/nonexistent/program",),
    }

    passed, text = ask(check(probe=probe, target=targets[probe]))

    assert not passed
    assert text
