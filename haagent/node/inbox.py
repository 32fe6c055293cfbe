"""What threads and signals tell the loop of an app node, and what wakes it."""

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import TypeAlias

from haagent.node.checks import Fault, Outcome


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants this process to end."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Somebody wants the file to be read again."""


@dataclass(frozen=True, slots=True)
class Reread:
    """The file was read: what it says now, or what is wrong with it."""

    text: str
    problems: str


News: TypeAlias = Outcome | Fault | Stop | Reload | Reread

_SIGNALS: dict[int, News] = {
    signal.SIGTERM: Stop(),
    signal.SIGINT: Stop(),
    signal.SIGHUP: Reload(),
}


class Inbox:
    """Readable while there is news."""

    def __init__(self) -> None:
        self._news: deque[News] = deque()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reader

    def hear_signals(self) -> None:
        """Take signals for news; only the main thread can."""
        for number in _SIGNALS:
            signal.signal(number, self._signalled)

    def put(self, news: News) -> None:
        """Tell the loop; from any thread, and never waiting."""
        self._news.append(news)
        with suppress(BlockingIOError):  # It is readable already.
            os.write(self._writer, b"!")

    def take(self) -> Iterator[News]:
        """Yield what there is, oldest first."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        while self._news:
            yield self._news.popleft()

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self.put(_SIGNALS[number])
