"""``haagent haproxy`` as operators and scripts run it: the real command, a real agent's socket."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.control import haagent_pb2 as pb
from haagent.core.actions import Backend, Server
from haagent.wire.haproxy.listing import Row, rows
from haagent.wire.haproxy.tables import Held

HAAGENT = str(Path(sys.executable).with_name("haagent"))

AGENT = """
import asyncio, sys
from pathlib import Path
from haagent.control.haagent_pb2 import HaproxyReply
from haagent.control.server import Calls, ControlServer

async def main():
    reply = HaproxyReply.FromString(sys.stdin.buffer.read())
    async def parts():
        return [reply]
    calls = Calls(**dict.fromkeys(Calls.__slots__) | {"haproxy": parts})
    server = ControlServer(Path(sys.argv[1]), None, calls)
    running = asyncio.create_task(server.run())
    await server.listening.wait()
    print("listening", flush=True)
    await running

asyncio.run(main())
"""


def there(name: str, weight: int = 100, *, address: str = "192.0.2.1") -> pb.Server:
    return pb.Server(name=name, address=address, port=80, weight=weight, check=True)


FINE = pb.HaproxyServer(
    backend="app",
    name="a1",
    source="file",
    wanted=there("a1"),
    actual=there("a1"),
    state="ready",
    status="UP L4OK",
)
LIGHT = pb.HaproxyServer(
    backend="app",
    name="a2",
    source="node",
    wanted=there("a2", 50),
    actual=there("a2", 100),
    state="ready",
    status="UP L4OK",
    difference="weight",
)
GONE = pb.HaproxyServer(
    backend="app",
    name="a3",
    source="node",
    wanted=there("a3", address="2001:db8::3"),
    difference="missing",
)
THEIRS = pb.HaproxyServer(
    backend="app",
    name="x",
    actual=there("x"),
    state="maint",
    status="MAINT",
    difference="not wanted",
)


@contextmanager
def agent(
    socket: Path, *servers: pb.HaproxyServer, trouble: str = "", reachable: bool = True
) -> Iterator[None]:
    reply = pb.HaproxyReply(
        configured=True, reachable=reachable, trouble=trouble, servers=list(servers)
    )
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(reply.SerializeToString())
        process.stdin.close()
        try:
            assert process.stdout.readline() == b"listening\n"
            yield
        finally:
            process.kill()


def run(socket: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [HAAGENT, "haproxy", *arguments, "--socket", str(socket)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_show_has_a_line_for_every_server(socket: Path) -> None:
    with agent(socket, FINE, LIGHT, GONE, THEIRS):
        done = run(socket, "show")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert lines == [
        "backend server address weight state HAProxy says from difference",
        "app a1 192.0.2.1:80 100 ready UP L4OK file",
        "app a2 192.0.2.1:80 100 ready UP L4OK node weight",
        "app a3 [2001:db8::3]:80 100 - - node missing",
        "app x 192.0.2.1:80 100 maint MAINT - not wanted",
    ]


def test_diff_has_what_differs_and_ends_with_one(socket: Path) -> None:
    with agent(socket, FINE, LIGHT, GONE, THEIRS):
        done = run(socket, "diff")

    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert lines[1:] == [
        "app a2 weight 192.0.2.1:80 weight 50 checked 192.0.2.1:80 weight 100 checked, ready",
        "app a3 missing [2001:db8::3]:80 weight 100 checked -",
        "app x not wanted - 192.0.2.1:80 weight 100 checked, maint",
    ]


def test_without_a_difference_diff_says_so_and_ends_with_nothing(socket: Path) -> None:
    with agent(socket, FINE):
        done = run(socket, "diff")

    assert (done.returncode, done.stdout) == (0, "as wanted, 1 server\n")


def test_json_of_diff_has_the_differing_servers_alone(socket: Path) -> None:
    with agent(socket, FINE, GONE):
        shown, differing = run(socket, "show", "--json"), run(socket, "diff", "--json")

    assert [each["name"] for each in json.loads(shown.stdout)["servers"]] == ["a1", "a3"]
    assert [each["name"] for each in json.loads(differing.stdout)["servers"]] == ["a3"]
    assert json.loads(differing.stdout)["servers"][0]["actual"] is None
    assert (shown.returncode, differing.returncode) == (0, 1)


@pytest.mark.parametrize("command", ["show", "diff"])
def test_a_haproxy_that_does_not_answer_is_said_and_ends_with_one(
    socket: Path, command: str
) -> None:
    with agent(socket, trouble="HAProxy is not running", reachable=False):
        done = run(socket, command)

    assert (done.returncode, done.stderr) == (1, "haagent: HAProxy is not running\n")
    assert "as wanted" not in done.stdout


@pytest.mark.parametrize("command", ["show", "diff"])
def test_without_an_agent_the_end_is_three(socket: Path, command: str) -> None:
    done = run(socket, command)

    assert done.returncode == 3
    assert "no agent answers" in done.stderr


# What stands in the rows

A1 = Server(name="a1", address=ip_address("192.0.2.1"), port=80, weight=100, check=True)


def held(**other: object) -> Held:
    facts = {
        "name": "a1",
        "address": A1.address,
        "port": 80,
        "weight": 100,
        "check": True,
        "in_maintenance": False,
        "in_service": True,
        "draining": False,
        "forced_down": False,
    }
    return Held(**facts | other)  # type: ignore[arg-type]


def only(*wanted: Server, table: dict[str, Held] | str | None, whole: bool = True) -> Row:
    (row,) = rows(Backend("app", wanted, whole), table, {"a1": "UP L4OK"})
    return row


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({}, ""),
        ({"address": None}, "address"),
        ({"port": 81}, "address"),
        ({"weight": 1, "check": False}, "weight, check"),
        ({"forced_down": True}, "health"),
        ({"in_service": False, "draining": True}, "out of service"),
    ],
)
def test_what_differs_has_a_word(other: dict[str, object], difference: str) -> None:
    row = only(A1, table={"a1": held(**other)})

    assert (row.difference, row.status) == (difference, "UP L4OK")


def test_what_is_not_there_or_not_wanted_differs_while_all_are_known() -> None:
    assert only(A1, table={}).difference == "missing"
    assert only(table={"a1": held()}).difference == "not wanted"
    assert only(table={"a1": held()}, whole=False).difference == ""


def test_a_removed_server_that_waits_for_its_last_connection_is_no_difference() -> None:
    leaving = only(table={"a1": held(in_service=False, in_maintenance=True)})

    assert (leaving.difference, leaving.state) == ("", "maint")


@pytest.mark.parametrize("table", [None, "Can't find backend."])
def test_without_a_table_nobody_knows(table: str | None) -> None:
    assert only(A1, table=table).difference == "unknown"
