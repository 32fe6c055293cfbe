"""A planned restart of the master's agent: the address stays, or is handed over first."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from haagent.lab.cluster import VIP_IPV4
from haagent.lab.probes import probe_udp
from haagent.lab.services import Service
from tests.lab.conftest import BY_ROLE, Begin, Site


@pytest.fixture
def services(begin: Begin) -> Iterator[Callable[..., tuple[Site, dict[str, Service]]]]:
    """A site whose agents run as services; how is as for ``begin``."""
    with ExitStack() as stack:

        def start(*wrapper: str) -> tuple[Site, dict[str, Service]]:
            site = begin(BY_ROLE, through=wrapper)
            services = {}
            for name, agent in site.agents.items():
                agent.process.stop()
                services[name] = stack.enter_context(Service(agent))
                services[name].start(*wrapper)
            site.settle_all()
            return site, services

        yield start


def test_a_restarted_master_goes_on_and_nobody_notices(services) -> None:
    site, agents = services()
    prober = probe_udp(site.cluster.client, VIP_IPV4)
    site.lab.wait_until(lambda: prober.gap_after(0), 10, "lb1 answers")
    term = site.role("lb1").term
    moment = agents["lb1"].restart()
    site.lab.wait_until(lambda: site.role("lb1").state == "master", 10, "x")
    print((__import__("time").monotonic_ns() - moment) / 1e6)
    site.settle_all()
    print(site.role("lb1"), term, site.records("lb2", "role.changed"))
    out = [o for o in prober.outcomes() if o.sent_ns >= moment]
    print(len(out), sum(not o.ok for o in out))
    print(site.agents["lb1"].process.log_text())
    print((site.agents["lb1"].host.directory / "agent-2.log").read_text())
    assert 0
