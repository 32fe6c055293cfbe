"""What the servers of a real HAProxy do, as it tells, and nothing while it does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from haagent.adapters.haproxy.exchange import first_lines
from haagent.adapters.haproxy.traffic import HAProxyTraffic
from haagent.core.actions import Backend, Server
from tests.adapters import conftest
from tests.adapters.conftest import Pair
from tests.adapters.test_haproxy_runtime import PATIENCE_S, HAProxy, started

SERVERS = """
    server one 127.0.0.1:9000
    server two 127.0.0.1:9001 disabled
"""
KEY = ("app", "one")

until = partial(conftest.until, limit_s=PATIENCE_S)


def server(name: str) -> Server:
    return Server(name=name, address=ip_address("127.0.0.1"), port=9000, weight=1, check=False)


@asynccontextmanager
async def asking(haproxy: HAProxy, most: int) -> AsyncIterator[HAProxyTraffic]:
    traffic = HAProxyTraffic(haproxy.socket, most)
    traffic.want((Backend("app", (server("one"), server("two"))), Backend("second", ())))
    task = asyncio.create_task(traffic.run())
    try:
        yield traffic
        assert not task.done(), "run() ended"
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_sessions_and_bytes_of_each_server_are_told(pair: Pair, tmp_path: Path) -> None:
    haproxy = HAProxy(tmp_path, static=SERVERS)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def story() -> None:
        async with (
            await asyncio.start_server(echo, "127.0.0.1", 9000),
            asking(haproxy, most=2) as traffic,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000)
            writer.write(b"12345\n")
            assert await reader.readline() == b"12345\n"
            await until(lambda: KEY in traffic.latest and traffic.latest[KEY].sessions == 1)
            assert traffic.latest[KEY].sessions_total == 1
            assert traffic.latest[KEY].status == "no check"
            assert traffic.latest["app", "two"].status == "MAINT"

            writer.close()
            await until(lambda: traffic.latest[KEY].sessions == 0)
            assert (traffic.latest[KEY].bytes_in, traffic.latest[KEY].bytes_out) == (6, 6)

    with started(haproxy):
        asyncio.run(story())


def test_nothing_is_told_while_haproxy_hangs_or_is_not_there(pair: Pair, tmp_path: Path) -> None:
    haproxy = HAProxy(tmp_path, static=SERVERS)

    async def story() -> None:
        async with asking(haproxy, most=1) as traffic:
            await until(lambda: traffic.latest)
            assert traffic.latest.keys() == {KEY}, "no more than are asked for"

            haproxy.freeze()
            await until(lambda: not traffic.latest)
            haproxy.thaw()
            await until(lambda: traffic.latest)

            haproxy.kill()
            await until(lambda: not traffic.latest)

    with started(haproxy):
        asyncio.run(story())


def test_of_an_answer_that_does_not_end_the_first_lines_are_read(tmp_path: Path) -> None:
    path = str(tmp_path / "long.sock")

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"show stat\n"
        writer.write(b"# head,\none,\ntwo,\nthr")  # And no more, ever.
        await reader.read()
        writer.close()

    async def story() -> None:
        async with await asyncio.start_unix_server(tell, path):
            lines = await asyncio.to_thread(first_lines, path, "show stat", 3)
            assert lines == "# head,\none,\ntwo,\n"
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(first_lines, path, "show stat", 4)

    asyncio.run(story())
