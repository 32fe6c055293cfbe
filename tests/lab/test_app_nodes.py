"""App servers that send heartbeats are in both HAProxys while heard, and get what they can do."""

import sys
import time
from collections import Counter
from collections.abc import Callable

from haagent.lab.cluster import VIP_IPV4, example
from haagent.lab.nodes import Node, node_text
from haagent.lab.own_processor import own_processor
from haagent.lab.probes import Probes, probe_http
from tests.lab.conftest import Begin, Site

MS = 1_000_000
TIMEOUT_MS = 3100
"""Of the class ``default``."""
SLOW_START_S = 4
BOTH = {"app1", "app2"}
CLASSES = f"\nnodes: {{classes: {{default: {{slow_start: {SLOW_START_S}s}}}}}}\n"


class Fleet:
    """A pair of agents, and app1 and app2 in the lists of both."""

    def __init__(self, begin: Begin) -> None:
        self.site: Site = begin(lambda name: example("nodes")(name) + CLASSES)
        self.nodes: dict[str, Node] = {}
        self._wrappers: dict[str, tuple[str, ...]] = {}
        for name, host in self.site.cluster.apps.items():
            key_file = self.site.agents["lb1"].key_file
            self.nodes[name] = Node(host, node_text(name), key_file)
            self._wrappers[name] = own_processor(self.site.lab, host)
            self.start(name)
        for balancer in self.site.agents:
            self.wait(balancer, lambda found: set(found) == BOTH and min(found.values()) >= 80)

    def start(self, name: str) -> None:
        self.nodes[name].start(*self._wrappers[name])

    def weights(self, balancer: str = "lb1") -> dict[str, int]:
        servers = self.site.cluster.haproxies[balancer].servers("app")
        return {name: server.weight for name, server in servers.items() if name in BOTH}

    def wait(
        self, balancer: str, condition: Callable[[dict[str, int]], bool], deadline_s: float = 15
    ) -> int:
        """Wait until the weights are as wanted; return the instant at which they were found so."""

        def found() -> bool:
            return condition(self.weights(balancer))

        self.site.lab.wait_until(found, deadline_s, f"the weights on {balancer}")
        return time.monotonic_ns()

    def probe(self) -> Probes:
        probes = probe_http(self.site.cluster.client, VIP_IPV4, rate=100)
        self.site.lab.wait_until(lambda: set(shares(probes, 0)) >= BOTH, 10, "both serve")
        return probes

    def served(self, probes: Probes, since_ns: int, answers: int) -> Counter[str]:
        """By whom so many requests were answered that were sent since then."""
        self.site.lab.wait_until(lambda: shares(probes, since_ns).total() >= answers, 15, "answers")
        return shares(probes, since_ns)


def shares(probes: Probes, since_ns: int) -> Counter[str]:
    """How often each app server has answered a request that was sent since then."""
    answers = (o.detail for o in probes.outcomes() if o.ok and o.sent_ns >= since_ns)
    return Counter(who for who in answers if who in BOTH)


def test_a_killed_node_is_out_of_both_haproxys_in_time_and_begins_slowly_when_it_is_back(
    begin: Begin,
) -> None:
    fleet = Fleet(begin)
    probes = fleet.probe()

    # The web server there lives on, and would answer whatever was sent to it.
    killed = fleet.nodes["app2"].process.kill()
    out = [fleet.wait(balancer, lambda found: "app2" not in found) for balancer in ("lb1", "lb2")]

    took_ms = [(each - killed) / MS for each in out]
    print(f"out of lb1 and lb2 after {took_ms[0]:.0f} and {took_ms[1]:.0f} ms")
    assert max(took_ms) < TIMEOUT_MS + 200
    assert "app2" in fleet.site.records("lb1", "node.dead")[0]
    assert set(fleet.served(probes, out[-1], 100)) == {"app1"}

    fleet.start("app2")
    seen: list[int] = []

    def grown(found: dict[str, int]) -> bool:
        if "app2" in found:
            seen.append(found["app2"])
        return seen[-1:] > [80]

    fleet.wait("lb1", grown)
    print(f"weights on the way back: {sorted(set(seen))}")
    assert seen[0] < 50
    assert len(set(seen)) >= 3

    # A clean stop is an end at once.
    stopped = fleet.nodes["app2"].process.stop()
    out = [fleet.wait(balancer, lambda found: "app2" not in found) for balancer in ("lb1", "lb2")]
    print(f"after a goodbye out of both after {(max(out) - stopped) / MS:.0f} ms")
    assert (max(out) - stopped) / MS < 1000
    assert probes.failures() == []


def test_traffic_leaves_a_busy_node(begin: Begin) -> None:
    fleet = Fleet(begin)
    probes = fleet.probe()
    before = fleet.served(probes, time.monotonic_ns(), 200)

    fleet.site.cluster.apps["app2"].start("burner", sys.executable, "-c", "while True: pass")
    busy = fleet.wait("lb1", lambda found: found["app2"] <= 40)
    after = fleet.served(probes, busy, 300)

    print(f"weights {fleet.weights()}, answers before {dict(before)}, after {dict(after)}")
    assert before["app2"] > 0.35 * before.total()
    assert after["app2"] < 0.35 * after.total()
    assert probes.failures() == []


def test_when_all_nodes_are_gone_that_is_an_alarm_and_the_list_is_what_the_file_says(
    begin: Begin,
) -> None:
    fleet = Fleet(begin)
    site, agent = fleet.site, fleet.site.agents["lb1"]

    for node in fleet.nodes.values():
        node.process.kill()

    site.lab.wait_until(lambda: "backend.none" in site.alarms("lb1"), 10, "the alarm")
    # By default the last good list is kept: who went first is put back.
    fleet.wait("lb1", lambda found: set(found) == BOTH)
    text = agent.configuration_file.read_text()
    agent.configure(text.replace("policy: weighted", "policy: weighted, when_empty: remove"))
    agent.reload()
    fleet.wait("lb1", lambda found: not found)

    fleet.start("app1")
    fleet.wait("lb1", lambda found: set(found) == {"app1"})
    site.lab.wait_until(lambda: "backend.none" not in site.alarms("lb1"), 5, "no alarm")
