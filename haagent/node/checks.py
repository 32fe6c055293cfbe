"""The node's own checks of its services, beside the loop.

What this module does not do: keep time, count, or ask (``haagent.adapters.checks``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

from haagent.adapters.checks.repeater import Repeater
from haagent.adapters.checks.result import Result
from haagent.core.appnode.settings import ServiceSettings
from haagent.core.checks import CheckSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check passes, or fails, and did not before."""

    check: CheckSettings
    """Whose name is that of the service."""
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """No check is made any more: a bug."""

    error: BaseException


class Checks:
    """See the module docstring."""

    def __init__(self, report: Callable[[Outcome | Fault], None]) -> None:
        """``report`` is called in another thread, and must return at once."""
        self._report = report
        self._repeater = Repeater(self._tell)
        self._thread: Thread | None = None

    def watch(self, services: tuple[ServiceSettings, ...]) -> None:
        """Make exactly the checks of ``services``; those that stay the same go on undisturbed."""
        checks = {service.name: service.check for service in services if service.check}
        if checks and self._thread is None:
            self._thread = Thread(target=self._work, daemon=True)
            self._thread.start()
        self._repeater.watch(checks)

    def stop(self) -> None:
        """Begin no further check."""
        self._repeater.stop()

    def _tell(self, _service: str, check: CheckSettings, result: Result) -> None:
        self._report(Outcome(check, result.passed, result.text))

    def _work(self) -> None:
        try:
            self._repeater.work()
        except BaseException as error:  # It is raised in the loop.
            self._report(Fault(error))
