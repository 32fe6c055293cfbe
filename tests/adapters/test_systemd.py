"""sd_notify against a real socket that stands where systemd's would."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haagent.adapters.systemd import Systemd


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Where NOTIFY_SOCKET points, and the socket there."""
    abstract = f"haagent-test-{os.getpid()}"
    name = f"@{abstract}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + abstract if request.param == "abstract" else name)
        sock.setblocking(False)
        yield name, sock


def heard(sock: socket.socket) -> list[str]:
    texts = []
    try:
        while True:
            texts.append(sock.recv(4096).decode())
    except BlockingIOError:
        return texts


def test_each_state_is_said_in_systemds_words(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})

    systemd.ready("master of web")
    systemd.status("backup of web")
    systemd.stopping()

    assert heard(sock) == ["READY=1\nSTATUS=master of web", "STATUS=backup of web", "STOPPING=1"]


def test_reloading_tells_the_monotonic_time_in_microseconds(
    manager: tuple[str, socket.socket],
) -> None:
    name, sock = manager

    earliest = time.monotonic_ns() // 1000
    Systemd({"NOTIFY_SOCKET": name}).reloading()
    latest = time.monotonic_ns() // 1000

    (text,) = heard(sock)
    state, _, stamp = text.partition("\nMONOTONIC_USEC=")
    assert state == "RELOADING=1"
    assert earliest <= int(stamp) <= latest


def test_a_status_cannot_smuggle_in_another_field(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager

    Systemd({"NOTIFY_SOCKET": name}).status("web\nREADY=1\udcff")

    assert heard(sock) == ["STATUS=web READY=1?"]


@pytest.mark.parametrize("pid", [{}, {"WATCHDOG_PID": str(os.getpid())}], ids=["any", "ours"])
def test_the_watchdog_hears_us_a_third_of_its_limit_apart(
    manager: tuple[str, socket.socket], pid: dict[str, str]
) -> None:
    name, sock = manager
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "90000", **pid})

    sent_at: list[int] = []
    while len(sent_at) < 3:
        systemd.alive()
        sent_at += [time.monotonic_ns() for _ in heard(sock)]

    assert sent_at[2] - sent_at[0] >= 2 * 30_000_000 - 5_000_000


def test_turns_in_quick_succession_send_one_watchdog_message(
    manager: tuple[str, socket.socket],
) -> None:
    name, sock = manager
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3600000000"})

    for _ in range(100):
        systemd.alive()

    assert heard(sock) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
    ],
    ids=["none", "another process's", "not a number", "off"],
)
def test_without_a_watchdog_of_ours_nothing_is_sent(
    manager: tuple[str, socket.socket], watchdog: dict[str, str]
) -> None:
    name, sock = manager

    Systemd({"NOTIFY_SOCKET": name, **watchdog}).alive()

    assert heard(sock) == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"NOTIFY_SOCKET": "/nowhere/notify"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
    ],
    ids=["none", "empty", "vsock", "nobody there", "too long"],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    systemd = Systemd({**environment, "WATCHDOG_USEC": "1000"})

    systemd.ready("")
    systemd.reloading()
    systemd.status("")
    systemd.alive()
    systemd.stopping()


def test_a_manager_that_does_not_listen_does_not_stop_us(
    manager: tuple[str, socket.socket],
) -> None:
    """Its queue fills up; the watchdog message that was lost is sent as soon as there is room."""
    name, sock = manager
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3600000000"})
    for _ in range(2000):
        systemd.status("x" * 500)

    systemd.alive()
    assert "WATCHDOG=1" not in heard(sock)
    systemd.alive()
    assert heard(sock) == ["WATCHDOG=1"]


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    kept = os.open(tmp_path, os.O_RDONLY)
    yield kept
    os.close(kept)


def test_what_is_kept_is_there_when_the_call_returns(
    manager: tuple[str, socket.socket], descriptor: int
) -> None:
    name, sock = manager
    sock.settimeout(5)
    with ThreadPoolExecutor() as thread:
        keeping = thread.submit(Systemd({"NOTIFY_SOCKET": name}).keep, descriptor, "fence")
        message, (kept,), _, _ = socket.recv_fds(sock, 4096, 4)
        barrier, (end,), _, _ = socket.recv_fds(sock, 4096, 4)
        assert not keeping.done()
        os.close(end)
        keeping.result(5)

    assert message.decode().splitlines() == ["FDSTORE=1", "FDNAME=fence", "FDPOLL=0"]
    assert barrier == b"BARRIER=1"
    assert os.path.sameopenfile(kept, descriptor)
    os.close(kept)


def test_nothing_is_kept_where_there_is_no_manager(descriptor: int) -> None:
    with pytest.raises(OSError, match="no service manager"):
        Systemd({}).keep(descriptor, "fence")


def test_a_manager_that_does_not_answer_is_not_waited_for_long(
    manager: tuple[str, socket.socket], descriptor: int
) -> None:
    name, _ = manager
    with pytest.raises(TimeoutError, match="does not answer"):
        Systemd({"NOTIFY_SOCKET": name}).keep(descriptor, "fence")


def test_what_was_kept_is_inherited_by_name_and_by_nobody_else() -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:fence"}
    script = """
import os
from haagent.adapters.systemd import inherited
mine = {**os.environ, "LISTEN_PID": str(os.getpid())}
print(inherited(mine, "fence"), inherited(os.environ, "fence"), os.get_inheritable(4))
"""
    command = [sys.executable, "-c", script]
    shell = ["bash", "-c", 'exec "$@" 3</dev/null 4</dev/zero', "bash", *command]
    done = subprocess.run(
        shell, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[4] [] False\n"
