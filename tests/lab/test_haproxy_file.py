"""A configuration file of HAProxy beside the Runtime API: with real agents, under faults."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Event

import pytest

from haagent.control.client import AgentUnreachable, fetch_haproxy
from haagent.lab.cluster import example
from haagent.lab.haproxies import HAProxy
from tests.lab.conftest import Begin, Site

SECOND = 1_000_000_000
MARKS = "    # BEGIN haagent app\n    # END haagent\n"
FILE = """\
haproxy:
  file:
    path: {path}
    reload: {{master_socket: master.sock}}
"""
EVERYWHERE = {"app1", "app2", "lb1-local", "lb2-local"}
BACKENDS = "  backends:\n    app:\n      servers:\n"


def with_file(name: str, path: str = "haproxy.cfg") -> str:
    """Return the configuration of ``conf/by-role-*.yml`` with a file beside it."""
    return example("by-role")(name).replace("haproxy:\n", FILE.format(path=path), 1)


def with_servers(count: int) -> str:
    """Return the configuration of lb1 with so many servers."""
    head = with_file("lb1").partition(BACKENDS)[0]
    servers = (
        f'        - {{name: s{n}, address: "10.0.{n >> 8}.{n & 255}:80", check: false}}\n'
        for n in range(1, count + 1)
    )
    return f"{head}{BACKENDS}{''.join(servers)}"


def restart_with_master(site: Site, name: str) -> HAProxy:
    """Have HAProxy run with a master process and a marked section in its file."""
    haproxy = site.cluster.haproxies[name]
    haproxy.process.stop()
    haproxy.socket.unlink(missing_ok=True)
    with haproxy.configuration_file.open("a") as file:
        file.write(MARKS)
    haproxy.start("-W", "-S", str(haproxy.host.directory / "master.sock"))
    site.lab.wait_until(haproxy.answers, 10, "HAProxy answers")
    return haproxy


def worker(haproxy: HAProxy) -> int:
    found = re.search(r"^Pid: (\d+)", haproxy.ask("show info"), re.MULTILINE)
    assert found, "HAProxy answers"
    return int(found[1])


def in_file(path: Path) -> set[str]:
    return set(re.findall(r"^\s*server (\S+)", path.read_text(), re.MULTILINE))


def beside(haproxy: HAProxy) -> list[Path]:
    """The files that are there while the file is being changed."""
    return [*haproxy.host.directory.glob(".haproxy.cfg.haagent-*")]


@pytest.fixture
def site(begin: Begin) -> Iterator[Site]:
    """Agents that own a marked section of each HAProxy's file, and have written it."""
    site = begin(with_file)
    for name in site.agents:
        restart_with_master(site, name)
        site.agents[name].reload()
    site.lab.wait_until(lambda: all(map(partial(_is_written, site), site.agents)), 60, "files")
    yield site
    disk = site.cluster.balancers["lb1"].directory / "disk"
    subprocess.run(["umount", "--lazy", str(disk)], check=False, capture_output=True)


def _is_written(site: Site, name: str) -> bool:
    haproxy = site.cluster.haproxies[name]
    wanted = EVERYWHERE | {"spare"} if name == "lb1" else EVERYWHERE
    return in_file(haproxy.configuration_file) == wanted and not beside(haproxy)


def test_a_killed_haproxy_starts_with_the_servers_that_it_had(site: Site) -> None:
    haproxy = site.cluster.haproxies["lb1"]
    before = site.servers("lb1")
    for agent in site.agents.values():
        agent.process.kill()

    haproxy.process.kill()
    haproxy.start("-W", "-S", str(haproxy.host.directory / "master.sock"))
    site.lab.wait_until(haproxy.answers, 10, "HAProxy answers")

    assert site.servers("lb1") == before
    assert {"app1", "app2"} <= before


GARBAGE = """
import os, socket, sys
os.unlink(sys.argv[1])
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    print("listening", flush=True)
    while True:
        with listener.accept()[0] as one:
            one.sendall(os.urandom(5000))
"""


def spoil_file(site: Site) -> None:
    file = site.cluster.haproxies["lb1"].configuration_file
    file.write_text(file.read_text().replace("# END haagent", "# AND haagent"))


def spoil_keyword(site: Site) -> None:
    with site.cluster.haproxies["lb1"].configuration_file.open("a") as file:
        file.write("    unbalanced\n")


def fill_disk(site: Site) -> None:
    """Put the file on a disk of its own that is full, from a start of the agent on."""
    haproxy, agent = site.cluster.haproxies["lb1"], site.agents["lb1"]
    disk = haproxy.host.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=True)
    text = haproxy.configuration_file.read_bytes()
    (disk / "haproxy.cfg").write_bytes(text)
    # All but the page that the file is in.
    (disk / "filler").write_bytes(bytes(12288))
    agent.process.stop()
    agent.configure(with_file("lb1", "disk/haproxy.cfg"))
    agent.start()
    site.settle(lb1="master")


def stop_worker(site: Site) -> None:
    os.kill(worker(site.cluster.haproxies["lb1"]), signal.SIGSTOP)


def remove_socket(site: Site) -> None:
    site.cluster.haproxies["lb1"].socket.unlink()


def answer_garbage(site: Site) -> None:
    haproxy = site.cluster.haproxies["lb1"]
    host = haproxy.host
    garbage = host.start("garbage", sys.executable, "-c", GARBAGE, str(haproxy.socket))
    site.lab.wait_until(garbage.log_text, 10, "it listens")


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (spoil_file, "haproxy.file", "has no `# END haagent`"),
        (spoil_keyword, "haproxy.file", "unknown keyword 'unbalanced'"),
        (fill_disk, "haproxy.file", "No space left on device"),
        (stop_worker, "haproxy.trouble", "did not answer"),
        (remove_socket, "haproxy.trouble", "HAProxy is not running"),
        (answer_garbage, "haproxy.trouble", "HAProxy"),
    ],
)
def test_a_fault_of_haproxy_is_an_alarm_and_delays_no_heartbeat(
    site: Site, fault: Callable[[Site], None], kind: str, text: str
) -> None:
    haproxy, lb1 = site.cluster.haproxies["lb1"], site.cluster.balancers["lb1"]
    served = set(site.servers("lb1"))
    process = worker(haproxy)
    words = site.eavesdrop()

    fault(site)
    since = time.monotonic_ns()
    # Another set of servers, so that the file has to be written as well.
    site.agents["lb2"].process.stop()
    site.lab.wait_until(lambda: text in site.alarms("lb1").get(kind, ""), 30, f"alarm {kind}")
    site.lab.wait_until(lambda: len(words.heard("192.0.2.11", since)) > 15, 10, "heartbeats")

    beats = [at for at, _ in words.heard("192.0.2.11", since)]
    gaps = [(later - earlier) / 1e6 for earlier, later in pairwise(beats)]
    late = site.status("lb1").runtime.loop_lateness_ms
    print(f"{fault.__name__}: largest gap {max(gaps):.0f} ms, loop at most {late:.1f} ms late")
    assert max(gaps) < 400, "no heartbeat, due every 200 ms, is left out"
    assert lb1.holds("192.0.2.100")
    if kind == "haproxy.file":
        assert worker(haproxy) == process, "HAProxy has reloaded nothing"
        assert site.servers("lb1") == served - {"lb2-local"}, "the Runtime API goes on"
    elif fault is stop_worker:
        os.kill(process, signal.SIGCONT)
        site.lab.wait_until(lambda: "lb2-local" not in site.servers("lb1"), 10, "it goes on")


def test_an_agent_that_is_killed_at_any_point_of_a_change_leaves_a_whole_file(
    begin: Begin,
) -> None:
    """Twenty times: a list that grows or shrinks, and SIGKILL while it and the file change."""
    site = begin(with_file, balancers=1)
    haproxy, agent = restart_with_master(site, "lb1"), site.agents["lb1"]
    random = Random(20)
    file = haproxy.configuration_file
    cut_short, waits, starts = 0, [], []
    for turn in range(20):
        count = random.randrange(1, 300)
        wanted = {f"s{number}" for number in range(1, count + 1)}
        agent.configure(with_servers(count))
        subprocess.Popen(
            [sys.executable, "-m", "haagent", "reload", "--socket", str(agent.control_socket)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).wait()
        # The Runtime API is at work in the first tenth of a second, the file from 1 s on.
        Event().wait(random.choice([random.uniform(0, 0.1), random.uniform(0.9, 1.3)]))
        agent.process.kill()

        cut_short += bool(beside(haproxy))
        check = subprocess.run(["haproxy", "-c", "-f", str(file)], check=False, capture_output=True)
        assert check.returncode == 0, f"turn {turn}: {check.stderr.decode()}"
        assert file.read_text().endswith("    # END haagent\n"), f"turn {turn}: not whole"

        begun = time.monotonic_ns()
        agent.start()
        ready = site.lab.wait_until(lambda: _answers(site), 10, "the agent answers")
        assert ready
        answered = time.monotonic_ns()
        site.lab.wait_until(lambda wanted=wanted: site.servers("lb1") == wanted, 10, "the list")  # type: ignore[misc]
        waits.append((time.monotonic_ns() - answered) / SECOND)
        starts.append((time.monotonic_ns() - begun) / SECOND)
    print(
        f"right {max(waits):.3f} s at most after the agent answers, {max(starts):.3f} s after its "
        f"start; {cut_short} of 20 cut short in the file"
    )
    assert max(waits) < 1
    site.lab.wait_until(lambda: in_file(file) == wanted, 30, "the file has the last list")
    site.lab.wait_until(lambda: not beside(haproxy), 10, "it is proven")


def _answers(site: Site) -> bool:
    try:
        return fetch_haproxy(site.agents["lb1"].control_socket, 3).configured
    except AgentUnreachable:
        return False
