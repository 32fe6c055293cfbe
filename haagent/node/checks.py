"""The node's own checks of its services, each in a thread: a slow one holds up nothing.

The outcome goes to ``report``, which is called in that thread and must return at once: of the
first check, and whenever rise or fall has turned it.

What this module does not do: ask (``haagent.adapters.checks``).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from haagent.adapters.checks.result import Result
from haagent.core.node_settings import Probe, ServiceCheckSettings, ServiceSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """A service is well, or is not, and why."""

    service: str
    healthy: bool
    text: str


class Checks:
    """Runs the checks of ``services`` until :meth:`stop`."""

    def __init__(
        self,
        services: tuple[ServiceSettings, ...],
        report: Callable[[Outcome], None],
        healthy: frozenset[str] = frozenset(),
        before: "Checks | None" = None,
    ) -> None:
        """``healthy``: services that have passed their check already.

        ``before``: what was stopped for these; no service is asked twice at once.
        """
        self._end = threading.Event()
        self._threads = {
            service.name: threading.Thread(
                target=self._repeat,
                args=(
                    service.name,
                    service.check,
                    Verdict(service.check, True if service.name in healthy else None),
                    report,
                    before and before.thread(service.name),
                ),
                daemon=True,
            )
            for service in services
            if service.check
        }
        for thread in self._threads.values():
            thread.start()

    def stop(self) -> None:
        """Begin no further check, and report nothing more."""
        self._end.set()

    def join(self, patience_s: float) -> None:
        """Wait at most ``patience_s`` for what still runs."""
        deadline_s = time.monotonic() + patience_s
        for thread in self._threads.values():
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def thread(self, service: str) -> threading.Thread | None:
        """Return what asks ``service``."""
        return self._threads.get(service)

    def _repeat(
        self,
        service: str,
        check: ServiceCheckSettings,
        verdict: "Verdict",
        report: Callable[[Outcome], None],
        before: threading.Thread | None,
    ) -> None:
        if before:
            before.join()
        due_s = time.monotonic()
        while not self._end.is_set():
            passed, text = ask(check)
            if not self._end.is_set() and verdict.turned_by(passed):
                report(Outcome(service, passed, text))
            # What took longer than its interval is not made up for.
            due_s = max(due_s + check.interval / 1e9, time.monotonic())
            self._end.wait(due_s - time.monotonic())


class Verdict:
    """Rise and fall: when the outcome of a check turns."""

    def __init__(self, settings: ServiceCheckSettings, healthy: bool | None = None) -> None:
        """``healthy``: what was known before; None lets the first check decide."""
        self._settings = settings
        self._healthy = healthy
        self._against = 0
        """Checks in a row that say otherwise."""

    def turned_by(self, passed: bool) -> bool:
        """Take in one check; return whether the outcome is now ``passed`` and was not before."""
        if passed is self._healthy:
            self._against = 0
            return False
        self._against += 1
        needed = self._settings.rise if passed else self._settings.fall
        if self._healthy is not None and self._against < needed:
            return False
        self._healthy, self._against = passed, 0
        return True


def ask(check: ServiceCheckSettings) -> Result:
    """Return what one check says, after its time limit at the latest."""
    # Each is imported where it is needed, so that a node pays for no kind that it does not use.
    timeout_s = check.timeout / 1e9
    match check.probe:
        case Probe.TCP:
            from haagent.adapters.checks.network import tcp  # noqa: PLC0415

            address, port = check.target
            return tcp(address, int(port), timeout_s)
        case Probe.HTTP:
            from haagent.adapters.checks.network import http  # noqa: PLC0415

            return http(check.target[0], timeout_s)
        case Probe.EXEC:
            from haagent.adapters.checks.command import command  # noqa: PLC0415

            return command(check.target, timeout_s, check.user)
        case _:
            assert_never(check.probe)
