"""Asks the whole link who has an IPv4 address, and writes down every host that says "I".

``python -m haagent.lab.arp_prober ADDRESS`` writes one line for each answer
(``haagent.lab.outcomes``), so two lines of one number when two hosts hold the address; who
answered is its MAC.  Silence is not written.
"""

import argparse
import select
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from typing import NoReturn

from haagent.lab.outcomes import Outcome

_INTERFACE = "eth0"
_ARP = 0x0806
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
"""Ethernet header and packet of RFC 826."""


def ask(address: IPv4Address, interval_ns: int) -> NoReturn:
    """Ask for ever."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as sock:
        sock.bind((_INTERFACE, _ARP))
        mac = sock.getsockname()[4]
        # RFC 5227 2.1.1: the sender's address 0.0.0.0 changes no neighbour's cache.
        to_all = (b"\xff" * 6, mac, _ARP, 1, 0x0800, 6, 4, 1)
        request = _FRAME.pack(*to_all, mac, bytes(4), bytes(6), address.packed)
        due, number, sent_ns = time.monotonic_ns(), -1, 0
        while True:
            now = time.monotonic_ns()
            if now >= due:
                sock.send(request)
                number, sent_ns, due = number + 1, now, max(due + interval_ns, now)
            readable, _, _ = select.select([sock], [], [], max(0, due - now) / 1e9)
            if readable and (who := _who(sock.recv(2048), mac, address)):
                _write(number, sent_ns, who)


def _who(frame: bytes, mac: bytes, address: IPv4Address) -> str:
    """Return the MAC that answers us for ``address``, nothing for any other frame."""
    if len(frame) < _FRAME.size:
        return ""
    to, _, _, _, _, _, _, operation, who, shown, _, _ = _FRAME.unpack_from(frame)
    return who.hex(":") if (to, operation, shown) == (mac, 2, address.packed) else ""


def _write(number: int, sent_ns: int, who: str) -> None:
    ended_ns = time.monotonic_ns()
    outcome = Outcome(number=number, sent_ns=sent_ns, ended_ns=ended_ns, ok=True, who=who)
    sys.stdout.write(outcome.line())
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", type=IPv4Address)
    parser.add_argument("--interval-ms", type=float, default=1.0)
    given = parser.parse_args()
    ask(given.address, int(given.interval_ms * 1e6))
