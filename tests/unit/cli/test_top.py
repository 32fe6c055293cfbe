"""``haagent top`` against an agent that is told beforehand what to answer, in a process of its own:
the screen, the keys, and what becomes of them when the agent does not answer."""

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from haagent.cli.top.app import Top
from haagent.cli.top.panels import amount
from haagent.cli.top.tail import Tail
from haagent.control import haagent_pb2 as pb
from haagent.control.reply import status_reply
from tests.unit.cli.test_status import (
    FACTS,
    HAAGENT,
    HEALTHY,
    LB1_STALLED,
    NOW,
    assert_golden,
)

AGENT = """
import asyncio, sys
from dataclasses import fields
from pathlib import Path
from google.protobuf.json_format import MessageToJson
from haagent.control.haagent_pb2 import EventsReply, FailoverReply, StatusReply, SteerReply
from haagent.control.server import Calls, ControlServer

socket, status, events, reply = sys.argv[1:]

def answering(kind, **more):
    async def answer(request):
        print(type(request).__name__, MessageToJson(request, indent=None), flush=True)
        outcome, *lines = reply.split("/")
        return kind(outcome=outcome, lines=lines, **more)
    return answer

async def telling(request, closing):
    yield EventsReply.FromString(Path(events).read_bytes())
    await closing.wait()

async def main():
    view = lambda: StatusReply.FromString(Path(status).read_bytes())
    calls = dict.fromkeys(field.name for field in fields(Calls))
    calls["steer"] = answering(SteerReply)
    calls["fail_over"] = answering(FailoverReply, to="lb2")
    calls["events"] = telling
    server = ControlServer(Path(socket), view, Calls(**calls))
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""

WAIT_S = 40.0
"""Much more than it takes: so long that a busy machine fails no test."""


SEEN = [{"group": "web", "term": "7"}]


class Agent:
    """A process that answers on ``socket``."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "control.sock"
        self._status = directory / "status"
        self._events = directory / "events"
        self.tell(status_reply(HEALTHY, NOW, FACTS))
        records = self.status.records
        events = [pb.Event(node="lb1", boot_id="2", record=record) for record in records]
        self.record(pb.EventsReply(events=events, node="lb1"))

    def tell(self, status: pb.StatusReply) -> None:
        """Have ``status`` answered from now on."""
        self.status = status
        new = self._status.with_suffix(".new")
        new.write_bytes(status.SerializeToString())
        new.replace(self._status)

    def record(self, reply: pb.EventsReply) -> None:
        """Have ``reply`` answered to who follows the events."""
        self._events.write_bytes(reply.SerializeToString())

    @contextmanager
    def running(self, reply: str = "applied") -> Iterator["subprocess.Popen[str]"]:
        """Answer, on any request, ``reply``: an outcome and lines, with slashes between."""
        files = map(str, (self.socket, self._status, self._events))
        command = [sys.executable, "-c", AGENT, *files, reply]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "listening\n"
                yield process
            finally:
                process.kill()


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def asked(process: "subprocess.Popen[str]") -> tuple[str, dict[str, object]]:
    """The kind of the next request to the agent, and what it has besides its random id."""
    assert process.stdout is not None
    kind, _, text = process.stdout.readline().partition(" ")
    request: dict[str, object] = json.loads(text)
    assert request.pop("id")
    return kind, request


def screen(pilot: Pilot[None]) -> str:
    """What a person sees, without the blanks at the end of a line."""
    strips = pilot.app.screen._compositor.render_strips()
    return "".join(strip.text.rstrip() + "\n" for strip in strips)


async def shown(pilot: Pilot[None], *words: str) -> str:
    """The screen once all ``words`` are on it."""
    deadline = time.monotonic() + WAIT_S
    while not all(word in screen(pilot) for word in words):
        assert time.monotonic() < deadline, f"{words} in\n{screen(pilot)}"
        await pilot.pause(0.05)
    return screen(pilot)


async def gone(pilot: Pilot[None], word: str) -> None:
    """Return once ``word`` is no longer on the screen."""
    deadline = time.monotonic() + WAIT_S
    while word in screen(pilot):
        assert time.monotonic() < deadline, screen(pilot)
        await pilot.pause(0.05)


@asynccontextmanager
async def top(agent: Agent, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Pilot[None]]:
    """``haagent top`` on a terminal of ``size``, once it shows status, events and keys."""
    app = Top(agent.socket)
    async with app.run_test(size=size, notifications=True) as pilot:
        await shown(pilot, "group web", "peer.alive", "q quit")
        yield pilot


def test_the_screen_shows_the_whole_cluster_in_80_columns_and_24_lines(agent: Agent) -> None:
    """What is not known is a dash, and an IPv6 address in brackets is no markup."""
    status = agent.status
    path, server = status.peers[0].paths[0], status.haproxy.seen[0].servers[0]
    path.loss_permille, path.round_trip_us = 12, 310
    status.peers[0].paths[1].ClearField("loss_permille")
    status.peers[0].paths[1].ClearField("round_trip_us")
    server.traffic.MergeFrom(
        pb.Traffic(status="UP", sessions=3, sessions_per_s=12, bytes_in=1_234_567, bytes_out=98)
    )
    server.weight = 50
    agent.tell(status)

    async def looks() -> str:
        async with top(agent) as pilot:
            return screen(pilot)

    with agent.running():
        text = asyncio.run(looks())

    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) == 24
    assert "[fd00::22]:8080" in text
    assert_golden("top_healthy.txt", text)


def test_of_very_many_servers_those_in_trouble_come_first(agent: Agent) -> None:
    status = agent.status
    for backends in (status.haproxy.wanted, status.haproxy.seen):
        del backends[0].servers[:]
        for number in range(100):
            backends[0].servers.add(name=f"s{number:02}", weight=1, port=80)
    status.haproxy.seen[0].servers[98].traffic.status = "DOWN L4CON"
    status.haproxy.seen[0].servers[99].weight = 7
    agent.tell(status)

    async def looks() -> str:
        async with top(agent, (80, 100)) as pilot:
            return screen(pilot)

    with agent.running():
        text = asyncio.run(looks())

    names = re.findall(r"app/(s[0-9]+)", text)
    assert names[:3] == ["s98", "s99", "s00"]
    assert len(names) == 40
    assert "haagent haproxy show has all" in text


def test_a_failover_says_who_gets_what_and_is_asked_with_the_term_that_was_seen(
    agent: Agent,
) -> None:
    async def fails_over() -> None:
        async with top(agent) as pilot:
            await pilot.press("f")
            await shown(pilot, "web: from lb1 to lb2  (backup, priority 100)")
            await pilot.press("enter")
            await shown(pilot, "Group web goes from lb1 to lb2", "10.0.0.100/32")
            # What has happened since the operator looked is for the agent to judge.
            later = replace(HEALTHY, node="renamed")
            agent.tell(status_reply(later, NOW, FACTS))
            await shown(pilot, "as renamed sees it")
            await pilot.press("y")
            await shown(pilot, "the handover to lb2 has begun")

    with agent.running("begun") as process:
        asyncio.run(fails_over())

        request = {"group": "web", "to": "lb2", "seen": SEEN}
        assert asked(process) == ("FailoverRequest", request)


def test_the_best_agent_comes_first_and_what_speaks_against_one_is_said(agent: Agent) -> None:
    status = agent.status
    for name, alive, priority, health in (
        ("lb3", True, 90, 100),
        ("lb4", True, 200, 60),
        ("lb5", False, 250, 100),
    ):
        peer = status.peers.add(name=name, alive=alive, last_heard_age_ms=2_000)
        peer.roles.add(group="web", state="backup", priority=priority, health=health)
    agent.tell(status)

    async def looks() -> str:
        async with top(agent, (100, 50)) as pilot:
            await pilot.press("f")
            return await shown(pilot, "from lb1 to lb5")

    with agent.running():
        text = asyncio.run(looks())

    assert re.findall(r"web: from lb1 to .*\)", text) == [
        "web: from lb1 to lb2  (backup, priority 100)",
        "web: from lb1 to lb3  (backup, priority 90)",
        "web: from lb1 to lb4  (backup, priority 200, demoted by a check)",
        "web: from lb1 to lb5  (silent for 2 s)",
    ]


def test_who_is_no_master_is_sent_to_the_master(agent: Agent) -> None:
    agent.tell(status_reply(LB1_STALLED, NOW, FACTS))

    async def looks() -> None:
        async with top(agent) as pilot:
            await pilot.press("f")
            await shown(pilot, "lb1 is master of no group", "web: the master is nobody")

    with agent.running():
        asyncio.run(looks())


def test_nothing_is_done_before_it_is_confirmed(agent: Agent) -> None:
    """Neither a choice that is left nor a confirmation that is not given asks the agent."""

    async def hesitates() -> None:
        async with top(agent) as pilot:
            for keys, title, way_out in (
                (["d"], "drain lb1?", "n"),
                (["u"], "undrain lb1?", "q"),
                (["f", "enter"], "failover of web to lb2?", "escape"),
            ):
                await pilot.press(*keys)
                await shown(pilot, title)
                await pilot.press("enter", "d", way_out)
                await gone(pilot, title)
            await pilot.press("f", "escape", "u")
            await shown(pilot, "undrain lb1?")
            await pilot.press("y")
            await shown(pilot, "undrained")

    with agent.running() as process:
        asyncio.run(hesitates())

        assert asked(process) == ("UndrainRequest", {"seen": SEEN})


def test_a_drain_says_what_it_will_do_and_a_refusal_shows_its_reasons(agent: Agent) -> None:
    async def drains() -> None:
        async with top(agent) as pilot:
            await pilot.press("d")
            await shown(pilot, "lb1 hands web over", "restarts included")
            await pilot.press("y")
            await shown(
                pilot, "drain refused, nothing has changed", "lb2 is silent [x]", "so is lb3"
            )
            await pilot.press("escape")
            await gone(pilot, "refused")

    with agent.running("refused/lb2 is silent [x]/so is lb3") as process:
        asyncio.run(drains())

        assert asked(process) == ("DrainRequest", {"seen": SEEN})


def test_when_the_agent_goes_the_last_stays_and_when_it_comes_back_all_goes_on(
    agent: Agent,
) -> None:
    async def outlives() -> None:
        with ExitStack() as stack:
            process = stack.enter_context(agent.running())
            async with top(agent) as pilot:
                process.kill()
                await shown(pilot, "NO ANSWER for", "socket is gone", "the last news", "master lb1")
                await pilot.press("d", "y")
                await shown(pilot, "drain: no answer")
                await pilot.press("escape")
                agent.tell(status_reply(LB1_STALLED, NOW, FACTS))
                stack.enter_context(agent.running())
                await shown(pilot, "no master")
                await gone(pilot, "NO ANSWER")

    asyncio.run(outlives())


def test_without_an_agent_the_screen_says_so_and_waits_for_it(agent: Agent) -> None:
    async def waits() -> None:
        app = Top(agent.socket)
        async with app.run_test(size=(80, 24)) as pilot:
            await shown(pilot, "is the agent running?")
            await pilot.press("f", "d", "u")
            with agent.running():
                await shown(pilot, "master lb1")

    asyncio.run(waits())


def test_an_agent_that_hangs_holds_up_no_key(agent: Agent) -> None:
    async def hangs(process: "subprocess.Popen[str]") -> None:
        async with top(agent) as pilot:
            process.send_signal(signal.SIGSTOP)
            await shown(pilot, "NO ANSWER for")
            # Where the line is broken depends on how long the name of the socket is.
            while "no answer within 3 s" not in " ".join(screen(pilot).split()):
                await pilot.pause(0.05)
            await pilot.press("question_mark")
            await shown(pilot, "the list of events follows")
            await pilot.press("escape", "d", "y", "q")

    with agent.running() as process:
        asyncio.run(asyncio.wait_for(hangs(process), WAIT_S))


def test_what_is_missing_of_the_events_is_said(agent: Agent) -> None:
    event = pb.Event(node="lb2", record=pb.Record(kind="peer.alive", text="\x1b[31m[bold]red"))
    agent.record(pb.EventsReply(events=[event], node="lb2", trouble="the disk is full [0]"))

    async def looks() -> None:
        async with top(agent) as pilot:
            text = await shown(pilot, "events, not all of lb2: the disk is full [0]")
            assert "?[31m[bold]red" in text

    with agent.running():
        asyncio.run(looks())


def event(node: str, number: int, ms: int, lamport: int = 0) -> pb.Event:
    record = pb.Record(
        number=number, hlc=pb.Hlc(ms=ms), lamport=lamport, kind="peer.alive", text=f"at {ms}"
    )
    return pb.Event(node=node, boot_id="1", record=record)


def listed(tail: Tail) -> list[str]:
    from rich.console import Console  # noqa: PLC0415

    console = Console(width=80)
    with console.capture() as capture:
        console.print(tail.shown())
    return [" ".join(line.split()) for line in capture.get().splitlines()[1:]]


def test_events_of_several_agents_are_each_shown_once_and_in_order() -> None:
    tail = Tail()
    tail.add([event("lb1", 1, 10), event("lb1", 2, 30)])
    tail.add([event("lb2", 1, 20)])
    tail.add([event("lb1", 1, 10), event("lb1", 2, 30)])

    assert listed(tail) == [
        "lb1 #1 - peer.alive: at 10",
        "lb2 #1 - peer.alive: at 20",
        "lb1 #2 - peer.alive: at 30",
    ]


def test_a_clock_that_is_ahead_puts_no_effect_before_its_cause() -> None:
    tail = Tail()
    tail.add([event("lb1", 1, 3_600_010, lamport=4), event("lb2", 1, 20, lamport=5)])

    assert listed(tail) == ["lb1 #1 - peer.alive: at 3600010", "lb2 #1 - peer.alive: at 20"]


def test_the_oldest_events_give_way() -> None:
    tail = Tail()
    for number in range(1_000):
        tail.add([event("lb1", number, number)])

    assert len(listed(tail)) == 200
    assert listed(tail)[-1] == "lb1 #999 - peer.alive: at 999"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (9_949, "9.9k"),
        (9_951, "10k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (2**64 - 1, "18E"),
    ],
)
def test_an_amount_is_told_in_few_characters(count: int, text: str) -> None:
    assert amount(count) == text


class Terminal:
    """A terminal of 80 columns and 24 lines with ``haagent top`` on it."""

    def __init__(self, agent: Agent, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        termios.tcsetwinsize(self._theirs, (24, 80))
        self.before = termios.tcgetattr(self._theirs)
        self.process = subprocess.Popen(
            [HAAGENT, "top", "--socket", str(agent.socket)],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        self.output = b""

    def read_until(self, done: Callable[[], bool]) -> None:
        """Take in what is written until ``done``."""
        deadline = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < deadline, self.output.decode(errors="replace")
            if select.select([self._ours], [], [], 0.05)[0]:
                self.output += os.read(self._ours, 65536)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def state(self) -> list[object]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_a_key_ends_it_and_gives_the_terminal_back(agent: Agent, key: str) -> None:
    with agent.running(), ExitStack() as stack:
        terminal = Terminal(agent)
        stack.callback(terminal.close)
        terminal.read_until(lambda: b"master lb1" in terminal.output)
        assert terminal.state() != terminal.before
        terminal.press(key)
        terminal.read_until(lambda: terminal.process.poll() is not None)
        terminal.read_until(lambda: b"\x1b[?1049l" in terminal.output)

        assert terminal.process.returncode == 0
        assert terminal.state() == terminal.before
        assert terminal.output.rindex(b"\x1b[?1049l") > terminal.output.rindex(b"\x1b[?1049h")


COLOUR = re.compile(rb"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9]+)*m")


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_the_terminals_own_and_none_where_they_are_not_wanted(
    agent: Agent, environment: dict[str, str], coloured: bool
) -> None:
    with agent.running(), ExitStack() as stack:
        terminal = Terminal(agent, **environment)
        stack.callback(terminal.close)
        terminal.read_until(lambda: b"master lb1" in terminal.output)

    assert bool(COLOUR.search(terminal.output)) is coloured
    assert b"38;2;" not in terminal.output
    assert b"48;2;" not in terminal.output


def test_without_a_terminal_it_says_what_to_use_and_ends_with_2(agent: Agent) -> None:
    command = [HAAGENT, "top", "--socket", str(agent.socket)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (2, "")
    assert "top takes a terminal" in done.stderr


def test_without_textual_it_says_what_to_install_and_ends_with_1() -> None:
    code = """
import sys
sys.modules["textual"] = None  # as Python has it that there is no such package
from haagent.cli.main import main
sys.argv = ["haagent", "top"]
main()
"""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 1
    assert done.stderr == "haagent: top takes textual: pip install 'haagent[top]'\n"


def test_no_other_command_and_no_daemon_pays_for_textual() -> None:
    code = """
import sys
from importlib import import_module
from pkgutil import walk_packages
for name in ("cli", "control", "doctor", "node", "runtime"):
    for module in walk_packages(import_module(f"haagent.{name}").__path__, f"haagent.{name}."):
        if not module.name.startswith("haagent.cli.top"):
            import_module(module.name)
print("textual" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
