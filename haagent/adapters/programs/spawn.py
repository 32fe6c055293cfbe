"""Starts a program without holding the interpreter: ``posix_spawn`` through ctypes.

``subprocess`` keeps the interpreter's lock until the child has become the program.  The child has
ordinary priority, so on a busy machine the loop, real-time or not, would wait for it: 100 ms were
seen.  A call through ctypes gives the lock away.

Source: posix_spawn(3), and glibc 2.34 for what ends in ``_np``.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

_libc = ctypes.CDLL(None)
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_ROOM = 512
"""Bytes for any of the structures: the largest, of attributes, has 336."""


class Spawned:
    """A process, the ends of its pipes, and a descriptor that is readable when it has ended."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start ``command``, whose first word is a whole path, in a session of its own.

        Raises: OSError, ValueError for a zero byte.
        """
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        try:
            self.pid = _spawn(command, environment, theirs_in, theirs_out)
        except BaseException:
            self._close_ours()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        try:
            self.end = os.pidfd_open(self.pid)
        except OSError:
            self.signal(signal.SIGKILL)
            self._close_ours()
            os.waitpid(self.pid, 0)
            raise

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` to all of its session that have not left its group."""
        # Before it is waited for: until then the number of the group is nobody else's.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def close_stdin(self) -> None:
        """Tell it that there is no more input."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def wait(self) -> int:
        """Return its exit code, negative the signal that ended it; forget it."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.end)
        self._close_ours()
        return os.waitstatus_to_exitcode(status)

    def _close_ours(self) -> None:
        self.close_stdin()
        os.close(self.stdout)


def _spawn(command: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int) -> int:
    words = _texts(command)
    variables = _texts([f"{name}={value}" for name, value in environment.items()])
    actions, attributes = (ctypes.create_string_buffer(_ROOM) for _ in range(2))
    pid = ctypes.c_int()
    _check(_libc.posix_spawn_file_actions_init(actions))
    _check(_libc.posix_spawnattr_init(attributes))
    try:
        for ours, theirs in ((stdin, 0), (stdout, 1), (stdout, 2)):
            _check(_libc.posix_spawn_file_actions_adddup2(actions, ours, theirs))
        _check(_libc.posix_spawn_file_actions_addclosefrom_np(actions, 3))
        _check(_libc.posix_spawn_file_actions_addchdir_np(actions, b"/"))
        _as_at_birth(attributes)
        path = os.fsencode(command[0])
        _check(_libc.posix_spawn(ctypes.byref(pid), path, actions, attributes, words, variables))
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
        _libc.posix_spawnattr_destroy(attributes)
    return pid.value


def _as_at_birth(attributes: "ctypes.Array[ctypes.c_char]") -> None:
    """Give it a session of its own, and the signals that Python ignores as they were."""
    signals = ctypes.create_string_buffer(_ROOM)
    _libc.sigemptyset(signals)
    _check(_libc.posix_spawnattr_setsigmask(attributes, signals))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        _libc.sigaddset(signals, number)
    _check(_libc.posix_spawnattr_setsigdefault(attributes, signals))
    flags = ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)
    _check(_libc.posix_spawnattr_setflags(attributes, flags))


def _texts(words: Sequence[str]) -> "ctypes.Array[ctypes.c_char_p]":
    encoded = [os.fsencode(word) for word in words]
    if any(b"\0" in word for word in encoded):
        msg = "embedded null byte"
        raise ValueError(msg)
    return (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
