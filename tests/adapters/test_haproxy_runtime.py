"""The reconciler against a real HAProxy, and against sockets that only look like one."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.adapters.haproxy.inspection import inspect
from haagent.adapters.haproxy.runtime import HAProxyRuntime
from haagent.core.actions import Backend, Server
from haagent.core.events import BackendsObserved, Event
from tests.adapters import conftest
from tests.adapters.conftest import Pair

PATIENCE_S = 10
CONFIG = """
global
    stats socket {socket} mode 600 level {level}
defaults
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend entrance
    mode tcp
    bind 127.0.0.1:8000
    default_backend app
backend app
    mode tcp
    balance roundrobin
{static}
backend second
    mode tcp
    balance roundrobin
backend other
    mode tcp
    balance roundrobin
    server theirs 10.77.0.9:80 weight 9
backend fixed
    mode tcp
    balance source
"""


def server(name: str, *, address: str = "10.77.0.11", weight: int = 100) -> Server:
    return Server(name=name, address=ip_address(address), port=9000, weight=weight, check=False)


ONE = server("one")
TWO = server("two", address="fd77::12")


def app(*servers: Server) -> Backend:
    return Backend("app", servers)


class HAProxy:
    """A HAProxy of our own, started and killed at will."""

    def __init__(self, home: Path, level: str = "admin", static: str = "") -> None:
        self.socket = str(home / "haproxy.sock")
        self._config = home / "haproxy.cfg"
        self._config.write_text(CONFIG.format(socket=self.socket, level=level, static=static))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> None:
        command = ("haproxy", "-db", "-f", str(self._config), *arguments)
        self._processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert time.monotonic() < deadline, "HAProxy does not start"

    def reload(self) -> None:
        """As systemd does: a new process takes over the sockets, the old one leaves."""
        self.start("-sf", str(self._processes[-1].pid))

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()

    def freeze(self) -> None:
        self._processes[-1].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._processes[-1].send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        try:
            return f"Pid: {self._processes[-1].pid}\n" in self.ask("show info")
        except OSError:
            return False

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(self.socket)
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def servers(self, backend: str = "app") -> dict[str, str]:
        """Address, states, weight and check state by name, as HAProxy prints them."""
        rows = (r.split() for r in self.ask(f"show servers state {backend}").splitlines()[2:] if r)
        return {r[3]: f"{r[4]} {r[18]} up={r[5]} admin={r[6]} w={r[7]} check={r[13]}" for r in rows}


@contextmanager
def started(haproxy: HAProxy) -> Iterator[None]:
    haproxy.start()
    try:
        yield
    finally:
        haproxy.kill()


@pytest.fixture
def haproxy(pair: Pair, tmp_path: Path) -> Iterator[HAProxy]:
    """Not started yet; the test and HAProxy are both in ``near``."""
    haproxy = HAProxy(tmp_path)
    try:
        yield haproxy
    finally:
        haproxy.kill()


class Watched:
    """A runtime and what it posted."""

    def __init__(self, path: str) -> None:
        self.events: list[BackendsObserved] = []
        self._arrived = asyncio.Event()
        self.runtime = HAProxyRuntime(path, self._post)

    def _post(self, event: Event) -> None:
        assert isinstance(event, BackendsObserved)
        self.events.append(event)
        self._arrived.set()

    async def until(self, condition: Callable[[BackendsObserved], bool]) -> BackendsObserved:
        """Return the newest observation once ``condition`` holds for it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self._arrived.clear()
                if self.events and condition(self.events[-1]):
                    return self.events[-1]
                await self._arrived.wait()

    async def has(self, *backends: Backend) -> None:
        """Wait until ``backends`` were seen, and nothing was wrong."""
        good = BackendsObserved(reachable=True, backends=backends, trouble="")
        await self.until(lambda observed: observed == good)

    async def want(self, *backends: Backend) -> None:
        self.runtime.want(backends)
        await self.has(*backends)


@asynccontextmanager
async def watched(path: str) -> AsyncIterator[Watched]:
    watched = Watched(path)
    task = asyncio.create_task(watched.runtime.run())
    try:
        yield watched
        assert not task.done(), "run() ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


def play(path: str, story: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        async with watched(path) as runtime:
            await story(runtime)

    asyncio.run(main())


until = partial(conftest.until, limit_s=PATIENCE_S)


# The list


def test_an_empty_backend_gets_its_list(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, replace(TWO, weight=7, check=True)))

        assert haproxy.servers() == {
            "one": "10.77.0.11 9000 up=2 admin=0 w=100 check=2",
            "two": "fd77::12 9000 up=2 admin=0 w=7 check=6",
        }

    play(haproxy.socket, story)


@pytest.mark.parametrize(
    "changed",
    [
        server("one", weight=0),
        server("one", weight=256),
        server("one", address="10.77.0.99"),
        server("one", address="fd77::99"),
        replace(ONE, port=9001),
        replace(ONE, check=True),
    ],
    ids=str,
)
def test_a_server_changes_in_place_and_back(haproxy: HAProxy, changed: Server) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE))
        await watched.want(app(changed))
        await watched.want(app(ONE))

    play(haproxy.socket, story)


def test_a_server_that_is_no_longer_wanted_is_deleted(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        await watched.want(app(TWO))

        assert list(haproxy.servers()) == ["two"]

    play(haproxy.socket, story)


def test_the_latest_list_wins(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        for weight in range(100):
            watched.runtime.want((app(server("one", weight=weight)),))
        await watched.want(app(TWO))

        assert list(haproxy.servers()) == ["two"]

    play(haproxy.socket, story)


def test_a_newer_list_is_taken_up_in_the_middle_of_an_older_one(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        long = app(*(server(f"s{number}") for number in range(2000)))
        watched.runtime.want((long,))
        await until(lambda: bool(haproxy.servers()))
        await watched.want(app(ONE))

        assert list(haproxy.servers()) == ["one"]
        assert all(observed.backends != (long,) for observed in watched.events)

    play(haproxy.socket, story)


def test_a_thousand_servers_come_change_and_go(haproxy: HAProxy) -> None:
    haproxy.start()
    thousand = [server(f"s{n}", address=f"10.0.{n // 250}.{n % 250}") for n in range(1000)]

    async def story(watched: Watched) -> None:
        await watched.want(app(*thousand))
        assert len(haproxy.servers()) == 1000
        await watched.want(app(*(replace(s, weight=n % 257) for n, s in enumerate(thousand))))
        await watched.want(app(*thousand[::2]), Backend("second", tuple(thousand[1::2])))
        await watched.want(app(), Backend("second", ()))
        assert haproxy.servers() == haproxy.servers("second") == {}

    play(haproxy.socket, story)


def test_without_backends_it_still_tells_whether_haproxy_answers(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want()
        haproxy.kill()
        await watched.until(lambda observed: not observed.reachable)

    play(haproxy.socket, story)


def test_every_server_is_shown_as_haproxy_has_and_judges_it(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, replace(TWO, check=True)))
        haproxy.ask("set server app/one state drain")
        found, trouble = inspect(haproxy.socket, [app(ONE, TWO), Backend("gone", (ONE,))])
        assert trouble == ""
        assert [(row.name, row.state, row.difference) for row in found] == [
            ("one", "drain", "out of service"),
            ("two", "ready", "check"),
            ("one", "", "unknown"),
        ]
        assert found[0].status == "DRAIN"
        assert found[1].status.partition(" ")[0] in {"UP", "DOWN"}

    play(haproxy.socket, story)


def test_what_is_wanted_is_shown_without_haproxy(haproxy: HAProxy) -> None:
    found, trouble = inspect(haproxy.socket, [app(ONE)])

    assert trouble.startswith("HAProxy is not running")
    assert [(row.name, row.actual, row.difference) for row in found] == [("one", None, "unknown")]


# Others at work


@pytest.mark.parametrize(
    "command",
    [
        "set server app/one state maint",
        "set server app/one state drain",
        "set server app/one weight 1",
        "set server app/one addr 10.77.0.66 port 66",
        "set server app/one health down",
        "disable health app/two",
        "disable server app/one; del server app/one",
        "add server app/three 10.77.0.9:80; enable server app/three",
    ],
)
def test_what_somebody_else_did_is_undone(haproxy: HAProxy, command: str) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, replace(TWO, check=True)))
        good = haproxy.servers()
        haproxy.ask(command)
        assert haproxy.servers() != good
        await until(lambda: haproxy.servers() == good)

    play(haproxy.socket, story)


def test_a_backend_that_is_not_named_stays_as_it_is(haproxy: HAProxy) -> None:
    haproxy.start()
    haproxy.ask("set server other/theirs state drain")
    theirs = haproxy.servers("other")

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO), Backend("second", (ONE,)))
        await watched.want(app(TWO))

        assert haproxy.servers("other") == theirs
        assert list(haproxy.servers("second")) == ["one"]

    play(haproxy.socket, story)


def test_a_server_of_the_file_that_is_not_wanted_goes(pair: Pair, tmp_path: Path) -> None:
    haproxy = HAProxy(tmp_path, static="    server old 10.77.0.9:80\n    server u unix@/nowhere\n")

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE))

        assert list(haproxy.servers()) == ["one"]

    with started(haproxy):
        play(haproxy.socket, story)


def test_a_server_of_the_file_that_cannot_go_is_put_in_maintenance_and_reported(
    pair: Pair, tmp_path: Path
) -> None:
    haproxy = HAProxy(
        tmp_path, static="    server old 10.77.0.9:80\n    use-server old if { src 127.0.0.9 }\n"
    )

    async def story(watched: Watched) -> None:
        watched.runtime.want((app(ONE),))
        observed = await watched.until(lambda observed: bool(observed.trouble))

        assert observed.backends == (app(ONE),)
        assert "server app/old: This server cannot be removed at runtime" in observed.trouble
        assert "take the server out of haproxy.cfg" in observed.trouble
        assert "admin=1" in haproxy.servers()["old"]

    with started(haproxy):
        play(haproxy.socket, story)


def test_a_server_of_the_file_that_is_wanted_is_taken_over(pair: Pair, tmp_path: Path) -> None:
    haproxy = HAProxy(
        tmp_path,
        static="    server one 10.77.0.9:80 disabled\n    server two unix@/nowhere weight 3\n",
    )

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))

    with started(haproxy):
        play(haproxy.socket, story)


# Connections and health


def test_a_connection_to_a_removed_server_lives_until_it_is_closed(haproxy: HAProxy) -> None:
    haproxy.start()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def story(watched: Watched) -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 9000):
            await watched.want(app(server("one", address="127.0.0.1")))
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000)
            writer.write(b"before\n")
            assert await reader.readline() == b"before\n"

            await watched.want(app())
            assert "admin=1" in haproxy.servers()["one"]
            writer.write(b"after\n")
            assert await reader.readline() == b"after\n"

            writer.close()
            await until(lambda: haproxy.servers() == {})
            await watched.has(app())

    play(haproxy.socket, story)


def test_a_removed_server_that_still_has_a_connection_can_come_back(haproxy: HAProxy) -> None:
    haproxy.start()
    listener = socket.create_server(("127.0.0.1", 9000))
    local = server("one", address="127.0.0.1")

    async def story(watched: Watched) -> None:
        await watched.want(app(local))
        with socket.create_connection(("127.0.0.1", 8000)), listener.accept()[0]:
            await watched.want(app())
            await watched.want(app(local))

    with listener:
        play(haproxy.socket, story)


def test_a_dead_app_leaves_the_rotation_and_a_live_one_comes_back(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        with socket.create_server(("127.0.0.1", 9000)):
            await watched.want(app(replace(ONE, address=ip_address("127.0.0.1"), check=True)))
            await until(lambda: "L4OK" in haproxy.ask("show stat app 4 -1"))
        await until(lambda: "up=0" in haproxy.servers()["one"])
        with socket.create_server(("127.0.0.1", 9000)):
            await until(lambda: "up=2" in haproxy.servers()["one"])
        assert len(watched.events) == 1, "health is HAProxy's own affair"

    play(haproxy.socket, story)


def test_a_server_that_is_down_is_up_again_when_it_is_no_longer_checked(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(replace(ONE, address=ip_address("127.0.0.1"), check=True)))
        await until(lambda: "up=0" in haproxy.servers()["one"])
        await watched.want(app(replace(ONE, address=ip_address("127.0.0.1"))))
        await until(lambda: "up=2" in haproxy.servers()["one"])

    play(haproxy.socket, story)


# HAProxy away


def test_a_killed_haproxy_gets_its_list_back(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        haproxy.kill()
        gone = await watched.until(lambda observed: not observed.reachable)
        assert gone.backends == ()
        assert gone.trouble == (
            f"HAProxy is not running, or {haproxy.socket} is not its `stats socket`"
        )
        haproxy.start()
        await watched.has(app(ONE, TWO))

        assert list(haproxy.servers()) == ["one", "two"]

    play(haproxy.socket, story)


def test_a_reload_loses_the_list_only_for_a_moment(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        haproxy.reload()
        await until(lambda: list(haproxy.servers()) == ["one", "two"])

    play(haproxy.socket, story)


def test_a_socket_may_appear_later(haproxy: HAProxy) -> None:
    async def story(watched: Watched) -> None:
        watched.runtime.want((app(ONE),))
        await watched.until(lambda observed: not observed.reachable)
        haproxy.start()
        await watched.has(app(ONE))

    play(haproxy.socket, story)


def test_a_frozen_haproxy_gets_the_newest_list_when_it_goes_on(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE))
        haproxy.freeze()
        watched.runtime.want((app(TWO),))
        frozen = await watched.until(lambda observed: not observed.reachable)
        assert "did not answer" in frozen.trouble
        haproxy.thaw()
        await watched.has(app(TWO))

    play(haproxy.socket, story)


# A long list, which is looked at seldom


def look_later(watched: Watched) -> None:
    """As if the last look had taken very long: the next is due in a minute."""
    watched.runtime._due = time.monotonic() + 60


def test_another_process_is_noticed_before_the_next_look_is_due(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        look_later(watched)
        haproxy.reload()
        await until(lambda: list(haproxy.servers()) == ["one", "two"])

    play(haproxy.socket, story)


def test_a_death_does_not_wait_for_the_next_look_and_a_weight_does(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        look_later(watched)
        lighter = replace(ONE, weight=7)
        watched.runtime.want((app(lighter, TWO),))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await watched.has(app(lighter, TWO))
        assert "w=100" in haproxy.servers()["one"]
        async with asyncio.timeout(1):
            await watched.want(app(lighter))

    play(haproxy.socket, story)


def test_what_somebody_else_did_meanwhile_is_found_by_the_next_change(haproxy: HAProxy) -> None:
    """The change is made from an old table: what is refused for that is tried from a new one."""
    haproxy.start()

    async def story(watched: Watched) -> None:
        await watched.want(app(ONE, TWO))
        look_later(watched)
        haproxy.ask("disable server app/one; del server app/one")
        await watched.want(app(replace(ONE, port=9001)))
        assert list(haproxy.servers()) == ["one"]

    play(haproxy.socket, story)


# Refusals


def test_a_missing_backend_is_reported_and_the_others_are_served(haproxy: HAProxy) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        watched.runtime.want((Backend("nowhere", (ONE,)), app(ONE)))
        await watched.until(
            lambda observed: (
                observed
                == BackendsObserved(
                    reachable=True,
                    backends=(app(ONE),),
                    trouble="backend nowhere: Can't find backend (add the backend to haproxy.cfg)",
                )
            )
        )

    play(haproxy.socket, story)


def test_a_backend_that_takes_no_servers_is_reported_and_the_others_are_served(
    haproxy: HAProxy,
) -> None:
    haproxy.start()

    async def story(watched: Watched) -> None:
        watched.runtime.want((Backend("fixed", (ONE,)), app(ONE)))
        observed = await watched.until(lambda observed: bool(observed.trouble))

        assert observed.backends == (Backend("fixed", ()), app(ONE))
        assert "give the backend `balance roundrobin`" in observed.trouble

    play(haproxy.socket, story)


@pytest.mark.parametrize("level", ["user", "operator"])
def test_a_socket_that_may_not_change_anything_is_reported(
    pair: Pair, tmp_path: Path, level: str
) -> None:
    haproxy = HAProxy(tmp_path, level=level)

    async def story(watched: Watched) -> None:
        watched.runtime.want((app(ONE, TWO),))
        observed = await watched.until(lambda observed: bool(observed.trouble))

        assert observed == BackendsObserved(
            reachable=True,
            backends=(app(),),
            trouble="server app/one and 1 more: Permission denied"
            " (give the `stats socket` in haproxy.cfg `level admin`)",
        )

    with started(haproxy):
        play(haproxy.socket, story)


def test_a_socket_of_somebody_else_says_how_to_share_it(haproxy: HAProxy) -> None:
    haproxy.start()
    nobody = 65534

    async def story(watched: Watched) -> None:
        watched.runtime.want((app(ONE),))
        observed = await watched.until(lambda observed: not observed.reachable)

        assert "no permission to open" in observed.trouble

    os.seteuid(nobody)
    try:
        play(haproxy.socket, story)
    finally:
        os.seteuid(0)


# Sockets that only look like HAProxy


async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def saying(
    answer: bytes,
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    return say


@pytest.mark.parametrize(
    ("impostor", "trouble"),
    [
        pytest.param(be_silent, "did not answer", id="silent"),
        pytest.param(hang_up, "HAProxy on", id="hangs up"),
        pytest.param(saying(b""), "not HAProxy's", id="says nothing"),
        pytest.param(saying(b"\xff\x00\n> \n"), "not HAProxy's", id="garbage"),
        pytest.param(saying(b"\n> 1\n# be_id be_na"), "not all of it", id="stops half-way"),
        pytest.param(saying(b"x" * 10 * (1 << 20)), "too long", id="10 MB"),
        pytest.param(saying(b"\n> 1\n# x\n3 app 4 ;;\n> "), "3 app 4", id="odd table"),
    ],
)
def test_an_impostor_harms_nobody_and_a_haproxy_in_its_place_is_served(
    haproxy: HAProxy,
    impostor: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    trouble: str,
) -> None:
    async def story(watched: Watched) -> None:
        async with await asyncio.start_unix_server(impostor, haproxy.socket):
            watched.runtime.want((app(ONE),))
            observed = await watched.until(lambda observed: bool(observed.trouble))
            assert trouble in observed.trouble
            assert observed.backends == ()
        haproxy.start()
        await watched.has(app(ONE))

    play(haproxy.socket, story)


def test_a_socket_that_nobody_accepts_on_does_not_stop_the_loop(tmp_path: Path) -> None:
    """The second connection finds the backlog full, the first is never answered."""
    path = str(tmp_path / "full.sock")
    beats = 0

    async def story(watched: Watched) -> None:
        nonlocal beats
        watched.runtime.want((app(ONE),))
        while not watched.events:
            beats += 1
            await asyncio.sleep(0.01)
        await watched.until(lambda observed: "did not answer" in observed.trouble)
        await watched.until(lambda observed: "accepts no connection" in observed.trouble)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        play(path, story)
    assert beats > 50
