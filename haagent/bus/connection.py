"""One stream between two agents after their hellos: questions and answers, in order.

Each end may ask; a question has a number, and its answer comes in parts.  The next part is sent
when it is asked for, so an asker that is slow, or has stopped, holds up its own question alone,
and neither end keeps more than one part of each.

What this module does not do: open the stream, or find out whose it is (``haagent.bus.server``,
``haagent.bus.dialer``), or know an answer (``haagent.runtime``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from itertools import count
from typing import Any, Protocol, TypeAlias

from grpc import aio

from haagent.control.haagent_pb2 import (
    BusAnswer,
    BusFrame,
    BusHello,
    BusQuestion,
    EventsReply,
    EventsRequest,
)

MOST_QUESTIONS = 16
"""That either end may have open at a time."""

MOST_BYTES = 4 << 20
"""Of one frame."""

_FRAMING = 64
"""Bytes that a frame has beside the part in it, at most."""

_MOST_WAITING = 8 * MOST_QUESTIONS
"""Frames that wait to be sent; who leaves more of them unread, and goes on asking, is cut off."""

Answers: TypeAlias = Callable[[EventsRequest, asyncio.Event], AsyncGenerator[EventsReply, None]]
"""Yields the parts of an answer; they end when the event is set at the latest."""


class PeerUnreachableError(Exception):
    """A peer does not answer; the text says why."""


class Stream(Protocol):
    """Either end of the gRPC call."""

    async def read(self) -> object: ...  # at the end something that is no frame

    async def write(self, frame: BusFrame, /) -> None: ...


class MisuseError(Exception):
    """The other end does what no agent does."""


class Connection:
    """See the module docstring.  ``hello`` is what the other end has said."""

    def __init__(self, stream: Stream, hello: BusHello, answers: Answers) -> None:
        self.hello = hello
        self._stream = stream
        self._answers = answers
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._closing = asyncio.Event()
        self._waiting: asyncio.Queue[BusFrame] = asyncio.Queue(_MOST_WAITING)
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Queue[BusAnswer | None]] = {}
        self._wanted: dict[int, asyncio.Event] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}

    def close(self, why: str) -> None:
        """End it; :meth:`run` returns ``why``."""
        if not self._ended.done():
            self._ended.set_result(why)

    async def run(self) -> str:
        """Serve until it ends; return why."""
        tasks = [self._start(work) for work in (self._receive(), self._send())]
        try:
            return await self._ended
        finally:
            self.close("the connection has ended")
            self._closing.set()
            tasks += self._answering.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for box in self._asked.values():
                box.put_nowait(None)

    async def ask(
        self, request: EventsRequest, patience_s: float
    ) -> AsyncGenerator[EventsReply, None]:
        """Yield the parts of the peer's answer.

        Raises: PeerUnreachableError when the connection ends, nothing comes for ``patience_s``, or
        the peer refuses.
        """
        if self._ended.done() or len(self._asked) >= MOST_QUESTIONS:
            why = self._ended.result() if self._ended.done() else "too many questions are open"
            raise PeerUnreachableError(why)
        number = next(self._numbers)
        box = self._asked[number] = asyncio.Queue()
        self._say(BusFrame(question=BusQuestion(number=number, events=request)))
        answer: BusAnswer | None = None
        try:
            while not (answer := await self._next_part(box, patience_s)).last:
                yield answer.events
                self._say(BusFrame(more=number))
        finally:
            del self._asked[number]
            if answer is None or not answer.last:
                self._say(BusFrame(cancel=number))
        if answer.refused:
            raise PeerUnreachableError(answer.refused)

    async def _next_part(self, box: "asyncio.Queue[BusAnswer | None]", limit_s: float) -> BusAnswer:
        try:
            async with asyncio.timeout(limit_s):
                answer = await box.get()
        except TimeoutError:
            text = f"has not answered for {limit_s:g} s"
            raise PeerUnreachableError(text) from None
        if answer is None:
            raise PeerUnreachableError(self._ended.result())
        return answer

    # What comes.

    async def _receive(self) -> None:
        while isinstance(frame := await self._stream.read(), BusFrame):
            self._take(frame)
        self.close("it has hung up")

    def _take(self, frame: BusFrame) -> None:
        match frame.WhichOneof("frame"):
            case "question":
                self._begin(frame.question)
            case "answer":
                self._put(frame.answer)
            case "more":
                if wanted := self._wanted.get(frame.more):
                    wanted.set()
            case "cancel":
                if task := self._answering.get(frame.cancel):
                    task.cancel()
            case "hello":
                raise MisuseError("said hello twice")
            case _:
                pass  # of a later version

    def _put(self, answer: BusAnswer) -> None:
        box = self._asked.get(answer.number)
        if box is None:
            return  # Nobody waits any more.
        if box.qsize():
            raise MisuseError("sent a part that was not asked for")
        box.put_nowait(answer)

    def _begin(self, question: BusQuestion) -> None:
        number = question.number
        if number in self._answering:
            raise MisuseError("asked two questions under one number")
        # One that is cancelled is gone in a moment; the next question may be here before.
        if sum(not task.cancelling() for task in self._answering.values()) >= MOST_QUESTIONS:
            self._refuse(number, "too many questions are open")
        elif question.WhichOneof("question") is None:
            self._refuse(number, "its version does not know the question")
        else:
            self._wanted[number] = asyncio.Event()
            task = self._start(self._answer(number, question.events))
            self._answering[number] = task
            task.add_done_callback(lambda _: self._forget(number))

    async def _answer(self, number: int, request: EventsRequest) -> None:
        wanted = self._wanted[number]
        async with aclosing(self._answers(request, self._closing)) as parts:
            async for part in parts:
                if part.ByteSize() > MOST_BYTES - _FRAMING:
                    self._refuse(number, "a part of the answer is too long")
                    return
                self._say(BusFrame(answer=BusAnswer(number=number, events=part)))
                await wanted.wait()
                wanted.clear()
        self._say(BusFrame(answer=BusAnswer(number=number, last=True)))

    def _forget(self, number: int) -> None:
        del self._answering[number], self._wanted[number]

    # What goes.

    def _refuse(self, number: int, why: str) -> None:
        self._say(BusFrame(answer=BusAnswer(number=number, last=True, refused=why)))

    def _say(self, frame: BusFrame) -> None:
        try:
            self._waiting.put_nowait(frame)
        except asyncio.QueueFull:
            self.close("it does not read")

    async def _send(self) -> None:
        while True:
            await self._stream.write(await self._waiting.get())

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do ``work``; what goes wrong with it ends the connection, and nothing else."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._look)
        return task

    def _look(self, done: "asyncio.Task[None]") -> None:
        if not done.cancelled() and (error := done.exception()):
            self.close(reason(error))


def reason(error: BaseException) -> str:
    """Return why a connection has ended, in a line."""
    match error:
        case aio.AioRpcError():
            text = error.details() or error.code().name
        case MisuseError():
            text = f"it {error}"
        case _:
            text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())
