"""``haagent explain`` as operators and scripts run it: the real command, a real control socket."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haagent.control.explanation import Chain, explanation
from haagent.control.haagent_pb2 import ExplainReply
from tests.unit.cli.test_status import HAAGENT, NOW, assert_golden, run_on_terminal
from tests.unit.control.test_explanation import ON_LB2, TAKEOVER

AGENT = """
import asyncio, sys
from pathlib import Path
from haagent.control.explanation import UnknownGroupError
from haagent.control.haagent_pb2 import ExplainReply
from haagent.control.server import Calls, ControlServer

reply = ExplainReply.FromString(sys.stdin.buffer.read())

async def explain(request):
    if request.group != reply.group:
        raise UnknownGroupError(f"no group {request.group!r}, there is web, mail")
    return reply

async def main():
    calls = Calls(**dict.fromkeys(Calls.__slots__) | {"explain": explain})
    server = ControlServer(Path(sys.argv[1]), None, calls)
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""


@contextmanager
def agent(socket: Path, reply: ExplainReply) -> Iterator[None]:
    """Run a process that explains group ``web`` on ``socket``, and knows no other."""
    command = [sys.executable, "-c", AGENT, str(socket)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(reply.SerializeToString())
        process.stdin.close()
        assert process.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            process.kill()


TOLD = explanation("web", ON_LB2, NOW, Chain(records=TAKEOVER))


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def explain(socket: Path, *options: str, group: str = "web") -> "subprocess.CompletedProcess[str]":
    command = [HAAGENT, "explain", group, "--socket", str(socket), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_takeover_is_told_in_80_columns(socket: Path) -> None:
    with agent(socket, TOLD):
        screen = run_on_terminal(socket, "explain", "web")

    assert max(map(len, screen.splitlines())) <= 80
    assert_golden("explain_takeover.txt", screen)


def test_json_tells_the_same(socket: Path) -> None:
    with agent(socket, TOLD):
        done = explain(socket, "--json")

    assert (done.returncode, done.stderr) == (0, "")
    assert_golden("explain_takeover.json", done.stdout)


def test_what_is_lost_or_could_not_be_looked_at_is_said(socket: Path) -> None:
    chain = Chain(records=TAKEOVER[:2], lost=41, trouble="the disk does not answer")
    with agent(socket, explanation("web", ON_LB2, NOW, chain)):
        lines = explain(socket).stdout.splitlines()

    assert "  led to by record 41, which is no longer kept" in lines
    assert "  the records on the disk could not be looked at: the disk does not answer" in lines


def test_without_a_record_of_a_change_it_is_said_and_the_ranks_are_shown(socket: Path) -> None:
    with agent(socket, explanation("web", ON_LB2, NOW, Chain())):
        lines = explain(socket).stdout.splitlines()

    assert "  none is among the records that are kept" in lines
    assert any(line.split()[:2] == ["lb3", "100"] for line in lines)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_a_group_that_is_not_there_is_exit_code_2_and_those_that_are_are_named(
    form: list[str], socket: Path
) -> None:
    with agent(socket, TOLD):
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
