"""The agent's end: runs the server's process while there is anything to listen on, and answers it.

Run :meth:`Observer.run` as a task; :meth:`Observer.serve` says where to listen from now on.
What the process asks for is frozen in the loop, which takes microseconds, and made into bytes in a
thread.  A process that ends is started again, ever later while it goes on ending.

Imports nothing but the standard library: without ``http`` in the file this costs nothing.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from logging import WARNING
from pathlib import Path
from typing import TypeAlias

from haagent.observe.exchange import HEADER, LEVELS, LOGIN, MAX_LINE, STEER, Question

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0
"""A process that has lived so long has not been ending again and again."""

_CAP_SETPCAP = 8

Freeze: TypeAlias = Callable[[], Callable[[], bytes]]
"""Called in the loop; what it returns is called in a thread, and returns the answer."""


class Observer:
    """See the module docstring."""

    def __init__(
        self,
        answers: Mapping[Question, Freeze],
        steer: Callable[[str], Awaitable[bytes]],
        log: Callable[[int, str], None],
    ) -> None:
        """``steer`` answers what somebody wants done, who may be anybody."""
        self._answers = answers
        self._steer = steer
        self._log = log
        self._words: tuple[str, ...] = ()
        """The command line of the process; empty for none."""
        self._changed = asyncio.Event()

    def serve(self, endpoints: tuple[str, ...], *, login: bool = False) -> None:
        """Listen on these and no others from now on; on none, no process is there.

        ``login``: whether there is one, without which nobody can even ask to steer.
        """
        words = (*((LOGIN,) if login else ()), *endpoints) if endpoints else ()
        if words != self._words:
            self._words = words
            self._changed.set()

    async def run(self) -> None:
        """Keep the process running, until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            self._changed.clear()
            if not self._words:
                await self._changed.wait()
                continue
            begun_s = loop.time()
            try:
                trouble = await self._run_once(self._words)
            except OSError as error:  # no descriptor, no process, no setpriv
                trouble = f"cannot be started: {error}"
            if self._changed.is_set():
                continue
            pause_s = FIRST_PAUSE_S if loop.time() - begun_s > STEADY_S else pause_s
            self._log(WARNING, f"its process {trouble}; starts again in {pause_s:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run_once(self, words: tuple[str, ...]) -> str:
        """Run one process until it ends or has to; return how it ended.

        Raises: OSError when it cannot be started.
        """
        ours, its = socket.socketpair()
        with ours, its:
            process = await asyncio.to_thread(_start, its, words)
            its.close()
            reader, writer = await asyncio.open_unix_connection(sock=ours.dup(), limit=MAX_LINE)
            changed = asyncio.create_task(self._changed.wait())
            served = asyncio.create_task(self._answer_all(reader, writer))
            try:
                await asyncio.wait([changed, served], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (changed, served):
                    task.cancel()
                writer.transport.abort()
                # It has no state to lose, and a port that is wanted again at once.
                process.kill()
            code = await asyncio.to_thread(process.wait)
            return f"has ended with {code}"

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer questions until the process has gone, or talks nonsense."""
        questions = {question.value: question for question in Question}
        busy: dict[str, asyncio.Task[None]] = {}
        with suppress(ConnectionError, ValueError):
            while line := (await reader.readline()).decode(errors="replace").rstrip("\n"):
                word, _, text = line.partition(" ")
                if word not in questions and word != STEER:
                    shown = "".join(c if c.isprintable() else "?" for c in text)
                    self._log(LEVELS.get(word, WARNING), shown)
                elif word not in busy or busy[word].done():
                    work = self._steer(text) if word == STEER else self._render(questions[word])
                    busy[word] = asyncio.create_task(_answer(word, work, writer))

    async def _render(self, question: Question) -> bytes:
        return await asyncio.to_thread(self._answers[question]())


async def _answer(word: str, work: Awaitable[bytes], writer: asyncio.StreamWriter) -> None:
    payload = await work
    writer.write(HEADER.pack(word.encode(), len(payload)) + payload)
    with suppress(ConnectionError):
        await writer.drain()


def _start(its: socket.socket, words: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """Raises: OSError."""
    prefix = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]
    if _may_bound():
        # Who is root gets all of it back at the next program that is run.
        prefix.append("--bounding-set=-all")
    passed = {name: value for name, value in os.environ.items() if _is_passed(name)}
    return subprocess.Popen(
        [*prefix, "--", sys.executable, "-m", "haagent.observe", *words],
        stdin=its.fileno(),
        stdout=subprocess.DEVNULL,
        env=passed,
        cwd="/",
        start_new_session=True,
    )


def _may_bound() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    held = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(held.split()[1], 16) >> _CAP_SETPCAP & 1)


def _is_passed(name: str) -> bool:
    """Return whether a variable of the agent is of use: how Python was started, and no secret."""
    return name in {"PATH", "LANG", "VIRTUAL_ENV"} or name.startswith("PYTHON")
