"""Records of what may happen to very many at once: the first each alone, the rest in one.

The journal keeps a few hundred records; a fleet of ten thousand that comes or goes would push
everything else out of it, and nobody would read that.
"""

from dataclasses import dataclass, field

from haagent.core.actions import Severity
from haagent.core.journal import Journal
from haagent.core.units import Moment, MonoNs, earliest, later, seconds

ALONE = 5
"""Records of a kind in a window that are written one by one, at once."""

WINDOW = seconds(5)
NAMED = 10
"""Names in a summary."""


@dataclass(slots=True)
class _Window:
    end: MonoNs
    severity: Severity
    written: int = 0
    names: list[str] = field(default_factory=list)
    left_out: int = 0
    text: str = ""
    """Of the newest that was not written."""


class Digest:
    """See the module docstring."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._windows: dict[str, _Window] = {}

    def record(
        self,
        now: Moment,
        kind: str,
        name: str,
        text: str,
        severity: Severity = Severity.NOTICE,
    ) -> None:
        """Note that ``kind`` happened to ``name``; ``text`` is used where it stands alone."""
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(later(now.mono, WINDOW), severity)
        if window.written < ALONE:
            window.written += 1
            self._journal.record(now, kind, text, severity=severity)
            return
        window.left_out += 1
        window.text = text
        if len(window.names) < NAMED:
            window.names.append(name)

    def tick(self, now: Moment) -> None:
        """Write the summaries that are due."""
        if not self._windows:
            return
        for kind, window in [*self._windows.items()]:
            if window.end <= now.mono:
                del self._windows[kind]
                self._summarise(now, kind, window)

    def deadline(self) -> MonoNs | None:
        """Return when :meth:`tick` is due."""
        return earliest(*(window.end for window in self._windows.values()))

    def _summarise(self, now: Moment, kind: str, window: _Window) -> None:
        if not window.left_out:
            return
        text = window.text
        if window.left_out > 1:
            names = ", ".join(window.names)
            others = window.left_out - len(window.names)
            text = f"and {window.left_out} more: {names}" + (f" and {others} more" * bool(others))
        self._journal.record(now, kind, text, severity=window.severity)
