"""How long the address is gone when its master fails, stops or comes back.

A client asks the address 1,000 times a second.  In each trial haagent and keepalived go through
the same five mishaps in turn, so that both meet the same moods of the machine.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.topology import Lab
from tests.bench.contenders import INTERVAL_S, Pair
from tests.bench.tables import MS, Table, median_and_maximum

_CALM_NS = 2_000 * MS
"""How long nothing must change before the next mishap; haagent's last announcement is at 1 s, and
after eight heartbeats it knows how late they are."""

_DIES, _KILLED = "host dies silently", "process killed"
_MISHAPS = (_DIES, "its network returns", _KILLED, "better host starts again", "clean stop")
"""Each leaves what the next one needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One mishap as the client saw it; nanoseconds."""

    taken_over_ns: int
    """From the mishap to the first answer of the new master."""
    silence_ns: int
    """The longest time without an answer."""
    failed: int
    """Requests that were never answered."""
    both_ns: int
    """From the first answer of the new master to the last one of the old."""


Found = dict[tuple[str, str], list[Outage]]
"""By mishap and name of the contender."""


def measure(lab: Lab, cluster: Cluster, pairs: Sequence[Pair], trials: int) -> tuple[Table, Table]:
    """Return two tables after ``trials`` rounds: of detection, and of all that clients notice."""
    probes = probe_udp(cluster.client, VIP_IPV4)
    found: Found = {}
    for trial in range(trials):
        for pair in pairs:
            name = pair["lb1"].name
            print(f"takeover: trial {trial + 1} of {trials}, {name}", flush=True)
            for mishap, outage in _trial(lab, cluster, probes, pair):
                found.setdefault((mishap, name), []).append(outage)
    probes.process.kill()
    names = [pair["lb1"].name for pair in pairs]
    return _detection(found, names, trials), _table(found, names, trials)


def _trial(lab: Lab, cluster: Cluster, probes: Probes, pair: Pair) -> Iterator[tuple[str, Outage]]:
    better, other = pair["lb1"], pair["lb2"]
    begun = time.monotonic_ns()
    better.start()
    other.start()
    _wait_until_calm(lab, probes, begun, "lb1")
    causes: tuple[Callable[[], int], ...] = (
        lambda: lab.faults.cut(cluster.balancers["lb1"]).since_ns,
        lab.faults.heal,
        better.kill,
        better.start,
        better.stop,
    )
    masters = ("lb2", "lb1") * 3
    for mishap, cause, master in zip(_MISHAPS, causes, masters, strict=False):
        # Calm comes at a fixed time after the last change, the next heartbeat too: without this
        # every mishap would meet the same point of the interval.
        threading.Event().wait(random.uniform(0, INTERVAL_S))
        since = cause()
        calm_at = _wait_until_calm(lab, probes, since, master)
        yield mishap, _outage(probes, since, calm_at, master)
    other.stop()


def _wait_until_calm(lab: Lab, probes: Probes, since_ns: int, master: str) -> int:
    """Wait until ``master`` alone has answered for a while, every time; return that instant."""

    def calm() -> bool:
        start = time.monotonic_ns() - _CALM_NS
        answers = probes.changes(start)
        return (
            start > since_ns
            and [change.who for change in answers] == [master]
            and probes.longest_silence(start) < 50 * MS
        )

    lab.wait_until(calm, 30, f"{master} answers alone")
    return time.monotonic_ns()


def _outage(probes: Probes, since_ns: int, end_ns: int, master: str) -> Outage:
    answers = [o for o in probes.outcomes() if o.ok and since_ns <= o.sent_ns < end_ns]
    first = min(o.ended_ns for o in answers if o.who == master)
    last_of_old = max((o.ended_ns for o in answers if o.who != master), default=first)
    return Outage(
        taken_over_ns=first - since_ns,
        silence_ns=probes.longest_silence(since_ns, end_ns),
        failed=len(probes.failures(since_ns, end_ns)),
        both_ns=max(0, last_of_old - first),
    )


def _detection(found: Found, names: Sequence[str], trials: int) -> Table:
    return Table(
        title="Detection and takeover",
        note=f"From the mishap, at any phase of the interval I of {INTERVAL_S * 1000:.0f} ms, to "
        f"the first answer of the new master to a client that asks every ms; {trials} trials of "
        "each, in ms and in I.  Ratio: of the means.",
        columns=("mishap", "agent", "mean", "median", "max", "mean, I", "max, I", "ratio"),
        rows=tuple(
            _detected(found, mishap, name, names) for mishap in (_DIES, _KILLED) for name in names
        ),
    )


def _detected(found: Found, mishap: str, name: str, names: Sequence[str]) -> tuple[str, ...]:
    spent = {each: [o.taken_over_ns / MS for o in found[mishap, each]] for each in names}
    average, longest = mean(spent[name]), max(spent[name])
    ours, peer = (mean(spent[each]) for each in names)
    return (
        mishap,
        name,
        *(f"{each:.0f}" for each in (average, median(spent[name]), longest)),
        *(f"{each / 1000 / INTERVAL_S:.2f}" for each in (average, longest)),
        f"{ours / peer:.2f}" if name == names[0] else "",
    )


def _table(found: Found, names: Sequence[str], trials: int) -> Table:
    return Table(
        title="Takeover and handover",
        note=f"Median / maximum over {trials} trials, in ms and requests, as seen by a client that "
        "asks every ms.  Ratio: of the medians of the time until the new master answers.",
        columns=("mishap", "agent", "new master answers", "ratio", "silence", "failed", "both"),
        rows=tuple(_row(found, mishap, name, names) for mishap in _MISHAPS for name in names),
    )


def _row(found: Found, mishap: str, name: str, names: Sequence[str]) -> tuple[str, ...]:
    outages = found[mishap, name]
    ours, peer = (median(o.taken_over_ns for o in found[mishap, each]) for each in names)
    return (
        mishap,
        name,
        median_and_maximum([o.taken_over_ns / MS for o in outages]),
        f"{ours / peer:.2f}" if name == names[0] else "",
        median_and_maximum([o.silence_ns / MS for o in outages]),
        median_and_maximum([o.failed for o in outages]),
        median_and_maximum([o.both_ns / MS for o in outages]),
    )
