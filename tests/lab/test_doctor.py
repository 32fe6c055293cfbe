"""The doctor beside real agents: it finds what is wrong, and changes nothing."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from haagent.config import new_key
from haagent.lab.agents import with_capabilities
from haagent.lab.cluster import VIP_IPV4
from tests.lab.conftest import BY_ROLE, Begin, Site
from tests.lab.test_resource_faults import WRONG_CLOCK

pytestmark = pytest.mark.unhurried

CLOSED = """
table inet closed { chain input { type filter hook input priority 0; policy drop
  meta l4proto { icmp, icmpv6, tcp } accept; }; }
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """What the doctor said."""

    code: int
    kinds: dict[str, str]
    """Severity and text by kind."""
    told: dict[str, Any]

    @property
    def errors(self) -> list[str]:
        return sorted(kind for kind, text in self.kinds.items() if text.startswith("error: "))


def visit(site: Site, name: str, *through: str) -> Visit:
    agent = site.agents[name]
    options = ("-c", str(agent.configuration_file), "--json", "--seconds", "4")
    command = (*through, sys.executable, "-m", "haagent", "doctor", *options)
    done = subprocess.run(
        ("ip", "netns", "exec", agent.host.namespace, *command),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    kinds = {each["kind"]: f"{each['severity']}: {each['text']}" for each in told["findings"]}
    return Visit(done.returncode, kinds, told)


def state(site: Site) -> list[object]:
    """What the doctor must not change: roles, boots, alarms and records of all agents."""
    replies = [site.status(name) for name in site.agents]
    return [
        (
            [(g.role.state, g.role.term, g.role.master) for g in reply.groups],
            [(peer.name, peer.boot_id, peer.alive, peer.hears_us) for peer in reply.peers],
            [alarm.kind for alarm in reply.alarms],
            [record.kind for record in reply.records],
        )
        for reply in replies
    ]


def test_a_healthy_pair_has_no_errors_and_is_not_disturbed(pair: Site) -> None:
    before = state(pair)

    for name, other in (("lb1", "lb2"), ("lb2", "lb1")):
        found = visit(pair, name)

        assert (found.code, found.errors) == (0, [])
        assert found.kinds.keys() <= {"time.unsynchronised"}
        (path,) = found.told["paths"]
        (heard,) = path["heard"]
        assert (path["interface"], heard["name"]) == ("eth0", other)
        assert heard["answered_all"] == heard["asked_all"] > 3
        assert heard["answered_one"] == heard["asked_one"] > 3
        assert heard["let_in_to_all"] >= 3

    assert state(pair) == before


def test_who_has_no_privileges_has_the_agent_look(pair: Site) -> None:
    before = state(pair)

    found = visit(pair, "lb1", *with_capabilities())

    assert (found.code, found.errors) == (0, [])
    assert found.kinds.keys() <= {"time.unsynchronised"}
    (path,) = found.told["paths"]
    assert [heard["name"] for heard in path["heard"]] == ["lb2"]
    assert state(pair) == before


def test_multicast_that_a_switch_drops_is_found(pair: Site) -> None:
    fault = pair.lab.faults.block_multicast(pair.cluster.balancers["lb2"])
    found = visit(pair, "lb1")
    pair.lab.faults.heal(fault)

    assert found.errors == ["multicast.blocked"]
    assert "from lb2 nothing that is sent to all arrives here" in found.kinds["multicast.blocked"]
    assert "at lb2 nothing arrives that this host sends to all" in found.kinds["multicast.blocked"]
    assert found.code == 1
    pair.lab.wait_until(lambda: not any(map(pair.alarms, pair.agents)), 15, "no alarm is left")


def test_a_firewall_and_another_key_are_told_apart_where_no_agent_runs(begin: Begin) -> None:
    site = begin()
    lb2, host = site.agents["lb2"], site.cluster.balancers["lb2"]
    lb2.process.stop()

    stopped = visit(site, "lb2")
    unprivileged = visit(site, "lb2", *with_capabilities())
    host.run("nft", CLOSED)
    closed = visit(site, "lb2")
    host.run("nft", "flush ruleset")
    lb2.key_file.write_text(new_key())
    other = visit(site, "lb2")
    host.run("ip", "link", "set", "eth0", "down")
    down = visit(site, "lb2")

    assert stopped.errors == unprivileged.errors == ["agent.down"]
    assert "not.looked" not in stopped.kinds
    undone = [e["text"] for e in unprivileged.told["findings"] if e["kind"] == "not.looked"]
    assert any("nothing was sent, and nobody heard" in text for text in undone), undone
    assert closed.errors == ["agent.down", "firewall.drops"]
    assert "chain input of nftables' table inet closed" in closed.kinds["firewall.drops"]
    assert other.errors == ["agent.down", "key.differs"]
    assert "from 192.0.2.11 have another key" in other.kinds["key.differs"]
    assert down.errors == ["agent.down", "path.closed"]
    assert down.kinds["path.closed"] == "error: eth0: it is down, or has no carrier"


def test_a_foreign_owner_a_wrong_clock_and_another_file_are_found(begin: Begin) -> None:
    def configuration(name: str) -> str:
        text = BY_ROLE(name)
        return (
            text.replace("heartbeat:", "heartbeat:\n  interval: 250ms", 1)
            if name == "lb2"
            else text
        )

    ahead = f"echo 60 >error; export WALL_CLOCK_ERROR=$PWD/error PYTHONPATH={WRONG_CLOCK}"
    site = begin(
        configuration, through=("sh", "-c", f'cd "$(mktemp -d)" && {ahead}; exec "$@"', "-")
    )
    foreign = site.lab.add_host("foreign", 60)
    foreign.run("ip", "link", "set", "eth0", "address", "00:50:56:00:00:01")
    foreign.run("ip", "address", "add", VIP_IPV4, "dev", "eth0")

    found = visit(site, "lb2")

    assert found.errors == ["address.foreign"]
    assert (
        "192.0.2.100 (group web) is also used by 00:50:56:00:00:01 (VMware)"
        in (found.kinds["address.foreign"])
    )
    assert found.kinds["config.differs"].startswith("warning: lb1 has other addresses")
    assert "the clock of lb1 is " in found.kinds["clock.skew"]
    assert " s ahead of this host's" in found.kinds["clock.skew"]
