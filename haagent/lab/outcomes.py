"""The line that a prober writes for each request, and that ``haagent.lab.probes`` reads.

17 912345678901 912346012345 ok lb1 app1
18 912346678901 912846678901 failed - lost
"""

from dataclasses import dataclass
from typing import Self

_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request."""

    number: int
    """Counts the requests of one prober from 0."""
    sent_ns: int
    ended_ns: int
    """When it was answered, or when the prober knew that it failed."""
    ok: bool
    who: str = ""
    """The host that answered; empty when none did."""
    detail: str = ""
    """HTTP: the application server that HAProxy asked.  After a failure: the reason."""

    def line(self) -> str:
        verdict = "ok" if self.ok else "failed"
        words = (self.who or _NOTHING, self.detail or _NOTHING)
        return f"{self.number} {self.sent_ns} {self.ended_ns} {verdict} {' '.join(words)}\n"

    @classmethod
    def of_line(cls, line: str) -> Self:
        number, sent_ns, ended_ns, verdict, who, detail = line.split(maxsplit=5)
        return cls(
            number=int(number),
            sent_ns=int(sent_ns),
            ended_ns=int(ended_ns),
            ok=verdict == "ok",
            who="" if who == _NOTHING else who,
            detail="" if detail == _NOTHING else detail,
        )
