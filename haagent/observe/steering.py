"""Drain, undrain and failover over HTTP: passed on to the agent, which alone judges the login.

A page of another site cannot ask: it would have to send JSON and a header of its own, for which a
browser first asks leave, and gets none.

What this module does not do: know a password, or what a request may hold.
"""

import json

from aiohttp import web

from haagent.observe.agent import Agent
from haagent.observe.exchange import MAX_LINE, STEER

PATH = "/api/v1/{action:drain|undrain|failover}"


class Steering:
    """The handler of :data:`PATH`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Return what the agent answers.  Raises: web.HTTPException, SilentError."""
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(reason="must be application/json")
        body = await request.read()
        question = json.dumps(
            {
                "action": request.match_info["action"],
                "source": request.remote or "",
                "authorization": request.headers.get("Authorization", ""),
                "body": body.decode(errors="replace"),
            }
        )
        if len(STEER) + len(question) + 2 > MAX_LINE:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_LINE, actual_size=len(question))
        answer = json.loads(await self._agent.steer(question))
        response = web.json_response(answer["body"], status=answer["code"])
        if answer["code"] == web.HTTPUnauthorized.status_code:
            response.headers["WWW-Authenticate"] = 'Basic realm="haagent"'
        return response
