"""An end of the control socket for who has a loop of its own: nothing in it blocks.

Whatever is awaited can be cancelled at once, so that a screen stays alive beside an agent that
hangs.

What this module does not do: connect again (``haagent.cli.top``).
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

from grpc import aio

from haagent.control import haagent_pb2 as pb, haagent_pb2_grpc as pb_grpc
from haagent.control.client import AgentUnreachable, no_answer, no_connection

# gRPC would keep a broken connection for the next channel, and let that wait for its back-off.
_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)

Part = TypeVar("Part")


async def watch(socket_path: Path, timeout_s: float) -> AsyncGenerator[pb.StatusReply]:
    """Yield the status now and after every change, and at least once a second.

    Raises: AgentUnreachable when ``timeout_s`` pass without a reply, or the agent ends.
    """
    async with _stub(socket_path, timeout_s) as stub:
        call = stub.Watch(pb.WatchRequest())
        async with aclosing(_parts(call, socket_path, timeout_s)) as replies:
            async for reply in replies:
                yield reply


async def events(
    socket_path: Path, timeout_s: float, request: pb.EventsRequest
) -> AsyncGenerator[pb.EventsReply]:
    """Yield the parts of what the agent has recorded, and then of what comes.

    Raises: AgentUnreachable when ``timeout_s`` pass without a part, or the agent ends.
    """
    async with _stub(socket_path, timeout_s) as stub:
        call = stub.Events(request)
        async with aclosing(_parts(call, socket_path, timeout_s)) as parts:
            async for part in parts:
                yield part


async def drain(socket_path: Path, timeout_s: float, request: pb.DrainRequest) -> pb.SteerReply:
    """Drain the agent; return how that went.

    Raises: AgentUnreachable, at the latest after ``timeout_s``; it may happen all the same.
    """
    async with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = await stub.Drain(request, timeout=timeout_s)
        return reply


async def undrain(socket_path: Path, timeout_s: float, request: pb.UndrainRequest) -> pb.SteerReply:
    """End a drain of the agent, as :func:`drain` begins it."""
    async with _stub(socket_path, timeout_s) as stub:
        reply: pb.SteerReply = await stub.Undrain(request, timeout=timeout_s)
        return reply


async def fail_over(
    socket_path: Path, timeout_s: float, request: pb.FailoverRequest
) -> pb.FailoverReply:
    """Have the agent begin to hand a group over; return whether it has.

    Raises: AgentUnreachable, at the latest after ``timeout_s``; it may happen all the same.
    """
    async with _stub(socket_path, timeout_s) as stub:
        reply: pb.FailoverReply = await stub.Failover(request, timeout=timeout_s)
        return reply


async def _parts(
    call: aio.UnaryStreamCall[object, Part], socket_path: Path, timeout_s: float
) -> AsyncGenerator[Part]:
    """Yield what comes; a stream has a deadline as a whole, but none for one part."""
    try:
        while True:
            async with asyncio.timeout(timeout_s):
                part = await call.read()
            if part is aio.EOF:
                message = f"{socket_path}: the agent has ended"
                raise AgentUnreachable(message)
            yield cast(Part, part)
    except TimeoutError:
        raise _silence(socket_path, timeout_s) from None
    finally:
        call.cancel()
        # Else gRPC tells of the end when the loop may be closed.
        await call.code()


@asynccontextmanager
async def _stub(socket_path: Path, timeout_s: float) -> AsyncIterator[pb_grpc.AgentStub]:
    await _require_listener(socket_path, timeout_s)
    async with aio.insecure_channel(f"unix:{socket_path}", options=_OPTIONS) as channel:
        try:
            yield pb_grpc.AgentStub(channel)
        except aio.AioRpcError as error:
            raise no_answer(socket_path, error, timeout_s) from error


async def _require_listener(socket_path: Path, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_unix_connection(os.fspath(socket_path))
    except TimeoutError:
        raise _silence(socket_path, timeout_s) from None
    except OSError as error:
        raise no_connection(socket_path, error) from None
    writer.close()


def _silence(socket_path: Path, timeout_s: float) -> AgentUnreachable:
    return AgentUnreachable(f"{socket_path}: no answer within {timeout_s:g} s")
