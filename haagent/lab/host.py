"""One host of the laboratory: a network namespace, its interfaces and its processes.

Made by :meth:`haagent.lab.topology.Lab.add_host`.  A host differs from a server in that all
hosts share one kernel, file system, clock and host name.

What this module does not do: what happens in the switch (``haagent.lab.faults``).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from haagent.lab.interrupts import undisturbed
from haagent.lab.namespaces import configure, end_namespace, make_namespace, run, write_sysctls
from haagent.lab.process import Process

_IFA_F_NODAD = 0x02

_SYSCTLS = {
    # An address is usable at once, and nobody is asked for routes.
    "ipv6/conf/all/accept_dad": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/router_solicitations": 0,
    # A new namespace inherits the machine's IPv4 settings: back to the kernel's own defaults.
    "ipv4/ip_forward": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/arp_ignore": 0,
    "ipv4/conf/default/arp_ignore": 0,
    "ipv4/conf/all/arp_announce": 0,
    "ipv4/conf/default/arp_announce": 0,
    "ipv4/conf/all/arp_accept": 0,
    "ipv4/conf/default/arp_accept": 0,
}


@dataclass(frozen=True, slots=True)
class Network:
    """One broadcast domain: a bridge in the switch, an interface in each host."""

    interface: str
    ipv4: IPv4Network
    ipv6: IPv6Network

    @property
    def bridge(self) -> str:
        return f"net-{self.interface}"

    def addresses(self, number: int) -> tuple[IPv4Interface, IPv6Interface]:
        """Return the addresses of the host with this number, ``::11`` in IPv6 for 11."""
        ipv4 = IPv4Interface((self.ipv4[number], self.ipv4.prefixlen))
        return ipv4, IPv6Interface((self.ipv6[int(str(number), 16)], self.ipv6.prefixlen))

    def hardware_address(self, number: int) -> str:
        """Return the same for a host after its reboot as before."""
        return f"02:00:{self.ipv4[number].packed.hex(':')}"


NETWORKS = (
    Network("eth0", IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/64")),
    Network("eth1", IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:1::/64")),
)
"""Those of the examples in ``conf/``, which are reserved for documentation (RFC 5737, 3849)."""


class Host:
    """See the module docstring."""

    def __init__(
        self,
        *,
        name: str,
        number: int,
        namespace: str,
        switch: str,
        directory: Path,
        networks: tuple[Network, ...],
    ) -> None:
        self.name = name
        self.number = number
        self.namespace = namespace
        self.directory = directory
        """For the files of its processes; survives a reboot."""
        self.processes: list[Process] = []
        """All that were ever started, oldest first."""
        self._switch = switch
        self._networks = networks

    @property
    def ports(self) -> dict[str, str]:
        """The switch port of each interface."""
        return {network.interface: f"{self.name}-{network.interface}" for network in self._networks}

    def start(
        self,
        name: str,
        *command: str,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> Process:
        """Start ``command`` in this host; ``name`` names its log.  It inherits ``descriptors``.

        The kernel kills it when the thread that started it ends, and so with the laboratory.
        """
        log = self._new_log(name)
        # Every word executes the next, so that the process is the command, under one pid.
        wrapper = ("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace)
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*wrapper, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                pass_fds=descriptors,
                process_group=0,  # Ctrl-C at the terminal is for the laboratory alone.
            )
        process = Process(log.stem, self.name, popen, log)
        self.processes.append(process)
        return process

    def start_module(self, name: str, module: str, *arguments: str) -> Process:
        """Start a Python module of this installation."""
        return self.start(name, sys.executable, "-m", module, *arguments)

    def run(self, *command: str) -> str:
        """Return the standard output of ``command``, run to its end in this host.

        Raises: LabError when it fails.
        """
        return run("ip", "netns", "exec", self.namespace, *command)

    def addresses(self, interface: str = "eth0") -> frozenset[IPv4Interface | IPv6Interface]:
        """Return the addresses that the kernel has on ``interface``."""
        found = self._interface(interface)["addr_info"]
        return frozenset(ip_interface(f"{each['local']}/{each['prefixlen']}") for each in found)

    def holds(self, address: str, interface: str = "eth0") -> bool:
        """Return whether ``address`` (without prefix length) is on ``interface``."""
        return ip_address(address) in {each.ip for each in self.addresses(interface)}

    def hardware_address(self, interface: str = "eth0") -> str:
        return str(self._interface(interface)["address"])

    def has_carrier(self, interface: str = "eth0") -> bool:
        return "LOWER_UP" in self._interface(interface)["flags"]

    def reboot(self) -> int:
        """Lose power and come back: no process, only configured addresses, all ports up.

        The caller starts the processes again.  Returns the instant just before.
        """
        moment = time.monotonic_ns()
        with undisturbed():
            self.end_processes()
            self._unplug()
            end_namespace(self.namespace)
            self.boot()
        return moment

    def boot(self) -> None:
        """Make the namespace with its interfaces, up and with their addresses."""
        make_namespace(self.namespace)
        write_sysctls(self.namespace, _SYSCTLS)
        for network in self._networks:
            self._plug_in(network)

    def end_processes(self) -> None:
        """Kill all that was started here, without waiting for what those started in turn."""
        for process in self.processes:
            process.kill()

    def _plug_in(self, network: Network) -> None:
        port = self.ports[network.interface]
        peer = {
            "ifname": network.interface,
            "address": network.hardware_address(self.number),
            "net_ns_fd": self.namespace,
        }

        def plug_in(ip: IPRoute) -> None:
            ip.link("add", ifname=port, kind="veth", peer=peer)
            bridge = ip.link_lookup(ifname=network.bridge)[0]
            ip.link("set", index=ip.link_lookup(ifname=port)[0], master=bridge, state="up")

        def set_up(ip: IPRoute) -> None:
            index = ip.link_lookup(ifname=network.interface)[0]
            ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
            ip.link("set", index=index, state="up")
            ipv4, ipv6 = network.addresses(self.number)
            ip.addr("add", index=index, address=str(ipv4.ip), prefixlen=24)
            ip.addr("add", index=index, address=str(ipv6.ip), prefixlen=64, flags=_IFA_F_NODAD)

        configure(self._switch, plug_in)
        configure(self.namespace, set_up)

    def _unplug(self) -> None:
        # The kernel removes a namespace's interfaces some time later; the ports' names are
        # wanted again at once.
        def unplug(ip: IPRoute) -> None:
            for port in self.ports.values():
                ip.link("del", index=ip.link_lookup(ifname=port)[0])

        configure(self._switch, unplug)

    def _interface(self, interface: str) -> dict[str, Any]:
        output = run("ip", "-n", self.namespace, "-json", "address", "show", "dev", interface)
        found: dict[str, Any] = json.loads(output)[0]
        return found

    def _new_log(self, name: str) -> Path:
        taken = {process.name for process in self.processes}
        names = (name, *(f"{name}-{count}" for count in range(2, len(taken) + 3)))
        return self.directory / f"{next(each for each in names if each not in taken)}.log"
