"""Drain, pause and failover of a running agent, as an operator says at the control socket.

A drain or a pause is on the disk before the agent knows of it, so that no restart forgets it; where
it cannot be written nothing changes.  What is asked twice under one id is done once.

What this module does not do: judge who could take over (``failover``), or hand over
(``haagent.core.election``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar, assert_never

from haagent.adapters import clock
from haagent.adapters.state_file import StateFile
from haagent.control.haagent_pb2 import (
    DrainRequest,
    FailoverReply,
    FailoverRequest,
    PauseRequest,
    ResumeRequest,
    SteerReply,
    UndrainRequest,
)
from haagent.control.server import SteerRequest
from haagent.core.events import FailoverAsked, Steered
from haagent.core.identity import group_id
from haagent.core.status import Status
from haagent.core.units import WallNs
from haagent.runtime.failover import Already, Refusal, Successor, stranded, successor
from haagent.runtime.seen import outdated

SHORTEST_MS, LONGEST_MS = 1_000, 366 * 24 * 3_600_000
"""How long a drain with an end of its own may last."""

REMEMBERED = 64
"""Requests whose answers are kept: who asks again has lost the answer a moment ago."""

Reply = TypeVar("Reply", SteerReply, FailoverReply)


class Steering:
    """See the module docstring."""

    def __init__(
        self,
        state: StateFile,
        status: Callable[[], Status],
        settle: Callable[[Steered | FailoverAsked], Awaitable[None]],
    ) -> None:
        """``settle`` returns once the agent has taken in what it is told."""
        self._state = state
        self._status = status
        self._settle = settle
        self._busy = asyncio.Lock()
        self._steered: dict[str, SteerReply] = {}
        self._failed_over: dict[str, FailoverReply] = {}

    async def steer(self, request: SteerRequest) -> SteerReply:
        """Have it as ``request`` says, or leave all as it is and say why; one after the other."""
        async with self._busy:
            if (known := self._steered.get(request.id)) is not None:
                return known
            reply = await self._steer(request)
            return _remember(self._steered, request.id, reply)

    async def fail_over(self, request: FailoverRequest) -> FailoverReply:
        """Begin the handover that ``request`` wants, or say why not; one after the other."""
        async with self._busy:
            if (known := self._failed_over.get(request.id)) is not None:
                return known
            reply = await self._fail_over(request)
            return _remember(self._failed_over, request.id, reply)

    async def _steer(self, request: SteerRequest) -> SteerReply:
        status, before = self._status(), self._in_force()
        after = _wanted(before, request, clock.now().wall)
        why = [*outdated(status, request.seen)]
        if isinstance(request, DrainRequest):
            why += _odd_length(request)
            if not before.maintenance and not request.force:
                why += stranded(status)
        if why:
            return SteerReply(outcome="refused", lines=why)
        if after != self._state.steered:
            try:
                await asyncio.to_thread(self._state.steer, after)
            except OSError as error:
                return SteerReply(outcome="refused", lines=[str(error.strerror)])
        # Also what is no news: who resumes need no longer wait for a master that had paused.
        await self._settle(after)
        outcome = "unchanged" if after == before else "applied"
        return SteerReply(outcome=outcome, until=_rfc3339(after.until))

    async def _fail_over(self, request: FailoverRequest) -> FailoverReply:
        status = self._status()
        found = successor(status, request.group, request.to, force=request.force)
        match found:
            # Before the term: who asks again for what he has got has got it.
            case Already(name):
                return FailoverReply(outcome="unchanged", to=name)
            case Refusal(why):
                return FailoverReply(outcome="refused", lines=[why])
            case Successor(name, node):
                if changed := [*outdated(status, request.seen)]:
                    return FailoverReply(outcome="refused", lines=changed)
                await self._settle(FailoverAsked(group_id(request.group), node))
                return FailoverReply(outcome="begun", to=name)
            case _:
                assert_never(found)

    def _in_force(self) -> Steered:
        """Return what is wanted; of a drain that has ended by itself the disk does not know."""
        return self._status().steered or self._state.steered


def _odd_length(request: DrainRequest) -> list[str]:
    if request.HasField("for_ms") and not SHORTEST_MS <= request.for_ms <= LONGEST_MS:
        return ["a drain lasts 1 s to 366 days, or until undrain"]
    return []


def _wanted(before: Steered, request: SteerRequest, wall: WallNs) -> Steered:
    match request:
        case DrainRequest():
            ends = request.HasField("for_ms")
            until = WallNs(wall + request.for_ms * 1_000_000) if ends else None
            return replace(before, maintenance=True, until=until)
        case UndrainRequest():
            return replace(before, maintenance=False, until=None)
        case PauseRequest():
            return replace(before, paused=True)
        case ResumeRequest():
            return replace(before, paused=False)
        case _:
            assert_never(request)


def _remember(replies: dict[str, Reply], key: str, reply: Reply) -> Reply:
    if key:
        replies[key] = reply
        if len(replies) > REMEMBERED:
            del replies[next(iter(replies))]
    return reply


def _rfc3339(until: WallNs | None) -> str:
    if until is None:
        return ""
    return f"{datetime.fromtimestamp(until // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
