"""``python -m tests.bench.haproxy_client SOCKET COUNT IDLE``: a long list through the Runtime API.

Runs the adapters of the agent in a loop that has something to do every 10 ms, in a process that is
settled as the agent's is, and prints for each change how long HAProxy took to have it, and how late
the loop was meanwhile, as JSON.
"""

import asyncio
import gc
import json
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address

from haagent.adapters import clock, process
from haagent.adapters.haproxy.runtime import HAProxyRuntime
from haagent.adapters.haproxy.traffic import HAProxyTraffic
from haagent.control.reply import MOST_SERVERS
from haagent.core.actions import Backend, Server
from haagent.core.events import BackendsObserved, Event
from haagent.core.units import MonoNs, later, milliseconds
from tests.bench.haproxy_lists import changes

BEAT = milliseconds(10)


class Beats:
    """How late each of the beats was."""

    def __init__(self) -> None:
        self.late_ns: list[int] = []
        self._due = MonoNs(0)
        self._alarm = clock.Alarm(self._beat)
        self.start()

    def start(self) -> None:
        self.late_ns = []
        self._due = later(clock.now().mono, BEAT)
        self._alarm.set(self._due)

    def _beat(self) -> None:
        now = clock.now().mono
        self.late_ns.append(now - self._due)
        self._due = later(now, BEAT)
        self._alarm.set(self._due)


class Runtime:
    """The adapters, and what the one has seen last."""

    def __init__(self, socket: str) -> None:
        self._seen: BackendsObserved | None = None
        self._arrived = asyncio.Event()
        self.adapter = HAProxyRuntime(socket, self._post)
        self.traffic = HAProxyTraffic(socket, MOST_SERVERS)

    def _post(self, event: Event) -> None:
        assert isinstance(event, BackendsObserved)
        self._seen = event
        self._arrived.set()

    async def want(self, backends: tuple[Backend, ...]) -> None:
        """Return when HAProxy has been seen to have just this."""
        good = BackendsObserved(reachable=True, backends=backends, trouble="")
        self.adapter.want(backends)
        self.traffic.want(backends)
        while self._seen != good:
            self._arrived.clear()
            await self._arrived.wait()


async def main(socket: str, count: int, idle_s: float) -> list[dict[str, object]]:
    """Return a row for each change, and one for the time in which nothing changes."""
    runtime, beats = Runtime(socket), Beats()
    running = asyncio.gather(runtime.adapter.run(), runtime.traffic.run())
    rows: list[dict[str, object]] = []

    def row(what: str, begun: float, spent: float) -> None:
        late = beats.late_ns or [0]
        rows.append(
            {
                "what": what,
                "s": time.monotonic() - begun,
                "cpu_s": time.process_time() - spent,
                "late_ns": late,
            }
        )

    servers = [
        Server(name=name, address=IPv4Address(address), port=80, weight=100, check=False)
        for name, address in changes(count)["all added"]
    ]
    gc.freeze()
    for what, names in changes(count).items():
        chosen = dict(names)
        weight = 50 if what == "all weights" else 100
        list_ = tuple(replace(each, weight=weight) for each in servers if each.name in chosen)
        beats.start()
        begun, spent = time.monotonic(), time.process_time()
        await runtime.want((Backend("app", list_),))
        row(what, begun, spent)
        if what == "all weights":
            beats.start()
            begun, spent = time.monotonic(), time.process_time()
            await asyncio.sleep(idle_s)
            row("nothing changes", begun, spent)
    running.cancel()
    return rows


if __name__ == "__main__":
    process.settle()
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))))
