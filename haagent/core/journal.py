"""What an operator is told: records of what happened, alarms for what lasts.

Every record carries all logical clocks.  An alarm makes one record when it is raised and
one when it is cleared; in between it is part of the status.
"""

from collections import deque

from haagent.core.actions import Record, Severity
from haagent.core.clocks import Clocks
from haagent.core.identity import Term
from haagent.core.status import Alarm
from haagent.core.units import DurationNs, Moment, MonoNs, later

KEPT_RECORDS = 256


class Journal:
    """Records and alarms of one agent."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._alarms: dict[tuple[str, str], Alarm] = {}
        self._ends: dict[tuple[str, str], MonoNs] = {}
        self._new: list[Record] = []
        self._kept: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._count = 0

    def record(
        self,
        now: Moment,
        kind: str,
        text: str,
        *,
        severity: Severity = Severity.NOTICE,
        group: str | None = None,
        term: Term | None = None,
        cause: int | None = None,
        evidence: tuple[str, ...] = (),
    ) -> int:
        """Note that something happened; return the number of the record.

        ``cause`` is the number of the record that led to it.
        """
        self._count += 1
        record = Record(
            number=self._count,
            stamp=self._clocks.tick(now.wall),
            severity=severity,
            kind=kind,
            text=text,
            group=group,
            term=term,
            cause=cause,
            evidence=evidence,
            heard=self._clocks.heard,
        )
        self._new.append(record)
        self._kept.append(record)
        return record.number

    def alarm(
        self,
        now: Moment,
        kind: str,
        subject: str,
        text: str,
        *,
        severity: Severity = Severity.WARNING,
        lasts: DurationNs | None = None,
        group: str | None = None,
    ) -> int | None:
        """Raise the alarm ``kind`` about ``subject``, or keep it up.

        Returns: the number of the record that tells of it; None when it is no news.
        With ``lasts`` it clears itself unless it is raised again within that time.
        """
        key = (kind, subject)
        if lasts is not None:
            self._ends[key] = later(now.mono, lasts)
        known = self._alarms.get(key)
        if known is not None and known.text == text:
            return None
        since = now.mono if known is None else known.since
        self._alarms[key] = Alarm(kind=kind, text=text, severity=severity, since=since)
        return self.record(now, kind, text, severity=severity, group=group)

    def clear(
        self, now: Moment, kind: str, subject: str, *, group: str | None = None
    ) -> int | None:
        """End an alarm, and return the number of the record of that; None when it is not up."""
        self._ends.pop((kind, subject), None)
        alarm = self._alarms.pop((kind, subject), None)
        if alarm is None:
            return None
        return self.record(now, f"{kind}.cleared", f"no longer: {alarm.text}", group=group)

    @property
    def quiet(self) -> bool:
        """Whether no alarm is up, and so there is none to clear."""
        return not self._alarms

    def tick(self, now: Moment) -> None:
        """Clear the alarms whose time is over."""
        for kind, subject in [key for key, end in self._ends.items() if end <= now.mono]:
            self.clear(now, kind, subject)

    def deadline(self) -> MonoNs | None:
        """Return when the next alarm clears itself."""
        return min(self._ends.values(), default=None)

    def take(self) -> list[Record]:
        """Return the records made since the last call."""
        new, self._new = self._new, []
        return new

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        return tuple(sorted(self._alarms.values(), key=lambda alarm: (alarm.severity, alarm.kind)))

    @property
    def records(self) -> tuple[Record, ...]:
        return tuple(self._kept)
