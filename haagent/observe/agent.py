"""The server's end of the exchange: asks the agent, but never more often than it can bear.

However many clients ask, one question of a kind is open at a time and its answer is good for a
while: 200 ms, or for the status ten times as long as it took, so that large lists cost the agent a
tenth of one processor at most.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from haagent.observe.exchange import HEADER, LEVELS, MAX_LINE, STEER, Question

HELD_S = 0.2
"""How long an answer is good at least: a person reads no faster."""

HELD_FOR_COST = 10
"""How many times as long as it took; of the status alone, for the facts never cost much."""

PATIENCE_S = {Question.FACTS: 1.0, Question.STATUS: 5.0}
"""How long an answer may take: the facts are at hand, the status may be long."""

STEER_PATIENCE_S = 8.0
"""How long it may take to do what is asked: it is written to the disk first."""


class SilentError(Exception):
    """The agent does not answer; the text says so."""


@dataclass(slots=True)
class _Answer:
    payload: bytes
    good_until_s: float


class Agent:
    """The agent, as seen from the process of the server.  :meth:`run` ends with it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: dict[Question, _Answer] = {}
        self._asked: dict[Question, tuple[asyncio.Future[bytes], float]] = {}
        self._steering = asyncio.Lock()
        self._steered: asyncio.Future[bytes] | None = None
        """Done when the agent has answered what it was told to do."""
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Read answers until the agent has gone."""
        try:
            while True:
                word, size = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                payload = await self._reader.readexactly(size)
                self._take(word.rstrip(b"\0").decode(), payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def ask(self, question: Question) -> bytes:
        """Return the answer, which may be a little old.

        Raises: SilentError when the agent has not answered for too long.
        """
        held = self._answers.get(question)
        if held is not None and self._loop.time() < held.good_until_s:
            return held.payload
        if question not in self._asked:
            self._asked[question] = self._loop.create_future(), self._loop.time()
            self._writer.write(f"{question.value}\n".encode())
        answer, asked_at_s = self._asked[question]
        patience_s = PATIENCE_S[question]
        try:
            # Who comes while it is overdue need not wait for as long once more.
            left_s = max(0.0, asked_at_s + patience_s - self._loop.time())
            return await asyncio.wait_for(asyncio.shield(answer), left_s)
        except TimeoutError:
            message = f"the agent has not answered for {patience_s:g} s"
            raise SilentError(message) from None

    async def steer(self, question: str) -> bytes:
        """Return what comes of what somebody wants; one after the other.

        Raises: SilentError when the agent has not answered for too long.
        """
        async with self._steering:
            # An answer has no number: while one is overdue it could be taken for that of another.
            if self._steered is None or self._steered.done():
                self._steered = self._loop.create_future()
                self._writer.write(f"{STEER} {question}\n".encode())
                with suppress(TimeoutError):
                    return await asyncio.wait_for(asyncio.shield(self._steered), STEER_PATIENCE_S)
            message = "the agent has not answered: look whether it is done before you ask again"
            raise SilentError(message)

    def tell(self, level: str, text: str) -> None:
        """Have the agent log a line; ``level`` is one of :data:`~exchange.LEVELS`."""
        assert level in LEVELS
        self._writer.write(f"{level} {text}".encode()[: MAX_LINE - 1].rstrip() + b"\n")

    def _take(self, word: str, payload: bytes) -> None:
        if word == STEER:
            assert self._steered is not None
            self._steered.set_result(payload)
            return
        question = Question(word)
        answer, asked_at_s = self._asked.pop(question)
        now_s = self._loop.time()
        took_s = now_s - asked_at_s if question is Question.STATUS else 0.0
        held_s = max(HELD_S, HELD_FOR_COST * took_s)
        self._answers[question] = _Answer(payload, now_s + held_s)
        answer.set_result(payload)
