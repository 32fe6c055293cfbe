"""A socket that is deaf to some senders: the kernel drops what they send and wakes nobody.

Source: bpf(4), linux/filter.h; ``socket(7)``, SO_ATTACH_FILTER.
"""

import ctypes
import socket
import struct
from collections.abc import Collection

from haagent.core.settings import IPAddress

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27

_INSTRUCTION = struct.Struct("=HBBI")
"""Of classic BPF: code, jump if true, jump if false, operand."""

_LOAD_WORD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PASS, _DROP = 0xFFFF_FFFF, 0
_IP_HEADER = 0xFFF0_0000
"""SKF_NET_OFF: what a UDP socket filters begins with the UDP header."""

_SOURCE = {4: _IP_HEADER + 12, 6: _IP_HEADER + 8}


def ignore(sock: socket.socket, sources: Collection[IPAddress]) -> None:
    """Drop what ``sources`` send from now on, and hear whom an earlier call ignored.

    Raises: OSError, which the kernel has no cause for.
    """
    program = b"".join(map(_drop_from, sources)) + _INSTRUCTION.pack(_RETURN, 0, 0, _PASS)
    held = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    described = struct.pack("HP", count, ctypes.addressof(held))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def lift(sock: socket.socket) -> None:
    """Hear everybody again."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def _drop_from(source: IPAddress) -> bytes:
    """Return the instructions that end in a drop, or behind them if the sender is another."""
    words = struct.unpack(f"!{len(source.packed) // 4}I", source.packed)
    steps = []
    for number, word in enumerate(words):
        beyond = 2 * (len(words) - number) - 1
        steps += [(_LOAD_WORD, 0, 0, _SOURCE[source.version] + 4 * number)]
        steps += [(_IF_EQUAL, 0, beyond, word)]
    steps += [(_RETURN, 0, 0, _DROP)]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)
