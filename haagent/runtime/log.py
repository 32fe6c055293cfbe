"""The agent's log: one line a record on stderr, for the journal.

Lines are written by a thread of their own, so that a journal that hangs holds up neither a
heartbeat nor the end.
"""

import logging
import logging.handlers
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue

from haagent.core.actions import Record, Severity

logger = logging.getLogger("haagent")

_LEVELS = {
    Severity.CRITICAL: logging.CRITICAL,
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.NOTICE: logging.INFO,
    Severity.INFO: logging.INFO,
}
_PATIENCE_S = 1.0
"""How long the end waits for a journal that hangs."""

_MOST_WAITING = 10_000
"""Lines that wait for such a journal; further ones are lost."""

_SYSLOG = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 5}


class _Formatter(logging.Formatter):
    """To the journal with sd-daemon's priority prefix, elsewhere with the time."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", " ")
        return f"<{_SYSLOG.get(record.levelno, 6)}>{line}" if self._journal else line


class _Writer(logging.Handler):
    """Writes to stderr without any lock: the end would wait for one that a hanging write has."""

    def createLock(self) -> None:  # noqa: N802  # of logging
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            os.write(sys.stderr.fileno(), f"{self.format(record)}\n".encode())


class _Lines(logging.handlers.QueueHandler):
    queue: SimpleQueue[logging.LogRecord]

    def enqueue(self, record: logging.LogRecord) -> None:
        if self.queue.qsize() < _MOST_WAITING:
            self.queue.put(record)


class Listener(logging.handlers.QueueListener):
    """Writes the lines in its thread."""

    def stop(self) -> None:
        """Write what is left, unless that takes too long."""
        self.enqueue_sentinel()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)


def start(environment: Mapping[str, str]) -> Listener:
    """Begin to write; the caller stops the listener at the end."""
    handler = _Writer()
    handler.setFormatter(_Formatter(journal=_is_journal(environment)))
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    logger.addHandler(_Lines(lines))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    listener = Listener(lines, handler)
    listener.start()
    return listener


def write(record: Record) -> None:
    """Log what the core recorded, and below it what a decision stands on."""
    facts = [record.kind]
    if record.group is not None:
        facts.append(f"group={record.group}")
    if record.term is not None:
        facts.append(f"term={record.term}")
    hlc = record.stamp.hlc
    facts += [f"lamport={record.stamp.lamport}", f"hlc={hlc.ms}.{hlc.counter}"]
    level = _LEVELS[record.severity]
    logger.log(level, "%s [%s]", record.text, " ".join(facts))
    for line in record.evidence:
        logger.log(level, "    %s", line)


def _is_journal(environment: Mapping[str, str]) -> bool:
    # systemd names the device and inode of the stream that it connected (systemd.exec(5)).
    stream = os.fstat(sys.stderr.fileno())
    return environment.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
