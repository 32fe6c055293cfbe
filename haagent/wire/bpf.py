"""Programs of classic BPF, which a socket's filter runs on everything that arrives.

A program is a list of instructions: code, jump if true, jump if false, operand.  Jumps are
relative and go forward, so that programs can be put one behind the other.
``setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, sock_fprog(program))`` has the kernel run one.

What this module does not do: know what is to pass.

Source: bpf(4), linux/filter.h, linux/bpf_common.h; socket(7), SO_ATTACH_FILTER.
"""

import ctypes
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Instruction: TypeAlias = tuple[int, int, int, int]
Program: TypeAlias = Sequence[Instruction]

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27

LOAD_WORD, LOAD_HALF, LOAD_BYTE = 0x20, 0x28, 0x30
LOAD_INDEXED_HALF, LOAD_INDEXED_BYTE = 0x48, 0x50
"""From the operand plus the index register."""
INDEX_IP_HEADER = 0xB1
"""Sets the index register to the length of the IPv4 header that begins at the operand."""
JUMP, IF_EQUAL, IF_AT_LEAST = 0x05, 0x15, 0x35

PASS: Instruction = (0x06, 0, 0, 0xFFFF_FFFF)
DROP: Instruction = (0x06, 0, 0, 0)

NETWORK_HEADER = 0xFFF0_0000
"""SKF_NET_OFF: an offset from the IP header, wherever what is filtered begins."""
PACKET_TYPE = 0xFFFF_F000 + 4
"""SKF_AD_OFF + SKF_AD_PKTTYPE: whom it is for, PACKET_HOST and so on of packet(7)."""
VLAN_TAG_PRESENT = 0xFFFF_F000 + 48
"""SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT: the tag itself is no longer in the frame."""


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.POINTER(_SockFilter)))


def sock_fprog(program: Program) -> ctypes.Structure:
    """Return ``program`` as the kernel takes it, in memory that lives as long as the result."""
    steps = [_SockFilter(*instruction) for instruction in program]
    return _SockFprog(len(steps), (_SockFilter * len(steps))(*steps))


def only(load: int, offset: int, value: int) -> Program:
    """Return what drops everything that has not ``value`` at ``offset``."""
    return [(load, 0, 0, offset), (IF_EQUAL, 1, 0, value), DROP]


def one_of(offset: int, words: Iterable[int]) -> Program:
    """Return what passes that which has one of ``words`` at ``offset``, and drops all else."""
    passes = [step for word in words for step in ((IF_EQUAL, 0, 1, word), PASS)]
    return [(LOAD_WORD, 0, 0, offset), *passes, DROP]
