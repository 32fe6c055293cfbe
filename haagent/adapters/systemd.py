"""What systemd is told: ready, reloading, stopping, a line of status, and that we live.

Without NOTIFY_SOCKET in the environment every method does nothing.  No method blocks or
raises: a manager that does not listen must not stop an agent.

What this module does not do: decide whether the agent is well.  The driver calls
:meth:`Systemd.alive` from its loop, so that a loop that hangs is restarted.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import os
import socket
import time
from collections.abc import Mapping


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
