"""What an agent cannot begin with: it says what is wrong, and never half begins."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from haagent.config import new_key
from haagent.lab.agents import Agent, with_capabilities
from haagent.lab.cluster import CONFIGURATIONS, VIP_IPV4
from haagent.lab.process import Process
from haagent.lab.topology import Lab

pytestmark = pytest.mark.unhurried

TEXT = (CONFIGURATIONS / "pair-lb1.yml").read_text().partition("haproxy:")[0]


@pytest.fixture
def agent(lab: Lab) -> Agent:
    """An agent that is alone, and not started."""
    return Agent(lab.add_host("lb1", 11), TEXT, new_key())


def refused(process: Process, exit_code: int) -> str:
    """The line that an agent ends with."""
    assert process.wait(10) == exit_code
    assert "Traceback" not in process.log_text()
    return process.log_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            Path.unlink,
            "{0}: does not exist; 'haagent keygen {0}' makes one, all nodes need the same",
        ),
        (lambda path: path.chmod(0o644), "{0}: others may use it (mode 0644): chmod 600 {0}"),
        (
            lambda path: path.write_text("secret\n"),
            "{0}: is not a haagent key: must be one line that begins with 'haagent-key-1:'",
        ),
        (
            lambda path: path.write_text("haagent-key-1:c2hvcnQ=\n"),
            "{0}: must hold 32 bytes of key, holds 5",
        ),
    ],
    ids=["missing", "readable by all", "not a key", "too short"],
)
def test_a_key_file_that_cannot_be_used_is_named_with_the_cure(
    agent: Agent, spoil: Callable[[Path], object], reason: str
) -> None:
    spoil(agent.key_file)

    assert refused(agent.start(), 2) == f"haagent: {reason.format(agent.key_file)}"


def running(lab: Lab, agent: Agent) -> Process:
    process = agent.start()
    lab.wait_until(lambda: agent.host.holds(VIP_IPV4), 10, "the agent is master")
    return process


def test_a_second_agent_with_the_same_state_refuses_and_names_the_first(
    lab: Lab, agent: Agent
) -> None:
    first = running(lab, agent)

    second = agent.start()

    assert refused(second, 1) == (
        f"haagent: {agent.state_dir}: in use by process {first.pid}; another agent is running"
    )
    assert first.running
    assert agent.host.holds(VIP_IPV4)


def test_a_control_socket_on_which_another_agent_answers_is_left_to_it(
    lab: Lab, agent: Agent
) -> None:
    first = running(lab, agent)
    (agent.host.directory / "state2").mkdir()
    text = agent.configuration_file.read_text()
    agent.configuration_file.write_text(text.replace("/state\n", "/state2\n"))

    second = agent.start()

    last = refused(second, 1)
    assert "another agent answers on this socket" in last
    assert str(agent.control_socket) in last
    assert first.running
    assert agent.status() is not None
    assert agent.host.holds(VIP_IPV4)


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [((), "CAP_NET_"), (("net_admin",), "CAP_NET_RAW"), (("net_raw",), "CAP_NET_ADMIN")],
    ids=["none", "NET_ADMIN alone", "NET_RAW alone"],
)
def test_a_missing_capability_is_named(
    agent: Agent, capabilities: tuple[str, ...], missing: str
) -> None:
    assert f"(needs {missing}" in refused(agent.start(*with_capabilities(*capabilities)), 1)


def test_two_capabilities_are_enough(lab: Lab, agent: Agent) -> None:
    process = agent.start(*with_capabilities("net_admin", "net_raw"))
    lab.wait_until(lambda: agent.host.holds(VIP_IPV4), 10, "the agent is master")
    status = Path(f"/proc/{process.pid}/status").read_text()
    net_admin, net_raw = 12, 13

    assert f"CapEff:\t{1 << net_admin | 1 << net_raw:016x}\n" in status
    assert agent.status() is not None
    process.stop()
    assert not agent.host.holds(VIP_IPV4)
    assert process.exit_code == 0


STATE_FULL = "mount -t tmpfs -o size=4k tmpfs {0} && ! head -c 9999 /dev/zero > {0}/full"
STATE_READ_ONLY = "mount -t tmpfs -o ro tmpfs {0}"


@pytest.mark.parametrize(
    ("mount", "reason"),
    [(STATE_FULL, os.strerror(28)), (STATE_READ_ONLY, os.strerror(30))],
    ids=["full", "read-only"],
)
def test_a_state_directory_that_takes_no_file_is_an_alarm_and_no_end(
    lab: Lab, agent: Agent, mount: str, reason: str
) -> None:
    # A process of a host has a mount namespace of its own, which ends with it.
    script = f'{mount.format(agent.state_dir)} 2>/dev/null && exec "$@"'

    process = agent.start("sh", "-c", script, "sh")

    lab.wait_until(lambda: agent.host.holds(VIP_IPV4), 10, "the agent is master")
    file = agent.state_dir / "state.json"
    note = f"cannot write {file}: {reason}; boot counter and terms are kept in memory only"
    assert note in process.log_text()

    def alarms() -> dict[str, str]:
        status = agent.status()
        return {each["kind"]: each["text"] for each in status["alarms"]} if status else {}

    lab.wait_until(lambda: "state.unwritable" in alarms(), 5, "the alarm")
    assert alarms()["state.unwritable"] == (
        f"terms cannot be written and may repeat after a restart: cannot write {file}: {reason}"
    )
    assert process.running
