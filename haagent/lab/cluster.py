"""The standard cluster: load balancers with HAProxy, two application servers, one client.

:func:`build` returns it with everything running but haagent.  HAProxy starts from
``conf/haproxy.cfg``, whose backend ``app`` is empty until an agent fills it.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from haagent.lab.agents import Agent
from haagent.lab.haproxies import HAProxy
from haagent.lab.host import Host
from haagent.lab.topology import Lab

VIP_IPV4 = "192.0.2.100"
VIP_IPV6 = "2001:db8::100"

PRIORITIES = {"lb1": 150, "lb2": 100, "lb3": 50}
"""Those of ``conf/pair-lb1.yml`` and ``pair-lb2.yml``, and of a third agent that may join them."""

CONFIGURATIONS = Path(__file__).parents[2] / "conf"

_FIRST_BALANCER = 11
_FIRST_APP = 21
_CLIENT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Everything by its host's name."""

    balancers: dict[str, Host]
    """``lb1``, ``lb2`` ...: 192.0.2.11, 192.0.2.12 ..., each with a responder and a web server
    on port 8080."""
    haproxies: dict[str, HAProxy]
    apps: dict[str, Host]
    """``app1`` and ``app2``: 192.0.2.21 and 192.0.2.22, each with a web server on port 8080."""
    client: Host
    """192.0.2.50; here the probers run."""


def build(lab: Lab, *, balancers: int = 2, interfaces: int = 1) -> Cluster:
    """Return the cluster once every HAProxy answers; the balancers have ``interfaces``."""
    hosts = {
        f"lb{number}": lab.add_host(
            f"lb{number}", _FIRST_BALANCER - 1 + number, interfaces=interfaces
        )
        for number in range(1, balancers + 1)
    }
    apps = {f"app{n}": lab.add_host(f"app{n}", _FIRST_APP - 1 + n) for n in (1, 2)}
    configuration = (CONFIGURATIONS / "haproxy.cfg").read_text()
    haproxies = {name: HAProxy(host, configuration) for name, host in hosts.items()}
    cluster = Cluster(
        balancers=hosts, haproxies=haproxies, apps=apps, client=lab.add_host("client", _CLIENT)
    )
    for name in (*hosts, *apps):
        start_services(cluster, name)
    for name, haproxy in haproxies.items():
        lab.wait_until(haproxy.answers, 10, f"HAProxy on {name} answers")
    return cluster


def start_services(cluster: Cluster, name: str) -> None:
    """Start what the host runs beside haagent, at first and after a reboot."""
    if name in cluster.balancers:
        host = cluster.balancers[name]
        host.start_module("responder", "haagent.lab.responder", name)
        host.start_module("webserver", "haagent.lab.webserver", f"{name}-local", "8080")
        cluster.haproxies[name].start()
    else:
        host = cluster.apps[name]
        host.start_module("webserver", "haagent.lab.webserver", name, "8080")
    if name == "app2":
        host.start_module("spare", "haagent.lab.webserver", "spare", "8081")


def install_agents(cluster: Cluster, configuration: Callable[[str], str]) -> dict[str, Agent]:
    """Return an agent, not started, on every balancer; ``configuration`` gives the text of each.

    All have the same fresh key.
    """
    command = [sys.executable, "-m", "haagent", "keygen"]
    key = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: Agent(host, configuration(name), key) for name, host in cluster.balancers.items()}


def by_rank(name: str) -> str:
    """Return the text of the pair in ``conf/`` for any balancer of :data:`PRIORITIES`."""
    text = example("pair")("lb1")
    for key, value in (("node", name), ("    priority", str(PRIORITIES[name]))):
        text, count = re.subn(rf"^{key}: \w+", f"{key}: {value}", text, flags=re.MULTILINE)
        assert count == 1, f"{key} stands {count} times in the example"
    return text


def example(kind: str) -> Callable[[str], str]:
    """Return the texts of ``conf/KIND-NAME.yml`` by name of the balancer."""
    return lambda name: (CONFIGURATIONS / f"{kind}-{name}.yml").read_text()
