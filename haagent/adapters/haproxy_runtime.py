"""Keeps the local HAProxy's backends as wanted, for as long as it runs.

Say what is wanted with :meth:`HAProxyRuntime.want`, as often as it changes; :meth:`run`
reads what HAProxy has, changes the difference, reads again and posts a
``BackendsObserved`` when what it saw is new.  It looks again every half second, so a list
that was lost in a restart or a reload, or changed by somebody else, is put right.

What this module does not do: touch a backend that is not in the wanted list, end a
session, write haproxy.cfg, or raise because of HAProxy.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from haagent.core.actions import Backend
from haagent.core.events import BackendsObserved, Event
from haagent.wire.haproxy import (
    Table,
    batches,
    observe,
    plan,
    read_table,
    replies,
    request,
    show,
)

POLL_S = 0.5
"""How often a HAProxy that answers is looked at: a lost list must be back within 1 s."""
RETRY_S = 0.1
"""How often one that does not is tried: a connection that is refused costs next to nothing."""
EXCHANGE_S = 2.0
"""How long one batch may take, from connecting to the last byte."""
MAX_ANSWER_BYTES = 4 << 20
"""The state of 30,000 servers."""


class HAProxyRuntime:
    """See the module docstring.  To be used in one event loop."""

    def __init__(self, socket_path: str, post: Callable[[Event], None]) -> None:
        self._path = socket_path
        self._post = post
        self._wanted: tuple[Backend, ...] = ()
        self._new_want = asyncio.Event()
        self._observed: BackendsObserved | None = None

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Have exactly ``backends``, soon.  Returns at once; the latest call counts."""
        self._wanted = backends
        self._new_want.set()

    async def run(self) -> None:
        """Keep HAProxy as wanted from the first :meth:`want` until cancelled."""
        await self._new_want.wait()
        while True:
            self._new_want.clear()
            observed = await self._reconcile(self._wanted)
            if observed != self._observed:
                self._observed = observed
                self._post(observed)
            await self._rest(POLL_S if observed.reachable else RETRY_S)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._new_want.wait()
        except TimeoutError:
            pass

    async def _reconcile(self, wanted: tuple[Backend, ...]) -> BackendsObserved:
        try:
            tables = await self._look(wanted)
            answers = await self._change(wanted, tables)
            if answers:
                tables = await self._look(wanted)
        except OSError as error:
            trouble = _explain(error, self._path)
            return BackendsObserved(reachable=False, backends=(), trouble=trouble)
        return observe(wanted, tables, answers)

    async def _look(self, wanted: tuple[Backend, ...]) -> list[Table]:
        # A connection for each batch, as one that is kept would stay with the old process
        # after a reload.  Without backends, an empty one still tells whether HAProxy answers.
        asked = list(batches(map(show, wanted))) or [[]]
        return [read_table(answer) for batch in asked for answer in await self._exchange(batch)]

    async def _change(self, wanted: tuple[Backend, ...], tables: Iterable[Table]) -> dict[str, str]:
        """Give the commands that are needed; return the answer to each."""
        plans = (plan(b, t) for b, t in zip(wanted, tables, strict=True) if isinstance(t, dict))
        commands = (c for change in chain.from_iterable(plans) for c in change.commands)
        answers: dict[str, str] = {}
        for batch in batches(commands):
            if self._new_want.is_set():
                break
            answers.update(zip(batch, await self._exchange(batch), strict=True))
        return answers

    async def _exchange(self, commands: Sequence[str]) -> list[str]:
        """Return HAProxy's answers.  Raises: OSError, with TimeoutError, when there are none."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            async with asyncio.timeout(EXCHANGE_S):
                await loop.sock_connect(connection, self._path)
                await loop.sock_sendall(connection, request(commands))
                data = await _read_all(connection)
        answers = replies(data, len(commands))
        if answers is None:
            raise ConnectionError("the answer is not HAProxy's, or not all of it")
        return answers


async def _read_all(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while part := await loop.sock_recv(connection, 1 << 16):
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            raise ConnectionError("the answer is too long to be HAProxy's")
    return bytes(data)


def _explain(error: OSError, path: str) -> str:
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"HAProxy is not running, or {path} is not its `stats socket`"
        case PermissionError():
            return f"no permission to open {path}: set `group` and `mode` of the `stats socket`"
        case TimeoutError():
            return f"HAProxy did not answer on {path} within {EXCHANGE_S:.0f} s"
        case _:
            return f"HAProxy on {path}: {error}"
