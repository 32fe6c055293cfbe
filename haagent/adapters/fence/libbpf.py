"""The few calls of libbpf that the fence needs, through ctypes.

libbpf is wherever iproute2 is (Debian: libbpf1).  It resolves the relocations of the object,
makes the maps and speaks the traffic-control part of rtnetlink.  All descriptors that it opens
are close-on-exec.

What this module does not do: know what the programs are for (``haagent.adapters.fence.bpf``).

Source: bpf/libbpf.h, bpf/bpf.h of libbpf 1.0.
"""

import ctypes
import errno
import os
from collections.abc import Mapping
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_long,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from mmap import MAP_SHARED, PROT_READ, PROT_WRITE
from pathlib import Path
from typing import NoReturn

INGRESS, EGRESS = 1, 2
"""``enum bpf_tc_attach_point``."""

_REPLACE = 1
"""BPF_TC_F_REPLACE: takes the place of a filter in one step, and is one where there is none."""


class _Hook(Structure):
    """``struct bpf_tc_hook``."""

    _fields_ = (
        ("size", c_size_t),
        ("interface", c_int),
        ("point", c_int),
        ("parent", c_uint32),
    )


class _Filter(Structure):
    """``struct bpf_tc_opts``."""

    _fields_ = (
        ("size", c_size_t),
        ("program", c_int),
        ("flags", c_uint32),
        ("program_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    )


@cache
def _library() -> ctypes.CDLL:
    """Raises: OSError, ENOSYS when libbpf 1 is not installed."""
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise OSError(errno.ENOSYS, "libbpf.so.1 is not installed (Debian: libbpf1)") from error
    for name, arguments in _CALLS.items():
        getattr(library, name).argtypes = arguments
    for name in ("bpf_object__open_file", *_FINDERS):
        getattr(library, name).restype = c_void_p
    library.libbpf_set_print(None)  # what goes wrong comes back as an errno
    return library


@cache
def _libc() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.argtypes = (c_void_p, c_size_t, c_int, c_int, c_int, c_long)
    library.mmap.restype = c_void_p
    return library


_FINDERS = ("bpf_object__find_map_by_name", "bpf_object__find_program_by_name")

_CALLS: dict[str, tuple[type, ...]] = {
    "libbpf_set_print": (c_void_p,),
    "bpf_object__open_file": (c_char_p, c_void_p),
    "bpf_object__load": (c_void_p,),
    "bpf_object__close": (c_void_p,),
    "bpf_object__find_map_by_name": (c_void_p, c_char_p),
    "bpf_object__find_program_by_name": (c_void_p, c_char_p),
    "bpf_map__set_max_entries": (c_void_p, c_uint32),
    "bpf_map__fd": (c_void_p,),
    "bpf_program__fd": (c_void_p,),
    "bpf_map_update_elem": (c_int, c_char_p, c_char_p, c_uint64),
    "bpf_map_delete_elem": (c_int, c_char_p),
    "bpf_tc_hook_create": (POINTER(_Hook),),
    "bpf_tc_hook_destroy": (POINTER(_Hook),),
    "bpf_tc_attach": (POINTER(_Hook), POINTER(_Filter)),
    "bpf_tc_query": (POINTER(_Hook), POINTER(_Filter)),
    "bpf_tc_detach": (POINTER(_Hook), POINTER(_Filter)),
}


class Object:
    """A loaded object: its maps and programs live until it is closed."""

    def __init__(self, path: Path, sizes: Mapping[str, int]) -> None:
        """Load the object file; ``sizes`` replaces the numbers of entries of the named maps.

        Raises: OSError for want of libbpf, of CAP_BPF or CAP_NET_ADMIN, or of a kernel that
        takes the programs.
        """
        library = _library()
        self._object = library.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            _refuse(ctypes.get_errno())
        try:
            for name, entries in sizes.items():
                found = library.bpf_object__find_map_by_name(self._object, name.encode())
                _checked(library.bpf_map__set_max_entries(found, entries))
            _checked(library.bpf_object__load(self._object))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close all descriptors; once more is fine."""
        if self._object:
            _library().bpf_object__close(self._object)
            self._object = None

    def map(self, name: str) -> int:
        """Return the descriptor of a map, which remains the object's."""
        library = _library()
        found = library.bpf_object__find_map_by_name(self._object, name.encode())
        return _checked(library.bpf_map__fd(found))

    def words(self, name: str, entries: int) -> "ctypes.Array[c_uint64]":
        """Return the memory of a map of 64-bit values, which is never unmapped."""
        # Python's mmap would keep a descriptor of this thread, and close it in any.
        shared = (None, 8 * entries, PROT_READ | PROT_WRITE, MAP_SHARED, self.map(name), 0)
        address = _libc().mmap(*shared)
        if address == c_void_p(-1).value:
            _refuse(ctypes.get_errno())
        return (c_uint64 * entries).from_address(address)

    def program(self, name: str) -> int:
        """Return the descriptor of a program, which remains the object's."""
        library = _library()
        found = library.bpf_object__find_program_by_name(self._object, name.encode())
        return _checked(library.bpf_program__fd(found))


def map_store(map_fd: int, key: bytes, value: bytes) -> None:
    """Raises: OSError, E2BIG when the map is full."""
    _checked(_library().bpf_map_update_elem(map_fd, key, value, 0))


def map_delete(map_fd: int, key: bytes) -> None:
    """Raises: OSError, ENOENT when there is no such key."""
    _checked(_library().bpf_map_delete_elem(map_fd, key))


def add_clsact(interface: int) -> bool:
    """Make sure that the interface has the queueing discipline that filters hang on.

    Returns True when it was made now.  Raises: OSError.
    """
    try:
        _checked(_library().bpf_tc_hook_create(_hook(interface, INGRESS | EGRESS)))
    except FileExistsError:
        return False
    return True


def delete_clsact(interface: int) -> None:
    """Remove the queueing discipline and every filter on it.  Raises: OSError."""
    _checked(_library().bpf_tc_hook_destroy(_hook(interface, INGRESS | EGRESS)))


def attach(interface: int, point: int, program: int, priority: int, handle: int) -> int:
    """Attach a program in direct-action mode, in one step if a filter stands there already.

    Returns the id of the program.  Raises: OSError.
    """
    options = _filter(priority, handle)
    options.program = program
    options.flags = _REPLACE
    _checked(_library().bpf_tc_attach(_hook(interface, point), options))
    return int(options.program_id)


def attached(interface: int, point: int, priority: int, handle: int) -> int:
    """Return the id of the program of a filter, 0 when there is no such filter or interface."""
    options = _filter(priority, handle)
    code = _library().bpf_tc_query(_hook(interface, point), options)
    if -code in _NOT_THERE:
        return 0
    _checked(code)
    return int(options.program_id)


def detach(interface: int, point: int, priority: int, handle: int) -> bool:
    """Remove a filter; return whether there was one.  Raises: OSError."""
    code = _library().bpf_tc_detach(_hook(interface, point), _filter(priority, handle))
    if -code in _NOT_THERE:
        return False
    _checked(code)
    return True


_NOT_THERE = (errno.ENOENT, errno.EINVAL, errno.ENODEV)
"""No filter; no queueing discipline; no interface."""


def _hook(interface: int, point: int) -> _Hook:
    return _Hook(size=ctypes.sizeof(_Hook), interface=interface, point=point)


def _filter(priority: int, handle: int) -> _Filter:
    return _Filter(size=ctypes.sizeof(_Filter), priority=priority, handle=handle)


def _checked(code: int) -> int:
    if code < 0:
        _refuse(-code)
    return code


def _refuse(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
