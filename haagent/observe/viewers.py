"""The status as a stream of server-sent events, to everybody who watches the page.

A viewer gets everything at once: ``status``, what ``/api/v1/status`` answers but for its records,
and ``records``, the newest of these.  Each comes again when it has changed, at most five times a
second; the status also once a second when nothing has, so that the ages move.  ``silent`` says
that the agent does not answer.  One question to it serves all viewers, and none is asked while
nobody watches.  Who reads slowly misses some, never the newest.

What this module does not do: end the stream of who does not read at all
(``haagent.observe.connections``).
"""

import asyncio
import json
import socket
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from haagent.observe.agent import HELD_S, Agent, SilentError
from haagent.observe.exchange import Question

MOST = 100
"""Viewers at a time; one more is told so."""

LONGEST_PAUSE_S = 1.0

NEWEST = 50
"""Records: more than anybody reads from a page that is to be understood at a glance."""

_KERNEL_KEEPS = 64 << 10
"""Bytes for a viewer that reads slowly: some statuses, and not minutes of them."""

_VANISHED_MS = 10_000
"""A viewer whose host says nothing for so long is gone, and its place is free."""

_MOVES_BY_ITSELF = {"time", "runtime", "traffic", "runs", "busy_permille", "round_trip_us"}
"""Fields that are no news, besides ages."""


class Viewers:
    """See the module docstring."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.streams: set[RequestHandler] = set()
        """The connections of those who watch."""
        self._events: dict[str, bytes] = {}
        """The newest of each kind; none while nobody watches."""
        self._essence: object = None
        self._sent_at_s = float("-inf")
        self._news = asyncio.Event()
        self._come = asyncio.Event()

    async def run(self) -> None:
        """Ask the agent while anybody watches, until cancelled."""
        while True:
            if not self.streams:
                self._events, self._essence = {}, None
                self._come.clear()
                await self._come.wait()
            await self._ask()
            await asyncio.sleep(HELD_S)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send the events until the viewer has gone.

        Raises: HTTPServiceUnavailable when there are too many.
        """
        if len(self.streams) >= MOST:
            raise web.HTTPServiceUnavailable(reason=f"{MOST} others watch already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self.streams.add(request.protocol)
        try:
            _keep_little(request)
            await response.prepare(request)
            self._come.set()
            await self._send_all(response)
        except ConnectionError:
            return response
        finally:
            self.streams.discard(request.protocol)

    async def _send_all(self, response: web.StreamResponse) -> NoReturn:
        """Raises: ConnectionError, and never ends otherwise."""
        sent: dict[str, bytes] = {}
        while True:
            # Taken before the pause of a viewer that reads slowly: what comes meanwhile wakes it.
            news, events = self._news, self._fresh()
            for name, event in events.items():
                # The others say each time that the agent is there, or is not.
                if name != "records" or event != sent.get(name):
                    await response.write(event)
            sent = events
            await news.wait()

    def _fresh(self) -> dict[str, bytes]:
        """Return the newest events, unless the agent owes others for so long that they mislead."""
        age_s = asyncio.get_running_loop().time() - self._sent_at_s
        return self._events if age_s < 2 * LONGEST_PAUSE_S else {}

    async def _ask(self) -> None:
        try:
            status = json.loads(await self._agent.ask(Question.STATUS))
        except SilentError as error:
            self._publish(str(error), silent=str(error))
            return
        records = {name: status[name] for name in ("node", "boot_id")}
        records["records"] = status.pop("records")[-NEWEST:]
        self._publish((_essence(status), records), records=records, status=status)

    def _publish(self, essence: object, **events: object) -> None:
        """Send ``events`` if ``essence`` is news, or the last ones were long ago."""
        now_s = asyncio.get_running_loop().time()
        if essence != self._essence or now_s - self._sent_at_s >= LONGEST_PAUSE_S:
            self._essence, self._sent_at_s = essence, now_s
            self._events = {name: _event(name, value) for name, value in events.items()}
            # Each has a signal of its own, so that every viewer wakes for it once.
            self._news.set()
            self._news = asyncio.Event()


def _event(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def _essence(value: Any) -> object:
    """Return ``value`` without what moves when nothing happens."""
    if isinstance(value, dict):
        kept = ((k, v) for k, v in value.items() if k not in _MOVES_BY_ITSELF)
        return {key: _essence(each) for key, each in kept if not key.endswith("_ms")}
    return [_essence(each) for each in value] if isinstance(value, list) else value


def _keep_little(request: web.Request) -> None:
    assert request.transport is not None
    link = request.transport.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_KEEPS)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS)
