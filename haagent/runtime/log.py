"""The agent's log: one line a record on stderr, for the journal.

Lines are written by a thread of their own, so that a journal that hangs never holds up a
heartbeat.
"""

import logging
import logging.handlers
import os
import queue
import sys
from collections.abc import Mapping

from haagent.core.actions import Record, Severity

logger = logging.getLogger("haagent")

_LEVELS = {
    Severity.CRITICAL: logging.CRITICAL,
    Severity.ERROR: logging.ERROR,
    Severity.WARNING: logging.WARNING,
    Severity.NOTICE: logging.INFO,
    Severity.INFO: logging.INFO,
}
_SYSLOG = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 5}


class _Formatter(logging.Formatter):
    """To the journal with sd-daemon's priority prefix, elsewhere with the time."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record).replace("\n", " ")
        return f"<{_SYSLOG.get(record.levelno, 6)}>{line}" if self._journal else line


def start(environment: Mapping[str, str]) -> logging.handlers.QueueListener:
    """Begin to write; the caller stops the listener at the end, which writes what is left."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(journal=_is_journal(environment)))
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(lines))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    listener = logging.handlers.QueueListener(lines, handler)
    listener.start()
    return listener


def write(record: Record) -> None:
    """Log what the core recorded."""
    facts = [record.kind]
    if record.group is not None:
        facts.append(f"group={record.group}")
    if record.term is not None:
        facts.append(f"term={record.term}")
    hlc = record.stamp.hlc
    facts += [f"lamport={record.stamp.lamport}", f"hlc={hlc.ms}.{hlc.counter}"]
    logger.log(_LEVELS[record.severity], "%s [%s]", record.text, " ".join(facts))


def _is_journal(environment: Mapping[str, str]) -> bool:
    # systemd names the device and inode of the stream that it connected (systemd.exec(5)).
    stream = os.fstat(sys.stderr.fileno())
    return environment.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
