"""What an agent with nothing to do costs: processor time, memory, threads."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent, Pair
from tests.bench.tables import Table

_MIB = 1 << 20
_SETTLE_S = 3
"""The announcements after the start are over by then."""


def cpu_ns(pids: Sequence[int]) -> int:
    """Return the processor time of all threads so far.

    From schedstat: ``/proc/PID/stat`` counts in steps of 10 ms, which keepalived does not use
    up in half a minute.
    """
    threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)


def measure(lab: Lab, cluster: Cluster, pairs: Sequence[Pair], seconds: float) -> Table:
    """Return the table; each pair idles for ``seconds``."""
    rows = [row for pair in pairs for row in _idle(lab, cluster, pair, seconds)]
    return Table(
        title="An idle agent",
        note=f"One address, one path, interval 200 ms, measured over {seconds:g} s.  haagent keeps "
        "a HAProxy up to date meanwhile.  Memory of all processes together in MiB.",
        columns=("agent", "CPU s per hour", "RSS", "PSS", "USS", "threads"),
        rows=tuple(rows),
    )


def _idle(lab: Lab, cluster: Cluster, pair: Pair, seconds: float) -> list[tuple[str, ...]]:
    print(f"idle: {pair['lb1'].name}", flush=True)
    pause = threading.Event()
    for contender in pair.values():
        contender.start()
    lab.wait_until(lambda: cluster.balancers["lb1"].holds(VIP_IPV4), 10, "lb1 holds the address")
    pause.wait(_SETTLE_S)
    before = {host: cpu_ns(contender.pids()) for host, contender in pair.items()}
    pause.wait(seconds)
    spent = {host: cpu_ns(contender.pids()) - before[host] for host, contender in pair.items()}
    rows = [
        (
            f"{pair[host].name}, {role}",
            f"{spent[host] / 1e9 / seconds * 3600:.1f}",
            *memory(pair[host].pids()),
        )
        for host, role in (("lb1", "master"), ("lb2", "backup"))
    ]
    for contender in pair.values():
        contender.stop()
    return rows


def measure_parts(lab: Lab, cluster: Cluster, pair: Mapping[str, Haagent]) -> Table:
    """Return the table of what the optional parts of an agent take of memory."""
    rows = []
    for what, change in _PARTS.items():
        print(f"memory: {what}", flush=True)
        plain = {name: each.agent.configuration_file.read_text() for name, each in pair.items()}
        for name, each in pair.items():
            each.agent.configuration_file.write_text(change(plain[name]))
            each.start()
        holds = cluster.balancers["lb1"].holds
        lab.wait_until(lambda: holds(VIP_IPV4), 10, "lb1 holds the address")  # noqa: B023
        threading.Event().wait(_SETTLE_S)
        agent = psutil.Process(pair["lb1"].pids()[0])
        rows += [(what, *memory([agent.pid]))]
        rows += [(f"{what}: its HTTP process", *memory([each.pid])) for each in agent.children()]
        for name, each in pair.items():
            each.stop()
            each.agent.configuration_file.write_text(plain[name])
    return Table(
        title="Memory of the parts",
        note=f"The master of a pair, idle, {_SETTLE_S} s after its claim.  In MiB.",
        columns=("agent", "RSS", "PSS", "USS", "threads"),
        rows=tuple(rows),
    )


def _bare(text: str) -> str:
    """Return the configuration without what can be left out."""
    return re.sub(r"^haproxy:\n(  .*\n)+", "bus: {enabled: false}\n", text, flags=re.MULTILINE)


def _full(text: str) -> str:
    """Return the configuration with everything that can be put in."""
    hook = "{command: ['true'], user: root}"
    group = f"    hooks: {{any: {hook}}}\n    checks:\n      itself: {{tcp: 127.0.0.1:6940}}\n"
    text = text.replace("    addresses:", f"{group}    addresses:")
    return f"{text}nodes: {{}}\nhttp: {{listen: ['0.0.0.0:6942']}}\n"


_PARTS: Mapping[str, Callable[[str], str]] = {
    "nothing optional": _bare,
    "HAProxy and the peer bus, as in conf/pair": str,
    "these, app nodes, checks, hooks and HTTP": _full,
}


def memory(pids: Sequence[int]) -> tuple[str, ...]:
    """Return RSS, PSS and USS of all in MiB, and how many threads they have."""
    processes = [psutil.Process(pid) for pid in pids]
    used = [process.memory_full_info() for process in processes]
    sizes = (sum(u.rss for u in used), sum(u.pss for u in used), sum(u.uss for u in used))
    threads = sum(process.num_threads() for process in processes)
    return (*(f"{size / _MIB:.1f}" for size in sizes), str(threads))
