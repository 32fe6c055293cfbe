"""Keeps a configuration file of HAProxy that has the wanted servers, so that they survive it.

The Runtime API (``runtime``) is the fast way, and what it has added is gone after a restart or
reload of HAProxy until it has added it again.  Say what is wanted with :meth:`HAProxyFile.want`;
when the *set* of servers has changed, weights aside, and has settled, the file is

    rendered, written beside, checked by HAProxy, put in place, reloaded, and seen to serve;

or it is as it was: the file before is put back, HAProxy reloads that one, and what was wrong is
posted as ``FileSettled``.  All in one thread.  A file that was being changed when the agent was
killed is whole, and is checked and reloaded again at the next start.

What this module does not do: look after the file while nothing changes; it is the operator's.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event as Flag

from haagent.adapters.haproxy import reloading, replacing
from haagent.adapters.haproxy.reloading import ReloadError
from haagent.adapters.haproxy.rendering import RenderError, render
from haagent.adapters.haproxy.replacing import Found, beside
from haagent.adapters.haproxy.thread import in_thread, poster
from haagent.core.actions import Backend
from haagent.core.events import Event, FileSettled
from haagent.core.settings import CHECKED, HAProxyFileSettings
from haagent.wire.haproxy.configuration import same_servers

SETTLE_S = 1.0
"""Without a change for so long, the file is written; a failover is several changes."""
LONGEST_S = 5.0
"""With changes without end, it is written all the same."""
PAUSE_S = 5.0
"""After an attempt, before the next: every reload leaves an old HAProxy behind that lives as long
as its connections."""
RETRY_S = 5.0
LONGEST_RETRY_S = 600.0
"""What failed is tried again after 5 s, 10 s, 20 s ... 10 min, and with every other set."""
COMMAND_S = 30.0
"""Limit on the check, and on a reload by systemd."""

Run = Callable[[Sequence[str], float], str]
"""Runs a command with a limit in seconds, and returns why it failed; empty when it did not."""


class _EndedError(Exception):
    """The agent ends in the middle of it."""


class HAProxyFile:
    """See the module docstring.  To be used in one event loop."""

    def __init__(
        self,
        settings: HAProxyFileSettings,
        socket_path: str,
        run: Run,
        post: Callable[[Event], None],
    ) -> None:
        """``socket_path`` is the ``stats socket``, on which the servers are looked for."""
        self._settings = settings
        self._path = Path(settings.path)
        self._template = Path(settings.template) if settings.template else None
        self._before = beside(self._path, "before")
        self._socket = socket_path
        self._command = run
        self._post = post
        self._wanted: tuple[Backend, ...] | None = None
        self._woken = Flag()
        self._ending = Flag()
        self._tried: tuple[Backend, ...] | None = None
        """What the last attempt was for."""
        self._failures = 0
        """How many attempts have failed one after the other."""
        self._attempted = -PAUSE_S
        """When the last attempt ended, on the monotonic clock."""

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Have the file for ``backends``, soon.  Returns at once; the latest call counts.

        Nothing is written while some backend is not ``whole``: the file has more by then.
        """
        if all(backend.whole for backend in backends):
            self._wanted = backends
            self._woken.set()

    def again(self) -> None:
        """Make the file anew: the operator may have changed the template, or mended something."""
        self._tried = None
        self._woken.set()

    async def run(self) -> None:
        """Keep the file as wanted from the first :meth:`want` until cancelled."""
        self._post = poster(self._post)
        await in_thread(self._work, self._end, "haproxy-file")

    def _end(self) -> None:
        self._ending.set()
        self._woken.set()

    def _work(self) -> None:
        self._woken.wait()
        while not self._ending.is_set():
            self._settle()
            wanted = self._wanted
            if not self._ending.is_set() and wanted is not None and self._is_due(wanted):
                self._attempt(wanted)
            if not self._ending.is_set():
                self._woken.wait(self._retry_in() if self._failures else None)

    def _settle(self) -> None:
        """Return when nothing new was wanted for a while, and the last attempt is past."""
        latest = time.monotonic() + LONGEST_S
        self._woken.clear()
        while self._woken.wait(SETTLE_S) and time.monotonic() < latest:
            if self._ending.is_set():
                return
            self._woken.clear()
        self._ending.wait(max(0.0, self._attempted + PAUSE_S - time.monotonic()))
        self._woken.clear()

    def _is_due(self, wanted: tuple[Backend, ...]) -> bool:
        if self._tried is None or not same_servers(self._tried, wanted):
            return True
        return self._failures > 0 and self._retry_in() == 0

    def _retry_in(self) -> float:
        pause = min(RETRY_S * (1 << min(self._failures - 1, 10)), LONGEST_RETRY_S)
        return max(0.0, self._attempted + pause - time.monotonic())

    def _attempt(self, wanted: tuple[Backend, ...]) -> None:
        trouble = news = ""
        self._tried = wanted
        try:
            news = self._bring(wanted)
        except _EndedError:
            return  # The next start goes on with it.
        except (RenderError, ReloadError, OSError) as error:
            trouble = f"{self._path}: {error}"
        self._attempted = time.monotonic()
        self._failures = self._failures + 1 if trouble else 0
        self._post(FileSettled(trouble=trouble, news=news))

    def _bring(self, wanted: tuple[Backend, ...]) -> str:
        """Have the file for ``wanted``; return what was done.

        Raises: RenderError, OSError, when the file is as it was; ReloadError, whose text says
        what the file is then.
        """
        found = replacing.find(self._path)
        text = render(self._template, found.data if found else None, wanted)
        unproven = replacing.find(self._before) is not None
        if found is not None and found.data == text and not unproven:
            return ""
        process = reloading.process_of(self._socket) if self._settings.reloads else ""
        # In the place of an unproven file that is ours alone, what was before it is better still.
        is_ours = found is not None and (self._template is not None or found.data == text)
        self._put_in_place(text, found, keep=not (unproven and is_ours))
        count = sum(len(backend.servers) for backend in wanted)
        news = f"{self._path} has {count} server{'' if count == 1 else 's'}"
        if process:
            self._prove(text, process, wanted)
            news += ", and HAProxy has reloaded it"
        self._before.unlink(missing_ok=True)
        return news

    def _put_in_place(self, text: bytes, found: Found | None, *, keep: bool) -> None:
        """Replace the file; with ``keep`` what was there can be put back."""
        new, copy = beside(self._path, "new"), beside(self._path, "copy")
        try:
            replacing.write(new, text, found)
            self._check(new)
            if found is not None and keep:
                replacing.write(copy, found.data, found)
                replacing.move(copy, self._before)
            now = replacing.find(self._path)
            if (now and now.version) != (found and found.version):
                raise RenderError("somebody else has changed it meanwhile")
            replacing.move(new, self._path)
        except BaseException:
            if keep:
                self._before.unlink(missing_ok=True)
            raise
        finally:
            copy.unlink(missing_ok=True)
            new.unlink(missing_ok=True)

    def _check(self, new: Path) -> None:
        command = [word.replace(CHECKED, str(new)) for word in self._settings.check]
        if why := self._command(command, COMMAND_S):
            # The name that the operator knows; the line is the same.
            message = f"HAProxy refuses what it would be: {why.replace(str(new), self._path.name)}"
            raise RenderError(message)

    def _prove(self, text: bytes, process: str, wanted: tuple[Backend, ...]) -> None:
        """Have HAProxy serve with the file; go back to the one before where it does not."""
        try:
            self._reload()
            reloading.verify(self._socket, process, wanted, self._wait)
        except ReloadError as error:
            message = f"{error}; {self._go_back(text)}"
            raise ReloadError(message) from None

    def _go_back(self, text: bytes) -> str:
        """Return what became of the attempt to have HAProxy serve as before."""
        try:
            now = replacing.find(self._path)
            if now is None or now.data != text:
                self._before.unlink(missing_ok=True)  # Theirs is what to go back to from now on.
                return "somebody else has changed the file since, and it is left as it is"
            replacing.move(self._before, self._path)  # Takes no space on a full disk.
        except FileNotFoundError:
            return "there was no file before, so it is left as it is"
        except OSError as error:
            return f"the file before could not be put back: {error}"
        try:
            self._reload()
        except ReloadError as error:
            return f"the file before is back, but {error}"
        return "the file before is back, and HAProxy has reloaded it"

    def _reload(self) -> None:
        if self._settings.master_socket:
            reloading.by_master(self._settings.master_socket, self._wait)
            return
        assert self._settings.unit, "there is one way to reload, or nothing is reloaded"
        command = ("systemctl", "reload", self._settings.unit)
        if why := self._command(command, COMMAND_S):
            message = f"`{' '.join(command)}`: {why}"
            raise ReloadError(message)

    def _wait(self, seconds: float) -> None:
        """Pass the time.  Raises: _EndedError at the end of the agent."""
        if self._ending.wait(seconds):
            raise _EndedError
