"""What clients of the HTTP server cost the agent: lateness of its loop, processor, memory.

Fifty viewers have the dashboard's stream and a scraper asks for the metrics once a second; then
clients do what ``tests/lab/test_http.py`` has them do.  Heartbeats are sent every 50 ms.
"""

import sys
import threading
from collections.abc import Mapping
from itertools import pairwise

import psutil

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent
from tests.bench.footprint import cpu_ns
from tests.bench.tables import Table
from tests.lab.test_http import GET, MISCHIEF

_PORT = 6942
_MASTER = "192.0.2.11"
_SETTLE_S = 3

VIEWERS = """
import asyncio, sys
async def asked(path, host, port):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return reader, writer
async def view(host, port):
    reader, _ = await asked("/api/v1/stream", host, port)
    while await reader.read(1 << 16):
        pass
    raise SystemExit("a viewer was cut off")
async def scrape(host, port):
    while True:
        reader, writer = await asked("/metrics", host, port)
        await reader.read()
        writer.close()
        await asyncio.sleep(1)
async def main(host, port):
    await asyncio.gather(scrape(host, port), *(view(host, port) for _ in range(50)))
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

_LOADS: Mapping[str, str | None] = {
    "nobody": None,
    "50 viewers, a scrape a second": VIEWERS,
    "hostile": MISCHIEF,
}


def measure(lab: Lab, cluster: Cluster, pair: dict[str, Haagent], seconds: float) -> Table:
    """Return the table; each kind of client has ``seconds``."""
    plain = {name: _configure(each, "") for name, each in pair.items()}
    rows = [_row("no server", _run(lab, cluster, pair, None, seconds))]
    for name, each in pair.items():
        each.agent.configuration_file.write_text(plain[name])
        _configure(each, f"http: {{listen: ['0.0.0.0:{_PORT}']}}\n")
    rows += [
        _row(what, _run(lab, cluster, pair, script or "", seconds))
        for what, script in _LOADS.items()
    ]
    for name, each in pair.items():
        each.agent.configuration_file.write_text(plain[name])
    return Table(
        title="HTTP beside heartbeats",
        note=f"Heartbeats every 50 ms, {seconds:g} s of each, clients on the same two cores.  "
        "Lateness of the master's loop in ms, from its own histogram, interpolated as Prometheus "
        "does; its worst wake-up; processor in percent of one and memory (PSS) in MiB, of the "
        "agent and of the server's process.",
        columns=("clients", "p50", "p99", "p99.9", "worst", "CPU", "PSS", "server CPU", "PSS "),
        rows=tuple(rows),
    )


def _configure(each: Haagent, more: str) -> str:
    """Write the configuration with ``more``; return what it was."""
    file = each.agent.configuration_file
    before = file.read_text()
    file.write_text(before.replace("heartbeat:\n", "heartbeat:\n  interval: 50ms\n") + more)
    return before


def _run(
    lab: Lab, cluster: Cluster, pair: dict[str, Haagent], script: str | None, seconds: float
) -> list[str]:
    print(f"http: {'off' if script is None else script[:20].split()}", flush=True)
    for each in pair.values():
        each.start()
    lab.wait_until(lambda: cluster.balancers["lb1"].holds(VIP_IPV4), 10, "lb1 holds the address")
    threading.Event().wait(_SETTLE_S)
    agent = psutil.Process(pair["lb1"].pids()[0])
    servers = agent.children()
    before = {} if script is None else _buckets(cluster)
    clients = None
    if script:
        words = (sys.executable, "-c", script, _MASTER, str(_PORT))
        clients = cluster.client.start("clients", *words)
    spent = [cpu_ns([agent.pid]), cpu_ns([each.pid for each in servers])]
    threading.Event().wait(seconds)
    used = [
        (cpu_ns(pids) - start) / 1e7 / seconds
        for start, pids in zip(spent, ([agent.pid], [s.pid for s in servers]), strict=True)
    ]
    sizes = [_pss(each) for each in (agent, *servers)] + [""]
    if clients is not None:
        assert clients.running or script is MISCHIEF, clients.describe()
        clients.kill()
        threading.Event().wait(1)
    after = {} if script is None else _buckets(cluster)
    worst = pair["lb1"].status()["runtime"]["loop_lateness_ms"]
    quantiles = [_quantile(before, after, q) for q in (0.5, 0.99, 0.999)] if after else [""] * 3
    figures = [*quantiles, f"{worst:.1f}", f"{used[0]:.1f}", sizes[0]]
    for each in pair.values():
        each.stop()
    return [*figures, f"{used[1]:.1f}" if servers else "", sizes[1]]


def _row(what: str, figures: list[str]) -> tuple[str, ...]:
    return (what, *figures)


def _pss(process: psutil.Process) -> str:
    return f"{process.memory_full_info().pss / (1 << 20):.1f}"


def _buckets(cluster: Cluster) -> dict[float, float]:
    """Return how many wake-ups were at most so late, by seconds."""
    text = cluster.client.run(sys.executable, "-c", GET, _MASTER, str(_PORT), "/metrics")
    lines = [x for x in text.splitlines() if x.startswith("haagent_loop_lateness_seconds_bucket")]
    return {float(x.split('"')[1]): float(x.split()[-1]) for x in lines}


def _quantile(before: dict[float, float], after: dict[float, float], q: float) -> str:
    counts = [(0.0, 0.0), *((end, after[end] - before[end]) for end in sorted(after))]
    rank = q * counts[-1][1]
    for (low, below), (high, upto) in pairwise(counts):
        if upto >= rank and upto > below:
            return f"{1e3 * (low + (high - low) * (rank - below) / (upto - below)):.2f}"
    return ""
