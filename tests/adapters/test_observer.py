"""The server's process, started as the agent starts it, asked as anybody may ask it."""

import asyncio
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import pytest

from haagent.observe.child import Observer
from haagent.observe.connections import LIFETIME_S, MOST
from haagent.observe.exchange import Question
from haagent.observe.facts import Facts, encode
from tests.adapters.conftest import in_loop, until
from tests.unit.observe.conftest import FACTS, WEB

STATUS = b'{"node": "lb1"}\n'
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class World:
    """An agent with these facts, and what its server says."""

    port: int
    facts: Facts = FACTS
    status: bytes = STATUS
    log: list[str] = field(default_factory=list)
    stuck: threading.Event | None = None
    """While it is not set the agent answers nothing."""
    told: list[str] = field(default_factory=list)
    """What somebody wanted done."""
    done: list[bytes] = field(default_factory=list)
    """What comes of it, in turn."""
    asked: int = 0
    """How often the agent was asked for its status."""

    def freeze_facts(self) -> Callable[[], bytes]:
        return lambda: self.answer(encode(self.facts))

    def freeze_status(self) -> Callable[[], bytes]:
        self.asked += 1
        return lambda: self.answer(self.status)

    def answer(self, payload: bytes) -> bytes:
        if self.stuck is not None:
            assert self.stuck.wait(20)
        return payload

    async def steer(self, question: str) -> bytes:
        self.told.append(question)
        return self.done.pop(0)

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Return code and body of the answer."""
        head, body = await self.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return int(head.split()[1]), body

    async def send(self, request: bytes) -> tuple[str, str]:
        """Return head and body of the answer to these bytes; empty where there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with suppress(ConnectionError):
            writer.write(request)
            head, _, body = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
            writer.close()
            return head.decode(), body.decode()
        return "", ""

    def child(self) -> psutil.Process:
        """The server's process."""
        found = [each for each in psutil.Process().children() if is_server(each)]
        assert len(found) == 1
        return found[0]


def is_server(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "haagent.observe" in process.cmdline()
    return False


def has_ended(process: psutil.Process) -> bool:
    """Whether it holds nothing any more: its command line goes before its sockets do."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@asynccontextmanager
async def serving(
    port: int | None = None, *, login: bool = False
) -> AsyncIterator[tuple[World, Observer]]:
    world = World(port or free_port())
    answers = {Question.FACTS: world.freeze_facts, Question.STATUS: world.freeze_status}
    observer = Observer(answers, world.steer, lambda _, text: world.log.append(text))
    observer.serve((f"127.0.0.1:{world.port}",), login=login)
    task = asyncio.create_task(observer.run())
    try:
        await until(lambda: bool(world.log))
        yield world, observer
    finally:
        if world.stuck is not None:
            world.stuck.set()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


# What is answered.


@in_loop
async def test_each_path_answers_with_what_the_agent_has_said() -> None:
    async with serving() as (world, _):
        code, metrics = await world.get("/metrics")
        assert code == 200
        assert 'haagent_group_term{cluster="shop",group="web"} 26.0' in metrics
        assert await world.get("/healthz") == (200, "lb1 works\n")
        assert await world.get("/leader?group=web") == (200, "master\n")
        reason = "backup: follows the master that it hears\n"
        assert await world.get("/leader?group=mail") == (503, reason)
        assert await world.get("/api/v1/status") == (200, STATUS.decode())


@in_loop
async def test_what_is_asked_wrongly_is_refused_with_the_reason() -> None:
    async with serving() as (world, _):
        assert await world.get("/leader") == (400, "which group: /leader?group=web\n")
        assert await world.get("/leader?group=none") == (404, "there is no such group\n")
        assert await world.get("/none") == (404, "Not Found\n")
        assert await world.get("/metrics", "POST") == (405, "Method Not Allowed\n")
        assert await world.get("/metrics", "HEAD") == (200, "")


@in_loop
async def test_an_agent_in_fault_is_not_well_and_says_of_which_group() -> None:
    async with serving() as (world, _):
        web = replace(WEB, state="fault", reason_text="the interface is down")
        world.facts = replace(FACTS, groups=(web,))

        assert await world.get("/healthz") == (503, "web is in fault: the interface is down\n")
        assert await world.get("/leader?group=web") == (503, "fault: the interface is down\n")


@in_loop
async def test_an_agent_that_hangs_is_not_well_and_is_again_when_it_goes_on() -> None:
    async with serving() as (world, _):
        world.stuck = threading.Event()

        began_s = time.monotonic()
        both = await asyncio.gather(world.get("/healthz"), world.get("/leader?group=web"))

        assert set(both) == {(503, "the agent has not answered for 1 s\n")}
        assert time.monotonic() - began_s < 5
        world.stuck.set()
        await eventually(lambda: world.get("/healthz"), (200, "lb1 works\n"))


async def eventually(
    ask: Callable[[], Awaitable[tuple[int, str]]], wanted: tuple[int, str]
) -> None:
    async with asyncio.timeout(10):
        while await ask() != wanted:
            pass


@in_loop
async def test_a_crowd_asks_the_agent_no_more_often_than_one_does() -> None:
    async with serving() as (world, _):
        began_s = time.monotonic()
        answers = await asyncio.gather(*(world.get("/api/v1/status") for _ in range(50)))

        assert set(answers) == {(200, STATUS.decode())}
        assert world.asked <= 1 + (time.monotonic() - began_s) / 0.2


@in_loop
async def test_requests_are_counted_by_path_and_code_and_strangers_paths_as_one() -> None:
    async with serving() as (world, _):
        for path in ("/healthz", "/healthz", "/a", "/b", "/metrics?x=1"):
            await world.get(path)

        _, metrics = await world.get("/metrics")

        counted = [x for x in metrics.splitlines() if x.startswith("haagent_http_requests_total")]
        assert sorted(counted) == [
            'haagent_http_requests_total{code="200",path="/healthz"} 2.0',
            'haagent_http_requests_total{code="200",path="/metrics"} 1.0',
            'haagent_http_requests_total{code="404",path="other"} 2.0',
        ]


# Limits.

BAD = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "no such version": b"GET /metrics HTTP/9.9\r\n\r\n",
    "a zero byte": b"GET /me\0trics HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "a long field": b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 10_000 + b"\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", BAD.values(), ids=BAD.keys())
def test_what_is_not_http_or_too_much_of_it_is_refused(request_bytes: bytes) -> None:
    @in_loop
    async def refused() -> None:
        async with serving() as (world, _):
            head, _ = await world.send(request_bytes)
            # Who goes on sending may see the connection reset before he has read the answer.
            assert head.split()[1:2] in (["400"], [])
            assert (await world.get("/healthz"))[0] == 200

    refused()


@in_loop
async def test_a_crowd_that_holds_connections_keeps_nobody_out() -> None:
    async with serving() as (world, _):
        crowd = [connected(world.port) for _ in range(200)]

        head, metrics = await world.send(SCRAPE)

        assert head.startswith("HTTP/1.1 200")
        cut = 'haagent_http_connections_cut_total{reason="crowded"} '
        assert float(metrics.partition(cut)[2].split()[0]) >= 200 - MOST
        for one in crowd:
            one.close()


@in_loop
async def test_who_sends_nothing_or_half_or_does_not_read_is_cut_off_in_time() -> None:
    async with serving() as (world, _):
        world.status = b" " * (32 << 20)
        idle, half, deaf = (connected(world.port) for _ in range(3))
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost:")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
        began_s = time.monotonic()
        memory = world.child().memory_info().rss

        async def ended(one: socket.socket) -> float:
            # Not by reading, which would let it go on: the kernel says when it is over.
            loop = asyncio.get_running_loop()
            reset = asyncio.Event()
            poll = select.epoll()
            poll.register(one.fileno(), 0)  # EPOLLHUP and EPOLLERR are always told
            loop.add_reader(poll.fileno(), reset.set)
            await asyncio.wait_for(reset.wait(), 2 * LIFETIME_S)
            loop.remove_reader(poll.fileno())
            poll.close()
            return time.monotonic() - began_s

        took_s = await asyncio.gather(*map(ended, (idle, half, deaf)))

        assert all(LIFETIME_S - 1 <= each <= LIFETIME_S + 4 for each in took_s), took_s
        assert world.child().memory_info().rss - memory < 80 << 20
        for one in (idle, half, deaf):
            one.close()


# The process.


@in_loop
async def test_it_has_no_privilege_no_descriptor_and_no_secret_of_the_agent() -> None:
    os.environ["SECRET"] = "x"
    inheritable = os.memfd_create("secret", 0)
    try:
        async with serving() as (world, _):
            child = world.child()
            held, links = privileges(child.pid), descriptors(child.pid)
            assert "SECRET" not in child.environ()
    finally:
        os.close(inheritable)
        del os.environ["SECRET"]
    assert held == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapBnd": 0,
        "CapAmb": 0,
        "NoNewPrivs": 1,
    }
    assert not [link for link in links if "secret" in link]
    assert len(links) > 3


def privileges(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split(":", 1) for line in lines)
    return {name: int(value, 16) for name, value in fields if name[:3] == "Cap" or "Priv" in name}


def descriptors(pid: int) -> list[str]:
    return [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]


@in_loop
async def test_one_that_dies_is_started_again_and_that_is_said() -> None:
    async with serving() as (world, _):
        first = world.child().pid
        os.kill(first, signal.SIGKILL)

        await until(lambda: world.log[-1].startswith("listens") and len(world.log) == 3)

        assert world.log[1] == "its process has ended with -9; starts again in 0.5 s"
        assert await world.get("/healthz") == (200, "lb1 works\n")
        assert world.child().pid != first


@in_loop
async def test_what_cannot_be_started_is_tried_ever_later_and_harms_nobody() -> None:
    path = os.environ["PATH"]
    os.environ["PATH"] = "/nonexistent"
    try:
        async with serving() as (world, _):
            await until(lambda: len(world.log) == 2)
            os.environ["PATH"] = path
            await until(lambda: world.log[-1].startswith("listens"))
            assert (await world.get("/healthz"))[0] == 200
    finally:
        os.environ["PATH"] = path
    first, second = world.log[:2]
    assert first.startswith("its process cannot be started: ")
    assert "'setpriv'" in first
    assert first.endswith("; starts again in 0.5 s")
    assert second.endswith("; starts again in 1 s")


@in_loop
async def test_a_port_that_is_taken_is_said_once_and_tried_until_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with serving(port) as (world, _):
            await asyncio.sleep(2.5)  # two tries more, of which nothing may be said
            taken = [each for each in world.log if "cannot listen" in each]
            assert len(taken) == len(world.log) == 1
            assert "already in use" in taken[0]

            other.close()

            await until(lambda: world.log[-1] == f"listens on 127.0.0.1:{port}")
            assert (await world.get("/healthz"))[0] == 200


@in_loop
async def test_it_listens_elsewhere_as_soon_as_it_is_told_and_ends_with_the_last() -> None:
    async with serving() as (world, observer):
        old, world.port = world.port, free_port()

        observer.serve((f"127.0.0.1:{world.port}",))

        await until(lambda: world.log[-1] == f"listens on 127.0.0.1:{world.port}")
        assert (await world.get("/healthz"))[0] == 200
        with pytest.raises(ConnectionRefusedError):
            connected(old)
        child = world.child()
        observer.serve(())
        await until(lambda: has_ended(child))
        with pytest.raises(ConnectionRefusedError):
            connected(world.port)


@in_loop
async def test_it_ends_when_its_agent_is_killed() -> None:
    """As at SIGKILL: nobody closes anything but the kernel."""
    script = (
        "import asyncio, sys\n"
        "from haagent.observe.child import Observer\n"
        "async def main():\n"
        "    observer = Observer({}, None, lambda level, text: print(text, flush=True))\n"
        "    observer.serve((sys.argv[1],))\n"
        "    await observer.run()\n"
        "asyncio.run(main())\n"
    )
    port = free_port()
    agent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        f"127.0.0.1:{port}",
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    said = await asyncio.wait_for(agent.stdout.readline(), 10)
    assert said.decode() == f"listens on 127.0.0.1:{port}\n"
    children = psutil.Process(agent.pid).children()
    assert [is_server(each) for each in children] == [True]

    agent.kill()
    await agent.wait()

    await until(lambda: has_ended(children[0]))
    with pytest.raises(ConnectionRefusedError):
        connected(port)
