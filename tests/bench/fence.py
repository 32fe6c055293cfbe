"""How long the address of a dead or stopped master is still heard from its host.

A witness asks both hosts themselves, every ms, by ARP and by IP: a client asks only the one that
ARP names, and would not notice.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from haagent.lab.agents import with_capabilities
from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.topology import Lab
from haagent.lab.witness import Witness
from tests.bench.contenders import INTERVAL_S, Contender, Haagent, Pair, signal_all
from tests.bench.tables import MS, Table, median_and_maximum

_CALM_NS = 700 * MS
_AFTER_KILL_S = 1.5
_STOPPED_S = 5.0
_AWAKE_S = 1.0

_KILL, _STOP = "SIGKILL", "SIGSTOP for 5 s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """One mishap as the witness heard it; nanoseconds."""

    last_answer_ns: int
    """From the mishap to the old host's last answer."""
    both_ns: int
    """From the new master's first answer to the old host's last."""
    taken_over_ns: int
    """From the mishap to the new master's first answer."""
    both_awake_ns: int | None = None
    """After SIGCONT: from the woken host's first answer to the new master's last."""


Found = dict[tuple[str, str], list[Silence]]
"""By mishap and name of the contender."""


def measure(
    lab: Lab,
    cluster: Cluster,
    haagent: Mapping[str, Haagent],
    keepalived: Pair,
    trials: int,
) -> Table:
    """Return the table after ``trials`` of each mishap, half as many stops."""
    rights = with_capabilities("net_admin", "net_raw", "sys_nice", "ipc_lock")
    pairs: tuple[Pair, ...] = (
        {name: Haagent(each.agent, "haagent, bpf") for name, each in haagent.items()},
        {name: Haagent(each.agent, "haagent, nft", rights) for name, each in haagent.items()},
        keepalived,
    )
    witness = Witness(lab, cluster.balancers, VIP_IPV4)
    found: Found = {}
    for pair in pairs:
        name = pair["lb1"].name
        for trial, (mishap, silence) in enumerate(_trials(lab, witness, pair, trials), 1):
            print(f"fence: {name}, {mishap}, {trial}", flush=True)
            found.setdefault((mishap, name), []).append(silence)
    return _table(found, trials)


def _trials(lab: Lab, witness: Witness, pair: Pair, trials: int) -> Iterator[tuple[str, Silence]]:
    better, other = pair["lb1"], pair["lb2"]
    better.start()
    other.start()
    for _ in range(trials):
        _wait_until_calm(lab, witness)
        yield _KILL, _killed(witness, better)
        better.start()
    for _ in range(trials // 2):
        _wait_until_calm(lab, witness)
        yield _STOP, _stopped(witness, better)
    better.stop()
    other.stop()


def _wait_until_calm(lab: Lab, witness: Witness) -> None:
    """Wait until lb1 alone has been heard for a while, and any part of an interval more."""

    def calm() -> bool:
        since = time.monotonic_ns() - _CALM_NS
        return len(witness.answers("lb1", since)) > 100 and not witness.answers("lb2", since)

    lab.wait_until(calm, 30, "lb1 alone is heard")
    threading.Event().wait(random.uniform(0, INTERVAL_S))


def _killed(witness: Witness, better: Contender) -> Silence:
    since = better.kill()
    taken_over_ns = witness.wait_for("lb2", since)
    witness.wait(_AFTER_KILL_S, since)
    return Silence(
        last_answer_ns=witness.last_answer("lb1", since),
        both_ns=witness.both("lb1", "lb2", since),
        taken_over_ns=taken_over_ns,
    )


def _stopped(witness: Witness, better: Contender) -> Silence:
    since = signal_all(better, signal.SIGSTOP)
    taken_over_ns = witness.wait_for("lb2", since)
    witness.wait(_STOPPED_S, since)
    last_answer_ns = witness.last_answer("lb1", since)
    both_ns = witness.both("lb1", "lb2", since)
    woken = signal_all(better, signal.SIGCONT)
    witness.wait(_AWAKE_S, woken)
    return Silence(
        last_answer_ns=last_answer_ns,
        both_ns=both_ns,
        taken_over_ns=taken_over_ns,
        both_awake_ns=witness.both("lb2", "lb1", woken),
    )


def _table(found: Found, trials: int) -> Table:
    return Table(
        title="The address of a dead or stopped master",
        note=f"Median / maximum over {trials} kills and {trials // 2} stops, in ms.  Both hosts "
        "are asked every ms, by ARP and under their own MAC by IP, whomever ARP names.  Asking "
        f"ends {_AFTER_KILL_S} s after a kill and with the stop after {_STOPPED_S} s: who is heard "
        "until then would be for longer.  Both, awake: in the second after SIGCONT, from the first "
        "answer of the woken host, which is to be master again, to the last of the other.",
        columns=("mishap", "agent", "old host's last", "both", "new master's first", "both, awake"),
        rows=tuple(
            (
                mishap,
                name,
                _ms(silences, lambda s: s.last_answer_ns),
                _ms(silences, lambda s: s.both_ns),
                _ms(silences, lambda s: s.taken_over_ns),
                _awake(silences),
            )
            for (mishap, name), silences in sorted(found.items())
        ),
    )


def _ms(silences: Sequence[Silence], value: Callable[[Silence], int]) -> str:
    return median_and_maximum([value(silence) / MS for silence in silences], digits=1)


def _awake(silences: Sequence[Silence]) -> str:
    spans = [s.both_awake_ns / MS for s in silences if s.both_awake_ns is not None]
    return median_and_maximum(spans, digits=1) if spans else ""
