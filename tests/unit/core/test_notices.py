"""What people are told of, when, and in how many messages."""

from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.notices import MOST_LINES, Notice, Notices, NotificationSettings, Rate
from haagent.core.units import MonoNs, milliseconds, seconds


def record(
    kind: str = "peer.dead", severity: Severity = Severity.WARNING, text: str = "lb2 is dead"
) -> Record:
    return Record(
        number=1,
        stamp=Stamp(Hlc(1_767_225_588_123, 0), 1),
        severity=severity,
        kind=kind,
        text=text,
        group=None,
        term=None,
    )


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


def notices(*kinds: str, severity: Severity = Severity.WARNING, limit: int = 10) -> Notices:
    settings = NotificationSettings(
        urls_file="u", kinds=kinds or ("*",), severity=severity, limit=Rate(limit, seconds(60))
    )
    return Notices(settings, "haagent lb1 (shop)")


def test_what_happens_within_a_second_is_one_notice() -> None:
    told = notices()
    told.add(at(0), record())
    told.add(at(400), record("address.conflict", Severity.CRITICAL, "02:00:00:00:00:09 has it"))

    assert told.deadline() == at(1000)
    assert told.take(at(999)) is None
    assert told.take(at(1000)) == Notice(
        "haagent lb1 (shop): critical: peer.dead, address.conflict",
        "2025-12-31 23:59:48Z warning peer.dead: lb2 is dead\n"
        "2025-12-31 23:59:48Z critical address.conflict: 02:00:00:00:00:09 has it",
        Severity.CRITICAL,
    )
    assert (told.deadline(), told.take(at(5000))) == (None, None)


def test_a_record_of_a_lesser_severity_or_of_another_kind_is_not_told() -> None:
    told = notices("peer.*", "*.cleared")
    told.add(at(0), record("role.changed"))
    told.add(at(0), record("peer.alive", Severity.NOTICE))

    assert told.deadline() is None


def test_patterns_fit_whole_kinds() -> None:
    told = notices("peer.*", "*.cleared")
    told.add(at(0), record("link.down.cleared"))
    told.add(at(0), record("peer.dead"))
    told.add(at(0), record("speer.dead"))

    notice = told.take(at(1000))
    assert notice is not None
    assert notice.title == "haagent lb1 (shop): warning: link.down.cleared, peer.dead"


def test_nobody_is_told_that_nobody_can_be_told() -> None:
    told = notices()
    told.add(at(0), record("notify.failing", Severity.CRITICAL))

    assert told.deadline() is None


def test_beyond_the_limit_what_happens_waits_and_is_counted() -> None:
    told = notices(limit=2)
    for second in (0, 2):
        told.add(at(second * 1000), record())
        assert told.take(at(second * 1000 + 1000)) is not None
    for number in range(MOST_LINES + 37):
        told.add(at(4000), record(text=f"number {number}"))

    assert told.deadline() == at(61_000), "a minute after the first of the two"
    assert told.take(at(60_999)) is None
    notice = told.take(at(61_000))
    assert notice is not None
    assert notice.body.splitlines()[MOST_LINES - 1 :] == [
        "2025-12-31 23:59:48Z warning peer.dead: number 19",
        "and 37 more",
    ]


def test_after_the_limit_there_is_room_again() -> None:
    told = notices(limit=1)
    told.add(at(0), record())
    told.take(at(1000))
    told.add(at(70_000), record())

    assert told.deadline() == at(71_000)


def test_a_lost_notice_is_told_of_in_the_next() -> None:
    told = notices()
    lost = Notice("t", "one\ntwo", Severity.ERROR)

    told.lost(at(0), lost)

    notice = told.take(at(1000))
    assert notice is not None
    assert notice.title == "haagent lb1 (shop): error: notices that were lost"
    assert notice.body == "and 2 more"


def test_at_the_end_nothing_waits() -> None:
    told = notices(limit=1)
    told.add(at(0), record())
    told.take(at(1000))
    told.add(at(1100), record())

    assert told.take(at(1200), last=True) is not None
    assert told.take(at(1200), last=True) is None
