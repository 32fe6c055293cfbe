"""The paths of this agent: which of them carry nothing, and for how long none has.

What this module does not do: what came over a path (``haagent.core.peer``).
"""

from haagent.core.events import PathChanged
from haagent.core.journal import Journal
from haagent.core.settings import HeartbeatSettings
from haagent.core.units import DurationNs, Moment, MonoNs, later


class Paths:
    """See the module docstring."""

    def __init__(self, timing: HeartbeatSettings, journal: Journal) -> None:
        self._timing = timing
        self._journal = journal
        self._mute_since: dict[int, MonoNs] = {}
        """Since when each path has carried nothing."""
        self._mute_due: MonoNs | None = None

    @property
    def mute(self) -> bool:
        """Whether nothing that we say leaves this host."""
        return len(self._mute_since) == len(self._timing.paths)

    def changed(self, now: Moment, event: PathChanged) -> None:
        """Take in how a path is now, and tell of it."""
        path = event.path
        if event.trouble:
            text = f"path {path} carries no heartbeats: {event.trouble}"
            self._journal.alarm(now, "path.down", str(path), text)
        else:
            self._journal.clear(now, "path.down", str(path))
        if event.carries:
            self._mute_since.pop(path, None)
        else:
            self._mute_since.setdefault(path, now.mono)
        self._mute_due = None
        if self.mute:
            # The last heartbeat that was heard is an interval old, and its lease ends then.
            patience = DurationNs(self._timing.lease - self._timing.interval)
            self._mute_due = later(max(self._mute_since.values()), patience)

    def given_up(self, now: MonoNs) -> bool:
        """Return once whether the lease is over of an agent that nobody hears."""
        if self._mute_due is None or now < self._mute_due:
            return False
        self._mute_due = None
        return True

    def deadline(self) -> MonoNs | None:
        """Return when that lease is over."""
        return self._mute_due
