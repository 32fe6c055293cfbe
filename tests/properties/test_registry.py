"""App nodes under loss, doubles, stragglers and replays: who dies, and when."""

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

from hypothesis import given, settings, strategies as st

from haagent.core.actions import AckNode, Action
from haagent.core.clocks import Clocks
from haagent.core.events import NodeHeard, NodesHeard
from haagent.core.fleet.node import Node
from haagent.core.fleet.registry import Registry
from haagent.core.fleet.wheel import SLOT
from haagent.core.hooks import Hooks
from haagent.core.identity import NodeId, boot_id, node_id
from haagent.core.journal import Journal
from haagent.core.messages import Load, NodeHeartbeat, Service
from haagent.core.settings import NodeClassSettings, NodesSettings
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds, seconds

TIMEOUT = milliseconds(3100)
NAMES = ["app1", "app2", "app3"]
"""Too few for the guard against mass death."""


@dataclass
class Sender:
    """An app node: what it has said, and what has arrived of that."""

    name: str
    boot: int = 1
    nonce: int = 0
    sequence: int = 0
    said: list[NodeHeard] = field(default_factory=list)
    newest: tuple[int, int] = (0, 0)
    heard_at: int | None = None
    """When something newer than all before has arrived, of a boot that has answered."""

    def says(self, now: int) -> NodeHeard:
        self.sequence += 1
        heartbeat = NodeHeartbeat(
            sender=node_id(self.name),
            boot=boot_id(self.boot, 0),
            sequence=self.sequence,
            path=0,
            interval_ms=1000,
            nonce=self.nonce,
            leaving=False,
            load=Load(cpu_permille=0, memory_permille=0, queue_percent=0),
            name=self.name,
            node_class="default",
            address=IPv4Address("192.0.2.21"),
            services=(Service(name="app", port=80, weight=100, healthy=True),),
        )
        heard = NodeHeard(
            source=IPv4Address("192.0.2.21"),
            port=6941,
            way=0,
            received_at=MonoNs(now),
            heartbeat=heartbeat,
        )
        self.said.append(heard)
        return heard


class World:
    """A registry, the senders that it hears, and what must be true after each step."""

    def __init__(self, rise: int) -> None:
        journal = Journal(Clocks())
        self.now = 0
        self.registry = Registry(
            settings=NodesSettings(classes=(NodeClassSettings(rise=rise),)),
            agent=(node_id("lb1"), "lb1"),
            journal=journal,
            hooks=Hooks(journal),
            random=Random(1),
            references=(),
            begun=MonoNs(0),
        )
        self.senders = {node_id(name): Sender(name) for name in NAMES}
        self.living: dict[NodeId, Node] = {}

    def wait(self, until: int) -> None:
        while (due := self.registry.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.registry.tick(self.moment)
            self.check()
        self.now = until

    def deliver(self, *heard: NodeHeard) -> None:
        for each in heard:
            sender = self.senders[each.heartbeat.sender]
            place = each.heartbeat.boot, each.heartbeat.sequence
            proven = each.heartbeat.boot == sender.newest[0] or each.heartbeat.nonce != 0
            if proven and place > sender.newest:
                sender.newest, sender.heard_at = place, self.now
        actions = self.registry.heard(self.moment, NodesHeard(heard))
        self.check()
        self.answer(actions)

    def answer(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, AckNode):
                sender = self.senders[action.ack.destination]
                if action.ack.boot == boot_id(sender.boot, 0):
                    sender.nonce = action.ack.nonce

    def check(self) -> None:
        for node in self.registry.take_changes(1000):
            sender = self.senders[node.id]
            assert sender.heard_at is not None
            if node.id in self.living and not node.present:
                assert self.now - sender.heard_at >= TIMEOUT, f"{node.name} died in time"
                del self.living[node.id]
            elif node.present:
                self.living[node.id] = node
        for key, node in self.living.items():
            heard_at = self.senders[key].heard_at
            assert heard_at is not None
            assert self.now - heard_at <= TIMEOUT + SLOT, f"{node.name} lives on"

    @property
    def moment(self) -> Moment:
        return Moment(MonoNs(self.now), WallNs(0))


FATES = ["heard", "heard", "heard", "lost", "twice", "straggles", "replay", "restart"]
STEPS = st.lists(
    st.tuples(st.integers(0, 1500), st.integers(0, 2), st.sampled_from(FATES), st.integers(0)),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS, st.integers(1, 3))
def test_who_is_heard_in_time_lives_and_who_is_not_is_gone(
    steps: list[tuple[int, int, str, int]], rise: int
) -> None:
    world = World(rise)
    senders = [*world.senders.values()]
    for gap_ms, which, fate, chance in steps:
        world.wait(world.now + milliseconds(gap_ms))
        sender = senders[which]
        match fate:
            case "heard":
                world.deliver(sender.says(world.now))
            case "lost":
                sender.says(world.now)
            case "twice":
                heard = sender.says(world.now)
                world.deliver(heard, heard)
            case "straggles":
                earlier, later = sender.says(world.now), sender.says(world.now)
                world.deliver(later, earlier)
            case "replay" if sender.said:
                world.deliver(replayed(sender, chance, world.now))
            case "restart":
                sender.boot, sender.sequence, sender.nonce = sender.boot + 1, 0, 0
                world.deliver(sender.says(world.now))
                world.deliver(sender.says(world.now))
            case _:
                pass
    world.wait(world.now + seconds(10))

    assert world.living == {}


def replayed(sender: Sender, chance: int, now: int) -> NodeHeard:
    """Return something that the node has said before, and that has arrived before."""
    old = sender.said[chance % len(sender.said)]
    place = old.heartbeat.boot, old.heartbeat.sequence
    if place > sender.newest:
        # What never arrived is new, whoever brings it.
        old = sender.says(now)
    return NodeHeard(
        source=old.source,
        port=old.port,
        way=old.way,
        received_at=MonoNs(now),
        heartbeat=old.heartbeat,
    )


def test_heartbeats_that_come_in_time_keep_a_node_for_ever() -> None:
    world = World(rise=2)
    sender = next(iter(world.senders.values()))
    for _ in range(200):
        world.deliver(sender.says(world.now))
        world.wait(world.now + TIMEOUT - 1)

    assert len(world.living) == 1
