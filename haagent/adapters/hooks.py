"""Runs the operator's hooks: a lane each, one at a time, the newest of those that wait.

Each run has a thread for as long as it takes, and the loop waits for none.  What has failed is
tried again, later each time, unless a newer one waits.  A webhook is posted by a program of our
own, so that one way of ending things in time does for all.

What this module does not do: decide that anything runs (``haagent.core``).
"""

import asyncio
import json
import os
from asyncio import Event, Task
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from haagent.adapters.programs import KILL_AFTER_S, Ended, run, run_module
from haagent.adapters.programs.in_thread import in_thread
from haagent.core.actions import CancelHook, RunHook
from haagent.core.events import HookEnded
from haagent.core.units import DurationNs

RETRY_FIRST_S = 1.0
"""How long to wait before a hook that has failed is tried again; it doubles."""

MOST_OF_NODES = 8
"""Hooks of app nodes that run at once: a fleet must not become as many processes.

Those of groups are few, and never wait for these.
"""


@dataclass(slots=True)
class _Lane:
    """Hooks of which one runs at a time."""

    task: "Task[None] | None" = None
    running: RunHook | None = None
    waiting: RunHook | None = None
    newer: Event = field(default_factory=Event)
    """Set while one waits."""
    stop: int | None = None
    """The descriptor that ends what runs."""
    unwanted: bool = False
    """Nobody wants to know how it ends, nor to have it tried again."""

    def end(self) -> None:
        """End what runs."""
        if self.stop is not None:
            os.eventfd_write(self.stop, 1)


class Hooks:
    """See the module docstring.  To be used inside one event loop."""

    def __init__(
        self,
        post: Callable[[HookEnded], None],
        report: Callable[[str], None],
        retry_first_s: float = RETRY_FIRST_S,
    ) -> None:
        """``report`` is told what fails at the end, when nobody listens to events any more."""
        self._post = post
        self._report = report
        self._retry_first_s = retry_first_s
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._places = asyncio.Semaphore(MOST_OF_NODES)
        self._ending = False

    def perform(self, action: RunHook | CancelHook) -> None:
        """Have a hook run, or end it; returns at once."""
        if isinstance(action, RunHook):
            self._run(action)
        else:
            self._cancel(action.action)

    @property
    def running(self) -> str:
        """What runs for a group or is to run; empty when nothing is."""
        for lane in self._lanes.values():
            action = lane.running or lane.waiting
            if action is not None and action.queue.startswith("group "):
                return f"{action.kind} of {action.queue}"
        return ""

    async def finish(self, limit_s: float) -> None:
        """Wait for all that runs and waits, for ``limit_s`` at most; then end it."""
        self._ending = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=limit_s)
        for lane in self._lanes.values():
            lane.waiting = None
            lane.unwanted = True
            lane.newer.set()
            if lane.running is not None:
                self._report(f"hook ended with the agent: {_name(lane.running)}")
            lane.end()
        await asyncio.wait(tasks, timeout=2 * KILL_AFTER_S)

    def _run(self, action: RunHook) -> None:
        """Have it run after the one that runs in its lane, and instead of one that waits there."""
        lane = self._lanes.setdefault(action.lane, _Lane())
        lane.waiting = action
        lane.newer.set()
        if lane.task is None:
            lane.task = asyncio.create_task(self._work(action.lane, lane))

    def _cancel(self, action: RunHook) -> None:
        lane = self._lanes.get(action.lane)
        if lane is None:
            return
        if lane.waiting == action:
            lane.waiting = None
            lane.newer.clear()
        if lane.running == action:
            lane.unwanted = True
            lane.end()

    async def _work(self, key: tuple[str, str], lane: _Lane) -> None:
        while (action := lane.waiting) is not None:
            lane.waiting = None
            lane.newer.clear()
            lane.running, lane.unwanted = action, False
            if action.queue.startswith("node "):
                async with self._places:
                    await self._until_done(lane, action)
            else:
                await self._until_done(lane, action)
            lane.running = None
        del self._lanes[key]

    async def _until_done(self, lane: _Lane, action: RunHook) -> None:
        """Try until it has ended well, has been tried often enough, or is not wanted any more."""
        retries = action.hook.retries
        for attempt in range(retries + 1):
            ended = await self._once(lane, action)
            if lane.unwanted:
                return
            pause_s = self._retry_first_s * 2**attempt
            again = not ended.ok and attempt < retries
            # The same words each time: an alarm that changes is news.
            text = ended.text + ("; it is tried again" if again else "")
            took = DurationNs(int(ended.took_s * 1e9))
            self._post(HookEnded(action=action, ok=ended.ok, text=text, took=took))
            if self._ending and not ended.ok:
                self._report(f"hook {_name(action)}: {text}")
            if not again or await _set_within(lane.newer, pause_s):
                return

    async def _once(self, lane: _Lane, action: RunHook) -> Ended:
        stop = lane.stop = os.eventfd(0, os.EFD_CLOEXEC)
        ended = await in_thread(partial(_run, action, stop))
        lane.stop = None
        os.close(stop)
        return ended


def _run(action: RunHook, stop: int) -> Ended:
    hook, body = action.hook, json.dumps(dict(action.facts))
    timeout_s = hook.timeout / 1e9
    if hook.url:
        request = {"url": hook.url, "body": body}
        return run_module("adapters.webhook", request, timeout_s=timeout_s, stop=stop)
    return run(
        hook.command,
        stdin=f"{body}\n".encode(),
        environment=_environment(action),
        timeout_s=timeout_s,
        user=hook.user,
        stop=stop,
    )


def _environment(action: RunHook) -> dict[str, str]:
    variables = {}
    for name, fact in action.facts:
        text = " ".join(fact) if isinstance(fact, tuple) else str("" if fact is None else fact)
        variables[f"HAAGENT_{name.upper()}"] = text
    return variables


async def _set_within(event: Event, pause_s: float) -> bool:
    try:
        async with asyncio.timeout(pause_s):
            return await event.wait()
    except TimeoutError:
        return False


def _name(action: RunHook) -> str:
    return f"{action.kind} of {action.queue}"
