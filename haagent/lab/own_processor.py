"""Gives a host of the laboratory a processor of its own to look at.

All hosts share the machine's processors, so each would find itself as busy as the others.
``python -m haagent.lab.own_processor DIRECTORY`` writes there, ten times a second, what
``/proc/stat`` and ``/proc/loadavg`` would say on a server with one processor that runs what this
network namespace runs; :func:`own_processor` says how a program is started that finds these in
their place.

Source: proc(5).
"""

import argparse
import asyncio
import math
import os
import time
from pathlib import Path

from haagent.lab.host import Host
from haagent.lab.topology import Lab

FILES = ("stat", "loadavg")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_INTERVAL_S = 0.1
_MINUTE_S = 60


def own_processor(lab: Lab, host: Host) -> tuple[str, ...]:
    """Give ``host`` one; return what executes a command that is to find it."""
    files = [host.directory / name for name in FILES]
    for file in files:
        file.touch()
    host.start_module("processor", "haagent.lab.own_processor", str(host.directory))
    lab.wait_until(lambda: all(file.read_text() for file in files), 10, "a processor of its own")
    mounts = (f"mount --bind {file} /proc/{file.name}" for file in files)
    return ("unshare", "--mount", "sh", "-c", " && ".join([*mounts, 'exec "$@"']), "sh")


class OwnProcessor:
    """Counts what the processes of this network namespace use."""

    def __init__(self, directory: Path) -> None:
        self._files = [directory / name for name in FILES]
        self._namespace = Path("/proc/self/ns/net").readlink()
        self._began = time.monotonic()
        self._before: dict[int, int] = {}
        self._busy = self._idle = 0
        self._load = 0.0

    def update(self) -> None:
        """Write how long it was busy and idle since the beginning, and how many want to run."""
        processes = dict(self._processes())
        for pid, (_, ticks) in processes.items():
            self._busy += max(0, ticks - self._before.get(pid, 0))
        self._before = {pid: ticks for pid, (_, ticks) in processes.items()}
        elapsed = int((time.monotonic() - self._began) * _TICKS_PER_S)
        # What needs two processors keeps this one busy, and no count of it ever falls.
        self._idle = max(self._idle, elapsed - self._busy)
        running = sum(state == "R" for state, _ in processes.values())
        self._load += (running - self._load) * -math.expm1(-_INTERVAL_S / _MINUTE_S)
        times = f"{self._busy} 0 0 {self._idle} 0 0 0 0 0 0"
        texts = f"cpu  {times}\ncpu0 {times}\n", f"{self._load:.2f} 0.00 0.00 1/1 1\n"
        for file, text in zip(self._files, texts, strict=True):
            # In place, for it is mounted elsewhere; in one write, and seldom shorter than before.
            with file.open("r+") as stream:
                stream.write(text)

    def _processes(self) -> list[tuple[int, tuple[str, int]]]:
        """Return state and ticks of each process of the namespace but this one."""
        found = []
        for directory in Path("/proc").iterdir():
            if not directory.name.isdigit() or int(directory.name) == os.getpid():
                continue
            try:
                if (directory / "ns/net").readlink() == self._namespace:
                    found.append((int(directory.name), _state(directory)))
            except OSError:
                continue  # it has ended
        return found


def _state(process: Path) -> tuple[str, int]:
    """Return the state of ``process``, and the processor time that it has used, in ticks."""
    # Its name, in parentheses, may hold anything.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])


async def _keep_writing(directory: Path) -> None:
    processor = OwnProcessor(directory)
    while True:
        processor.update()
        await asyncio.sleep(_INTERVAL_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    asyncio.run(_keep_writing(parser.parse_args().directory))
