"""Checks that run a program."""

import os
import sys

from haagent.adapters.checks.command import command

ME = "root" if os.geteuid() == 0 else None


def test_exit_code_0_passes_and_the_last_line_is_told() -> None:
    result = command(["sh", "-c", "echo first; echo all is well"], 5.0, ME)

    assert (result.passed, result.text) == (True, "done: all is well")


def test_any_other_exit_code_fails() -> None:
    result = command(["sh", "-c", "echo disk full >&2; exit 3"], 5.0, ME)

    assert (result.passed, result.text) == (False, "ended with exit code 3: disk full")


def test_a_program_that_is_not_there_fails() -> None:
    result = command(["/nonexistent/program"], 5.0, ME)

    assert not result.passed
    assert "/nonexistent/program" in result.text


def test_a_program_that_hangs_fails_at_its_limit() -> None:
    result = command([sys.executable, "-c", "import signal; signal.pause()"], 0.3, ME)

    assert not result.passed
    assert "did not end within its time" in result.text
