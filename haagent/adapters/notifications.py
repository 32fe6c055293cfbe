"""Tells people what has happened, through the services that they have named.

For each entry of the configuration there is one message at a time, sent by a program of our own
in a thread: a service that hangs delays what that entry tells, and nothing else.  What cannot be
sent is tried again twice, and then counted in the next message.

What this module does not do: choose what is told, or how often (``haagent.core.notices``).
"""

import asyncio
import json
from asyncio import Task
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from haagent.adapters.programs import Ended, run_module
from haagent.adapters.programs.in_thread import in_thread
from haagent.core.actions import Record, Severity
from haagent.core.events import NotificationEnded
from haagent.core.notices import Notice, Notices, NotificationSettings
from haagent.core.units import Moment

TIMEOUT_S = 30.0
"""How long all services of an entry may take."""

RETRIES_S = (5.0, 20.0)
"""How long to wait before what has failed is tried again."""

_TYPES = {Severity.CRITICAL: "failure", Severity.ERROR: "failure", Severity.WARNING: "warning"}
"""apprise's words; else it is "info"."""


class Notifications:
    """See the module docstring.  To be used inside one event loop."""

    def __init__(
        self,
        settings: Iterable[NotificationSettings],
        sender: str,
        post: Callable[[NotificationEnded], None],
        now: Callable[[], Moment],
        retries_s: tuple[float, ...] = RETRIES_S,
    ) -> None:
        """``sender`` begins every title."""
        self._now = now
        self._sender = sender
        self._post = post
        self._retries_s = retries_s
        self._entries: dict[NotificationSettings, _Entry] = {}
        self._wanted = tuple(settings)
        self._running = False

    def follow(self, settings: Iterable[NotificationSettings]) -> None:
        """Go by ``settings`` from now on; an entry that stays goes on as it is."""
        self._wanted = tuple(settings)
        if not self._running:
            return
        for gone in self._entries.keys() - {*self._wanted}:
            self._entries.pop(gone).task.cancel()
            self._post(NotificationEnded(gone.urls_file, ""))
        for each in self._wanted:
            if each not in self._entries:
                notices = Notices(each, self._sender)
                self._entries[each] = _Entry(each, notices, self._post, self._now, self._retries_s)

    def tell(self, record: Record) -> None:
        """Take in what has happened; returns at once."""
        for entry in self._entries.values():
            entry.tell(record)

    async def run(self) -> None:
        """Send until cancelled."""
        self._running = True
        self.follow(self._wanted)
        try:
            await asyncio.Event().wait()
        finally:
            self._running = False
            for entry in self._entries.values():
                entry.task.cancel()

    async def finish(self, limit_s: float) -> None:
        """Send what is left, for ``limit_s`` at most."""
        lasts = [asyncio.create_task(entry.finish()) for entry in self._entries.values()]
        if lasts:
            await asyncio.wait(lasts, timeout=limit_s)


class _Entry:
    """One entry of the configuration."""

    def __init__(
        self,
        settings: NotificationSettings,
        notices: Notices,
        post: Callable[[NotificationEnded], None],
        now: Callable[[], Moment],
        retries_s: tuple[float, ...],
    ) -> None:
        self._settings = settings
        self._now = now
        self._notices = notices
        self._post = post
        self._retries_s = retries_s
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self.task: Task[None] = asyncio.create_task(self._work())

    def tell(self, record: Record) -> None:
        self._notices.add(self._now().mono, record)
        self._news.set()

    async def finish(self) -> None:
        """Send what is left, once."""
        async with self._sending:
            notice = self._notices.take(self._now().mono, last=True)
            if notice is not None:
                await self._try(notice, [])

    async def _work(self) -> None:
        # That nothing can be sent is to be known before there is something to send.
        await self._try(None, [])
        while True:
            await self._due()
            async with self._sending:
                notice = self._notices.take(self._now().mono)
                if notice is not None:
                    await self._send(notice)

    async def _due(self) -> None:
        """Return when there is something to be sent."""
        while (due := self._notices.deadline()) is None:
            self._news.clear()
            await self._news.wait()
        await asyncio.sleep(max(0, due - self._now().mono) / 1e9)

    async def _send(self, notice: Notice) -> None:
        failed: list[int] = []
        for pause_s in (0.0, *self._retries_s):
            await asyncio.sleep(pause_s)
            ok, failed = await self._try(notice, failed)
            if ok:
                return
        self._notices.lost(self._now().mono, notice)

    async def _try(self, notice: Notice | None, only: list[int]) -> tuple[bool, list[int]]:
        """Send to the services numbered ``only``, or all; return those that have failed.

        Without a notice it is only looked whether they can be used.
        """
        request: dict[str, Any] = {"file": self._settings.urls_file, "only": only}
        if notice is not None:
            kind = _TYPES.get(notice.severity, "info")
            request |= {"title": notice.title, "body": notice.body, "type": kind}
        ended = await in_thread(lambda: run_module("adapters.notify", request, timeout_s=TIMEOUT_S))
        failed, text = _read(ended)
        self._post(NotificationEnded(self._settings.urls_file, text))
        return not text, failed


def _read(ended: Ended) -> tuple[list[int], str]:
    """Return which services have failed, and what is wrong; empty when nothing is."""
    with suppress(ValueError, IndexError, KeyError, TypeError):
        said = json.loads(ended.output.splitlines()[-1])
        if ended.code in (0, 1):
            return said["failed"], said["text"]
    return [], ended.text
