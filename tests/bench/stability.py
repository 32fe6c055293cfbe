"""What becomes of a healthy master in trouble: loss, half a link, a moment without its process.

haagent and keepalived go through each trouble at the same time, each on a cluster of its own
with a client that asks the address every 10 ms.  What is lost is lost between the agents alone:
the client reaches everybody.

What this module does not do: let a master die (``tests.bench.detection``).
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from haagent.lab.cluster import VIP_IPV4, Cluster, build
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.topology import Lab
from tests.bench.contenders import Haagent, Pair, haagent_on, keepalived_on, signal_all
from tests.bench.lapses import BURNERS, burn
from tests.bench.tables import MS, Table

_LOSSES = (1, 5, 10, 30)
_STOPS = 50
_STOP_S = 0.3
_PAUSE_S = (0.3, 1.0)
"""Between two stops, at random: any phase of the interval is met."""
_ONE_WAY_S = 60
_SHORT_S = 10
_ASKED_EACH_MS = 10
_CALM_NS = 1_500 * MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One contender on a cluster of its own, lb1 master, and the client that asks."""

    lab: Lab
    cluster: Cluster
    agents: Pair
    probes: Probes


Trouble = Callable[[Sequence[Site]], object]
"""Begins on all sites."""


def measure(prefix: str, minutes: float) -> Table:
    """Return the table; loss and busy processors last so many ``minutes``."""
    long_s = minutes * 60
    watched = partial(_watched, prefix)
    rows = [
        *watched({f"{percent} % loss": partial(_lose, percent) for percent in _LOSSES}, long_s),
        *watched({f"master stopped for 300 ms, {_STOPS} times": _stop_often}, 0),
        *watched({"multicast blocked": _block_multicast}, _SHORT_S),
        *watched({"master to one of two backups lost": _cut_to_backup}, _ONE_WAY_S, balancers=3),
        *watched({"master to the only backup lost": _cut_to_backup}, _SHORT_S),
        *watched({"the only backup to master lost": _cut_to_master}, _SHORT_S),
        *watched({f"{BURNERS} busy processes": _burn}, long_s),
    ]
    return Table(
        title="A healthy master in trouble",
        note=f"{minutes:g} minutes of each loss, of everything between the agents, and of busy "
        f"processes of nice 0; {_ONE_WAY_S} s with three agents; else {_SHORT_S} s.  Both agents "
        "meet a trouble at the same time, each in a cluster of its own.  Changes: how often "
        f"another host began to answer a client that asks every {_ASKED_EACH_MS} ms; the last of "
        "them, and the first alarm of each kind, in ms after the trouble began.  Became master: "
        "how often an agent said so.",
        columns=(
            "trouble",
            "agent",
            "changes",
            "last change",
            "became master",
            "longest silence",
            "masters at the end",
            "alarms",
        ),
        rows=tuple(rows),
    )


def _lose(percent: float, sites: Sequence[Site]) -> None:
    for site in sites:
        lb1, lb2 = site.cluster.balancers.values()
        site.lab.faults.loss(percent, lb1, lb2)


def _stop_often(sites: Sequence[Site]) -> None:
    pause = threading.Event()
    for _ in range(_STOPS):
        for number, seconds in (
            (signal.SIGSTOP, _STOP_S),
            (signal.SIGCONT, random.uniform(*_PAUSE_S)),
        ):
            for site in sites:
                signal_all(site.agents["lb1"], number)
            pause.wait(seconds)


def _block_multicast(sites: Sequence[Site]) -> None:
    for site in sites:
        site.lab.faults.block_multicast(site.cluster.balancers["lb1"])


def _cut_to_backup(sites: Sequence[Site]) -> None:
    for site in sites:
        hosts = site.cluster.balancers
        site.lab.faults.drop_one_way(hosts["lb1"], hosts["lb2"])


def _cut_to_master(sites: Sequence[Site]) -> None:
    for site in sites:
        hosts = site.cluster.balancers
        site.lab.faults.drop_one_way(hosts["lb2"], hosts["lb1"])


def _burn(sites: Sequence[Site]) -> None:
    burn(sites[0].cluster.apps["app1"])


def _watched(
    prefix: str, troubles: Mapping[str, Trouble], seconds: float, balancers: int = 2
) -> list[tuple[str, ...]]:
    """Return the rows of ``troubles``, which last ``seconds`` and are all there at once."""
    print(f"stability: {', '.join(troubles)}", flush=True)
    with ExitStack() as stack:
        sites = {
            name: [
                stack.enter_context(_site(f"{prefix}{kind}{number}", agents_on, balancers))
                for kind, agents_on in (("h", haagent_on), ("k", keepalived_on))
            ]
            for number, name in enumerate(troubles)
        }
        for site in (each for pair in sites.values() for each in pair):
            site.lab.wait_until(partial(_is_calm, site), 30, "lb1 is master, and all know it")
        since = time.monotonic_ns()
        before = {name: [_reigns(site) for site in pair] for name, pair in sites.items()}
        for name, trouble in troubles.items():
            trouble(sites[name])
        threading.Event().wait(seconds)
        return [
            (name, *_figures(site, since, reigns))
            for name, pair in sites.items()
            for site, reigns in zip(pair, before[name], strict=True)
        ]


@contextmanager
def _site(prefix: str, agents_on: Callable[[Cluster], Pair], balancers: int) -> Iterator[Site]:
    with Lab(prefix) as lab:
        cluster = build(lab, balancers=balancers)
        agents = agents_on(cluster)
        for agent in agents.values():
            agent.start()
        probes = probe_udp(cluster.client, VIP_IPV4, interval_ms=_ASKED_EACH_MS)
        yield Site(lab=lab, cluster=cluster, agents=agents, probes=probes)


def _is_calm(site: Site) -> bool:
    since = time.monotonic_ns() - _CALM_NS
    answers = site.probes.changes(since)
    silence_ns = site.probes.longest_silence(since)
    return (
        [change.who for change in answers] == ["lb1"]
        and silence_ns < _CALM_NS / 10
        and _masters(site) == ["lb1"]
    )


def _figures(site: Site, since_ns: int, reigns: int) -> tuple[str, ...]:
    first, *later = site.probes.changes(since_ns)
    assert first.who == "lb1"
    return (
        site.agents["lb1"].name,
        str(len(later)),
        f"{(later[-1].at_ns - since_ns) / MS:.0f}" if later else "",
        str(_reigns(site) - reigns),
        f"{site.probes.longest_silence(since_ns) / MS:.0f}",
        ", ".join(_masters(site)),
        ", ".join(_alarms(site, since_ns)),
    )


def _reigns(site: Site) -> int:
    return sum(agent.roles().count("master") for agent in site.agents.values())


def _masters(site: Site) -> list[str]:
    return [name for name, agent in site.agents.items() if agent.roles()[-1:] == ["master"]]


def _alarms(site: Site, since_ns: int) -> list[str]:
    """Return each kind of alarm that is up since the trouble began, who was first, and when."""
    raised = sorted(
        (after_ms, alarm["kind"], name)
        for name, agent in site.agents.items()
        if isinstance(agent, Haagent)
        for alarm, after_ms in _ages(agent.status(), since_ns)
        if after_ms > 0
    )
    first = {kind: f"{kind} {name} {after_ms:.0f}" for after_ms, kind, name in reversed(raised)}
    return sorted(first.values())


def _ages(status: dict[str, Any], since_ns: int) -> list[tuple[dict[str, Any], float]]:
    """Return the alarms, each with how many ms after an instant it was raised."""
    told_ms = datetime.fromisoformat(status["time"]).timestamp() * 1000
    since_ms = (time.time_ns() - (time.monotonic_ns() - since_ns)) / MS
    return [(alarm, told_ms - alarm["age_ms"] - since_ms) for alarm in status["alarms"]]
