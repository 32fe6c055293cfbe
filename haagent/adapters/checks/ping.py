"""Whether a host answers an ICMP echo.

The echo goes wherever the kernel routes it, which is the question: a gateway that is there, and
that we reach.  Of an answer counts only that it brings back what nobody else has seen.

Source: RFC 792, RFC 4443 4; raw(7), RFC 3542 3.2 (what ICMP a socket gets).
"""

import secrets
import socket
import struct
import time

from haagent.adapters.checks.result import Result, trouble
from haagent.core.settings import IPAddress
from haagent.wire import icmp

_FAMILIES = {
    4: (socket.AF_INET, socket.IPPROTO_ICMP),
    6: (socket.AF_INET6, socket.IPPROTO_ICMPV6),
}
_ICMP_FILTER = 1
"""For both: of SOL_RAW, and of IPPROTO_ICMPV6."""
_SOL_RAW = 255
_NONCE_SIZE = 16
_ALL = 0xFFFFFFFF


def ping(address: IPAddress, timeout_s: float) -> Result:
    """Return whether the host at ``address`` has answered one echo within the limit."""
    began_s = time.monotonic()
    family, protocol = _FAMILIES[address.version]
    identifier, nonce = secrets.randbits(16), secrets.token_bytes(_NONCE_SIZE)
    try:
        with socket.socket(family, socket.SOCK_RAW, protocol) as echo:
            _only_replies(echo, address.version)
            echo.connect((str(address), 0))
            echo.settimeout(timeout_s)
            echo.send(icmp.echo_request(address.version, identifier, nonce))
            while _answer(echo, address.version, identifier) != nonce:
                echo.settimeout(max(1e-6, began_s + timeout_s - time.monotonic()))
    except TimeoutError:
        return Result(False, f"no answer in {timeout_s:g} s")
    except OSError as error:
        return Result(False, trouble(error))
    return Result(True, f"answered in {(time.monotonic() - began_s) * 1000:.1f} ms")


def _only_replies(echo: socket.socket, version: int) -> None:
    """Have the kernel pass echo replies alone, lest all other ICMP wakes us."""
    if version == 4:
        echo.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << icmp.REPLY[4]) & _ALL))
        return
    word, bit = divmod(icmp.REPLY[6], 32)
    blocked = [_ALL ^ (1 << bit) if each == word else _ALL for each in range(8)]
    echo.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER, struct.pack("=8I", *blocked))


def _answer(echo: socket.socket, version: int, identifier: int) -> bytes | None:
    message = echo.recv(2048)
    if version == 4:
        # Behind the IP header, whose length is in its first byte in words.
        message = message[4 * (message[0] & 0x0F) :]
    return icmp.echoed(version, identifier, message)
