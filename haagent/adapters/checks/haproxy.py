"""Whether the HAProxy behind a socket answers, and is there to stay."""

import socket
import time

from haagent.adapters.checks.result import Result, one_line, trouble
from haagent.wire.haproxy.framing import replies, request
from haagent.wire.haproxy.info import SHOW_INFO, read_info

_MAX_ANSWER_BYTES = 1 << 18


def haproxy(path: str, timeout_s: float) -> Result:
    """Return whether HAProxy answers on the ``stats socket`` at ``path``, and is not stopping."""
    deadline_s = time.monotonic() + timeout_s
    try:
        answers = replies(_exchange(path, deadline_s), 1)
    except TimeoutError:
        return Result(False, f"no answer in {timeout_s:g} s")
    except (FileNotFoundError, ConnectionRefusedError):
        return Result(False, f"HAProxy is not running, or {path} is not its stats socket")
    except BlockingIOError:
        return Result(False, "HAProxy accepts no connection: it hangs, or is overwhelmed")
    except OSError as error:
        return Result(False, trouble(error))
    info = None if answers is None else read_info(answers[0])
    if info is None:
        said = "" if answers is None else one_line(answers[0])
        return Result(False, f"the answer is not HAProxy's: {said}".rstrip(": "))
    if info.stopping:
        return Result(False, f"pid {info.pid} is stopping")
    return Result(True, f"HAProxy {info.version}, pid {info.pid}")


def _exchange(path: str, deadline_s: float) -> bytes:
    """Raises: OSError, with TimeoutError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.001, deadline_s - time.monotonic()))
        connection.connect(path)
        connection.sendall(request([SHOW_INFO]))
        data = b""
        while len(data) < _MAX_ANSWER_BYTES:
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
            part = connection.recv(1 << 16)
            if not part:
                break
            data += part
    return data
