"""Whether the fence of a healthy master ever closes because its processors are busy.

A client asks the virtual address every ms, and in the same way the host's own address, which has
no fence: what both miss was not the fence's doing.
"""

import sys
import threading
import time

from haagent.lab.agents import with_capabilities
from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.host import Host
from haagent.lab.probes import probe_udp
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent
from tests.bench.tables import Table

_OWN_ADDRESS = "192.0.2.11"
BURNERS = 4
_CALM_S = 2
_GIVEN_UP_S = 1
"""What is not answered by then is lost."""


def measure(lab: Lab, cluster: Cluster, haagent: dict[str, Haagent], seconds: float) -> Table:
    """Return the table; each level of the fence is watched for ``seconds``."""
    rights = with_capabilities("net_admin", "net_raw", "sys_nice", "ipc_lock")
    levels: dict[str, tuple[str, ...]] = {"bpf": (), "nft": rights}
    rows = []
    for level, wrapper in levels.items():
        pair = {name: Haagent(h.agent, level, wrapper) for name, h in haagent.items()}
        rows.append((level, *_watched(lab, cluster, pair, seconds)))
    return Table(
        title="A healthy master whose processors are busy",
        note=f"{seconds:g} s beside {BURNERS} processes of nice 0 that never pause.  A client "
        "asks the virtual address every ms, and in the same way the host's own, which has no "
        "fence.  Lost to the fence is a request before and after which the other was answered.  "
        "Late is the worst wake-up of the master's loop in the last minute, in ms, as it tells.",
        columns=("fence", "asked", "lost", "own lost", "lost to the fence", "late", "changes"),
        rows=tuple(rows),
    )


def burn(host: Host) -> list[Process]:
    """Start on ``host`` what takes all processor time that it can have, at nice 0."""
    return [host.start("burner", sys.executable, "-c", "while True: pass") for _ in range(BURNERS)]


def _watched(
    lab: Lab, cluster: Cluster, pair: dict[str, Haagent], seconds: float
) -> tuple[str, ...]:
    print(f"lapses: {pair['lb1'].name}", flush=True)
    pause = threading.Event()
    for contender in pair.values():
        contender.start()
    virtual, own = (probe_udp(cluster.client, each) for each in (VIP_IPV4, _OWN_ADDRESS))
    lab.wait_until(lambda: virtual.gap_after(0) and own.gap_after(0), 15, "both answer")
    pause.wait(_CALM_S)
    burners = burn(cluster.apps["app1"])
    term, start = _term(pair["lb2"]), time.monotonic_ns()
    pause.wait(seconds)
    end = time.monotonic_ns()
    late = pair["lb1"].status()["runtime"]["loop_lateness_ms"]
    assert all(burner.running for burner in burners)
    for burner in burners:
        burner.kill()
    pause.wait(_GIVEN_UP_S)
    asked = sum(start <= outcome.sent_ns < end for outcome in virtual.outcomes())
    lost = [len(each) for each in (virtual.failures(start, end), own.failures(start, end))]
    fenced = len(virtual.failures_beside(own, start, end))
    changes = _term(pair["lb2"]) - term
    for probes in (virtual, own):
        probes.process.kill()
    for contender in pair.values():
        contender.stop()
    return (f"{asked:,}", *map(str, [*lost, fenced]), f"{late:.1f}", str(changes))


def _term(backup: Haagent) -> int:
    """Return the term, which rises with every change of master."""
    term: int = backup.status()["groups"][0]["role"]["term"]
    return term
