"""A laboratory for each test, the standard cluster in it, and agents on that.

Everything is gone afterwards.  ``begin`` starts a cluster of agents for one test, which may do
with it what it likes; ``pair`` is one that the tests of a module share, and leave as it was.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest

from haagent.control import haagent_pb2 as pb
from haagent.control.client import AgentUnreachable, fetch_status
from haagent.lab.agents import Agent
from haagent.lab.claims import leftovers, remove_leftovers
from haagent.lab.cluster import (
    VIP_IPV4,
    VIP_IPV6,
    Cluster,
    build,
    example,
    install_agents,
)
from haagent.lab.errors import LabError
from haagent.lab.host import Host
from haagent.lab.probes import Probes, probe_udp
from haagent.lab.topology import Lab

_PREFIX = "t"
_NUMBERS = count()

BY_ROLE = example("by-role")


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster with agents, and what the tests ask of it."""

    lab: Lab
    cluster: Cluster
    agents: dict[str, Agent]

    def status(self, name: str) -> pb.StatusReply:
        """The status that the agent tells; empty while it cannot be reached."""
        try:
            return fetch_status(self.agents[name].control_socket, 3)
        except AgentUnreachable:
            return pb.StatusReply()

    def role(self, name: str, group: str = "web") -> pb.Role:
        roles = (each.role for each in self.status(name).groups)
        return next((role for role in roles if role.group == group), pb.Role())

    def alarms(self, name: str) -> dict[str, str]:
        """The text of each alarm by its kind."""
        return {alarm.kind: alarm.text for alarm in self.status(name).alarms}

    def records(self, name: str, kind: str) -> list[str]:
        return [record.text for record in self.status(name).records if record.kind == kind]

    def reigns(self, name: str) -> list[str]:
        """Why the agent became master, each time since its start."""
        moves = (text.partition(" -> master: ") for text in self.records(name, "role.changed"))
        return [why for _, became_master, why in moves if became_master]

    def discards(self, name: str, source: str) -> dict[str, int]:
        """How many datagrams of ``source`` changed nothing, by reason."""
        counted = self.status(name).runtime.discards
        return {each.reason: each.count for each in counted if each.source == source}

    def holders(self, address: str) -> list[str]:
        """The balancers whose kernel has ``address``."""
        return [name for name, host in self.cluster.balancers.items() if host.holds(address)]

    def servers(self, name: str) -> set[str]:
        """The names of the servers that HAProxy has in backend ``app``."""
        return set(self.cluster.haproxies[name].servers("app"))

    def settle(self, group: str = "web", **states: str) -> None:
        """Wait until each agent is in its state, and has the addresses if that is ``master``."""

        def settled() -> bool:
            return all(self._is_in(name, group, state) for name, state in states.items())

        self.lab.wait_until(settled, 15, f"{group}: {states}")

    def settle_all(self) -> None:
        """Wait until every group has the best as its one master and all agents hear each other."""

        def settled() -> bool:
            replies = [self.status(name) for name in self.agents]
            heard = all(sum(p.alive for p in r.peers) == len(replies) - 1 for r in replies)
            return heard and all(
                map(_has_the_best_master, zip(*(r.groups for r in replies), strict=True))
            )

        self.lab.wait_until(settled, 15, "the best master for each group")

    def probe(self) -> tuple[Probes, Probes]:
        """Probers of the IPv4 and the IPv6 address, both answered already."""
        client = self.cluster.client
        ipv4, ipv6 = (probe_udp(client, each, interval_ms=2) for each in (VIP_IPV4, VIP_IPV6))
        self.lab.wait_until(lambda: ipv4.gap_after(0) and ipv6.gap_after(0), 10, "answers")
        return ipv4, ipv6

    def eavesdrop(self) -> "Lines":
        """The multicast heartbeats that the client hears, their source and hexadecimal payload."""
        return Lines(self.lab, self.cluster.client, EAVESDROP)

    def watch_addresses(self, name: str) -> "Lines":
        """The addresses ``added`` to and ``removed`` from the balancer's interfaces."""
        return Lines(self.lab, self.cluster.balancers[name], ADDRESS_EVENTS)

    def gap(self, probes: Probes, since_ns: int, by: str) -> int:
        """How long after ``since_ns`` ``by`` first answered, once it has."""
        return self.lab.wait_until(lambda: probes.gap_after(since_ns, by), 15, f"{by} answers")

    def _is_in(self, name: str, group: str, state: str) -> bool:
        reply = self.status(name)
        mine = [each for each in reply.groups if each.role.group == group]
        if [each.role.state for each in mine] != [state]:
            return False
        wanted = {ip_interface(each.address).ip for each in mine[0].addresses}
        have = {each.ip for each in self.cluster.balancers[name].addresses(mine[0].interface)}
        return wanted <= have if state == "master" else not wanted & have


EAVESDROP = """
import socket, struct, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    index = socket.if_nametoindex("eth0")
    group = struct.pack("=4s4si", socket.inet_aton("224.0.0.254"), bytes(4), index)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.bind(("", 6940))
    print("listening", flush=True)
    while True:
        payload, (source, _) = s.recvfrom(2048)
        print(time.monotonic_ns(), source, payload.hex(), flush=True)
"""

ADDRESS_EVENTS = """
import socket, struct, time
kinds = {20: "added", 21: "removed"}
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
    s.bind((0, 0x10 | 0x100))  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
    print("listening", flush=True)
    while True:
        data = s.recv(65536)
        print(time.monotonic_ns(), kinds[struct.unpack_from("=IH", data)[1]], flush=True)
"""


class Lines:
    """What a listener on a host has heard so far, one line each, beginning with the instant."""

    def __init__(self, lab: Lab, host: Host, script: str) -> None:
        self._process = host.start("listener", sys.executable, "-c", script)
        lab.wait_until(self._process.log_text, 10, "it listens")

    def heard(self, word: str = "", since_ns: int = 0) -> list[tuple[int, str]]:
        """Return the instant and the last word of each line with ``word`` from ``since_ns`` on."""
        lines = [line.split() for line in self._process.log_text().splitlines()[1:]]
        return [
            (int(line[0]), line[-1])
            for line in lines
            if word in [*line[1:], ""] and int(line[0]) >= since_ns
        ]


Begin: TypeAlias = Callable[..., Site]
"""``begin(configuration, balancers=2, interfaces=1, through=())`` returns a site whose agents, with
the text that ``configuration`` gives for each name (by default ``conf/by-role-*.yml``), are started
(``through`` executes them) and settled."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this directory, so that ``-m 'not lab'`` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def _able() -> None:
    """Skip where there can be no laboratory; remove what a killed test run left."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    missing = [tool for tool in ("ip", "nft", "setpriv", "haproxy") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    for prefix in leftovers():
        if prefix.removeprefix(_PREFIX).isdigit():
            with suppress(LabError):  # another worker is at it
                remove_leftovers(prefix)


@pytest.fixture
def prefix(_able: None) -> str:
    """A prefix that no other test of this machine uses at this time."""
    return _new_prefix()


@pytest.fixture
def lab(prefix: str) -> Iterator[Lab]:
    """A laboratory with a switch and no host."""
    with Lab(prefix) as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    """lb1, lb2, app1, app2 and client, with everything running but haagent."""
    return build(lab)


@pytest.fixture
def begin(lab: Lab) -> Begin:
    """See :data:`Begin`."""

    def begin(
        configuration: Callable[[str], str] | None = None,
        balancers: int = 2,
        interfaces: int = 1,
        through: tuple[str, ...] = (),
    ) -> Site:
        return _begin(lab, configuration or BY_ROLE, balancers, interfaces, through)

    return begin


@pytest.fixture(scope="module")
def pair(_able: None) -> Iterator[Site]:
    """The pair of ``conf/by-role-*.yml``, lb1 its master."""
    with lasting(BY_ROLE) as site:
        yield site


@contextmanager
def lasting(configuration: Callable[[str], str]) -> Iterator[Site]:
    """A pair that more than one test uses; for a fixture that needs ``_able``."""
    with Lab(_new_prefix()) as lab:
        yield _begin(lab, configuration, 2, 1)


def _begin(
    lab: Lab,
    configuration: Callable[[str], str],
    balancers: int,
    interfaces: int,
    through: tuple[str, ...] = (),
) -> Site:
    cluster = build(lab, balancers=balancers, interfaces=interfaces)
    site = Site(lab, cluster, install_agents(cluster, configuration))
    for agent in site.agents.values():
        agent.start(*through)
    site.settle_all()
    return site


def _has_the_best_master(groups: tuple[pb.Group, ...]) -> bool:
    """Whether the agents, each telling its own role, agree; and the kernel has the addresses."""
    best, *others = sorted(groups, key=lambda group: group.role.priority, reverse=True)
    roles = [best.role.state, *{group.role.state for group in others}]
    return roles == ["master", "backup"] and all(address.held for address in best.addresses)


def _new_prefix() -> str:
    return f"{_PREFIX}{os.getpid()}{next(_NUMBERS):02}"
