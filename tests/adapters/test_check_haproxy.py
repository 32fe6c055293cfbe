"""The check of HAProxy: the real one, and what else may be behind its socket."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.adapters.checks.haproxy import haproxy
from haagent.wire.haproxy.info import Info, read_info

INFO = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nStopping: {}\nBuild info: 2.6.12"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "haproxy.sock"


@pytest.fixture
def running(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """HAProxy, its socket of the level that can do least."""
    configuration = path.with_name("haproxy.cfg")
    configuration.write_text(
        f"global\n  stats socket {path} level user\n"
        "defaults\n  timeout client 1s\n  timeout server 1s\n  timeout connect 1s\n"
    )
    with subprocess.Popen(["haproxy", "-db", "-f", configuration]) as process:
        deadline = time.monotonic() + 10
        while not haproxy(str(path), 1.0).passed:
            assert time.monotonic() < deadline, haproxy(str(path), 1.0).text
        yield process
        process.kill()


def answering(path: Path, answer: bytes | None) -> socket.socket:
    """Listen at ``path``; answer the first who asks, or never."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            if answer is None:
                connection.recv(4096)  # until the other side has had enough
            else:
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_a_haproxy_that_answers_passes(running: "subprocess.Popen[bytes]", path: Path) -> None:
    result = haproxy(str(path), 1.0)

    assert result.passed
    assert result.text.endswith(f", pid {running.pid}")


def test_one_that_was_killed_fails(running: "subprocess.Popen[bytes]", path: Path) -> None:
    running.kill()
    running.wait()

    assert haproxy(str(path), 1.0) == (
        False,
        f"HAProxy is not running, or {path} is not its stats socket",
    )


def test_one_that_hangs_fails_at_the_limit(path: Path) -> None:
    with answering(path, None):
        began_s = time.monotonic()
        result = haproxy(str(path), 0.3)

    assert result == (False, "no answer in 0.3 s")
    assert time.monotonic() - began_s < 3


@pytest.mark.parametrize(
    ("said", "passed", "text"),
    [
        (INFO.format(0), True, "HAProxy 2.6.12, pid 7"),
        (INFO.format(1), False, "pid 7 is stopping"),
        ("Permission denied", False, "the answer is not HAProxy's: Permission denied"),
        ("", False, "the answer is not HAProxy's"),
    ],
)
def test_the_answer_decides(said: str, passed: bool, text: str, path: Path) -> None:
    with answering(path, f"\n> {said}\n\n> ".encode()):
        assert haproxy(str(path), 1.0) == (passed, text)


def test_whoever_speaks_no_runtime_api_fails(path: Path) -> None:
    with answering(path, b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        assert haproxy(str(path), 1.0) == (False, "the answer is not HAProxy's")


def test_an_answer_that_lacks_a_line_is_none() -> None:
    assert read_info("Name: HAProxy\nVersion: 2.6.12\nPid: 7") is None
    assert read_info(INFO.format(0)) == Info("2.6.12", 7, False)
