"""What runs for the operator: collects the hooks of one step, and keeps how each ended last.

A step's hooks come after everything else that it does: claims and words first.

What this module does not do: run anything, or try it again (``haagent.adapters.hooks``).
"""

from collections.abc import Iterable

from haagent.core.actions import Fact, RunHook, Severity
from haagent.core.events import HookEnded
from haagent.core.journal import Journal
from haagent.core.settings import HookSettings
from haagent.core.status import HookStatus
from haagent.core.units import Moment

KEPT_RESULTS = 256
"""Of the newest; a fleet of app nodes may have more hooks than anybody reads of."""


class Hooks:
    """The hooks of one agent."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._new: list[RunHook] = []
        self._last: dict[tuple[str, str], HookStatus] = {}
        self._gone: set[str] = set()
        """Queues of what is not configured any more; their last hooks may still run."""

    def run(self, queue: str, kind: str, hook: HookSettings | None, facts: Iterable[Fact]) -> None:
        """Have ``hook`` run at the end of this step; there may be none."""
        self._gone.discard(queue)
        if hook is not None:
            self._new.append(RunHook(queue=queue, kind=kind, hook=hook, facts=tuple(facts)))

    def ended(self, now: Moment, event: HookEnded) -> None:
        """Take in how a hook has ended."""
        action = event.action
        key = action.queue, action.kind
        subject, name = " ".join(key), f"{action.kind} of {action.queue}"
        if action.queue in self._gone:
            return
        self._last.pop(key, None)
        self._last[key] = HookStatus(
            queue=action.queue,
            kind=action.kind,
            ok=event.ok,
            text=event.text,
            ended=now.mono,
            took=event.took,
        )
        if not event.ok:
            self._journal.alarm(now, "hook.failed", subject, f"{name}: {event.text}")
        else:
            self._journal.clear(now, "hook.failed", subject)
            took_ms = event.took // 1_000_000
            if action.queue.startswith("group "):
                text = f"{name}: {event.text} after {took_ms} ms"
                self._journal.record(now, "hook.done", text, severity=Severity.INFO)
        while len(self._last) > KEPT_RESULTS:
            oldest = next(iter(self._last))
            del self._last[oldest]
            self._journal.clear(now, "hook.failed", " ".join(oldest))

    def forget(self, now: Moment, queue: str) -> None:
        """Keep nothing of ``queue``: what it was of is gone from the configuration."""
        self._gone.add(queue)
        for key in [key for key in self._last if key[0] == queue]:
            del self._last[key]
            self._journal.clear(now, "hook.failed", " ".join(key))

    def take(self) -> list[RunHook]:
        """Return what is to run since the last call."""
        new, self._new = self._new, []
        return new

    def status(self) -> tuple[HookStatus, ...]:
        """Return how each hook ended last, the newest last."""
        return tuple(self._last.values())
