"""What is explained of a group: a pure function of the status and of the records that led to it."""

from dataclasses import replace

import pytest

from haagent.control.explanation import Chain, UnknownGroupError, explanation
from haagent.control.haagent_pb2 import ExplainReply
from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import Priority, Term, node_id
from haagent.core.messages import RoleReason, State
from haagent.core.status import GroupStatus, PeerStatus, RoleStatus, Status
from tests.unit.cli.test_status import HEALTHY, LB2, NOW, OURS, THEIRS, ago

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
TAKEOVER = (LB2_WON, LB2_STOOD, LB1_DIED)


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


def on(node: str, ours: RoleStatus, *peers: PeerStatus) -> Status:
    return replace(
        HEALTHY,
        node=node,
        node_id=node_id(node),
        groups=(GroupStatus(role=ours, interface="eth0", addresses=(), preempts_at=None),),
        peers=peers,
        records=(),
    )


ON_LB2 = on("lb2", MASTER, LB1, LB3, LB4)


def explained(status: Status, *records: Record, lost: int | None = None) -> ExplainReply:
    return explanation("web", status, NOW, Chain(records=records, lost=lost))


def against(reply: ExplainReply) -> dict[str, str | None]:
    """What speaks against each as master, the best first."""
    return {
        each.agent: each.not_electable if each.HasField("not_electable") else None
        for each in reply.ranks
    }


def test_who_is_master_is_told_with_where_it_began() -> None:
    reply = explained(ON_LB2, *TAKEOVER)

    assert (reply.node, reply.group, [*reply.masters]) == ("lb2", "web", ["lb2"])
    assert reply.text == (
        "lb2 has been master of web for 3 min 2 s (term 7): the master fell silent: "
        "lb1 has been silent for 367 ms, and its host does not answer"
    )
    assert [each.number for each in reply.records] == [43, 42, 41]
    assert not reply.HasField("lost_cause")


def test_an_agent_that_follows_explains_as_well() -> None:
    changed = record(43, "master.changed", "lb2 is master", cause=41)
    reply = explained(on("lb3", FOLLOWER, LB1, peer("lb2", MASTER)), changed, LB1_DIED)

    assert reply.text == explained(ON_LB2, *TAKEOVER).text


def test_where_the_beginning_is_lost_only_the_reason_is_told() -> None:
    reply = explained(ON_LB2, LB2_WON, LB2_STOOD, lost=41)

    assert reply.text.endswith("(term 7): the master fell silent")
    assert reply.lost_cause == 41


def test_a_master_that_is_drained_is_not_explained_by_why_it_became_master() -> None:
    drained = role(State.MASTER, RoleReason.NO_MASTER, 0)

    assert against(explained(on("lb2", drained, LB4))) == {
        "lb2": "hands over as soon as another agent can take over",
        "lb4": "the interface of the group is down, missing or in a bridge",
    }


def test_ranks_are_by_priority_then_by_node_and_the_unfit_come_last() -> None:
    fit = [peer(name, FOLLOWER) for name in ("a", "b", "c", "d")]
    best = peer("e", replace(FOLLOWER, priority=Priority(101)))
    reply = explained(on("lb2", MASTER, LB1, LB4, *fit, best))

    equals = sorted(("a", "b", "c", "d", "lb2"), key=node_id, reverse=True)
    assert [*against(reply).items()] == [
        *((name, None) for name in ("e", *equals)),
        ("lb1", "silent for 3 min 3 s, was master when last heard"),
        ("lb4", "the interface of the group is down, missing or in a bridge"),
    ]


def test_a_demoted_agent_ranks_below_all_whose_checks_pass() -> None:
    demoted = peer("lb9", replace(FOLLOWER, priority=Priority(200), health=99))
    ranks = explained(on("lb2", MASTER, LB3, demoted)).ranks

    assert [each.demoted for each in ranks] == [False, False, True]
    assert ranks[-1].agent == "lb9"


def test_an_answer_is_that_of_the_agent_whose_whole_name_begins_the_line() -> None:
    lines = ("lb33 grants (VOTE)", "lb3 objects (VOTE): hears the master, or its host answers")
    peers = (LB3, peer("lb33", FOLLOWER), peer("lb", FOLLOWER))
    reply = explained(on("lb2", MASTER, *peers), replace(LB2_WON, evidence=lines))

    answers = {e.agent: e.answer if e.HasField("answer") else None for e in reply.ranks}
    assert answers == {
        "lb2": None,
        "lb": None,
        "lb3": "objects (VOTE): hears the master, or its host answers",
        "lb33": "grants (VOTE)",
    }


def test_a_group_without_a_master_is_explained_too() -> None:
    reply = explained(on("lb2", role(State.FAULT, RoleReason.LINK_DOWN, 0), LB1))

    why = "the interface of the group is down, missing or in a bridge"
    assert reply.text == f"web has no master: lb2 is in fault: {why}"
    assert not reply.masters


def test_two_masters_are_both_named() -> None:
    assert explained(on("lb2", MASTER, peer("lb3", OURS))).text == "web has 2 masters: lb2, lb3"


def test_of_a_group_that_is_not_there_those_that_are_are_named() -> None:
    mail = replace(ON_LB2.groups[0], role=replace(MASTER, group="mail"))
    status = replace(ON_LB2, groups=(*ON_LB2.groups, mail))

    with pytest.raises(UnknownGroupError, match="no group 'wbe', there is web, mail"):
        explanation("wbe", status, NOW, Chain())
