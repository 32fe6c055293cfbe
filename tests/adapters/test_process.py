"""The process settles where it may, and says what it may not; each in a process of its own."""

import os
import subprocess
import sys

import pytest

SETTLE = """
import os, resource, sys, threading
from haagent.adapters.process import settle

def policy():
    found = os.sched_getscheduler(threading.get_native_id()) & ~os.SCHED_RESET_ON_FORK
    return {os.SCHED_RR: "rr", os.SCHED_OTHER: "other"}[found]

refused = settle()
policies = [policy()]
thread = threading.Thread(target=lambda: policies.append(policy()))
thread.start()
thread.join()
locked = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck"))
print(int(locked) > 0, resource.getrlimit(resource.RLIMIT_CORE)[0], sys.getswitchinterval())
print(*policies)
print("; ".join(refused))
"""

BUSY_AND_IDLE = """
import asyncio, os, time
from haagent.adapters import process

def is_real_time():
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR

async def story():
    task = asyncio.create_task(process.stay_frugal())
    end = time.monotonic() + 10
    while is_real_time() and time.monotonic() < end:
        await asyncio.sleep(0)
    print(is_real_time())
    while not is_real_time() and time.monotonic() < end:
        await asyncio.sleep(0.01)
    print(is_real_time())

process.settle()
print(is_real_time())
asyncio.run(story())
"""

LONG_LIVED = """
import asyncio, gc
from haagent.adapters import process

full = []
gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)

def grow():
    return [[] for _ in range(1_000_000)]

async def story():
    task = asyncio.create_task(process.collect_seldom())
    await asyncio.sleep(0)
    kept = grow()

asyncio.run(story())
print(len(full))
"""

NEVER_REAL_TIME = "no real-time scheduling: Operation not permitted"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have or drop privileges")


def said_by(script: str, *wrapper: str) -> list[str]:
    command = [*wrapper, sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def with_capabilities(held: str) -> list[str]:
    """Return what runs a command with these only, little memory to lock and no real time."""
    kinds = ("--inh-caps", "--ambient-caps", "--bounding-set")
    wrapper = [f"{kind}=-all{held}" for kind in kinds]
    limits = ["prlimit", "--memlock=65536", "--rtprio=0"]
    return [*limits, "setpriv", "--securebits=+noroot", *wrapper]


def test_memory_is_locked_no_core_is_dumped_and_threads_yield_soon() -> None:
    assert said_by(SETTLE)[0] == "True 0 0.0005"


def test_the_loop_is_real_time_and_its_threads_are_not() -> None:
    assert said_by(SETTLE)[1:] == ["rr other", ""]


def test_a_loop_that_is_busy_is_not_real_time_until_it_is_idle_again() -> None:
    assert said_by(BUSY_AND_IDLE) == ["True", "False", "True"]


def test_two_capabilities_are_enough() -> None:
    """As the unit grants them."""
    said = said_by(SETTLE, *with_capabilities(",+ipc_lock,+sys_nice"))

    assert said == ["True 0 0.0005", "rr other", ""]


@pytest.mark.parametrize(
    ("held", "locked", "policy", "missing"),
    [
        (",+ipc_lock", "True", "other", NEVER_REAL_TIME),
        (",+sys_nice", "False", "rr", "memory may be swapped out: Cannot allocate memory"),
    ],
)
def test_without_one_of_them_the_process_goes_on_and_says_so(
    held: str, locked: str, policy: str, missing: str
) -> None:
    said = said_by(SETTLE, *with_capabilities(held))

    assert said == [f"{locked} 0 0.0005", f"{policy} other", missing]


def test_what_lives_long_is_not_looked_at_by_the_collector_in_between() -> None:
    assert said_by(LONG_LIVED) == ["0"]
    by_default = LONG_LIVED.replace("process.collect_seldom()", "asyncio.sleep(0)")
    assert int(said_by(by_default)[0]) > 0
