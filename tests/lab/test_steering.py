"""Drain and pause: the operator keeps an agent out, or everything as it is, until he ends it."""

import time
from collections.abc import Callable

import pytest

from haagent.control import haagent_pb2 as pb
from haagent.lab.agents import Agent
from haagent.lab.cluster import VIP_IPV4
from haagent.lab.probes import Probes
from haagent.lab.process import Process
from haagent.lab.services import Service
from tests.lab.conftest import Begin, Site
from tests.lab.test_resource_faults import DISK, after, inside

MS = 1_000_000
SECOND = 1_000 * MS


def said(agent: Agent, command: str, *options: str) -> tuple[int, str, str]:
    """Exit code, output and complaint of ``haagent command``."""
    done = agent.ask(command, *options)
    return done.returncode, done.stdout, done.stderr


def wait_until(site: Site, probes: Probes, moment_ns: int) -> None:
    """Wait for the first probe that was sent at ``moment_ns`` or later, and has ended."""
    site.lab.wait_until(
        lambda: probes.outcomes() and probes.outcomes()[-1].sent_ns >= moment_ns, 15, "probes"
    )


def role_of(name: str, reply: pb.StatusReply) -> pb.Role:
    """The role of the peer ``name`` in the only group, as ``reply`` tells it."""
    return next(role for peer in reply.peers for role in peer.roles if peer.name == name)


def test_a_drained_master_hands_over_and_everybody_is_told_why(begin: Begin) -> None:
    site = begin()
    lb1 = site.agents["lb1"]
    ipv4, ipv6 = site.probe()

    asked = time.monotonic_ns()
    ended = said(lb1, "drain")
    drained = time.monotonic_ns()

    assert ended == (0, "drained\n", "")
    assert site.holders(VIP_IPV4) == ["lb2"], "the command ends with the handover"
    wait_until(site, ipv4, drained)
    wait_until(site, ipv6, drained)
    silences = [probes.longest_silence(asked, drained) / MS for probes in (ipv4, ipv6)]
    assert max(silences) < 100, silences
    for probes in (ipv4, ipv6):
        assert [change.who for change in probes.changes(asked)] == ["lb1", "lb2"]
        assert len(probes.failures(asked)) < 20
    assert site.reigns("lb2") == ["took over by planned handover"]

    told = lb1.status()
    assert told is not None
    role = told["groups"][0]["role"]
    assert (role["state"], role["reason"], role["priority"]) == ("backup", "maintenance", 0)
    assert role["reason_text"] == "is kept out for maintenance"
    assert [alarm["kind"] for alarm in told["alarms"]] == ["agent.maintenance"]
    theirs = role_of("lb1", site.status("lb2"))
    assert (theirs.state, theirs.reason, theirs.priority) == ("backup", "maintenance", 0)

    assert said(lb1, "drain") == (0, "already drained\n", "")
    assert said(lb1, "undrain") == (0, "undrained\n", "")
    assert said(lb1, "undrain") == (0, "was not drained\n", "")
    site.settle_all()
    assert site.reigns("lb1")[1:] == ["took over by planned handover"]
    assert site.alarms("lb1") == site.alarms("lb2") == {}


@pytest.mark.parametrize("end", [Process.kill, Process.stop])
def test_a_drained_agent_is_still_drained_after_a_restart(
    begin: Begin, end: Callable[[Process], int]
) -> None:
    """Also when the other one dies: nobody serves, as the operator wanted it."""
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    ipv4, _ = site.probe()
    assert said(lb1, "drain") == (0, "drained\n", "")

    end(lb1.process)
    lb1.start()
    site.settle(lb1="backup", lb2="master")

    assert site.role("lb1").reason == "maintenance"
    assert "agent.maintenance" in site.alarms("lb1")

    killed = lb2.process.kill()
    wait_until(site, ipv4, killed + 3 * SECOND)
    undrained = time.monotonic_ns()

    assert [o.who for o in ipv4.outcomes() if o.ok and o.sent_ns > killed + 100 * MS] == []
    assert site.role("lb1").state == "backup"
    assert said(lb1, "undrain") == (0, "undrained\n", "")
    assert site.gap(ipv4, undrained, by="lb1") < 2 * SECOND


def test_a_drain_that_would_leave_nobody_is_refused_unless_forced(begin: Begin) -> None:
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    assert said(lb2, "drain") == (0, "drained\n", "")

    code, output, complaint = said(lb1, "drain")

    assert (code, output) == (1, "")
    assert complaint.splitlines() == [
        "no agent could take over web: lb2: is kept out for maintenance",
        "haagent: drain refused, nothing has changed",
    ]
    assert site.alarms("lb1") == {}
    assert (site.role("lb1").state, site.role("lb1").priority) == ("master", 150)

    lb2.process.stop()
    ipv4, _ = site.probe()
    forced = time.monotonic_ns()
    kept = "haagent: still master of web until another agent can take over\n"
    assert said(lb1, "drain", "--force") == (0, "drained\n", kept)
    assert said(lb1, "drain") == (1, "already drained\n", kept)
    assert (site.role("lb1").state, site.role("lb1").priority) == ("master", 0)

    lb2.start()
    site.settle(lb1="master", lb2="backup")
    assert said(lb2, "undrain") == (0, "undrained\n", "")
    site.settle(lb1="backup", lb2="master")
    assert site.reigns("lb2") == ["took over by planned handover"]
    assert ipv4.longest_silence(forced) < 100 * MS
    assert said(lb1, "drain") == (0, "already drained\n", "")


def test_a_drain_whose_successor_hangs_says_that_the_agent_is_still_master(begin: Begin) -> None:
    site = begin()
    site.agents["lb2"].process.freeze()

    code, output, complaint = said(site.agents["lb1"], "drain")

    site.agents["lb2"].process.thaw()
    assert (code, output) == (1, "drained\n"), complaint
    assert complaint == "haagent: still master of web until another agent can take over\n"
    site.settle(lb1="backup", lb2="master")


PAUSED = pytest.mark.parametrize("paused", [("lb1", "lb2"), ("lb1",), ("lb2",)], ids="+".join)


@PAUSED
def test_nobody_takes_over_from_a_paused_master_until_it_is_resumed(
    begin: Begin, paused: tuple[str, ...]
) -> None:
    site = begin()
    lb2 = site.agents["lb2"]
    ipv4, _ = site.probe()
    for name in paused:
        assert said(site.agents[name], "pause") == (0, "paused\n", "")
        assert set(site.alarms(name)) == {"agent.paused"}

    killed = site.agents["lb1"].process.kill()
    wait_until(site, ipv4, killed + 3 * SECOND)
    asked = time.monotonic_ns()

    assert [o.who for o in ipv4.outcomes() if o.ok and o.sent_ns > killed + 100 * MS] == []
    assert site.role("lb2").state == "backup"
    code, output, _ = said(lb2, "resume")
    resumed = time.monotonic_ns()
    assert (code, output) == (0, "resumed\n" if "lb2" in paused else "was not paused\n")
    assert site.gap(ipv4, asked, by="lb2") < resumed - asked + SECOND
    assert site.alarms("lb2") == {}


def test_a_pause_does_not_keep_from_a_planned_handover_and_survives_a_restart(
    begin: Begin,
) -> None:
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    ipv4, _ = site.probe()
    for agent in (lb1, lb2):
        assert said(agent, "pause") == (0, "paused\n", "")
        assert said(agent, "pause") == (0, "already paused\n", "")

    stopped = lb1.process.stop()
    site.gap(ipv4, stopped, by="lb2")
    lb1.start()
    site.settle(lb1="backup", lb2="master")

    assert ipv4.longest_silence(stopped) < 100 * MS
    assert set(site.alarms("lb1")) == {"agent.paused"}
    back = time.monotonic_ns()
    wait_until(site, ipv4, back + 3 * SECOND)
    assert [change.who for change in ipv4.changes(back)] == ["lb2"], "preempt after 2 s"
    for agent in (lb1, lb2):
        assert said(agent, "resume") == (0, "resumed\n", "")
    site.settle_all()
    assert site.alarms("lb1") == site.alarms("lb2") == {}


def test_a_master_that_is_kept_over_a_planned_restart_is_paused_as_before(begin: Begin) -> None:
    site = begin()
    with Service(site.agents["lb1"]) as lb1:
        lb1.agent.process.stop()
        lb1.start()
        site.settle_all()
        assert said(lb1.agent, "pause") == (0, "paused\n", "")

        lb1.restart()
        site.settle(lb1="master", lb2="backup")
        site.settle_all()

        assert site.role("lb1").reason == "restarted"
        assert set(site.alarms("lb1")) == {"agent.paused"}


def test_with_a_full_disk_nothing_changes_and_the_reason_is_said(begin: Begin) -> None:
    site = begin(through=after(DISK))
    lb1 = site.agents["lb1"]
    ipv4, _ = site.probe()
    since = time.monotonic_ns()
    before = set(site.alarms("lb1"))

    for command in ("drain", "pause"):
        code, output, complaint = said(lb1, command)
        assert (code, output) == (1, "")
        assert complaint.splitlines() == [
            f"cannot write {lb1.state_dir}/state.json: No space left on device",
            f"haagent: {command} refused, nothing has changed",
        ]
    assert set(site.alarms("lb1")) == before
    assert (site.role("lb1").state, site.role("lb1").priority) == ("master", 150)

    inside(lb1, lb1.state_dir / "full").unlink()
    site.lab.wait_until(lambda: not site.alarms("lb1"), 10, "terms are written")
    kept = inside(lb1, lb1.state_dir / "state.json").read_text()
    assert '"maintenance": false' in kept, "what was refused is not written with the terms"
    assert said(lb1, "drain") == (0, "drained\n", "")
    assert [change.who for change in ipv4.changes(since)] == ["lb1", "lb2"]


def test_a_group_stays_where_an_operator_has_it_moved(begin: Begin) -> None:
    """``preempt: after 2s`` is no reason to take it back, nor is a restart of the better one."""
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    ipv4, ipv6 = site.probe()

    asked = time.monotonic_ns()
    ended = said(lb1, "failover", "web")
    moved = time.monotonic_ns()

    assert ended == (0, "lb2 is master of web\n", "")
    assert site.holders(VIP_IPV4) == ["lb2"], "the command ends with the handover"
    wait_until(site, ipv4, moved)
    wait_until(site, ipv6, moved)
    silences = [probes.longest_silence(asked, moved) / MS for probes in (ipv4, ipv6)]
    print("failover: silent for", silences, "ms")
    assert max(silences) < 100, silences
    assert site.role("lb2").reason == "chosen"
    site.lab.wait_until(
        lambda: role_of("lb2", site.status("lb1")).reason == "chosen", 5, "lb1 sees why"
    )

    code, output, complaint = said(lb1, "failover", "web")
    assert (code, output) == (1, "")
    assert complaint.startswith("lb1 is not master of web: lb2 is, ask there\n")
    assert said(lb1, "failover", "web", "--to", "lb2") == (0, "lb2 is master of web already\n", "")

    lb1.process.stop()
    lb1.start()
    site.settle(lb1="backup", lb2="master")
    back = time.monotonic_ns()
    wait_until(site, ipv4, back + 3 * SECOND)
    assert [change.who for change in ipv4.changes(back)] == ["lb2"]

    assert said(lb2, "failover", "web", "--to", "lb1") == (0, "lb1 is master of web\n", "")
    assert site.role("lb1").reason == "handover", "the better one needs no protection"


def test_a_planned_restart_keeps_what_an_operator_chose(begin: Begin) -> None:
    site = begin()
    assert said(site.agents["lb1"], "failover", "web")[0] == 0
    with Service(site.agents["lb2"]) as lb2:
        lb2.agent.process.stop()
        site.settle(lb1="master")
        lb2.start()
        site.settle(lb1="master", lb2="backup")
        assert said(site.agents["lb1"], "failover", "web")[0] == 0

        lb2.restart()
        site.settle(lb1="backup", lb2="master")

        ipv4, _ = site.probe()
        back = time.monotonic_ns()
        wait_until(site, ipv4, back + 3 * SECOND)
        assert [change.who for change in ipv4.changes(back)] == ["lb2"]
        assert site.role("lb2").reason == "chosen"


def test_a_drain_ends_at_its_time_also_over_a_restart(begin: Begin) -> None:
    site = begin()
    lb1, lb2 = site.agents["lb1"], site.agents["lb2"]
    code, output, _ = said(lb2, "drain", "--for", "1h")
    assert (code, output[:20]) == (0, "drained until " + output[14:20])
    alarm = site.alarms("lb2")["agent.maintenance"]
    assert output[25:33] + " UTC" in alarm

    code, output, complaint = said(lb1, "failover", "web")
    assert (code, output) == (1, "")
    why = "nobody could take over web: lb2: is kept out for maintenance"
    assert complaint.splitlines()[0] == why

    lb2.process.stop()
    lb2.start()
    site.settle(lb1="master", lb2="backup")
    assert site.alarms("lb2")["agent.maintenance"] == alarm

    assert said(lb2, "drain", "--for", "1s")[0] == 0
    site.lab.wait_until(lambda: not site.alarms("lb2"), 5, "the drain is over")
    assert said(lb2, "undrain") == (0, "was not drained\n", "")
    assert said(lb1, "failover", "web") == (0, "lb2 is master of web\n", "")


def test_a_dry_run_touches_nothing_whatever_it_finds(pair: Site) -> None:
    lb1 = pair.agents["lb1"]
    before, text = pair.role("lb1"), lb1.configuration_file.read_text()
    assert said(lb1, "reload", "--dry-run") == (0, "would be unchanged\n", "")
    for old, new, code, what in (
        ("priority: 150", "priority: 140", 0, "group web: priority 140, preempt after 2000 ms"),
        ("priority: 150", "priority: 500", 2, "must be 1..254, is 500"),
        ("node: lb1", "node: lb9", 1, "takes a restart: node"),
    ):
        assert old in text
        lb1.configure(text.replace(old, new))
        ended = said(lb1, "reload", "--dry-run")
        assert ended[0] == code, ended
        assert what in ended[1] + ended[2]
    lb1.configure(text)

    after = pair.role("lb1")
    assert pair.alarms("lb1") == {}
    assert pair.records("lb1", "config.applied") == []
    assert (after.state, after.priority, after.term) == ("master", 150, before.term)
