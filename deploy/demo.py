"""The demo: a real pair of load balancers in network namespaces, and what happens to it.

Started by ``./deploy/demo``.  It builds the laboratory's standard cluster from the example
files in ``conf/``, lets a client call the virtual address all the time, and then breaks
things one by one, measuring from outside: by the client's requests, never by the agent's word.

What it does not do: touch the network or the services of this machine.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from haagent.lab.agents import Agent
from haagent.lab.claims import leftovers, remove_leftovers
from haagent.lab.cluster import (
    VIP_IPV4,
    VIP_IPV6,
    Cluster,
    build,
    example,
    install_agents,
    start_services,
)
from haagent.lab.errors import LabError
from haagent.lab.nodes import Node, node_text
from haagent.lab.probes import Probes, probe_http
from haagent.lab.process import Process
from haagent.lab.topology import Lab

PREFIX = "demo"
REQUESTS_PER_S = 100
PAUSE_S = 3.0
"""After each step, for whoever reads along."""
REFRESH_S = 0.25
BACKEND = "app"
VIRTUAL = {VIP_IPV4, VIP_IPV6}
PID_FILE = "keeper.pid"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One step, as the client saw it."""

    step: str
    took_ms: float
    """From the fault to the first answer through the new master, or the longest pause."""
    limit_ms: float
    failed: int
    haproxy: str
    """What changed in the HAProxy of the host that is master now."""
    as_expected: bool


class Demo:
    """See the module docstring."""

    def __init__(self, console: Console, lab: Lab) -> None:
        self._console = console
        self._lab = lab
        self._results: list[Result] = []
        self._drawn_at = 0.0
        self._serving_since_ns = 0
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._say("building switch, lb1, lb2, app1, app2 and client in network namespaces")
        self._cluster: Cluster = build(lab)
        self._agents: dict[str, Agent] = install_agents(self._cluster, example("nodes"))
        key_file = self._agents["lb1"].key_file
        self._nodes = {
            name: Node(host, node_text(name, check="{http: 'http://127.0.0.1:8080/'}"), key_file)
            for name, host in self._cluster.apps.items()
        }
        self._watches: dict[str, Process] = {}
        self._probes: Probes = probe_http(self._cluster.client, VIP_IPV4, rate=REQUESTS_PER_S)

    def run(self) -> bool:
        """Show everything; return whether each step went as it should."""
        with self._live:
            self._start()
            self._host_dies()
            self._host_returns()
            self._agent_is_killed()
            self._app_server_dies()
            self._app_server_returns()
            self._agent_is_stopped()
        self._console.print(self._screen(), self._summary())
        return all(result.as_expected for result in self._results)

    def restore(self) -> None:
        """Have both agents running again, for whoever looks around."""
        self._agents["lb1"].start()
        self._lab.wait_until(lambda: self._answers_come_from("lb1"), 10, "lb1 is master again")

    # The steps.

    def _start(self) -> None:
        self._say("starting haagent on lb1 (priority 150) and lb2 (priority 100)")
        for agent in self._agents.values():
            agent.start()
        self._say("starting haagent node on app1 and app2, each with a key of its own")
        for node in self._nodes.values():
            node.start()
        self._serves("lb1")
        self._serving_since_ns = time.monotonic_ns()
        self._say(f"lb1 is master and holds {VIP_IPV4}: the client gets its answers through it")
        self._pause()

    def _host_dies(self) -> None:
        self._announce("(a) the host lb1 dies silently: the switch drops everything to and from it")
        before = self._servers("lb2")
        fault_ns = self._lab.faults.cut(self._cluster.balancers["lb1"]).since_ns
        self._taken_over("(a) host dies", fault_ns, before)

    def _host_returns(self) -> None:
        self._announce("(b) lb1 is back after a reboot; as the better one it asks for the address")
        self._cluster.balancers["lb1"].reboot()
        self._lab.faults.heal()
        start_services(self._cluster, "lb1")
        self._until(self._cluster.haproxies["lb1"].answers, 5, "HAProxy on lb1 runs again")
        before = self._servers("lb1")
        back_ns = time.monotonic_ns()
        self._agents["lb1"].start()
        self._serves("lb1")
        self._moved("(b) host returns", back_ns, "lb1", before)

    def _agent_is_killed(self) -> None:
        self._announce("(c) the agent on lb1 is killed with SIGKILL; its host and HAProxy live on")
        before = self._servers("lb2")
        fault_ns = self._agents["lb1"].process.kill()
        self._agents["lb1"].release()
        self._say("    haagent release was run on lb1, as systemd does it (ExecStopPost)")
        self._taken_over("(c) agent killed", fault_ns, before)
        self._say("    and lb1's agent is started again, as systemd does it too")
        self._agents["lb1"].start()
        self._serves("lb1")
        self._pause()

    def _app_server_dies(self) -> None:
        self._announce("(d) app2 dies: its web server and its haagent node are killed")
        before = self._servers("lb1")
        fault_ns = self._nodes["app2"].process.kill()
        self._web_server("app2").kill()
        took_ms = (self._on_both(lambda servers: "app2" not in servers) - fault_ns) / 1e6
        step = "(d) app server dies"
        self._finish(step, "lb1", before, since_ns=fault_ns, took_ms=took_ms, limit_ms=3300)

    def _app_server_returns(self) -> None:
        self._announce("(e) app2 is back, and begins with a tenth of its share of the requests")
        before = self._servers("lb1")
        app2 = self._cluster.apps["app2"]
        app2.start_module("webserver", "haagent.lab.webserver", "app2", "8080")
        started_ns = time.monotonic_ns()
        self._nodes["app2"].start()
        took_ms = (self._on_both(lambda servers: "app2" in servers) - started_ns) / 1e6
        step = "(e) app server returns"
        self._finish(step, "lb1", before, since_ns=started_ns, took_ms=took_ms, limit_ms=4000)

    def _agent_is_stopped(self) -> None:
        self._announce("(f) the agent on lb1 is stopped cleanly: it hands over first")
        before = self._servers("lb2")
        start_ns = time.monotonic_ns()
        self._agents["lb1"].process.stop()
        self._serves("lb2")
        self._moved("(f) clean stop", start_ns, "lb2", before)

    def _serves(self, master: str) -> None:
        """Wait until ``master`` answers the client, with the list that its file says."""
        self._until(lambda: self._answers_come_from(master), 10, f"{master} serves {VIP_IPV4}")
        wanted = {"app1", "app2", "spare"}
        self._until(lambda: self._servers(master) == wanted, 5, f"HAProxy on {master}: {wanted}")

    def _web_server(self, name: str) -> Process:
        processes = self._cluster.apps[name].processes
        return [each for each in processes if each.name.startswith("webserver")][-1]

    def _on_both(self, condition: Callable[[set[str]], bool]) -> int:
        """Wait until the HAProxy of each balancer is so; return the instant."""
        hosts = [*self._agents]
        self._until(
            lambda: all(condition(self._servers(name)) for name in hosts), 10, "both HAProxys"
        )
        return time.monotonic_ns()

    # What is measured, from outside.

    def _taken_over(self, step: str, fault_ns: int, before: set[str]) -> None:
        """An unplanned move to lb2: the time from the fault to its first answer."""
        took_ns = self._until(lambda: self._probes.gap_after(fault_ns, by="lb2"), 5, "lb2 answers")
        self._serves("lb2")
        self._finish(step, "lb2", before, since_ns=fault_ns, took_ms=took_ns / 1e6, limit_ms=1000)

    def _moved(self, step: str, start_ns: int, master: str, before: set[str]) -> None:
        """A planned move: the longest time in which no answer came, beyond the ordinary."""
        silence_ns = self._probes.longest_silence(start_ns)
        pause_ms = max(0.0, silence_ns / 1e6 - 1000 / REQUESTS_PER_S)
        self._finish(step, master, before, since_ns=start_ns, took_ms=pause_ms, limit_ms=100)

    def _finish(
        self,
        step: str,
        master: str,
        before: set[str],
        *,
        since_ns: int,
        took_ms: float,
        limit_ms: float,
    ) -> None:
        self._pause()
        failed = len(self._probes.failures(since_ns))
        change = _difference(before, self._servers(master))
        result = Result(
            step=step,
            took_ms=took_ms,
            limit_ms=limit_ms,
            failed=failed,
            haproxy=f"{master}: {change}",
            as_expected=took_ms <= limit_ms and self._answers_come_from(master),
        )
        self._results.append(result)
        self._say(
            f"    {took_ms:.0f} ms, {failed} failed requests, HAProxy on {result.haproxy}",
            style="green" if result.as_expected else "bold red",
        )

    def _answers_come_from(self, name: str) -> bool:
        changes = self._probes.changes(time.monotonic_ns() - 200_000_000)
        return bool(changes) and changes[-1].who == name

    def _servers(self, name: str) -> set[str]:
        haproxy = self._cluster.haproxies[name]
        return set(haproxy.servers(BACKEND)) if haproxy.answers() else set()

    def _until(self, condition: Callable[[], T | None], deadline_s: float, what: str) -> T:
        """Wait for ``condition`` with the picture kept alive."""
        return self._lab.wait_until(lambda: self._drawn(condition), deadline_s, what)

    def _drawn(self, condition: Callable[[], T | None]) -> T | None:
        if time.monotonic() - self._drawn_at >= REFRESH_S:
            self._drawn_at = time.monotonic()
            self._live.update(self._screen(), refresh=True)
        return condition()

    def _pause(self) -> None:
        end = time.monotonic() + PAUSE_S
        self._until(lambda: time.monotonic() >= end, PAUSE_S + 1, "a pause for reading")

    # What is shown.

    def _announce(self, text: str) -> None:
        self._console.print()
        self._say(text, style="bold")

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def _screen(self) -> Table:
        table = Table(title=self._client(), title_justify="left", expand=False)
        table.add_column("")
        columns = [self._column(name) for name in self._agents]
        for name in self._agents:
            table.add_column(name)
        labels = ("agent", "role", "addresses", "HAProxy servers")
        for label, *cells in zip(labels, *columns, strict=True):
            table.add_row(label, *cells)
        return table

    def _client(self) -> str:
        changes = self._probes.changes(time.monotonic_ns() - 500_000_000)
        through = changes[-1].who if changes else "nobody"
        failed = len(self._probes.failures(self._serving_since_ns))
        rate = self._probes.rate()
        return f"client: {rate:.0f} requests/s answered through {through}, {failed} failed so far"

    def _column(self, name: str) -> tuple[str, str, str, str]:
        held = {str(each.ip) for each in self._cluster.balancers[name].addresses()} & VIRTUAL
        running = self._agents[name].process.running
        haproxy = self._cluster.haproxies[name]
        servers = haproxy.servers(BACKEND) if haproxy.answers() else {}
        return (
            "running" if running else "not running",
            self._role(name) if running else "-",
            "\n".join(sorted(held)) or "-",
            "\n".join(f"{key} {servers[key].status}" for key in sorted(servers)) or "-",
        )

    def _role(self, name: str) -> str:
        """Return what the agent says of itself, from a ``haagent status --watch`` on its host."""
        watch = self._watches.get(name)
        if watch is None or not watch.running:
            self._watches[name] = self._agents[name].watch()
            return "-"
        reply = _last_line(watch.log)
        roles = (group["role"] for group in reply.get("groups", ()))
        return "\n".join(f"{role['state']}: {role['reason_text']}" for role in roles) or "-"

    def _summary(self) -> Table:
        table = Table(title="what the client saw", title_justify="left")
        for heading in ("step", "ms", "limit", "failed", "what changed in HAProxy", "as it should"):
            table.add_column(heading)
        for result in self._results:
            table.add_row(
                result.step,
                f"{result.took_ms:.0f}",
                f"{result.limit_ms:.0f}",
                str(result.failed),
                result.haproxy,
                "yes" if result.as_expected else "NO",
            )
        table.caption = (
            "ms: in (a) and (c) from the fault to the first answer through the new master,\n"
            "in (b) and (f) the longest pause between two answers, in (d) and (e) until both\n"
            "HAProxys have taken note.  failed: of 100 requests/s."
        )
        table.caption_justify = "left"
        return table


def _difference(before: set[str], after: set[str]) -> str:
    changes = [f"+{name}" for name in sorted(after - before)]
    changes += [f"-{name}" for name in sorted(before - after)]
    return " ".join(changes) or "unchanged"


def _last_line(log: Path) -> dict[str, Any]:
    """Return the newest whole line of a log of JSON lines; empty when there is none yet."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65536))
        lines = file.read().split(b"\n")[:-1]
    try:
        reply: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    except ValueError:  # Begins before what was read, or is an error message.
        return {}
    return reply


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./deploy/demo",
        description="Shows haagent at work: a pair of load balancers in network namespaces.",
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster up afterwards")
    parser.add_argument("--end", action="store_true", help="end a cluster that was kept")
    return parser.parse_args()


def _show(console: Console, kept: Callable[[bool], None] | None) -> bool:
    """Run the demo; with ``kept`` call it with the result, and stay until a signal ends us."""
    lab = Lab(PREFIX)
    if PREFIX in leftovers():
        remove_leftovers(PREFIX)
    elif lab.directory.exists():
        text = "a demo is running; one that was kept is ended by ./deploy/demo --end"
        raise LabError(text)
    with lab:
        (lab.directory / PID_FILE).write_text(str(os.getpid()))
        demo = Demo(console, lab)
        good = demo.run()
        if kept is not None:
            demo.restore()
            console.print(Text(_how_to_look_around(lab)), soft_wrap=True)
            kept(good)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return good


def _how_to_look_around(lab: Lab) -> str:
    haagent = Path(sys.executable).with_name("haagent")
    request = rf"exec 3<>/dev/tcp/{VIP_IPV4}/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3"
    return f"""
the cluster is left up.  Look around, as root:
  {haagent} top --socket {lab.directory}/lb1/control.sock
  {haagent} status --watch --socket {lab.directory}/lb1/control.sock
  ip netns exec {PREFIX}-lb2 ip address show eth0
  ip netns exec {PREFIX}-client bash -c "{request}"
  ls {lab.directory}/lb1        (configuration, logs, sockets)
end it with:
  ./deploy/demo --end"""


def _show_and_keep(console: Console) -> int:
    """Run the demo in a process of its own, which outlives this one and holds the cluster."""
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        os.setsid()

        def leave(good: bool) -> None:
            os.write(writing, b"\0" if good else b"\1")
            os.close(writing)
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)

        return 0 if _show(console, leave) else 1
    os.close(writing)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os.kill(keeper, received))
    result = os.read(reading, 1)
    if result:
        return result[0]
    return os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])


def _end_kept(console: Console) -> int:
    """End the cluster that ``--keep`` left, and wait until it is gone."""
    lab = Lab(PREFIX)
    try:
        keeper = int((lab.directory / PID_FILE).read_text())
    except FileNotFoundError:
        console.print("there is no cluster to end")
        return 0
    if PREFIX in leftovers():
        remove_leftovers(PREFIX)
    else:
        os.kill(keeper, signal.SIGTERM)
        lab.wait_until(lambda: not lab.directory.exists(), 20, "the cluster is gone")
    console.print("ended")
    return 0


def main() -> int:
    """Return the exit code: 0 only when every step went as it should."""
    arguments = _arguments()
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if arguments.end:
            return _end_kept(console)
        if arguments.keep:
            return _show_and_keep(console)
        return 0 if _show(console, None) else 1
    except (LabError, TimeoutError) as error:
        console.print(Text(f"demo: {error}", style="red"))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
