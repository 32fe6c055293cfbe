"""What a datagram costs that is not for us, and whether a flood of them delays the master.

A client on the same network sends 20,000 datagrams a second to the port of the heartbeats.
"""

import json
import sys
import threading
from itertools import pairwise
from typing import Any

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent
from tests.bench.footprint import cpu_ns
from tests.bench.tables import MS, Table

_RATE = 20_000
_CALM = "none"
_KINDS = (_CALM, "random", "forged")
_MASTER, _CLIENT = "192.0.2.11", "192.0.2.50"
_FORGOTTEN_S = 61
"""Lateness is told as the worst of the last minute."""


def measure(lab: Lab, cluster: Cluster, pair: dict[str, Haagent], seconds: float) -> Table:
    """Return the table; each kind of flood lasts ``seconds``."""
    for contender in pair.values():
        contender.start()
    lab.wait_until(lambda: cluster.balancers["lb1"].holds(VIP_IPV4), 10, "lb1 holds the address")
    print("flood: waiting until the lateness of the start is forgotten", flush=True)
    threading.Event().wait(_FORGOTTEN_S)
    rows = tuple(_flooded(cluster, pair, kind, seconds) for kind in _KINDS)
    for contender in pair.values():
        contender.stop()
    return Table(
        title="A flood of datagrams",
        note=f"{_RATE:,} datagrams a second for {seconds:g} s from a client to the master: random "
        "bytes, and forged heartbeats whose code must be computed to be refused.  What is not "
        "read in time the kernel drops.  Heartbeats are due every 200 ms and timed by the client; "
        "late is the worst wake-up of the agent's loop up to then, in ms, as it tells itself.",
        columns=("flood", "sent/s", "read", "CPU", "us each", "interval, max", "late", "changes"),
        rows=rows,
    )


def _flooded(
    cluster: Cluster, pair: dict[str, Haagent], kind: str, seconds: float
) -> tuple[str, ...]:
    print(f"flood: {kind}", flush=True)
    master = pair["lb1"]
    count, term = _read(master), _term(pair["lb2"])
    spent = cpu_ns(master.pids())
    rate = 0 if kind == _CALM else _RATE
    command = ("random" if kind == _CALM else kind, _MASTER, str(rate), str(seconds))
    words = (sys.executable, "-m", "tests.bench.flood_sender", *command)
    told: dict[str, Any] = json.loads(cluster.client.run(*words))
    spent = cpu_ns(master.pids()) - spent
    read = _read(master) - count
    longest = max(later - earlier for earlier, later in pairwise(told["heard_ns"]))
    return (
        kind,
        f"{told['sent'] / seconds:.0f}",
        f"{read / told['sent']:.0%}" if read else "",
        f"{spent / 1e9 / seconds:.1%}",
        f"{spent / 1e3 / read:.1f}" if read else "",
        f"{longest / MS:.0f}",
        f"{master.status()['runtime']['loop_lateness_ms']:.1f}",
        str(_term(pair["lb2"]) - term),
    )


def _read(master: Haagent) -> int:
    """Return how many datagrams of the client the agent has read and refused."""
    discards = master.status()["runtime"]["discards"]
    return sum(each["count"] for each in discards if each["source"] == _CLIENT)


def _term(backup: Haagent) -> int:
    """Return the term, which rises with every change of master."""
    term: int = backup.status()["groups"][0]["role"]["term"]
    return term
