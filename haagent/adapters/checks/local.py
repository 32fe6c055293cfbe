"""Whether a process lives, and whether the operator's switch is set."""

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from haagent.adapters.checks.result import Result, one_line, trouble

if TYPE_CHECKING:
    from psutil import Process

_found: "dict[str, Process]" = {}
"""Where each name was seen last: a look at one process, not at all of them, nearly always."""

_MAX_PIDFILE_BYTES = 64


def process(name: str) -> Result:
    """Return whether a process called ``name`` lives; one that waits to be reaped does not."""
    known = _found.get(name)
    if known is None or not _lives(known, name):
        known = _search(name)
    if known is None:
        _found.pop(name, None)
        return Result(False, f"no process {name}")
    _found[name] = known
    return Result(True, f"pid {known.pid}")


def pidfile(path: str) -> Result:
    """Return whether the process lives whose number is in the file at ``path``."""
    import psutil  # noqa: PLC0415  # for who has such a check

    try:
        with Path(path).open("rb") as file:
            written = file.read(_MAX_PIDFILE_BYTES)
        number = int(written.split()[0])
    except OSError as error:
        return Result(False, f"{path}: {trouble(error)}")
    except (ValueError, IndexError):
        return Result(False, f"{path}: holds no number")
    try:
        lives = number > 0 and psutil.Process(number).status() not in _gone()
    except (psutil.Error, OverflowError):
        lives = False
    return Result(lives, f"pid {number}" if lives else f"no process with pid {number}")


def file(path: str) -> Result:
    """Return whether there is no file at ``path``, of whatever kind."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return Result(True, f"no file {path}")
        return Result(False, f"{path}: {trouble(error)}")
    return Result(False, one_line(f"{path} exists"))


def _search(name: str) -> "Process | None":
    import psutil  # noqa: PLC0415

    return next((each for each in psutil.process_iter() if _lives(each, name)), None)


def _lives(candidate: "Process", name: str) -> bool:
    import psutil  # noqa: PLC0415

    try:
        with candidate.oneshot():
            called = candidate.name() == name and candidate.status() not in _gone()
        return called and candidate.is_running()
    except psutil.Error:
        return False


def _gone() -> set[str]:
    import psutil  # noqa: PLC0415

    return {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
