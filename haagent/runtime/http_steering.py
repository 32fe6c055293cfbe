"""What is asked of the agent over HTTP by somebody with the login: drain, undrain, failover.

The server's process faces strangers, so it may not steer: it passes on what it was sent, and the
password is looked at here, in a thread.  Who guesses gets few tries a minute, and what is asked
is done, or refused, as at the control socket.
"""

import asyncio
import base64
import hmac
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from google.protobuf.message import Message

from haagent.config.key import KeyFileError
from haagent.config.login import Login
from haagent.config.password import is_password
from haagent.control.plain import values_of

WINDOW_S = 60.0
TRIES, TRIES_OF_ALL = 5, 60
"""Wrong passwords of one address, and of all together, before nobody is let in for a while."""

Call: TypeAlias = tuple[Callable[[], Message], Callable[[Any], Awaitable[Message]]]
"""An empty request, and what takes it when it is filled in."""


class HttpSteering:
    """See the module docstring."""

    def __init__(
        self,
        login: Callable[[], Login | None],
        calls: Mapping[str, Call],
        log: Callable[[str], None],
    ) -> None:
        self._login = login
        self._calls = calls
        self._log = log
        self._wrong: deque[tuple[float, str]] = deque(maxlen=TRIES_OF_ALL)
        """When, and from where."""

    async def answer(self, question: str) -> bytes:
        """Return the HTTP status and the body that ``question`` of the server's process gets."""
        asked = json.loads(question)
        code, body = await self._answer(
            asked["source"], asked["authorization"], asked["action"], asked["body"]
        )
        return json.dumps({"code": code, "body": body}).encode()

    async def _answer(
        self, source: str, authorization: str, action: str, body: str
    ) -> tuple[int, dict[str, object]]:
        if self._guesses(source):
            return _refused(429, "too many wrong passwords: wait a minute")
        try:
            user = await self._user(authorization)
        except KeyFileError as error:
            self._log(f"nobody can log in: {error}")
            return _refused(503, "nobody can log in: the agent's log says why")
        if not user:
            self._wrong.append((asyncio.get_running_loop().time(), source))
            self._log(f"wrong user or password from {source}")
            return _refused(401, "wrong user or password")
        make, call = self._calls[action]
        try:
            request = filled_in(make(), body)
        except ValueError as error:
            return _refused(400, str(error))
        reply = values_of(await call(request))
        self._log(f"{user} from {source}: {action}: {reply['outcome']}")
        return 409 if reply["outcome"] == "refused" else 200, reply

    def _guesses(self, source: str) -> bool:
        since_s = asyncio.get_running_loop().time() - WINDOW_S
        while self._wrong and self._wrong[0][0] < since_s:
            self._wrong.popleft()
        theirs = sum(each == source for _, each in self._wrong)
        return theirs >= TRIES or len(self._wrong) >= TRIES_OF_ALL

    async def _user(self, authorization: str) -> str:
        """Return who it is; empty for anybody else.  Raises: KeyFileError."""
        login = self._login()
        user, password = _credentials(authorization)
        if login is None:
            return ""
        # Also for another user: how long it takes must not tell which ones there are.
        right = await asyncio.to_thread(is_password, login.password_file, password)
        same = hmac.compare_digest(user.encode(), login.user.encode())
        return user if right and same else ""


def filled_in(request: Message, body: str) -> Message:
    """Return ``request`` with what ``body`` has, which is JSON.

    Raises: ValueError, with the reason for people.
    """
    # Only who steers over HTTP pays for the import.
    from google.protobuf import json_format  # noqa: PLC0415

    try:
        values = json.loads(body)
        if not isinstance(values, dict):
            raise ValueError("must be a JSON object")
        return json_format.ParseDict(values, request)
    except (json_format.ParseError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _credentials(authorization: str) -> tuple[str, str]:
    """Return user and password of RFC 7617; empty ones when it is something else."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        return "", ""
    user, _, password = text.partition(":")
    return (user, password) if scheme.lower() == "basic" else ("", "")


def _refused(code: int, why: str) -> tuple[int, dict[str, object]]:
    return code, {"outcome": "refused", "lines": [why]}
