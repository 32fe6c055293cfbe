"""Sessions with peers: who counts, and for how long."""

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import DatagramReceived
from haagent.core.identity import HEALTHY, BootId, GroupId, Priority, Term, group_id, node_id
from haagent.core.membership import MAX_PENDING, Membership, Refused
from haagent.core.messages import (
    Body,
    Datagram,
    DiscardReason,
    Flag,
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Probe,
    ProbeAck,
    RoleReason,
    State,
)
from haagent.core.peer import Peer
from haagent.core.settings import Detection, HeartbeatSettings, PathSettings
from haagent.core.units import MonoNs, milliseconds

WEB = group_id("web")
US, PEER = node_id("lb1"), node_id("lb2")
TIMING = HeartbeatSettings(paths=(PathSettings(interface="eth0"),), detection=Detection.FIXED)
HERE, ELSEWHERE = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")
BEAT = Heartbeat(name="lb2", reason=RoleReason.FOLLOWING, role_age_ms=0, heard=(), config_hash=0)


def at(ms: int) -> MonoNs:
    return MonoNs(milliseconds(ms))


def datagram(
    ms: int, body: Body = BEAT, *, boot: int, sequence: int, source: IPv4Address = HERE
) -> DatagramReceived:
    """A datagram of lb2, received at ``ms``; lb2 promises to be heard within 600 ms."""
    header = Header(
        sender=PEER,
        boot=BootId(boot),
        sequence=sequence,
        group=WEB,
        path=0,
        flags=Flag.ELECTABLE,
        term=Term(1),
        master=None,
        state=State.BACKUP,
        base_priority=Priority(100),
        priority=Priority(100),
        health=HEALTHY,
        interval_ms=200,
        timeout_ms=600,
        stamp=Stamp(Hlc(0, 0), 0),
    )
    return DatagramReceived(
        path=0, source=source, received_at=at(ms), datagram=Datagram(header, body)
    )


def prove(membership: Membership, ms: int, *, boot: int, source: IPv4Address = HERE) -> Peer:
    """Let lb2 in this boot answer the challenge."""
    refused = membership.admit(at(ms), datagram(ms, boot=boot, sequence=1, source=source))
    assert isinstance(refused, Refused)
    assert refused.challenge is not None
    ack = ProbeAck(destination=US, nonce=refused.challenge.nonce)
    proven = membership.admit(at(ms), datagram(ms, ack, boot=boot, sequence=2, source=source))
    assert isinstance(proven, Peer)
    return proven


def acquainted() -> Membership:
    membership = Membership(US, BootId(1), TIMING, Random(1))
    prove(membership, 0, boot=1)
    return membership


def test_a_peer_is_dead_when_it_breaks_its_promise() -> None:
    membership = acquainted()

    assert membership.deadline() == at(600)
    assert membership.judge(MonoNs(at(600) - 1))[0] == []
    assert [peer.node for peer in membership.judge(at(600))[0]] == [PEER]


def test_datagrams_that_waited_during_a_stall_kill_nobody() -> None:
    """They bear the time at which they came; newer ones wait behind them."""
    membership = acquainted()
    membership.forgive(at(2000), milliseconds(200))
    membership.admit(at(2000), datagram(700, boot=1, sequence=3))

    assert membership.judge(at(2000))[0] == []
    assert membership.deadline() == at(2200)


def test_a_peer_that_stays_silent_after_a_stall_is_dead_then() -> None:
    membership = acquainted()
    membership.forgive(at(2000), milliseconds(200))

    assert [peer.node for peer in membership.judge(at(2200))[0]] == [PEER]


def test_a_restarted_peer_is_challenged_at_once() -> None:
    membership = acquainted()

    assert prove(membership, 100, boot=2).boot == 2


def test_a_second_living_agent_of_the_same_name_is_not_even_challenged() -> None:
    membership = acquainted()

    assert membership.admit(
        at(100), datagram(100, boot=2, sequence=1, source=ELSEWHERE)
    ) == Refused(DiscardReason.UNPROVEN)


def test_a_peer_that_moved_is_challenged_once_its_earlier_boot_is_dead() -> None:
    membership = acquainted()
    membership.judge(at(600))

    assert prove(membership, 700, boot=2, source=ELSEWHERE).boot == 2


def nonce_for(membership: Membership, event: DatagramReceived) -> int:
    """Return the nonce with which the sender of ``event`` is challenged."""
    refused = membership.admit(event.received_at, event)
    assert isinstance(refused, Refused)
    assert refused.challenge is not None
    return refused.challenge.nonce


def test_a_new_boot_counts_for_nothing_until_it_has_answered() -> None:
    membership = Membership(US, BootId(1), TIMING, Random(1))
    refused = membership.admit(at(0), datagram(0, boot=1, sequence=1))

    assert isinstance(refused, Refused)
    assert refused.reason is DiscardReason.UNPROVEN
    assert membership.peers() == []


def test_a_wrong_nonce_proves_nothing() -> None:
    membership = Membership(US, BootId(1), TIMING, Random(1))
    nonce = nonce_for(membership, datagram(0, boot=1, sequence=1))
    ack = ProbeAck(destination=US, nonce=nonce ^ 1)

    assert membership.admit(at(1), datagram(1, ack, boot=1, sequence=2)) == Refused(
        DiscardReason.UNPROVEN
    )
    assert membership.peers() == []


def test_an_answer_of_an_earlier_boot_proves_no_later_one() -> None:
    """A capture of the whole exchange, played back: the nonce is another one by now."""
    membership = Membership(US, BootId(1), TIMING, Random(1))
    nonce = nonce_for(membership, datagram(0, boot=1, sequence=1))
    ack = ProbeAck(destination=US, nonce=nonce)
    membership.admit(at(1), datagram(1, ack, boot=1, sequence=2))
    membership.judge(at(601))

    assert nonce_for(membership, datagram(700, boot=2, sequence=1)) != nonce
    refused = membership.admit(at(701), datagram(701, ack, boot=2, sequence=2))
    assert refused == Refused(DiscardReason.UNPROVEN)
    assert membership.admit(at(702), datagram(702, ack, boot=1, sequence=2)) == Refused(
        DiscardReason.REPLAYED
    )


def test_a_challenge_is_repeated_after_50_ms_with_the_same_nonce_and_not_before() -> None:
    membership = Membership(US, BootId(1), TIMING, Random(1))
    nonce = nonce_for(membership, datagram(0, boot=1, sequence=1))

    assert membership.admit(at(49), datagram(49, boot=1, sequence=2)) == Refused(
        DiscardReason.UNPROVEN
    )
    assert membership.admit(at(50), datagram(50, boot=1, sequence=3)) == Refused(
        DiscardReason.UNPROVEN, Probe(destination=PEER, nonce=nonce)
    )


def test_of_too_many_unproven_boots_the_oldest_gives_way() -> None:
    """Old captures by the thousand must not fill the memory, nor shut out the real peer."""
    membership = Membership(US, BootId(1), TIMING, Random(1))
    nonces = [
        nonce_for(membership, datagram(boot, boot=boot, sequence=1))
        for boot in range(MAX_PENDING + 1)
    ]
    oldest = ProbeAck(destination=US, nonce=nonces[0])
    second = ProbeAck(destination=US, nonce=nonces[1])

    assert isinstance(membership.admit(at(40), datagram(40, oldest, boot=0, sequence=2)), Refused)
    # Its answer began a challenge anew, and that made the second oldest give way.
    assert isinstance(membership.admit(at(41), datagram(41, second, boot=1, sequence=2)), Refused)
    third = ProbeAck(destination=US, nonce=nonces[3])
    assert isinstance(membership.admit(at(42), datagram(42, third, boot=3, sequence=2)), Peer)


def test_every_datagram_of_a_peer_counts_once() -> None:
    """It comes on every path; and somebody may play it back."""
    membership = acquainted()

    assert isinstance(membership.admit(at(10), datagram(10, boot=1, sequence=3)), Peer)
    assert membership.admit(at(11), datagram(11, boot=1, sequence=3)) == Refused(
        DiscardReason.REPLAYED
    )


def test_our_own_datagrams_come_back_to_nobody() -> None:
    membership = Membership(PEER, BootId(1), TIMING, Random(1))

    assert membership.admit(at(0), datagram(0, boot=1, sequence=1)) == Refused(DiscardReason.OWN)


def test_what_is_meant_for_another_is_not_taken_in() -> None:
    membership = acquainted()
    probe = Probe(destination=node_id("lb3"), nonce=1)

    assert membership.admit(at(1), datagram(1, probe, boot=1, sequence=3)) == Refused(
        DiscardReason.OTHER_DESTINATION
    )


def test_the_list_of_whom_we_hear_tells_number_and_age() -> None:
    membership = acquainted()
    membership.admit(at(10), datagram(10, boot=1, sequence=(1 << 32) + 7))
    membership.admit(at(20), datagram(20, boot=1, sequence=(1 << 32) + 6))
    peer = membership.get(PEER)

    assert peer is not None
    assert peer.heard_entry(at(30)) == Heard(node=PEER, sequence_low=7, age_us=20_000)


def test_a_peer_hears_us_when_its_newest_heartbeat_says_so() -> None:
    membership = acquainted()
    us = Heard(node=US, sequence_low=1, age_us=0)
    peer = membership.admit(at(1), datagram(1, replace(BEAT, heard=(us,)), boot=1, sequence=3))
    assert isinstance(peer, Peer)
    heard = peer.hears_us
    membership.admit(at(2), datagram(2, BEAT, boot=1, sequence=4))

    assert (heard, peer.hears_us) == (True, False)


def test_who_stops_is_gone_and_who_only_steps_down_is_not() -> None:
    membership = acquainted()
    down = Goodbye(reason=RoleReason.LINK_DOWN)
    peer = membership.admit(at(1), datagram(1, down, boot=1, sequence=3))
    assert isinstance(peer, Peer)
    before = peer.alive
    membership.admit(at(2), datagram(2, Goodbye(reason=RoleReason.STOPPING), boot=1, sequence=4))

    assert (before, peer.alive) == (True, False)
    assert membership.judge(at(9000))[0] == []


def test_a_peer_is_found_dead_once() -> None:
    membership = acquainted()

    assert len(membership.judge(at(600))[0]) == 1
    assert membership.judge(at(601))[0] == []
    assert membership.deadline() is None


def test_a_peer_that_speaks_in_another_group_lives_by_what_it_promised_there() -> None:
    membership = acquainted()
    quiet = datagram(100, boot=1, sequence=3)
    header = replace(quiet.datagram.header, group=GroupId(7), interval_ms=1000, timeout_ms=3250)
    membership.admit(at(100), replace(quiet, datagram=Datagram(header, BEAT)))
    assert membership.deadline() == at(700)

    assert membership.forget(WEB) == []

    assert membership.deadline() == at(3350)
    assert membership.voters(WEB) == {}


def test_a_peer_without_a_group_in_common_is_gone_and_not_dead() -> None:
    membership = acquainted()

    (gone,) = membership.forget(WEB)

    assert (gone.node, gone.alive) == (PEER, False)
    assert membership.judge(at(10_000))[0] == []
