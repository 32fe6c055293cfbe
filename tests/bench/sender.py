"""What an app node costs its server, beside a Python that does nothing."""

import sys
import threading
from collections.abc import Iterator
from functools import partial

from haagent.lab.agents import Agent
from haagent.lab.cluster import Cluster
from haagent.lab.nodes import Node, node_text
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from tests.bench.footprint import cpu_ns, memory
from tests.bench.tables import Table

_SETTLE_S = 3
_WAITS = "import threading; print(1, flush=True); threading.Event().wait()"
_CHECKS = {
    "no check": "",
    "tcp each 2 s": '{tcp: "127.0.0.1:8080"}',
    "http each 2 s": '{http: "http://127.0.0.1:8080/"}',
    "exec each 2 s": '{exec: ["true"], user: root}',
}


def measure(lab: Lab, cluster: Cluster, agent: Agent, seconds: float) -> Table:
    """Return the table; each process is watched for ``seconds``, and ``agent`` need not run."""
    node = Node(cluster.apps["app1"], node_text("app1"), agent.key_file)
    rows = [*_rows(lab, cluster, node, seconds)]
    return Table(
        title="An app node",
        note="A heartbeat each second on one path, with one service.  Measured over "
        f"{seconds:g} s; memory in MiB.  The first row is the same interpreter with `-I`, waiting.",
        columns=("process", "CPU s per hour", "RSS", "PSS", "USS", "threads"),
        rows=tuple(rows),
    )


def _rows(lab: Lab, cluster: Cluster, node: Node, seconds: float) -> Iterator[tuple[str, ...]]:
    bare = cluster.apps["app2"].start("bare", sys.executable, "-I", "-c", _WAITS)
    lab.wait_until(bare.log_text, 10, "it waits")
    yield ("bare Python", *_costs(bare, seconds))
    for name, check in _CHECKS.items():
        print(f"node: {name}", flush=True)
        node.configure(node_text("app1", check=check))
        process = node.start()
        lab.wait_until(partial(_sends, process), 10, "it sends")
        yield (f"haagent node, {name}", *_costs(process, seconds))
        process.stop()


def _sends(process: Process) -> bool:
    return "sends heartbeats" in process.log_text()


def _costs(process: Process, seconds: float) -> tuple[str, ...]:
    pause = threading.Event()
    pause.wait(_SETTLE_S)
    before = cpu_ns([process.pid])
    pause.wait(seconds)
    spent = cpu_ns([process.pid]) - before
    return f"{spent / 1e9 / seconds * 3600:.1f}", *memory([process.pid])
