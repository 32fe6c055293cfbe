"""What it costs an agent to hear app nodes, up to the event that the core gets.

A process that does nothing else hears a fleet on another host, once a second each, through real
sockets, the wire format and the counting of what is refused.
"""

import json
import sys
import timeit
from pathlib import Path

from haagent.config import new_key, read_key
from haagent.lab.host import Host
from haagent.lab.topology import Lab
from haagent.wire.node import AgentEnd
from tests.bench.fleet_sender import NETWORK, Node
from tests.bench.tables import Table

_SIZES = (0, 100, 1000, 10_000)
_WARM_S = 2.0
_TRIES = 20_000

_HEARER = """
import asyncio, gc, json, sys, time
from pathlib import Path
from haagent.adapters import clock
from haagent.config import read_key
from haagent.core.settings import AgentSettings, HeartbeatSettings, NodesSettings, PathSettings
from haagent.core.units import MonoNs
from haagent.runtime.discards import Discards
from haagent.runtime.fleet import Fleet

INTERVAL = 20_000_000
key_file, warm_s, seconds = sys.argv[1:]
heartbeat = HeartbeatSettings(paths=(PathSettings(interface="eth0"),))
settings = AgentSettings(
    node="lb1", cluster="shop", heartbeat=heartbeat, groups=(), nodes=NodesSettings()
)
events, late, due = [], [], clock.now().mono

def note(event):
    events.append(len(event.heard))

def beat():
    global due
    late.append(clock.now().mono - due)
    due += INTERVAL
    alarm.set(MonoNs(due))

async def main():
    global alarm, due
    discards = Discards(lambda event: None)
    hearing = asyncio.create_task(Fleet(settings, read_key(Path(key_file)), discards, note).run())
    alarm = clock.Alarm(beat)
    due = clock.now().mono + INTERVAL
    alarm.set(MonoNs(due))
    print("ready", flush=True)
    await asyncio.sleep(float(warm_s))
    gc.freeze()
    events.clear()
    late.clear()
    spent, began = time.process_time(), time.monotonic()
    await asyncio.sleep(float(seconds))
    spent, took = time.process_time() - spent, time.monotonic() - began
    late.sort()
    print(json.dumps({
        "cpu": spent / took, "heard": sum(events), "events": len(events), "seconds": took,
        "late_ns": [late[len(late) // 2], late[int(len(late) * 0.999)], late[-1]],
    }), flush=True)

asyncio.run(main())
"""


def measure(lab: Lab, seconds: float) -> Table:
    """Return the table; each size of fleet is heard for ``seconds``."""
    key_file = lab.directory / "cluster.key"
    key_file.write_text(new_key())
    key_file.chmod(0o600)
    hearer, fleet = lab.add_host("hearer", 81), lab.add_host("fleet", 82)
    fleet.run("ip", "route", "add", "local", NETWORK, "dev", "lo")
    hearer.run("ip", "route", "add", NETWORK, "via", "192.0.2.82")
    each_us = _decode_us(key_file)
    return Table(
        title="Hearing app nodes",
        note=f"App nodes on another host, one heartbeat a second each, for {seconds:g} s, and what "
        "a process uses of one processor that hears them, up to the event for the agent's core.  "
        "Late is a timer of 20 ms in the same loop, as a heartbeat to a peer would be: median, "
        f"p99.9 and greatest, in ms.  To check and read one alone takes {each_us:.1f} us.",
        columns=("nodes", "sent/s", "heard/s", "events/s", "CPU", "us each", "late, ms"),
        rows=tuple(_heard(lab, (hearer, fleet), key_file, size, seconds) for size in _SIZES),
    )


def _heard(
    lab: Lab, hosts: tuple[Host, Host], key_file: Path, size: int, seconds: float
) -> tuple[str, ...]:
    hearer, fleet = hosts
    print(f"fleet: {size} nodes", flush=True)
    command = (sys.executable, "-c", _HEARER, str(key_file), str(_WARM_S), str(seconds))
    hearing = hearer.start(f"hearer{size}", *command)
    lab.wait_until(lambda: "ready" in hearing.log_text(), 10, "the hearer is ready")
    lasting = str(_WARM_S + seconds + 1)
    words = (str(key_file), "shop", "192.0.2.81", str(size or 1), lasting if size else "0")
    sending = fleet.start_module(f"fleet{size}", "tests.bench.fleet_sender", *words)
    lab.wait_until(lambda: "}" in hearing.log_text(), seconds + 30, "the hearer is done")
    lab.wait_until(lambda: len(sending.log_text().split()) > 1, 30, "the fleet is done")
    told = json.loads(hearing.log_text().splitlines()[-1])
    sent = int(sending.log_text().split()[-1]) / float(lasting)
    rate = told["heard"] / told["seconds"]
    return (
        f"{size:,}",
        f"{sent:,.0f}",
        f"{rate:,.0f}",
        f"{told['events'] / told['seconds']:.0f}",
        f"{told['cpu']:.2%}",
        f"{told['cpu'] / rate * 1e6:.1f}" if rate else "",
        " / ".join(f"{each / 1e6:.2f}" for each in told["late_ns"]),
    )


def _decode_us(key_file: Path) -> float:
    key = read_key(key_file)
    agent, payload = AgentEnd(key, "shop"), Node(1, key, "shop").next()
    return min(timeit.repeat(lambda: agent.decode(payload), number=_TRIES)) / _TRIES * 1e6
