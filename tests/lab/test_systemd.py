"""What systemd hears, over a real notification socket, from the start to the end."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from haagent.config import new_key
from haagent.control.client import fetch_status
from haagent.lab.agents import Agent
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4
from haagent.lab.process import Process
from haagent.lab.topology import Lab

pytestmark = pytest.mark.unhurried

WATCHDOG_US = 600_000


@dataclass(frozen=True, slots=True)
class Service:
    """An agent that was started as systemd starts it, and what it tells."""

    agent: Agent
    process: Process
    manager: socket.socket

    def next(self) -> list[str]:
        """The next message about more than the watchdog, the status or descriptors, by lines."""
        while True:
            lines = self.manager.recv(4096).decode().splitlines()
            if lines != ["WATCHDOG=1"] and not lines[0].startswith(("STATUS=", "FDSTORE")):
                return lines

    def until_silent(self) -> list[bytes]:
        """What is still heard until nothing comes for as long as the watchdog waits."""
        heard: list[bytes] = []
        with suppress(TimeoutError):
            while len(heard) < 12:
                heard.append(self.manager.recv(4096))
        return heard


@pytest.fixture
def service(lab: Lab) -> Iterator[Service]:
    text = (CONFIGURATIONS / "pair-lb1.yml").read_text().partition("haproxy:")[0]
    agent = Agent(lab.add_host("lb1", 11), text, new_key())
    address = str(agent.host.directory / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        command = (sys.executable, "-m", "haagent", "run", "-c", str(agent.configuration_file))
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(WATCHDOG_US)}
        process = agent.host.start("agent", *command, environment=environment)
        yield Service(agent, process, manager)


def test_systemd_hears_of_the_start_a_reload_and_the_end(lab: Lab, service: Service) -> None:
    # Nothing is promised before the control socket answers, and then it answers at once.
    assert service.next() == ["READY=1", "STATUS=web: init"]
    assert fetch_status(service.agent.control_socket, 3).node == "lb1"
    lab.wait_until(lambda: service.agent.host.holds(VIP_IPV4), 10, "the agent is master")

    os.kill(service.process.pid, signal.SIGHUP)
    reloading, since = service.next()
    assert reloading == "RELOADING=1"
    assert since.startswith("MONOTONIC_USEC=")
    assert service.next() == ["READY=1", "STATUS=web: master"]

    service.agent.configuration_file.write_text("")
    assert service.agent.reload().returncode == 2
    assert service.next()[0] == "RELOADING=1"
    assert service.next() == ["READY=1", "STATUS=web: master"]

    os.kill(service.process.pid, signal.SIGTERM)
    assert service.next() == ["STOPPING=1"]
    assert service.process.wait(10) == 0


def test_the_watchdog_hears_the_loop_and_nothing_of_one_that_stands_still(
    service: Service,
) -> None:
    assert service.next()[0] == "READY=1"
    service.manager.settimeout(WATCHDOG_US / 1e6)
    heard = [service.manager.recv(4096) for _ in range(12)]
    assert heard.count(b"WATCHDOG=1") > 5

    service.process.freeze()

    last_words = service.until_silent()
    assert len(last_words) < 3
