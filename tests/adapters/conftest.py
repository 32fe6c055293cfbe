"""A place where adapters meet the real kernel: two namespaces joined by one cable."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns


@dataclass(frozen=True, slots=True)
class Pair:
    """Two namespaces, each with ``lo`` and an ``eth0`` up; the test runs inside ``near``."""

    near: str
    far: str

    def run_near(self, *command: str) -> str:
        return _run("ip", "netns", "exec", self.near, *command)

    def run_far(self, *command: str) -> str:
        return _run("ip", "netns", "exec", self.far, *command)

    def send_from_far(self, *frames: bytes) -> None:
        """Put ``frames`` on the wire at once."""
        netns.setns(self.far)
        try:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                wire.bind(("eth0", 0))
                for frame in frames:
                    wire.send(frame)
        finally:
            netns.setns(self.near)

    def until_up(self, interface: str = "eth0") -> None:
        """Wait until both ends carry frames.

        The end that was up first throws away what it is given until the kernel has looked at it.
        """
        end = time.monotonic() + 10
        for name in (self.near, self.far):
            while " state UP " not in _run("ip", "-n", name, "link", "show", interface):
                assert time.monotonic() < end, f"{interface} has no carrier"

    def until_answered(self, address: str, at: str) -> None:
        """Wait until the namespace ``at`` answers for ``address``, an IPv6 one.

        The kernel has the route to it a little later than the address, also without DAD.
        """
        end = time.monotonic() + 10
        command = ("ip", "-n", at, "-6", "route", "show", "table", "local", "type", "local")
        while f"{address} dev" not in _run(*command):
            assert time.monotonic() < end, f"there is no route to {address}"

    @contextmanager
    def start_far(self, script: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a Python script there for as long as the context lasts; its output is a pipe."""
        command = ["ip", "netns", "exec", self.far, sys.executable, "-c", script, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an ordinary test of a coroutine."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], object], limit_s: float = 10) -> None:
    """Wait for ``condition``, of which no event tells.  Raises: TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
def real_time() -> Iterator[None]:
    """The test's thread comes before every ordinary process, as the agent's does.

    What is said of shares of a processor is true of a thread that has one when it wants it.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.fixture
def pair() -> Iterator[Pair]:
    """near: 10.77.0.1/24, fd77::1/64; far: 10.77.0.2/24, fd77::2/64; both on ``eth0``."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    pair = Pair(f"haa-near-{os.getpid()}", f"haa-far-{os.getpid()}")
    home = Path("/proc/self/ns/net").open()  # noqa: SIM115  # held to come back by
    _remove(pair)  # of a killed run, whose number is ours now
    try:
        for name in (pair.near, pair.far):
            _run("ip", "netns", "add", name)
        veth = ("type", "veth", "peer", "name", "eth0", "netns", pair.far)
        _run("ip", "link", "add", "eth0", "netns", pair.near, *veth)
        for number, name in enumerate((pair.near, pair.far), start=1):
            _run("ip", "-n", name, "link", "set", "lo", "up")
            _run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            _run("ip", "-n", name, "addr", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
            _run("ip", "-n", name, "link", "set", "eth0", "up")
        pair.until_up()
        pair.until_answered("fd77::1", at=pair.near)
        pair.until_answered("fd77::2", at=pair.far)
        netns.setns(pair.near)
        yield pair
    finally:
        netns.setns(home.fileno())
        home.close()
        _remove(pair)


def _remove(pair: Pair) -> None:
    for name in (pair.near, pair.far):
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
