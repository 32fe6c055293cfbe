"""Named network namespaces: what a host and a switch need of them.

Nothing here forks: pyroute2 would, to make a namespace and to open a socket in one, and a fork
of a process with threads (gRPC's, say) may hang, or run the caller's signal handlers twice.

What this module does not do: know whose a namespace is (``haagent.lab.claims``).
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pyroute2 import IPRoute, netns

from haagent.lab.errors import LabError

T = TypeVar("T")

NETNS_DIRECTORY = Path("/run/netns")


def make_namespace(namespace: str) -> None:
    """Make ``namespace``.  Raises: LabError."""
    run("ip", "netns", "add", namespace)


def configure(namespace: str, change: Callable[[IPRoute], T]) -> T:
    """Return what ``change`` returns when it is called with a netlink socket of ``namespace``.

    It runs in a thread of its own, which alone enters the namespace.
    """

    def enter_and_change() -> T:
        netns.setns(namespace)
        with IPRoute() as ip:
            return change(ip)

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(enter_and_change).result()


def write_sysctls(namespace: str, settings: Mapping[str, int]) -> None:
    """Write ``settings`` (paths under /proc/sys/net) inside ``namespace``."""
    script = "\n".join(f"echo {value} > /proc/sys/net/{key}" for key, value in settings.items())
    run("ip", "netns", "exec", namespace, "sh", "-ec", script)


def end_namespace(namespace: str) -> None:
    """Kill every process in ``namespace`` and remove it; nothing happens when there is none."""
    if not (NETNS_DIRECTORY / namespace).exists():
        return
    end = time.monotonic() + 5
    pause = threading.Event()
    while pids := _pids_in(namespace):
        if time.monotonic() > end:
            text = f"processes {pids} in {namespace} do not end"
            raise LabError(text)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pause.wait(0.001)
    netns.remove(namespace)


def run(*command: str) -> str:
    """Return the standard output of ``command``.

    Raises: LabError when it fails.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        text = f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}"
        raise LabError(text)
    return done.stdout


def _pids_in(namespace: str) -> list[int]:
    """Return the processes in ``namespace`` without the caller, who may be a test inside it."""
    wanted = (NETNS_DIRECTORY / namespace).stat()
    found = []
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):  # It ended while we looked.
            if os.path.samestat(wanted, Path(f"/proc/{pid}/ns/net").stat()):
                found.append(pid)
    return [pid for pid in found if pid != os.getpid()]
