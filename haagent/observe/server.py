"""What is answered under which path.

A new page is a route more in :func:`application`; what the page at ``/`` consists of are the
files in ``page``.

What this module does not do: listen (``haagent.observe.__main__``), or stream (``viewers``).
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from aiohttp import web

from haagent.observe import steering
from haagent.observe.agent import Agent, SilentError
from haagent.observe.exchange import Question
from haagent.observe.facts import Facts, GroupFacts, decode
from haagent.observe.metrics import CONTENT_TYPE, counter, exposition, gauge

_PLAIN = "text/plain; charset=utf-8"
_FOLDER = Path(__file__).parent / "page"
_INDEX, _STEERING = "index.html", "steering.js"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing but our own files, nothing inline, in nobody's frame."""
_MOST_BYTES = 4096
"""Of what is sent to us, as at the control socket."""

_SLICE = 1 << 16
"""So much of an answer waits in this process for a client that reads slowly, and not more."""

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """The handlers of all paths."""

    def __init__(self, agent: Agent, stream: Handler, steer: Handler | None) -> None:
        """``steer``: None without a login; then there is no way to, nor a trace on the page."""
        self._agent = agent
        self._stream = stream
        self._steer = steer
        self._files = {file.name: file.read_bytes() for file in _FOLDER.iterdir()}
        if steer is None:
            del self._files[_STEERING]
            lines = self._files[_INDEX].splitlines(keepends=True)
            self._files[_INDEX] = b"".join(x for x in lines if _STEERING.encode() not in x)
        self._answered: Counter[tuple[str, int]] = Counter()
        """By path and code; paths that there are not count as one."""
        self.connections: Callable[[], int] = lambda: 0
        self.cut: Counter[str] = Counter()

    def application(self) -> web.Application:
        """Return what serves them."""
        application = web.Application(middlewares=[self._guarded], client_max_size=_MOST_BYTES)
        application.on_response_prepare.append(_describe)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/healthz", self._health)
        application.router.add_get("/leader", self._leader)
        application.router.add_get("/api/v1/status", self._status)
        application.router.add_get("/api/v1/stream", self._stream, allow_head=False)
        if self._steer is not None:
            application.router.add_post(steering.PATH, self._steer)
        application.router.add_get("/", self._page)
        application.router.add_get("/page/{name}", self._page)
        return application

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        facts = await self._facts()
        own = (
            counter(
                "haagent_http_requests",
                "Requests that were answered, by path and code.",
                *(
                    ({"path": path, "code": str(code)}, count)
                    for (path, code), count in self._answered.items()
                ),
            ),
            counter(
                "haagent_http_connections_cut",
                "Connections that were ended: too slow, or the oldest of too many.",
                *(({"reason": reason}, count) for reason, count in self.cut.items()),
            ),
            gauge("haagent_http_connections", "Open connections.", ({}, self.connections())),
        )
        return await _reply(request, 200, exposition(facts, *own), CONTENT_TYPE)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        facts = await self._facts()
        faults = [f"{group.name} is in fault: {group.reason_text}" for group in _in_fault(facts)]
        if faults:
            return await _say(request, 503, "; ".join(faults))
        return await _say(request, 200, f"{facts.node} works")

    async def _leader(self, request: web.Request) -> web.StreamResponse:
        groups = {group.name: group for group in (await self._facts()).groups}
        name = request.query.get("group")
        if name is None:
            return await _say(request, 400, f"which group: /leader?group={next(iter(groups), '')}")
        group = groups.get(name)
        if group is None:
            return await _say(request, 404, "there is no such group")
        if group.state != "master":
            return await _say(request, 503, f"{group.state}: {group.reason_text}")
        return await _say(request, 200, "master")

    async def _status(self, request: web.Request) -> web.StreamResponse:
        status = await self._agent.ask(Question.STATUS)
        return await _reply(request, 200, status, "application/json")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", _INDEX)
        if name not in self._files:
            raise web.HTTPNotFound
        content_type = _CONTENT_TYPES[Path(name).suffix]
        return await _reply(request, 200, self._files[name], content_type)

    async def _facts(self) -> Facts:
        return decode(await self._agent.ask(Question.FACTS))

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer also where there is no answer, and count."""
        code = 500
        try:
            response = await handler(request)
            code = response.status
        except web.HTTPException as error:
            code = error.status
            response = await _say(request, code, error.reason)
        except SilentError as error:
            code = 503
            response = await _say(request, code, str(error))
        finally:
            known = request.match_info.route.resource
            self._answered["other" if known is None else known.canonical, code] += 1
        return response


def _in_fault(facts: Facts) -> list[GroupFacts]:
    return [group for group in facts.groups if group.state == "fault"]


async def _say(request: web.Request, code: int, text: str) -> web.StreamResponse:
    return await _reply(request, code, f"{text}\n".encode(), _PLAIN)


async def _reply(
    request: web.Request, code: int, body: bytes, content_type: str
) -> web.StreamResponse:
    """Send ``body`` as fast as the client reads it."""
    response = web.StreamResponse(status=code, headers={"Content-Type": content_type})
    response.content_length = len(body)
    await response.prepare(request)
    if request.method != "HEAD":
        view = memoryview(body)
        for start in range(0, len(view), _SLICE):
            await response.write(view[start : start + _SLICE])
    await response.write_eof()
    return response


async def _describe(_: web.Request, response: web.StreamResponse) -> None:
    """One answer a connection, never from a cache, and no word of what serves it."""
    response.force_close()
    response.headers.update(
        {
            "Connection": "close",
            "Cache-Control": "no-store",
            "Server": "haagent",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
        }
    )
