"""What a check leads to in its group, and what it does not explain."""

from dataclasses import replace
from ipaddress import IPv4Interface
from random import Random

from haagent.core.actions import Record, Tenure, WatchChecks
from haagent.core.agent import Agent
from haagent.core.checks import CheckSettings, Consequence, FileCheck
from haagent.core.events import CheckReported, Event, LinkChanged, SettingsChanged, Tick
from haagent.core.identity import BootId, Priority, Term, group_id
from haagent.core.messages import State
from haagent.core.settings import AgentSettings, GroupSettings, HeartbeatSettings, PathSettings
from haagent.core.units import Moment, MonoNs, WallNs, milliseconds

HAPROXY = CheckSettings(name="haproxy", what=FileCheck("/a"), timeout=milliseconds(500))
GATEWAY = replace(HAPROXY, name="gateway", on_fail=Consequence.DEMOTE)
WEB = GroupSettings(
    name="web",
    priority=Priority(100),
    interface="eth0",
    addresses=(IPv4Interface("192.0.2.10/24"),),
    checks=(HAPROXY, GATEWAY),
)
SETTINGS = AgentSettings(
    node="lb1",
    cluster="example",
    heartbeat=HeartbeatSettings(paths=(PathSettings(interface="eth0"),)),
    groups=(WEB,),
)


def at(ms: int) -> Moment:
    return Moment(MonoNs(milliseconds(ms)), WallNs(0))


def report(check: CheckSettings, *, passed: bool) -> CheckReported:
    return CheckReported(group=WEB.id, check=check, passed=passed, text="it is so")


def records(agent: Agent, ms: int, event: Event) -> list[Record]:
    return [action for action in agent.step(at(ms), event) if isinstance(action, Record)]


def mastering() -> Agent:
    """A lone master whose checks pass, at 1012 ms."""
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))
    agent.step(at(0), LinkChanged("eth0", up=True))
    for check in WEB.checks:
        agent.step(at(1), report(check, passed=True))
    for ms in (200, 400, 600, 800, 941, 1000, 1004, 1012):
        agent.step(at(ms), Tick())
    assert agent.status().groups[0].role.state is State.MASTER
    return agent


def test_a_check_that_takes_the_agent_out_is_the_cause_of_that() -> None:
    failing, moved = records(mastering(), 1020, report(HAPROXY, passed=False))

    assert (failing.kind, moved.kind) == ("check.failing", "role.changed")
    assert moved.cause == failing.number


def test_a_check_that_moves_nothing_explains_no_later_move() -> None:
    agent = mastering()
    (failing,) = records(agent, 1020, report(GATEWAY, passed=False))
    assert failing.kind == "check.failing"

    moved = [r for r in records(agent, 1030, LinkChanged("eth0", up=False)) if r.group == "web"]

    assert [(record.kind, record.cause) for record in moved] == [("role.changed", None)]


def test_an_agent_that_goes_on_after_a_restart_is_electable_before_its_checks_have_reported() -> (
    None
):
    tenure = Tenure(group=group_id("web"), term=Term(7), until=at(3000).mono)
    agent = Agent(SETTINGS, BootId(1), {}, Random(1), [tenure])

    agent.step(at(0), LinkChanged("eth0", up=True))

    role = agent.status().groups[0].role
    assert (role.state, role.priority, role.health) == (State.MASTER, 100, 100)


def test_an_agent_that_waits_for_its_checks_is_not_electable() -> None:
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))
    agent.step(at(0), LinkChanged("eth0", up=True))
    agent.step(at(1), report(HAPROXY, passed=True))
    for ms in (200, 400, 600, 800, 941, 1000, 1020):
        agent.step(at(ms), Tick())

    role = agent.status().groups[0].role

    assert (role.state, role.reason.name, role.priority) == (State.BACKUP, "UNCHECKED", 0)


def test_checks_are_asked_for_once_and_again_when_they_change() -> None:
    agent = Agent(SETTINGS, BootId(1), {}, Random(1))

    def asked(ms: int, event: Event) -> list[set[CheckSettings]]:
        actions = agent.step(at(ms), event)
        return [
            {check for _, check in action.checks}
            for action in actions
            if isinstance(action, WatchChecks)
        ]

    other = replace(SETTINGS, groups=(replace(WEB, checks=(GATEWAY,)),))

    assert asked(0, LinkChanged("eth0", up=True)) == [{HAPROXY, GATEWAY}]
    assert asked(1, Tick()) == []
    assert asked(2, SettingsChanged(SETTINGS)) == []
    assert asked(3, SettingsChanged(other)) == [{GATEWAY}]
