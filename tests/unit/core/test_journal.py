"""Records of what happened, alarms for what lasts."""

from haagent.core.actions import Record, Severity
from haagent.core.clocks import Clocks, Hlc, Stamp
from haagent.core.identity import Term
from haagent.core.journal import KEPT_RECORDS, Journal
from haagent.core.status import Alarm
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(milliseconds(ms)))


def note(ms: int, number: int, severity: Severity, kind: str, text: str) -> Record:
    stamp = Stamp(Hlc(ms, 0), number)
    return Record(
        number=number,
        stamp=stamp,
        severity=severity,
        kind=kind,
        text=text,
        group=None,
        term=None,
    )


def test_a_record_carries_both_clocks_group_and_term() -> None:
    journal = Journal(Clocks())
    journal.record(at(5), "role.changed", "init -> listen", group="web", term=Term(7))

    assert journal.take() == [
        Record(
            number=1,
            stamp=Stamp(Hlc(5, 0), 1),
            severity=Severity.NOTICE,
            kind="role.changed",
            text="init -> listen",
            group="web",
            term=Term(7),
        )
    ]


def test_a_record_is_taken_once_and_kept_for_the_status() -> None:
    journal = Journal(Clocks())
    journal.record(at(5), "peer.alive", "lb2 is heard")
    taken = journal.take()

    assert journal.take() == []
    assert list(journal.records) == taken


def test_only_the_newest_records_are_kept() -> None:
    journal = Journal(Clocks())
    for number in range(KEPT_RECORDS + 1):
        journal.record(at(number), "peer.alive", str(number))

    assert [record.text for record in journal.records] == [
        str(number) for number in range(1, KEPT_RECORDS + 1)
    ]


def test_an_alarm_is_recorded_when_it_is_raised_and_when_it_is_cleared() -> None:
    journal = Journal(Clocks())
    journal.alarm(at(1), "link.down", "eth0", "eth0 is down")
    journal.alarm(at(2), "link.down", "eth0", "eth0 is down")
    raised = journal.alarms
    journal.clear(at(3), "link.down", "eth0")
    journal.clear(at(4), "link.down", "eth0")

    assert raised == (
        Alarm(kind="link.down", text="eth0 is down", severity=Severity.WARNING, since=at(1).mono),
    )
    assert journal.alarms == ()
    assert journal.take() == [
        note(1, 1, Severity.WARNING, "link.down", "eth0 is down"),
        note(3, 2, Severity.NOTICE, "link.down.cleared", "no longer: eth0 is down"),
    ]


def test_an_alarm_that_says_something_new_is_recorded_again_and_stays_as_old_as_it_is() -> None:
    journal = Journal(Clocks())
    journal.alarm(at(1), "haproxy.trouble", "", "app1 is missing")
    journal.alarm(at(2), "haproxy.trouble", "", "app2 is missing")

    assert [record.text for record in journal.take()] == ["app1 is missing", "app2 is missing"]
    assert [(alarm.text, alarm.since) for alarm in journal.alarms] == [
        ("app2 is missing", at(1).mono)
    ]


def test_alarms_about_two_subjects_are_two_alarms() -> None:
    journal = Journal(Clocks())
    journal.alarm(at(1), "link.down", "eth0", "eth0 is down")
    journal.alarm(at(1), "link.down", "eth1", "eth1 is down")
    journal.clear(at(2), "link.down", "eth0")

    assert [alarm.text for alarm in journal.alarms] == ["eth1 is down"]


def test_an_alarm_with_an_end_clears_itself_unless_it_is_raised_again() -> None:
    journal = Journal(Clocks())
    journal.alarm(at(1), "clock.skew", "lb2", "ahead", lasts=milliseconds(100))
    journal.alarm(at(50), "clock.skew", "lb2", "ahead", lasts=milliseconds(100))

    journal.tick(at(149))
    assert [alarm.kind for alarm in journal.alarms] == ["clock.skew"]
    assert journal.deadline() == at(150).mono

    journal.tick(at(150))
    assert [alarm.kind for alarm in journal.alarms] == []
    assert journal.deadline() is None


def test_the_worst_alarm_is_shown_first() -> None:
    journal = Journal(Clocks())
    journal.alarm(at(1), "clock.skew", "lb2", "ahead")
    journal.alarm(at(2), "node.duplicate", "", "twin", severity=Severity.CRITICAL)

    assert [alarm.kind for alarm in journal.alarms] == ["node.duplicate", "clock.skew"]
