"""What a finding is: something that is wrong, its likely cause, and what to do."""

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is; the gravest is the greatest."""

    NOTICE = 0
    """Worth knowing."""
    WARNING = 1
    """It works, but less well than it could, or not for ever."""
    ERROR = 2
    """Failover does not work as it should, or an address is not where it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong."""

    severity: Severity
    kind: str
    """What scripts and docs/operations.md go by."""
    text: str
    """What is wrong, and where; with the likely cause."""
    cure: str
    """What to do."""


def error(kind: str, text: str, cure: str) -> Finding:
    """Return a finding of severity error."""
    return Finding(severity=Severity.ERROR, kind=kind, text=text, cure=cure)


def warning(kind: str, text: str, cure: str) -> Finding:
    """Return a finding of severity warning."""
    return Finding(severity=Severity.WARNING, kind=kind, text=text, cure=cure)


def notice(kind: str, text: str, cure: str) -> Finding:
    """Return a finding of severity notice."""
    return Finding(severity=Severity.NOTICE, kind=kind, text=text, cure=cure)
