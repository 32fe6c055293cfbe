"""The checks of the agent's groups: a :class:`Repeater` beside the event loop."""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from threading import Thread

from haagent.adapters.checks.repeater import Repeater, Seen
from haagent.adapters.checks.result import Result
from haagent.core.checks import CheckSettings
from haagent.core.events import CheckReported, Event
from haagent.core.identity import GroupId


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

        A thread that is waited for must not be what the loop waits for: a check may hang.
        """
        thread = Thread(target=self._work, name="checks", daemon=True)
        thread.start()
        try:
            await self._ended
        finally:
            self._repeater.stop()

    def seen(self, group: GroupId, name: str) -> Seen:
        """Return what the attempts of a check have come to."""
        return self._repeater.seen.get((group, name), Seen())

    def _work(self) -> None:
        try:
            self._repeater.work()
        except BaseException as error:  # It is raised where it is waited for.
            self._in_loop(partial(self._ended.set_exception, error))

    def _tell(self, key: Hashable, check: CheckSettings, result: Result) -> None:
        assert isinstance(key, tuple)
        event = CheckReported(group=key[0], check=check, passed=result.passed, text=result.text)
        self._in_loop(partial(self._post, event))

    def _in_loop(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # The loop is closed: nobody is there any more to be told.
