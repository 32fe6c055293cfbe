"""What a master promises, and whom it tells that it has the addresses."""

from ipaddress import IPv4Address, IPv4Interface
from random import Random

import pytest

from haagent.core.actions import (
    Action,
    AnnounceAddress,
    ClaimAddress,
    CloseFence,
    OpenFence,
    ReleaseAddress,
    SendDatagram,
)
from haagent.core.agent import Agent
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import (
    ActionDone,
    DatagramReceived,
    Event,
    ForeignAddressSeen,
    LinkChanged,
    StopRequested,
    Tick,
)
from haagent.core.identity import HEALTHY, Ballot, BootId, Priority, Term, node_id
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Datagram,
    Election,
    ElectionKind,
    Flag,
    Header,
    Heartbeat,
    Probe,
    ProbeAck,
    RoleReason,
    State,
)
from haagent.core.settings import AgentSettings, GroupSettings, HeartbeatSettings, PathSettings
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

WEB = GroupSettings(
    name="web",
    priority=Priority(200),
    interface="eth0",
    addresses=(IPv4Interface("192.0.2.10/24"),),
)
SETTINGS = AgentSettings(
    node="lb1",
    cluster="example",
    heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
    groups=(WEB,),
)
FOREIGN = ForeignAddressSeen("eth0", IPv4Address("192.0.2.10"), "02:00:00:00:00:02")
LESSER_BALLOT = Ballot(node_id("lb2"), BootId(1), 1)
BEAT = Heartbeat(name="lb2", reason=RoleReason.FOLLOWING, role_age_ms=0, heard=(), config_hash=0)


class Story:
    """An agent that became master in term 1 at 1000 ms, and the wire that it speaks on."""

    def __init__(self) -> None:
        self.agent = Agent(SETTINGS, BootId(1), {}, Random(1))
        self._sequence = 0
        self.happens(0, LinkChanged("eth0", up=True))
        for ms in (200, 400, 600, 800, 1000):
            self.happens(ms, Tick())

    def happens(self, ms: int, event: Event) -> list[Action]:
        """Return all that follows; the kernel does at once what it is asked for."""
        now = Moment(MonoNs(milliseconds(ms)), WallNs(milliseconds(ms)))
        actions = self.agent.step(now, event)
        for action in [a for a in actions if isinstance(a, ClaimAddress | ReleaseAddress)]:
            actions += self.agent.step(now, ActionDone(action))
        return actions

    def passes(self, since_ms: int, until_ms: int) -> list[Action]:
        """Let the time in between pass in ticks."""
        ticks = [self.happens(ms, Tick()) for ms in range(since_ms + 100, until_ms, 100)]
        return [action for actions in ticks for action in actions]

    def hears(self, ms: int, body: Body, state: State, term: int) -> list[Action]:
        """Let lb2, of lower rank, say ``body``."""
        self._sequence += 1
        header = Header(
            sender=node_id("lb2"),
            boot=BootId(1),
            sequence=self._sequence,
            group=WEB.id,
            path=0,
            flags=Flag.ELECTABLE,
            term=Term(term),
            master=None,
            state=state,
            base_priority=Priority(100),
            priority=Priority(100),
            health=HEALTHY,
            interval_ms=1000,
            timeout_ms=3250,
            stamp=Stamp(Hlc(0, 0), 0),
        )
        source, at = IPv4Address("10.0.0.2"), MonoNs(milliseconds(ms))
        datagram = Datagram(header, body)
        return self.happens(
            ms, DatagramReceived(path=0, source=source, received_at=at, datagram=datagram)
        )

    def meets(self, ms: int, state: State, term: int) -> None:
        """Let lb2 prove itself."""
        said = [item.body for item in sent(self.hears(ms, BEAT, state, term))]
        nonces = [body.nonce for body in said if isinstance(body, Probe)]
        self.hears(ms, ProbeAck(destination=node_id("lb1"), nonce=nonces[0]), state, term)


def sent(actions: list[Action]) -> list[Datagram]:
    return [action.datagram for action in actions if isinstance(action, SendDatagram)]


def announced(actions: list[Action]) -> int:
    return sum(isinstance(action, AnnounceAddress) for action in actions)


def opened_until(actions: list[Action]) -> list[int]:
    """Return until when fences are opened, in milliseconds."""
    openings = [action for action in actions if isinstance(action, OpenFence)]
    return [opening.until // milliseconds(1) for opening in openings]


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_master_may_lose_two_heartbeats_and_be_late_with_the_third(story: Story) -> None:
    beats = [d for d in sent(story.happens(1200, Tick())) if isinstance(d.body, Heartbeat)]

    assert [(d.header.state, d.header.timeout_ms) for d in beats] == [(State.MASTER, 650)]


def test_a_heartbeat_of_a_master_keeps_its_address_heard_for_three_intervals(story: Story) -> None:
    """And for no longer than the peers wait after the same heartbeat."""
    actions = story.happens(1210, Tick())
    kinds = [type(action) for action in actions]

    assert opened_until(actions) == [1810]
    assert kinds.index(SendDatagram) < kinds.index(OpenFence)
    assert SETTINGS.heartbeat.lease < SETTINGS.heartbeat.takeover


def test_between_two_heartbeats_nothing_is_opened(story: Story) -> None:
    assert opened_until(story.happens(1199, Tick())) == []


def test_the_heartbeats_of_who_is_no_master_open_nothing(story: Story) -> None:
    released = story.happens(1150, LinkChanged("eth0", up=False))
    later = story.passes(1150, 4000)

    assert CloseFence in {type(action) for action in released}
    assert Heartbeat in {type(datagram.body) for datagram in sent(later)}
    assert opened_until([*released, *later]) == []


def test_a_master_that_resigns_keeps_its_address_heard_until_the_other_is_ready(
    story: Story,
) -> None:
    story.meets(1100, State.BACKUP, term=0)
    story.happens(1150, StopRequested())

    assert opened_until(story.happens(1350, Tick())) == [1950]


def test_a_stalled_master_first_of_all_closes_its_fence(story: Story) -> None:
    takeover_ms = SETTINGS.heartbeat.takeover // milliseconds(1)
    story.happens(1200, Tick())
    first, *others = story.hears(1200 + takeover_ms, BEAT, State.MASTER, term=2)

    assert isinstance(first, CloseFence)
    assert opened_until(others) == []


def test_a_master_asserts_itself_against_a_lesser_one_of_a_lower_term(story: Story) -> None:
    """The lesser one, too, has told the neighbours that it has the addresses."""
    story.meets(1200, State.BACKUP, term=5)
    story.hears(1200, BEAT, State.BACKUP, term=5)
    said = story.hears(1300, BEAT, State.MASTER, term=2)

    assert Coordinator in {type(datagram.body) for datagram in sent(said)}
    assert announced(said) == 1


def test_a_master_asserts_itself_once_against_the_same_mastership(story: Story) -> None:
    """However often the other repeats itself before it hears us."""
    story.meets(1200, State.BACKUP, term=5)
    story.hears(1300, BEAT, State.MASTER, term=2)
    story.happens(1350, Tick())

    assert sent(story.hears(1360, BEAT, State.MASTER, term=2)) == []


def test_a_master_announces_itself_when_a_peer_is_heard_anew(story: Story) -> None:
    story.meets(1100, State.BACKUP, term=0)

    assert announced(story.hears(1110, BEAT, State.BACKUP, term=1)) == 1


def test_a_master_does_not_announce_itself_at_every_heartbeat_of_a_peer(story: Story) -> None:
    story.meets(1100, State.BACKUP, term=0)
    story.hears(1110, BEAT, State.BACKUP, term=1)

    assert announced(story.hears(1120, BEAT, State.BACKUP, term=1)) == 0


def test_a_master_defends_its_address_at_once(story: Story) -> None:
    story.passes(1000, 2200)

    assert announced(story.happens(2200, FOREIGN)) == 1


def test_a_master_defends_its_address_again_no_sooner_than_a_second_later(story: Story) -> None:
    """But then it does: the other may have announced last and given way since."""
    story.passes(1000, 2200)
    story.happens(2200, FOREIGN)

    assert announced(story.happens(2300, FOREIGN)) == 0
    assert announced(story.passes(2300, 3200)) == 0
    assert announced(story.happens(3200, Tick())) == 1


def test_a_grant_is_said_once(story: Story) -> None:
    """The call for it comes three times, and each copy is answered."""
    story.meets(1100, State.BACKUP, term=0)
    call = Election(kind=ElectionKind.VOTE, ballot=LESSER_BALLOT, proposed_term=Term(9))
    story.hears(1200, call, State.CANDIDATE, term=1)

    assert not [d for d in sent(story.happens(1212, Tick())) if isinstance(d.body, Answer)]


def test_a_victory_is_said_three_times(story: Story) -> None:
    said = story.happens(1004, Tick()) + story.happens(1012, Tick())

    assert [type(datagram.body) for datagram in sent(said)] == [Coordinator, Coordinator]
