"""The standard cluster: load balancers with HAProxy, two application servers, one client.

:func:`build` returns it with everything running but haagent.  HAProxy starts from
``conf/haproxy.cfg``, whose backend ``app`` is empty until an agent fills it.
"""

from dataclasses import dataclass
from pathlib import Path

from haagent.lab.haproxies import HAProxy
from haagent.lab.host import Host
from haagent.lab.topology import Lab

VIP_IPV4 = "10.77.0.100"
VIP_IPV6 = "fd77::100"

HAPROXY_CONFIGURATION = Path(__file__).parents[2] / "conf" / "haproxy.cfg"

_FIRST_APP = 11
_CLIENT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Everything by its host's name."""

    balancers: dict[str, Host]
    """``lb1``, ``lb2`` ...: 10.77.0.1, 10.77.0.2 ..., each with a responder."""
    haproxies: dict[str, HAProxy]
    apps: dict[str, Host]
    """``app1`` and ``app2``: 10.77.0.11 and 10.77.0.12, each with a web server on port 8080."""
    client: Host
    """10.77.0.50; here the probers run."""


def build(lab: Lab, *, balancers: int = 2, interfaces: int = 1) -> Cluster:
    """Return the cluster once every HAProxy answers; the balancers have ``interfaces``."""
    hosts = {
        f"lb{number}": lab.add_host(f"lb{number}", number, interfaces=interfaces)
        for number in range(1, balancers + 1)
    }
    apps = {f"app{n}": lab.add_host(f"app{n}", _FIRST_APP - 1 + n) for n in (1, 2)}
    configuration = HAPROXY_CONFIGURATION.read_text()
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
        cluster.balancers[name].start_module("responder", "haagent.lab.responder", name)
        cluster.haproxies[name].start()
    else:
        cluster.apps[name].start_module("webserver", "haagent.lab.webserver", name)
