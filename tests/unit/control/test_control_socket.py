"""The control socket, both ends against each other: what clients get, and what they cannot do."""

import asyncio
import errno
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import grpc
import pytest

from haagent.control import haagent_pb2 as pb, haagent_pb2_grpc as pb_grpc
from haagent.control.client import (
    AgentUnreachable,
    UnknownGroup,
    drain,
    fetch_explanation,
    fetch_haproxy,
    fetch_status,
    pause,
    reload as ask,
    resume,
    undrain,
    watch,
)
from haagent.control.explanation import UnknownGroupError
from haagent.control.server import (
    LONGEST_PAUSE_S,
    MOST_CONNECTIONS,
    MOST_FOLLOWERS,
    SHORTEST_PAUSE_S,
    Calls,
    ControlServer,
    SteerRequest,
    require_unused,
)

STATUS = "/haagent.v1.Agent/Status"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


async def nothing(_request: pb.ReloadRequest) -> pb.ReloadReply:
    return pb.ReloadReply(outcome="unchanged")


async def nowhere(_request: SteerRequest) -> pb.SteerReply:
    return pb.SteerReply(outcome="unchanged")


async def nobody(_request: pb.FailoverRequest) -> pb.FailoverReply:
    return pb.FailoverReply(outcome="unchanged")


async def nowhere_known(request: pb.ExplainRequest) -> pb.ExplainReply:
    text = f"no group {request.group!r}, there is web"
    raise UnknownGroupError(text)


async def nobody_there(_request: pb.DoctorRequest) -> pb.DoctorReply:
    return pb.DoctorReply(trouble="nobody can look")


async def none() -> list[pb.HaproxyReply]:
    return [pb.HaproxyReply(configured=False)]


async def silence(
    _request: pb.EventsRequest, _closing: asyncio.Event
) -> AsyncGenerator[pb.EventsReply, None]:
    yield pb.EventsReply()


IDLE = Calls(
    reload=nothing,
    steer=nowhere,
    fail_over=nobody,
    explain=nowhere_known,
    doctor=nobody_there,
    haproxy=none,
    events=silence,
)


@asynccontextmanager
async def serving(
    path: Path,
    view: Callable[[], pb.StatusReply],
    reload: Callable[[pb.ReloadRequest], Awaitable[pb.ReloadReply]] = nothing,
    *,
    steer: Callable[[SteerRequest], Awaitable[pb.SteerReply]] = nowhere,
    fail_over: Callable[[pb.FailoverRequest], Awaitable[pb.FailoverReply]] = nobody,
    haproxy: Callable[[], Awaitable[list[pb.HaproxyReply]]] = none,
) -> AsyncIterator[ControlServer]:
    """Run a server in this loop while the context is open; clients go into threads."""
    calls = replace(IDLE, reload=reload, steer=steer, fail_over=fail_over, haproxy=haproxy)
    server = ControlServer(path, view, calls)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run())
        await server.listening.wait()
        try:
            yield server
        finally:
            running.cancel()


def lb1() -> pb.StatusReply:
    return pb.StatusReply(node="lb1")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def node_at(path: Path) -> str:
    """Return the name that the agent at ``path`` gives."""
    return (await asyncio.to_thread(fetch_status, path, 5.0)).node


async def until_answered(path: Path) -> None:
    """Return as soon as a new connection is answered; it may take a while to notice old ends."""
    async with asyncio.timeout(10):
        while True:
            with suppress(AgentUnreachable):
                await node_at(path)
                return


def test_only_the_owner_and_the_group_may_open_the_socket(path: Path) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            assert await node_at(path) == "lb1"
            assert mode_of(path) == 0o660
            assert mode_of(path.parent) == 0o750

    asyncio.run(story())


def test_the_mode_of_a_directory_that_is_there_is_left_alone(path: Path) -> None:
    path.parent.mkdir(mode=0o711)

    async def story() -> None:
        async with serving(path, lb1):
            assert mode_of(path.parent) == 0o711

    asyncio.run(story())


def test_the_socket_is_gone_when_the_agent_ends(path: Path) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            await node_at(path)

    asyncio.run(story())

    assert not path.exists()


def test_an_agent_that_is_stopped_while_it_starts_leaves_nothing_behind(path: Path) -> None:
    async def story() -> None:
        running = asyncio.create_task(ControlServer(path, lb1, IDLE).run())
        await asyncio.sleep(0)
        assert mode_of(path) == 0o660
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(story())

    assert not path.exists()


def test_the_socket_of_a_dead_agent_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def story() -> None:
        async with serving(path, lb1):
            assert await node_at(path) == "lb1"

    asyncio.run(story())


def test_a_second_agent_is_refused_and_the_first_goes_on(path: Path) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            with pytest.raises(OSError, match="another agent answers") as refusal:
                await asyncio.wait_for(ControlServer(path, pb.StatusReply, IDLE).run(), 5)

            assert refusal.value.errno == errno.EADDRINUSE
            assert await node_at(path) == "lb1"

    asyncio.run(story())


def test_an_agent_too_busy_to_accept_counts_as_alive(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as busy, ExitStack() as clients:
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))

        with pytest.raises(OSError, match="another agent answers"):
            require_unused(path)


def test_a_file_that_is_no_socket_is_not_replaced(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")

    with pytest.raises(FileExistsError, match="not a socket"):
        asyncio.run(asyncio.wait_for(ControlServer(path, lb1, IDLE).run(), 5))

    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\x00" * 5_000, os.urandom(5_000), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["nothing", "zeros", "random", "HTTP/1.1"],
)
@pytest.mark.parametrize("preface", [b"", HTTP2_PREFACE], ids=["raw", "HTTP/2"])
def test_bytes_that_are_no_request_disturb_nobody(
    path: Path, preface: bytes, garbage: bytes
) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(preface + garbage)

                assert await node_at(path) == "lb1"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "request_bytes", "code"),
    [
        (STATUS, b"\xff\xff\xff", grpc.StatusCode.UNKNOWN),
        (STATUS, bytes(5_000), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("/haagent.v1.Agent/Destroy", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
    ids=["malformed", "oversized", "unknown method"],
)
def test_a_bad_request_is_rejected_and_the_next_one_answered(
    path: Path, method: str, request_bytes: bytes, code: grpc.StatusCode
) -> None:
    def ask() -> None:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            with pytest.raises(grpc.RpcError) as rejection:
                call(request_bytes, timeout=5.0)
            assert rejection.value.code() is code

    async def story() -> None:
        async with serving(path, lb1):
            await asyncio.to_thread(ask)
            assert await node_at(path) == "lb1"

    asyncio.run(story())


def test_connections_beyond_the_limit_are_closed(path: Path) -> None:
    """Else clients could use up the file descriptors that the daemon itself needs."""
    hello = HTTP2_PREFACE + b"\0\0\0\4" + bytes(5)  # An empty SETTINGS frame.

    def crowd_out() -> int:
        """Return how many of well-behaved connections, 8 too many, are closed in five seconds."""
        with ExitStack() as clients:
            many = range(MOST_CONNECTIONS + 8)
            crowd = {clients.enter_context(socket.socket(socket.AF_UNIX)) for _ in many}
            for client in crowd:
                client.connect(str(path))
                with suppress(ConnectionError):
                    client.sendall(hello)
            closed = set[socket.socket]()
            deadline = time.monotonic() + 5
            while len(closed) < 8 and time.monotonic() < deadline:
                readable, _, _ = select.select(crowd - closed, [], [], 0.1)
                closed.update(client for client in readable if at_its_end(client))
            return len(closed)

    def at_its_end(client: socket.socket) -> bool:
        try:
            return client.recv(4096) == b""
        except ConnectionError:
            return True

    async def story() -> None:
        async with serving(path, lb1):
            assert await asyncio.to_thread(crowd_out) == 8
            await until_answered(path)

    asyncio.run(story())


def connected(path: Path, clients: ExitStack) -> pb_grpc.AgentStub:
    """A client with a connection of its own, until ``clients`` ends."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    return pb_grpc.AgentStub(
        clients.enter_context(grpc.insecure_channel(f"unix:{path}", options=own))
    )


def test_a_hundred_watches_that_nobody_reads_hold_up_their_own_connection_alone(
    path: Path,
) -> None:
    large = pb.StatusReply(node="lb1", cluster="x" * 300_000)

    async def story() -> None:
        async with serving(path, lambda: large) as server:
            with ExitStack() as clients:
                deaf = connected(path, clients)
                watches = [deaf.Watch(pb.WatchRequest())]
                await asyncio.to_thread(next, watches[0])
                watches += [deaf.Watch(pb.WatchRequest()) for _ in range(99)]
                for _ in range(3):
                    server.changed()
                    assert await node_at(path) == "lb1"
                for watch in watches:
                    watch.cancel()

    asyncio.run(story())


def test_those_who_follow_leave_room_for_calls_that_end(path: Path) -> None:
    def follow(clients: ExitStack) -> str:
        """Return why one more cannot watch; empty where it can, and does."""
        watch = connected(path, clients).Watch(pb.WatchRequest())
        clients.callback(watch.cancel)
        try:
            next(watch)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""

    async def story() -> None:
        full = f"RESOURCE_EXHAUSTED: {MOST_FOLLOWERS} others follow already"
        async with serving(path, lb1):
            with ExitStack() as clients:
                for _ in range(MOST_FOLLOWERS):
                    assert await asyncio.to_thread(follow, clients) == ""

                assert await asyncio.to_thread(follow, clients) == full
                assert await node_at(path) == "lb1"
            with ExitStack() as clients:
                async with asyncio.timeout(10):
                    # Those who have gone make room as soon as it is noticed.
                    while (answer := await asyncio.to_thread(follow, clients)) == full:
                        pass
                assert answer == ""

    asyncio.run(story())


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def field(name: bytes, value: bytes) -> bytes:
    """A header field as it stands, of less than 127 bytes each (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


SETTINGS = HTTP2_PREFACE + frame(4, 0, 0, b"")
CALL = b"".join(
    field(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", STATUS.encode()),
        (b":authority", b"agent"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
)
MANY_FIELDS = [field(b"x-%d" % number, b"x" * 120) for number in range(8_000)]
OPEN_ENDED = b"".join(frame(1, 4, stream, CALL) for stream in range(1, 41, 2))
ENDLESS = frame(1, 0, 1, CALL) + b"".join(
    frame(9, 0, 1, b"".join(MANY_FIELDS[at : at + 100])) for at in range(0, 8_000, 100)
)


@pytest.mark.parametrize("bytes_", [OPEN_ENDED, ENDLESS], ids=["calls", "header of 1 MB"])
def test_what_is_begun_and_never_ended_holds_up_nobody_else(path: Path, bytes_: bytes) -> None:
    def begin(clients: ExitStack) -> None:
        for _ in range(8):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(10)
            client.connect(str(path))
            with suppress(ConnectionError):  # It need not listen to that.
                client.sendall(SETTINGS + bytes_)

    async def story() -> None:
        async with serving(path, lb1):
            with ExitStack() as clients:
                await asyncio.to_thread(begin, clients)
                assert await node_at(path) == "lb1"

    asyncio.run(story())


def test_a_watch_moves_without_any_change(path: Path) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            replies = watch(path, 5.0)
            for _ in range(3):
                await asyncio.to_thread(next, replies)
            await asyncio.to_thread(replies.close)

    asyncio.run(story())


def test_every_watch_tells_the_same_change(path: Path) -> None:
    async def story() -> None:
        reply = pb.StatusReply(node="before")
        async with serving(path, lambda: reply) as server:
            watches = [watch(path, 5.0) for _ in range(3)]
            for replies in watches:
                assert (await asyncio.to_thread(next, replies)).node == "before"
            reply.node = "after"
            server.changed()
            for replies in watches:
                assert (await asyncio.to_thread(next, replies)).node == "after"
                await asyncio.to_thread(replies.close)

    asyncio.run(story())


def test_changes_are_told_before_the_second_is_over_but_at_most_five_times_in_it(
    path: Path,
) -> None:
    asked: list[float] = []

    def view() -> pb.StatusReply:
        asked.append(time.monotonic())
        return lb1()

    async def story() -> None:
        async with serving(path, view) as server:
            replies = watch(path, 5.0)
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, lambda: [next(replies) for _ in range(4)])
            while not reading.done():
                server.changed()
                await asyncio.sleep(0.001)
            await asyncio.to_thread(replies.close)

    asyncio.run(story())

    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert 0.99 * SHORTEST_PAUSE_S <= min(gaps) < 0.9 * LONGEST_PAUSE_S


def test_a_client_that_never_reads_holds_back_its_own_stream_alone(path: Path) -> None:
    """Flow control ends at the generator: one reply waits, none is made behind it."""
    asked, begun = 0, time.monotonic()
    large = pb.StatusReply(cluster="x" * 3_000_000)

    def view() -> pb.StatusReply:
        nonlocal asked
        asked += 1
        return large

    async def story() -> None:
        async with serving(path, view) as server:
            # A connection of its own, whose window does not grow with what others read.
            own = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(f"unix:{path}", options=own) as channel:
                deaf = pb_grpc.AgentStub(channel).Watch(pb.WatchRequest())
                replies = watch(path, 5.0)
                for _ in range(10):
                    server.changed()
                    await asyncio.to_thread(next, replies)
                await asyncio.to_thread(replies.close)
                deaf.cancel()

    asyncio.run(story())

    # The stream that is read moves once a second by itself.
    by_itself = time.monotonic() - begun
    assert asked < 10 + 6 + by_itself


AGENT_WITH_MUCH_TO_SAY = """
import asyncio, signal, sys
from pathlib import Path
from haagent.control.haagent_pb2 import StatusReply
from haagent.control.server import ControlServer

reply = StatusReply(cluster="x" * 3_000_000)

def view():
    print("asked", flush=True)
    return reply

async def main():
    server = ControlServer(Path(sys.argv[1]), view, None)
    running = asyncio.create_task(server.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await server.listening.wait()
    print("listening", flush=True)
    await asyncio.wait({running})
    assert running.cancelled()

asyncio.run(main())
"""

WATCHER = """
import sys
from pathlib import Path
from haagent.control.client import watch

for _ in watch(Path(sys.argv[1]), 30.0):
    print("told", flush=True)
"""


def test_a_client_that_is_stopped_does_not_keep_the_agent_from_ending(path: Path) -> None:
    """Ctrl-Z in a watch: its socket is full, and gRPC alone would wait for it for ever."""
    with ExitStack() as processes:

        def start(program: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
            command = [sys.executable, "-c", program, str(path)]
            process = processes.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            processes.callback(process.kill)
            assert process.stdout is not None
            return process, process.stdout

        agent, asked = start(AGENT_WITH_MUCH_TO_SAY)
        assert asked.readline() == b"listening\n"
        watcher, told = start(WATCHER)
        assert told.readline() == b"told\n"
        watcher.send_signal(signal.SIGSTOP)
        # It asks once a second at least, until it is held back.
        while select.select([asked], [], [], 2.0)[0]:
            os.read(asked.fileno(), 4096)
        agent.terminate()

        assert agent.wait(20) == 0
    assert not path.exists()


def test_a_missing_socket_is_named_and_asks_whether_the_agent_runs(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    with pytest.raises(AgentUnreachable, match=r"control\.sock: .* is the agent running\?"):
        fetch_status(path, 1.0)


def test_a_socket_that_nobody_listens_on_says_that_its_agent_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with pytest.raises(AgentUnreachable, match="the agent that made this socket is gone"):
        fetch_status(path, 1.0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_outside_the_group_is_told_which_group(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o660)
        os.seteuid(65534)
        try:
            with pytest.raises(AgentUnreachable, match=r"be root or in the group .*haagent"):
                fetch_status(path, 1.0)
        finally:
            os.seteuid(0)


def test_a_listener_that_says_nothing_is_given_up_in_time(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        with pytest.raises(AgentUnreachable, match=r"no answer within 0\.3 s"):
            fetch_status(path, 0.3)


def test_a_path_too_long_for_a_socket_is_an_answer_too(tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match="too long"):
        fetch_status(tmp_path / ("x" * 200), 1.0)


def test_a_watch_ends_when_the_agent_ends(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async def story() -> None:
        async with serving(path, pb.StatusReply):
            replies = watch(path, 5.0)
            await asyncio.to_thread(next, replies)
        with pytest.raises(AgentUnreachable, match="the agent has ended"):
            await asyncio.to_thread(lambda: [*replies])

    asyncio.run(story())


def test_a_watch_of_a_stalled_agent_does_not_wait_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    stalled, given_up = threading.Event(), threading.Event()

    def view() -> pb.StatusReply:
        if stalled.is_set():
            given_up.wait(10)
        stalled.set()
        return pb.StatusReply()

    def watch_to_the_end() -> None:
        try:
            with pytest.raises(AgentUnreachable, match="no answer within 1 s"):
                for _ in watch(path, 1.0):
                    pass
        finally:
            given_up.set()

    async def story() -> None:
        async with serving(path, view):
            await asyncio.to_thread(watch_to_the_end)

    asyncio.run(story())


def test_a_reload_is_answered_when_it_is_over(path: Path) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()

    async def reload(_request: pb.ReloadRequest) -> pb.ReloadReply:
        began.set()
        await may_end.wait()
        return pb.ReloadReply(outcome="refused", lines=["takes a restart: node"])

    async def story() -> None:
        async with serving(path, lb1, reload):
            asked = asyncio.create_task(asyncio.to_thread(ask, path, 5.0, pb.ReloadRequest()))
            await began.wait()
            assert await node_at(path) == "lb1"
            assert not asked.done()

            may_end.set()
            reply = await asked
            assert (reply.outcome, list(reply.lines)) == ("refused", ["takes a restart: node"])

    asyncio.run(story())


@pytest.mark.parametrize(
    ("ask_for", "request_"),
    [
        (drain, pb.DrainRequest(force=True, for_ms=1000, id="a")),
        (undrain, pb.UndrainRequest(id="b")),
        (pause, pb.PauseRequest(seen=[pb.Seen(group="web", term=7)])),
        (resume, pb.ResumeRequest(id="c")),
    ],
)
def test_what_is_asked_for_arrives_as_it_was_said(
    path: Path, ask_for: Callable[[Path, float, Any], pb.SteerReply], request_: SteerRequest
) -> None:
    told: list[SteerRequest] = []

    async def take(request: SteerRequest) -> pb.SteerReply:
        told.append(request)
        return pb.SteerReply(outcome="refused", lines=["lb2 is silent"])

    async def story() -> None:
        async with serving(path, lb1, steer=take):
            reply = await asyncio.to_thread(ask_for, path, 5.0, request_)
            assert (reply.outcome, list(reply.lines)) == ("refused", ["lb2 is silent"])

    asyncio.run(story())

    assert told == [request_]


def test_a_group_that_is_not_there_is_told_apart_from_an_agent_that_is_not(path: Path) -> None:
    async def story() -> None:
        async with serving(path, lb1):
            with pytest.raises(UnknownGroup, match="no group 'wbe', there is web"):
                await asyncio.to_thread(fetch_explanation, path, 5.0, "wbe")

    asyncio.run(story())


# HAProxy's servers


def test_a_list_of_any_length_arrives_in_parts_as_one(path: Path) -> None:
    """Ten times what a message of gRPC may have (4 MB)."""
    name = "s" * 100

    async def long() -> list[pb.HaproxyReply]:
        head = pb.HaproxyReply(configured=True, reachable=True, trouble="of one server")
        servers = [pb.HaproxyServer(backend=name, name=name, state=name)] * 500
        return [head, *[pb.HaproxyReply(servers=servers)] * 260]

    async def story() -> None:
        async with serving(path, lb1, haproxy=long):
            reply = await asyncio.to_thread(fetch_haproxy, path, 20.0)
            assert (reply.configured, reply.reachable, reply.trouble) == (
                True,
                True,
                "of one server",
            )
            assert len(reply.servers) == 260 * 500

    asyncio.run(story())
