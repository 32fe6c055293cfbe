"""Any events in any order: the agent goes on, keeps its promises, and does the same again."""

from collections import deque
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from random import Random

from hypothesis import given, settings, strategies as st

from haagent.core.actions import (
    AckNode,
    Action,
    AnnounceAddress,
    CancelHook,
    ClaimAddress,
    CloseFence,
    Finished,
    OpenFence,
    ReleaseAddress,
    RunHook,
    SendDatagram,
)
from haagent.core.agent import Agent
from haagent.core.checks import CheckSettings, Consequence, FileCheck
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    AddressRemoved,
    BackendsObserved,
    CheckReported,
    DatagramReceived,
    Event,
    FailoverAsked,
    FileSettled,
    ForeignAddressSeen,
    HookEnded,
    HostAnswered,
    LinkChanged,
    NodeHeard,
    NodesHeard,
    ProcessEnded,
    RecordsKept,
    SettingsChanged,
    SettingsRejected,
    Steered,
    StopRequested,
    Tick,
)
from haagent.core.identity import (
    HEALTHY,
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
    Load,
    NodeAck,
    NodeHeartbeat,
    Objection,
    ObjectionCode,
    Probe,
    ProbeAck,
    ProbeRequest,
    ProbeResult,
    Resign,
    ResignPhase,
    RoleReason,
    Service,
    State,
)
from haagent.core.ownership import AddressAction
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    BeforeClaim,
    GroupHooks,
    GroupSettings,
    HAProxySettings,
    HeartbeatSettings,
    IPAddress,
    IPInterface,
    NodeServersSettings,
    NodesSettings,
    PathSettings,
    Policy,
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
OTHERS = [
    (),
    (IPv4Interface("192.0.2.20/24"), IPv4Interface("192.0.2.22/24")),
    (IPv4Interface("192.0.2.20/32"),),
]
"""What the second group has beside its address."""
BOOT = boot_id(1, 1)
SERVER = ServerSettings(
    name="app1",
    address=IPv4Address("10.0.1.1"),
    port=80,
    when=When.MASTER,
    group=GROUPS[0],
    of="lb2",
)

BEFORE = BeforeClaim(command=("mount",), timeout=milliseconds(100))
"""What the second group waits for, which may end, or fail, or be silent."""

CHECKS = tuple(
    CheckSettings(name=each.value, what=FileCheck("/-"), timeout=milliseconds(500), on_fail=each)
    for each in Consequence
)

SOURCE, GATEWAY = IPv4Address("10.0.0.2"), IPv4Address("10.0.0.254")


def agent_settings(
    *,
    preempt: Preempt,
    priority: int,
    names: list[str],
    interface: str,
    others: tuple[IPInterface],
    checks: tuple[CheckSettings, ...],
    policy: Policy | None,
) -> AgentSettings:
    nodes_of = None if policy is None else NodeServersSettings(service="app", policy=policy)
    servers = (SERVER,) if "web" in names else ()
    beside = {"web": (), "mail": others}
    return AgentSettings(
        node="lb1",
        cluster="example",
        heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0", reference=GATEWAY),)),
        groups=tuple(
            GroupSettings(
                name=name,
                priority=Priority(priority),
                interface=interface,
                addresses=(address, *beside[name]),
                preempt=preempt,
                preempt_after=milliseconds(300),
                hooks=GroupHooks(before_claim=BEFORE) if name == "mail" else GroupHooks(),
                checks=checks if name == "web" else (),
            )
            for name, address in zip(["web", "mail"], ADDRESSES, strict=True)
            if name in names
        ),
        haproxy=HAProxySettings(
            socket="/run/haproxy.sock",
            backends=(BackendSettings(name="app", servers=servers, nodes=nodes_of),),
        ),
        nodes=None if policy is None else NodesSettings(),
    )


@dataclass(frozen=True, kw_only=True)
class Instant:
    """After a pause a peer says something, and something else happens."""

    pause: DurationNs
    datagram: Datagram
    event: Event
    fleet: tuple[NodeHeartbeat, ...]
    """What app nodes say, all that are asked having answered."""
    stalled: bool
    """Whether the process stood still meanwhile."""


configurations = st.builds(
    agent_settings,
    preempt=st.sampled_from(Preempt),
    priority=st.sampled_from([50, 200]),
    names=st.sampled_from([["web", "mail"], ["web", "mail"], ["web"], ["mail"]]),
    interface=st.sampled_from(["eth0", "eth0", "eth1"]),
    others=st.sampled_from(OTHERS),
    checks=st.sampled_from([(), CHECKS, CHECKS[:1]]),
    policy=st.none() | st.sampled_from(Policy),
)
app_words = st.builds(
    NodeHeartbeat,
    sender=st.sampled_from([node_id(f"app{number}") for number in range(8)]),
    boot=st.sampled_from([boot_id(1, 0)] * 9 + [boot_id(2, 0)]),
    sequence=st.integers(1, 1 << 64),
    path=st.just(0),
    interval_ms=st.sampled_from([1000, 1000, 1, 65_535]),
    nonce=st.just(0),
    leaving=st.sampled_from([False] * 9 + [True]),
    load=st.builds(
        Load,
        cpu_permille=st.integers(0, 1000),
        memory_permille=st.integers(0, 1000),
        queue_percent=st.integers(0, 65_535),
    ),
    name=st.just("app"),
    node_class=st.sampled_from(["default", "other"]),
    address=st.sampled_from([IPv4Address("10.0.2.1"), IPv4Address("10.0.2.2")]),
    services=st.lists(
        st.builds(
            Service,
            name=st.sampled_from(["app", "app", "api"]),
            port=st.just(80),
            weight=st.sampled_from([0, 1, 100, 256]),
            healthy=st.booleans(),
        ),
        max_size=1,
    ).map(tuple),
)
fleets = st.lists(app_words, min_size=1, max_size=8).map(tuple)
nodes = st.sampled_from([node_id(name) for name in [*NAMES, *(NAMES[1:] * 4)]])
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
                age_us=st.integers(0, 9) | st.integers(0, 1_000_000),
                by_unicast_only=st.booleans(),
            ),
            max_size=2,
        ).map(tuple),
        config_hash=st.integers(0, 1),
    ),
    st.builds(Probe, destination=nodes, nonce=st.integers(0, 9)),
    st.builds(ProbeAck, destination=nodes, nonce=st.integers(0, 9)),
    st.builds(ProbeRequest, destination=nodes, target=nodes),
    st.builds(
        ProbeResult,
        destination=nodes,
        heard=st.lists(
            st.builds(
                Heard,
                node=nodes,
                sequence_low=st.integers(0, 9),
                age_us=st.integers(0, 1_000_000),
            ),
            max_size=1,
        ).map(tuple),
    ),
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
    boot=st.sampled_from([boot_id(1, 2)] * 9 + [boot_id(2, 1)]),
    sequence=st.integers(1, 1 << 64),
    group=st.sampled_from([GROUPS[0]] * 8 + [GROUPS[1], GroupId(7)]),
    path=st.just(0),
    flags=st.sampled_from(
        [
            Flag.NONE,
            *[Flag.ELECTABLE] * 4,
            Flag.ELECTABLE | Flag.UNICAST,
            Flag.ELECTABLE | Flag.CHOSEN,
            Flag.PAUSED,
        ]
    ),
    term=terms,
    master=st.none() | nodes,
    state=st.sampled_from([*State, State.MASTER, State.BACKUP]),
    base_priority=st.just(Priority(100)),
    priority=st.sampled_from([Priority(0), Priority(100)]),
    health=st.sampled_from([0, 99, HEALTHY]),
    interval_ms=st.sampled_from([200, 1000]),
    timeout_ms=st.sampled_from([650, 3250, 0]),
    stamp=stamps,
)
sources: st.SearchStrategy[IPAddress] = st.sampled_from([SOURCE, GATEWAY])
interfaces = st.sampled_from(["eth0", "eth0", "eth1"])
addresses: st.SearchStrategy[IPAddress] = st.sampled_from([item.ip for item in ADDRESSES])
happenings: st.SearchStrategy[Event] = st.one_of(
    st.just(Tick()),
    st.builds(LinkChanged, interfaces, st.sampled_from([True, True, True, False])),
    st.builds(AddressRemoved, interfaces, addresses),
    st.builds(ForeignAddressSeen, interfaces, addresses, st.just("02:00:00:00:00:09")),
    st.builds(HostAnswered, st.just(0), sources, st.just("ARP")),
    st.builds(ProcessEnded, st.just(0), sources),
    st.builds(
        Steered,
        maintenance=st.booleans(),
        paused=st.booleans(),
        until=st.none() | st.integers(0, (1 << 63) - 1).map(WallNs),
    ),
    st.builds(FailoverAsked, st.sampled_from(GROUPS), nodes),
    st.just(BackendsObserved(reachable=False, backends=(), trouble="is down")),
    st.builds(
        CheckReported,
        group=st.just(GROUPS[0]),
        check=st.sampled_from(CHECKS),
        passed=st.sampled_from([True, True, False]),
        text=st.just("it is so"),
    ),
    st.builds(
        RecordsKept,
        trouble=st.sampled_from(["", "disk full"]),
        lost=st.integers(0, 3),
        damage=st.sampled_from(["", "set aside"]),
    ),
    st.builds(FileSettled, trouble=st.sampled_from(["", "disk full"]), news=st.just("written")),
    st.builds(SettingsChanged, configurations),
    st.builds(SettingsChanged, configurations),
    st.just(SettingsRejected("line 3: priority: too large")),
)
pauses = st.sampled_from([0, 0, 1, 1, 5, 5, 20, 30, 100, 250, 1000, 5000]).map(milliseconds)
moments = st.builds(
    Instant,
    pause=pauses,
    datagram=st.builds(Datagram, headers, bodies),
    event=st.sampled_from([Tick(), Tick()]) | happenings,
    fleet=st.just(()) | fleets,
    stalled=st.sampled_from([False] * 9 + [True]),
)
stories = st.tuples(st.lists(moments, min_size=10, max_size=30), st.lists(moments, max_size=5))


Story = tuple[list[Instant], list[Instant]]
"""What happens before the agent is told to stop, and what happens then."""


class Life:
    """One agent, a kernel that does or refuses, and peers that answer every challenge."""

    def __init__(self, configuration: AgentSettings) -> None:
        self.agent = Agent(configuration, BOOT, {}, Random(1))
        self.now = MonoNs(0)
        self.timing = configuration.heartbeat
        self.held: dict[tuple[str, IPAddress], GroupId] = {}
        """Which group put an address on an interface."""
        self.opened: set[tuple[str, IPAddress]] = set()
        """Whose fence was opened, lapsed or not, and not closed since."""
        self.beats: dict[GroupId, MonoNs] = {}
        """When a master of each group last sent a heartbeat; none when it is no master."""
        self.terms: dict[GroupId, Term] = {}
        self.done: list[Action] = []
        self.speaker: Header | None = None
        """Who spoke last, and so is challenged, if anybody."""
        self.fleet: dict[NodeId, NodeHeartbeat] = {}
        """What each app node said last."""
        self.nonces: dict[NodeId, int] = {}
        self.awaited: dict[str, RunHook] = {}
        """What must not be overtaken by a claim, by its queue."""
        self._events: deque[Event] = deque()
        self.refuses = False
        for interface in ("eth0", "eth1"):
            self.happens(LinkChanged(interface, up=True))

    def passes(self, pause: DurationNs, *, stalled: bool) -> None:
        """Let time pass; the Ticks come when they are due, or the process stands still."""
        end = later(self.now, pause)
        while not stalled and (due := self.agent.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.happens(Tick())
        self.now = end

    def happens(self, event: Event) -> None:
        """Step, and perform in order; what follows from an action is an event of its own."""
        self._events.append(event)
        while self._events:
            stalled = self._is_stalled()
            served = self._served()
            event = self._events.popleft()
            if isinstance(event, SettingsChanged):
                served |= places(event.settings)
            actions = self.agent.step(Moment(self.now, WallNs(self.now)), event)
            self.done += actions
            due = self.agent.deadline()
            assert due is None or due > self.now, "it would spin"
            assert not stalled or isinstance(actions[0], CloseFence), "did not stop first"
            for action in actions:
                self._perform(action, served)
        assert self.held.keys() <= self._served(), "has forgotten an address"

    def _served(self) -> set[tuple[str, IPAddress]]:
        """Return the places that the agent knows of; only there it can do anything."""
        groups = self.agent.status().groups
        return {(g.interface, each.address.ip) for g in groups for each in g.addresses}

    def receives(self, datagram: Datagram) -> None:
        self.speaker = datagram.header
        self.happens(received(datagram, self.now))

    def hears(self, fleet: tuple[NodeHeartbeat, ...]) -> None:
        """App nodes speak; whoever is asked answers with the nonce."""
        self.fleet |= {heartbeat.sender: heartbeat for heartbeat in fleet}
        self.happens(NodesHeard(tuple(self._heard(heartbeat) for heartbeat in fleet)))

    def heard_again(self, ack: NodeAck) -> NodesHeard:
        said = self.fleet[ack.destination]
        return NodesHeard(
            (self._heard(replace(said, sequence=said.sequence + 1, nonce=ack.nonce)),)
        )

    def _heard(self, heartbeat: NodeHeartbeat) -> NodeHeard:
        nonce = heartbeat.nonce or self.nonces.get(heartbeat.sender, 0)
        return NodeHeard(
            source=SOURCE,
            port=6941,
            way=0,
            received_at=self.now,
            heartbeat=replace(heartbeat, nonce=nonce),
        )

    def hooks_end(self, *, ok: bool) -> None:
        """All that is waited for has ended."""
        ended, self.awaited = self.awaited, {}
        for hook in ended.values():
            self.happens(HookEnded(action=hook, ok=ok, text="", took=DurationNs(0)))

    def _perform(self, action: Action, served: set[tuple[str, IPAddress]]) -> None:
        match action:
            case ClaimAddress() | ReleaseAddress() | OpenFence() | CloseFence() | AnnounceAddress():
                place = action.interface, action.address.ip
                assert place in served, "touches what it does not serve"
                self._change(action, place)
            case SendDatagram(datagram):
                self._judge(datagram)
                self._prove(datagram)
            case AckNode(ack=ack) if ack.nonce != self.nonces.get(ack.destination):
                self.nonces[ack.destination] = ack.nonce
                self._events.append(self.heard_again(ack))
            case RunHook(kind="before_claim"):
                assert action.queue not in self.awaited, "waits for two at once"
                self.awaited[action.queue] = action
            case CancelHook(hook):
                assert self.awaited.pop(hook.queue) == hook, "ended what does not run"
            case Finished():
                assert not self.held, "has finished and still has addresses"
                assert not self.awaited, "has finished and still waits"
            case _:
                pass

    def _change(self, action: AddressAction, place: tuple[str, IPAddress]) -> None:
        match action:
            case ClaimAddress(group=group) if group == GROUPS[1] and self.awaited:
                raise AssertionError("claims while it waits")
            case OpenFence(group=group, until=until):
                assert place in self.held, "opened what it has not"
                assert until == later(self.beats[group], self.timing.lease), "opened for too long"
                self.opened.add(place)
            case CloseFence():
                self.opened.discard(place)
            case ClaimAddress() | ReleaseAddress() if place in self.opened:
                raise AssertionError("an address comes and goes behind a closed fence")
            case ClaimAddress() if self.refuses:
                self._events.append(ActionFailed(action, 1, "refused"))
            case ClaimAddress(group=group):
                self.held[place] = group
                self._events.append(ActionDone(action))
            case ReleaseAddress():
                self.held.pop(place, None)
                self._events.append(ActionDone(action))
            case AnnounceAddress():
                assert place in self.held, "announced what it has not"

    def _judge(self, datagram: Datagram) -> None:
        encode(datagram, KEYRING, IPv4Address("10.0.0.1"))
        header = datagram.header
        assert header.term >= self.terms.get(header.group, 0), "the term fell"
        self.terms[header.group] = header.term
        if not header.state.owns_addresses:
            assert header.group not in self.held.values(), "said before it had released"
            self.beats.pop(header.group, None)
        elif isinstance(datagram.body, Heartbeat):
            self.beats[header.group] = self.now

    def _is_stalled(self) -> bool:
        """Return whether the peers of a master that holds an address have waited in vain."""
        return bool(self.held) and any(
            self.now >= later(beat, self.timing.takeover) for beat in self.beats.values()
        )

    def _prove(self, datagram: Datagram) -> None:
        if isinstance(datagram.body, Probe) and self.speaker is not None:
            header = replace(self.speaker, sequence=1, state=State.BACKUP)
            ack = ProbeAck(destination=node_id("lb1"), nonce=datagram.body.nonce)
            self._events.append(received(Datagram(header, ack), self.now))


def places(configuration: AgentSettings) -> set[tuple[str, IPAddress]]:
    return {
        (group.interface, address.ip)
        for group in configuration.groups
        for address in group.addresses
    }


def received(datagram: Datagram, now: MonoNs) -> DatagramReceived:
    return DatagramReceived(path=0, source=SOURCE, received_at=now, datagram=datagram)


def beat(name: str) -> Datagram:
    header = Header(
        sender=node_id(name),
        boot=boot_id(1, 2),
        sequence=1,
        group=GROUPS[0],
        path=0,
        flags=Flag.ELECTABLE,
        term=Term(0),
        master=None,
        state=State.BACKUP,
        base_priority=Priority(100),
        priority=Priority(100),
        health=HEALTHY,
        interval_ms=1000,
        timeout_ms=3250,
        stamp=Stamp(Hlc(0, 0), 0),
    )
    heartbeat = Heartbeat(
        name=name, reason=RoleReason.FOLLOWING, role_age_ms=0, heard=(), config_hash=0
    )
    return Datagram(header, heartbeat)


def lived(configuration: AgentSettings, story: Story) -> Life:
    told = Life(configuration)
    for peer in NAMES[1:]:
        told.receives(beat(peer))
    before, after = story
    sequence = 2
    for part in (before, after):
        for instant in part:
            told.passes(instant.pause, stalled=instant.stalled)
            header = replace(instant.datagram.header, sequence=(sequence := sequence + 1))
            told.receives(replace(instant.datagram, header=header))
            told.refuses = instant.stalled
            told.happens(instant.event)
            if instant.fleet:
                told.hears(instant.fleet)
            if sequence % 3:
                told.hooks_end(ok=sequence % 3 == 1)
        told.happens(StopRequested())
    told.agent.status()
    return told


@given(configurations, stories)
@settings(max_examples=300, deadline=None)
def test_no_events_in_any_order_break_the_agent(configuration: AgentSettings, story: Story) -> None:
    """It never raises, never asks for the past, never says what it cannot encode."""
    lived(configuration, story)


@given(configurations, stories)
@settings(max_examples=30, deadline=None)
def test_the_same_events_give_the_same_actions(configuration: AgentSettings, story: Story) -> None:
    assert lived(configuration, story).done == lived(configuration, story).done


@given(configurations, stories, pauses)
@settings(max_examples=30, deadline=None)
def test_a_second_tick_at_the_same_instant_changes_nothing(
    configuration: AgentSettings,
    story: Story,
    pause: DurationNs,
) -> None:
    told = lived(configuration, story)
    told.passes(pause, stalled=False)
    told.happens(Tick())
    before, due = len(told.done), told.agent.deadline()
    told.happens(Tick())

    assert (len(told.done), told.agent.deadline()) == (before, due)
