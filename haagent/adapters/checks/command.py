"""Whether a program of the operator says so: exit code 0 is well, everything else is not."""

from collections.abc import Sequence

from haagent.adapters import programs
from haagent.adapters.checks.result import Result, one_line


def command(argv: Sequence[str], timeout_s: float, user: str | None = None) -> Result:
    """Run ``argv`` as ``user``; the text tells how it ended, with the last line that it said.

    One that takes too long is ended with all its processes, up to
    :data:`~haagent.adapters.programs.KILL_AFTER_S` after the limit.
    """
    ended = programs.run(argv, timeout_s=timeout_s, user=user)
    return Result(ended.ok, one_line(ended.text))
