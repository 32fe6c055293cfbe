"""Asks ``haagent.lab.responder`` at one address, at a steady pace, whatever is answered.

``python -m haagent.lab.udp_prober ADDRESS`` writes one line for each request
(``haagent.lab.outcomes``), when it is answered or given up.

A request that the machine was too busy to send in time is left out, not sent later in a burst.
"""

import argparse
import errno
import select
import socket
import sys
import time
from ipaddress import ip_address

from haagent.lab.outcomes import Outcome
from haagent.lab.responder import PORT

_SEND_BUFFER_BYTES = 1 << 20
"""Requests wait in it while the kernel looks for the address's owner; it must not fill up."""


class Prober:
    """See the module docstring; times in nanoseconds."""

    def __init__(self, address: str, *, interval_ns: int, timeout_ns: int) -> None:
        asked = ip_address(address)
        self._address = str(asked)
        self._interval_ns = interval_ns
        self._timeout_ns = timeout_ns
        self._waiting: dict[int, int] = {}
        """Number and sending time of what is neither answered nor given up, oldest first."""
        family = socket.AF_INET if asked.version == 4 else socket.AF_INET6
        # Not connected: a connected socket gives the error of one request to the next.
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def run(self) -> None:
        """Ask until the process ends."""
        due, number = time.monotonic_ns(), 0
        while True:
            now = time.monotonic_ns()
            if now >= due:
                self._send(number)
                self._give_up(now - self._timeout_ns)
                number += 1
                due = max(due + self._interval_ns, now)
            readable, _, _ = select.select([self._socket], [], [], max(0, due - now) / 1e9)
            if readable:
                self._receive()

    def _send(self, number: int) -> None:
        now = time.monotonic_ns()
        try:
            self._socket.sendto(b"%d" % number, (self._address, PORT))
        except OSError as error:
            _write(number, now, detail=errno.errorcode[error.errno or 0])
        else:
            self._waiting[number] = now

    def _receive(self) -> None:
        answer, peer = self._socket.recvfrom(2048)
        now = time.monotonic_ns()
        number, who = answer.decode().split(" ")
        sent = self._waiting.pop(int(number), None)
        if sent is not None and peer[0] == self._address:
            _write(int(number), sent, now, who=who)

    def _give_up(self, sent_before: int) -> None:
        for number, sent in list(self._waiting.items()):
            if sent >= sent_before:
                return
            del self._waiting[number]
            _write(number, sent, detail="lost")


def _write(
    number: int, sent_ns: int, answered_ns: int | None = None, *, who: str = "", detail: str = ""
) -> None:
    outcome = Outcome(
        number=number,
        sent_ns=sent_ns,
        ended_ns=answered_ns or time.monotonic_ns(),
        ok=answered_ns is not None,
        who=who,
        detail=detail,
    )
    sys.stdout.write(outcome.line())
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--interval-ms", type=float, default=1.0)
    parser.add_argument("--timeout-ms", type=float, default=500.0)
    given = parser.parse_args()
    Prober(
        given.address,
        interval_ns=int(given.interval_ms * 1e6),
        timeout_ns=int(given.timeout_ms * 1e6),
    ).run()
