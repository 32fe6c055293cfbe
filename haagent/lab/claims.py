"""Whose a prefix is: one running laboratory's, a killed one's, or nobody's.

A laboratory owns a directory with one subdirectory for each of its namespaces, made before the
namespace.  So a namespace without a subdirectory is somebody else's, and stays.

What this module does not do: build anything (``haagent.lab.topology``).
"""

import errno
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from haagent.lab.errors import LabError
from haagent.lab.interrupts import undisturbed
from haagent.lab.namespaces import end_namespace

_STEM = "/run/haagent-lab-"
_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")
"""No hyphen, so that PREFIX-HOST is read in one way only; short enough for a port's name."""


def leftovers() -> list[str]:
    """Return the prefixes of laboratories whose process is gone, but not their namespaces."""
    found = Path(_STEM).parent.glob(Path(_STEM).name + "*")
    prefixes = (str(path).removeprefix(_STEM) for path in found)
    return sorted(prefix for prefix in prefixes if not _is_running(prefix))


def remove_leftovers(prefix: str) -> None:
    """Remove what a laboratory that was killed left; nothing happens when it left nothing.

    Raises: LabError when a laboratory of this prefix is running.
    """
    with undisturbed(), _owner(checked_name(prefix)):
        _remove_all(prefix)


@contextmanager
def claimed(prefix: str) -> Iterator[None]:
    """Own the prefix and its new directory; at the end remove it and all its namespaces.

    Raises: LabError when a laboratory of this prefix runs, or left something behind.
    """
    with _owner(prefix):
        try:
            directory_of(prefix).mkdir()
        except FileExistsError:
            text = f"a killed laboratory left things behind: call remove_leftovers({prefix!r})"
            raise LabError(text) from None
        try:
            yield
        finally:
            _remove_all(prefix)


def checked_name(name: str) -> str:
    """Return ``name``.

    Raises: LabError when it may not be a prefix or the name of a host.
    """
    if not _NAME.fullmatch(name):
        text = f"{name!r} must be a lower-case letter and up to nine more, or digits"
        raise LabError(text)
    return name


def directory_of(prefix: str) -> Path:
    """Return the directory of the laboratory: short, because Unix sockets stand in it."""
    return Path(_STEM + prefix)


def _remove_all(prefix: str) -> None:
    directory = directory_of(prefix)
    if directory.exists():
        for path in directory.iterdir():
            end_namespace(f"{prefix}-{path.name}")
        shutil.rmtree(directory)


@contextmanager
def _owner(prefix: str) -> Iterator[None]:
    """Own the prefix in the whole machine, for no longer than this process lives.

    An abstract socket is bound by one process only, and the kernel forgets it with the process.
    """
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0haagent-lab-{prefix}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            text = f"a laboratory {prefix!r} is running"
            raise LabError(text) from None
        yield


def _is_running(prefix: str) -> bool:
    try:
        with _owner(prefix):
            return False
    except LabError:
        return True
