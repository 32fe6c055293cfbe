"""The addresses of one group: claimed and kept, heard and announced when held, given up."""

from ipaddress import IPv4Interface, IPv6Interface

import pytest

from haagent.core.actions import (
    AnnounceAddress,
    ClaimAddress,
    CloseFence,
    OpenFence,
    ReleaseAddress,
)
from haagent.core.clocks import Clocks
from haagent.core.events import ActionFailed
from haagent.core.identity import Priority, Term, group_id
from haagent.core.journal import Journal
from haagent.core.ownership import Ownership
from haagent.core.settings import GroupSettings, IPInterface
from haagent.core.status import AddressStatus
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

WEB = group_id("web")
FIRST, SECOND = IPv4Interface("192.0.2.10/24"), IPv6Interface("2001:db8::10/64")
GROUP = GroupSettings(
    name="web", priority=Priority(100), interface="eth0", addresses=(FIRST, SECOND)
)


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(milliseconds(ms)))


def claim(address: IPInterface, term: int = 7) -> ClaimAddress:
    return ClaimAddress(group=WEB, term=Term(term), interface="eth0", address=address)


def release(address: IPInterface, term: int = 7) -> ReleaseAddress:
    return ReleaseAddress(group=WEB, term=Term(term), interface="eth0", address=address)


def announce(address: IPInterface, term: int = 7) -> AnnounceAddress:
    return AnnounceAddress(group=WEB, term=Term(term), interface="eth0", address=address)


def opened(address: IPInterface, until_ms: int = 600, by_ms: int | None = None) -> OpenFence:
    return OpenFence(
        group=WEB,
        term=Term(7),
        interface="eth0",
        address=address,
        until=at(until_ms).mono,
        by=at(until_ms if by_ms is None else by_ms).mono,
    )


def closed(address: IPInterface, term: int = 7) -> CloseFence:
    return CloseFence(group=WEB, term=Term(term), interface="eth0", address=address)


def owner(journal: Journal | None = None) -> Ownership:
    """Claims both addresses at 0 ms under term 7, vouched for; the kernel has not answered."""
    tested = Ownership(GROUP, journal or Journal(Clocks()))
    tested.take(at(0), Term(7))
    assert tested.vouch(at(600).mono) == []
    return tested


def holder() -> Ownership:
    """Holds both addresses, and has announced them as often as it must."""
    tested = owner()
    for address in (FIRST, SECOND):
        assert tested.done(at(0), claim(address)) == [opened(address), announce(address)]
    for ms in (50, 200, 1000):
        assert tested.tick(at(ms)) == [announce(FIRST), announce(SECOND)]
    return tested


def test_all_addresses_are_claimed_behind_closed_fences() -> None:
    tested = Ownership(GROUP, Journal(Clocks()))

    assert tested.take(at(0), Term(7)) == [
        closed(FIRST),
        closed(SECOND),
        claim(FIRST),
        claim(SECOND),
    ]


def test_what_the_kernel_has_not_confirmed_is_neither_held_nor_heard_nor_announced() -> None:
    tested = owner()
    done = tested.done(at(5), claim(FIRST))

    assert done == [opened(FIRST), announce(FIRST)]
    assert tested.vouch(at(800).mono) == [opened(FIRST, 800, by_ms=600)]
    assert tested.tick(at(55)) == [announce(FIRST)]
    assert tested.status() == (
        AddressStatus(interface="eth0", address=FIRST, held=True),
        AddressStatus(interface="eth0", address=SECOND, held=False),
    )


@pytest.mark.parametrize("now_ms", [0, 1, 599, 600, 5000])
def test_a_claim_confirmed_late_is_heard_no_longer_than_the_heartbeat_allows(now_ms: int) -> None:
    """Not one lease from now: the peers count from that heartbeat, too."""
    assert opened(FIRST, 600) in owner().done(at(now_ms), claim(FIRST))


def test_a_claim_confirmed_after_another_heartbeat_is_heard_as_long_as_that_one_allows() -> None:
    tested = owner()
    tested.vouch(at(800).mono)

    assert opened(FIRST, 800) in tested.done(at(250), claim(FIRST))


def test_what_is_held_is_kept_heard_by_each_heartbeat_that_is_sent_before_the_lease_is_over() -> (
    None
):
    assert holder().vouch(at(1800).mono) == [
        opened(FIRST, 1800, by_ms=600),
        opened(SECOND, 1800, by_ms=600),
    ]


def test_nothing_but_a_heartbeat_and_a_confirmed_claim_opens_a_fence() -> None:
    tested = holder()
    later = [
        *tested.tick(at(61_000)),
        *tested.renew(at(61_000), Term(8)),
        *tested.foreign(at(61_001), FIRST.ip, "02:00:00:00:00:99"),
        *tested.done(at(61_002), release(FIRST)),
    ]

    assert later
    assert not [action for action in later if isinstance(action, OpenFence)]


def test_one_nanosecond_early_nothing_is_announced() -> None:
    tested = holder()
    due = tested.deadline()

    assert due == at(61_000).mono
    assert tested.tick(Moment(MonoNs(due - 1), WallNs(0))) == []
    assert tested.tick(at(61_000)) == [announce(FIRST), announce(SECOND)]


def test_letting_go_silences_all_then_releases_all_and_announces_no_more() -> None:
    tested = holder()

    assert tested.let_go(Term(8)) == [
        closed(FIRST, 8),
        closed(SECOND, 8),
        release(FIRST, 8),
        release(SECOND, 8),
    ]
    assert tested.deadline() is None
    tested.done(at(2000), release(FIRST, 8))
    assert [item.held for item in tested.status()] == [False, True]


def test_a_claim_that_is_confirmed_too_late_is_neither_heard_nor_announced() -> None:
    """The release is on its way already."""
    tested = owner()
    tested.let_go(Term(8))

    assert tested.done(at(5), claim(FIRST)) == []
    assert tested.deadline() is None


def test_renewing_announces_what_is_held_from_the_start_under_the_new_term() -> None:
    tested = holder()
    tested.let_go(Term(7))
    tested.done(at(1100), release(FIRST))
    tested.take(at(1200), Term(8))
    tested.done(at(1200), claim(SECOND, 8))

    assert tested.renew(at(1210), Term(9)) == [announce(SECOND, 9)]
    assert tested.tick(at(1260)) == [announce(SECOND, 9)]


def test_a_refused_claim_is_tried_again_ever_less_often() -> None:
    tested = owner()
    tested.done(at(0), claim(SECOND))
    now, pauses = 0, []
    for _ in range(10):
        tested.failed(at(now), ActionFailed(claim(FIRST), 13, "permission denied"))
        pause = next(
            ms for ms in range(100, 20_000, 100) if claim(FIRST) in tested.tick(at(now + ms))
        )
        pauses.append(pause)
        now += pause

    assert pauses == [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]


def test_a_refused_release_is_tried_again() -> None:
    tested = holder()
    tested.let_go(Term(8))
    tested.failed(at(2000), ActionFailed(release(FIRST, 8), 16, "busy"))

    assert tested.tick(at(2099)) == []
    assert tested.tick(at(2100)) == [closed(FIRST, 8), release(FIRST, 8)]


def test_what_was_removed_is_not_kept_heard_and_is_claimed_behind_a_closed_fence() -> None:
    tested = holder()
    tested.removed(at(2000), FIRST.ip)

    assert tested.vouch(at(2600).mono) == [opened(SECOND, 2600, by_ms=600)]
    assert tested.tick(at(2000)) == [closed(FIRST), claim(FIRST)]
    assert opened(FIRST, 2600) in tested.done(at(2001), claim(FIRST))


def test_a_refusal_that_no_longer_matters_is_forgotten() -> None:
    tested = holder()
    tested.let_go(Term(8))
    tested.failed(at(2000), ActionFailed(claim(FIRST), 13, "permission denied"))

    assert tested.deadline() is None


def test_it_gives_up_after_half_a_second_with_nothing() -> None:
    tested = owner()

    assert not tested.gives_up(at(499))
    assert tested.gives_up(at(500))
    assert not tested.gives_up(at(501))


def test_it_does_not_give_up_while_it_has_one_of_its_addresses() -> None:
    tested = owner()
    tested.done(at(100), claim(SECOND))
    tested.failed(at(100), ActionFailed(claim(FIRST), 13, "permission denied"))

    assert not tested.gives_up(at(500))


def test_it_gives_up_when_all_was_removed_and_is_refused_since() -> None:
    """Not for the removal alone: whoever removes it here may do so on every host."""
    tested = holder()
    for address in (FIRST, SECOND):
        tested.removed(at(2000), address.ip)
    assert not tested.gives_up(at(9000))

    tested.failed(at(9000), ActionFailed(claim(FIRST), 13, "permission denied"))
    tested.failed(at(9100), ActionFailed(claim(FIRST), 13, "permission denied"))

    assert not tested.gives_up(at(9499))
    assert tested.gives_up(at(9500))


def test_it_does_not_give_up_when_one_is_refused_and_the_other_held() -> None:
    tested = holder()
    tested.removed(at(2000), FIRST.ip)
    tested.failed(at(2000), ActionFailed(claim(FIRST), 13, "permission denied"))

    assert not tested.gives_up(at(9000))


def test_only_addresses_of_the_group_are_defended() -> None:
    tested = holder()
    other = IPv4Interface("192.0.2.99/24").ip

    assert tested.foreign(at(2000), other, "02:00:00:00:00:99") == []
    tested.removed(at(2000), other)
    assert tested.deadline() == at(61_000).mono


def test_a_foreign_address_that_we_do_not_hold_yet_is_an_alarm_and_no_defence() -> None:
    journal = Journal(Clocks())
    tested = Ownership(GROUP, journal)
    tested.take(at(0), Term(7))

    assert tested.foreign(at(1), FIRST.ip, "02:00:00:00:00:99") == []
    assert [alarm.kind for alarm in journal.alarms] == ["address.conflict"]


def test_an_announcement_that_fails_is_an_alarm_and_gives_nothing_up() -> None:
    journal = Journal(Clocks())
    tested = Ownership(GROUP, journal)
    tested.take(at(0), Term(7))
    tested.done(at(0), claim(FIRST))
    tested.failed(at(0), ActionFailed(announce(FIRST), 100, "network is down"))

    assert [alarm.kind for alarm in journal.alarms] == ["address.unannounced"]
    assert tested.tick(at(50)) == [announce(FIRST)]


@pytest.mark.parametrize("action", [opened(FIRST), closed(FIRST)], ids=["open", "close"])
def test_a_fence_that_fails_is_an_alarm_and_gives_nothing_up(
    action: OpenFence | CloseFence,
) -> None:
    journal = Journal(Clocks())
    tested = owner(journal)
    tested.done(at(0), claim(FIRST))
    tested.failed(at(0), ActionFailed(action, 1, "operation not permitted"))

    assert [alarm.kind for alarm in journal.alarms] == ["fence.failed"]
    assert tested.vouch(at(800).mono) == [opened(FIRST, 800, by_ms=600)]
