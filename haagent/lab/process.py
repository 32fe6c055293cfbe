"""One real process on a host of the laboratory: its log, its signals, its end.

Made by :meth:`haagent.lab.host.Host.start`.  Every signal goes to this process alone, as it
would when the kernel or an operator sent it; what it started lives on until its host ends.
Methods that disturb return the instant just before the signal was sent.
"""

import os
import signal
import subprocess
import time
from pathlib import Path


class Process:
    """See the module docstring."""

    def __init__(self, name: str, host: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.host = host
        self.log = log
        """Standard output and standard error."""
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the number of the signal that ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def describe(self) -> str:
        """Return who this is and how it does, in one line for a person."""
        state = "running" if self.running else f"ended with {self.exit_code}"
        return f"{self.host} {self.name} (pid {self.pid}, {state})"

    def kill(self) -> int:
        """Send SIGKILL and wait until it ended."""
        moment = self._signal(signal.SIGKILL)
        self._popen.wait()
        return moment

    def freeze(self) -> int:
        """Send SIGSTOP."""
        return self._signal(signal.SIGSTOP)

    def thaw(self) -> int:
        """Send SIGCONT."""
        return self._signal(signal.SIGCONT)

    def ask_to_reload(self) -> int:
        """Send SIGHUP."""
        return self._signal(signal.SIGHUP)

    def ask_to_restart(self) -> int:
        """Send SIGUSR1."""
        return self._signal(signal.SIGUSR1)

    def stop(self, deadline_s: float = 10) -> int:
        """Send SIGTERM and wait until it ended.

        Raises: TimeoutError when it still runs after ``deadline_s``.
        """
        moment = self._signal(signal.SIGTERM)
        self.wait(deadline_s)
        return moment

    def wait(self, deadline_s: float) -> int:
        """Return the exit code once it ended by itself.

        Raises: TimeoutError when it still runs after ``deadline_s``.
        """
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            text = f"{self.describe()} did not end within {deadline_s} s\n{self.log_text()}"
            raise TimeoutError(text) from None

    def _signal(self, number: signal.Signals) -> int:
        moment = time.monotonic_ns()
        if self.running:
            os.kill(self.pid, number)
        return moment
