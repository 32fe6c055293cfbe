"""Drain and pause against a real agent's core and a real state file: what is refused, and kept."""

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from haagent.adapters import clock
from haagent.adapters.state_file import StateFile
from haagent.config import load
from haagent.control.haagent_pb2 import SteerReply, SteerRequest
from haagent.core.agent import Agent
from haagent.core.events import Steered
from haagent.core.identity import HEALTHY, BootId, NodeId, Priority, Term
from haagent.core.messages import RoleReason, State
from haagent.core.status import GroupStatus, PeerStatus, RoleStatus, Status
from haagent.core.units import MonoNs, WallNs
from haagent.runtime.steering import Steering, stranded

CONF = Path(__file__).parents[3] / "conf"

DRAIN, UNDRAIN = SteerRequest(maintenance=True), SteerRequest(maintenance=False)
PAUSE, RESUME = SteerRequest(paused=True), SteerRequest(paused=False)

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


class Scene:
    """A core of ``conf/pair-lb1.yml`` that has not begun, and where it is steered from."""

    def __init__(self, directory: Path) -> None:
        self.agent = Agent(load(CONF / "pair-lb1.yml").settings, BootId(1), {}, Random(1))
        self.state = StateFile.open(directory, WallNs(0))
        self.steering = Steering(self.state, self.agent.status, self._settle)

    async def _settle(self, steered: Steered) -> None:
        self.agent.step(clock.now(), steered)

    def steer(self, *requests: SteerRequest) -> list[SteerReply]:
        """Steer by all ``requests`` at the same time."""

        async def ask() -> list[SteerReply]:
            return [*await asyncio.gather(*map(self.steering.steer, requests))]

        return asyncio.run(ask())

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
