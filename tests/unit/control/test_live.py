"""The end of the control socket that never blocks, beside what does not answer."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeAlias

import pytest

from haagent.control import haagent_pb2 as pb, live
from haagent.control.client import AgentUnreachable

Question: TypeAlias = Callable[[Path, float], Awaitable[object]]


async def first(parts: AsyncGenerator[object]) -> object:
    async with aclosing(parts) as each:
        return await anext(each)


QUESTIONS: dict[str, Question] = {
    "watch": lambda path, timeout_s: first(live.watch(path, timeout_s)),
    "events": lambda path, timeout_s: first(live.events(path, timeout_s, pb.EventsRequest())),
    "drain": lambda path, timeout_s: live.drain(path, timeout_s, pb.DrainRequest()),
    "undrain": lambda path, timeout_s: live.undrain(path, timeout_s, pb.UndrainRequest()),
    "failover": lambda path, timeout_s: live.fail_over(path, timeout_s, pb.FailoverRequest()),
}
ANY = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[Path]:
    """A socket that takes connections and never says a word, as an agent that hangs."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


@ANY
def test_what_does_not_answer_is_given_up(ask: Question, mute: Path) -> None:
    with pytest.raises(AgentUnreachable, match=r"no answer within 0\.2 s"):
        asyncio.run(asyncio.wait_for(ask(mute, 0.2), 60))


@ANY
def test_where_nobody_listens_the_reason_is_told(ask: Question, tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match="is the agent running"):
        asyncio.run(asyncio.wait_for(ask(tmp_path / "control.sock", 60), 60))


@ANY
def test_a_question_can_be_taken_back_before_it_is_answered(ask: Question, mute: Path) -> None:
    async def takes_back() -> None:
        question = asyncio.ensure_future(ask(mute, 3_600))
        await asyncio.wait([question], timeout=0.2)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question

    asyncio.run(asyncio.wait_for(takes_back(), 60))
