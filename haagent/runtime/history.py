"""What the agent has recorded, kept on the disk and shown to who asks over the control socket.

What this module does not do: keep it (``haagent.adapters.event_store``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

from haagent.adapters.event_store import EventStore, Page, Query
from haagent.control.haagent_pb2 import EventsReply, EventsRequest
from haagent.control.reply import event
from haagent.core.actions import Record
from haagent.core.identity import BootId
from haagent.core.timeline import Entry
from haagent.core.units import Moment

BEAT_S = 3.0
"""Between two parts where there is nothing to say, so that who follows knows that we live."""

PAUSE_S = 0.1
"""Before those who follow look again: a storm of records costs them one look, not one each."""

_HANGS = "the disk does not answer"
_GREATEST = (1 << 63) - 1
"""Place that there can be in a file."""

_NOTHING = Page(entries=(), end=0, more=False)


class History:
    """See the module docstring."""

    def __init__(
        self, store: EventStore, node: str, boot: BootId, now: Callable[[], Moment]
    ) -> None:
        self._store = store
        self._node = node
        self._boot = boot
        self._now = now
        self._news = asyncio.Event()

    def keep(self, record: Record) -> None:
        """Keep what the core has recorded; returns at once."""
        self._store.keep(Entry(node=self._node, boot=self._boot, record=record))
        # Each piece of news has an event of its own: nobody has to say that it was seen.
        self._news.set()
        self._news = asyncio.Event()

    async def newest(self, group: str, kinds: tuple[str, ...]) -> Record | None:
        """Return the newest record of ``kinds`` in ``group`` since this start.

        Raises: OSError when it cannot be read.  Takes as long as the disk does.
        """
        return await self._last(Query(boot=self._boot, group=group, kinds=kinds, last=True))

    async def numbered(self, number: int) -> Record | None:
        """Return the record of this start that has ``number``, while it is kept.

        Raises: OSError when it cannot be read.  Takes as long as the disk does.
        """
        return await self._last(Query(boot=self._boot, number=number, last=True))

    async def _last(self, query: Query) -> Record | None:
        entries = (await self._store.read(query)).entries
        return entries[0].record if entries else None

    async def replies(
        self, request: EventsRequest, closing: asyncio.Event
    ) -> AsyncGenerator[EventsReply, None]:
        """Yield what is kept, and with ``follow`` what comes, until ``closing`` is set."""
        query = self._query(request)
        while not closing.is_set():
            news = asyncio.create_task(self._news.wait())
            reading = asyncio.create_task(self._page(query))
            try:
                while not await _done(reading, closing):
                    yield self._part(trouble=self._store.trouble or _HANGS)
                    if closing.is_set() or not request.follow:
                        return
                page, trouble = reading.result()
                query = replace(query, after=page.end)
                yield self._part(page, trouble)
                if page.more:
                    continue
                if not request.follow:
                    return
                while not closing.is_set() and not await _done(news, closing):
                    yield self._part(trouble=self._store.trouble)
                await asyncio.sleep(PAUSE_S)
            finally:
                reading.cancel()
                news.cancel()

    def _part(self, page: Page = _NOTHING, trouble: str = "") -> EventsReply:
        return EventsReply(
            events=map(event, page.entries),
            trouble=trouble,
            node=self._node,
            more=page.more,
            end=page.end,
        )

    async def _page(self, query: Query) -> tuple[Page, str]:
        """Return what there is, and why it may not be all."""
        try:
            page = await self._store.read(query)
        except OSError as error:
            return Page(entries=(), end=query.after, more=False), str(error)
        return page, "" if page.more else self._store.trouble

    def _query(self, request: EventsRequest) -> Query:
        since_ms = None
        if request.HasField("since_ms"):
            since_ms = max(0, self._now().wall // 1_000_000 - request.since_ms)
        return Query(
            after=min(request.after, _GREATEST),
            since_ms=since_ms,
            group=request.group if request.HasField("group") else None,
            kinds=tuple(request.kinds),
        )


async def _done(work: "asyncio.Task[Any]", closing: asyncio.Event) -> bool:
    """Return whether ``work`` is done; False after a beat, or when ``closing`` is set."""
    ending = asyncio.create_task(closing.wait())
    await asyncio.wait({work, ending}, timeout=BEAT_S, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    return work.done()
