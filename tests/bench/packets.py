"""What the fence costs each packet: small UDP requests with and without it, side by side.

Three hosts are asked in turn by one client that waits for each answer: one without a fence, one
at level bpf, one at level nft, its address open.  What is compared is the time that nine requests
in ten take longer than: medians are those of whoever else wants the processors.
"""

import json
import sys

from haagent.lab.agents import with_capabilities
from haagent.lab.topology import Lab
from tests.bench.tables import Table

_REQUESTS = 40
_BARE = "without"

_HOLDER = """
import sys, threading, time
from ipaddress import ip_address
from haagent.adapters.fence import Fence
address = ip_address(sys.argv[1])
fence = Fence({"eth0": frozenset({address})})
fence.install()
while True:
    fence.open("eth0", address, time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 30_000_000_000)
    print(fence.level.value, flush=True)
    threading.Event().wait(5)
"""

_ASKER = """
import json, socket, sys, time
requests, rounds, *addresses = sys.argv[1:]
spent = {address: [] for address in addresses}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    for _ in range(int(rounds)):
        for address in addresses:
            for _ in range(int(requests)):
                start = time.perf_counter_ns()
                s.sendto(b"1", (address, 7007))
                s.recv(64)
                spent[address].append(time.perf_counter_ns() - start)
print(json.dumps([sorted(each)[len(each) // 10] for each in spent.values()]))
"""


def measure(lab: Lab, rounds: int) -> Table:
    """Return the table after so many ``rounds``."""
    print(f"packets: {rounds} rounds", flush=True)
    rights = with_capabilities("net_admin", "net_raw")
    wrappers: dict[str, tuple[str, ...]] = {_BARE: (), "bpf": (), "nft": rights}
    addresses = {level: f"192.0.2.{number}" for number, level in enumerate(wrappers, 181)}
    for number, (level, wrapper) in enumerate(wrappers.items(), 71):
        host = lab.add_host(f"packets{number}", number)
        host.run("ip", "address", "add", f"{addresses[level]}/32", "dev", "eth0")
        host.start_module("responder", "haagent.lab.responder", level)
        if level != _BARE:
            command = (*wrapper, sys.executable, "-c", _HOLDER, addresses[level])
            holder = host.start("holder", *command)
            lab.wait_until(lambda: level in holder.log_text(), 10, f"level {level}")  # noqa: B023
    asker = lab.add_host("asker", 70)
    arguments = (str(_REQUESTS), str(rounds), *addresses.values())
    spent: list[int] = json.loads(asker.run(sys.executable, "-c", _ASKER, *arguments))
    return Table(
        title="The packet path",
        note=f"{_REQUESTS * rounds:,} small UDP requests each, one after the other, to an address "
        "without a fence and at each level, in microseconds: nine in ten take longer.  Every "
        "request passes the fence twice, in and out.",
        columns=("fence", "request", "change of the rate"),
        rows=tuple(
            (level, f"{each / 1000:.2f}", f"{spent[0] / each - 1:+.1%}")
            for level, each in zip(wrappers, spent, strict=True)
        ),
    )
