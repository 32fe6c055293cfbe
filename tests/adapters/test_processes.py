"""Connections between processes that live and die, over a real cable."""

import asyncio
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import TypeAlias

import pytest

from haagent.adapters import processes
from haagent.adapters.processes import Processes
from haagent.core.events import Event, ProcessEnded
from haagent.core.settings import HeartbeatSettings, IPAddress, PathSettings
from tests.adapters.conftest import Pair

SETTINGS = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
FAR = ip_address("10.77.0.2")
FAR_V6 = ip_address("fd77::2")

AGENT = """
import asyncio
from haagent.adapters.processes import Processes
from haagent.core.settings import HeartbeatSettings, PathSettings

settings = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
asyncio.run(Processes(settings, print, print).run())
"""

Agent: TypeAlias = "subprocess.Popen[bytes]"
Start: TypeAlias = Callable[[], Agent]


@pytest.fixture
def start(pair: Pair) -> Iterator[Start]:
    """Start an agent on the far host that does nothing but be connected to."""
    started: list[Agent] = []

    def start() -> Agent:
        command = ["ip", "netns", "exec", pair.far, sys.executable, "-c", AGENT]
        started.append(subprocess.Popen(command))
        reach(FAR)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def reach(address: IPAddress) -> None:
    """Wait until the far host takes connections."""
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection((str(address), SETTINGS.port), 1).close()
        except OSError:
            assert time.monotonic() < end, "nobody listens"
        else:
            return


class Watcher:
    """Watches the far host, and hears what happens."""

    def __init__(self, *addresses: IPAddress) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.processes = Processes(SETTINGS, self._events.put_nowait, pytest.fail)
        self.processes.watch(frozenset((0, address) for address in addresses))

    async def hears(self, within_s: float) -> Event:
        return await asyncio.wait_for(self._events.get(), within_s)

    async def hears_nothing(self, for_s: float) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self._events.get(), for_s)

    async def is_connected(self, pair: Pair, count: int = 1) -> None:
        end = time.monotonic() + 10
        while len(pair.run_near("ss", "-Htn", "state", "established").splitlines()) != count:
            assert time.monotonic() < end, "does not connect"
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("address", [FAR, FAR_V6], ids=str)
def test_the_end_of_a_killed_process_is_heard_at_once(
    pair: Pair, start: Start, address: IPAddress
) -> None:
    far = start()

    async def watch() -> float:
        watcher = Watcher(address)
        await watcher.is_connected(pair)
        killed = time.monotonic()
        far.kill()
        assert await watcher.hears(within_s=5) == ProcessEnded(0, address)
        return time.monotonic() - killed

    assert asyncio.run(watch()) < 1, "its silence would have told as soon"


def test_who_was_never_there_has_not_ended(pair: Pair) -> None:
    async def watch() -> None:
        await Watcher(FAR).hears_nothing(for_s=1.5 * processes.RETRY_S)

    asyncio.run(watch())


def test_a_process_that_hangs_has_not_ended(pair: Pair, start: Start) -> None:
    far = start()

    async def watch() -> None:
        watcher = Watcher(FAR)
        await watcher.is_connected(pair)
        far.send_signal(signal.SIGSTOP)
        await watcher.hears_nothing(for_s=1)

    asyncio.run(watch())


def test_a_host_that_is_cut_off_has_not_ended(pair: Pair, start: Start) -> None:
    far = start()

    async def watch() -> None:
        watcher = Watcher(FAR)
        await watcher.is_connected(pair)
        pair.run_far("ip", "link", "set", "eth0", "down")
        far.kill()
        await watcher.hears_nothing(for_s=2)

    asyncio.run(watch())


def test_a_process_that_is_there_again_is_watched_again(pair: Pair, start: Start) -> None:
    first = start()

    async def watch() -> None:
        watcher = Watcher(FAR)
        await watcher.is_connected(pair)
        first.kill()
        assert await watcher.hears(within_s=5) == ProcessEnded(0, FAR)
        second = start()
        await watcher.is_connected(pair)
        second.kill()
        assert await watcher.hears(within_s=5) == ProcessEnded(0, FAR)

    asyncio.run(watch())


def test_who_is_no_longer_watched_is_left_alone(pair: Pair, start: Start) -> None:
    far = start()

    async def watch() -> None:
        watcher = Watcher(FAR, FAR_V6)
        await watcher.is_connected(pair, 2)
        watcher.processes.watch(frozenset({(0, FAR_V6)}))
        await watcher.is_connected(pair, 1)
        far.kill()
        assert await watcher.hears(within_s=5) == ProcessEnded(0, FAR_V6)
        await watcher.hears_nothing(for_s=0.5)

    asyncio.run(watch())


def test_a_crowd_of_guests_keeps_nobody_out_and_whoever_speaks_is_shown_the_door(
    pair: Pair, start: Start
) -> None:
    start()
    where = (str(FAR), SETTINGS.port)
    guests = [socket.create_connection(where, 5) for _ in range(processes.GUESTS + 20)]
    try:
        # A kernel whose queue is full has one wait that came before others.
        end = time.monotonic() + 20
        while len(closed := select.select(guests, [], [], 0.01)[0]) < 20:
            assert time.monotonic() < end, "twenty are too many"
        assert {each.recv(1) for each in closed} == {b""}
        assert len(closed) <= 21, "twenty, and one while that which start() made is not over"
        guest = next(each for each in guests if each not in closed)
        guest.settimeout(5)
        guest.sendall(b"hello")
        assert guest.recv(1) == b""
        reach(FAR)
    finally:
        for guest in guests:
            guest.close()


def test_a_port_that_is_taken_is_told_once_and_ends_nothing(pair: Pair) -> None:
    said: list[str] = []
    heard: list[Event] = []

    async def run() -> None:
        running = asyncio.create_task(Processes(SETTINGS, heard.append, said.append).run())
        done, _ = await asyncio.wait({running}, timeout=0.5)
        assert not done
        running.cancel()

    with socket.create_server(("", SETTINGS.port)):
        asyncio.run(run())

    assert len(said) == 1
    assert "cannot listen on TCP port 6940: Address already in use" in said[0]
