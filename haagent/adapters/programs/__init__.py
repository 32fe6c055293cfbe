"""Runs one program of the operator to its end, in the thread that asks, with a limit on everything.

The program is a stranger to the agent: a session of its own, no capability but those it is granted,
no descriptor, a small environment, ordinary priority.  ``setpriv`` of util-linux starts it, so that
a file that hangs on a dead file server holds up neither the interpreter nor the loop.

What this module does not do: decide when anything runs, or what follows from how it ended.
"""

import json
import os
import pwd
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from haagent.adapters.programs.spawn import Spawned

KILL_AFTER_S = 1.0
"""How long a program that has been told to end may take to do so."""

TAIL_BYTES = 4096
"""How much of the output of an operator's program is kept: its end."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CHUNK = 1 << 16

_NEEDED = {"CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}
"""To run a program as somebody else, and to end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended, or why it did not begin."""

    code: int | None = None
    """Exit code; None when a signal ended it or it did not begin."""
    signal: int | None = None
    output: str = ""
    """The end of both its outputs."""
    timed_out: bool = False
    stopped: bool = False
    """It was told to end before its time was over, as somebody wanted."""
    refused: str = ""
    """Why it did not begin; empty when it did."""
    took_s: float = 0.0

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out and not self.stopped

    @property
    def text(self) -> str:
        """What became of it, in one line, with the last line of its output."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        last = f": {lines[-1]}" if lines else ""
        return self._outcome() + "".join(c if c.isprintable() else "?" for c in last)

    def _outcome(self) -> str:
        if self.refused:
            return f"not run: {self.refused}"
        if self.stopped:
            return f"ended after {self.took_s:.1f} s, because nobody waits for it any more"
        if self.timed_out:
            return f"did not end within its time, ended after {self.took_s:.1f} s"
        if self.signal is not None:
            return f"ended by signal {self.signal}"
        return "done" if self.code == 0 else f"ended with exit code {self.code}"


class _RefusedError(Exception):
    """A program may not or cannot be started; the text says why."""


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    timeout_s: float,
    user: str | None = None,
    stop: int | None = None,
    capabilities: Sequence[str] = (),
    most_bytes: int = TAIL_BYTES,
) -> Ended:
    """Run ``argv`` and return how it ended, at most a little later than its time allows.

    After ``timeout_s``, or when the descriptor ``stop`` becomes readable, all its processes get
    SIGTERM, and SIGKILL a second later.  What it leaves behind when it ends in time goes on, but
    nobody reads its output any more.

    ``user`` runs it; without one, the agent's own user, who must not be root.  Of the agent's
    capabilities it has ``capabilities`` alone, in the words of setpriv(1).  Of its output the last
    ``most_bytes`` are kept.
    """
    begun_s = time.monotonic()
    try:
        command, variables = _as_user(user, capabilities)
        process = _start([*command, "--", *argv], {**variables, **(environment or {})})
    except _RefusedError as error:
        return Ended(refused=str(error))
    with selectors.DefaultSelector() as selector:
        watch = _Watch(process, stdin, stop, selector, most_bytes)
        in_time = watch.until_end(begun_s + timeout_s)
        if not in_time:
            process.signal(signal.SIGTERM)
            watch.until_end(time.monotonic() + KILL_AFTER_S)
            process.signal(signal.SIGKILL)
        status = process.wait()
    return Ended(
        code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        output=watch.tail.decode(errors="replace"),
        timed_out=not in_time and not watch.stopped,
        stopped=watch.stopped,
        took_s=time.monotonic() - begun_s,
    )


def run_module(name: str, request: object, *, timeout_s: float, stop: int | None = None) -> Ended:
    """Run the program ``haagent.name``, which reads ``request`` as JSON, as ourselves.

    Isolated: the directory that somebody starts the agent in has no say.
    """
    return run(
        [sys.executable, "-I", "-m", f"haagent.{name}"],
        stdin=json.dumps(request).encode(),
        timeout_s=timeout_s,
        user="root" if os.geteuid() == 0 else None,
        stop=stop,
    )


def _as_user(name: str | None, capabilities: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return what a command is prefixed with to run as ``name``, and who that is.

    Raises: _RefusedError.
    """
    own = os.geteuid()
    if name is None and own == 0:
        text = "it would run as root: say which user, 'user: root' if that is meant"
        raise _RefusedError(text)
    try:
        entry = pwd.getpwuid(own) if name is None else pwd.getpwnam(name)
    except KeyError:
        if name is not None:
            text = f"there is no user {name!r}"
            raise _RefusedError(text) from None
        entry = None
    kept = ",".join(["-all", *(f"+{capability}" for capability in capabilities)])
    prefix = ["setpriv", f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    if _oom_score() < 0:
        # The agent is one of the last to be killed for want of memory; a program is not.
        prefix = ["choom", "-n", "0", "--", *prefix]
    variables = {"PATH": _PATH, "LANG": "C.UTF-8"}
    if entry is None:
        return prefix, variables
    if entry.pw_uid != own:
        if missing := _missing_capabilities():
            text = f"to run as {name} takes {' and '.join(missing)}, which the agent has not"
            raise _RefusedError(text)
        prefix += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]
    variables |= {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}
    return prefix, variables


def _start(command: Sequence[str], environment: Mapping[str, str]) -> Spawned:
    """Raises: _RefusedError."""
    starter = shutil.which(command[0], path=_PATH)
    if starter is None:
        text = f"{command[0]} of util-linux is missing"
        raise _RefusedError(text)
    try:
        return Spawned([starter, *command[1:]], environment)
    except (OSError, ValueError) as error:  # no process or descriptor left; a zero byte
        raise _RefusedError(str(error)) from None


class _Watch:
    """Feeds a process and reads what it says, until it ends."""

    def __init__(
        self,
        process: Spawned,
        stdin: bytes,
        stop: int | None,
        selector: selectors.BaseSelector,
        most_bytes: int,
    ) -> None:
        self._process = process
        self._left = memoryview(stdin)
        self.tail = bytearray()
        self._most_bytes = most_bytes
        self.stopped = False
        self._stop = stop
        self._selector = selector
        for descriptor in (process.stdin, process.stdout):
            os.set_blocking(descriptor, False)
        self._input, self._output = process.stdin, process.stdout
        for descriptor in (process.end, process.stdout, *([] if stop is None else [stop])):
            selector.register(descriptor, selectors.EVENT_READ)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        self._talks = True

    def until_end(self, deadline_s: float) -> bool:
        """Return whether the process has ended by ``deadline_s``, or before it is to stop."""
        while (left_s := deadline_s - time.monotonic()) > 0:
            ready = {key.fd for key, _ in self._selector.select(left_s)}
            ended = self._process.end in ready
            if self._input in ready:
                self._write()
            if self._output in ready or ended:
                self._read(to_the_end=ended)
            if ended:
                return True
            if self._stop in ready and self._stop is not None:
                self.stopped = True
                self._selector.unregister(self._stop)
                return False
        return False

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self._input, self._left[:_CHUNK]) :]
        except BlockingIOError:
            return
        except OSError:  # It does not want to know.
            self._left = self._left[:0]
        if not self._left:
            self._selector.unregister(self._input)
            self._input = -1
            self._process.close_stdin()

    def _read(self, *, to_the_end: bool) -> None:
        # Bounded: somebody whom it has left behind may go on talking for ever.
        for _ in range(16 if to_the_end else 1):
            if not self._talks:
                return
            try:
                part = os.read(self._output, _CHUNK)
            except BlockingIOError:
                return
            if not part:
                self._selector.unregister(self._output)
                self._talks = False
                return
            self.tail = (self.tail + part)[-self._most_bytes :]


def _oom_score() -> int:
    try:
        return int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii"))
    except OSError:
        return 0


def _missing_capabilities() -> list[str]:
    """Return which of those it takes to be somebody else this process has not."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []  # setpriv will say it.
    held = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
    return [name for name, bit in _NEEDED.items() if not held >> bit & 1]
