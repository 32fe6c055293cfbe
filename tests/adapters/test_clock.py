"""The alarm against the kernel's own timer."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from haagent.adapters.clock import Alarm, now
from haagent.core.units import MonoNs, later, milliseconds, seconds


class Expiries:
    """When the alarm went off."""

    def __init__(self) -> None:
        self.times: list[MonoNs] = []
        self._changed = asyncio.Event()

    def expired(self) -> None:
        self.times.append(now().mono)
        self._changed.set()

    async def next(self) -> MonoNs:
        await asyncio.wait_for(self._changed.wait(), 10)
        self._changed.clear()
        return self.times[-1]


@asynccontextmanager
async def alarm() -> AsyncIterator[tuple[Alarm, Expiries]]:
    expiries = Expiries()
    timer = Alarm(expiries.expired)
    try:
        yield timer, expiries
    finally:
        timer.close()


def run(story: Callable[[Alarm, Expiries], Awaitable[None]]) -> None:
    async def told() -> None:
        async with alarm() as (timer, expiries):
            await story(timer, expiries)

    asyncio.run(told())


def test_now_reads_the_boot_time_and_the_wall_clock() -> None:
    earlier = now()
    boot, wall = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
    after = now()

    assert earlier.mono <= boot <= after.mono
    assert earlier.wall <= wall <= after.wall


def test_an_alarm_is_never_early() -> None:
    async def story(timer: Alarm, expiries: Expiries) -> None:
        for delay_ms in (1, 3, 10, 20):
            deadline = later(now().mono, milliseconds(delay_ms))
            timer.set(deadline)
            assert await expiries.next() >= deadline

    run(story)


def test_a_deadline_that_is_past_expires_at_once_even_the_earliest() -> None:
    async def story(timer: Alarm, expiries: Expiries) -> None:
        for deadline in (MonoNs(now().mono - 1), MonoNs(1), MonoNs(0), MonoNs(-1)):
            timer.set(deadline)
            await expiries.next()
        assert len(expiries.times) == 4

    run(story)


def test_a_deadline_expires_once() -> None:
    async def story(timer: Alarm, expiries: Expiries) -> None:
        timer.set(now().mono)
        await expiries.next()
        for _ in range(100):
            await asyncio.sleep(0)

        assert len(expiries.times) == 1

    run(story)


def test_a_wake_up_that_a_later_deadline_overtook_is_none() -> None:
    """The loop has seen the timer expire, but another callback of that turn set it anew."""

    async def story(timer: Alarm, expiries: Expiries) -> None:
        overtaken = asyncio.Event()

        def overtake() -> None:
            timer.set(later(now().mono, seconds(3600)))
            overtaken.set()

        reader, writer = os.pipe()
        asyncio.get_running_loop().add_reader(reader, overtake)
        os.write(writer, b"before the timer")
        deadline = later(now().mono, milliseconds(1))
        timer.set(deadline)
        while now().mono < later(deadline, milliseconds(5)):
            pass  # The loop must find both readable in one turn.
        await overtaken.wait()
        asyncio.get_running_loop().remove_reader(reader)
        os.close(reader)
        os.close(writer)
        for _ in range(100):
            await asyncio.sleep(0)

        assert expiries.times == []

    run(story)


def test_none_takes_the_alarm_back() -> None:
    async def story(timer: Alarm, expiries: Expiries) -> None:
        timer.set(now().mono)
        timer.set(None)
        for _ in range(100):
            await asyncio.sleep(0)

        assert expiries.times == []

    run(story)


def test_a_closed_alarm_gives_its_descriptor_back() -> None:
    async def story() -> None:
        before = os.listdir("/proc/self/fd")  # noqa: PTH208
        async with alarm():
            pass
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208

    asyncio.run(story())
