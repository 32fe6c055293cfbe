"""App nodes as the registry has them: what the stories of ``tests/scenarios`` do not tell."""

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest

from haagent.core.actions import AckNode, Action, AskHost, CountDiscard
from haagent.core.clocks import Clocks
from haagent.core.events import NodeHeard, NodesHeard
from haagent.core.fleet.node import Pace, Standing, fleet_pace_ms
from haagent.core.fleet.registry import OVERTAKEN, REMEMBERED, Registry
from haagent.core.hooks import Hooks
from haagent.core.identity import boot_id, node_id
from haagent.core.journal import Journal
from haagent.core.messages import DiscardReason, Load, NodeHeartbeat, Service
from haagent.core.settings import NodeClassSettings, NodesSettings
from haagent.core.status import NodeStatus
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds, seconds

SOURCE = IPv4Address("192.0.2.21")
GATEWAY = IPv4Address("192.0.2.1")
CLASS = NodeClassSettings(rise=1)
HEARTBEAT = NodeHeartbeat(
    sender=node_id("app1"),
    boot=boot_id(5, 0),
    sequence=100,
    path=0,
    interval_ms=1000,
    nonce=0,
    leaving=False,
    load=Load(cpu_permille=0, memory_permille=0, queue_percent=0),
    name="app1",
    node_class="default",
    address=SOURCE,
    services=(Service(name="app", port=80, weight=100, healthy=True),),
)


class Stage:
    """A registry at a time, and what it does about heartbeats."""

    def __init__(self, *classes: NodeClassSettings) -> None:
        self.journal = Journal(Clocks())
        self.now = MonoNs(0)
        self.registry = Registry(
            settings=NodesSettings(classes=classes or (CLASS,)),
            agent=(node_id("lb1"), "lb1"),
            journal=self.journal,
            hooks=Hooks(self.journal),
            random=Random(1),
            references=[(0, GATEWAY)],
            begun=self.now,
        )

    def hear(self, heartbeat: NodeHeartbeat, age_ms: int = 0) -> list[Action]:
        received_at = MonoNs(self.now - milliseconds(age_ms))
        heard = NodeHeard(
            source=SOURCE, port=6941, way=0, received_at=received_at, heartbeat=heartbeat
        )
        return self.registry.heard(self.moment, NodesHeard((heard,)))

    def prove(self, heartbeat: NodeHeartbeat) -> NodeHeartbeat:
        """Return the heartbeat by which that boot has registered."""
        (ack,) = (each for each in self.hear(heartbeat) if isinstance(each, AckNode))
        proof = replace(heartbeat, sequence=heartbeat.sequence + 1, nonce=ack.ack.nonce)
        assert self.hear(proof) == []
        return proof

    def wait(self, ms: int) -> list[Action]:
        until = self.now + milliseconds(ms)
        actions: list[Action] = []
        while (due := self.registry.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            actions += self.registry.tick(self.moment)
        self.now = MonoNs(until)
        return actions

    @property
    def moment(self) -> Moment:
        return Moment(self.now, WallNs(0))

    @property
    def standing(self) -> dict[str, Standing]:
        return {node.name: node.standing for node in self.shown}

    @property
    def shown(self) -> tuple[NodeStatus, ...]:
        return self.registry.status().shown


def app(number: int) -> NodeHeartbeat:
    name = f"app{number}"
    return replace(HEARTBEAT, name=name, sender=node_id(name))


def test_the_answer_asks_that_very_boot_and_dictates_the_pace_of_its_class() -> None:
    (answer,) = Stage().hear(HEARTBEAT)

    assert isinstance(answer, AckNode)
    assert (answer.destination, answer.port, answer.way) == (SOURCE, 6941, 0)
    ack = answer.ack
    assert (ack.destination, ack.agent) == (node_id("app1"), node_id("lb1"))
    assert (ack.boot, ack.sequence) == (HEARTBEAT.boot, HEARTBEAT.sequence)
    assert (ack.interval_ms, ack.jitter_ms) == (1000, 100)
    assert ack.nonce != 0


def test_two_agents_that_ask_do_not_make_a_node_prove_itself_for_ever() -> None:
    """A node sends one heartbeat to all, with the nonce of the agent that asked last."""
    stage = Stage()
    proof = stage.prove(HEARTBEAT)

    assert stage.hear(replace(proof, sequence=102, nonce=4711)) == []
    assert stage.standing == {"app1": Standing.ALIVE}


@pytest.mark.parametrize(
    ("behind", "actions"),
    [
        (0, [CountDiscard(SOURCE, DiscardReason.REPLAYED)]),
        (1, []),
        (OVERTAKEN, []),
        (OVERTAKEN + 1, [CountDiscard(SOURCE, DiscardReason.REPLAYED)]),
    ],
)
def test_what_is_older_than_the_newest_changes_nothing(behind: int, actions: list[Action]) -> None:
    """A straggler from another path is ordinary; a double and a capture are worth a count."""
    stage = Stage()
    proof = stage.prove(HEARTBEAT)
    stage.wait(2000)

    assert stage.hear(replace(proof, sequence=proof.sequence - behind)) == actions
    stage.wait(1110)
    assert stage.standing == {"app1": Standing.DEAD}


def test_an_older_boot_may_come_once_the_younger_is_dead() -> None:
    """The clock of a server may have been years ahead at one start."""
    stage = Stage()
    stage.prove(HEARTBEAT)
    older = replace(HEARTBEAT, boot=boot_id(4, 0))
    assert stage.hear(older) == [CountDiscard(SOURCE, DiscardReason.UNPROVEN)]

    stage.wait(3200)
    assert stage.standing == {"app1": Standing.DEAD}
    stage.prove(older)

    assert stage.standing == {"app1": Standing.ALIVE}


def test_who_does_not_prove_itself_is_counted_after_a_while() -> None:
    stage = Stage()
    stage.hear(HEARTBEAT)
    stage.wait(2000)

    actions = stage.hear(replace(HEARTBEAT, sequence=102))

    assert actions[0] == CountDiscard(SOURCE, DiscardReason.UNPROVEN)
    assert stage.registry.status().total == 0


def test_a_goodbye_that_is_said_three_times_is_one() -> None:
    stage = Stage()
    proof = stage.prove(HEARTBEAT)
    for sequence in (102, 103, 104):
        assert stage.hear(replace(proof, sequence=sequence, leaving=True)) == []

    assert stage.standing == {"app1": Standing.LEFT}
    assert [record.kind for record in stage.journal.take()] == ["node.joined", "node.left"]


def test_after_its_goodbye_the_same_boot_has_to_prove_itself() -> None:
    stage = Stage()
    proof = stage.prove(HEARTBEAT)
    stage.hear(replace(proof, sequence=102, leaving=True))

    (answer,) = stage.hear(replace(proof, sequence=103))

    assert isinstance(answer, AckNode)
    assert stage.standing == {"app1": Standing.LEFT}


def test_heartbeats_that_were_read_late_count_from_when_they_came() -> None:
    stage = Stage()
    proof = stage.prove(HEARTBEAT)
    stage.wait(3000)
    stage.hear(replace(proof, sequence=102), age_ms=500)

    stage.wait(2600)
    assert stage.standing == {"app1": Standing.ALIVE}
    # As of what has been read, which is half a second old.
    stage.wait(510)
    assert stage.standing == {"app1": Standing.DEAD}


def test_a_longer_promise_stretches_the_timeout_and_a_shorter_one_does_not_tighten_it() -> None:
    pace = Pace(CLASS)

    assert pace.timeout(2000) == milliseconds(6200)
    assert pace.timeout(1000) == milliseconds(3100)
    assert pace.timeout(100) == milliseconds(3100)


@pytest.mark.parametrize(
    ("living", "now_ms", "expected"),
    [
        (10_000, 0, 1000),
        (10_001, 1000, 1100),
        (25_000, 0, 2500),
        (10_000, 1100, 1100),
        (9_900, 1100, 1100),
        (9_000, 1100, 1000),
        (1_000_000, 0, 60_000),
    ],
)
def test_a_fleet_is_slowed_down_to_what_an_agent_can_hear(
    living: int, now_ms: int, expected: int
) -> None:
    """And not sped up again before there is a tenth to spare."""
    assert fleet_pace_ms(living, now_ms) == expected


def test_one_that_is_dead_for_a_day_is_forgotten() -> None:
    stage = Stage()
    stage.prove(HEARTBEAT)
    stage.wait(3200)
    assert stage.registry.status().total == 1

    stage.now = MonoNs(stage.now + REMEMBERED)
    stage.prove(replace(app(2), boot=boot_id(6, 0)))
    stage.wait(4000)

    assert list(stage.standing) == ["app2"]


def test_a_class_that_the_file_has_not_is_the_default_one_and_that_is_said() -> None:
    stage = Stage()
    stage.prove(replace(HEARTBEAT, node_class="batch"))

    (record,) = stage.journal.take()
    assert record.text == (
        "app1 at 192.0.2.21 serves app on port 80; its class is not in the file, and default "
        "applies"
    )


def test_a_reload_gives_a_class_another_pace_and_forgets_nobody() -> None:
    stage = Stage()
    proof = stage.prove(HEARTBEAT)
    stage.registry.reconfigure(
        NodesSettings(classes=(replace(CLASS, interval=seconds(2), timeout=seconds(8)),))
    )

    (answer,) = stage.hear(replace(proof, sequence=102))

    assert isinstance(answer, AckNode)
    assert answer.ack.interval_ms == 2000
    stage.wait(7900)
    assert stage.standing == {"app1": Standing.ALIVE}
    stage.wait(200)
    assert stage.standing == {"app1": Standing.DEAD}


def test_ten_thousand_deaths_that_are_believed_are_spread_over_steps() -> None:
    stage = Stage()
    for number in range(1000):
        stage.prove(app(number))
    asked = stage.wait(3110)
    assert asked == [AskHost(0, GATEWAY)]
    assert set(stage.standing.values()) == {Standing.HELD}
    stage.registry.host_answered(stage.now, 0, GATEWAY)

    stage.registry.tick(stage.moment)
    (some,) = stage.registry.status().services
    assert (some.dead, some.held) == (200, 800)
    stage.wait(4)

    (all_of_them,) = stage.registry.status().services
    assert (all_of_them.dead, all_of_them.held) == (1000, 0)
    # Of each kind five, and one for the rest.
    stage.wait(6000)
    kinds = [record.kind for record in stage.journal.take()]
    assert kinds.count("node.dead") == 6


def test_those_in_trouble_are_shown_first() -> None:
    stage = Stage()
    for number in (10, 9, 1, 2):
        stage.prove(app(number))
    ill = (replace(HEARTBEAT.services[0], healthy=False),)
    stage.hear(replace(app(10), sequence=102, services=ill))
    stage.hear(replace(app(1), sequence=102, leaving=True))

    assert [node.name for node in stage.shown] == ["app10", "app2", "app9", "app1"]
    (counts,) = stage.registry.status().services
    assert (counts.serving, counts.unhealthy, counts.left) == (2, 1, 1)
