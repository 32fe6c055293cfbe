"""Drain and pause of a running agent, as an operator says at the control socket.

What is said is on the disk before the agent knows of it, so that no restart forgets it; where it
cannot be written nothing changes.

What this module does not do: hand over (``haagent.core.election``).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from haagent.adapters.state_file import StateFile
from haagent.control.haagent_pb2 import SteerReply, SteerRequest
from haagent.core.events import Steered
from haagent.core.status import PeerStatus, Status


class Steering:
    """See the module docstring."""

    def __init__(
        self,
        state: StateFile,
        status: Callable[[], Status],
        settle: Callable[[Steered], Awaitable[None]],
    ) -> None:
        """``settle`` returns once the agent has taken in what it is told."""
        self._state = state
        self._status = status
        self._settle = settle
        self._busy = asyncio.Lock()

    async def steer(self, request: SteerRequest) -> SteerReply:
        """Have it as ``request`` says, or leave all as it is and say why; one after the other."""
        async with self._busy:
            before = self._state.steered
            after = _wanted(before, request)
            drains = after.maintenance and not before.maintenance
            if drains and not request.force and (why := [*stranded(self._status())]):
                return SteerReply(outcome="refused", lines=why)
            if after != before:
                try:
                    await asyncio.to_thread(self._state.steer, after)
                except OSError as error:
                    return SteerReply(outcome="refused", lines=[str(error.strerror)])
            # Also what is no news: who resumes need no longer wait for a master that had paused.
            await self._settle(after)
            return SteerReply(outcome="unchanged" if after == before else "applied")


def stranded(status: Status) -> Iterator[str]:
    """Yield, for each group that we are master of and nobody could take, why nobody could."""
    for group in (each.role.group for each in status.groups if each.role.state.owns_addresses):
        obstacles = [obstacle for peer in status.peers for obstacle in _obstacle(peer, group)]
        if all(obstacles):
            why = ", ".join(obstacles) or "there is no other"
            yield f"no agent could take over {group}: {why}"


def _obstacle(peer: PeerStatus, group: str) -> Iterator[str]:
    """Yield why ``peer``, if it has ``group``, could not take it; an empty text when it could."""
    for role in peer.roles:
        if role.group != group:
            continue
        if not peer.alive:
            yield f"{peer.name} is silent"
        elif not role.priority:
            yield f"{peer.name}: {role.reason.text}"
        else:
            yield "" if peer.hears_us else f"{peer.name} does not hear this agent"


def _wanted(before: Steered, request: SteerRequest) -> Steered:
    has = request.HasField
    return Steered(
        maintenance=request.maintenance if has("maintenance") else before.maintenance,
        paused=request.paused if has("paused") else before.paused,
    )
