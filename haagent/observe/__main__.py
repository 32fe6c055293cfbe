"""The server's process: ``python -m haagent.observe [--login] ADDRESS:PORT...``, the agent on
descriptor 0.

It ends when the agent does, has no privilege, and is the first to be killed for want of memory.
An address that cannot be listened on is tried again every second: it may be a virtual one, or the
process before this one may not have ended yet.
"""

import asyncio
import logging
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from haagent.observe.agent import Agent
from haagent.observe.connections import Connections
from haagent.observe.exchange import LOGIN
from haagent.observe.server import Pages
from haagent.observe.steering import Steering
from haagent.observe.viewers import Viewers

RETRY_S = 1.0
MOST_MEMORY = 512 << 20
"""Bytes that may be written to: ten times of what is needed."""


def main() -> None:
    """See the module docstring."""
    # Chance decides which process the kernel would take, were it not for this.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    # What clients do wrong is told to them, and must not fill the journal.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    words = sys.argv[1:]
    endpoints = [_endpoint(word) for word in words if word != LOGIN]
    asyncio.run(_serve(endpoints, login=LOGIN in words))


async def _serve(endpoints: list[tuple[str, int]], *, login: bool) -> None:
    agent = Agent(*await asyncio.open_unix_connection(sock=socket.socket(fileno=0)))
    viewers = Viewers(agent)
    pages = Pages(agent, viewers.serve, Steering(agent) if login else None)
    runner = web.AppRunner(
        pages.application(),
        handle_signals=False,
        access_log=None,
        max_line_size=2048,
        max_field_size=4096,
        max_headers=64,
    )
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server, viewers.streams)
    pages.connections, pages.cut = lambda: connections.count, connections.cut
    working = [
        asyncio.create_task(connections.run()),
        asyncio.create_task(viewers.run()),
        *(asyncio.create_task(_listen(agent, connections, each)) for each in endpoints),
    ]
    # Not the tasks of clients: what the agent has left is over, whoever reads.
    ended = asyncio.create_task(agent.run())
    done, _ = await asyncio.wait([ended, *working], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _listen(agent: Agent, connections: Connections, endpoint: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    said = ""
    while True:
        try:
            server = await loop.create_server(connections, *endpoint)
        except OSError as error:
            trouble = f"cannot listen on {_shown(endpoint)}: {error.strerror or error}"
            if trouble != said:
                agent.tell("warning", trouble)
                said = trouble
            await asyncio.sleep(RETRY_S)
        else:
            agent.tell("info", f"listens on {_shown(endpoint)}")
            await server.serve_forever()


def _endpoint(word: str) -> tuple[str, int]:
    host, _, port = word.rpartition(":")
    return host.strip("[]"), int(port)


def _shown(endpoint: tuple[str, int]) -> str:
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    main()
