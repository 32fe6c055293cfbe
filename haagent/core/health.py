"""How an agent is, as far as the checks of a group can tell.

:class:`Health` knows which checks of one group fail, and raises the alarms.  What passes and what
fails is counted where the check is made (``haagent.core.streak``), so that only a change gets here.

What this module does not do: make a check (``haagent.adapters.checks``), or decide what
becomes of the group (``haagent.core.election``).
"""

from dataclasses import dataclass

from haagent.core.actions import Severity
from haagent.core.checks import CheckSettings, Consequence
from haagent.core.events import CheckReported
from haagent.core.journal import Journal
from haagent.core.settings import GroupSettings
from haagent.core.status import CheckStatus
from haagent.core.units import Moment, MonoNs


@dataclass(frozen=True, slots=True)
class _Verdict:
    passed: bool
    since: MonoNs
    text: str


class Health:
    """See the module docstring."""

    def __init__(self, group: GroupSettings, journal: Journal) -> None:
        self._group = group
        self._journal = journal
        self._verdicts: dict[str, _Verdict] = {}
        """By the name of the check; of one that has not reported there is none."""

    @property
    def judged(self) -> bool:
        """Whether every check has reported."""
        return len(self._verdicts) == len(self._group.checks)

    @property
    def released(self) -> bool:
        """Whether a check fails that the agent is not to hold the group without."""
        return bool(self._failing(Consequence.RELEASE))

    @property
    def demoted_by(self) -> int:
        """How many checks fail for which the agent is to rank lower."""
        return self._failing(Consequence.DEMOTE)

    def reported(self, now: Moment, event: CheckReported) -> int | None:
        """Take in what a check has come to; return the number of the record that tells of it.

        None when there is nothing to tell: the check passes from the beginning, is no longer
        made in this way, or is taken for this already.
        """
        check = event.check
        if check not in self._group.checks:
            return None
        before = self._verdicts.get(check.name)
        if before is not None and before.passed is event.passed:
            return None
        self._verdicts[check.name] = _Verdict(event.passed, now.mono, event.text)
        if event.passed:
            return self._clear(now, check.name)
        severity = Severity.ERROR if check.on_fail is Consequence.RELEASE else Severity.WARNING
        name = self._group.name
        text = f"{name}: {check.name} fails: {event.text}"
        return self._journal.alarm(
            now, "check.failing", self._subject(check.name), text, severity=severity, group=name
        )

    def reconfigure(self, now: Moment, group: GroupSettings) -> None:
        """Go on with the checks of ``group``: what is new or changed has to report first."""
        kept = {check.name for check in self._group.checks if check in group.checks}
        for name in self._verdicts.keys() - kept:
            del self._verdicts[name]
            self._clear(now, name)
        self._group = group

    def leave(self, now: Moment) -> None:
        """Have no alarm up any more."""
        for name in self._verdicts:
            self._clear(now, name)

    def status(self) -> tuple[CheckStatus, ...]:
        """Return what every check is taken for, in the order of the file."""
        return tuple(self._status(check) for check in self._group.checks)

    def _status(self, check: CheckSettings) -> CheckStatus:
        verdict = self._verdicts.get(check.name)
        return CheckStatus(
            check=check,
            passed=None if verdict is None else verdict.passed,
            since=None if verdict is None else verdict.since,
            text="" if verdict is None else verdict.text,
        )

    def _failing(self, on_fail: Consequence) -> int:
        wanted = {check.name for check in self._group.checks if check.on_fail is on_fail}
        return sum(name in wanted and not v.passed for name, v in self._verdicts.items())

    def _clear(self, now: Moment, name: str) -> int | None:
        return self._journal.clear(
            now, "check.failing", self._subject(name), group=self._group.name
        )

    def _subject(self, name: str) -> str:
        return f"{self._group.name} {name}"
