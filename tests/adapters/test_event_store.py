"""The event store against real disks: full, frozen, spoilt, and a process that is killed."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from haagent.adapters import event_store
from haagent.adapters.event_store import NAME, PAGE, EventStore, Query
from haagent.core.actions import Record, Severity
from haagent.core.clocks import Hlc, Stamp
from haagent.core.events import RecordsKept
from haagent.core.identity import BootId, Term
from haagent.core.timeline import Entry
from tests.adapters import conftest

BOOT = BootId(0xFFFF_FFFF_0000_0001)
DAY_MS = 86_400_000


def entry(number: int, kind: str = "role.changed", text: str = "x", ms: int = 0) -> Entry:
    record = Record(
        number=number,
        stamp=Stamp(Hlc(ms or number, 3), number * 10),
        severity=Severity.NOTICE,
        kind=kind,
        text=text,
        group="web" if number % 2 else None,
        term=Term((1 << 63) - 1) if number % 2 else None,
        cause=number - 1 or None,
        evidence=("first", "second") if number % 2 else (),
        heard=(("lb2", number), ("lb3", 7)) if number > 1 else (),
    )
    return Entry(node="lb1", boot=BOOT, record=record)


@contextlib.asynccontextmanager
async def running(
    directory: Path, told: list[RecordsKept] | None = None
) -> AsyncIterator[EventStore]:
    store = EventStore(directory)
    task = asyncio.create_task(store.run((told if told is not None else []).append))
    try:
        yield store
    finally:
        await store.finish(10)
        task.cancel()


async def everything(store: EventStore, query: Query | None = None) -> list[Entry]:
    found: list[Entry] = []
    query = query or Query()
    after = query.after
    while True:
        page = await store.read(
            Query(after=after, since_ms=query.since_ms, group=query.group, kinds=query.kinds)
        )
        found += page.entries
        after = page.end
        if not page.more:
            return found


until = partial(conftest.until, limit_s=20)


def keep(directory: Path, *entries: Entry) -> None:
    """Have a store of its own write ``entries``, and end."""

    async def story() -> None:
        async with running(directory) as store:
            for each in entries:
                store.keep(each)

    asyncio.run(story())


def kept(directory: Path, query: Query | None = None) -> list[Entry]:
    async def story() -> list[Entry]:
        async with running(directory) as store:
            return await everything(store, query)

    return asyncio.run(story())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts something on a directory of its own, with the options of mount."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    done: list[Path] = []

    def mount(*options: str) -> Path:
        directory = tmp_path / "disk"
        directory.mkdir()
        subprocess.run(["mount", *options, directory], check=True)
        done.append(directory)
        return directory

    yield mount
    for directory in done:
        subprocess.run(["umount", "-l", directory], check=True)


def test_what_is_kept_is_read_as_it_was_by_the_next_process(tmp_path: Path) -> None:
    entries = [entry(number) for number in range(1, 4 * PAGE)]

    keep(tmp_path, *entries)

    assert kept(tmp_path) == entries


def modes_in(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_only_the_agent_may_read_the_file(tmp_path: Path) -> None:
    (tmp_path / NAME).touch(mode=0o644)

    async def story() -> None:
        async with running(tmp_path) as store:
            store.keep(entry(1))
            await store.read(Query())
            assert modes_in(tmp_path) == {NAME: 0o600, f"{NAME}-wal": 0o600, f"{NAME}-shm": 0o600}

    asyncio.run(story())


def test_only_what_is_asked_for_is_shown(tmp_path: Path) -> None:
    kinds = ["peer.dead", "peer.alive", "role.changed"]
    entries = [entry(number, kinds[number % 3], ms=number * 1000) for number in range(1, 10)]
    keep(tmp_path, *entries)

    def numbers(query: Query) -> list[int]:
        return [each.record.number for each in kept(tmp_path, query)]

    assert numbers(Query(kinds=("peer.*",))) == [1, 3, 4, 6, 7, 9]
    assert numbers(Query(kinds=("peer.dead", "role.changed"))) == [2, 3, 5, 6, 8, 9]
    assert numbers(Query(kinds=("peer",))) == []
    assert numbers(Query(group="web")) == [1, 3, 5, 7, 9]
    assert numbers(Query(group="db")) == []
    assert numbers(Query(since_ms=8_000)) == [8, 9]
    assert numbers(Query(after=7, group="web")) == [9]
    assert numbers(Query(group="' OR 1=1 --")) == []


def test_who_asks_sees_what_was_kept_just_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path) as store:
            for number in range(1, 300):
                store.keep(entry(number))
                page = await store.read(Query(after=number - 1))
                assert [each.record.number for each in page.entries] == [number]
                assert page.end == number

    asyncio.run(story())


@given(text=st.text(), lines=st.lists(st.text(), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_any_text_can_be_kept(tmp_path: Path, text: str, lines: list[str]) -> None:
    """Also what no encoding has: the name of a file in it may hold any byte."""
    given_ = entry(1, text=f"\udcff{text}")
    before = len(kept(tmp_path))

    keep(tmp_path, given_)

    assert [each.record.text for each in kept(tmp_path)][before:] == [
        f"\udcff{text}".encode("utf-8", "replace").decode()
    ]


def test_who_follows_a_file_that_was_begun_anew_misses_nothing(tmp_path: Path) -> None:
    """Its places count from 1 again, which is before where the follower was."""
    keep(tmp_path, entry(1), entry(2))

    assert kept(tmp_path, Query(after=5_000)) == [entry(1), entry(2)]
    assert kept(tmp_path, Query(after=2)) == []


def test_the_counter_goes_on_from_the_last_process(tmp_path: Path) -> None:
    assert EventStore(tmp_path).last_lamport == 0

    keep(tmp_path, *map(entry, range(1, 8)))

    assert EventStore(tmp_path).last_lamport == 70


def test_what_was_heard_is_remembered_and_who_is_silent_since_the_oldest_record_is_not(
    tmp_path: Path,
) -> None:
    assert EventStore(tmp_path).last_heard == {}

    keep(tmp_path, entry(2))
    assert EventStore(tmp_path).last_heard == {"lb2": 2, "lb3": 7}

    keep(tmp_path, entry(3))
    assert EventStore(tmp_path).last_heard == {"lb2": 3}


def test_a_file_of_the_format_before_is_read_and_written_on(tmp_path: Path) -> None:
    keep(tmp_path, entry(1))
    execute(tmp_path / NAME, "ALTER TABLE events DROP COLUMN heard")
    execute(tmp_path / NAME, "PRAGMA user_version = 1")

    keep(tmp_path, entry(2))

    assert kept(tmp_path) == [entry(1), entry(2)]
    assert not (tmp_path / f"{NAME}.corrupt").exists()


WRITER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from haagent.adapters.event_store import EventStore, Query
from tests.adapters.test_event_store import entry

async def main():
    store = EventStore(Path(sys.argv[1]))
    asyncio.create_task(store.run(lambda told: None))
    number = 0
    while True:
        for number in range(number + 1, number + 200):
            store.keep(entry(number))
        page = await store.read(Query(after=number))
        print(page.end, flush=True)

asyncio.run(main())
"""


def test_a_process_that_is_killed_while_it_writes_has_lost_nothing_it_had_written(
    tmp_path: Path,
) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
    written = int(rest[-2]) if len(rest) > 1 else written

    found = kept(tmp_path)

    assert len(found) >= written
    assert found == [entry(number) for number in range(1, len(found) + 1)]


def damaged(directory: Path) -> list[RecordsKept]:
    """Keep one record in ``directory``, whose file is damaged; return what was told."""
    told: list[RecordsKept] = []

    async def story() -> None:
        async with running(directory, told) as store:
            store.keep(entry(7))
            assert await everything(store) == [entry(7)]
            await until(lambda: bool(told))

    asyncio.run(story())
    return told


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"this is no database" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 20_000),
        lambda path: execute(path, "DROP TABLE events"),
        lambda path: execute(path, "PRAGMA user_version = 9"),
    ],
    ids=["no database", "overwritten", "without the table", "of a later format"],
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    keep(tmp_path, entry(1))
    spoil(tmp_path / NAME)
    spoilt = (tmp_path / NAME).read_bytes()

    (told,) = damaged(tmp_path)

    assert told.damage.startswith(f"{tmp_path / NAME}: ")
    assert told.damage.endswith(f"; kept as {NAME}.corrupt, and begun anew")
    assert (told.trouble, told.lost) == ("", 0)
    assert (tmp_path / f"{NAME}.corrupt").read_bytes() == spoilt
    assert kept(tmp_path) == [entry(7)]


def execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_sound_file_is_not_set_aside(tmp_path: Path) -> None:
    told: list[RecordsKept] = []
    keep(tmp_path, entry(1))

    async def story() -> None:
        async with running(tmp_path, told) as store:
            store.keep(entry(2))
            assert len(await everything(store)) == 2
            await asyncio.sleep(1.2)  # when it is looked whether there is anything to tell

    asyncio.run(story())

    assert told == []
    assert not (tmp_path / f"{NAME}.corrupt").exists()


def test_what_is_written_is_no_trouble_though_the_thread_has_yet_to_say_so(tmp_path: Path) -> None:
    told: list[RecordsKept] = []

    async def main() -> None:
        async with running(tmp_path, told) as store:
            store.keep(entry(1))
            await everything(store)
            store._told = store._failure = "was full"

            store._look()

    asyncio.run(main())
    assert told == [RecordsKept(trouble="", lost=0, damage="")]


def test_a_full_disk_is_told_of_and_what_waits_is_written_when_there_is_room(
    mounted: Callable[..., Path],
) -> None:
    directory = mounted("-t", "tmpfs", "-o", "size=256k", "tmpfs")
    told: list[RecordsKept] = []
    entries = [entry(number, text="t" * 400) for number in range(1, 400)]

    async def story() -> None:
        async with running(directory, told) as store:
            store.keep(entries[0])
            assert await everything(store) == entries[:1]
            ballast = directory / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            for each in entries[1:200]:
                store.keep(each)
            await until(lambda: bool(told))
            assert told == [
                RecordsKept(trouble=store.trouble, lost=0, damage=""),
            ]
            assert "full" in store.trouble
            before = await everything(store)
            assert before == entries[: len(before)], "what is on the disk can still be read"
            ballast.unlink()
            await until(lambda: len(told) > 1)
            assert told[1:] == [RecordsKept(trouble="", lost=0, damage="")]
            assert await everything(store) == entries[:200]

    asyncio.run(story())


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2]]
from tests.adapters.test_event_store import Query, entry, running

async def story():
    async with running(Path(sys.argv[1])) as store:
        store.keep(entry(2))
        await store.read(Query())
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(story())
"""


@pytest.mark.parametrize("killed", [False, True], ids=["ended", "killed"])
def test_what_is_on_a_disk_that_became_read_only_can_still_be_read(
    mounted: Callable[..., Path], killed: bool
) -> None:
    """As where a file system is remounted after an error; a killed process leaves its WAL."""
    directory = mounted("-t", "tmpfs", "tmpfs")
    keep(directory, entry(1))
    written = [entry(1)]
    if killed:
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", KILLED, directory, root], check=False)
        written.append(entry(2))
    assert (directory / f"{NAME}-wal").exists() == killed
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
    told: list[RecordsKept] = []

    async def story() -> None:
        async with running(directory, told) as store:
            assert store.last_lamport == 10 * len(written)
            store.keep(entry(3))
            await until(lambda: bool(told))
            assert "read" in store.trouble
            assert await everything(store) == written

    asyncio.run(story())

    assert [each.damage for each in told] == [""]


def freeze(directory: Path, option: str) -> None:
    subprocess.run(["fsfreeze", option, directory], check=True)


def test_a_disk_that_hangs_holds_up_nobody_and_what_is_lost_is_counted(
    mounted: Callable[..., Path], tmp_path: Path
) -> None:
    """A real file system, frozen: a write stays in the kernel until it is thawed."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    directory = mounted("-o", "loop", str(image))
    told: list[RecordsKept] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with running(directory, told) as store:
            store.keep(entry(1))
            assert await everything(store) == [entry(1)]
            freeze(directory, "-f")
            try:
                begun = loop.time()
                for number in range(2, event_store.MOST_WAITING + 12):
                    store.keep(entry(number))
                assert loop.time() - begun < 1
                await until(lambda: bool(told))
            finally:
                freeze(directory, "-u")
            await until(lambda: len(told) > 1)
            stored = await everything(store)
            assert [each.record.number for each in stored] == [*range(1, len(stored) + 1)]
            assert told[0].trouble.endswith("the disk does not answer")
            assert told[1:] == [
                RecordsKept(trouble="", lost=event_store.MOST_WAITING + 11 - len(stored), damage="")
            ]
            assert told[1].lost > 0

    asyncio.run(story())


def test_the_oldest_go_when_there_are_too_many_or_they_are_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [entry(number, ms=number) for number in range(1, 11)]
    new = [entry(number, ms=31 * DAY_MS + number) for number in range(11, 3_000)]

    keep(tmp_path, *old, *new)

    assert kept(tmp_path) == new

    monkeypatch.setattr(event_store, "MOST_RECORDS", 500)
    last = [entry(number, ms=31 * DAY_MS + number) for number in range(3_000, 5_000)]
    keep(tmp_path, *last)

    found = kept(tmp_path)
    assert 500 <= len(found) < 500 + 1_000 + 500
    assert found == [*new, *last][-len(found) :]


def test_the_file_does_not_outgrow_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_store, "MOST_BYTES", 1 << 20)

    keep(tmp_path, *(entry(number, text="t" * 1000) for number in range(1, 8_000)))

    assert (tmp_path / NAME).stat().st_size < 4 << 20
    assert kept(tmp_path)[-1] == entry(7_999, text="t" * 1000)
