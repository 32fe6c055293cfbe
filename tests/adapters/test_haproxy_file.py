"""HAProxy's own configuration file: against a real HAProxy in master-worker mode."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.adapters.haproxy.file import HAProxyFile
from haagent.adapters.haproxy.replacing import beside
from haagent.core.actions import Backend, Server
from haagent.core.events import Event, FileSettled
from haagent.core.settings import HAProxyFileSettings
from haagent.wire.haproxy.master import alerts

PATIENCE_S = 30
CONFIG = """\
# The operator's.  \xe9
global
    stats socket {home}/stats.sock level admin mode 600
defaults
    mode tcp
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend entrance
    bind unix@{home}/entrance.sock
    default_backend app
backend app
    balance roundrobin
    # BEGIN haagent app
    server old 192.0.2.9:80
    # END haagent
"""
TEMPLATE = CONFIG.replace("    server old 192.0.2.9:80\n", "@@").replace(
    "@@",
    """\
{{% for server in backends.app %}}
    {{{{ server.line }}}}
{{% endfor %}}
""",
)


def server(name: str, address: str = "192.0.2.1") -> Server:
    return Server(name=name, address=ip_address(address), port=80, weight=100, check=False)


ONE, TWO = server("one"), server("two", "2001:db8::2")


def app(*servers: Server) -> Backend:
    return Backend("app", servers)


class Master:
    """A HAProxy with workers, and what it is asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "haproxy.cfg"
        self.path.write_text(CONFIG.format(home=home), encoding="latin-1")
        self.stats, self.control = home / "stats.sock", home / "master.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["haproxy", "-W", "-db", "-S", str(self.control), "-f", str(self.path)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while not self.pid():
            assert time.monotonic() < deadline, "HAProxy does not start"

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for one in (self.stats, self.control):
            one.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.stats))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def pid(self) -> str:
        try:
            return next(iter(re.findall(r"^Pid: (\d+)", self.ask("show info"), re.MULTILINE)), "")
        except OSError:
            return ""

    def servers(self) -> dict[str, str]:
        rows = (row.split() for row in self.ask("show servers state app").splitlines()[2:] if row)
        return {row[3]: f"{row[4]}:{row[18]}" for row in rows}

    def settings(self) -> HAProxyFileSettings:
        return HAProxyFileSettings(path=str(self.path), master_socket=str(self.control))


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Master]:
    haproxy = Master(tmp_path)
    haproxy.start()
    try:
        yield haproxy
    finally:
        haproxy.stop()


def run(words: Sequence[str], timeout_s: float) -> str:
    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=timeout_s, errors="replace"
    )
    return "" if done.returncode == 0 else alerts(done.stderr) or f"exit {done.returncode}"


class Watched:
    """A file and what was posted of it."""

    def __init__(self, haproxy: Master, settings: HAProxyFileSettings) -> None:
        self.events: list[FileSettled] = []
        self._arrived = asyncio.Event()
        self.file = HAProxyFile(settings, str(haproxy.stats), run, self._post)

    def _post(self, event: Event) -> None:
        assert isinstance(event, FileSettled)
        self.events.append(event)
        self._arrived.set()

    async def settled(self, count: int = 1) -> FileSettled:
        """Return the attempt of this number, from 1, once it is over."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.events) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.events[count - 1]

    async def want(self, *servers: Server) -> FileSettled:
        self.file.want((app(*servers),))
        return await self.settled(len(self.events) + 1)


def play(
    haproxy: Master,
    story: Callable[[Watched], Awaitable[None]],
    settings: HAProxyFileSettings | None = None,
) -> None:
    async def main() -> None:
        watched = Watched(haproxy, settings or haproxy.settings())
        task = asyncio.create_task(watched.file.run())
        try:
            await story(watched)
            assert not task.done(), "run() ended"
        finally:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def leftovers(haproxy: Master) -> list[str]:
    return sorted(path.name for path in haproxy.home.iterdir() if "haagent" in path.name)


# The file


def test_the_marked_section_is_rewritten_and_haproxy_serves_with_it(haproxy: Master) -> None:
    haproxy.path.chmod(0o640)
    before, pid = haproxy.path.read_bytes(), haproxy.pid()

    async def story(watched: Watched) -> None:
        assert await watched.want(ONE, TWO) == FileSettled(
            trouble="", news=f"{haproxy.path} has 2 servers, and HAProxy has reloaded it"
        )

    play(haproxy, story)
    assert haproxy.path.read_bytes() == before.replace(
        b"    server old 192.0.2.9:80\n",
        b"    server one 192.0.2.1:80 weight 100\n    server two [2001:db8::2]:80 weight 100\n",
    )
    assert haproxy.path.stat().st_mode & 0o7777 == 0o640
    assert haproxy.pid() != pid
    assert haproxy.servers() == {"one": "192.0.2.1:80", "two": "2001:db8::2:80"}
    assert leftovers(haproxy) == []


def test_a_template_makes_the_whole_file(haproxy: Master) -> None:
    template = haproxy.home / "haproxy.cfg.j2"
    template.write_text(TEMPLATE.format(home=haproxy.home))
    settings = replace(haproxy.settings(), template=str(template))

    async def story(watched: Watched) -> None:
        assert (await watched.want(TWO)).trouble == ""

    play(haproxy, story, settings)
    assert haproxy.servers() == {"two": "2001:db8::2:80"}
    assert haproxy.path.read_text().endswith(
        "    # BEGIN haagent app\n    server two [2001:db8::2]:80 weight 100\n    # END haagent\n"
    )


def test_a_weight_alone_writes_nothing(haproxy: Master) -> None:
    async def story(watched: Watched) -> None:
        await watched.want(ONE)
        text, pid = haproxy.path.read_bytes(), haproxy.pid()
        watched.file.want((app(replace(ONE, weight=7)),))
        # Over when the next change is.
        watched.file.want((app(replace(ONE, weight=8)),))
        watched.file.want((app(ONE),))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await watched.settled(2)
        assert haproxy.path.read_bytes() == text
        assert haproxy.pid() == pid

    play(haproxy, story)


def test_a_file_that_has_what_is_wanted_is_left_alone(haproxy: Master) -> None:
    async def story(watched: Watched) -> None:
        status, pid = haproxy.path.stat(), haproxy.pid()
        text = haproxy.path.read_text(encoding="latin-1")
        haproxy.path.write_text(
            text.replace("192.0.2.9:80", "192.0.2.9:80 weight 100"), encoding="latin-1"
        )
        settled = await watched.want(server("old", "192.0.2.9"))
        assert settled == FileSettled(trouble="", news="")
        assert haproxy.path.stat().st_ino == status.st_ino
        assert haproxy.pid() == pid

    play(haproxy, story)


def test_while_not_all_servers_are_known_nothing_is_written(haproxy: Master) -> None:
    async def story(watched: Watched) -> None:
        watched.file.want((replace(app(ONE), whole=False),))
        watched.file.again()
        assert (await watched.want(ONE, TWO)).news.startswith(f"{haproxy.path} has 2 servers")
        assert len(watched.events) == 1

    play(haproxy, story)


def test_without_a_way_to_reload_the_file_is_written_for_haproxys_next_start(
    haproxy: Master,
) -> None:
    settings = HAProxyFileSettings(path=str(haproxy.path))

    async def story(watched: Watched) -> None:
        pid = haproxy.pid()
        assert (await watched.want(ONE)).news == f"{haproxy.path} has 1 server"
        assert haproxy.pid() == pid
        assert "old" in haproxy.servers()

    play(haproxy, story, settings)
    haproxy.stop()
    haproxy.start()
    assert haproxy.servers() == {"one": "192.0.2.1:80"}


def test_while_haproxy_is_not_running_the_file_is_written_for_its_start(haproxy: Master) -> None:
    haproxy.stop()

    async def story(watched: Watched) -> None:
        assert await watched.want(ONE) == FileSettled(
            trouble="", news=f"{haproxy.path} has 1 server"
        )

    play(haproxy, story)
    haproxy.start()
    assert haproxy.servers() == {"one": "192.0.2.1:80"}


def test_a_change_that_was_cut_short_is_proven_at_the_next_start(haproxy: Master) -> None:
    """The agent was killed after the file was in its place and before HAProxy reloaded it."""
    text = haproxy.path.read_bytes()
    wanted = text.replace(b"old 192.0.2.9:80", b"one 192.0.2.1:80 weight 100")
    beside(haproxy.path, "before").write_bytes(text)
    beside(haproxy.path, "new").write_bytes(b"half of ")
    haproxy.path.write_bytes(wanted)

    async def story(watched: Watched) -> None:
        assert "HAProxy has reloaded it" in (await watched.want(ONE)).news

    play(haproxy, story)
    assert haproxy.servers() == {"one": "192.0.2.1:80"}
    assert haproxy.path.read_bytes() == wanted
    assert leftovers(haproxy) == []


def test_what_the_operator_wrote_after_a_change_was_cut_short_is_not_lost(haproxy: Master) -> None:
    """Another set is wanted now, and the file cannot be loaded: theirs is what is put back."""
    text = haproxy.path.read_bytes()
    beside(haproxy.path, "before").write_bytes(text)
    theirs = text + b"    # theirs\n"
    haproxy.path.write_bytes(theirs)
    settings = replace(haproxy.settings(), master_socket=str(haproxy.stats))

    async def story(watched: Watched) -> None:
        assert "the file before is back" in (await watched.want(ONE)).trouble

    play(haproxy, story, settings)
    assert haproxy.path.read_bytes() == theirs
    assert leftovers(haproxy) == []


# Refusals: the file and HAProxy are as they were


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("backend app\n{% for %}\n", "haproxy.cfg.j2:2: "),
        ("backend app\n\n{{ backend.app }}\n", "haproxy.cfg.j2:3: 'backend' is undefined"),
        ("backend app\n", "has no line `server one 192.0.2.1:80` in app"),
        ("global\n", "it has no backend app"),
        ("backend app\nserver one 192.0.2.1:80\nserver x 192.0.2.7:80\n", "x in app, which is not"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "/etc/passwd"),
        ("{{ 1 // 0 }}", "by zero"),
        ("backend app\nserver one 192.0.2.1:80\n# {{ '\\ud800' }}", "surrogates not allowed"),
        ("{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "makes no end of text"),
    ],
)
def test_a_wrong_template_changes_nothing(haproxy: Master, text: str, trouble: str) -> None:
    template = haproxy.home / "haproxy.cfg.j2"
    template.write_text(text)
    settings = replace(haproxy.settings(), template=str(template))
    before, pid = haproxy.path.read_bytes(), haproxy.pid()

    async def story(watched: Watched) -> None:
        settled = await watched.want(ONE)
        assert trouble in settled.trouble
        assert settled.trouble.startswith(f"{haproxy.path}: ")

    play(haproxy, story, settings)
    assert haproxy.path.read_bytes() == before
    assert haproxy.pid() == pid
    assert leftovers(haproxy) == []


@pytest.mark.parametrize(
    ("found", "made", "trouble"),
    [
        ("# END haagent\n", "", "the marked section of app has no `# END haagent`"),
        ("# BEGIN haagent app", "# app", "line 16: a marked section ends that has not begun"),
        ("# BEGIN haagent app", "# BEGIN haagent apq", "apq is no backend of haagent.yml"),
        ("backend app\n", "backend apq\n", "it has no backend app"),
        ("    balance", "    unbalance", "[haproxy.cfg:13] : unknown keyword 'unbalance'"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_as_it_is(
    haproxy: Master, found: str, made: str, trouble: str
) -> None:
    text = haproxy.path.read_bytes().replace(found.encode(), made.encode())
    haproxy.path.write_bytes(text)
    pid = haproxy.pid()

    async def story(watched: Watched) -> None:
        assert trouble in " ".join((await watched.want(ONE)).trouble.split())

    play(haproxy, story)
    assert haproxy.path.read_bytes() == text
    assert haproxy.pid() == pid
    assert leftovers(haproxy) == []


def test_a_file_that_haproxy_cannot_load_is_taken_back(haproxy: Master) -> None:
    """`haproxy -c` binds nothing, so a port that is taken is found out by the reload alone."""

    async def story(watched: Watched) -> None:
        await watched.want(ONE)
        pid = haproxy.pid()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            text = haproxy.path.read_bytes().replace(
                b"    default_backend", b"    bind 127.0.0.1:%d\n    default_backend" % port
            )
            haproxy.path.write_bytes(text)
            settled = await watched.want(ONE, TWO)
            assert "HAProxy did not reload (`show proc` of its master: failed)" in settled.trouble
            assert "the file before is back, but HAProxy did not reload" in settled.trouble
        assert haproxy.path.read_bytes() == text, "the operator's line is not lost"
        assert haproxy.pid() == pid
        assert haproxy.servers() == {"one": "192.0.2.1:80"}
        # The port is free again.
        assert (await watched.settled(3)).trouble == ""
        assert list(haproxy.servers()) == ["one", "two"]

    play(haproxy, story)
    assert leftovers(haproxy) == []


def test_a_haproxy_that_does_not_serve_with_the_file_has_the_one_before_again(
    haproxy: Master,
) -> None:
    """The reload works, but the master reads another file: the wanted servers are not there."""
    text = haproxy.path.read_bytes()
    copy = haproxy.home / "other.cfg"
    copy.write_bytes(text)
    settings = replace(haproxy.settings(), path=str(copy))

    async def story(watched: Watched) -> None:
        settled = await watched.want(ONE)
        assert "after the reload HAProxy has not the server app/one" in settled.trouble
        assert "the file before is back, and HAProxy has reloaded it" in settled.trouble

    play(haproxy, story, settings)
    assert copy.read_bytes() == text
    assert haproxy.servers() == {"old": "192.0.2.9:80"}
    assert leftovers(haproxy) == []


def test_a_full_disk_changes_nothing(haproxy: Master) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    disk = haproxy.home / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=True)
    try:
        path = disk / "haproxy.cfg"
        path.write_bytes(haproxy.path.read_bytes())
        filler = disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        before, pid = path.read_bytes(), haproxy.pid()

        async def story(watched: Watched) -> None:
            assert "No space left on device" in (await watched.want(ONE)).trouble
            assert path.read_bytes() == before
            assert sorted(each.name for each in disk.iterdir()) == ["filler", "haproxy.cfg"]
            assert haproxy.pid() == pid

        settings = replace(haproxy.settings(), path=str(path), master_socket=None)
        play(haproxy, story, settings)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_symbolic_link_is_not_followed(haproxy: Master) -> None:
    link = haproxy.home / "link.cfg"
    link.symlink_to(haproxy.path)
    before = haproxy.path.read_bytes()

    async def story(watched: Watched) -> None:
        assert "is a symbolic link" in (await watched.want(ONE)).trouble

    play(haproxy, story, replace(haproxy.settings(), path=str(link)))
    assert haproxy.path.read_bytes() == before
    assert link.is_symlink()


def test_who_changes_the_file_meanwhile_loses_nothing(haproxy: Master) -> None:
    check = ("sh", "-c", f"echo '# theirs' >> {haproxy.path}; : {{file}}")
    settings = replace(haproxy.settings(), check=check)

    async def story(watched: Watched) -> None:
        settled = await watched.want(ONE)
        assert "somebody else has changed it meanwhile" in settled.trouble

    play(haproxy, story, settings)
    assert haproxy.path.read_text(encoding="latin-1").endswith("# theirs\n")
    assert leftovers(haproxy) == []


def test_a_haproxy_that_hangs_is_waited_for_and_nothing_is_changed(haproxy: Master) -> None:
    before = haproxy.path.read_bytes()
    haproxy.signal(signal.SIGSTOP)

    async def story(watched: Watched) -> None:
        assert "did not answer" in (await watched.want(ONE)).trouble
        assert haproxy.path.read_bytes() == before
        haproxy.signal(signal.SIGCONT)
        assert (await watched.settled(2)).trouble == ""
        assert haproxy.servers() == {"one": "192.0.2.1:80"}

    play(haproxy, story)


def test_a_socket_that_is_no_master_is_named_and_the_file_is_taken_back(haproxy: Master) -> None:
    before, pid = haproxy.path.read_bytes(), haproxy.pid()
    settings = replace(haproxy.settings(), master_socket=str(haproxy.stats))

    async def story(watched: Watched) -> None:
        settled = await watched.want(ONE)
        assert "is not the socket of HAProxy's master process" in settled.trouble

    play(haproxy, story, settings)
    assert haproxy.path.read_bytes() == before
    assert haproxy.pid() == pid
