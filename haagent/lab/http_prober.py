"""Asks a web server at one address, at a steady rate, over a new connection each time.

``python -m haagent.lab.http_prober ADDRESS`` writes one line for each request
(``haagent.lab.outcomes``): which HAProxy answered (header ``X-Served-By``) and which application
server stands behind it (the body).  Requests overlap, so a missing answer delays no other.
"""

import argparse
import asyncio
import errno
import time

from haagent.lab.outcomes import Outcome


async def probe(address: str, *, rate: float, timeout_s: float) -> None:
    """Ask ``rate`` times a second until the process ends."""
    loop = asyncio.get_running_loop()
    due, number = loop.time(), 0
    async with asyncio.TaskGroup() as requests:
        while True:
            requests.create_task(_report(number, address, timeout_s))
            number += 1
            due = max(due + 1 / rate, loop.time())
            await asyncio.sleep(due - loop.time())


async def _report(number: int, address: str, timeout_s: float) -> None:
    sent_ns = time.monotonic_ns()
    ok, who, detail = False, "", ""
    try:
        async with asyncio.timeout(timeout_s):
            ok, who, detail = _read(await _ask(address))
    except TimeoutError:
        detail = "timeout"
    except OSError as error:
        detail = errno.errorcode.get(error.errno or 0, type(error).__name__)
    ended_ns = time.monotonic_ns()
    outcome = Outcome(
        number=number, sent_ns=sent_ns, ended_ns=ended_ns, ok=ok, who=who, detail=detail
    )
    print(outcome.line(), end="", flush=True)


async def _ask(address: str) -> bytes:
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
        return await reader.read(-1)
    finally:
        writer.close()


def _read(response: bytes) -> tuple[bool, str, str]:
    """Return whether it is a 200, who served it, and the body or the status."""
    head, _, body = response.decode(errors="replace").partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    code = status.split(" ")[1] if " " in status else "closed"
    return code == "200", fields.get("x-served-by", ""), body if code == "200" else code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--timeout-ms", type=float, default=500.0)
    given = parser.parse_args()
    asyncio.run(probe(given.address, rate=given.rate, timeout_s=given.timeout_ms / 1000))
