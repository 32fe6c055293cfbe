"""What a planned restart of the master costs a client: keepalived's, and haagent's under a manager.

keepalived is stopped and started again, as ``systemctl restart`` does.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.services import Service
from haagent.lab.topology import Lab
from tests.bench.contenders import INTERVAL_S, Haagent, Pair
from tests.bench.tables import MS, Table, median_and_maximum

_CALM_NS = 1500 * MS
"""Longer than keepalived needs to have the address back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """One restart as the client saw it."""

    lost: int
    silence_ns: int
    moves: int
    """How often another host began to answer."""


def measure(
    lab: Lab, cluster: Cluster, haagent: Mapping[str, Haagent], keepalived: Pair, trials: int
) -> Table:
    """Return the table after so many ``trials`` of both."""
    prober = probe_udp(cluster.client, VIP_IPV4)
    with Service(haagent["lb1"].agent) as service:
        service.start()
        haagent["lb2"].start()
        ours = [_trial(lab, prober, service.restart) for _ in range(trials)]
        service.agent.process.stop()
        haagent["lb2"].stop()
    for each in keepalived.values():
        each.start()

    def restart() -> int:
        moment = keepalived["lb1"].stop()
        keepalived["lb1"].start()
        return moment

    theirs = [_trial(lab, prober, restart) for _ in range(trials)]
    for each in keepalived.values():
        each.stop()
    prober.process.kill()
    return _table({"haagent": ours, "keepalived": theirs}, trials)


def _trial(lab: Lab, prober: Probes, restart: Callable[[], int]) -> Restart:
    _wait_until_calm(lab, prober, 0)
    threading.Event().wait(random.uniform(0, INTERVAL_S))
    since = restart()
    end = _wait_until_calm(lab, prober, since)
    print(f"restart: {len(prober.failures(since, end))} lost", flush=True)
    return Restart(
        lost=len(prober.failures(since, end)),
        silence_ns=prober.longest_silence(since, end),
        moves=len(prober.changes(since)) - 1,
    )


def _wait_until_calm(lab: Lab, prober: Probes, since_ns: int) -> int:
    """Wait until lb1 alone has answered for a while; return when."""

    def calm() -> bool:
        start = time.monotonic_ns() - _CALM_NS
        return start > since_ns and [each.who for each in prober.changes(start)] == ["lb1"]

    lab.wait_until(calm, 30, "lb1 answers alone")
    return time.monotonic_ns()


def _table(found: Mapping[str, list[Restart]], trials: int) -> Table:
    return Table(
        title="Planned restart of the master",
        note=f"Median / maximum over {trials} restarts; a client asks every ms.  Moves: how often "
        "another host began to answer.",
        columns=("agent", "requests lost", "silence, ms", "moves"),
        rows=tuple(
            (
                name,
                median_and_maximum([each.lost for each in restarts]),
                median_and_maximum([each.silence_ns / MS for each in restarts], digits=1),
                median_and_maximum([each.moves for each in restarts]),
            )
            for name, restarts in found.items()
        ),
    )
