"""Questions and answers over a stream between two ends, both of them real; the stream is memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from functools import wraps
from typing import Any

import pytest

from haagent.bus.connection import MOST_BYTES, MOST_QUESTIONS, Connection, PeerUnreachableError
from haagent.control.haagent_pb2 import (
    BusAnswer,
    BusFrame,
    BusHello,
    BusQuestion,
    EventsReply,
    EventsRequest,
)

PATIENCE_S = 30.0
BY_ZERO = "ZeroDivisionError: integer division or modulo by zero"
ASKED = BusFrame(question=BusQuestion(number=7, events=EventsRequest()))


class Memory:
    """One end of a stream; the other end is ``other``."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[BusFrame | None] = asyncio.Queue()
        self.reads = asyncio.Event()
        """Whether the other end takes what this one writes."""
        self.reads.set()
        self.other: Memory

    async def read(self) -> BusFrame | None:
        return await self.came.get()

    async def write(self, frame: BusFrame) -> None:
        await self.reads.wait()
        self.other.came.put_nowait(frame)


def stream() -> tuple[Memory, Memory]:
    near, far = Memory(), Memory()
    near.other, far.other = far, near
    return near, far


class Answers:
    """Answers any question by so many parts, and says what became of it."""

    def __init__(self, parts: int = 0, size: int = 1) -> None:
        self._parts = parts
        self._size = size
        self.made = 0
        self.ended = 0

    async def __call__(
        self, request: EventsRequest, _closing: asyncio.Event
    ) -> AsyncGenerator[EventsReply, None]:
        try:
            for number in range(self._parts):
                self.made += 1
                yield EventsReply(node=f"{request.group}{number}", trouble="x" * self._size)
        finally:
            self.ended += 1


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60):
                await test(*args, **kwargs)

        asyncio.run(limited())

    return run


@asynccontextmanager
async def running(end: Memory, answers: Answers) -> AsyncIterator[Connection]:
    connection = Connection(end, BusHello(), answers)
    task = asyncio.create_task(connection.run())
    yield connection
    connection.close("over")
    await task


async def settle() -> None:
    """Let everything happen that can: nothing here waits for anything but its own loop."""
    for _ in range(100):
        await asyncio.sleep(0)


async def nodes(parts: AsyncGenerator[EventsReply, None]) -> list[str]:
    return [part.node async for part in parts]


@in_loop
async def test_both_ends_ask_at_the_same_time() -> None:
    ends = stream()
    async with running(ends[0], Answers(2)) as near, running(ends[1], Answers(3)) as far:
        asked = [
            nodes(end.ask(EventsRequest(group=group), PATIENCE_S))
            for end, group in ((near, "a"), (far, "b"), (near, "c"))
        ]

        assert await asyncio.gather(*asked) == [
            ["a0", "a1", "a2"],
            ["b0", "b1"],
            ["c0", "c1", "c2"],
        ]


@in_loop
async def test_a_part_is_made_when_the_one_before_has_been_taken() -> None:
    ends, answers = stream(), Answers(1000)
    async with (
        running(ends[0], Answers()) as near,
        running(ends[1], answers),
        aclosing(near.ask(EventsRequest(), PATIENCE_S)) as parts,
    ):
        for taken in (1, 2, 3):
            await anext(parts)
            await settle()

            assert answers.made == taken


@in_loop
async def test_an_answer_that_nobody_wants_any_more_ends() -> None:
    ends, answers = stream(), Answers(1000)
    async with running(ends[0], Answers()) as near, running(ends[1], answers):
        async with aclosing(near.ask(EventsRequest(), PATIENCE_S)) as parts:
            await anext(parts)
        await settle()

        assert (answers.made, answers.ended) == (1, 1)
        assert len(await nodes(near.ask(EventsRequest(), PATIENCE_S))) == 1000


@in_loop
async def test_answers_end_with_the_connection() -> None:
    ends, answers = stream(), Answers(1000)
    async with running(ends[0], Answers()) as near, running(ends[1], answers) as far:
        parts = near.ask(EventsRequest(), PATIENCE_S)
        await anext(parts)
        far.close("it is late")
        await settle()
        ends[0].came.put_nowait(None)

        assert answers.ended == 1
        with pytest.raises(PeerUnreachableError, match="it has hung up"):
            await anext(parts)
        with pytest.raises(PeerUnreachableError, match="it has hung up"):
            await anext(near.ask(EventsRequest(), PATIENCE_S))


@in_loop
async def test_who_does_not_answer_is_not_waited_for() -> None:
    ends = stream()
    async with running(ends[0], Answers()) as near:
        with pytest.raises(PeerUnreachableError, match=r"has not answered for 0\.01 s"):
            await anext(near.ask(EventsRequest(), 0.01))
        await settle()

        assert [frame.WhichOneof("frame") for frame in sent(ends[1])] == ["question", "cancel"]


@in_loop
async def test_so_many_questions_may_be_open() -> None:
    ends, answers = stream(), Answers(1000)
    async with running(ends[0], Answers()) as near, running(ends[1], answers):
        opened = [near.ask(EventsRequest(), PATIENCE_S) for _ in range(MOST_QUESTIONS)]
        for parts in opened:
            await anext(parts)

        with pytest.raises(PeerUnreachableError, match="too many questions"):
            await anext(near.ask(EventsRequest(), PATIENCE_S))
        await opened[0].aclose()
        await anext(near.ask(EventsRequest(), PATIENCE_S))


@in_loop
async def test_more_questions_than_that_are_refused() -> None:
    ends, answers = stream(), Answers(1000)
    async with running(ends[0], answers):
        for number in range(MOST_QUESTIONS + 1):
            question = BusQuestion(number=number, events=EventsRequest())
            ends[0].came.put_nowait(BusFrame(question=question))
        await settle()

        refused = [frame.answer for frame in sent(ends[1]) if frame.answer.last]
        assert [answer.refused for answer in refused] == ["too many questions are open"]
        assert answers.made == MOST_QUESTIONS


@in_loop
async def test_a_question_that_is_cancelled_at_once_leaves_nothing_behind() -> None:
    ends, answers = stream(), Answers(1000)
    async with running(ends[0], answers):
        for number in range(3 * MOST_QUESTIONS):
            question = BusQuestion(number=number, events=EventsRequest())
            ends[0].came.put_nowait(BusFrame(question=question))
            ends[0].came.put_nowait(BusFrame(cancel=number))
            await settle()

        assert not [frame for frame in sent(ends[1]) if frame.answer.refused]


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([BusFrame(hello=BusHello())], "it said hello twice"),
        ([ASKED, ASKED], "it asked two questions under one number"),
    ],
)
@in_loop
async def test_who_does_what_no_agent_does_is_cut_off(frames: list[BusFrame], why: str) -> None:
    ends = stream()
    connection = Connection(ends[0], BusHello(), Answers(9))
    for frame in frames:
        ends[0].came.put_nowait(frame)

    assert await connection.run() == why


@in_loop
async def test_who_sends_parts_unasked_is_cut_off() -> None:
    ends = stream()
    connection = Connection(ends[0], BusHello(), Answers())
    task = asyncio.create_task(connection.run())
    asked = asyncio.create_task(anext(connection.ask(EventsRequest(), PATIENCE_S)))
    await settle()
    for _ in range(3):
        ends[0].came.put_nowait(BusFrame(answer=BusAnswer(number=1)))

    assert await task == "it sent a part that was not asked for"
    assert await asked == EventsReply()


@in_loop
async def test_who_asks_and_does_not_read_is_cut_off() -> None:
    ends = stream()
    ends[0].reads.clear()
    connection = Connection(ends[0], BusHello(), Answers(1, size=1000))
    for number in range(1000):
        question = BusQuestion(number=number, events=EventsRequest())
        ends[0].came.put_nowait(BusFrame(question=question))

    assert await connection.run() == "it does not read"


@in_loop
async def test_frames_and_questions_of_a_later_version_harm_nobody() -> None:
    ends = stream()
    async with running(ends[0], Answers(1)):
        ends[0].came.put_nowait(BusFrame())
        ends[0].came.put_nowait(BusFrame(more=99))
        ends[0].came.put_nowait(BusFrame(cancel=99))
        ends[0].came.put_nowait(BusFrame(answer=BusAnswer(number=99)))
        ends[0].came.put_nowait(BusFrame(question=BusQuestion(number=1)))
        ends[0].came.put_nowait(ASKED)
        await settle()

        refused, answered = (frame.answer for frame in sent(ends[1]))
        assert refused.last
        assert "does not know" in refused.refused
        assert answered.events.node == "0"


@in_loop
async def test_a_part_that_is_too_long_is_refused_and_not_sent() -> None:
    ends = stream()
    async with (
        running(ends[0], Answers()) as near,
        running(ends[1], Answers(2, size=MOST_BYTES)),
    ):
        with pytest.raises(PeerUnreachableError, match="too long"):
            await anext(near.ask(EventsRequest(), PATIENCE_S))


@in_loop
async def test_an_answer_that_goes_wrong_ends_the_connection_and_nothing_else() -> None:
    async def broken(
        _request: EventsRequest, _closing: asyncio.Event
    ) -> AsyncGenerator[EventsReply, None]:
        yield EventsReply(node=str(1 // _request.since_ms))

    ends = stream()
    ends[0].came.put_nowait(ASKED)

    assert await Connection(ends[0], BusHello(), broken).run() == BY_ZERO


def sent(end: Memory) -> list[BusFrame]:
    """What has come to an end that nobody reads."""
    frames = []
    while not end.came.empty():
        frame = end.came.get_nowait()
        assert frame is not None
        frames.append(frame)
    return frames
