"""What app nodes cost the core: time for a heartbeat and memory for a node, with many of them.

``python -m tests.bench.registry [NODES] [POLICY]``: a real agent, its deadlines kept, hears each
node once a second for ten seconds, in a hundred steps each.  Nothing is sent.
"""

import gc
import sys
import time
import tracemalloc
from collections.abc import Iterator
from ipaddress import IPv4Address
from random import Random

from haagent.core.actions import AckNode
from haagent.core.agent import Agent
from haagent.core.events import Event, NodeHeard, NodesHeard, Tick
from haagent.core.identity import NodeId, Priority, boot_id, node_id
from haagent.core.messages import Load, NodeHeartbeat, Service
from haagent.core.settings import (
    AgentSettings,
    BackendSettings,
    GroupSettings,
    HAProxySettings,
    HeartbeatSettings,
    NodeServersSettings,
    NodesSettings,
    PathSettings,
    Policy,
)
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds, seconds

SOURCE = IPv4Address("192.0.2.1")
STEPS = 100


class Bench:
    """An agent and the nodes that it hears."""

    def __init__(self, nodes: int, policy: Policy) -> None:
        servers = NodeServersSettings(service="app", policy=policy)
        backend = BackendSettings(name="app", servers=(), nodes=servers)
        group = GroupSettings(name="web", priority=Priority(1), interface="eth0", addresses=())
        settings = AgentSettings(
            node="lb1",
            cluster="bench",
            heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
            groups=(group,),
            haproxy=HAProxySettings(socket="-", backends=(backend,)),
            nodes=NodesSettings(),
        )
        self.agent = Agent(settings, boot_id(1, 0), {}, Random(1))
        self.names = [f"app{number}" for number in range(nodes)]
        service = Service(name="app", port=80, weight=100, healthy=True)
        self.services = dict.fromkeys(self.names, (service,))
        self.addresses = {name: IPv4Address(number) for number, name in enumerate(self.names, 1)}
        self.nonces: dict[NodeId, int] = {}
        self.random = Random(2)
        self.worst_ns = 0

    def second(self, number: int, sequence: int) -> int:
        """Play one second; return the time of all steps that heard something, in ns."""
        share = -(-len(self.names) // STEPS)
        spent = 0
        for step in range(STEPS):
            now = seconds(number) + milliseconds(1000 // STEPS * step)
            while (due := self.agent.deadline()) is not None and due < now:
                self._step(due, Tick())
            names = self.names[step * share : (step + 1) * share]
            heard = NodesHeard(tuple(self._heartbeats(names, now, sequence)))
            spent += self._step(MonoNs(now), heard)
        return spent

    def _heartbeats(self, names: list[str], now: int, sequence: int) -> Iterator[NodeHeard]:
        for name in names:
            heartbeat = NodeHeartbeat(
                sender=node_id(name),
                boot=boot_id(1, 0),
                sequence=sequence,
                path=0,
                interval_ms=1000,
                nonce=self.nonces.get(node_id(name), 0),
                leaving=False,
                load=Load(
                    cpu_permille=self.random.randrange(150, 250),
                    memory_permille=500,
                    queue_percent=50,
                ),
                name=name,
                node_class="default",
                address=self.addresses[name],
                services=self.services[name],
            )
            yield NodeHeard(
                source=SOURCE, port=6941, way=0, received_at=MonoNs(now), heartbeat=heartbeat
            )

    def _step(self, now: MonoNs, event: Event) -> int:
        start = time.perf_counter_ns()
        actions = self.agent.step(Moment(now, WallNs(0)), event)
        spent = time.perf_counter_ns() - start
        self.worst_ns = max(self.worst_ns, spent)
        for action in actions:
            if isinstance(action, AckNode):
                self.nonces[action.ack.destination] = action.ack.nonce
        return spent


def main(nodes: int = 10_000, policy: str = "weighted") -> None:
    """Print the figures."""
    bench = Bench(nodes, Policy(policy))
    bench.second(0, 1)
    joined = bench.second(1, 2)
    print(f"joining: {joined / nodes / 1000:.2f} us a node, {bench.worst_ns / 1e6:.1f} ms a step")
    gc.freeze()
    bench.worst_ns = 0
    spent = [bench.second(number, number + 1) for number in range(2, 10)]
    median = sorted(spent)[len(spent) // 2]
    print(f"hearing: {median / nodes / 1000:.2f} us a heartbeat, all of the step in it")
    print(f"worst step: {bench.worst_ns / 1e6:.2f} ms")
    print(f"memory: {_memory(min(nodes, 2000), policy):.0f} bytes a node, its heartbeat not in it")


def _memory(nodes: int, policy: str) -> float:
    bench = Bench(nodes, Policy(policy))
    gc.collect()
    tracemalloc.start()
    bench.second(0, 1)
    bench.second(1, 2)
    bench.second(2, 3)
    bench.nonces.clear()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / nodes


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
