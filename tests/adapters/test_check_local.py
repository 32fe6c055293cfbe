"""Checks of processes, of their pid files, and of the operator's switch."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from haagent.adapters.checks.local import file, pidfile, process
from haagent.adapters.checks.result import Result

SLEEPER = "import ctypes, signal; ctypes.CDLL(None).prctl(15, b'haa-sleeper'); print(flush=True); \
signal.pause()"
"""A process of a name that no other has (PR_SET_NAME)."""


def start_sleeper() -> "subprocess.Popen[bytes]":
    sleeper = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == b"\n"
    return sleeper


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with start_sleeper() as sleeper:
        yield sleeper
        sleeper.kill()


def until_zombie(pid: int) -> None:
    """Wait for the end of a child, and leave it unreaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_a_process_of_the_name_passes(sleeper: "subprocess.Popen[bytes]") -> None:
    assert process("haa-sleeper") == Result(True, f"pid {sleeper.pid}")


def test_a_zombie_is_no_process(sleeper: "subprocess.Popen[bytes]") -> None:
    assert process("haa-sleeper").passed
    sleeper.kill()
    until_zombie(sleeper.pid)

    assert process("haa-sleeper") == Result(False, "no process haa-sleeper")


def test_a_process_that_was_started_anew_is_found(sleeper: "subprocess.Popen[bytes]") -> None:
    assert process("haa-sleeper").passed
    sleeper.kill()
    sleeper.wait()
    assert not process("haa-sleeper").passed
    with start_sleeper() as other:
        assert process("haa-sleeper") == Result(True, f"pid {other.pid}")
        other.kill()


def test_the_process_of_a_pid_file_passes_until_it_has_ended(
    sleeper: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{sleeper.pid}\n")
    assert pidfile(str(path)) == Result(True, f"pid {sleeper.pid}")
    sleeper.kill()
    until_zombie(sleeper.pid)

    assert pidfile(str(path)) == Result(False, f"no process with pid {sleeper.pid}")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no number"),
        ("haproxy", "holds no number"),
        ("0", "no process with pid 0"),
        ("-1", "no process with pid -1"),
        ("9" * 40, "no process with pid"),
    ],
)
def test_a_pid_file_without_a_process_fails(content: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    result = pidfile(str(path))

    assert not result.passed
    assert text in result.text


def test_a_pid_file_that_is_not_there_fails(tmp_path: Path) -> None:
    assert pidfile(f"{tmp_path}/pid") == Result(False, f"{tmp_path}/pid: no such file or directory")


def test_the_switch_is_off_until_the_file_is_made(tmp_path: Path) -> None:
    switch = tmp_path / "maintenance"
    before = file(str(switch))
    switch.touch()
    during = file(str(switch))
    switch.unlink()
    switch.symlink_to("/nonexistent")
    dangling = file(str(switch))
    switch.unlink()

    assert before == file(str(switch)) == Result(True, f"no file {switch}")
    assert during == dangling == Result(False, f"{switch} exists")


def test_a_switch_that_cannot_be_looked_at_fails(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    assert not file(f"{loop}/switch").passed
    assert file(f"{tmp_path}/none/switch").passed
