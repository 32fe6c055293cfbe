"""The checks of the agent's groups: a :class:`Repeater` beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from typing import TypeAlias

from haagent.adapters.checks.repeater import Repeater, Seen
from haagent.adapters.checks.result import Result
from haagent.core.checks import CheckSettings
from haagent.core.events import CheckReported, Event
from haagent.core.identity import GroupId
from haagent.core.status import CheckRuns
from haagent.core.units import DurationNs

Key: TypeAlias = tuple[GroupId, str]
"""The group and the name of a check."""


class Checks:
    """Posts ``CheckReported`` when a check is judged anew.  To be made inside the running loop."""

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._repeater = Repeater(self._tell)
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def watch(self, checks: Iterable[tuple[GroupId, CheckSettings]]) -> None:
        """Make exactly ``checks``; returns at once."""
        self._repeater.watch({(group, check.name): check for group, check in checks})

    async def run(self) -> None:
        """Make them until cancelled; a fault of the timekeeper is one of the agent.

        Its thread is not waited for at the end: a check may hang.
        """
        thread = Thread(target=self._work, name="checks", daemon=True)
        thread.start()
        try:
            await self._ended
        finally:
            self._repeater.stop()

    def runs(self) -> dict[Key, CheckRuns]:
        """Return what the attempts have come to, by group and name of the check."""
        now_s = time.monotonic()
        return {key: _runs(seen, now_s) for key, seen in self._repeater.seen.copy().items()}

    def _work(self) -> None:
        try:
            self._repeater.work()
        except BaseException as error:  # It is raised where it is waited for.
            self._in_loop(partial(self._ended.set_exception, error))

    def _tell(self, key: Key, check: CheckSettings, result: Result) -> None:
        event = CheckReported(group=key[0], check=check, passed=result.passed, text=result.text)
        self._in_loop(partial(self._post, event))

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # The loop is closed: nobody is there any more to be told.


def _runs(seen: Seen, now_s: float) -> CheckRuns:
    if seen.last is None:
        return CheckRuns(runs=seen.runs, failed=seen.failed)
    age = DurationNs(max(0, round((now_s - seen.ended_s) * 1e9)))
    return CheckRuns(runs=seen.runs, failed=seen.failed, text=seen.last.text, age=age)
