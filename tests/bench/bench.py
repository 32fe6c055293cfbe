"""Measures haagent in the laboratory and prints the figures; nothing passes or fails by time.

``./tests/bench/run --markdown`` also writes them to ``docs/benchmarks.md``.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from haagent.lab.claims import leftovers, remove_leftovers
from haagent.lab.cluster import build
from haagent.lab.topology import Lab
from tests.bench import (
    fence,
    fleet,
    flood,
    footprint,
    haproxy_lists,
    http_load,
    lapses,
    nodes,
    packets,
    restart,
    sender,
    stability,
    startup,
    takeover,
)
from tests.bench.contenders import haagent_on, keepalived_on
from tests.bench.tables import Table

_PREFIX = "bench"
_PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_SECTIONS = (
    "detection",
    "stability",
    "idle",
    "memory",
    "startup",
    "flood",
    "fence",
    "restart",
    "lapses",
    "packets",
    "fleet",
    "haproxy",
    "nodes",
    "sender",
    "http",
)

_PREFACE = """\
# Benchmarks

Written by `./tests/bench/run --markdown`, on 2 shared cores, Linux 6.18, Debian 12.  Both load
balancers, the client and the probers share these two cores, so the maxima say as much about
the machine as about what is measured.  Load average before the start: {load:.1f}.

Side by side with haagent runs Debian's keepalived 2.2.7: VRRPv3, the same address, priorities
150 and 100, advertisements every 200 ms as haagent's heartbeats, preemption at once on both,
everything else at its default.

What to read out of it.  A killed keepalived leaves the address on its host, whose kernel goes on
answering: no request fails, and two hosts answer from the takeover on, without end.  haagent's
fence silences the address at once, so requests fail until the other takes over, and never do two
hosts answer.  In a planned handover haagent releases the address before the next master claims
it, and a few requests are lost in between; keepalived's better host claims it while the other
still has it, and loses none.
On a clean stop keepalived's backup waits its skew time; haagent's is told at once.
When a cut host returns, two hosts hold the address.  If keepalived's backup hears the better master
first, it gives way without a word, the better master never learns of it and announces nothing
(`garp_master_refresh` is off by default): clients wait until their neighbour cache gives up.
haagent's winner announces the address again.
While keepalived's backup hears no advertisement from a healthy master, both have the address.
Clients go to whoever announced it last, so some changes show in the agents' own words alone.
"""


def main() -> None:
    """See the module docstring."""
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for prefix in leftovers():
        if prefix.startswith(_PREFIX):
            remove_leftovers(prefix)
    load = os.getloadavg()[0]
    console = Console(width=None if sys.stdout.isatty() else 120)
    tables = []
    for table in _measure(given):
        console.print(table.for_terminal())
        tables.append(table.markdown())
    if given.markdown:
        _PAGE.write_text("\n".join([_PREFACE.format(load=load), *tables]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10, help="of each mishap and start")
    parser.add_argument("--idle", type=float, default=25, metavar="SECONDS", help="default: 25")
    parser.add_argument("--busy", type=float, default=60, metavar="SECONDS", help="default: 60")
    parser.add_argument("--minutes", type=float, default=5, help="of each loss; default: 5")
    parser.add_argument("--markdown", action="store_true", help="write docs/benchmarks.md too")
    parser.add_argument("--only", choices=_SECTIONS, help="measure this section alone")
    return parser.parse_args()


def _measure(given: argparse.Namespace) -> Iterator[Table]:
    with Lab(_PREFIX) as lab:
        sections = _sections(given, lab)
        for name in [given.only] if given.only else _SECTIONS:
            found = sections[name]()
            yield from [found] if isinstance(found, Table) else found


def _sections(
    given: argparse.Namespace, lab: Lab
) -> Mapping[str, Callable[[], Table | Iterable[Table]]]:
    cluster = build(lab)
    haagent, keepalived = haagent_on(cluster), keepalived_on(cluster)
    pairs, trials = (haagent, keepalived), given.trials
    return {
        "detection": lambda: takeover.measure(lab, cluster, pairs, 2 * trials),
        "stability": lambda: stability.measure(_PREFIX, given.minutes),
        "idle": lambda: footprint.measure(lab, cluster, pairs, given.idle),
        "memory": lambda: footprint.measure_parts(lab, cluster, haagent),
        "startup": lambda: startup.measure(lab, cluster, haagent["lb1"], keepalived["lb1"], trials),
        "flood": lambda: flood.measure(lab, cluster, haagent, 5),
        "fence": lambda: fence.measure(lab, cluster, haagent, keepalived, trials),
        "restart": lambda: restart.measure(lab, cluster, haagent, keepalived, trials),
        "lapses": lambda: lapses.measure(lab, cluster, haagent, given.busy),
        "packets": lambda: packets.measure(lab, 80 * trials),
        "fleet": lambda: fleet.measure(lab, given.idle),
        "haproxy": lambda: haproxy_lists.measure(lab, given.idle),
        "nodes": lambda: nodes.measure(lab, cluster, haagent, given.minutes),
        "http": lambda: http_load.measure(lab, cluster, haagent, given.busy),
        "sender": lambda: sender.measure(lab, cluster, haagent["lb1"].agent, given.idle),
    }


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
