"""The one loop: take an event or let time pass, step the core, perform what it asks for.

Adapters only post events; nobody calls into the core from a callback.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from haagent.adapters import clock
from haagent.core.actions import Action, Finished
from haagent.core.agent import Agent
from haagent.core.events import Event, Tick
from haagent.core.units import DurationNs, Moment, MonoNs, between, later, seconds

LATENESS_WINDOW = seconds(30)


LATENESS_BOUNDS = tuple(
    DurationNs(us * 1_000)
    for us in (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000)
)
"""Upper ends of the buckets: a tenth of the usual intervals, 5 ms and 20 ms, is among them."""


class Lateness:
    """The latest wake-up of the last 30 to 60 seconds, and how many were how late."""

    def __init__(self) -> None:
        self._before = self._worst = DurationNs(0)
        self._window_end = MonoNs(0)
        self.counts = [0] * (len(LATENESS_BOUNDS) + 1)
        """Since the start, by :data:`LATENESS_BOUNDS`; the last is what was later than all."""
        self.sum = DurationNs(0)

    def add(self, now: MonoNs, lateness: DurationNs) -> None:
        """Count one wake-up; negative lateness is an early one and counts as none."""
        if now >= self._window_end:
            self._before, self._worst = self._worst, DurationNs(0)
            self._window_end = later(now, LATENESS_WINDOW)
        self._worst = max(self._worst, lateness)
        if lateness >= 0:
            self.counts[bisect_left(LATENESS_BOUNDS, lateness)] += 1
            self.sum = DurationNs(self.sum + lateness)

    @property
    def worst(self) -> DurationNs:
        return max(self._before, self._worst)


class Driver:
    """See the module docstring."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._events: deque[tuple[Event, asyncio.Event | None]] = deque()
        self._wake = asyncio.Event()
        self._alarm = clock.Alarm(self._wake.set)
        self.lateness = Lateness()

    def post(self, event: Event) -> None:
        """Queue an event; returns at once."""
        self._put(event, None)

    async def settle(self, event: Event) -> None:
        """Queue an event; return once its step is done, and seen."""
        done = asyncio.Event()
        self._put(event, done)
        await done.wait()

    async def run(
        self,
        perform: Callable[[Sequence[Action]], Awaitable[None]],
        observe: Callable[[Sequence[Action]], None],
    ) -> Finished:
        """Drive the agent until it has finished; ``observe`` sees each step when it is done."""
        try:
            while True:
                event, done = await self._next()
                moment = clock.now()
                self._measure(moment)
                actions = self._agent.step(moment, event)
                await perform(actions)
                observe(actions)
                if done is not None:
                    done.set()
                if actions and isinstance(actions[-1], Finished):
                    return actions[-1]
        finally:
            self._alarm.close()

    def _put(self, event: Event, done: asyncio.Event | None) -> None:
        self._events.append((event, done))
        self._wake.set()

    async def _next(self) -> tuple[Event, asyncio.Event | None]:
        if not self._events:
            self._wake.clear()
            self._alarm.set(self._agent.deadline())
            await self._wake.wait()
        return self._events.popleft() if self._events else (Tick(), None)

    def _measure(self, moment: Moment) -> None:
        due = self._agent.deadline()
        if due is not None:
            self.lateness.add(moment.mono, between(due, moment.mono))
