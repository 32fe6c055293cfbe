"""What people are told of: the records that somebody wants, gathered, and at a bounded rate.

Feed every record to :meth:`Notices.add`; what :meth:`Notices.take` returns at
:meth:`Notices.deadline` is to be sent.

What this module does not do: send anything (``haagent.adapters.notifications``).
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from haagent.core.actions import Record, Severity
from haagent.core.units import DurationNs, MonoNs, later, seconds

GATHER = seconds(1)
"""How long the first record waits for others: a failover makes several, and is one notice."""

MOST_LINES = 20
"""Records of one notice that are told in full; of the others how many there are."""

OWN_KINDS = "notify.*"
"""Of these nobody is told: that a service cannot be reached would be told to that service."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many within a length of time."""

    count: int
    per: DurationNs


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationSettings:
    """Who is told of what, and how often at most."""

    urls_file: str
    """Of services, an address each line: they hold secrets, so they are not in the file."""
    kinds: tuple[str, ...] = ("*",)
    """Patterns of kinds: ``peer.*``."""
    severity: Severity = Severity.WARNING
    """The least that is told."""
    limit: Rate = Rate(10, seconds(60))


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people."""

    title: str
    body: str
    severity: Severity
    """Of the worst that it tells."""


class Notices:
    """What one of the configured receivers is to be told."""

    def __init__(self, settings: NotificationSettings, sender: str) -> None:
        """``sender`` begins every title."""
        self._settings = settings
        self._sender = sender
        self._lines: list[str] = []
        self._kinds: dict[str, None] = {}
        self._more = 0
        self._worst = Severity.INFO
        self._due: MonoNs | None = None
        self._sent: deque[MonoNs] = deque()
        """When the last notices were taken, oldest first; as many as the limit allows."""

    def add(self, now: MonoNs, record: Record) -> None:
        """Take in what has happened."""
        settings = self._settings
        unwanted = record.severity > settings.severity or fnmatchcase(record.kind, OWN_KINDS)
        if unwanted or not any(fnmatchcase(record.kind, kind) for kind in settings.kinds):
            return
        if self._due is None:
            self._due = max(later(now, GATHER), self._allowed())
        self._worst = min(self._worst, record.severity)
        if len(self._lines) < MOST_LINES:
            self._lines.append(_line(record))
            self._kinds[record.kind] = None
        else:
            self._more += 1

    def lost(self, now: MonoNs, notice: Notice) -> None:
        """Take in that ``notice`` could not be sent, so that the next one tells of it."""
        if self._due is None:
            self._due = max(later(now, GATHER), self._allowed())
        self._worst = min(self._worst, notice.severity)
        self._more += notice.body.count("\n") + 1
        self._kinds["notices that were lost"] = None

    def deadline(self) -> MonoNs | None:
        """Return when there is something to be taken."""
        return self._due

    def take(self, now: MonoNs, *, last: bool = False) -> Notice | None:
        """Return what is to be sent now; ``last`` says that there will be no other time."""
        if self._due is None or (now < self._due and not last):
            return None
        self._sent.append(now)
        while len(self._sent) > self._settings.limit.count:
            self._sent.popleft()
        more = [f"and {self._more} more"] if self._more else []
        kinds = ", ".join(list(self._kinds)[:3]) + (" ..." if len(self._kinds) > 3 else "")
        title = f"{self._sender}: {self._worst.name.lower()}: {kinds}"
        notice = Notice(title, "\n".join([*self._lines, *more]), self._worst)
        self._lines, self._kinds, self._more = [], {}, 0
        self._worst, self._due = Severity.INFO, None
        return notice

    def _allowed(self) -> MonoNs:
        """Return from when on the limit allows another notice."""
        if len(self._sent) < self._settings.limit.count:
            return MonoNs(0)
        return later(self._sent[0], self._settings.limit.per)


def _line(record: Record) -> str:
    instant = datetime.fromtimestamp(record.stamp.hlc.ms / 1000, UTC)
    group = "" if record.group is None else f" ({record.group})"
    severity = record.severity.name.lower()
    return f"{instant:%Y-%m-%d %H:%M:%SZ} {severity} {record.kind}: {record.text}{group}"
