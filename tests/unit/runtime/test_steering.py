"""Drain, pause and failover against a real agent's core and a real state file: what is refused,
what is kept, and what is done once."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from haagent.adapters import clock
from haagent.adapters.state_file import StateFile
from haagent.config import load
from haagent.control.haagent_pb2 import (
    DrainRequest,
    FailoverRequest,
    PauseRequest,
    ResumeRequest,
    Seen,
    SteerReply,
    UndrainRequest,
)
from haagent.control.server import SteerRequest
from haagent.core.agent import Agent
from haagent.core.events import FailoverAsked, Steered
from haagent.core.identity import HEALTHY, BootId, GroupId, NodeId, Priority, Term, group_id
from haagent.core.messages import RoleReason, State
from haagent.core.status import GroupStatus, PeerStatus, RoleStatus, Status
from haagent.core.units import MonoNs, WallNs, seconds
from haagent.runtime.failover import Already, Refusal, Successor, stranded, successor
from haagent.runtime.seen import outdated
from haagent.runtime.steering import LONGEST_MS, REMEMBERED, SHORTEST_MS, Steering

CONF = Path(__file__).parents[3] / "conf"

DRAIN, UNDRAIN, PAUSE, RESUME = DrainRequest(), UndrainRequest(), PauseRequest(), ResumeRequest()

ROLE = RoleStatus(
    group="web",
    state=State.BACKUP,
    reason=RoleReason.FOLLOWING,
    since=MonoNs(0),
    base_priority=Priority(100),
    priority=Priority(100),
    health=HEALTHY,
    term=Term(7),
    master="lb1",
)
LB2 = PeerStatus(
    name="lb2",
    node=NodeId(2),
    boot=BootId(1),
    alive=True,
    last_heard=MonoNs(0),
    hears_us=True,
    paths=(),
    roles=(ROLE,),
)
DRAINED = replace(ROLE, priority=Priority(0), reason=RoleReason.MAINTENANCE)


def as_seen(*peers: PeerStatus, state: State = State.MASTER) -> Status:
    """The status of an agent that is in ``state`` of group ``web``."""
    role = replace(ROLE, state=state)
    group = GroupStatus(role=role, interface="eth0", addresses=(), preempts_at=None)
    return Status(
        node="lb1",
        node_id=NodeId(1),
        boot=BootId(1),
        cluster="shop",
        groups=(group,),
        peers=peers,
        haproxy=None,
        alarms=(),
        records=(),
    )


@pytest.mark.parametrize(
    ("peers", "why"),
    [
        ((), "there is no other"),
        ((replace(LB2, alive=False),), "lb2 is silent"),
        ((replace(LB2, hears_us=False),), "lb2 does not hear this agent"),
        ((replace(LB2, roles=(DRAINED,)),), "lb2: is kept out for maintenance"),
        ((replace(LB2, roles=(replace(ROLE, group="db"),)),), "there is no other"),
        (
            (replace(LB2, alive=False), replace(LB2, name="lb3", roles=(DRAINED,))),
            "lb2 is silent, lb3: is kept out for maintenance",
        ),
    ],
)
def test_a_master_is_stranded_that_nobody_could_take_over_from(
    peers: tuple[PeerStatus, ...], why: str
) -> None:
    assert [*stranded(as_seen(*peers))] == [f"no agent could take over web: {why}"]


@pytest.mark.parametrize(
    "status",
    [
        as_seen(LB2),
        as_seen(replace(LB2, alive=False), replace(LB2, name="lb3")),
        as_seen(state=State.BACKUP),
        as_seen(state=State.FAULT),
    ],
)
def test_who_has_a_successor_or_is_no_master_is_not_stranded(status: Status) -> None:
    assert [*stranded(status)] == []


DEMOTED = replace(ROLE, health=HEALTHY - 1)
LB3 = replace(LB2, name="lb3", node=NodeId(3))


@pytest.mark.parametrize(
    ("peers", "to", "force", "found"),
    [
        ((LB2,), "", False, Successor("lb2", NodeId(2))),
        ((LB2, LB3), "", False, Successor("lb3", NodeId(3))),
        ((LB2, LB3), "lb2", False, Successor("lb2", NodeId(2))),
        ((LB2, replace(LB3, roles=(DEMOTED,))), "", True, Successor("lb2", NodeId(2))),
        ((replace(LB2, roles=(DEMOTED,)),), "", True, Successor("lb2", NodeId(2))),
        ((LB2, LB3), "lb1", False, Already("lb1")),
        (
            (replace(LB2, roles=(DEMOTED,)),),
            "",
            False,
            Refusal("nobody could take over web: lb2 is demoted by a check"),
        ),
        (
            (replace(LB2, roles=(DRAINED,)), LB3),
            "lb2",
            True,
            Refusal("nobody could take over web: lb2: is kept out for maintenance"),
        ),
        (
            (replace(LB2, alive=False), replace(LB3, hears_us=False)),
            "",
            True,
            Refusal(
                "nobody could take over web: lb2 is silent, lb3 does not hear this agent",
            ),
        ),
        ((), "", False, Refusal("nobody could take over web: there is no other")),
        ((LB2,), "lb9", False, Refusal("lb9 is no other agent of web, but lb2")),
        (
            (replace(LB2, roles=(replace(ROLE, group="db"),)),),
            "lb2",
            False,
            Refusal("lb2 is no other agent of web, but nobody"),
        ),
    ],
)
def test_a_group_goes_to_who_is_wanted_or_the_best_that_can(
    peers: tuple[PeerStatus, ...],
    to: str,
    force: bool,
    found: Successor | Already | Refusal,
) -> None:
    assert successor(as_seen(*peers), "web", to, force=force) == found


def test_one_as_demoted_as_the_master_may_take_over() -> None:
    status = as_seen(replace(LB2, roles=(DEMOTED,)))
    ours = replace(status.groups[0], role=replace(DEMOTED, state=State.MASTER))

    found = successor(replace(status, groups=(ours,)), "web", "", force=False)

    assert found == Successor("lb2", NodeId(2))


@pytest.mark.parametrize(
    ("role", "group", "why"),
    [
        (ROLE, "db", "no group 'db', there is web"),
        (
            replace(ROLE, master="lb2"),
            "web",
            "lb1 is not master of web: lb2 is, ask there",
        ),
        (replace(ROLE, master=None), "web", "lb1 is not master of web: it has none"),
        (replace(ROLE, state=State.RESIGNING), "web", "a handover of web is under way"),
    ],
)
def test_who_is_not_master_hands_over_nothing(role: RoleStatus, group: str, why: str) -> None:
    status = as_seen(LB2)
    ours = replace(status.groups[0], role=role)

    found = successor(replace(status, groups=(ours,)), group, "", force=True)

    assert found == Refusal(why)


def test_who_hands_over_is_not_master_already_though_it_still_is() -> None:
    status = as_seen(LB2, state=State.RESIGNING)

    found = successor(status, "web", "lb1", force=False)

    assert found == Refusal("a handover of web is under way")


def test_a_wish_for_who_is_master_already_is_fulfilled_wherever_it_is_asked() -> None:
    status = as_seen(LB2, state=State.BACKUP)
    ours = replace(status.groups[0], role=replace(ROLE, master="lb2"))

    found = successor(replace(status, groups=(ours,)), "web", "lb2", force=False)

    assert found == Already("lb2")


@pytest.mark.parametrize(
    ("term", "why"),
    [
        (7, []),
        (8, []),
        (6, ["web has changed since you looked: lb1 is master, in term 7"]),
    ],
)
def test_what_was_seen_is_outdated_when_the_term_has_risen(term: int, why: list[str]) -> None:
    assert [*outdated(as_seen(LB2), [Seen(group="web", term=term)])] == why


def test_nothing_is_outdated_of_a_group_that_is_gone() -> None:
    assert [*outdated(as_seen(), [Seen(group="db", term=1)])] == []


class Scene:
    """A core of ``conf/pair-lb1.yml`` that has not begun, and where it is steered from."""

    def __init__(self, directory: Path, terms: Mapping[GroupId, Term] | None = None) -> None:
        settings = load(CONF / "pair-lb1.yml").settings
        self.agent = Agent(settings, BootId(1), terms or {}, Random(1))
        self.state = StateFile.open(directory, WallNs(0))
        self.steering = Steering(self.state, self.agent.status, self._settle)

    async def _settle(self, event: Steered | FailoverAsked) -> None:
        self.agent.step(clock.now(), event)

    def steer(self, *requests: SteerRequest) -> list[SteerReply]:
        """Steer by all ``requests`` at the same time."""

        async def ask() -> list[SteerReply]:
            return [*await asyncio.gather(*map(self.steering.steer, requests))]

        return asyncio.run(ask())

    @property
    def alarm_text(self) -> str:
        (alarm,) = self.agent.status().alarms
        return alarm.text

    @property
    def alarms(self) -> set[str]:
        return {alarm.kind for alarm in self.agent.status().alarms}


def outcomes(replies: list[SteerReply]) -> list[str]:
    return [reply.outcome for reply in replies]


def test_what_is_steered_is_so_at_once_and_is_kept_until_the_opposite(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        assert outcomes(scene.steer(DRAIN)) == ["applied"]
        assert outcomes(scene.steer(DRAIN)) == ["unchanged"]
        assert outcomes(scene.steer(PAUSE)) == ["applied"]
        assert scene.alarms == {"agent.maintenance", "agent.paused"}
        kept = json.loads((tmp_path / "state.json").read_text())
        assert (kept["maintenance"], kept["paused"]) == (True, True)

        assert outcomes(scene.steer(UNDRAIN)) == ["applied"]
        assert outcomes(scene.steer(UNDRAIN)) == ["unchanged"]
        assert scene.alarms == {"agent.paused"}
        assert outcomes(scene.steer(RESUME)) == ["applied"]
        assert scene.alarms == set()


def test_commands_at_the_same_time_all_count(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        assert outcomes(scene.steer(DRAIN, PAUSE, DRAIN)) == ["applied", "applied", "unchanged"]

        assert scene.alarms == {"agent.maintenance", "agent.paused"}
        assert scene.state.steered == Steered(maintenance=True, paused=True)


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """A directory in the place of the new file: a full disk is the state file's own test."""
    scene = Scene(tmp_path)
    with closing(scene.state):
        (tmp_path / "state.json.new").mkdir()

        (reply,) = scene.steer(PAUSE)

        why = f"cannot write {tmp_path}/state.json: Is a directory"
        assert (reply.outcome, list(reply.lines)) == ("refused", [why])
        assert scene.alarms == set()
        assert scene.state.steered == Steered(maintenance=False, paused=False)


def test_a_drain_with_an_end_is_kept_with_it_and_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        before = clock.now().wall
        (reply,) = scene.steer(DrainRequest(for_ms=1_800_000))
        after = clock.now().wall

        kept = json.loads((tmp_path / "state.json").read_text())["maintenance_until"]
        assert 0 <= kept - before - seconds(1800) <= after - before
        end = datetime.fromtimestamp(kept // 1_000_000_000, UTC)
        assert reply.until == f"{end:%Y-%m-%dT%H:%M:%SZ}"
        assert f"{end:%H:%M:%S} UTC, and hands over" in scene.alarm_text

        (reply,) = scene.steer(DRAIN)
        assert (reply.outcome, reply.until) == ("applied", ""), "now it has no end"
        assert scene.state.steered == Steered(maintenance=True, paused=False)


def test_a_drain_that_has_ended_by_itself_can_be_begun_and_ended_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        scene.state.steer(Steered(maintenance=True, paused=False, until=WallNs(1)))
        scene.agent.step(clock.now(), scene.state.steered)
        assert scene.alarms == set()

        assert outcomes(scene.steer(UNDRAIN)) == ["unchanged"]
        assert scene.state.steered == Steered(maintenance=False, paused=False)
        assert outcomes(scene.steer(DRAIN)) == ["applied"]


def test_before_the_agent_has_begun_what_is_kept_holds(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        scene.state.steer(Steered(maintenance=True, paused=False))

        assert outcomes(scene.steer(PAUSE)) == ["applied"]

        assert scene.state.steered == Steered(maintenance=True, paused=True)


@pytest.mark.parametrize("length_ms", [0, SHORTEST_MS - 1, LONGEST_MS + 1, 2**64 - 1])
def test_an_end_that_makes_no_sense_is_refused(tmp_path: Path, length_ms: int) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        (reply,) = scene.steer(DrainRequest(for_ms=length_ms))

        why = "a drain lasts 1 s to 366 days, or until undrain"
        assert (reply.outcome, list(reply.lines)) == ("refused", [why])
        assert scene.alarms == set()


def test_the_longest_drain_is_taken(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        request = DrainRequest(for_ms=LONGEST_MS)
        assert outcomes(scene.steer(request)) == ["applied"]


def test_what_is_asked_again_under_one_id_is_answered_and_not_done_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        drain = DrainRequest(for_ms=60_000, id="a")
        first, retry = scene.steer(drain, drain)
        assert (first.outcome, first.until) == (retry.outcome, retry.until)
        assert first.outcome == "applied"
        kept = scene.state.steered

        scene.steer(UNDRAIN)
        assert outcomes(scene.steer(drain)) == ["applied"]
        assert scene.state.steered != kept, "the retry that came late did not drain it anew"
        assert scene.alarms == set()

        drain.id = "b"
        assert outcomes(scene.steer(drain)) == ["applied"]
        assert scene.alarms == {"agent.maintenance"}


def test_only_the_newest_answers_are_kept(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        scene.steer(DrainRequest(id="first"))
        scene.steer(UNDRAIN)
        scene.steer(*[UndrainRequest(id=str(number)) for number in range(REMEMBERED)])

        scene.steer(DrainRequest(id="first"))

        assert scene.alarms == {"agent.maintenance"}


def test_who_saw_an_earlier_term_steers_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path, terms={group_id("web"): Term(7)})
    with closing(scene.state):
        stale = PauseRequest(seen=[Seen(group="web", term=6)])
        (reply,) = scene.steer(stale)
        why = "web has changed since you looked: it has no master, in term 7"
        assert (reply.outcome, list(reply.lines)) == ("refused", [why])
        assert scene.alarms == set()

        stale.seen[0].term = 7
        assert outcomes(scene.steer(stale)) == ["applied"]


def test_a_refused_failover_says_why(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with closing(scene.state):
        reply = asyncio.run(scene.steering.fail_over(FailoverRequest(group="web", id="a")))

        why = "lb1 is not master of web: it has none"
        assert (reply.outcome, list(reply.lines)) == ("refused", [why])


class Told:
    """Steering of an agent that looks as wanted; what it is told is kept."""

    def __init__(self, directory: Path, status: Status) -> None:
        self.events: list[Steered | FailoverAsked] = []
        self.state = StateFile.open(directory, WallNs(0))
        self.steering = Steering(self.state, lambda: status, self._settle)

    async def _settle(self, event: Steered | FailoverAsked) -> None:
        self.events.append(event)

    def fail_over(self, request: FailoverRequest) -> tuple[str, list[str], str]:
        reply = asyncio.run(self.steering.fail_over(request))
        return reply.outcome, list(reply.lines), reply.to


def test_a_failover_is_begun_once_for_who_saw_the_term(tmp_path: Path) -> None:
    told = Told(tmp_path, as_seen(LB2))
    with closing(told.state):
        request = FailoverRequest(group="web", seen=[Seen(group="web", term=7)], id="a")
        assert told.fail_over(request) == ("begun", [], "lb2")
        assert told.fail_over(request) == ("begun", [], "lb2")
        assert told.events == [FailoverAsked(group_id("web"), NodeId(2))]

        late = FailoverRequest(group="web", seen=[Seen(group="web", term=6)], id="b")
        why = "web has changed since you looked: lb1 is master, in term 7"
        assert told.fail_over(late) == ("refused", [why], "")
        done = FailoverRequest(group="web", to="lb1", seen=late.seen, id="c")
        assert told.fail_over(done) == ("unchanged", [], "lb1")
        assert len(told.events) == 1
