"""What all agents have recorded, for who asks one of them: its own, and what the others answer.

Parts come as ``EventsReply`` in ``haagent.proto`` says.  Who cannot be reached is named with the
reason, and tried again where the question goes on (``follow``); nobody is waited for longer than
:data:`ANSWER_S`.

What this module does not do: reach another agent (``haagent.bus``), or put records in order, which
is left to who asks (``haagent.core.timeline``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TypeAlias

from haagent.bus.bus import CONNECTED
from haagent.bus.connection import PeerUnreachableError
from haagent.control.haagent_pb2 import EventsReply, EventsRequest
from haagent.core.status import PeerStatus
from haagent.core.timeline import WINDOW
from haagent.core.units import Moment, between
from haagent.runtime.history import BEAT_S, History

ANSWER_S = 1.5
"""For each part of what another agent has: one that is stopped, or its disk, holds up no more."""

RETRY_S = 1.0

_SOON_S = WINDOW / 2_000_000_000
"""Between two parts while something may wait for its window at who asks."""

Parts: TypeAlias = AsyncGenerator[EventsReply, None]
Ask: TypeAlias = Callable[[str, EventsRequest, float], Parts]
"""Yields what the agent of that name answers.

Raises: PeerUnreachableError, at the latest when so many seconds pass without a part.
"""


def reachable(
    peers: Iterable[PeerStatus], bus: Mapping[str, str], remembered: Iterable[str], now: Moment
) -> dict[str, str]:
    """Return for all other agents, by name, why they cannot be asked; empty where they can."""
    found = dict.fromkeys(remembered, "not heard since this agent has started")
    for peer in peers:
        if peer.alive:
            state = bus.get(peer.name, "the peer bus is off")
            found[peer.name] = "" if state == CONNECTED else state
        else:
            heard_s = (now.wall - between(peer.last_heard, now.mono)) // 1_000_000_000
            instant = datetime.fromtimestamp(heard_s, UTC).isoformat()
            found[peer.name] = f"silent since {instant.replace('+00:00', 'Z')}"
    return found


class ClusterHistory:
    """See the module docstring."""

    def __init__(
        self, history: History, node: str, others: Callable[[], Mapping[str, str]], ask: Ask
    ) -> None:
        """``others`` gives what :func:`reachable` returns."""
        self._history = history
        self._node = node
        self._others = others
        self._ask = ask

    async def replies(self, request: EventsRequest, closing: asyncio.Event) -> Parts:
        """Yield what this agent has, and with ``cluster`` the others, until ``closing`` is set."""
        streams = _Streams()
        try:
            streams.add(self._node, self._history.replies(request, closing))
            yield EventsReply(node=self._node, more=True)
            while streams.are_open and not closing.is_set():
                for name in self._others() if request.cluster else ():
                    if name not in streams:
                        streams.add(name, self._of(name, request))
                        yield EventsReply(node=name, more=True)
                yield await streams.next_part() or EventsReply()
        finally:
            await streams.close()

    async def _of(self, name: str, request: EventsRequest) -> Parts:
        """Yield what another agent has, and who is missing, for as long as that is of interest."""
        after, told = 0, ""
        while True:
            try:
                async with aclosing(self._answer(name, request, after)) as parts:
                    async for part in parts:
                        after, told = part.end or after, ""
                        part.node = name
                        yield part
                return
            except PeerUnreachableError as error:
                # What ends a connection may be that the other one is dead.
                why = self._others().get(name) or str(error)
                if why != told:
                    told = why
                    yield EventsReply(node=name, missing=told)
            if not request.follow:
                return
            await asyncio.sleep(RETRY_S)

    async def _answer(self, name: str, request: EventsRequest, after: int) -> Parts:
        """Yield what another agent has behind ``after``, and then what comes.

        Raises: PeerUnreachableError; when the question goes on that is how it ends.
        """
        if obstacle := self._others().get(name):
            raise PeerUnreachableError(obstacle)
        for follow in (False, True) if request.follow else (False,):
            # Who has nothing new may be silent for a beat, and nobody waits for it then.
            patience_s = BEAT_S + ANSWER_S if follow else ANSWER_S
            wanted = _behind(request, after, follow=follow)
            async with aclosing(self._ask(name, wanted, patience_s)) as parts:
                async for part in parts:
                    after = part.end or after
                    yield part
        if request.follow:
            raise PeerUnreachableError("it has ended")


def _behind(request: EventsRequest, after: int, *, follow: bool) -> EventsRequest:
    """Return what another agent is asked."""
    wanted = EventsRequest()
    wanted.CopyFrom(request)
    wanted.cluster = False
    wanted.follow = follow
    wanted.after = after
    if after:
        wanted.ClearField("since_ms")
    return wanted


class _Streams:
    """Histories side by side, each with its next part on the way."""

    def __init__(self) -> None:
        self._parts: dict[str, Parts] = {}
        self._next: dict[str, asyncio.Future[EventsReply]] = {}
        self._behind: dict[str, int] = {}
        """Up to which count those have told that have more to tell at once."""
        self._moved_s = 0.0
        """When there was a record last."""

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    @property
    def are_open(self) -> bool:
        return bool(self._next)

    def add(self, name: str, parts: Parts) -> None:
        """Begin to take what comes of ``parts``."""
        self._parts[name] = parts
        self._behind[name] = 0
        self._go_on(name)

    async def next_part(self) -> EventsReply | None:
        """Return what comes next; None after a while without, and when a history has ended.

        Of those that have more it is the one that is farthest behind: whoever merges them can
        use nothing before that.
        """
        now_s = asyncio.get_running_loop().time()
        soon = now_s - self._moved_s < 3 * _SOON_S
        farthest = min(self._behind, key=self._behind.__getitem__, default=None)
        names = [*self._next] if farthest is None else [farthest]
        await asyncio.wait(
            [self._next[name] for name in names],
            timeout=_SOON_S if soon else BEAT_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        done = next((name for name in names if self._next[name].done()), None)
        return None if done is None else self._taken(done)

    def _taken(self, name: str) -> EventsReply | None:
        task = self._next.pop(name)
        count = self._behind.pop(name, 0)
        try:
            part = task.result()
        except StopAsyncIteration:
            return None
        self._go_on(name)
        if part.events:
            self._moved_s = asyncio.get_running_loop().time()
            count = part.events[-1].record.lamport
        if part.more:
            self._behind[name] = count
        return part

    def _go_on(self, name: str) -> None:
        # Last among them, so that those who have much to say take turns.
        self._next[name] = asyncio.ensure_future(anext(self._parts[name]))

    async def close(self) -> None:
        for task in self._next.values():
            task.cancel()
        await asyncio.gather(*self._next.values(), return_exceptions=True)
        for parts in self._parts.values():
            await parts.aclose()
