"""A thread that works beside the event loop for as long as that wants it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Thread


async def in_thread(work: Callable[[], None], end: Callable[[], None], name: str) -> None:
    """Have ``work`` done in a thread until it returns, or we are cancelled.

    On cancellation ``end`` is called, which is to have ``work`` return; nobody waits for that,
    because a disk or a socket that hangs must not hold up the end of the process.

    Raises: what ``work`` raises.
    """
    ended: Future[None] = Future()

    def run() -> None:
        with suppress(InvalidStateError):  # Nobody waits any more.
            try:
                work()
            except BaseException as error:  # Raised where it is waited for.
                ended.set_exception(error)
            else:
                ended.set_result(None)

    # None of a pool, whose threads are waited for at the end of the process.
    Thread(target=run, name=name, daemon=True).start()
    try:
        await asyncio.wrap_future(ended)
    finally:
        end()


def poster(post: Callable[..., None]) -> Callable[..., None]:
    """Return ``post`` for use in a thread; to be called in the loop that ``post`` belongs to."""
    loop = asyncio.get_running_loop()

    def send(*arguments: object) -> None:
        with suppress(RuntimeError):  # The loop is closed, and nobody listens.
            loop.call_soon_threadsafe(post, *arguments)

    return send
