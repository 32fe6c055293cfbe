"""HAProxy has what the configuration says for the moment, and never holds the agent up."""

import sys
import time
from itertools import pairwise

from haagent.lab.cluster import Cluster, build, example, install_agents, start_services
from haagent.lab.haproxies import Server
from haagent.lab.topology import Lab
from tests.lab.conftest import Begin, Site

SECOND = 1_000_000_000

EVERYWHERE = {"app1", "app2", "lb1-local", "lb2-local"}
"""Wanted on both hosts of ``conf/by-role-*.yml`` while both agents are alive."""


def await_servers(site: Site, name: str, wanted: set[str]) -> None:
    site.lab.wait_until(lambda: site.servers(name) == wanted, 5, f"{name} has {sorted(wanted)}")


def test_the_list_follows_the_roles_and_who_is_alive(begin: Begin) -> None:
    site = begin()
    await_servers(site, "lb1", EVERYWHERE | {"spare"})
    await_servers(site, "lb2", EVERYWHERE)

    def health() -> dict[str, str]:
        (backend,) = site.status("lb1").haproxy.seen
        return {server.name: server.traffic.status for server in backend.servers}

    well = dict.fromkeys(EVERYWHERE | {"spare"}, "UP")
    site.lab.wait_until(lambda: health() == well, 15, "HAProxy finds all servers well")

    site.lab.faults.cut(site.cluster.balancers["lb1"])
    await_servers(site, "lb2", EVERYWHERE - {"lb1-local"} | {"spare"})
    # The host that was cut off goes on as master of its own; that is what best effort means.
    await_servers(site, "lb1", EVERYWHERE - {"lb2-local"} | {"spare"})

    site.lab.faults.heal()
    await_servers(site, "lb1", EVERYWHERE | {"spare"})
    await_servers(site, "lb2", EVERYWHERE)


def test_a_haproxy_that_was_killed_has_its_list_a_second_after_it_answers(begin: Begin) -> None:
    site = begin()
    haproxy = site.cluster.haproxies["lb1"]
    await_servers(site, "lb1", EVERYWHERE | {"spare"})
    before = haproxy.servers("app")

    haproxy.process.kill()
    site.lab.wait_until(lambda: not site.status("lb1").haproxy.reachable, 5, "the loss is seen")
    assert "HAProxy is not running" in site.alarms("lb1")["haproxy.trouble"]
    haproxy.start()
    site.lab.wait_until(haproxy.answers, 10, "HAProxy answers")
    answered = time.monotonic_ns()
    await_servers(site, "lb1", set(before))

    assert time.monotonic_ns() - answered < SECOND
    assert {name: each.address for name, each in haproxy.servers("app").items()} == {
        name: each.address for name, each in before.items()
    }
    site.lab.wait_until(lambda: not site.alarms("lb1"), 5, "the alarm ends")
    assert site.role("lb1").state == "master"


def test_a_haproxy_may_come_after_the_agent(lab: Lab) -> None:
    cluster = build(lab)
    site = Site(lab, cluster, install_agents(cluster, example("by-role")))
    cluster.haproxies["lb1"].process.stop()
    cluster.haproxies["lb1"].socket.unlink(missing_ok=True)

    for agent in site.agents.values():
        agent.start()
    site.settle(lb1="master", lb2="backup")
    site.lab.wait_until(lambda: "haproxy.trouble" in site.alarms("lb1"), 5, "it says so")
    assert site.alarms("lb1")["haproxy.trouble"] == (
        "HAProxy: HAProxy is not running, or "
        f"{cluster.haproxies['lb1'].socket} is not its `stats socket`"
    )
    cluster.haproxies["lb1"].start()

    lab.wait_until(cluster.haproxies["lb1"].answers, 10, "HAProxy answers")
    await_servers(site, "lb1", EVERYWHERE | {"spare"})
    site.lab.wait_until(lambda: not site.alarms("lb1"), 5, "the alarm ends")


OTHER_BACKEND = """
backend other
    balance roundrobin
    server fixed 192.0.2.21:8080
"""


def test_only_the_backends_that_the_file_names_are_touched(lab: Lab) -> None:
    cluster = build(lab)
    site = Site(lab, cluster, install_agents(cluster, example("by-role")))
    haproxy = cluster.haproxies["lb1"]
    with haproxy.configuration_file.open("a") as file:
        file.write(OTHER_BACKEND)
    haproxy.process.kill()
    haproxy.start()
    lab.wait_until(haproxy.answers, 10, "HAProxy answers")
    for backend in ("app", "other"):
        haproxy.ask(f"add server {backend}/foreign 192.0.2.22:8080")

    site.agents["lb1"].start()
    await_servers(site, "lb1", EVERYWHERE - {"lb2-local"} | {"spare"})

    assert haproxy.servers("other") == {
        "fixed": Server("192.0.2.21:8080", "no check", 1),
        "foreign": Server("192.0.2.22:8080", "MAINT", 1),
    }


MUTE = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    taken = []
    print("listening", flush=True)
    while True:
        taken.append(listener.accept())
"""
"""Accepts connections and never says a word."""


def silence_haproxy(cluster: Cluster, lab: Lab, name: str) -> None:
    haproxy = cluster.haproxies[name]
    haproxy.process.kill()
    haproxy.socket.unlink(missing_ok=True)
    mute = cluster.balancers[name].start("mute", sys.executable, "-c", MUTE, str(haproxy.socket))
    lab.wait_until(mute.log_text, 10, "the mute HAProxy listens")


def test_a_haproxy_that_never_answers_delays_neither_heartbeats_nor_takeover(
    begin: Begin,
) -> None:
    site = begin()
    for name in ("lb1", "lb2"):
        silence_haproxy(site.cluster, site.lab, name)
    site.lab.wait_until(
        lambda: all("did not answer" in site.status(n).haproxy.trouble for n in site.agents),
        10,
        "both notice",
    )
    ipv4, _ = site.probe()
    words = site.eavesdrop()
    site.lab.wait_until(lambda: len(words.heard("192.0.2.11")) > 15, 10, "heartbeats")
    beats = [at for at, _ in words.heard("192.0.2.11")]

    died = site.lab.faults.cut(site.cluster.balancers["lb1"]).since_ns

    assert site.gap(ipv4, died, by="lb2") < SECOND
    pauses = [later - earlier for earlier, later in pairwise(beats)]
    assert max(pauses) < SECOND // 2, pauses
    assert site.role("lb2").reason == "master_silent"


def test_a_rebooted_host_has_its_list_again(begin: Begin) -> None:
    site = begin()

    site.cluster.balancers["lb1"].reboot()
    start_services(site.cluster, "lb1")
    site.agents["lb1"].start()

    site.settle(lb1="master", lb2="backup")
    await_servers(site, "lb1", EVERYWHERE | {"spare"})
    await_servers(site, "lb2", EVERYWHERE)
