"""What a HAProxy says of its own process."""

from typing import NamedTuple

SHOW_INFO = "show info"
"""The command whose answer :func:`read_info` reads."""


class Info(NamedTuple):
    """A HAProxy process about itself."""

    version: str
    pid: int
    stopping: bool
    """Whether it only waits for its last connections."""


def read_info(answer: str) -> Info | None:
    """Return what ``show info`` tells; None when ``answer`` is none."""
    lines = (line.partition(": ") for line in answer.splitlines())
    facts = {name: value for name, _, value in lines}
    try:
        if facts["Name"] != "HAProxy":
            return None
        return Info(facts["Version"], int(facts["Pid"]), facts["Stopping"] != "0")
    except (KeyError, ValueError):
        return None
