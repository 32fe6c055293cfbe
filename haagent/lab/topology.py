"""One laboratory: a switch, the hosts plugged into it, and their end.

``with Lab("demo") as lab: lab.add_host("lb1", 1)`` makes the namespaces ``demo-switch`` and
``demo-lb1``.  Leaving the block, by whatever way, kills every process in them and removes the
namespaces and the laboratory's directory.

Ctrl-C is such a way, also while the laboratory is being built or removed.  SIGTERM is one only
if the caller says so before: ``signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))``.  After
a SIGKILL the processes die by themselves; ``haagent.lab.claims.remove_leftovers`` removes the
rest.

What this module does not do: wires and processes of a host (``haagent.lab.host``), faults
(``haagent.lab.faults``).
"""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar

from pyroute2 import IPRoute

from haagent.lab.claims import checked_name, claimed, directory_of
from haagent.lab.errors import LabError
from haagent.lab.faults import Faults
from haagent.lab.host import NETWORKS, Host
from haagent.lab.interrupts import undisturbed
from haagent.lab.namespaces import NETNS_DIRECTORY, configure, make_namespace, write_sysctls

T = TypeVar("T")

_SWITCH = "switch"


class Lab:
    """See the module docstring.

    ``prefix`` is what tells laboratories that run at the same time apart.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = checked_name(prefix)
        self.directory = directory_of(prefix)
        """Logs, sockets and configurations; one directory for each host."""
        self.hosts: dict[str, Host] = {}
        self.faults = Faults(self._namespace(_SWITCH))
        self._end = ExitStack()

    def __enter__(self) -> Self:
        """Build the switch.

        Raises: LabError when a laboratory of this prefix runs, or left something behind.
        """
        try:
            with undisturbed():
                self._end.enter_context(claimed(self.prefix))
                self._end.callback(self._end_processes)
                self._build_switch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with undisturbed():
            self._end.close()

    def add_host(self, name: str, number: int, *, interfaces: int = 1) -> Host:
        """Return a new host that is up, with ``number`` (1..99) at the end of its addresses.

        eth0 has 192.0.2.NUMBER/24 and 2001:db8::NUMBER/64; a second interface is eth1 with
        198.51.100.NUMBER/24 and 2001:db8:1::NUMBER/64.

        Raises: LabError when the namespace exists already.
        """
        with undisturbed():
            host = Host(
                name=checked_name(name),
                number=number,
                namespace=self._namespace(name),
                switch=self._namespace(_SWITCH),
                directory=self._new_directory(name),
                networks=NETWORKS[:interfaces],
            )
            self.hosts[name] = host
            host.boot()
        return host

    def wait_until(self, condition: Callable[[], T | None], deadline_s: float, what: str) -> T:
        """Return the first true result of ``condition``, which is asked every 5 ms.

        Raises: TimeoutError after ``deadline_s``, with the end of every process's log.
        """
        end = time.monotonic() + deadline_s
        pause = threading.Event()
        while True:
            if result := condition():
                return result
            if time.monotonic() > end:
                text = f"not within {deadline_s} s: {what}\n{self.logs()}"
                raise TimeoutError(text)
            pause.wait(0.005)

    def logs(self, lines: int = 40) -> str:
        """Return the last ``lines`` of every process's log, for a person."""
        processes = [process for host in self.hosts.values() for process in host.processes]
        return "\n".join(
            "\n".join([f"--- {process.describe()}", *process.log_text().splitlines()[-lines:]])
            for process in processes
        )

    def _namespace(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _new_directory(self, name: str) -> Path:
        """Make the directory that says that the namespace is ours to remove."""
        namespace = self._namespace(name)
        if (NETNS_DIRECTORY / namespace).exists():
            text = f"network namespace {namespace} exists already, and it stays"
            raise LabError(text)
        directory = self.directory / name
        directory.mkdir()
        return directory

    def _build_switch(self) -> None:
        namespace = self._namespace(_SWITCH)
        self._new_directory(_SWITCH)
        make_namespace(namespace)
        # A switch has nothing to say of its own accord.
        write_sysctls(namespace, {"ipv6/conf/default/disable_ipv6": 1})
        configure(namespace, _add_bridges)

    def _end_processes(self) -> None:
        for host in self.hosts.values():
            host.end_processes()


def _add_bridges(ip: IPRoute) -> None:
    options = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
    for network in NETWORKS:
        ip.link("add", ifname=network.bridge, kind="bridge", **options)
        ip.link("set", index=ip.link_lookup(ifname=network.bridge)[0], state="up")
