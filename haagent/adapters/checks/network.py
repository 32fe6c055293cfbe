"""Whether somebody listens at an address (TCP), and what a web server answers there (HTTP).

Addresses, no names: a name would have to be looked up, for which there is no time limit.
The web server is asked by hand, for its status line alone: that keeps the limit to the whole of
an answer, however slowly it comes, and costs no library but, for https, TLS.

Source: RFC 9110 15 (status), RFC 9112 2.1, 3.2, 4 (request and status line).
"""

import re
import socket
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from haagent.adapters.checks.result import Result, one_line, trouble

if TYPE_CHECKING:
    from ssl import SSLContext

OK = (200, 399)
"""Where the file says nothing else: what HAProxy's own health check takes for well."""

_MAX_HEAD_BYTES = 16 << 10
_MAX_BODY_BYTES = 64 << 10
_QUOTED_BYTES = 40

_LINGER_S = 0.2
"""How long the end of an answer is waited for, so that no server logs a broken connection."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_ANNOUNCEMENTS = re.compile(rb"^(?:HTTP/1\.1 1[0-9]{2}[^\n]*\r\n(?:[^\r\n]+\r\n)*\r\n)+")
"""Of the answer that is still to come: status 1xx (RFC 9110 15.2)."""


def tcp(address: str, port: int, timeout_s: float) -> Result:
    """Return whether somebody accepts a connection; nothing is said over it."""
    began_s = time.monotonic()
    try:
        socket.create_connection((address, port), timeout_s).close()
    except TimeoutError:
        return Result(False, f"no connection to {_place(address, port)} in {timeout_s:g} s")
    except OSError as error:
        return Result(False, f"{_place(address, port)}: {trouble(error)}")
    return Result(True, f"{_place(address, port)} connected in {_ms_since(began_s)}")


def http(
    url: str,
    timeout_s: float,
    *,
    status: tuple[int, int] = OK,
    host: str = "",
    verify: bool = True,
) -> Result:
    """Return whether a GET of ``url`` is answered with a status from ``status[0]`` to its end.

    Args: ``url`` with an IP address for its host, and ``host``, the name to send as ``Host``, and
    by https also to ask for and to find in the certificate; by default that address.
    ``verify=False`` takes any certificate.  A redirection is an answer, and is not followed.
    """
    began_s = time.monotonic()
    try:
        code, reason = _Exchange(url, host, verify, began_s + timeout_s).status()
    except TimeoutError:
        return Result(False, f"no answer in {timeout_s:g} s")
    except _NoHTTPError as error:
        return Result(False, str(error))
    except OSError as error:
        return Result(False, _certificate(error) or trouble(error))
    words = one_line(f"HTTP {code} {reason}")
    passed = status[0] <= code <= status[1]
    took = _ms_since(began_s)
    return Result(passed, f"{words} in {took}" if passed else f"{words}, not {_shown(status)}")


class _NoHTTPError(Exception):
    """What came is no answer of a web server."""

    def __init__(self, data: bytes) -> None:
        said = one_line(data[:_QUOTED_BYTES].decode(errors="replace"))
        super().__init__(f"no HTTP: {said}" if said else "the connection was closed unanswered")


class _Exchange:
    """One request over a connection of its own, until ``deadline_s`` (monotonic)."""

    def __init__(self, url: str, host: str, verify: bool, deadline_s: float) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, "the configuration takes no URL without an address"
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, parts.port or (443 if self._secure else 80))
        self._name = host or parts.hostname
        self._authority = host or parts.netloc.rpartition("@")[2]
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._verify = verify
        self._deadline_s = deadline_s

    def status(self) -> tuple[int, str]:
        """Return code and reason.  Raises: OSError, with TimeoutError; _NoHTTPError."""
        plain = socket.create_connection(self._address, self._left_s())
        with plain, self._protected(plain) as connection:
            connection.settimeout(self._left_s())
            connection.sendall(self._request())
            found = self._read_head(connection)
            self._read_rest(connection)
        return found

    def _left_s(self) -> float:
        """Return the seconds that are left.  Raises: TimeoutError when there are none."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _protected(self, plain: socket.socket) -> socket.socket:
        if not self._secure:
            return plain
        plain.settimeout(self._left_s())
        return _tls(self._verify).wrap_socket(plain, server_hostname=self._name)

    def _request(self) -> bytes:
        lines = (
            f"GET {self._target} HTTP/1.1",
            f"Host: {self._authority}",
            "User-Agent: haagent",
            "Accept: */*",
            "Connection: close",
        )
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    def _read_head(self, connection: socket.socket) -> tuple[int, str]:
        data = b""
        while True:
            data = _ANNOUNCEMENTS.sub(b"", data)
            if (found := _STATUS_LINE.match(data)) and found[1][:1] != b"1":
                return int(found[1]), (found[2] or b"").decode(errors="replace")
            if (b"\n" in data and not found) or len(data) > _MAX_HEAD_BYTES:
                raise _NoHTTPError(data)
            part = self._read(connection)
            if not part:
                raise _NoHTTPError(data)
            data += part

    def _read(self, connection: socket.socket) -> bytes:
        connection.settimeout(self._left_s())
        return connection.recv(1 << 16)

    def _read_rest(self, connection: socket.socket) -> None:
        self._deadline_s = min(self._deadline_s, time.monotonic() + _LINGER_S)
        size = 0
        try:
            while size < _MAX_BODY_BYTES and (part := self._read(connection)):
                size += len(part)
        except OSError:
            return  # The status is known, and the rest of no interest.


@lru_cache(maxsize=2)
def _tls(verify: bool) -> "SSLContext":
    """Return the context for https, made once: reading the authorities takes 20 ms."""
    import ssl  # noqa: PLC0415  # 4 MB that only https is worth

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(error: OSError) -> str:
    """Return what is wrong with the certificate, if anything is."""
    return one_line(getattr(error, "verify_message", "")).lower()


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _shown(status: tuple[int, int]) -> str:
    low, high = status
    return str(low) if low == high else f"{low}..{high}"


def _ms_since(began_s: float) -> str:
    return f"{(time.monotonic() - began_s) * 1000:.1f} ms"
