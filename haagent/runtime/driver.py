"""The one loop: take an event or let time pass, step the core, perform what it asks for.

Adapters only post events; nobody calls into the core from a callback.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from haagent.adapters import clock
from haagent.core.actions import Action, Finished
from haagent.core.agent import Agent
from haagent.core.events import Event, Tick
from haagent.core.units import DurationNs, Moment, MonoNs, between, later, seconds

LATENESS_WINDOW = seconds(30)


class Lateness:
    """The latest wake-up of the last 30 to 60 seconds."""

    def __init__(self) -> None:
        self._before = self._worst = DurationNs(0)
        self._window_end = MonoNs(0)

    def add(self, now: MonoNs, lateness: DurationNs) -> None:
        """Count one wake-up; negative lateness is an early one and counts as none."""
        if now >= self._window_end:
            self._before, self._worst = self._worst, DurationNs(0)
            self._window_end = later(now, LATENESS_WINDOW)
        self._worst = max(self._worst, lateness)

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
        late = DurationNs(0) if due is None else between(due, moment.mono)
        self.lateness.add(moment.mono, late)
