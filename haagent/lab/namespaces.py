"""Named network namespaces: what a host and a switch need of them.

What this module does not do: make one (``pyroute2.netns.create``), or know whose it is
(``haagent.lab.claims``).
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyroute2 import netns

from haagent.lab.errors import LabError

NETNS_DIRECTORY = Path("/run/netns")


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
