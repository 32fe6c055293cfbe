"""The page and its stream, asked of the server's process as browsers do."""

import asyncio
import json
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from haagent.observe.connections import LIFETIME_S
from haagent.observe.viewers import MOST, NEWEST
from tests.adapters.conftest import in_loop, until
from tests.adapters.test_observer import World, connected, serving

STREAM = b"GET /api/v1/stream HTTP/1.1\r\nHost: a\r\n\r\n"
RECORDS = [{"number": number, "text": "lb1 is heard"} for number in range(NEWEST + 7)]


def status(**changed: Any) -> bytes:
    """What the agent answers, with as much as the server looks at."""
    told = {"time": "", "node": "lb1", "boot_id": "a", "state": "backup", "records": RECORDS}
    return json.dumps(told | changed, indent=2).encode()


@dataclass
class Viewer:
    """A browser that has opened the stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def come(cls, world: World) -> "Viewer":
        viewer = cls(*await asyncio.open_connection("127.0.0.1", world.port, limit=1 << 20))
        viewer.writer.write(STREAM)
        return viewer

    async def head(self) -> str:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()

    async def next(self, name: str) -> Any:
        """Return the next event of this kind."""
        async with asyncio.timeout(20):
            while True:
                # Each event is a chunk of the answer: its length, an event, an empty line.
                if await self.reader.readline() == f"event: {name}\n".encode():
                    return json.loads((await self.reader.readline()).removeprefix(b"data: "))

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@in_loop
async def test_a_viewer_gets_everything_at_once_and_then_what_has_changed() -> None:
    async with serving() as (world, _):
        world.status = status()
        viewer = await Viewer.come(world)

        assert "Content-Type: text/event-stream" in await viewer.head()
        records = {"node": "lb1", "boot_id": "a", "records": RECORDS[-NEWEST:]}
        assert await viewer.next("records") == records
        known = {"time": "", "node": "lb1", "boot_id": "a", "state": "backup"}
        assert await viewer.next("status") == known
        world.status = status(state="master")
        changed = known
        while changed["state"] != "master":
            changed = await viewer.next("status")
        assert changed == known | {"state": "master"}
        await viewer.leave()


@in_loop
async def test_who_comes_later_need_not_wait_for_a_change() -> None:
    async with serving() as (world, _):
        world.status = status()
        first, second = await Viewer.come(world), await Viewer.come(world)

        for viewer in (first, second):
            assert (await viewer.next("status"))["node"] == "lb1"
            await viewer.leave()


@in_loop
async def test_fifty_viewers_ask_the_agent_no_more_often_than_one_and_nobody_not_at_all() -> None:
    async with serving() as (world, _):
        world.status = status()
        began_s = time.monotonic()
        viewers = [await Viewer.come(world) for _ in range(50)]
        for viewer in viewers:
            for _ in range(3):
                await viewer.next("status")

        assert world.asked <= 2 + (time.monotonic() - began_s) / 0.2
        for viewer in viewers:
            await viewer.leave()

        async def none_asked() -> bool:
            asked = world.asked
            await asyncio.sleep(1.5)  # in which one viewer would have it asked seven times
            return world.asked == asked

        async with asyncio.timeout(20):
            while not await none_asked():
                pass


@in_loop
async def test_one_viewer_too_many_is_told_so_and_has_a_place_when_another_leaves() -> None:
    async with serving() as (world, _):
        world.status = status()
        viewers = [await Viewer.come(world) for _ in range(MOST)]
        for viewer in viewers:
            assert (await viewer.head()).startswith("HTTP/1.1 200")

        assert await world.get("/api/v1/stream") == (503, f"{MOST} others watch already\n")
        assert (await world.get("/healthz"))[0] == 200
        await viewers.pop().leave()

        async with asyncio.timeout(20):
            answer = "HTTP/1.1 503"
            while answer.startswith("HTTP/1.1 503"):
                viewers.append(await Viewer.come(world))
                answer = await viewers[-1].head()
        assert answer.startswith("HTTP/1.1 200")
        for viewer in viewers:
            await viewer.leave()


@in_loop
async def test_who_reads_stays_and_who_does_not_is_cut_off() -> None:
    """Also while a crowd comes that only holds connections."""
    async with serving() as (world, _):
        world.status = status(text="x" * 200_000)
        reading = await Viewer.come(world)
        await reading.next("status")
        deaf = connected(world.port)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(STREAM)
        crowd = [connected(world.port) for _ in range(200)]
        began_s = time.monotonic()

        while time.monotonic() - began_s < LIFETIME_S + 3:
            await reading.next("status")

        _, metrics = await world.get("/metrics")
        assert re.search(r'haagent_http_connections_cut_total\{reason="crowded"\} [1-9]', metrics)
        for one in crowd:
            one.close()
        await until(lambda: deaf.getsockname()[1] not in ports_of(world.child()))
        deaf.close()
        await reading.leave()


def ports_of(server: psutil.Process) -> set[int]:
    """The other ends of its connections.  Who does not read may not have heard of its end."""
    return {each.raddr.port for each in server.net_connections() if each.raddr}


@in_loop
async def test_viewers_are_told_that_the_agent_hangs_and_see_when_it_goes_on() -> None:
    async with serving() as (world, _):
        world.status = status()
        viewer = await Viewer.come(world)
        await viewer.next("status")

        world.stuck = threading.Event()

        assert await viewer.next("silent") == "the agent has not answered for 5 s"
        world.stuck.set()
        assert (await viewer.next("status"))["node"] == "lb1"
        await viewer.leave()


# The page.

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@in_loop
async def test_the_page_has_all_its_parts_and_needs_nothing_from_elsewhere() -> None:
    async with serving() as (world, _):
        head, text = await world.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert f"Content-Type: {TYPES['html']}" in head
        assert "Content-Security-Policy: default-src 'none'; script-src 'self';" in head
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=|//", text)

        wanted, seen = set(re.findall(r'"page/([^"]+)"', text)), set[str]()
        while wanted - seen:
            name = (wanted - seen).pop()
            head, text = await world.send(f"GET /page/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert head.startswith("HTTP/1.1 200"), name
            assert f"Content-Type: {TYPES[name.rpartition('.')[2]]}" in head
            assert "https:" not in text
            seen.add(name)
            wanted |= set(re.findall(r'from "\./([^"]+)"', text))
        assert len(seen) > 5


@pytest.mark.parametrize("path", ["/page/", "/page/none.js", "/page/../server.py", "/page/%2e%2e"])
def test_there_is_nothing_else_beside_the_page(path: str) -> None:
    @in_loop
    async def missing() -> None:
        async with serving() as (world, _):
            assert await world.get(path) == (404, "Not Found\n")

    missing()
