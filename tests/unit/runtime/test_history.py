"""The history over a real control socket and a real file: what comes, and who holds up nobody."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from haagent.adapters import clock
from haagent.adapters.event_store import EventStore
from haagent.control import haagent_pb2 as pb
from haagent.control.client import fetch_events
from haagent.control.server import Calls, ControlServer
from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.identity import BootId
from haagent.core.units import Moment, MonoNs, WallNs
from haagent.runtime.history import History

HOUR_MS = 3_600_000


def record(number: int, text: str = "x", ms: int | None = None) -> Record:
    now_ms = clock.now().wall // 1_000_000
    return Record(
        number=number,
        stamp=Stamp(Hlc(now_ms if ms is None else ms, 0), number),
        severity=Severity.NOTICE,
        kind="role.changed",
        text=text,
        group="web",
        term=None,
    )


@asynccontextmanager
async def serving(directory: Path, boot: int = 1) -> AsyncIterator[tuple[History, Path]]:
    """A history in ``directory``, and the socket on which it can be asked."""
    store = EventStore(directory)
    history = History(store, "lb1", BootId(boot), clock.now)
    path = directory / "control.sock"
    unasked: Any = None
    calls = Calls(
        reload=unasked,
        steer=unasked,
        fail_over=unasked,
        explain=unasked,
        doctor=unasked,
        haproxy=unasked,
        events=history.replies,
    )
    server = ControlServer(path, pb.StatusReply, calls)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(server.run()),
            group.create_task(store.run(lambda _told: None)),
        ]
        await server.listening.wait()
        try:
            yield history, path
        finally:
            tasks[0].cancel()
            await store.finish(10)


def numbers(path: Path, request: pb.EventsRequest | None = None) -> list[int]:
    parts = fetch_events(path, 10, request or pb.EventsRequest())
    return [event.record.number for part in parts for event in part.events]


def test_all_starts_are_shown_in_the_order_in_which_they_were(tmp_path: Path) -> None:
    async def story() -> list[tuple[str, int]]:
        async with serving(tmp_path, boot=2) as (history, _):
            for number in range(1, 251):
                history.keep(record(number))
        async with serving(tmp_path, boot=3) as (history, path):
            # The wall clock was set back by an hour.
            history.keep(record(1, ms=clock.now().wall // 1_000_000 - HOUR_MS))
            return await asyncio.to_thread(
                lambda: [
                    (event.boot_id, event.record.number)
                    for part in fetch_events(path, 10, pb.EventsRequest())
                    for event in part.events
                ]
            )

    assert asyncio.run(story()) == [
        *(("0000000000000002", number) for number in range(1, 251)),
        ("0000000000000003", 1),
    ]


def test_who_goes_on_from_where_he_was_is_told_what_is_behind_it(tmp_path: Path) -> None:
    async def story() -> tuple[list[int], list[bool]]:
        async with serving(tmp_path) as (history, path):
            for number in range(1, 251):
                history.keep(record(number))

            def parts() -> tuple[list[int], list[bool]]:
                first, *rest = fetch_events(path, 10, pb.EventsRequest())
                behind = numbers(path, pb.EventsRequest(after=first.end))
                assert numbers(path, pb.EventsRequest(after=rest[-1].end)) == []
                return behind, [first.more, *(part.more for part in rest)]

            return await asyncio.to_thread(parts)

    assert asyncio.run(story()) == ([*range(101, 251)], [True, True, False])


def test_a_place_that_no_file_has_is_before_the_first_record(tmp_path: Path) -> None:
    """The file was begun anew since then."""

    async def story() -> list[int]:
        async with serving(tmp_path) as (history, path):
            history.keep(record(1))
            request = pb.EventsRequest(after=(1 << 64) - 1)
            return await asyncio.to_thread(numbers, path, request)

    assert asyncio.run(story()) == [1]


def test_since_goes_by_the_clock_of_the_agent(tmp_path: Path) -> None:
    async def story() -> list[int]:
        async with serving(tmp_path) as (history, path):
            history.keep(record(1, ms=clock.now().wall // 1_000_000 - HOUR_MS))
            history.keep(record(2))
            return await asyncio.to_thread(numbers, path, pb.EventsRequest(since_ms=60_000))

    assert asyncio.run(story()) == [2]


def test_since_before_the_epoch_is_everything(tmp_path: Path) -> None:
    async def story() -> None:
        store = EventStore(tmp_path)
        task = asyncio.create_task(store.run(lambda _told: None))
        early = Moment(MonoNs(0), WallNs(5_000_000))
        history = History(store, "lb1", BootId(1), lambda: early)
        history.keep(record(1, ms=2))
        request = pb.EventsRequest(since_ms=(1 << 64) - 1)
        parts = [part async for part in history.replies(request, asyncio.Event())]
        assert [event.record.number for part in parts for event in part.events] == [1]
        await store.finish(10)
        task.cancel()

    asyncio.run(story())


def test_who_follows_is_told_of_what_comes(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (history, path):
            history.keep(record(1))
            with closing(fetch_events(path, 10, pb.EventsRequest(follow=True))) as parts:
                for number in range(1, 5):
                    part = await asyncio.to_thread(next, parts)
                    assert [event.record.number for event in part.events] == [number]
                    history.keep(record(number + 1))

    asyncio.run(story())


FOLLOWER = """
import sys
from pathlib import Path
from haagent.control import haagent_pb2 as pb
from haagent.control.client import fetch_events

for part in fetch_events(Path(sys.argv[1]), 60, pb.EventsRequest(follow=True)):
    print("told", flush=True)
    sys.stdin.readline()
"""


def follower(path: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", FOLLOWER, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_client_that_never_reads_or_goes_away_blocks_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as (history, path):
            with follower(path) as deaf:
                try:
                    history.keep(record(1))
                    assert deaf.stdout is not None
                    await asyncio.to_thread(deaf.stdout.readline)
                    with socket.socket(socket.AF_UNIX) as mute:
                        mute.connect(str(path))
                        for number in range(2, 3_000):
                            history.keep(record(number, "t" * 1_000))
                        assert await asyncio.to_thread(numbers, path) == [*range(1, 3_000)]
                finally:
                    deaf.kill()
            assert len(await asyncio.to_thread(numbers, path)) == 2_999

    asyncio.run(story())
