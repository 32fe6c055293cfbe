"""What is said, to whom, and how often."""

from ipaddress import IPv4Address, IPv4Interface
from random import Random

import pytest

from haagent.core.actions import SendDatagram
from haagent.core.clocks import Clocks, Hlc, Stamp
from haagent.core.election import Election, Say
from haagent.core.events import DatagramReceived
from haagent.core.identity import Ballot, BootId, Priority, Term, node_id
from haagent.core.membership import Membership, Refused
from haagent.core.messages import (
    Coordinator,
    Datagram,
    Flag,
    Header,
    Probe,
    ProbeAck,
    State,
)
from haagent.core.outbox import Outbox
from haagent.core.settings import GroupSettings, HeartbeatSettings, PathSettings
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

US, PEER = node_id("lb1"), node_id("lb2")
BOOT = BootId(1)
GROUP = GroupSettings(
    name="web",
    priority=Priority(100),
    interface="eth0",
    addresses=(IPv4Interface("192.0.2.10/24"),),
)
TO_ALL = Say(Coordinator(ballot=Ballot(US, BOOT, 1)))
TO_PEER = Say(Coordinator(ballot=Ballot(US, BOOT, 1)), to=PEER)


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(milliseconds(ms)))


TIMING = HeartbeatSettings(paths=(PathSettings(interface="eth0"),) * 2)


class Stage:
    """The outbox of an agent on two paths, and the election that it speaks for."""

    def __init__(self) -> None:
        self.membership = Membership(US, BOOT, TIMING, Random(1))
        self.election = Election(
            group=GROUP,
            timing=TIMING,
            membership=self.membership,
            node=US,
            boot=BOOT,
            term=Term(0),
            random=Random(1),
        )
        self.outbox = Outbox(
            node=US, boot=BOOT, paths=2, clocks=Clocks(), membership=self.membership
        )
        self.election.link_changed(at(0).mono, up=True)

    def meets(self, path: int, address: str) -> None:
        refused = self._hears(1, Probe(destination=US, nonce=0), path, address)
        assert isinstance(refused, Refused)
        assert refused.challenge is not None
        self._hears(2, ProbeAck(destination=US, nonce=refused.challenge.nonce), path, address)

    def hears_again(self, path: int, address: str) -> None:
        self._hears(3, Probe(destination=US, nonce=0), path, address)

    def _hears(self, sequence: int, body: Probe | ProbeAck, path: int, address: str) -> object:
        header = Header(
            sender=PEER,
            boot=BOOT,
            sequence=sequence,
            group=GROUP.id,
            path=path,
            flags=Flag.NONE,
            term=Term(0),
            master=None,
            state=State.LISTEN,
            base_priority=Priority(0),
            priority=Priority(0),
            health=0,
            interval_ms=200,
            timeout_ms=650,
            stamp=Stamp(Hlc(0, 0), 0),
        )
        event = DatagramReceived(
            path=path,
            source=IPv4Address(address),
            received_at=at(0).mono,
            datagram=Datagram(header, body),
        )
        return self.membership.admit(at(0).mono, event)


def ways(sends: list[SendDatagram]) -> list[tuple[int, str | None]]:
    return [
        (send.datagram.header.path, None if send.destination is None else str(send.destination))
        for send in sends
    ]


def test_what_is_said_to_all_goes_out_on_every_path_three_times() -> None:
    stage = Stage()

    both = {(0, None), (1, None)}

    assert {*ways(stage.outbox.say(at(0), stage.election, TO_ALL))} == both
    assert stage.outbox.tick(at(3)) == []
    assert {*ways(stage.outbox.tick(at(4)))} == both
    assert {*ways(stage.outbox.tick(at(12)))} == both
    assert stage.outbox.empty


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
def test_the_last_of_what_several_groups_say_is_now_on_one_path_and_now_on_another(
    groups: int,
) -> None:
    """Peers echo the last number, and the round trip of no path is to remain unknown."""
    stage = Stage()
    last = []
    for _ in range(40):
        sends = [stage.outbox.once(at(0), stage.election, TO_ALL) for _ in range(groups)]
        last.append(ways(sends[-1])[-1])

    assert min(last.count((0, None)), last.count((1, None))) > 10


def test_a_number_of_late_tells_when_and_on_which_path_it_was_sent() -> None:
    stage = Stage()
    for ms in range(50):
        sends = stage.outbox.once(at(ms), stage.election, TO_ALL)

    for send in sends:
        header = send.datagram.header
        assert stage.outbox.sent(header.sequence) == (at(49).mono, header.path)
    assert stage.outbox.sent(1) is None


def test_every_copy_has_a_number_of_its_own() -> None:
    """Else the second would be taken for a replay of the first."""
    stage = Stage()
    sends = stage.outbox.say(at(0), stage.election, TO_ALL)
    sends += stage.outbox.tick(at(4)) + stage.outbox.tick(at(12))

    assert [send.datagram.header.sequence for send in sends] == [1, 2, 3, 4, 5, 6]


def test_a_word_that_is_no_longer_true_is_not_said_again() -> None:
    stage = Stage()
    stage.outbox.say(at(0), stage.election, TO_ALL)
    stage.election.link_changed(at(1).mono, up=False)

    assert stage.outbox.tick(at(12)) == []
    assert stage.outbox.empty


def test_a_word_of_an_earlier_term_is_not_said_again() -> None:
    stage = Stage()
    stage.outbox.say(at(0), stage.election, TO_ALL)
    stage.election.term = Term(1)

    assert stage.outbox.tick(at(12)) == []


def test_what_is_said_to_a_peer_goes_once_to_every_address_that_it_spoke_from() -> None:
    stage = Stage()
    stage.meets(0, "10.0.0.2")
    stage.hears_again(1, "10.1.0.2")

    assert ways(stage.outbox.say(at(0), stage.election, TO_PEER)) == [
        (0, "10.0.0.2"),
        (1, "10.1.0.2"),
    ]
    assert stage.outbox.deadline() is None


def test_nothing_is_said_to_one_that_was_never_met() -> None:
    stage = Stage()

    assert stage.outbox.say(at(0), stage.election, TO_PEER) == []
