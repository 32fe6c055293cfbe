"""Every record of the core on the disk: an SQLite file beside the state file.

One thread has the file to itself: it writes what :meth:`EventStore.keep` takes, as many at a
time as have come meanwhile, and answers :meth:`EventStore.read` in between.  The loop waits for
nothing.  What cannot be written waits, up to a limit, and is tried again; ``RecordsKept`` tells
of the trouble and of what was lost.  What was written outlives a killed process; of a power cut
the last seconds may be missing (WAL, ``synchronous=NORMAL``).

A file that is damaged is set aside as ``events.db.corrupt``, and a new one is begun.

What this module does not do: put the records of several agents in order
(``haagent.core.timeline``).
"""

import asyncio
import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from haagent.core.actions import Record, Severity
from haagent.core.clocks import GREATEST_LAMPORT, Hlc, Stamp
from haagent.core.events import RecordsKept
from haagent.core.identity import BootId, Term
from haagent.core.timeline import Entry

T = TypeVar("T")

NAME = "events.db"
MOST_RECORDS = 100_000
MOST_BYTES = 64 << 20
LONGEST_MS = 30 * 86_400_000
"""How long a record is kept: 30 days."""

MOST_WAITING = 10_000
"""Records that wait for a disk that hangs or is full; further ones are lost, and counted."""

PAGE = 100
"""Records of one answer: no answer holds the loop up for long."""

HANGS_S = 5.0
"""A disk that has written nothing for so long is taken for one that hangs."""

_LOOK_S = 1.0
_RETRY_S = 5.0
_BUSY_S = 0.2
_PRUNE_EVERY = 1_000
_PRUNE_MOST = 2_000
"""Removed at once at most: a wall clock that is wrong for a moment costs no more than that."""

_BATCH = 500
_FORMAT = 2
_DAMAGED = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLITE_ERROR as well: of our own statements it says that the tables are not ours."""

_WRONG = (sqlite3.Error, ValueError, TypeError, AttributeError)
"""What SQLite raises, and what is raised where a row makes no sense."""

_GROWN = {1: """ALTER TABLE events ADD COLUMN heard TEXT NOT NULL DEFAULT ''"""}
"""What makes the next format of an earlier one."""

_TABLE = """
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  node TEXT NOT NULL, boot TEXT NOT NULL, number INTEGER NOT NULL,
  ms INTEGER NOT NULL, counter INTEGER NOT NULL, lamport INTEGER NOT NULL,
  severity INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
  "group" TEXT, term INTEGER, cause INTEGER, evidence TEXT NOT NULL,
  heard TEXT NOT NULL
) STRICT
"""
_COLUMNS = """node, boot, number, ms, counter, lamport, severity, kind, text, "group", term,
  cause, evidence, heard"""
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_OLDEST = "SELECT id FROM events ORDER BY id LIMIT ?"
_AGED = f"""
DELETE FROM events WHERE id < (SELECT min(id) FROM events WHERE ms >= ?) AND id IN ({_OLDEST})
"""  # noqa: S608 - of our own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which records are wanted."""

    after: int = 0
    """Only what was written behind this place."""
    since_ms: int | None = None
    """Milliseconds since the epoch."""
    group: str | None = None
    kinds: tuple[str, ...] = ()
    """Patterns of kinds, ``peer.*``; all where there are none."""
    boot: BootId | None = None
    number: int | None = None
    last: bool = False
    """The newest of all these alone, and not the first page of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of what was asked for, the oldest first."""

    entries: tuple[Entry, ...]
    end: int
    """The place to go on from."""
    more: bool
    """Whether there is more already."""


_Question: TypeAlias = tuple[Query, Future[Page]]


class EventStore:
    """See the module docstring."""

    def __init__(self, directory: Path) -> None:
        """Look into the file if there is one."""
        self._file = _File(directory / NAME)
        self.last_lamport, self.last_heard = self._file.last()
        """Where the counter of this agent has got to, before this process; 0 when nobody knows.
        And what it had heard of others: of all whom it has heard since its oldest record."""
        self._post: Callable[[RecordsKept], None] | None = None
        self._jobs: SimpleQueue[Entry | _Question | None] = SimpleQueue()
        self._ended: Future[None] = Future()
        self._told = ""
        self._kept = self._lost = self._lost_told = 0
        self._looking = False
        self._progress = (0, 0.0)
        """How many were settled when that was last seen to rise, and when."""
        # Of the thread; the loop only reads them.
        self._unwritten: deque[Entry] = deque()
        self._settled = 0
        self._failure = ""
        self._since_pruned = _PRUNE_EVERY

    @property
    def trouble(self) -> str:
        """Why the newest records are not on the disk; empty when they are."""
        return self._told

    def keep(self, entry: Entry) -> None:
        """Have ``entry`` written; returns at once.  To be called in the loop."""
        if self._kept - self._settled >= MOST_WAITING:
            self._lost += 1
        else:
            self._kept += 1
            self._jobs.put(entry)
        if not self._looking:
            self._look_again(self._settled)

    async def read(self, query: Query) -> Page:
        """Return the records behind ``query.after``, those just kept included.

        Raises: OSError when they cannot be read.  Takes as long as the disk does.
        """
        answer: Future[Page] = Future()
        self._jobs.put((query, answer))
        return await asyncio.wrap_future(answer)

    async def run(self, post: Callable[[RecordsKept], None]) -> None:
        """Write and answer until :meth:`finish`, or for as long as the process lives."""
        self._post = post
        # None of a pool, whose threads are waited for at the end of the process.
        Thread(target=self._work, name="events", daemon=True).start()
        await asyncio.wrap_future(self._ended)

    async def finish(self, limit_s: float) -> None:
        """Write what is left and close the file, for ``limit_s`` at most."""
        self._jobs.put(None)
        await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=limit_s)

    # In the loop: is the thread getting on?

    def _look_again(self, settled: int) -> None:
        loop = asyncio.get_running_loop()
        if not self._looking or settled > self._progress[0]:
            self._progress = settled, loop.time()
        self._looking = True
        loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        settled = self._settled
        waits = settled < self._kept
        # What is written may be told before the thread says that nothing is wrong any more.
        trouble = self._failure if waits else ""
        silent_s = asyncio.get_running_loop().time() - self._progress[1]
        if waits and not trouble and settled <= self._progress[0] and silent_s > HANGS_S:
            trouble = f"{self._file.path}: the disk does not answer"
        # While nothing is written the number of the lost would be another each time.
        lost = 0 if waits else self._lost - self._lost_told
        self._tell(trouble or (self._told if waits else ""), lost)
        if waits:
            self._look_again(settled)
        else:
            self._looking = False

    def _tell(self, trouble: str, lost: int) -> None:
        damage = self._file.damage
        if self._post is not None and (trouble != self._told or lost or damage):
            self._told = trouble
            self._lost_told += lost
            self._file.damage = ""
            self._post(RecordsKept(trouble=trouble, lost=lost, damage=damage))

    # In the thread.

    def _work(self) -> None:
        try:
            while (job := self._take_in()) is not _END:
                self._write()
                if isinstance(job, tuple):
                    self._answer(*job)
            self._write()
            self._file.close()
        finally:
            with suppress(InvalidStateError):  # Nobody waits any more.
                self._ended.set_result(None)

    def _take_in(self) -> object:
        """Take in what is there, up to a question or the end, and return that; wait for something.

        None of both is None.
        """
        try:
            job = self._jobs.get(timeout=_RETRY_S if self._unwritten else None)
            while isinstance(job, Entry):
                self._unwritten.append(job)
                job = self._jobs.get_nowait()
        except Empty:
            return None
        return _END if job is None else job

    def _write(self) -> None:
        try:
            while self._unwritten:
                some = list(islice(self._unwritten, _BATCH))
                self._file.write(some)
                for _ in some:
                    self._unwritten.popleft()
                self._settled += len(some)
                self._since_pruned += len(some)
                if self._since_pruned >= _PRUNE_EVERY:
                    self._since_pruned = 0
                    self._file.prune()
        except OSError as error:
            self._failure = str(error)
        else:
            self._failure = ""

    def _answer(self, query: Query, answer: "Future[Page]") -> None:
        with suppress(InvalidStateError):  # Who asked has gone away.
            try:
                answer.set_result(self._file.read(query))
            except OSError as error:
                answer.set_exception(error)


_END = object()


class _File:
    """The file, opened when it is first needed.  Raises OSError, whatever is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self.damage = ""
        """What became of a damaged file, until somebody has told of it."""

    def last(self) -> tuple[int, dict[str, int]]:
        """Return counter and ``heard`` of the newest record; nothing where none is believable."""
        # A new file takes its time, which is the thread's.
        if not self.path.exists():
            return 0, {}
        try:
            first = "SELECT lamport, heard FROM events ORDER BY id {} LIMIT 1"
            newest, oldest = (
                self._open().execute(first.format(order)).fetchone() for order in ("DESC", "ASC")
            )
            if newest is None or not 0 <= newest[0] < GREATEST_LAMPORT:
                return 0, {}
            # A server that was given another name is not remembered for ever.
            long_silent = set(_heard(oldest[1])) if oldest != newest else set()
            return newest[0], dict(h for h in _heard(newest[1]) if h not in long_silent)
        except (*_WRONG, OSError):
            return 0, {}

    def write(self, entries: Iterable[Entry]) -> None:
        """Write all of ``entries`` or none."""
        rows = [_row(entry) for entry in entries]

        def insert(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(_INSERT, rows)

        self._attempt(insert)

    def prune(self) -> None:
        """Remove what is too old or too much, some of it at a time."""

        def remove(database: sqlite3.Connection) -> None:
            newest = "SELECT id, ms FROM events ORDER BY id DESC LIMIT 1"
            place, ms = database.execute(newest).fetchone()
            with database:
                database.execute(_AGED, (ms - LONGEST_MS, _PRUNE_MOST))
                surplus = f"DELETE FROM events WHERE id <= ? AND id IN ({_OLDEST})"  # noqa: S608
                database.execute(surplus, (place - MOST_RECORDS, _PRUNE_MOST))
                if _size(database) > MOST_BYTES:
                    oldest = f"DELETE FROM events WHERE id IN ({_OLDEST})"  # noqa: S608
                    database.execute(oldest, (_PRUNE_MOST,))

        self._attempt(remove)

    def read(self, query: Query) -> Page:
        """Return the first page of what ``query`` wants."""
        wanted: list[tuple[str, list[Any]]] = [("id > ?", [query.after])]
        if query.since_ms is not None:
            wanted.append(("ms >= ?", [query.since_ms]))
        if query.group is not None:
            wanted.append(('"group" = ?', [query.group]))
        if query.boot is not None:
            wanted.append(("boot = ?", [_word(query.boot)]))
        if query.number is not None:
            wanted.append(("number = ?", [query.number]))
        if query.kinds:
            likes = " OR ".join("kind GLOB ?" for _ in query.kinds)
            wanted.append((f"({likes})", [*query.kinds]))
        where = " AND ".join(condition for condition, _ in wanted)
        order, most = ("id DESC", 1) if query.last else ("id", PAGE)
        select = f"SELECT id, {_COLUMNS} FROM events WHERE {where} ORDER BY {order} LIMIT ?"  # noqa: S608
        values = [value for _, each in wanted for value in each]

        def look(database: sqlite3.Connection) -> Page:
            rows = database.execute(select, [*values, most]).fetchall()
            newest = database.execute("SELECT max(id) FROM events").fetchone()[0] or 0
            # A file that was begun anew counts from 1 again.
            anew = newest < query.after
            more = anew or len(rows) == most
            # What was looked at in vain is not looked at again.
            end = 0 if anew else rows[-1][0] if more else newest
            return Page(entries=tuple(_entry(row[1:]) for row in rows), end=end, more=more)

        return self._attempt(look)

    def close(self) -> None:
        """Let the file go; what it has is on the disk."""
        database, self._database = self._database, None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``work`` returns, if need be of a new file in the place of a damaged one."""
        for last in (False, True):
            try:
                return work(self._open())
            except _WRONG as error:
                if last or not _is_damage(error):
                    # What is wrong may lie with what is open: it is opened afresh.
                    self.close()
                    trouble = f"{self.path}: {error}"
                    raise OSError(trouble) from error
                self._set_aside(error)
        raise AssertionError("unreachable")

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            mode = "rw" if self._may_write() else "ro"
            # One thread at a time has it, the loop's until run() begins: an operator who has locked
            # the file must not keep the agent from starting.
            place = f"{self.path.absolute().as_uri()}?mode={mode}"
            if mode == "ro" and not Path(f"{self.path}-wal").exists():
                # Else SQLite would have to make one.
                place += "&immutable=1"
            database = sqlite3.connect(place, _BUSY_S, check_same_thread=False, uri=True)
            try:
                database.text_factory = lambda raw: raw.decode("utf-8", "replace")
                if mode == "rw":
                    _prepare(database)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _may_write(self) -> bool:
        """Return whether the file is there to be written, and not only to be read."""
        try:
            # The files that SQLite makes beside it get the same mode.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno != errno.EROFS or not self.path.exists():
                raise
            return False
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
        return True

    def _set_aside(self, error: Exception) -> None:
        self.close()
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").replace(f"{aside}{suffix}")
        self.damage = f"{self.path}: {error}; kept as {aside.name}, and begun anew"


def _prepare(database: sqlite3.Connection) -> None:
    """Raises: sqlite3.Error, ValueError when it is of a format that is not ours."""
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA cache_size = -512")
    database.execute("PRAGMA journal_size_limit = 4194304")
    found = database.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, *_GROWN, _FORMAT):
        msg = f"of format {found}, not {_FORMAT}"
        raise ValueError(msg)
    if found != _FORMAT:
        with database:
            database.execute("BEGIN")
            database.execute(_GROWN.get(found, _TABLE))
            database.execute(f"PRAGMA user_version = {_FORMAT}")


def _is_damage(error: Exception) -> bool:
    # Without a code it is what a row says that makes no sense.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGED


def _size(database: sqlite3.Connection) -> int:
    """Return the bytes in use."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _row(entry: Entry) -> tuple[Any, ...]:
    record = entry.record
    return (
        entry.node,
        _word(entry.boot),
        record.number,
        record.stamp.hlc.ms,
        record.stamp.hlc.counter,
        record.stamp.lamport,
        int(record.severity),
        record.kind,
        _storable(record.text),
        record.group,
        record.term,
        record.cause,
        "\n".join(_storable(line).replace("\n", " ") for line in record.evidence),
        " ".join(f"{name}={lamport}" for name, lamport in record.heard),
    )


def _entry(row: tuple[Any, ...]) -> Entry:
    """Raises: ValueError, TypeError when the row makes no sense."""
    node, boot, number, ms, counter, lamport, severity, kind, text, group, *rest = row
    term, cause, evidence, heard = rest
    record = Record(
        number=number,
        stamp=Stamp(Hlc(ms, counter), lamport),
        severity=Severity(severity),
        kind=kind,
        text=text,
        group=group,
        term=None if term is None else Term(term),
        cause=cause,
        evidence=tuple(evidence.split("\n")) if evidence else (),
        heard=tuple(_heard(heard)),
    )
    return Entry(node=node, boot=BootId(int(boot, 16)), record=record)


def _heard(text: str) -> Iterator[tuple[str, int]]:
    """Raises: ValueError when ``text`` makes no sense."""
    for each in text.split():
        name, lamport = each.split("=")
        yield name, int(lamport)


def _word(boot: BootId) -> str:
    return f"{boot:016x}"


def _storable(text: str) -> str:
    """Return ``text`` without what no encoding has: a name of a file may hold any byte."""
    return text.encode("utf-8", "replace").decode()
