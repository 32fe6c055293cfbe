"""Sessions with peers: who counts, and for how long."""

from ipaddress import IPv4Address
from random import Random

from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import DatagramReceived
from haagent.core.identity import BootId, Priority, Term, group_id, node_id
from haagent.core.membership import Membership, Peer, Refused
from haagent.core.messages import (
    Body,
    Datagram,
    DiscardReason,
    Flag,
    Header,
    Heartbeat,
    ProbeAck,
    RoleReason,
    State,
)
from haagent.core.units import MonoNs, milliseconds

WEB = group_id("web")
US, PEER = node_id("lb1"), node_id("lb2")
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
    membership = Membership(US, BootId(1), Random(1))
    prove(membership, 0, boot=1)
    return membership


def test_a_peer_is_dead_when_it_breaks_its_promise() -> None:
    membership = acquainted()

    assert membership.deadline() == at(600)
    assert membership.expire(MonoNs(at(600) - 1)) == []
    assert [peer.node for peer in membership.expire(at(600))] == [PEER]


def test_datagrams_that_waited_during_a_stall_kill_nobody() -> None:
    """They bear the time at which they came; newer ones wait behind them."""
    membership = acquainted()
    membership.forgive(at(2000), milliseconds(200))
    membership.admit(at(2000), datagram(700, boot=1, sequence=3))

    assert membership.expire(at(2000)) == []
    assert membership.deadline() == at(2200)


def test_a_peer_that_stays_silent_after_a_stall_is_dead_then() -> None:
    membership = acquainted()
    membership.forgive(at(2000), milliseconds(200))

    assert [peer.node for peer in membership.expire(at(2200))] == [PEER]


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
    membership.expire(at(600))

    assert prove(membership, 700, boot=2, source=ELSEWHERE).boot == 2
