"""What results come to, and what a group knows of its checks."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from haagent.core.actions import Severity
from haagent.core.checks import (
    CheckSettings,
    CommandCheck,
    Consequence,
    FileCheck,
    HTTPCheck,
    TCPCheck,
    default_timeout,
)
from haagent.core.clocks import Clocks
from haagent.core.events import CheckReported
from haagent.core.health import Health
from haagent.core.identity import Priority, group_id
from haagent.core.journal import Journal
from haagent.core.settings import GroupSettings
from haagent.core.streak import Streak
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds, seconds

HAPROXY = CheckSettings(name="haproxy", what=FileCheck("/a"), timeout=milliseconds(500))
GATEWAY = replace(HAPROXY, name="gateway", on_fail=Consequence.DEMOTE)
UPLINK = replace(GATEWAY, name="uplink")


def at(ms: int) -> Moment:
    return Moment(MonoNs(ms * 1_000_000), WallNs(ms * 1_000_000))


def group(*checks: CheckSettings) -> GroupSettings:
    return GroupSettings(
        name="web",
        priority=Priority(100),
        interface="eth0",
        addresses=(IPv4Interface("192.0.2.10/32"),),
        checks=checks,
    )


def report(check: CheckSettings, *, passed: bool, text: str = "it is so") -> CheckReported:
    return CheckReported(group=group_id("web"), check=check, passed=passed, text=text)


def judged(streak: Streak, results: Iterable[str]) -> str:
    """Return, for each result (+ or -), what the check is taken for after it."""
    taken = []
    for result in results:
        streak.count(passed=result == "+")
        taken.append({None: "?", True: "+", False: "-"}[streak.passed])
    return "".join(taken)


@pytest.mark.parametrize(
    ("results", "taken"),
    [
        ("+", "+"),
        ("-", "-"),
        ("+--", "++-"),
        ("+-+-+-", "++++++"),
        ("-+++", "---+"),
        ("-++-+++", "------+"),
        ("+--+++", "++---+"),
    ],
)
def test_a_check_is_judged_anew_after_so_many_results_in_a_row(results: str, taken: str) -> None:
    streak = Streak(rise=3, fall=2)

    assert judged(streak, results) == taken


def test_only_a_change_is_news() -> None:
    streak = Streak(HAPROXY.rise, HAPROXY.fall)

    news = [streak.count(passed=passed) for passed in (True, True, False, False, False)]

    assert news == [True, False, False, True, False]


def test_what_fails_is_an_alarm_and_counts_by_its_consequence() -> None:
    journal = Journal(Clocks())
    health = Health(group(HAPROXY, GATEWAY, UPLINK), journal)
    for check in (HAPROXY, GATEWAY, UPLINK):
        health.reported(at(1), report(check, passed=False, text="connection refused"))

    assert (health.released, health.demoted_by, health.judged) == (True, 2, True)
    assert [(alarm.severity, alarm.text) for alarm in journal.alarms] == [
        (Severity.ERROR, "web: haproxy fails: connection refused"),
        (Severity.WARNING, "web: gateway fails: connection refused"),
        (Severity.WARNING, "web: uplink fails: connection refused"),
    ]
    assert {record.group for record in journal.records} == {"web"}


def test_what_passes_again_ends_its_alarm_and_no_other() -> None:
    journal = Journal(Clocks())
    health = Health(group(HAPROXY, GATEWAY), journal)
    health.reported(at(1), report(HAPROXY, passed=False))
    health.reported(at(1), report(GATEWAY, passed=False))

    number = health.reported(at(5), report(HAPROXY, passed=True))

    assert number == journal.records[-1].number
    assert (health.released, health.demoted_by) == (False, 1)
    assert [alarm.text for alarm in journal.alarms] == ["web: gateway fails: it is so"]


def test_a_check_that_has_not_reported_neither_fails_nor_lets_the_group_be_judged() -> None:
    health = Health(group(HAPROXY, GATEWAY), Journal(Clocks()))
    health.reported(at(1), report(GATEWAY, passed=True))

    assert (health.released, health.demoted_by, health.judged) == (False, 0, False)
    assert [(each.passed, each.since) for each in health.status()] == [
        (None, None),
        (True, at(1).mono),
    ]


def test_a_group_without_checks_is_judged() -> None:
    assert Health(group(), Journal(Clocks())).judged


def test_a_report_of_a_check_that_is_no_longer_made_so_changes_nothing() -> None:
    health = Health(group(HAPROXY), Journal(Clocks()))

    late = report(replace(HAPROXY, fall=5), passed=False)

    assert health.reported(at(1), late) is None
    assert not health.released


def test_a_changed_check_has_to_report_first_and_an_unchanged_one_goes_on() -> None:
    journal = Journal(Clocks())
    health = Health(group(HAPROXY, GATEWAY), journal)
    health.reported(at(1), report(HAPROXY, passed=False))
    health.reported(at(1), report(GATEWAY, passed=False))

    health.reconfigure(at(2), group(replace(HAPROXY, interval=seconds(2)), GATEWAY))

    assert (health.released, health.demoted_by, health.judged) == (False, 1, False)
    assert len(journal.alarms) == 1


def test_a_check_that_is_gone_leaves_no_alarm() -> None:
    journal = Journal(Clocks())
    health = Health(group(HAPROXY), journal)
    health.reported(at(1), report(HAPROXY, passed=False))

    health.reconfigure(at(2), group())

    assert (journal.alarms, health.judged) == ((), True)


def test_the_time_to_a_failover_and_the_limit_that_none_was_given_for() -> None:
    assert HAPROXY.detection == milliseconds(2500)
    assert default_timeout(milliseconds(333)) == milliseconds(166)


def test_a_check_says_what_it_looks_at() -> None:
    assert [
        str(what)
        for what in (
            TCPCheck(IPv4Interface("192.0.2.1").ip, 80),
            HTTPCheck(url="https://192.0.2.1/", host="shop.example"),
            CommandCheck(("/bin/check", "-v")),
        )
    ] == ["tcp 192.0.2.1:80", "https://192.0.2.1/ as shop.example", "exec /bin/check -v"]
