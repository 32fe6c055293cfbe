"""The adapters of the local HAProxy as one: each gets what is wanted, and runs by itself."""

import os
import pwd
from collections.abc import Callable, Coroutine, Sequence

from haagent.adapters import programs
from haagent.adapters.haproxy.file import HAProxyFile
from haagent.adapters.haproxy.runtime import HAProxyRuntime
from haagent.core.actions import Backend
from haagent.core.events import Event
from haagent.core.settings import HAProxySettings
from haagent.wire.haproxy.master import alerts


class HAProxy:
    """See the module docstring."""

    def __init__(self, settings: HAProxySettings, post: Callable[[Event], None]) -> None:
        self._runtime = HAProxyRuntime(settings.socket, post)
        self._file = None
        if settings.file is not None:
            self._file = HAProxyFile(settings.file, settings.socket, _run, post)

    def want(self, backends: tuple[Backend, ...]) -> None:
        """Have exactly ``backends``, soon; the latest call counts."""
        self._runtime.want(backends)
        if self._file is not None:
            self._file.want(backends)

    def again(self) -> None:
        """Make the file anew, as after a reload of our own configuration."""
        if self._file is not None:
            self._file.again()

    def runs(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        """Return what is to run for as long as the agent does."""
        file = [] if self._file is None else [self._file.run]
        return [self._runtime.run, *file]


def _run(words: Sequence[str], timeout_s: float) -> str:
    """Run a command as whoever the agent is; return why it failed, as HAProxy tells it."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    ended = programs.run(words, timeout_s=timeout_s, user=user)
    return "" if ended.ok else alerts(ended.output) or ended.text
