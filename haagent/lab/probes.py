"""What a prober saw: who answered, since when, and for how long nobody did.

:func:`probe_udp` and :func:`probe_http` start a prober; the :class:`Probes` that they return read
its log while it runs and afterwards.  All instants and durations are CLOCK_MONOTONIC nanoseconds.
"""

import time
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

from haagent.lab.host import Host
from haagent.lab.outcomes import Outcome
from haagent.lab.process import Process

_BESIDE_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """From here on another host answered."""

    at_ns: int
    who: str


def probe_udp(host: Host, address: str, *, interval_ms: float = 1) -> "Probes":
    """Ask ``address`` from ``host``; whoever holds it must run ``haagent.lab.responder``."""
    arguments = (address, "--interval-ms", str(interval_ms))
    return Probes(host.start_module("udp-prober", "haagent.lab.udp_prober", *arguments))


def probe_http(host: Host, address: str, *, rate: float = 50) -> "Probes":
    """Ask ``address`` port 80 from ``host``, ``rate`` times a second."""
    arguments = (address, "--rate", str(rate))
    return Probes(host.start_module("http-prober", "haagent.lab.http_prober", *arguments))


class Probes:
    """See the module docstring."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._outcomes: list[Outcome] = []
        self._read_bytes = 0

    def outcomes(self) -> list[Outcome]:
        """Return all outcomes so far, in the order in which they became known."""
        with self.process.log.open("rb") as log:
            log.seek(self._read_bytes)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        self._outcomes += map(Outcome.of_line, whole.decode().splitlines())
        return self._outcomes

    def gap_after(self, moment_ns: int, by: str | None = None) -> int | None:
        """Return how long after ``moment_ns`` the first answer arrived.

        Only requests sent from then on count, and with ``by`` only answers of that host: name
        the new holder, because the old one may answer until the fault takes hold.  None: no
        such answer yet.
        """
        answered = (o for o in self._answers(moment_ns) if by in (None, o.who))
        return min((o.ended_ns - moment_ns for o in answered), default=None)

    def failures(self, start_ns: int = 0, end_ns: int | None = None) -> list[Outcome]:
        """Return the failures among the requests sent from ``start_ns`` up to ``end_ns``."""
        return [o for o in self._sent(start_ns, end_ns) if not o.ok]

    def failures_beside(
        self, control: "Probes", start_ns: int = 0, end_ns: int | None = None
    ) -> list[Outcome]:
        """Return the failures while ``control``, which asks in the same way, was answered.

        What both miss is the prober's fault, or the machine's.  Fault of what is asked here is
        each failure before and after which, at most 5 ms away, the control was answered.
        """
        failures = self.failures(start_ns, end_ns)
        asked = sorted(control.outcomes(), key=lambda o: o.sent_ns) if failures else []

        def beside(moment_ns: int) -> bool:
            after = bisect_left(asked, moment_ns, key=lambda o: o.sent_ns)
            around = asked[max(0, after - 1) : after + 1]
            return len(around) == 2 and all(
                o.ok and abs(o.sent_ns - moment_ns) <= _BESIDE_NS for o in around
            )

        return [failure for failure in failures if beside(failure.sent_ns)]

    def changes(self, start_ns: int = 0) -> list[Change]:
        """Return who answered first since ``start_ns``, and each time another host took over.

        In the order of the requests, because answers may overtake each other.
        """
        changes: list[Change] = []
        for outcome in sorted(self._answers(start_ns), key=lambda o: o.number):
            if not changes or changes[-1].who != outcome.who:
                changes.append(Change(outcome.ended_ns, outcome.who))
        return changes

    def returned_within(self, window_ns: int, start_ns: int = 0) -> list[Change]:
        """Return where a host answered again so soon after another had taken its place.

        Not empty means: two hosts held the address in the same ``window_ns``.
        """
        pairs = pairwise(self.changes(start_ns)[1:])
        return [back for away, back in pairs if back.at_ns - away.at_ns < window_ns]

    def longest_silence(self, start_ns: int, end_ns: int | None = None) -> int:
        """Return the longest time without an answer between the two instants (default: now)."""
        end = time.monotonic_ns() if end_ns is None else end_ns
        arrivals = [o.ended_ns for o in self._known_since(start_ns) if o.ok and o.ended_ns < end]
        return max(later - earlier for earlier, later in pairwise([start_ns, *arrivals, end]))

    def rate(self, window_ns: int = 1_000_000_000) -> float:
        """Return the answers per second in the time just passed."""
        since = time.monotonic_ns() - window_ns
        return sum(o.ok for o in self._known_since(since)) * 1e9 / window_ns

    def _answers(self, start_ns: int) -> list[Outcome]:
        return [o for o in self._sent(start_ns, None) if o.ok]

    def _sent(self, start_ns: int, end_ns: int | None) -> list[Outcome]:
        return [
            o
            for o in self._known_since(start_ns)
            if o.sent_ns >= start_ns and (end_ns is None or o.sent_ns < end_ns)
        ]

    def _known_since(self, start_ns: int) -> list[Outcome]:
        """Return the outcomes from an instant on, without a walk through all before."""
        outcomes = self.outcomes()
        return outcomes[bisect_left(outcomes, start_ns, key=lambda o: o.ended_ns) :]
