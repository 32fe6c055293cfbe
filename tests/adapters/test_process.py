"""The process settles where it may, and says what it may not; each in a process of its own."""

import os
import subprocess
import sys

import pytest

SETTLE = """
import resource, sys
from haagent.adapters.process import settle

refused = settle()
locked = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck"))
print(int(locked) > 0, resource.getrlimit(resource.RLIMIT_CORE)[0], sys.getswitchinterval())
print("; ".join(refused))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have or drop privileges")


def settled(*wrapper: str) -> list[str]:
    command = [*wrapper, sys.executable, "-c", SETTLE]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def with_capabilities(held: str) -> list[str]:
    """Return what runs a command with these only, and little memory that it may lock."""
    kinds = ("--inh-caps", "--ambient-caps", "--bounding-set")
    wrapper = [f"{kind}=-all{held}" for kind in kinds]
    return ["prlimit", "--memlock=65536", "setpriv", "--securebits=+noroot", *wrapper]


def test_memory_is_locked_no_core_is_dumped_and_threads_yield_soon() -> None:
    assert settled() == ["True 0 0.0005", ""]


def test_one_capability_is_enough() -> None:
    """As the unit grants it."""
    assert settled(*with_capabilities(",+ipc_lock")) == ["True 0 0.0005", ""]


def test_without_it_the_process_goes_on_and_says_so() -> None:
    said = settled(*with_capabilities(""))

    assert said == ["False 0 0.0005", "memory may be swapped out: Cannot allocate memory"]
