"""Waits for a program in the loop, which it holds up by nothing."""

import asyncio
from _thread import start_new_thread
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from haagent.adapters.programs import Ended


async def in_thread(work: Callable[[], Ended]) -> Ended:
    """Return what ``work`` returns in a thread of its own.  Raises: what it raises, but OSError."""
    answer: Future[Ended] = Future()

    def deliver() -> None:
        with suppress(InvalidStateError):  # Nobody waits any more.
            try:
                answer.set_result(work())
            except OSError as error:
                answer.set_result(Ended(refused=str(error)))
            except Exception as error:  # It is raised where it is waited for.
                answer.set_exception(error)

    # None of a pool, whose threads are waited for at the end of the process; and not of threading,
    # which waits until the new thread has had a processor.
    start_new_thread(deliver, ())
    return await asyncio.wrap_future(answer)
