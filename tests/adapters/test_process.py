"""The process settles where it may, and says what it may not; each in a process of its own."""

import os
import subprocess
import sys

import pytest

SETTLE = """
import os, resource, sys, threading
from haagent.adapters.process import settle

refused = settle()
policy = os.sched_getscheduler(0)
found = []
look = lambda: found.append(os.sched_getscheduler(threading.get_native_id()))
thread = threading.Thread(target=look)
thread.start()
thread.join()
locked = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck"))
print(policy & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR, found[0] == os.SCHED_OTHER, int(locked) > 0)
print(resource.getrlimit(resource.RLIMIT_CORE)[0], sys.getswitchinterval())
print("; ".join(refused))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have or drop privileges")


def settled(*wrapper: str) -> list[str]:
    command = [*wrapper, sys.executable, "-c", SETTLE]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_the_loop_is_real_time_its_threads_are_not_and_memory_is_locked() -> None:
    assert settled()[0] == "True True True"


def test_no_core_is_dumped_and_threads_yield_soon() -> None:
    assert settled()[1] == "0 0.0005"


def test_two_capabilities_are_enough() -> None:
    """As the unit grants them."""
    capabilities = "=-all,+sys_nice,+ipc_lock"
    wrapper = ("setpriv", "--bounding-set" + capabilities, "--inh-caps" + capabilities)
    wrapper += ("--ambient-caps" + capabilities, "--securebits=+noroot")

    assert settled(*wrapper)[0] == "True True True"


def test_without_privilege_and_limits_it_goes_on_and_says_so() -> None:
    plain = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot")
    limits = ("prlimit", "--rtprio=0", "--memlock=65536")

    assert settled(*limits, *plain)[2] == (
        "no real-time scheduling: Operation not permitted; "
        "no memory that is never swapped out: Cannot allocate memory"
    )
