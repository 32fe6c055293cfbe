"""What is counted for those who observe the agent, and was never asked of the core.

What this module does not do: name a metric (``haagent.observe.metrics``).
"""

import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import get_args

from haagent.core.messages import Body
from haagent.core.settings import HeartbeatSettings
from haagent.core.units import Moment
from haagent.observe.facts import ConfigurationFacts, DatagramFacts, LatenessFacts, ProcessFacts
from haagent.runtime.driver import LATENESS_BOUNDS, Lateness

_WORDS = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Body)}
"""``probe_ack``."""


class Telemetry:
    """See the module docstring."""

    def __init__(self, timing: HeartbeatSettings, started: Moment) -> None:
        self._interfaces = [path.interface for path in timing.paths]
        self._started_at_s = started.wall / 1e9
        self._sent: Counter[tuple[int, type[Body]]] = Counter()
        self._received: Counter[tuple[int, type[Body]]] = Counter()
        self.configuration = ConfigurationFacts(accepted=True, accepted_at_s=self._started_at_s)

    def sent(self, path: int, body: Body) -> None:
        """Count a datagram that has left this host on a path."""
        self._sent[path, type(body)] += 1

    def received(self, path: int, body: Body) -> None:
        """Count a genuine datagram that came on a path."""
        self._received[path, type(body)] += 1

    def reloaded(self, now: Moment, *, accepted: bool) -> None:
        """Take in how a reload ended; who is refused keeps what was accepted before."""
        at_s = now.wall / 1e9 if accepted else self.configuration.accepted_at_s
        self.configuration = ConfigurationFacts(accepted=accepted, accepted_at_s=at_s)

    def datagrams(self) -> tuple[DatagramFacts, ...]:
        """Return what was counted, by interface and type."""
        sent, received = (self._by_interface(each) for each in (self._sent, self._received))
        return tuple(
            DatagramFacts(
                interface=interface,
                type=_WORDS[kind],
                sent=sent[interface, kind],
                received=received[interface, kind],
            )
            for interface, kind in {**sent, **received}
        )

    def process(self) -> ProcessFacts:
        """Return what this process has used; reads a file of the kernel."""
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return ProcessFacts(
            cpu_s=time.process_time(),
            memory_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            started_at_s=self._started_at_s,
        )

    def _by_interface(
        self, counted: Counter[tuple[int, type[Body]]]
    ) -> Counter[tuple[str, type[Body]]]:
        """Both families of an interface are one."""
        summed: Counter[tuple[str, type[Body]]] = Counter()
        for (path, kind), count in counted.items():
            summed[self._interfaces[path], kind] += count
        return summed


def lateness_facts(lateness: Lateness) -> LatenessFacts:
    """Return how late the loop has been."""
    return LatenessFacts(
        bounds_s=tuple(bound / 1e9 for bound in LATENESS_BOUNDS),
        counts=tuple(lateness.counts),
        sum_s=lateness.sum / 1e9,
        worst_s=lateness.worst / 1e9,
    )
