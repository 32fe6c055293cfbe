"""Any events in any order: the agent goes on, keeps its promises, and does the same again."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from random import Random

from hypothesis import given, settings, strategies as st

from haagent.core.actions import (
    Action,
    AnnounceAddress,
    ClaimAddress,
    Finished,
    ReleaseAddress,
    SendDatagram,
)
from haagent.core.agent import Agent
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    AddressRemoved,
    BackendsObserved,
    DatagramReceived,
    Event,
    ForeignAddressSeen,
    LinkChanged,
    SettingsChanged,
    SettingsRejected,
    StopRequested,
    Tick,
)
from haagent.core.identity import (
    Ballot,
    GroupId,
    NodeId,
    Priority,
    Term,
    boot_id,
    group_id,
    node_id,
)
from haagent.core.messages import (
    Answer,
    Body,
    Coordinator,
    Datagram,
    Election,
    ElectionKind,
    Flag,
    Goodbye,
    Header,
    Heard,
    Heartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    Resign,
    ResignPhase,
    RoleReason,
    State,
)
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    GroupSettings,
    HAProxySettings,
    HeartbeatSettings,
    IPAddress,
    IPInterface,
    PathSettings,
    Preempt,
    ServerSettings,
    When,
)
from haagent.core.units import DurationNs, Moment, MonoNs, WallNs, later, milliseconds
from haagent.wire.auth import Keyring
from haagent.wire.heartbeat import encode

KEYRING = Keyring(bytes(32), "example", ["web", "mail"])
NAMES = ["lb1", "lb2", "lb3"]
GROUPS = [group_id("web"), group_id("mail")]
ADDRESSES = [IPv4Interface("192.0.2.10/24"), IPv4Interface("192.0.2.11/24")]
BOOT = boot_id(1, 1)
SERVER = ServerSettings(
    name="app1",
    address=IPv4Address("10.0.1.1"),
    port=80,
    when=When.MASTER,
    group=GROUPS[0],
    of="lb2",
)


def agent_settings(preempt: Preempt, priority: int) -> AgentSettings:
    return AgentSettings(
        node="lb1",
        cluster="example",
        heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
        groups=tuple(
            GroupSettings(
                name=name,
                priority=Priority(priority),
                interface="eth0",
                addresses=(address,),
                preempt=preempt,
                preempt_after=milliseconds(300),
            )
            for name, address in zip(["web", "mail"], ADDRESSES, strict=True)
        ),
        haproxy=HAProxySettings(
            socket="/run/haproxy.sock",
            backends=(BackendSettings(name="app", servers=(SERVER,)),),
        ),
    )


configurations = st.builds(agent_settings, st.sampled_from(Preempt), st.sampled_from([50, 200]))
nodes = st.sampled_from([node_id(name) for name in NAMES])
counts = st.integers(0, 20) | st.integers(0, (1 << 63) - 1)
terms = counts.map(Term)
reasons = st.sampled_from(RoleReason)
ballots = st.builds(Ballot, nodes, st.just(BOOT), st.integers(0, 4))
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(
        Heartbeat,
        name=st.sampled_from(NAMES),
        reason=reasons,
        role_age_ms=st.integers(0, 5000),
        heard=st.lists(
            st.builds(
                Heard,
                node=nodes,
                sequence_low=st.integers(0, 9),
                age_us=st.integers(0, 9),
            ),
            max_size=2,
        ).map(tuple),
        config_hash=st.integers(0, 1),
    ),
    st.builds(Probe, destination=nodes, nonce=st.integers(0, 9)),
    st.builds(ProbeAck, destination=nodes, nonce=st.integers(0, 9)),
    st.builds(Election, kind=st.sampled_from(ElectionKind), ballot=ballots, proposed_term=terms),
    st.builds(
        Answer,
        destination=nodes,
        ballot=ballots,
        objection=st.none()
        | st.builds(
            Objection,
            code=st.sampled_from(ObjectionCode),
            remaining_ms=st.integers(0, 500),
            term=terms,
        ),
    ),
    st.builds(Coordinator, ballot=ballots),
    st.builds(Resign, phase=st.sampled_from(ResignPhase), ballot=ballots, successor=nodes),
    st.builds(Goodbye, reason=reasons),
)
stamps = st.builds(Stamp, st.builds(Hlc, counts.map(lambda n: n >> 15), st.just(0xFFFF)), counts)
headers = st.builds(
    Header,
    sender=nodes,
    boot=st.sampled_from([boot_id(1, 2), boot_id(2, 1)]),
    sequence=st.integers(1, 1 << 64),
    group=st.sampled_from([*GROUPS, GroupId(7)]),
    path=st.just(0),
    flags=st.sampled_from([Flag.NONE, Flag.ELECTABLE]),
    term=terms,
    master=st.none() | nodes,
    state=st.sampled_from(State),
    base_priority=st.just(Priority(100)),
    priority=st.sampled_from([Priority(0), Priority(100)]),
    interval_ms=st.sampled_from([200, 1000]),
    timeout_ms=st.sampled_from([0, 650, 3250]),
    stamp=stamps,
)
addresses: st.SearchStrategy[IPAddress] = st.sampled_from([item.ip for item in ADDRESSES])
occasions: st.SearchStrategy[Event | Datagram] = st.one_of(
    st.builds(Datagram, headers, bodies),
    st.builds(Datagram, headers, bodies),
    st.builds(Datagram, headers, bodies),
    st.just(Tick()),
    st.builds(LinkChanged, st.just("eth0"), st.sampled_from([True, True, False])),
    st.builds(AddressRemoved, st.just("eth0"), addresses),
    st.builds(ForeignAddressSeen, st.just("eth0"), addresses, st.just("02:00:00:00:00:09")),
    st.just(BackendsObserved(reachable=False, backends=(), trouble="is down")),
    st.builds(SettingsChanged, configurations),
    st.just(SettingsRejected("line 3: priority: too large")),
    st.just(StopRequested()),
)
pauses = st.sampled_from([0, 1, 5, 20, 30, 100, 250, 1000, 5000]).map(milliseconds)
lives = st.lists(st.tuples(pauses, occasions, st.booleans()), min_size=5, max_size=40)


class Life:
    """One agent, a kernel that does or refuses, and peers that answer every challenge."""

    def __init__(self, configuration: AgentSettings) -> None:
        self.agent = Agent(configuration, BOOT, {}, Random(1))
        self.now = MonoNs(0)
        self.held: set[IPInterface] = set()
        self.terms: dict[GroupId, Term] = {}
        self.done: list[Action] = []
        self.happens(LinkChanged("eth0", up=True))

    def passes(self, pause: DurationNs, *, in_time: bool) -> None:
        """Let time pass; the Ticks come when they are due, or the process stands still."""
        end = later(self.now, pause)
        while in_time and (due := self.agent.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.happens(Tick())
        self.now = end

    def happens(self, event: Event, *, kernel_works: bool = True) -> None:
        actions = self.agent.step(Moment(self.now, WallNs(self.now)), event)
        self.done += actions
        due = self.agent.deadline()
        assert due is None or due > self.now, "it would spin"
        for action in actions:
            self._perform(action, kernel_works=kernel_works)

    def receives(self, datagram: Datagram) -> None:
        source = IPv4Address("10.0.0.2")
        self.happens(
            DatagramReceived(path=0, source=source, received_at=self.now, datagram=datagram)
        )

    def _perform(self, action: Action, *, kernel_works: bool) -> None:
        match action:
            case SendDatagram(datagram):
                self._judge(datagram)
                self._prove(datagram)
            case ClaimAddress() if not kernel_works:
                self.happens(ActionFailed(action, 1, "refused"))
            case ClaimAddress(address=address):
                self.held.add(address)
                self.happens(ActionDone(action))
            case ReleaseAddress(address=address):
                self.held.discard(address)
                self.happens(ActionDone(action))
            case AnnounceAddress(address=address):
                assert address in self.held, "announced what it has not"
            case Finished():
                assert not self.held, "has finished and still has addresses"
            case _:
                pass

    def _judge(self, datagram: Datagram) -> None:
        encode(datagram, KEYRING, IPv4Address("10.0.0.1"))
        header = datagram.header
        assert header.term >= self.terms.get(header.group, 0), "the term fell"
        self.terms[header.group] = header.term
        if not header.state.owns_addresses:
            ours = ADDRESSES[GROUPS.index(header.group)]
            assert ours not in self.held, "said before it had released"

    def _prove(self, datagram: Datagram) -> None:
        if not isinstance(datagram.body, Probe):
            return
        for boot in (boot_id(1, 2), boot_id(2, 1)):
            header = Header(
                sender=datagram.body.destination,
                boot=boot,
                sequence=1,
                group=datagram.header.group,
                path=0,
                flags=Flag.NONE,
                term=Term(0),
                master=None,
                state=State.INIT,
                base_priority=Priority(100),
                priority=Priority(0),
                interval_ms=200,
                timeout_ms=650,
                stamp=Stamp(Hlc(0, 0), 0),
            )
            ack = ProbeAck(destination=node_id("lb1"), nonce=datagram.body.nonce)
            self.receives(Datagram(header, ack))


def lived(
    configuration: AgentSettings, life: list[tuple[DurationNs, Event | Datagram, bool]]
) -> Life:
    told = Life(configuration)
    for sequence, (pause, occasion, in_time) in enumerate(life, start=2):
        told.passes(pause, in_time=in_time)
        if isinstance(occasion, Datagram):
            told.receives(replace(occasion, header=replace(occasion.header, sequence=sequence)))
        else:
            told.happens(occasion, kernel_works=in_time)
    told.agent.status()
    return told


@given(configurations, lives)
@settings(max_examples=300, deadline=None)
def test_no_events_in_any_order_break_the_agent(
    configuration: AgentSettings, life: list[tuple[DurationNs, Event | Datagram, bool]]
) -> None:
    """It never raises, never asks for the past, never says what it cannot encode."""
    lived(configuration, life)


@given(configurations, lives)
@settings(max_examples=30, deadline=None)
def test_the_same_events_give_the_same_actions(
    configuration: AgentSettings, life: list[tuple[DurationNs, Event | Datagram, bool]]
) -> None:
    assert lived(configuration, life).done == lived(configuration, life).done


@given(configurations, lives, pauses)
@settings(max_examples=30, deadline=None)
def test_a_second_tick_at_the_same_instant_changes_nothing(
    configuration: AgentSettings,
    life: list[tuple[DurationNs, Event | Datagram, bool]],
    pause: DurationNs,
) -> None:
    told = lived(configuration, life)
    told.passes(pause, in_time=True)
    told.happens(Tick())
    before, due = len(told.done), told.agent.deadline()
    told.happens(Tick())

    assert (len(told.done), told.agent.deadline()) == (before, due)
