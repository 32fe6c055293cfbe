"""What all agents of a group must have alike, and how long a master has been missed."""

from dataclasses import replace
from ipaddress import IPv4Interface
from random import Random

import pytest

from haagent.core.actions import SendDatagram
from haagent.core.agent import Agent
from haagent.core.events import LinkChanged, Tick
from haagent.core.identity import BootId, Priority
from haagent.core.messages import Heartbeat, State
from haagent.core.settings import (
    AgentSettings,
    GroupSettings,
    HeartbeatSettings,
    PathSettings,
    Preempt,
)
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

TIMING = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
ADDRESSES = (IPv4Interface("192.0.2.10/24"), IPv4Interface("192.0.2.11/24"))
WEB = GroupSettings(name="web", priority=Priority(100), interface="eth0", addresses=ADDRESSES)
SETTINGS = AgentSettings(node="lb1", cluster="example", heartbeat=TIMING, groups=(WEB,))


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(0))


def config_hash(settings: AgentSettings) -> int:
    """Return what an agent with these settings tells its peers of them."""
    agent = Agent(settings, BootId(1), {}, Random(1))
    for action in agent.step(at(0), LinkChanged(settings.groups[0].interface, up=True)):
        match action:
            case SendDatagram(datagram) if isinstance(datagram.body, Heartbeat):
                return datagram.body.config_hash
            case _:
                continue
    raise AssertionError("the agent is silent")


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTINGS, node="lb2"),
        replace(SETTINGS, groups=(replace(WEB, priority=Priority(200)),)),
        replace(SETTINGS, groups=(replace(WEB, preempt=Preempt.NEVER),)),
        replace(SETTINGS, groups=(replace(WEB, interface="bond0"),)),
        replace(SETTINGS, groups=(replace(WEB, addresses=ADDRESSES[::-1]),)),
    ],
    ids=["node", "priority", "preempt", "interface", "order of addresses"],
)
def test_agents_may_differ_in_this(other: AgentSettings) -> None:
    assert config_hash(other) == config_hash(SETTINGS)


@pytest.mark.parametrize(
    "other",
    [
        replace(SETTINGS, groups=(replace(WEB, addresses=ADDRESSES[:1]),)),
        replace(SETTINGS, groups=(replace(WEB, addresses=(IPv4Interface("192.0.2.10/25"),)),)),
        replace(SETTINGS, heartbeat=replace(TIMING, interval=milliseconds(100))),
    ],
    ids=["addresses", "prefix", "interval"],
)
def test_agents_must_not_differ_in_this(other: AgentSettings) -> None:
    assert config_hash(other) != config_hash(SETTINGS)


def master(stalls_until_ms: int) -> State:
    """Return the state of a master that spoke last at 1000 ms, after a step at that time."""
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))
    agent.step(at(0), LinkChanged("eth0", up=True))
    for ms in (200, 400, 600, 800, 1000, 1004, 1012):
        agent.step(at(ms), Tick())
    agent.step(at(stalls_until_ms), Tick())
    return agent.status().groups[0].role.state


def test_a_master_is_too_late_when_its_peers_stop_waiting() -> None:
    """They count from its last heartbeat, not from the one that did not come."""
    takeover_ms = TIMING.takeover // milliseconds(1)

    assert master(1000 + takeover_ms - 1) is not State.LISTEN
    assert master(1000 + takeover_ms) is State.LISTEN
