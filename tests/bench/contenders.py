"""What is measured on a host of the laboratory: haagent, and Debian's keepalived beside it.

Both have the same address, priorities and interval, and a configuration as an operator would
write it: the better host takes over again as soon as it is back.  keepalived speaks VRRPv3 with
everything else at its default; all its files are in the host's directory.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import psutil

from haagent.lab.agents import Agent
from haagent.lab.cluster import PRIORITIES, VIP_IPV4, Cluster, by_rank, install_agents
from haagent.lab.host import Host
from haagent.lab.process import Process

INTERVAL_S = 0.2
"""haagent's default."""


class Contender(Protocol):
    """One of them on one host.  Methods that disturb return the instant just before."""

    name: str

    def start(self, environment: Mapping[str, str] | None = None) -> int:
        """Start it and return at once."""

    def stop(self) -> int:
        """Stop it cleanly and wait until it ended."""

    def kill(self) -> int:
        """Kill all its processes with SIGKILL, in no time."""

    def pids(self) -> list[int]:
        """Return the pids of all its processes."""

    def roles(self) -> list[str]:
        """Return the roles that it has taken since it was started, by its own word."""


class Haagent:
    """haagent with the minimal pair of ``conf/`` and ``preempt: immediately``.

    ``wrapper`` executes it.
    """

    def __init__(self, agent: Agent, name: str = "haagent", wrapper: Sequence[str] = ()) -> None:
        self.agent = agent
        self.name = name
        self._wrapper = wrapper
        self._process: Process | None = None

    def start(self, environment: Mapping[str, str] | None = None) -> int:
        arguments = ("run", "-c", str(self.agent.configuration_file))
        command = (*self._wrapper, sys.executable, "-m", "haagent", *arguments)
        moment = time.monotonic_ns()
        self._process = self.agent.host.start("agent", *command, environment=environment)
        return moment

    def stop(self) -> int:
        return self._running.stop()

    def kill(self) -> int:
        return self._running.kill()

    def pids(self) -> list[int]:
        return [self._running.pid]

    def roles(self) -> list[str]:
        return re.findall(r" -> (\w+): .* \[role\.changed ", self._running.log_text())

    def log_text(self) -> str:
        return self._running.log_text()

    def status(self) -> dict[str, Any]:
        """Return what ``haagent status --json`` says."""
        status = self.agent.status()
        assert status is not None, "the agent is gone"
        return status

    @property
    def _running(self) -> Process:
        assert self._process is not None, "was never started"
        return self._process


class Keepalived:
    """See the module docstring."""

    name = "keepalived"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._file = host.directory / "keepalived.conf"
        self._file.write_text(
            f"""\
global_defs {{
    router_id {host.name}
    vrrp_version 3
}}
vrrp_instance web {{
    state {"MASTER" if host.name == "lb1" else "BACKUP"}
    interface eth0
    virtual_router_id 51
    priority {PRIORITIES[host.name]}
    advert_int {INTERVAL_S}
    virtual_ipaddress {{
        {VIP_IPV4}
    }}
}}
"""
        )
        self._process: Process | None = None

    def start(self, environment: Mapping[str, str] | None = None) -> int:
        directory = self._host.directory
        options = {
            "--use-file": self._file,
            "--pid": directory / "keepalived.pid",
            "--vrrp_pid": directory / "keepalived-vrrp.pid",
        }
        files = [f"{option}={path}" for option, path in options.items()]
        command = ("keepalived", "--vrrp", "--dont-fork", "--log-console", *files)
        moment = time.monotonic_ns()
        self._process = self._host.start("keepalived", *command, environment=environment)
        return moment

    def stop(self) -> int:
        return self._running.stop()

    def kill(self) -> int:
        # The parent must see nothing, or it starts its child again; and a child that sees its
        # parent die says goodbye in good order.
        self._running.freeze()
        children = psutil.Process(self._running.pid).children()
        moment = time.monotonic_ns()
        for child in children:
            child.kill()
        self._running.kill()
        # It does not start again while a process has the pid of its pid file.
        psutil.wait_procs(children, timeout=10)
        return moment

    def pids(self) -> list[int]:
        parent = psutil.Process(self._running.pid)
        return [parent.pid, *(child.pid for child in parent.children())]

    def roles(self) -> list[str]:
        return [
            word.lower() for word in re.findall(r"Entering (\w+) STATE", self._running.log_text())
        ]

    @property
    def _running(self) -> Process:
        assert self._process is not None, "was never started"
        return self._process


Pair = Mapping[str, Contender]
"""The same contender on each load balancer, by name of the host."""


def signal_all(contender: Contender, number: signal.Signals) -> int:
    """Send the signal to all its processes; return the instant just before."""
    pids = contender.pids()
    moment = time.monotonic_ns()
    for pid in pids:
        os.kill(pid, number)
    return moment


def haagent_on(cluster: Cluster) -> dict[str, Haagent]:
    """Return haagent on all balancers, not started."""
    agents = install_agents(cluster, _preempting(by_rank))
    return {name: Haagent(agent) for name, agent in agents.items()}


def keepalived_on(cluster: Cluster) -> dict[str, Keepalived]:
    """Return keepalived on all balancers, not started."""
    return {name: Keepalived(host) for name, host in cluster.balancers.items()}


def _preempting(configuration: Callable[[str], str]) -> Callable[[str], str]:
    """Return the configuration with keepalived's default instead of ours, ``after 5s``."""
    interface = "    interface: eth0\n    addresses"
    return lambda name: configuration(name).replace(
        interface, f"    preempt: immediately\n{interface}"
    )
