"""``haagent events`` as operators and scripts run it: the real command, a real agent's socket."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haagent.control import haagent_pb2 as pb
from haagent.control.plain import values_of

HAAGENT = str(Path(sys.executable).with_name("haagent"))

AGENT = """
import asyncio, sys
from pathlib import Path
from haagent.control.haagent_pb2 import EventsReply
from haagent.control.server import Calls, ControlServer

async def main():
    replies_ = [EventsReply.FromString(bytes.fromhex(line)) for line in sys.stdin]
    async def replies(request, closing):
        print(str(request).replace("\\n", " ").strip(), flush=True)
        for reply in replies_:
            yield reply
        if request.follow and len(replies_[-1].events) > 1:
            await closing.wait()
    calls = Calls(**dict.fromkeys(Calls.__slots__) | {"events": replies})
    server = ControlServer(Path(sys.argv[1]), None, calls)
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""

DEAD = pb.Event(
    node="lb2",
    boot_id="6a00000000000001",
    record=pb.Record(
        time="2026-11-21T16:23:58.062Z",
        hlc=pb.Hlc(ms=1795278238062, counter=3),
        lamport=4711,
        severity="warning",
        kind="peer.dead",
        text="lb1 is dead",
        number=11,
        evidence=["arp 192.0.2.11: no answer", "said \x1b[31mthis"],
    ),
)
MASTER = pb.Event(
    node="lb2",
    boot_id="6a00000000000001",
    record=pb.Record(
        time="2026-11-21T16:23:58.070Z",
        severity="notice",
        kind="role.changed",
        text="backup -> master",
        group="web",
        term=27,
        number=12,
        cause=11,
    ),
)
LATER = pb.Event(
    node="lb2",
    boot_id="6a00000000000002",
    record=pb.Record(
        time="2026-11-21T15:23:59.000Z", severity="notice", kind="peer.left", text="bye", number=1
    ),
)


def part(node: str, *events: pb.Event, more: bool = False, missing: str = "") -> pb.EventsReply:
    return pb.EventsReply(node=node, events=events, more=more, missing=missing)


@contextmanager
def agent(socket: Path, *events: pb.Event, trouble: str = "") -> Iterator[list[str]]:
    """Answer with ``events``; the list has what was asked, when it is over."""
    with answering(socket, pb.EventsReply(node="lb2", events=events, trouble=trouble)) as asked:
        yield asked


@contextmanager
def answering(socket: Path, *parts: pb.EventsReply) -> Iterator[list[str]]:
    """Answer with ``parts``; the list has what was asked, when it is over."""
    asked: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [part.SerializeToString().hex() for part in parts]
        process.stdin.write("\n".join(lines).encode())
        process.stdin.close()
        try:
            assert process.stdout.readline() == b"listening\n"
            yield asked
        finally:
            process.kill()
            asked += process.stdout.read().decode().splitlines()


def run(socket: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [HAAGENT, "events", *arguments, "--socket", str(socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_each_event_has_a_line_with_its_cause_and_a_start_is_told(socket: Path) -> None:
    """The wall clock was set back between the starts, which turns nothing round."""
    with agent(socket, DEAD, MASTER, LATER):
        done = run(socket)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "-- 2026-11-21, UTC",
        "16:23:58.062 lb2  #11  -       peer.dead      lb1 is dead",
        "16:23:58.070 lb2  #12  web/27  role.changed   backup -> master  <- #11",
        "-- another start of lb2: numbers count from 1 again",
        "15:23:59.000 lb2  #1   -       peer.left      bye",
    ]


def made(node: str, number: int, lamport: int, text: str, **heard: int) -> pb.Event:
    return pb.Event(
        node=node,
        boot_id="6a00000000000001",
        record=pb.Record(
            time="2026-11-21T16:23:58.062Z",
            lamport=lamport,
            kind="role.changed",
            text=text,
            number=number,
            heard=[pb.HeardOf(node=name, lamport=count) for name, count in heard.items()],
        ),
    )


TWO = (
    part("lb1", more=True),
    part("lb2", more=True),
    part("lb3", missing="silent since 2026-11-21T16:20:00Z"),
    part("lb1", made("lb1", 1, 10, "cause", lb2=4), made("lb1", 2, 30, "aside", lb2=4), more=True),
    part("lb2", made("lb2", 1, 20, "effect", lb1=12)),
    part("lb1", made("lb1", 3, 40, "last", lb2=25)),
)


def test_the_agents_are_shown_in_the_order_of_cause_and_who_knew_nothing_is_marked(
    socket: Path,
) -> None:
    with answering(socket, *TWO) as asked:
        done = run(socket)

    assert done.stdout.splitlines() == [
        "-- 2026-11-21, UTC",
        "16:23:58.062 lb1  #1   -       role.changed   cause",
        "16:23:58.062 lb2  #1   -       role.changed   effect",
        "-- || lb2: made without knowledge of the line of it that is above",
        "16:23:58.062 lb1  #2   -       role.changed   aside  || lb2",
        "16:23:58.062 lb1  #3   -       role.changed   last",
    ]
    assert asked == ["cluster: true"]


def test_who_is_missing_is_said_and_is_no_failure(socket: Path) -> None:
    with answering(socket, *TWO):
        done = run(socket)

    assert done.stderr == "haagent: lb3 is missing: silent since 2026-11-21T16:20:00Z\n"
    assert done.returncode == 0


def test_in_json_each_says_what_it_is_concurrent_with_and_a_line_who_is_missing(
    socket: Path,
) -> None:
    with answering(socket, *TWO):
        done = run(socket, "--json")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["node"], line["concurrent"]) for line in lines[:-1]] == [
        ("lb1", []),
        ("lb2", []),
        ("lb1", ["lb2"]),
        ("lb1", []),
    ]
    assert lines[-1] == {"node": "lb3", "missing": "silent since 2026-11-21T16:20:00Z"}


def test_who_follows_is_told_who_goes_and_who_is_back(socket: Path) -> None:
    with answering(
        socket,
        *TWO,
        part("lb2", missing="has hung up"),
        part("lb2", missing="has hung up"),
        part("lb2"),
    ):
        done = run(socket, "--follow")

    assert done.stderr.splitlines()[:3] == [
        "haagent: lb3 is missing: silent since 2026-11-21T16:20:00Z",
        "haagent: lb2 is missing: has hung up",
        "haagent: lb2 is back",
    ]
    assert len(done.stdout.splitlines()) == 6


def test_of_the_asked_agent_alone_nobody_else_is_asked(socket: Path) -> None:
    with answering(socket, TWO[-1]) as asked:
        run(socket, "--local")

    assert asked == [""]


def test_evidence_comes_with_v_and_cannot_command_the_terminal(socket: Path) -> None:
    with agent(socket, DEAD):
        done = run(socket, "-v")

    assert done.stdout.splitlines()[2:] == [
        "    warning, lamport 4711, hlc 1795278238062.3",
        "    arp 192.0.2.11: no answer",
        "    said ?[31mthis",
    ]


@pytest.mark.parametrize("order", ["lamport", "hlc"])
def test_json_is_a_line_each_with_everything(socket: Path, order: str) -> None:
    with agent(socket, DEAD, MASTER):
        done = run(socket, "--json", "--order", order)

    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        values_of(DEAD) | {"concurrent": []},
        values_of(MASTER) | {"concurrent": []},
    ]


def test_what_is_wanted_is_asked_of_the_agent(socket: Path) -> None:
    with agent(socket) as asked:
        run(socket, "--since", "10m", "--group", "web", "--kind", "peer.*", "-k", "role.changed")
        run(socket)

    assert asked == [
        'since_ms: 600000 group: "web" kinds: "peer.*" kinds: "role.changed" cluster: true',
        "cluster: true",
    ]


def test_that_something_is_missing_is_said_and_is_the_exit_code(socket: Path) -> None:
    with agent(socket, DEAD, trouble="the disk is full"):
        done = run(socket)

    assert done.returncode == 1
    assert "lb1 is dead" in done.stdout
    assert done.stderr == "haagent: not all of lb2 is shown: the disk is full\n"


def test_who_follows_is_told_that_the_agent_has_ended(socket: Path) -> None:
    with agent(socket, DEAD) as asked:
        done = run(socket, "--follow")

    assert asked == ["since_ms: 600000 follow: true cluster: true"]
    assert done.returncode == 3
    assert "lb1 is dead" in done.stdout
    assert "the agent has ended" in done.stderr


def test_who_follows_ends_it_with_ctrl_c(socket: Path) -> None:
    command = [HAAGENT, "events", "--follow", "--socket", str(socket)]
    with agent(socket, DEAD, MASTER), subprocess.Popen(command, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        lines = [follower.stdout.readline() for _ in range(3)]
        follower.send_signal(signal.SIGINT)
        code = follower.wait(20)

    assert (code, b"lb1 is dead" in lines[1], b"-> master" in lines[2]) == (0, True, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "10"),
        ("--since", "ten minutes"),
        ("--since", "-5m"),
        ("--kind", ""),
        ("--kind", "peer dead"),
        ("--order", "time"),
        ("web",),
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
    socket: Path, arguments: tuple[str, ...]
) -> None:
    done = run(socket, *arguments)

    assert (done.returncode, done.stdout) == (2, "")


def test_without_an_agent_it_says_so(socket: Path) -> None:
    done = run(socket)

    assert done.returncode == 3
    assert "no agent answers" in done.stderr
