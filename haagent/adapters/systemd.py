"""What systemd is told: ready, reloading, stopping, a line of status, and that we live.

Without NOTIFY_SOCKET in the environment every method does nothing.  No method blocks or
raises, but :meth:`Systemd.keep`: a manager that does not listen must not stop an agent.

What this module does not do: decide whether the agent is well.  The driver calls
:meth:`Systemd.alive` from its loop, so that a loop that hangs is restarted.

Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

import errno
import os
import select
import socket
import time
from collections.abc import Mapping

_MANAGER_TIMEOUT_S = 1.0
_FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""


class Systemd:
    """See the module docstring."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from ``environment``."""
        self._address = _notify_address(environment)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._pause_ns = _watchdog_ns(environment) // 3
        """At most this often is WATCHDOG=1 sent; 0 when no watchdog waits for us."""
        self._alive_at = -self._pause_ns

    def ready(self, status: str) -> None:
        """The agent runs, or runs again after :meth:`reloading`."""
        self._notify("READY=1", _status(status))

    def reloading(self) -> None:
        """A new configuration is being taken in; :meth:`ready` ends it."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The agent is on its way out."""
        self._notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``."""
        self._notify(_status(text))

    def keep(self, descriptor: int, name: str) -> None:
        """Have the manager hold a copy of ``descriptor`` for the next process of this service.

        Waits until it has it.  May be called in a thread with descriptors of its own.

        Raises: OSError, ENOTCONN when there is no manager, TimeoutError when it does not answer.
        """
        if not self._address:
            raise OSError(errno.ENOTCONN, "there is no service manager to keep it")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(_MANAGER_TIMEOUT_S)
            manager.connect(self._address)
            message = f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0".encode()
            socket.send_fds(manager, [message], [descriptor])
            _wait_until_handled(manager)

    def forget(self, name: str) -> None:
        """Have the manager close what it was given under ``name``."""
        self._notify("FDSTOREREMOVE=1", f"FDNAME={name}")

    def alive(self) -> None:
        """Keep the watchdog quiet.  Meant to be called in every turn of the loop."""
        now = time.monotonic_ns()
        if self._pause_ns and now - self._alive_at >= self._pause_ns and self._notify("WATCHDOG=1"):
            self._alive_at = now

    def _notify(self, *lines: str) -> bool:
        """Send ``lines``; return whether systemd got them."""
        if not self._address:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def inherited(environment: Mapping[str, str], name: str) -> list[int]:
    """Return the descriptors that the manager has kept for this process under ``name``."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    descriptors = [_FIRST_DESCRIPTOR + n for n, each in enumerate(names) if each == name]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def _wait_until_handled(manager: socket.socket) -> None:
    """Return when the manager has read all that was sent: it then closes the other end."""
    ours, theirs = os.pipe()
    try:
        try:
            socket.send_fds(manager, [b"BARRIER=1"], [theirs])
        finally:
            os.close(theirs)
        if not select.select([ours], [], [], _MANAGER_TIMEOUT_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, "the service manager does not answer")
    finally:
        os.close(ours)


def _status(text: str) -> str:
    """Return the STATUS field; on one line, because the next line would be another field."""
    return "STATUS=" + " ".join(text.splitlines())


def _notify_address(environment: Mapping[str, str]) -> str:
    """Return the address of the socket, "" for none; ``@`` stands for the abstract namespace."""
    address = environment.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        return "\0" + address[1:]
    return address if address.startswith("/") else ""


def _watchdog_ns(environment: Mapping[str, str]) -> int:
    """Return the watchdog's limit in nanoseconds; 0 when it is off or meant for another process."""
    ours = str(os.getpid())
    limit_us = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", ours) != ours or not limit_us.isdecimal():
        return 0
    return int(limit_us) * 1000
