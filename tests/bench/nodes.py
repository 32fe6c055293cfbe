"""A real agent that hears ten thousand app nodes, its peer, and its HAProxy.

What this module does not do: take apart what hearing one costs (``tests.bench.fleet``).
"""

import re
import threading
import time
from itertools import pairwise

import psutil

from haagent.lab.agents import Agent
from haagent.lab.cluster import Cluster, by_rank
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent
from tests.bench.fleet_sender import NETWORK
from tests.bench.footprint import cpu_ns
from tests.bench.tables import MS, Table

_SIZES = (0, 1000, 10_000)
_JOIN_S = 30
"""All nodes are known and in HAProxy by then."""
_DEATH_EACH_S = 15.0
_INTERVAL_MS = 200
_BACKEND = """
haproxy:
  socket: /run/haproxy/admin.sock
  backends:
    app:
      nodes: {service: web}
"""
_LISTENER = """
import socket, struct, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    index = socket.if_nametoindex("eth0")
    group = struct.pack("=4s4si", socket.inet_aton("224.0.0.254"), bytes(4), index)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    s.bind(("", 6940))
    while True:
        _, ancillary, _, (source, _) = s.recvmsg(2048, 64)
        seconds, ns = struct.unpack("@ll", ancillary[0][2])
        if source == "192.0.2.11":
            print(seconds * 10**9 + ns, flush=True)
"""


def measure(lab: Lab, cluster: Cluster, pair: dict[str, Haagent], minutes: float) -> Table:
    """Return the table; each size of fleet is heard for so many ``minutes``."""
    fleet = lab.add_host("fleet", 82)
    fleet.run("ip", "route", "add", "local", NETWORK, "dev", "lo")
    for host in (*cluster.balancers.values(), cluster.client):
        host.run("ip", "route", "add", NETWORK, "via", "192.0.2.82")
    rows = [_heard(lab, cluster, pair, size, minutes * 60) for size in _SIZES]
    return Table(
        title="An agent with app nodes",
        note="A master with a peer and a HAProxy hears app nodes, one heartbeat a second each, "
        f"for {minutes:g} minutes.  Each {_DEATH_EACH_S:g} s one dies just after a heartbeat; seen "
        "to be dead so many ms later, by the agent's log.  CPU of one processor, memory of the "
        "agent in MiB.  Late: how much more than 200 ms lie between two heartbeats to the peers, "
        "as the kernel of another host stamps them: p99.9 and greatest, in ms.",
        columns=("nodes", "CPU", "RSS", "PSS", "deaths", "seen after", "falsely dead", "late"),
        rows=tuple(rows),
    )


def _heard(
    lab: Lab, cluster: Cluster, pair: dict[str, Haagent], size: int, seconds: float
) -> tuple[str, ...]:
    print(f"nodes: {size}", flush=True)
    master = pair["lb1"]
    with_nodes(master.agent)
    for contender in pair.values():
        contender.start()
    lab.wait_until(lambda: master.roles()[-1:] == ["master"], 10, "lb1 is master")
    fleet = None
    if size:
        words = (str(master.agent.key_file), "shop", "192.0.2.11", str(size))
        lasting = (str(_JOIN_S + seconds + 10), "--silence", str(_DEATH_EACH_S))
        host = lab.hosts["fleet"]
        fleet = host.start_module("fleet", "tests.bench.fleet_sender", *words, *lasting)
        threading.Event().wait(_JOIN_S)
    listener = cluster.client.start("listener", "python3", "-c", _LISTENER)
    spent, began = cpu_ns(master.pids()), time.monotonic_ns()
    threading.Event().wait(seconds)
    spent, took = cpu_ns(master.pids()) - spent, time.monotonic_ns() - began
    listener.kill()
    used = [psutil.Process(pid).memory_full_info() for pid in master.pids()]
    deaths, false = _deaths(master, fleet) if fleet else ([], 0)
    for contender in pair.values():
        contender.stop()
    late = _late_ms(listener)
    return (
        f"{size:,}",
        f"{spent / took:.1%}",
        f"{sum(each.rss for each in used) / 2**20:.1f}",
        f"{sum(each.pss for each in used) / 2**20:.1f}",
        str(len(deaths)),
        f"{min(deaths):.0f} to {max(deaths):.0f}" if deaths else "",
        str(false),
        f"{late[int(len(late) * 0.999)]:.2f} / {late[-1]:.2f}",
    )


def with_nodes(agent: Agent) -> None:
    """Have the agent of the pair in ``conf/`` hear the nodes that serve ``web``."""
    text = by_rank(agent.host.name)
    agent.configure(text[: text.index("\nhaproxy:")] + _BACKEND)


def _deaths(master: Haagent, fleet: Process) -> tuple[list[float], int]:
    """Return after how many ms each death was logged, and how many were logged that were none."""
    died = {name: int(at) for name, at in re.findall(r"(app\d+) (\d+)", fleet.log_text())}
    logged = re.findall(r"(app\d+) has been silent .* hlc=(\d+)\.", master.log_text())
    took = [int(at_ms) - died[name] / MS for name, at_ms in logged if name in died]
    return took, len(logged) - len(took)


def _late_ms(listener: Process) -> list[float]:
    stamps = [int(line) for line in listener.log_text().splitlines()]
    return sorted(max(0, b - a - _INTERVAL_MS * MS) / MS for a, b in pairwise(stamps))
