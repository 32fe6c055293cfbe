"""What ``haagent.service`` grants is enough for everything, and nothing of it is too much."""

import re
from pathlib import Path

import pytest

from haagent.config import new_key
from haagent.control.client import examine
from haagent.lab.agents import Agent, with_capabilities
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4
from haagent.lab.topology import Lab

pytestmark = pytest.mark.unhurried

UNIT = CONFIGURATIONS.parent / "deploy" / "systemd" / "haagent.service"


@pytest.fixture
def agent(lab: Lab) -> Agent:
    """An agent that is alone, and not started."""
    text = (CONFIGURATIONS / "pair-lb1.yml").read_text().partition("haproxy:")[0]
    return Agent(lab.add_host("lb1", 11), text, new_key())


def granted(without: str = "") -> tuple[str, ...]:
    """Return what executes a command with the rights of the unit, ``without`` one of them."""
    unit = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert unit["AmbientCapabilities"] == unit["CapabilityBoundingSet"]
    assert unit.get("RestrictRealtime", "no") == "no"
    held = [name for name in unit["AmbientCapabilities"].split() if name != without]
    names = (name.removeprefix("CAP_").lower() for name in held)
    return ("prlimit", "--rtprio=0", "--memlock=65536", *with_capabilities(*names))


def complaints(lab: Lab, agent: Agent, *wrapper: str) -> list[str]:
    """Return what a master that was started so says it must do without."""
    process = agent.start(*wrapper)
    lab.wait_until(lambda: agent.host.holds(VIP_IPV4), 10, "the agent is master")
    capabilities = Path(f"/proc/{process.pid}/status").read_text()
    (effective,) = re.findall(r"CapEff:\t(\w+)", capabilities)
    assert int(effective, 16).bit_count() <= 5, "it has the rights of root"
    words = ("cannot be had", "no real-time", "swapped")
    return [line for line in process.log_text().splitlines() if any(word in line for word in words)]


def test_the_unit_grants_all_that_the_agent_makes_use_of(lab: Lab, agent: Agent) -> None:
    assert complaints(lab, agent, *granted()) == []
    status = agent.status()
    assert status is not None
    assert status["runtime"]["fence"] == "bpf"


def test_what_the_unit_grants_is_enough_for_the_doctor(lab: Lab, agent: Agent) -> None:
    process = agent.start(*granted())
    lab.wait_until(lambda: agent.host.holds(VIP_IPV4), 10, "the agent is master")

    reply = examine(agent.control_socket, 60, 1)

    assert reply.trouble == ""
    assert all(path.local for path in reply.paths)
    assert "not.looked" not in {finding.kind for finding in reply.findings}
    assert process.running


@pytest.mark.parametrize(
    ("without", "complaint"),
    [
        ("CAP_BPF", "fence level bpf cannot be had: Operation not permitted"),
        ("CAP_SYS_NICE", "no real-time scheduling: Operation not permitted"),
        ("CAP_IPC_LOCK", "memory may be swapped out: Cannot allocate memory"),
    ],
)
def test_without_one_of_its_grants_something_is_missing_and_told(
    lab: Lab, agent: Agent, without: str, complaint: str
) -> None:
    (told,) = complaints(lab, agent, *granted(without))

    assert complaint in told


def test_the_unit_grants_what_checks_take(lab: Lab, agent: Agent) -> None:
    """An echo takes a raw socket, and a process of somebody else must be visible."""
    gateway = lab.add_host("gw", 1)
    asleep = gateway.start("sleeper", "setpriv", "--reuid=65534", "sleep", "1000")
    (agent.host.directory / "pid").write_text(str(asleep.pid))
    checks = "gateway: {ping: 192.0.2.1}, name: {process: sleep}, number: {pidfile: pid}"
    text = agent.configuration_file.read_text()
    agent.configure(text.replace("    priority:", f"    checks: {{{checks}}}\n    priority:"))

    assert complaints(lab, agent, *granted()) == []

    status = agent.status()
    assert status is not None
    told = {check["name"]: check["passed"] for check in status["groups"][0]["checks"]}
    assert told == {"gateway": True, "name": True, "number": True}
    assert "ProtectProc" not in dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


@pytest.mark.parametrize("without", ["CAP_NET_ADMIN", "CAP_NET_RAW"])
def test_without_what_an_address_takes_the_agent_ends(agent: Agent, without: str) -> None:
    process = agent.start(*granted(without))

    assert process.wait(10) == 1
    assert f"(needs {without})" in process.log_text()
