"""How long the commands take, and the daemon until it is ready and until the address answers."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from haagent.lab.cluster import VIP_IPV4, Cluster
from haagent.lab.host import Host
from haagent.lab.probes import probe_udp
from haagent.lab.topology import Lab
from tests.bench.contenders import Contender, Haagent, Keepalived
from tests.bench.footprint import cpu_ns
from tests.bench.tables import MS, Table, median_and_maximum

_ROOT = Path(__file__).parents[2]

Spent = tuple[int, int]
"""Wall time and processor time of all processes, in nanoseconds."""


def measure(
    lab: Lab, cluster: Cluster, haagent: Haagent, keepalived: Keepalived, runs: int
) -> Table:
    """Return the table after ``runs`` of everything."""
    measured = {
        **_commands(lab, cluster.balancers["lb1"], haagent, runs),
        "haagent run until READY=1": _repeat(lambda: _until_ready(lab, haagent), runs),
        "haagent run until the address answers": _repeat(
            lambda: _until_answer(lab, cluster, haagent), runs
        ),
        "keepalived until the address answers": _repeat(
            lambda: _until_answer(lab, cluster, keepalived), runs
        ),
    }
    return Table(
        title="Commands and start",
        note=f"Milliseconds of wall and of processor time, median / maximum over {runs} runs.  The "
        "address is awaited on a network without another agent, where haagent first listens for "
        "1 s.",
        columns=("what", "wall", "CPU"),
        rows=tuple(
            (
                what,
                *(
                    median_and_maximum([one / MS for one in kind])
                    for kind in zip(*spent, strict=True)
                ),
            )
            for what, spent in measured.items()
        ),
    )


def _commands(lab: Lab, balancer: Host, haagent: Haagent, runs: int) -> dict[str, list[Spent]]:
    control = haagent.agent.control_socket
    status = ("status", "--socket", str(control))
    commands = {
        "haagent version": ("version",),
        "haagent check conf/haagent.yml": ("check", str(_ROOT / "conf/haagent.yml")),
        "haagent status": status,
        "haagent status --json": (*status, "--json"),
    }
    haagent.start()
    lab.wait_until(lambda: balancer.holds(VIP_IPV4), 10, "lb1 holds the address")
    times = {
        what: _repeat(lambda command=command: _run(command), runs)  # type: ignore[misc]
        for what, command in commands.items()
    }
    haagent.stop()
    return times


def _repeat(once: Callable[[], Spent], runs: int) -> list[Spent]:
    return [once() for _ in range(runs)]


def _run(arguments: tuple[str, ...]) -> Spent:
    command = [str(Path(sys.executable).with_name("haagent")), *arguments]
    before, start = _of_children_ns(), time.monotonic_ns()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic_ns() - start, _of_children_ns() - before


def _of_children_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)


def _until_ready(lab: Lab, haagent: Haagent) -> Spent:
    path = lab.directory / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        start = haagent.start({"NOTIFY_SOCKET": str(path)})
        while b"READY=1" not in manager.recv(4096):
            pass
        spent = time.monotonic_ns() - start, cpu_ns(haagent.pids())
        haagent.stop()
    path.unlink()
    return spent


def _until_answer(lab: Lab, cluster: Cluster, contender: Contender) -> Spent:
    probes = probe_udp(cluster.client, VIP_IPV4)
    lab.wait_until(probes.outcomes, 10, "the prober asks")
    start = contender.start()
    wall = lab.wait_until(lambda: probes.gap_after(start), 10, "an answer")
    spent = wall, cpu_ns(contender.pids())
    contender.stop()
    probes.process.kill()
    return spent
