"""The whole agent, where the machines meet: words and their headers, twins, clocks, the end."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from random import Random

from haagent.core.actions import (
    Action,
    ClaimAddress,
    CountDiscard,
    Finished,
    Record,
    ReleaseAddress,
    ReserveTerm,
    SendDatagram,
    Severity,
)
from haagent.core.agent import Agent
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import (
    ActionDone,
    ActionFailed,
    BackendsObserved,
    DatagramReceived,
    Event,
    FailoverAsked,
    FileSettled,
    LinkChanged,
    RecordsKept,
    Steered,
    StopRequested,
    Tick,
)
from haagent.core.identity import (
    HEALTHY,
    Ballot,
    BootId,
    GroupId,
    Priority,
    Term,
    group_id,
    node_id,
)
from haagent.core.messages import (
    Body,
    Coordinator,
    Datagram,
    DiscardReason,
    Flag,
    Header,
    Heartbeat,
    Probe,
    ProbeAck,
    RoleReason,
    State,
)
from haagent.core.settings import (
    AgentSettings,
    Detection,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
)
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

WEB, MAIL = group_id("web"), group_id("mail")
SETTINGS = AgentSettings(
    node="lb1",
    cluster="example",
    heartbeat=HeartbeatSettings(
        paths=(PathSettings(interface="eth0"), PathSettings(interface="eth1")),
        detection=Detection.FIXED,
    ),
    groups=tuple(
        GroupSettings(
            name=name,
            priority=Priority(priority),
            interface="eth0",
            addresses=(IPv4Interface(address),),
        )
        for name, priority, address in [
            ("web", 200, "192.0.2.10/24"),
            ("mail", 50, "192.0.2.11/24"),
        ]
    ),
)
HEADER = Header(
    sender=node_id("lb2"),
    boot=BootId(1),
    sequence=0,
    group=WEB,
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
BEAT = Heartbeat(name="lb2", reason=RoleReason.FOLLOWING, role_age_ms=0, heard=(), config_hash=0)
BALLOT = Ballot(node_id("lb2"), BootId(1), 1)
SOURCE = IPv4Address("10.0.0.2")


class Stage:
    """The agent lb1, two groups, two paths; its interface is up."""

    def __init__(self) -> None:
        self.agent = Agent(SETTINGS, BootId(1), {WEB: Term(3)}, Random(1))
        self.sequence = 0
        self.first = self.happens(0, LinkChanged("eth0", up=True))

    def happens(self, ms: int, event: Event) -> list[Action]:
        return self.agent.step(Moment(MonoNs(milliseconds(ms)), WallNs(milliseconds(ms))), event)

    def hears(self, ms: int, body: Body = BEAT, header: Header = HEADER) -> list[Action]:
        self.sequence += 1
        datagram = Datagram(replace(header, sequence=self.sequence), body)
        received_at = MonoNs(milliseconds(ms))
        return self.happens(
            ms,
            DatagramReceived(path=0, source=SOURCE, received_at=received_at, datagram=datagram),
        )

    def meets(self, ms: int, header: Header = HEADER) -> list[Action]:
        """Return what follows when the challenge is answered."""
        (probe,) = sent(self.hears(ms, header=header), Probe)
        assert isinstance(probe.datagram.body, Probe)
        ack = ProbeAck(destination=node_id("lb1"), nonce=probe.datagram.body.nonce)
        return self.hears(ms, ack, header)

    def passes(self, until_ms: int) -> list[Action]:
        """Return what follows from all Ticks until then; the kernel does what it is asked."""
        actions: list[Action] = []
        while (due := self.agent.deadline()) is not None and due <= milliseconds(until_ms):
            step = self.agent.step(Moment(due, WallNs(due)), Tick())
            for action in [a for a in step if isinstance(a, ClaimAddress | ReleaseAddress)]:
                step += self.agent.step(Moment(due, WallNs(due)), ActionDone(action))
            actions += step
        return actions

    @property
    def alarms(self) -> list[str]:
        return [alarm.kind for alarm in self.agent.status().alarms]


def sent(actions: list[Action], body: type[Body]) -> list[SendDatagram]:
    sends = [action for action in actions if isinstance(action, SendDatagram)]
    return [send for send in sends if isinstance(send.datagram.body, body)]


def records(actions: list[Action]) -> list[str]:
    return [action.kind for action in actions if isinstance(action, Record)]


def test_every_group_says_itself_on_every_path_under_numbers_of_their_own() -> None:
    beats = [send.datagram.header for send in sent(Stage().first, Heartbeat)]

    assert [(beat.group, beat.path, beat.sequence) for beat in beats] == [
        (WEB, 0, 1),
        (WEB, 1, 2),
        (MAIL, 0, 3),
        (MAIL, 1, 4),
    ]


def test_a_header_tells_the_whole_view_of_the_sender() -> None:
    header = sent(Stage().first, Heartbeat)[0].datagram.header

    assert header == Header(
        sender=node_id("lb1"),
        boot=BootId(1),
        sequence=1,
        group=WEB,
        path=0,
        flags=Flag.NONE,
        term=Term(3),
        master=None,
        state=State.LISTEN,
        base_priority=Priority(200),
        priority=Priority(0),
        health=0,
        interval_ms=200,
        timeout_ms=650,
        stamp=header.stamp,
    )


def test_every_datagram_and_record_is_stamped_later_than_the_one_before() -> None:
    actions = Stage().first
    stamps = [send.datagram.header.stamp for send in sent(actions, Heartbeat)]
    stamps += [action.stamp for action in actions if isinstance(action, Record)]

    assert len({stamp.lamport for stamp in stamps}) == len(stamps)
    assert len({stamp.hlc for stamp in stamps}) == len(stamps)


def test_a_backup_speaks_less_often_and_promises_no_more() -> None:
    stage = Stage()
    stage.meets(300, replace(HEADER, priority=Priority(250), state=State.MASTER))
    beats = sent(stage.passes(2000), Heartbeat)
    web = [send.datagram.header for send in beats if send.datagram.header.group == WEB]

    assert {header.interval_ms for header in web} == {1000}
    assert {header.timeout_ms for header in web} == {3250}


def test_terms_are_reserved_ahead_and_again_when_half_are_used() -> None:
    stage = Stage()
    assert [a for a in stage.first if isinstance(a, ReserveTerm)] == [
        ReserveTerm(WEB, Term(11)),
        ReserveTerm(MAIL, Term(8)),
    ]

    stage.meets(300)
    unchanged = stage.hears(310, header=replace(HEADER, term=Term(7)))
    renewed = stage.hears(320, header=replace(HEADER, term=Term(8)))

    assert [a for a in unchanged if isinstance(a, ReserveTerm)] == []
    assert [a for a in renewed if isinstance(a, ReserveTerm)] == [ReserveTerm(WEB, Term(16))]


def test_terms_that_cannot_be_written_are_an_alarm_until_they_can() -> None:
    stage = Stage()
    reserve = ReserveTerm(WEB, Term(8))
    stage.happens(10, ActionFailed(reserve, 28, "no space left on device"))
    raised = stage.alarms
    stage.happens(20, ActionDone(reserve))

    assert (raised, stage.alarms) == (["state.unwritable"], [])


def test_terms_that_could_not_be_written_are_written_again_five_seconds_later() -> None:
    stage = Stage()
    reserve = ReserveTerm(WEB, Term(11))
    assert reserve in stage.first
    stage.happens(10, ActionFailed(reserve, 28, "no space left on device"))

    assert [a for a in stage.passes(5009) if isinstance(a, ReserveTerm)] == []
    assert [a for a in stage.passes(10_000) if isinstance(a, ReserveTerm)] == [reserve]


def test_anybody_of_the_cluster_is_told_that_we_are_alive() -> None:
    """Even one that has proven nothing to us: else nobody could begin."""
    actions = Stage().hears(10, Probe(destination=node_id("lb1"), nonce=77))
    (ack,) = sent(actions, ProbeAck)

    assert ack.destination == SOURCE
    assert ack.datagram.body == ProbeAck(destination=node_id("lb2"), nonce=77)


def test_a_probe_for_another_is_left_to_that_other() -> None:
    stage = Stage()
    actions = stage.hears(10, Probe(destination=node_id("lb3"), nonce=77))

    assert sent(actions, ProbeAck) == []
    assert CountDiscard(SOURCE, DiscardReason.OTHER_DESTINATION) in actions


def test_a_group_that_is_not_ours_is_counted_and_no_more() -> None:
    actions = Stage().hears(10, header=replace(HEADER, group=GroupId(7)))

    assert actions == [CountDiscard(SOURCE, DiscardReason.UNKNOWN_GROUP)]


def test_an_unproven_master_is_not_believed() -> None:
    """A capture of an old boot, played back with every datagram of it."""
    stage = Stage()
    master = replace(HEADER, state=State.MASTER, priority=Priority(250), term=Term(99))
    stage.hears(300, header=master)
    actions = stage.hears(310, Coordinator(ballot=BALLOT), header=master)

    assert CountDiscard(SOURCE, DiscardReason.UNPROVEN) in actions
    assert stage.agent.status().groups[0].role.master is None
    assert stage.agent.status().groups[0].role.term == 3


def test_a_peer_whose_clock_runs_ahead_is_an_alarm_and_does_not_move_ours() -> None:
    stage = Stage()
    stage.meets(300)
    ahead = Stamp(Hlc(10_311, 0), 0)
    stage.hears(310, header=replace(HEADER, stamp=ahead))
    actions = stage.passes(500)

    assert "clock.skew" in stage.alarms
    assert sent(actions, Heartbeat)[0].datagram.header.stamp.hlc.ms == 500


def test_a_peer_ten_seconds_ahead_is_none() -> None:
    stage = Stage()
    stage.meets(300)
    stage.hears(310, header=replace(HEADER, stamp=Stamp(Hlc(10_310, 0), 0)))

    assert "clock.skew" not in stage.alarms


def newest(stage: Stage, ms: int, *, up: bool) -> Record:
    """Have the agent record something, and return that."""
    (record, *_) = [a for a in stage.happens(ms, LinkChanged("eth0", up=up)) if type(a) is Record]
    return record


def stamped(lamport: int) -> Header:
    return replace(HEADER, stamp=Stamp(Hlc(0, 0), lamport))


def test_a_record_says_of_which_counts_of_others_was_heard_by_then() -> None:
    stage = Stage()
    stage.meets(300, stamped(40))
    stage.hears(310, header=stamped(70))
    stage.hears(320, header=stamped(60))  # overtaken on the way

    assert newest(stage, 330, up=False).heard == (("lb2", 70),)


def test_what_was_not_admitted_was_not_heard() -> None:
    """Anybody with an old capture could else say that we knew of anything."""
    stage = Stage()
    stage.meets(300, stamped(40))
    stage.hears(310)
    stage.sequence = 0
    stage.hears(320, header=stamped(50))  # a replay
    stage.hears(330, header=replace(stamped(60), sender=node_id("lb3")))
    stage.hears(340, header=replace(stamped(60), sender=node_id("lb1"), boot=BootId(9)))

    assert newest(stage, 350, up=False).heard == (("lb2", 0),)


def test_what_an_earlier_boot_had_heard_is_known_still() -> None:
    stage = Stage()
    stage.agent = Agent(SETTINGS, BootId(2), {}, Random(1), heard={"lb2": 90, "lb3": 7})
    stage.happens(0, LinkChanged("eth0", up=True))
    stage.meets(300, stamped(40))
    stage.hears(310)

    assert newest(stage, 330, up=False).heard == (("lb2", 90), ("lb3", 7))


def test_another_configuration_is_an_alarm_that_ends_by_itself_when_nobody_repeats_it() -> None:
    stage = Stage()
    stage.meets(300)
    stage.hears(310)
    raised = stage.alarms
    stage.passes(30_310)

    assert (raised, stage.alarms) == (["config.differs"], [])


def test_the_two_groups_of_an_agent_go_their_own_ways() -> None:
    """Active/active: each agent is the better one for one of two addresses."""
    stage = Stage()
    stage.meets(300, replace(HEADER, group=MAIL, state=State.MASTER))
    stage.passes(1100)
    states = [group.role.state for group in stage.agent.status().groups]

    assert states == [State.MASTER, State.BACKUP]


def test_the_trouble_of_haproxy_is_an_alarm_until_it_is_over() -> None:
    stage = Stage()
    stage.happens(10, BackendsObserved(reachable=False, backends=(), trouble="no socket"))
    raised = stage.alarms
    stage.happens(20, BackendsObserved(reachable=True, backends=(), trouble=""))

    assert (raised, stage.alarms) == (["haproxy.trouble"], [])


def test_records_that_cannot_be_written_are_an_alarm_and_the_lost_ones_a_record() -> None:
    stage = Stage()
    stage.happens(10, RecordsKept(trouble="disk full", lost=0, damage=""))
    raised = stage.alarms
    stage.happens(20, RecordsKept(trouble="", lost=3, damage=""))
    records = [(each.kind, each.severity) for each in stage.agent.status().records]

    assert (raised, stage.alarms) == (["events.unwritable"], [])
    assert records[-2:] == [
        ("events.unwritable.cleared", Severity.NOTICE),
        ("events.lost", Severity.WARNING),
    ]


def test_a_damaged_file_of_records_is_told_of_once_and_is_no_alarm() -> None:
    stage = Stage()
    stage.happens(10, RecordsKept(trouble="", lost=0, damage="events.db: kept aside"))
    last = stage.agent.status().records[-1]

    assert (last.kind, last.text) == ("events.damaged", "events.db: kept aside")
    assert (last.severity, stage.alarms) == (Severity.WARNING, [])


def test_an_agent_counts_on_from_what_the_process_before_it_has_recorded() -> None:
    agent = Agent(SETTINGS, BootId(1), {}, Random(1), lamport=700)
    agent.step(Moment(MonoNs(0), WallNs(0)), LinkChanged("eth0", up=False))

    assert agent.status().records[0].stamp.lamport == 701


def test_a_file_of_haproxy_that_fails_is_an_alarm_of_its_own_until_one_is_written() -> None:
    stage = Stage()
    stage.happens(10, BackendsObserved(reachable=True, backends=(), trouble="a1 is missing"))
    stage.happens(20, FileSettled(trouble="haproxy.cfg: no space", news=""))
    raised = stage.alarms
    stage.happens(30, FileSettled(trouble="", news="haproxy.cfg has 2 servers"))
    records = [(each.kind, each.text) for each in stage.agent.status().records]

    assert (raised, stage.alarms) == (["haproxy.file", "haproxy.trouble"], ["haproxy.trouble"])
    assert records[-1] == ("haproxy.written", "haproxy.cfg has 2 servers")


def test_a_file_that_was_right_already_is_no_news() -> None:
    stage = Stage()
    before = len(stage.agent.status().records)
    stage.happens(10, FileSettled(trouble="", news=""))

    assert len(stage.agent.status().records) == before


def test_a_stop_ends_when_every_group_is_released_and_all_is_said() -> None:
    stage = Stage()
    stage.passes(1000)
    begun = stage.happens(1100, StopRequested())
    ended = stage.passes(1200)

    assert Finished() not in begun
    assert [action for action in begun if isinstance(action, ReleaseAddress)] != []
    assert ended[-1] == Finished()
    assert stage.agent.deadline() is None
    assert stage.happens(2000, Tick()) == []


def test_an_early_tick_changes_nothing() -> None:
    stage = Stage()
    due = stage.agent.deadline()
    assert due is not None

    assert stage.agent.step(Moment(MonoNs(due - 1), WallNs(0)), Tick()) == []
    assert stage.agent.deadline() == due


def test_nothing_is_asked_for_before_the_interface_is_there() -> None:
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))
    now = Moment(MonoNs(0), WallNs(0))

    assert agent.deadline() is None
    assert records(agent.step(now, LinkChanged("eth1", up=True))) == []
    assert agent.deadline() is None
    assert agent.status().groups[0].role.state is State.INIT


def test_what_led_to_a_mastership_explains_no_later_change() -> None:
    stage = Stage()
    master = replace(HEADER, priority=Priority(250), state=State.MASTER, timeout_ms=650)
    stage.meets(300, master)
    dies = [a for a in stage.passes(1100) if isinstance(a, Record)]
    again = [a for a in stage.hears(1200, header=master) if isinstance(a, Record)]

    death = next(record for record in dies if record.kind == "peer.dead")
    won = next(record for record in dies if "-> master: the master fell" in record.text)
    lost = next(record for record in again if "master -> backup" in record.text)
    follows = next(record for record in again if record.kind == "master.changed")
    by_number = {record.number: record for record in dies}
    assert won.cause is not None
    assert by_number[won.cause].cause == death.number
    assert (lost.cause, follows.cause) == (None, lost.number)


def test_what_the_operator_wants_is_told_to_the_peers_at_once() -> None:
    stage = Stage()
    stage.passes(1450)

    told = sent(stage.happens(1460, Steered(maintenance=True, paused=True)), Heartbeat)

    headers = [each.datagram.header for each in told]
    assert {(header.group, header.path) for header in headers} == {
        (group, path) for group in (WEB, MAIL) for path in (0, 1)
    }
    assert {(header.priority, header.electable, header.paused) for header in headers} == {
        (0, False, True)
    }


def test_who_has_not_begun_says_nothing_when_it_is_steered() -> None:
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))

    actions = agent.step(Moment(MonoNs(0), WallNs(0)), Steered(maintenance=True, paused=True))

    assert [each for each in actions if isinstance(each, SendDatagram)] == []


def test_a_failover_that_nothing_came_of_explains_no_later_change() -> None:
    stage = Stage()
    stage.meets(100)
    stage.passes(1000)

    asked = stage.happens(1001, FailoverAsked(WEB, HEADER.sender))
    before = stage.agent.status().groups[0].role.state
    later_on = stage.happens(1002, LinkChanged("eth0", up=False))

    (wish,) = [each for each in asked if isinstance(each, Record)]
    assert wish.kind == "failover.asked"
    assert before is not State.RESIGNING
    changes = [each for each in later_on if isinstance(each, Record) and each.group == "web"]
    assert [each.kind for each in changes] == ["role.changed"]
    assert changes[0].cause != wish.number


def test_a_failover_of_a_group_or_to_an_agent_that_is_not_known_is_nothing() -> None:
    stage = Stage()
    stage.meets(100)

    assert stage.happens(101, FailoverAsked(GroupId(7), HEADER.sender)) == []
    assert stage.happens(102, FailoverAsked(WEB, node_id("lb7"))) == []
