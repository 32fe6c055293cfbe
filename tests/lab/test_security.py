"""What no agent of the cluster said just now changes nothing, and is counted by its source."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from struct import pack

import pytest

from haagent.config import new_key
from haagent.core.identity import cluster_id, group_id
from haagent.lab.agents import Agent
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4
from tests.lab.conftest import Begin, Site

pytestmark = pytest.mark.unhurried

LB1, LB2, LB3, LB4, CLIENT = (f"192.0.2.{number}" for number in (11, 12, 13, 14, 50))
GROUP = "224.0.0.254"
BATCH = 50
"""So many are sent before it is looked whether they were counted."""

SEND = """
import socket, struct, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.50"))
    for line in sys.stdin:
        source, target, payload = line.rstrip("\\n").split(" ")
        payload = bytes.fromhex(payload)
        udp = struct.pack("!HHHH", 6940, 6940, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 255, 17, 0)
        ends = socket.inet_aton(source) + socket.inet_aton(target)
        s.sendto(ip + ends + udp, (target, 0))
        time.sleep(0.001)
"""
"""Sends each line, SOURCE TARGET HEXADECIMAL, as one UDP datagram in the name of the source; so
many in a second that an agent does not take them for a flood, of which it does not count all."""

Send = Callable[[str, str, bytes], None]


@contextmanager
def sender(site: Site) -> Iterator[Send]:
    """A raw socket on the client's host."""
    command = ["ip", "netns", "exec", site.cluster.client.namespace, sys.executable, "-c", SEND]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None

        def send(source: str, target: str, payload: bytes) -> None:
            assert process.stdin is not None
            process.stdin.write(f"{source} {target} {payload.hex()}\n")
            process.stdin.flush()

        yield send
        process.stdin.close()
        assert process.wait(10) == 0


def roles(site: Site) -> list[tuple[str, str, int, list[str]]]:
    """What nobody from outside may change: each agent's state, reason, term and peers."""
    found = []
    for name in site.agents:
        role = site.role(name)
        living = [peer.boot_id for peer in site.status(name).peers if peer.alive]
        found.append((role.state, role.reason, role.term, living))
    return found


def counted(site: Site, name: str, source: str) -> int:
    return sum(site.discards(name, source).values())


def await_counted(site: Site, source: str, count: int) -> None:
    site.lab.wait_until(
        lambda: all(counted(site, name, source) == count for name in site.agents),
        10,
        f"{count} datagrams from {source} are counted",
    )


def test_ten_thousand_random_datagrams_change_nothing_and_are_counted(pair: Site) -> None:
    random = Random(1)
    before = roles(pair)
    prefix = pack("!2sBxHxBIHxB", b"HA", 0x10, 200, 1, cluster_id("shop"), group_id("web"), 0)

    with sender(pair) as send:
        for batch in range(10_000 // BATCH):
            for number in range(BATCH):
                # Every other one gets as far as the code, which only the key could make right.
                begin = prefix if number % 2 else b""
                size = 200 - len(prefix) if number % 2 else random.randrange(1232)
                send(CLIENT, GROUP, begin + random.randbytes(size))
            sent = (batch + 1) * BATCH
            await_counted(pair, CLIENT, sent)

    assert roles(pair) == before
    for name, agent in pair.agents.items():
        assert pair.discards(name, CLIENT) == {"malformed": 5_000, "bad_mac": 5_000}
        said = [line for line in agent.process.log_text().splitlines() if CLIENT in line]
        assert sum("discarded" in line for line in said) == 2, said
        assert any("[peer.refused " in line for line in said), said


def test_a_replayed_capture_changes_nothing_and_is_counted(begin: Begin) -> None:
    """Real datagrams of both agents, also in the name of the host that they came from."""
    site = begin()
    capture = site.eavesdrop()
    site.lab.wait_until(lambda: len(capture.heard(LB2)) > 2 < len(capture.heard(LB1)), 10, "both")
    before = roles(site)

    with sender(site) as send:
        for source, other in ((LB1, "lb2"), (LB2, "lb1")):
            payloads = [bytes.fromhex(word) for _, word in capture.heard(source)]
            for payload in payloads:
                send(CLIENT, GROUP, payload)
                send(source, GROUP, payload)
            site.lab.wait_until(
                lambda: site.discards(other, source).get("replayed") == len(payloads),  # noqa: B023
                10,
                "the replays are counted",
            )
        assert site.discards("lb1", CLIENT).keys() == site.discards("lb2", CLIENT).keys()
        assert site.discards("lb1", CLIENT).keys() == {"bad_mac"}
        assert roles(site) == before

        # Nor by an agent that has forgotten what it heard, from a master that is no more.
        site.agents["lb1"].process.kill()
        site.agents["lb1"].release()
        site.agents["lb2"].process.stop()
        site.agents["lb2"].start()
        site.lab.wait_until(lambda: site.role("lb2").state == "listen", 10, "lb2 listens")
        for _, word in capture.heard(LB1):
            send(LB1, GROUP, bytes.fromhex(word))
        site.settle(lb2="master")
    assert site.discards("lb2", LB1).keys() == {"unproven"}
    assert list(site.status("lb2").peers) == []


def test_a_wrong_code_changes_nothing_and_the_command_line_tells_where_it_came_from(
    begin: Begin,
) -> None:
    """A neighbour with another key, and one of another cluster: each keeps its own."""
    site = begin()
    before = roles(site)
    text = (CONFIGURATIONS / "pair-lb1.yml").read_text().partition("haproxy:")[0]
    strangers = [
        Agent(
            site.lab.add_host("lb3", 13),
            text.replace("node: lb1", "node: lb3").replace(VIP_IPV4, "192.0.2.103"),
            new_key(),
        ),
        Agent(
            site.lab.add_host("lb4", 14),
            text.replace("node: lb1", "node: lb4")
            .replace(VIP_IPV4, "192.0.2.104")
            .replace("cluster: shop", "cluster: bakery"),
            site.agents["lb1"].key_file.read_text(),
        ),
    ]

    for agent in strangers:
        agent.start()
    for agent, address in zip(strangers, ("192.0.2.103", "192.0.2.104"), strict=True):
        site.lab.wait_until(lambda: agent.host.holds(address), 10, f"{address} is held")  # noqa: B023
    site.lab.wait_until(
        lambda: all(counted(site, "lb2", each) > 3 for each in (LB3, LB4)), 10, "both are heard"
    )

    assert roles(site) == before
    assert site.discards("lb2", LB3).keys() == {"bad_mac"}
    assert site.discards("lb2", LB4).keys() == {"other_cluster"}
    told = site.agents["lb2"].status()
    assert told is not None
    assert {(each["source"], each["reason"]) for each in told["runtime"]["discards"]} >= {
        (LB3, "bad_mac"),
        (LB4, "other_cluster"),
    }
    for agent in strangers:
        status = agent.status()
        assert status is not None
        assert status["peers"] == []
        assert json.dumps(status["runtime"]["discards"]).count(LB1) == 1
