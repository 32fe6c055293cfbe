"""A socket that is deaf to some senders: the kernel drops what they send and wakes nobody."""

import socket
import struct
from collections.abc import Collection

from haagent.core.settings import IPAddress
from haagent.wire import bpf

_SOURCE = {4: bpf.NETWORK_HEADER + 12, 6: bpf.NETWORK_HEADER + 8}
"""What a UDP socket filters begins with the UDP header."""


def ignore(sock: socket.socket, sources: Collection[IPAddress]) -> None:
    """Drop what ``sources`` send from now on, and hear whom an earlier call ignored.

    Raises: OSError, which the kernel has no cause for.
    """
    program = [step for source in sources for step in _drop_from(source)]
    described = bpf.sock_fprog([*program, bpf.PASS])
    sock.setsockopt(socket.SOL_SOCKET, bpf.SO_ATTACH_FILTER, described)


def lift(sock: socket.socket) -> None:
    """Hear everybody again."""
    sock.setsockopt(socket.SOL_SOCKET, bpf.SO_DETACH_FILTER, 0)


def _drop_from(source: IPAddress) -> bpf.Program:
    """Return the instructions that end in a drop, or behind them if the sender is another."""
    words = struct.unpack(f"!{len(source.packed) // 4}I", source.packed)
    steps = []
    for number, word in enumerate(words):
        beyond = 2 * (len(words) - number) - 1
        steps += [(bpf.LOAD_WORD, 0, 0, _SOURCE[source.version] + 4 * number)]
        steps += [(bpf.IF_EQUAL, 0, beyond, word)]
    return [*steps, bpf.DROP]
