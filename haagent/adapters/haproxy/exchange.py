"""One question to a socket of HAProxy and its answer, with a limit on time and length.

What this module does not do: run in an event loop; it waits.
"""

import socket
import time
from collections.abc import Sequence
from math import inf

from haagent.wire.haproxy.framing import replies, request

EXCHANGE_S = 2.0
"""How long one batch may take, from connecting to the last byte."""
MAX_ANSWER_BYTES = 8 << 20
"""The state of 70,000 servers."""


def exchange(path: str, commands: Sequence[str]) -> list[str]:
    """Return what the ``stats socket`` at ``path`` answers to each of ``commands``.

    A connection for each batch, as one that is kept would stay with the old process after a
    reload.

    Raises: OSError, with TimeoutError, when there is no whole answer of a HAProxy.
    """
    answers = replies(ask(path, request(commands)), len(commands))
    if answers is None:
        raise ConnectionError("the answer is not HAProxy's, or not all of it")
    return answers


def first_lines(path: str, command: str, most: int) -> str:
    """Return at most so many lines of the answer to ``command``; the rest is not awaited.

    However long a list is, that costs neither side more.

    Raises: OSError, with TimeoutError.
    """
    lines = ask(path, command.encode() + b"\n", lines=most).splitlines(keepends=True)
    return b"".join(line for line in lines[:most] if line.endswith(b"\n")).decode(errors="replace")


def ask(path: str, text: bytes, timeout_s: float = EXCHANGE_S, *, lines: float = inf) -> bytes:
    """Return all that the socket at ``path`` says to ``text`` until it closes the connection.

    Or until so many ``lines`` have come.

    Raises: OSError, with TimeoutError.
    """
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(path)
        connection.sendall(text)
        data = bytearray()
        while data.count(b"\n") < lines and (part := _receive(connection, deadline)):
            data += part
            if len(data) > MAX_ANSWER_BYTES:
                raise ConnectionError("the answer is too long to be HAProxy's")
    return bytes(data)


def explain(error: OSError, path: str) -> str:
    """Return what is wrong with the ``stats socket`` at ``path``, and what to do."""
    match error:
        case FileNotFoundError() | ConnectionRefusedError():
            return f"HAProxy is not running, or {path} is not its `stats socket`"
        case PermissionError():
            return f"no permission to open {path}: set `group` and `mode` of the `stats socket`"
        case BlockingIOError():
            return f"HAProxy accepts no connection on {path}: it hangs, or is overwhelmed"
        case TimeoutError():
            return f"HAProxy did not answer on {path} within {EXCHANGE_S:.0f} s"
        case _:
            return f"HAProxy on {path}: {error}"


def _receive(connection: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
    return connection.recv(1 << 16)
