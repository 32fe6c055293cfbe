"""``haagent explain`` as operators and scripts run it: the real command, a real agent's socket."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import Priority, Term, node_id
from haagent.core.messages import RoleReason, State
from haagent.core.status import GroupStatus, PeerStatus, RoleStatus, Status
from tests.unit.cli.test_status import (
    HAAGENT,
    HEALTHY,
    LB2,
    OURS,
    THEIRS,
    agent,
    ago,
    assert_golden,
    run_on_terminal,
)

ROLE = "role.changed"


def record(
    number: int,
    kind: str,
    text: str,
    *,
    group: str | None = "web",
    cause: int | None = None,
    evidence: tuple[str, ...] = (),
) -> Record:
    return Record(
        number=number,
        stamp=Stamp(Hlc(1_767_225_588_000 + number, 0), number),
        severity=Severity.NOTICE,
        kind=kind,
        text=text,
        group=group,
        term=None if group is None else Term(7),
        cause=cause,
        evidence=evidence,
    )


LB1_DIED = record(
    41,
    "peer.dead",
    "lb1 has been silent for 367 ms, and its host does not answer",
    group=None,
    evidence=(
        "last heard 367 ms ago on path 0, from 10.0.0.11",
        "late for 160 ms, no answer to 5 rounds of probes",
        "its host: no answer",
        "lb3 was asked, and does not hear it of late",
        "reference 10.0.0.1: answers",
    ),
)
LB2_STOOD = record(42, ROLE, "backup -> candidate: the master fell silent", cause=41)
LB2_WON = record(
    43,
    ROLE,
    "candidate -> master: the master fell silent",
    cause=42,
    evidence=("lb3 objects (PRE): ranks higher", "lb3 grants (VOTE)", "lb4 grants (VOTE)"),
)
CHATTER = (
    record(40, ROLE, "listen -> backup: follows the master that it hears"),
    record(44, ROLE, "backup -> master: the master left", group="mail"),
    record(45, "peer.alive", "lb5 is heard", group=None),
    record(46, "address.removed", "10.0.0.100/32 was removed from eth0 by somebody else"),
)
TAKEOVER = tuple(sorted((*CHATTER, LB1_DIED, LB2_STOOD, LB2_WON), key=lambda record: record.number))


def role(state: State, reason: RoleReason, priority: int) -> RoleStatus:
    return replace(
        THEIRS,
        state=state,
        reason=reason,
        base_priority=Priority(priority or 150),
        priority=Priority(priority),
        health=100 if priority else 0,
        since=ago(182_000),
        master="lb2",
    )


def peer(name: str, role: RoleStatus) -> PeerStatus:
    return replace(LB2, name=name, node=node_id(name), roles=(role,))


MASTER = role(State.MASTER, RoleReason.MASTER_SILENT, 100)
FOLLOWER = role(State.BACKUP, RoleReason.FOLLOWING, 100)
LB1 = replace(
    peer("lb1", role(State.MASTER, RoleReason.NO_MASTER, 150)),
    alive=False,
    last_heard=ago(183_000),
)
LB3 = peer("lb3", FOLLOWER)
LB4 = peer("lb4", role(State.FAULT, RoleReason.LINK_DOWN, 0))


def on(node: str, ours: RoleStatus, peers: tuple[PeerStatus, ...], *records: Record) -> Status:
    return replace(
        HEALTHY,
        node=node,
        node_id=node_id(node),
        groups=(GroupStatus(role=ours, interface="eth0", addresses=(), preempts_at=None),),
        peers=peers,
        records=records,
    )


ON_LB2 = on("lb2", MASTER, (LB1, LB3, LB4), *TAKEOVER)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def explain(socket: Path, *options: str, group: str = "web") -> "subprocess.CompletedProcess[str]":
    command = [HAAGENT, "explain", group, "--socket", str(socket), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def said(socket: Path, status: Status) -> list[str]:
    with agent(socket, status):
        done = explain(socket)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_the_takeover_is_told_in_80_columns(socket: Path) -> None:
    with agent(socket, ON_LB2):
        screen = run_on_terminal(socket, "explain", "web")

    assert max(map(len, screen.splitlines())) <= 80
    assert_golden("explain_takeover.txt", screen)


def test_json_tells_the_same(socket: Path) -> None:
    with agent(socket, ON_LB2):
        done = explain(socket, "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert_golden("explain_takeover.json", done.stdout)


def test_an_agent_that_follows_explains_as_well(socket: Path) -> None:
    changed = record(43, "master.changed", "lb2 is master", cause=41)
    lines = said(socket, on("lb3", FOLLOWER, (LB1, peer("lb2", MASTER)), LB1_DIED, changed))

    assert lines[0] == (
        "lb2 has been master of web for 3 min 2 s (term 7): the master fell silent: "
        "lb1 has been silent for 367 ms, and its host does not answer"
    )
    assert "    lb2 is master" in lines


def test_a_cause_that_is_no_longer_kept_is_said_to_be_lost(socket: Path) -> None:
    status = on("lb2", MASTER, (LB3,), LB2_STOOD, LB2_WON)
    with agent(socket, status):
        plain = json.loads(explain(socket, "--json").stdout)
    lines = said(socket, status)

    assert (plain["lost_cause"], [each["number"] for each in plain["records"]]) == (41, [43, 42])
    assert "  led to by record 41, which is no longer kept" in lines
    assert lines[0].endswith("(term 7): the master fell silent")


@pytest.mark.parametrize("cause", [43, 44])
def test_a_record_that_would_be_its_own_cause_ends_the_chain(cause: int, socket: Path) -> None:
    later = record(44, "peer.dead", "lb1 is dead", cause=43)
    lines = said(socket, on("lb2", MASTER, (), replace(LB2_WON, cause=cause), later))

    assert f"  led to by record {cause}, which is no longer kept" in lines
    assert sum("candidate -> master" in line for line in lines) == 1


def test_a_chain_is_followed_to_its_end_however_long(socket: Path) -> None:
    causes = [record(n, "peer.late", f"step {n}", cause=n - 1 or None) for n in range(1, 256)]
    won = record(256, ROLE, "candidate -> master: the master fell silent", cause=255)
    lines = said(socket, on("lb2", MASTER, (), *causes, won))

    assert [n for n in range(255, 0, -1) if f"step {n}" in "\n".join(lines)] == [*range(255, 0, -1)]
    assert lines[0].endswith(": step 1")
    assert not any("no longer kept" in line for line in lines)


def test_a_master_that_is_drained_is_not_explained_by_why_it_became_master(socket: Path) -> None:
    drained = role(State.MASTER, RoleReason.NO_MASTER, 0)
    with agent(socket, on("lb2", drained, (LB4,))):
        told = json.loads(explain(socket, "--json").stdout)

    assert {each["agent"]: each["not_electable"] for each in told["ranks"]} == {
        "lb2": "hands over as soon as another agent can take over",
        "lb4": "the interface of the group is down, missing or in a bridge",
    }


def test_without_a_record_of_a_change_it_is_said_and_the_ranks_are_shown(socket: Path) -> None:
    lines = said(socket, on("lb2", MASTER, (LB3,), CHATTER[1], CHATTER[2]))

    assert lines[0].endswith("(term 7): the master fell silent")
    assert "  none is among the records that are kept" in lines
    assert any(line.split()[:2] == ["lb3", "100"] for line in lines)


def test_ranks_are_by_priority_then_by_node_and_the_unfit_come_last(socket: Path) -> None:
    fit = [peer(name, FOLLOWER) for name in ("a", "b", "c", "d")]
    best = peer("e", replace(FOLLOWER, priority=Priority(101)))
    with agent(socket, on("lb2", MASTER, (LB1, LB4, *fit, best))):
        ranks = json.loads(explain(socket, "--json").stdout)["ranks"]

    equals = sorted(("a", "b", "c", "d", "lb2"), key=node_id, reverse=True)
    assert [each["agent"] for each in ranks] == ["e", *equals, "lb1", "lb4"]
    assert [each["not_electable"] for each in ranks[-3:]] == [
        None,
        "silent for 3 min 3 s, was master when last heard",
        "the interface of the group is down, missing or in a bridge",
    ]


def test_an_answer_is_that_of_the_agent_whose_whole_name_begins_the_line(socket: Path) -> None:
    won = replace(
        LB2_WON,
        evidence=(
            "lb33 grants (VOTE)",
            "lb3 objects (VOTE): hears the master, or its host answers",
        ),
    )
    peers = (LB3, peer("lb33", FOLLOWER), peer("lb", FOLLOWER))
    with agent(socket, on("lb2", MASTER, peers, won)):
        ranks = json.loads(explain(socket, "--json").stdout)["ranks"]

    assert {each["agent"]: each["answer"] for each in ranks} == {
        "lb2": None,
        "lb": None,
        "lb3": "objects (VOTE): hears the master, or its host answers",
        "lb33": "grants (VOTE)",
    }


def test_a_group_without_a_master_is_explained_too(socket: Path) -> None:
    lines = said(socket, on("lb2", role(State.FAULT, RoleReason.LINK_DOWN, 0), (LB1,)))

    assert lines[0] == (
        "web has no master: lb2 is in fault: the interface of the group is down, missing or in a "
        "bridge"
    )


def test_two_masters_are_both_named(socket: Path) -> None:
    lines = said(socket, on("lb2", MASTER, (peer("lb3", OURS),)))

    assert lines[0] == "web has 2 masters: lb2, lb3"


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_group_that_is_not_there_is_exit_code_2_and_those_that_are_are_named(
    form: list[str], socket: Path
) -> None:
    mail = replace(ON_LB2.groups[0], role=replace(MASTER, group="mail"))
    with agent(socket, replace(ON_LB2, groups=(*ON_LB2.groups, mail))):
        done = explain(socket, *form, group="wbe")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "haagent: no group 'wbe', there is web, mail\n"


def test_without_a_group_the_usage_is_shown(socket: Path) -> None:
    command = [HAAGENT, "explain", "--socket", str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 2
    assert "Missing argument 'group'" in done.stderr


def test_without_an_agent_the_exit_code_is_3_and_the_socket_is_named(socket: Path) -> None:
    done = explain(socket)

    assert (done.returncode, done.stdout) == (3, "")
    assert str(socket) in done.stderr
