"""Makes checks over and over, each at its own interval, and tells when one passes or fails.

:meth:`Repeater.work` runs in a thread of its own and does nothing but keep time and count; each
check is made in another thread, so that a slow one delays nobody.  A check never overlaps
itself, and one that is overdue counts as failed before it has ended: a file server that is
gone, or a program that does not die, must not look like health.

What this module does not do: make a check (``kinds``), or know of the event loop (``runner``).
"""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from haagent.adapters.checks.kinds import perform
from haagent.adapters.checks.result import Result, one_line
from haagent.core.checks import CheckSettings
from haagent.core.streak import Streak

K = TypeVar("K", bound=Hashable)
"""What a check is known by to who wants it made."""

GRACE_S = 0.1
"""How long after its time limit a check is overdue: what it finds at the limit is told better."""

_LONGEST_SLEEP_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the attempts of one check have come to so far."""

    runs: int = 0
    failed: int = 0
    last: Result | None = None
    ended_s: float = 0.0
    """When the last one ended: ``time.monotonic()``."""


@dataclass(slots=True)
class _Watched(Generic[K]):
    """A check that is made, and where it stands; touched by the timekeeper alone."""

    key: K
    check: CheckSettings
    streak: Streak
    due_s: float
    running: bool = False
    overdue_s: float | None = None
    """When the attempt that runs counts as failed; None when it does already, or none runs."""


@dataclass(frozen=True, slots=True)
class _Ended(Generic[K]):
    watched: _Watched[K]
    result: Result


class Repeater(Generic[K]):
    """See the module docstring."""

    def __init__(self, tell: Callable[[K, CheckSettings, Result], None]) -> None:
        """``tell`` is called, in the timekeeper's thread, when a check is judged anew."""
        self._tell = tell
        self._inbox: SimpleQueue[Mapping[K, CheckSettings] | _Ended[K] | None] = SimpleQueue()
        self._watched: dict[K, _Watched[K]] = {}
        self.seen: dict[K, Seen] = {}
        """By key; entries are replaced, never changed, so that any thread may read them."""

    def watch(self, checks: Mapping[K, CheckSettings]) -> None:
        """Make exactly ``checks``, from any thread; those that stay the same go on undisturbed."""
        self._inbox.put(checks)

    def stop(self) -> None:
        """Have :meth:`work` return; what still runs is not waited for."""
        self._inbox.put(None)

    def work(self) -> None:
        """Keep time until :meth:`stop`."""
        while True:
            try:
                message = self._inbox.get(timeout=self._sleep_s())
            except Empty:
                pass
            else:
                match message:
                    case None:
                        return
                    case _Ended():
                        self._take_in(message)
                    case _:
                        self._change(message)
            self._do_what_is_due(time.monotonic())

    def _sleep_s(self) -> float:
        dues = (each.overdue_s if each.running else each.due_s for each in self._watched.values())
        due_s = min((due for due in dues if due is not None), default=None)
        if due_s is None:
            return _LONGEST_SLEEP_S
        return min(_LONGEST_SLEEP_S, max(0.0, due_s - time.monotonic()))

    def _change(self, checks: Mapping[K, CheckSettings]) -> None:
        for key, watched in [*self._watched.items()]:
            if checks.get(key) != watched.check:
                del self._watched[key], self.seen[key]
        now_s = time.monotonic()
        for key, check in checks.items():
            if key not in self._watched:
                self.seen[key] = Seen()
                self._watched[key] = _Watched(
                    key, check, Streak(check.rise, check.fall), due_s=now_s
                )

    def _do_what_is_due(self, now_s: float) -> None:
        for watched in self._watched.values():
            if not watched.running and now_s >= watched.due_s:
                self._begin(watched, now_s)
            elif watched.overdue_s is not None and now_s >= watched.overdue_s:
                watched.overdue_s = None
                limit_s = watched.check.timeout / 1e9
                self._count(watched, Result(False, f"has not ended within {limit_s:g} s"))

    def _begin(self, watched: _Watched[K], now_s: float) -> None:
        interval_s = watched.check.interval / 1e9
        # In step with the clock, but never to make up for what was missed.
        watched.due_s = max(watched.due_s + interval_s, now_s)
        watched.running = True
        watched.overdue_s = now_s + watched.check.timeout / 1e9 + GRACE_S
        try:
            Thread(target=self._attempt, args=(watched,), daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._take_in(_Ended(watched, Result(False, str(error))))

    def _attempt(self, watched: _Watched[K]) -> None:
        check = watched.check
        try:
            result = perform(check.what, check.timeout / 1e9)
        except Exception as error:  # A check that cannot be made has failed, whatever the reason.
            result = Result(False, one_line(f"{type(error).__name__}: {error}"))
        self._inbox.put(_Ended(watched, result))

    def _take_in(self, ended: _Ended[K]) -> None:
        watched = ended.watched
        counted = watched.overdue_s is None
        watched.running, watched.overdue_s = False, None
        if counted and not ended.result.passed:
            # It has failed already; why is known only now.
            self._note(watched, ended.result)
        elif not counted:
            self._count(watched, ended.result)

    def _count(self, watched: _Watched[K], result: Result) -> None:
        if self._watched.get(watched.key) is not watched:
            return  # It is another check by now, or none.
        seen = self.seen[watched.key]
        failed = seen.failed + (not result.passed)
        self.seen[watched.key] = replace(seen, runs=seen.runs + 1, failed=failed)
        self._note(watched, result)
        if watched.streak.count(passed=result.passed):
            self._tell(watched.key, watched.check, result)

    def _note(self, watched: _Watched[K], result: Result) -> None:
        if self._watched.get(watched.key) is watched:
            seen = self.seen[watched.key]
            self.seen[watched.key] = replace(seen, last=result, ended_s=time.monotonic())
