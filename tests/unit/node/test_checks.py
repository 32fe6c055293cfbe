"""Checks of services: what turns is reported, and what is not asked any more is not."""

import sys
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from queue import Queue
from socket import create_server

import pytest

from haagent.core.appnode.settings import ServiceSettings
from haagent.core.checks import CheckSettings, CommandCheck, TCPCheck, What
from haagent.core.units import milliseconds
from haagent.node.checks import Checks, Fault, Outcome

WAIT_S = 10
LOCALHOST = IPv4Address("127.0.0.1")
REFUSED = TCPCheck(LOCALHOST, 1)
HANGS = CommandCheck((sys.executable, "-c", "import select; select.select([], [], [])"), "root")


def service(name: str, what: What) -> ServiceSettings:
    check = CheckSettings(
        name=name, what=what, interval=milliseconds(400), timeout=milliseconds(200), fall=1
    )
    return ServiceSettings(name=name, port=80, check=check)


@pytest.fixture
def outcomes() -> "Queue[Outcome | Fault]":
    return Queue()


@pytest.fixture
def checks(outcomes: "Queue[Outcome | Fault]") -> Iterator[Checks]:
    checks = Checks(outcomes.put)
    yield checks
    checks.stop()


def next_of(outcomes: "Queue[Outcome | Fault]") -> Outcome:
    outcome = outcomes.get(timeout=WAIT_S)
    assert isinstance(outcome, Outcome)
    return outcome


def test_a_turn_is_reported_once_with_what_the_check_found(
    checks: Checks, outcomes: "Queue[Outcome | Fault]"
) -> None:
    with create_server(("127.0.0.1", 0)) as server:
        checks.watch((service("app", TCPCheck(LOCALHOST, server.getsockname()[1])),))
        first = next_of(outcomes)
    second = next_of(outcomes)

    assert (first.check.name, first.passed) == ("app", True)
    assert (second.check.name, second.passed) == ("app", False)
    assert second.text.endswith("connection refused")


def test_a_node_without_checks_has_no_thread_for_them(checks: Checks) -> None:
    before = threading.active_count()

    checks.watch((ServiceSettings(name="app", port=80),))

    assert threading.active_count() == before


def test_a_program_that_hangs_holds_up_nobody_else_and_fails_in_time(
    checks: Checks, outcomes: "Queue[Outcome | Fault]"
) -> None:
    checks.watch((service("hangs", HANGS), service("refused", REFUSED)))

    first, second = next_of(outcomes), next_of(outcomes)

    assert (first.check.name, second.check.name) == ("refused", "hangs")
    assert "within" in second.text


def test_a_service_whose_check_changes_is_judged_anew_and_the_others_are_not(
    checks: Checks, outcomes: "Queue[Outcome | Fault]"
) -> None:
    same = service("same", REFUSED)
    checks.watch((same, service("app", REFUSED)))
    assert {next_of(outcomes).check.name for _ in range(2)} == {"same", "app"}

    with create_server(("127.0.0.1", 0)) as server:
        checks.watch((same, service("app", TCPCheck(LOCALHOST, server.getsockname()[1]))))
        outcome = next_of(outcomes)

    assert (outcome.check.name, outcome.passed) == ("app", True)
    assert next_of(outcomes).check.name == "app"


def test_a_bug_in_the_keeping_of_time_reaches_the_loop(outcomes: "Queue[Outcome | Fault]") -> None:
    def report(news: Outcome | Fault) -> None:
        outcomes.put(news)
        if isinstance(news, Outcome):
            raise AssertionError("a bug")

    Checks(report).watch((service("app", REFUSED),))

    assert next_of(outcomes).check.name == "app"
    fault = outcomes.get(timeout=WAIT_S)
    assert isinstance(fault, Fault)
    assert str(fault.error) == "a bug"
