"""How long HAProxy takes to have a long list: by the Runtime API, and by a file and a reload.

In one run, on the same HAProxy and the same lists.  The naive way is what a script does that
writes haproxy.cfg and reloads; it is given the master socket, which is the fastest way to reload.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from haagent.lab.topology import Lab
from tests.bench.tables import MS, Table

COUNTS = (1_000, 10_000)
_PATIENCE_S = 60
_CONFIG = """\
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
"""

Names = list[tuple[str, str]]
"""Name and address of each server."""


def changes(count: int) -> dict[str, Names]:
    """Return the lists that are wanted one after the other, by what changes."""
    full = [(f"s{n}", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(1, count + 1)]
    without = [*full[: count // 2], *full[count // 2 + 1 :]]
    return {
        "all added": full,
        "one dead": without,
        "one back": full,
        "all weights": full,
        "all removed": [],
    }


def measure(lab: Lab, idle_s: float) -> Table:
    """Return the table; nothing changes for ``idle_s`` once the list is there."""
    home, rows = lab.directory, []
    for count in COUNTS:
        print(f"haproxy: {count} servers", flush=True)
        with _haproxy(home):
            given = (str(home / "stats.sock"), str(count), str(idle_s))
            words = (sys.executable, "-m", "tests.bench.haproxy_client", *given)
            done = subprocess.run(words, check=True, capture_output=True, text=True)
        with _haproxy(home):
            naive = _reloads(home, count)
        rows += [_row(count, each, naive) for each in json.loads(done.stdout)]
    return Table(
        title="Long lists of servers",
        note="Until HAProxy was seen to have the whole list, in s: through the Runtime API, as the "
        "agent does it, and by a script that writes the whole file and reloads.  Late: of a "
        "loop that has something to do every 10 ms, in the process that talks to the Runtime "
        "API, in ms.  CPU: of that process, in % of one core.  Every reload also leaves an old "
        "HAProxy behind, for as long as it has connections, and forgets health and statistics.",
        columns=("change", "Runtime API", "late, p99", "late, max", "CPU", "file and reload"),
        rows=tuple(rows),
    )


def _row(count: int, told: dict[str, object], naive: dict[str, float]) -> tuple[str, ...]:
    what, seconds, cpu, late = told["what"], told["s"], told["cpu_s"], told["late_ns"]
    assert isinstance(what, str)
    assert isinstance(seconds, float)
    assert isinstance(cpu, float)
    assert isinstance(late, list)
    p99 = quantiles(late, n=100)[98] if len(late) > 100 else max(late)
    idle = what == "nothing changes"
    return (
        f"{count:,}: {what}",
        "" if idle else f"{seconds:.3f}",
        f"{p99 / MS:.1f}",
        f"{max(late) / MS:.1f}",
        f"{100 * cpu / seconds:.1f}" if seconds > 0.5 else "",
        f"{naive[what]:.3f}" if what in naive else "",
    )


def _reloads(home: Path, count: int) -> dict[str, float]:
    taken = {}
    for what, servers in changes(count).items():
        # The master refuses connections for a moment after each start.
        _wait(lambda: "worker" in _ask(home / "master.sock", "show proc;quit"))
        before = _pid(home)
        begun = time.monotonic()
        weight = 50 if what == "all weights" else 100
        lines = (f"    server {name} {address}:80 weight {weight}\n" for name, address in servers)
        (home / "haproxy.cfg").write_text(_CONFIG.format(home=home) + "".join(lines))
        _ask(home / "master.sock", "reload")
        _wait(lambda before=before: _pid(home) not in ("", before))  # type: ignore[misc]
        state = _ask(home / "stats.sock", "show servers state app").splitlines()
        assert len([row for row in state[2:] if row]) == len(servers)
        taken[what] = time.monotonic() - begun
    return taken


@contextmanager
def _haproxy(home: Path) -> Iterator[None]:
    file = home / "haproxy.cfg"
    file.write_text(_CONFIG.format(home=home))
    words = ("haproxy", "-W", "-db", "-S", str(home / "master.sock"), "-f", str(file))
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: bool(_pid(home)))
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        for name in ("stats.sock", "master.sock"):
            (home / name).unlink(missing_ok=True)


def _pid(home: Path) -> str:
    found = re.search(r"^Pid: (\d+)", _ask(home / "stats.sock", "show info"), re.MULTILINE)
    return found[1] if found else ""


def _ask(path: Path, command: str) -> str:
    """Return the answer; none while HAProxy does not run."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(str(path))
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
        except OSError:
            return ""


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "HAProxy is not there"
