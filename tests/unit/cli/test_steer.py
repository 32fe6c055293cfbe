"""``haagent failover``, ``drain --for`` and ``reload --dry-run`` against an agent that is told
beforehand what to answer: what is asked, what is said, and the exit codes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HAAGENT = str(Path(sys.executable).with_name("haagent"))

AGENT = """
import asyncio, sys
from pathlib import Path
from google.protobuf.json_format import MessageToJson
from haagent.control.haagent_pb2 import FailoverReply, ReloadReply, SteerReply, StatusReply
from haagent.control.server import Calls, ControlServer

socket, reply, *roles = sys.argv[1:]

def view():
    status = StatusReply(node="lb1")
    state, master = (roles.pop(0) if len(roles) > 1 else roles[0]).split("/")
    role = status.groups.add().role
    role.group, role.state, role.term, role.master = "web", state, 7, master
    other = status.groups.add().role
    other.group, other.state, other.term = "db", "backup", 3
    return status

def answering(kind, **more):
    async def answer(request):
        print(MessageToJson(request, indent=None), flush=True)
        outcome, *lines = reply.split("/")
        return kind(outcome=outcome, lines=lines, **more)
    return answer

async def main():
    until = "2026-01-01T14:30:00Z" if reply == "applied" else ""
    answers = {
        "reload": answering(ReloadReply),
        "steer": answering(SteerReply, until=until),
        "fail_over": answering(FailoverReply, to="lb2"),
    }
    calls = Calls(**dict.fromkeys(Calls.__slots__) | answers)
    server = ControlServer(Path(socket), view, calls)
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""

Ended = tuple[int, str, str]


@contextmanager
def agent(socket: Path, reply: str, *roles: str) -> Iterator["subprocess.Popen[str]"]:
    """An agent that answers ``reply``: an outcome and lines, with slashes between.

    ``roles``: state and master of each status that it tells, one after the other.
    """
    command = [sys.executable, "-c", AGENT, str(socket), reply, *(roles or ["master/lb1"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.terminate()


def asked(process: "subprocess.Popen[str]") -> dict[str, object]:
    """What the agent was asked; its random id is left out."""
    assert process.stdout is not None
    request: dict[str, object] = json.loads(process.stdout.readline())
    request.pop("id", None)
    return request


def haagent(socket: Path, *arguments: str) -> Ended:
    command = [HAAGENT, *arguments, "--socket", str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


WEB = {"group": "web", "term": "7"}
SEEN = {"seen": [WEB, {"group": "db", "term": "3"}]}


def test_a_failover_ends_when_the_other_one_is_master(socket: Path) -> None:
    roles = ["master/lb1", "resigning/lb1", "backup/", "backup/lb2"]
    with agent(socket, "begun", *roles) as process:
        assert haagent(socket, "failover", "web") == (0, "lb2 is master of web\n", "")
        assert asked(process) == {"group": "web", "seen": [WEB]}


def test_who_is_wanted_and_that_it_is_forced_is_told(socket: Path) -> None:
    with agent(socket, "unchanged") as process:
        ended = haagent(socket, "failover", "web", "--to", "lb2", "--force")

        assert ended == (0, "lb2 is master of web already\n", "")
        assert asked(process) == {"group": "web", "to": "lb2", "force": True, "seen": [WEB]}


def test_every_command_has_an_id_of_its_own(socket: Path) -> None:
    ids = set()
    with agent(socket, "unchanged", "backup/lb2") as process:
        for words in (["drain"], ["drain"], ["failover", "web"]):
            haagent(socket, *words)
            assert process.stdout is not None
            ids.add(json.loads(process.stdout.readline())["id"])

    assert len(ids) == 3


def test_a_failover_that_is_refused_ends_with_1_and_the_reason(socket: Path) -> None:
    with agent(socket, "refused/lb1 is not master of web: lb2 is, ask there"):
        code, output, complaint = haagent(socket, "failover", "web")

    assert (code, output) == (1, "")
    assert complaint.splitlines() == [
        "lb1 is not master of web: lb2 is, ask there",
        "haagent: failover refused, nothing has changed",
    ]


def test_a_failover_whose_successor_does_not_get_ready_ends_with_1(socket: Path) -> None:
    with agent(socket, "begun", "master/lb1", "resigning/lb1", "master/lb1"):
        ended = haagent(socket, "failover", "web")

    assert ended == (1, "", "haagent: lb2 did not take web over: lb1 is master\n")


def test_a_failover_after_which_there_is_no_master_ends_with_1(socket: Path) -> None:
    with agent(socket, "begun", "master/lb1", "backup/"):
        ended = haagent(socket, "failover", "web")

    assert ended == (1, "", "haagent: lb2 did not take web over: it has no master\n")


def test_a_drain_says_until_when_it_lasts(socket: Path) -> None:
    with agent(socket, "applied", "backup/lb2") as process:
        ended = haagent(socket, "drain", "--for", "30m")

        assert ended == (0, "drained until 2026-01-01T14:30:00Z\n", "")
        assert asked(process) == {"forMs": "1800000", **SEEN}


def test_a_drain_without_a_time_has_none(socket: Path) -> None:
    with agent(socket, "unchanged", "backup/lb2") as process:
        assert haagent(socket, "drain") == (0, "already drained\n", "")
        assert asked(process) == SEEN


@pytest.mark.parametrize(
    ("length", "why"),
    [
        ("30", "must be a whole number with a unit"),
        ("soon", "must be a whole number with a unit"),
        ("500ms", "must be 1s.."),
        ("9000h", "must be 1s.."),
    ],
)
def test_a_time_that_is_none_is_bad_usage(socket: Path, length: str, why: str) -> None:
    code, output, complaint = haagent(socket, "drain", "--for", length)

    assert (code, output) == (2, "")
    assert "--for" in complaint
    assert why in complaint


@pytest.mark.parametrize(
    ("reply", "ended"),
    [
        (
            "applied/group web: priority 200, preempt never",
            (0, "would be applied\ngroup web: priority 200, preempt never\n", ""),
        ),
        ("unchanged", (0, "would be unchanged\n", "")),
        (
            "refused/takes a restart: node",
            (1, "", "takes a restart: node\nhaagent: would be refused, nothing was touched\n"),
        ),
        (
            "invalid/no such key",
            (2, "", "no such key\nhaagent: would be invalid, nothing was touched\n"),
        ),
    ],
)
def test_a_dry_run_says_what_would_be_and_ends_as_the_reload_would(
    socket: Path, reply: str, ended: Ended
) -> None:
    with agent(socket, reply) as process:
        assert haagent(socket, "reload", "--dry-run") == ended
        assert asked(process) == {"dryRun": True, **SEEN}


def test_a_reload_is_no_dry_run(socket: Path) -> None:
    with agent(socket, "unchanged") as process:
        assert haagent(socket, "reload") == (0, "unchanged\n", "")
        assert asked(process) == SEEN
