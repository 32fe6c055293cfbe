"""The master process of HAProxy as text: what its socket tells of a reload."""

import re
from dataclasses import dataclass

SHOW = b"show proc;quit\n"
"""Without ``quit`` the master keeps the connection open."""
RELOAD = b"reload\n"

_FAILED = re.compile(r"^\d+\s+master\s.*\[failed: (\d+)\]", re.MULTILINE)
_WORKER = re.compile(r"^(\d+)\s+worker\s")
_ALERT = re.compile(r"^.*\[ALERT\]\s*\(\d+\)\s*:\s*(config\s*:\s*)?")
_AFTERMATH = re.compile(r"Fatal errors found|Error\(s\) found")
_MAX_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Processes:
    """What the master has under it."""

    workers: frozenset[int]
    """Those that take new connections."""
    failed: int
    """Reloads that failed since the last that did not."""


def read_processes(answer: str) -> Processes | None:
    """Return what ``show proc`` tells; None when it is not the answer of a master."""
    failed = _FAILED.search(answer)
    if failed is None:
        return None
    current = answer.partition("# workers\n")[2].partition("\n#")[0]
    found = map(_WORKER.match, current.splitlines())
    return Processes(frozenset(int(each[1]) for each in found if each), int(failed[1]))


def refusal(answer: str) -> str:
    """Return why a reload failed, which HAProxy tells from 2.7 on; empty when it says nothing."""
    if "Success=0" not in answer:
        return ""
    return alerts(answer) or "it does not say why"


def alerts(output: str) -> str:
    """Return what HAProxy finds wrong, in one line, without what only follows from that."""
    found = (_ALERT.sub("", line).strip() for line in output.splitlines() if "[ALERT]" in line)
    return "; ".join(line for line in found if not _AFTERMATH.match(line))[:_MAX_QUOTE]
