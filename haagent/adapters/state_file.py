"""What survives a restart: boot counter, terms reserved in each group, what the operator wants.

:meth:`StateFile.open` locks the state directory against a second agent, reads the file and
counts one more boot.  A lost, corrupt or unwritable file is a note, not an end: the counter
is never below the seconds of the wall clock, so boot ids keep rising without it.  What the
operator wants is kept or refused, never in memory only.

The lock is on the directory itself, which needs neither space nor the right to write, and
ends with the process.

What this module does not do: stay out of the way of the event loop.  Opening and
writing wait for the disk; the runtime writes in a thread.
"""

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import MappingProxyType

from haagent.core.events import Steered
from haagent.core.identity import NO_TERM, Term
from haagent.core.units import WallNs

_NAME = "state.json"
_FORMAT = 1
_MAX_COUNTER = (1 << 32) - 1
_MAX_TERM = (1 << 63) - 1
"""What peers take for a term (``haagent.wire``); more is a corrupt file, of a time as well."""


class AlreadyRunning(Exception):  # noqa: N818  # It says what is, like FileNotFound would.
    """Another process holds the state directory; the text tells its pid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What the file says."""

    boot_counter: int
    terms: dict[str, Term]
    steered: Steered


_NOTHING = _Content(boot_counter=0, terms={}, steered=Steered(maintenance=False, paused=False))


class StateFile:
    """See the module docstring.  Terms and what the operator wants may come from any thread."""

    @classmethod
    def open(cls, directory: Path, wall: WallNs) -> "StateFile":
        """Lock ``directory``, made with mode 0700 when missing, and count one more boot.

        Raises: AlreadyRunning; OSError when there is no directory and none can be made.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(directory)
        path = directory / _NAME
        last, notes = _read(path)
        counter = min(max(last.boot_counter + 1, wall // 1_000_000_000), _MAX_COUNTER)
        return cls(path, lock, replace(last, boot_counter=counter), notes)

    def __init__(self, path: Path, lock: int, content: _Content, notes: list[str]) -> None:
        self._path = path
        self._lock = lock
        self._terms = content.terms
        self._steered = content.steered
        self._saved = False
        self._writing = threading.Lock()
        self.boot_counter = content.boot_counter
        """u32, higher at each start; the upper half of the boot id."""
        try:
            self._save()
        except OSError as error:
            notes.append(f"{error.strerror}; boot counter and terms are kept in memory only")
        self.notes = tuple(notes)
        """What the operator should know of the opening; empty when all was well."""

    @property
    def terms(self) -> Mapping[str, Term]:
        """The highest term reserved, by name of the group; a snapshot."""
        return MappingProxyType(self._terms)

    @property
    def steered(self) -> Steered:
        """What the operator wants of this agent."""
        return self._steered

    def reserve(self, group: str, term: Term) -> None:
        """Keep that terms of ``group`` up to ``term`` count as used.  Waits for the disk.

        Raises: OSError when it could not be written; it then holds in memory, and the next
        call tries again.
        """
        with self._writing:
            if term > self._terms.get(group, NO_TERM):
                # A new mapping, so that a reader in another thread never sees one change.
                self._terms = {**self._terms, group: term}
                self._saved = False
            if not self._saved:
                self._save()

    def steer(self, steered: Steered) -> None:
        """Keep what the operator wants.  Waits for the disk.

        Raises: OSError when it could not be written; then what was wanted before holds.
        """
        with self._writing:
            before, self._steered = self._steered, steered
            try:
                self._save()
            except OSError:
                # What is on the disk now is not certain: the next term is written with all else.
                self._steered, self._saved = before, False
                raise

    def close(self) -> None:
        """Let another agent have the directory."""
        os.close(self._lock)

    def _save(self) -> None:
        """Replace the file, so that a power cut leaves the old or the new one, never half."""
        state = {
            "format": _FORMAT,
            "boot_counter": self.boot_counter,
            "terms": self._terms,
            "maintenance": self._steered.maintenance,
            "paused": self._steered.paused,
            "maintenance_until": self._steered.until,
        }
        new = self._path.with_name(f"{_NAME}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            with open(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
                json.dump(state, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            os.fsync(self._lock)  # The directory: without it the new name may be lost.
        except OSError as error:
            text = f"cannot write {self._path}: {error.strerror}"
            raise OSError(error.errno, text) from error
        self._saved = True


def require_unused(directory: Path) -> None:
    """Return when no agent holds ``directory``; a missing one is held by nobody.

    Raises: AlreadyRunning; OSError when that cannot be told.
    """
    with suppress(FileNotFoundError):
        os.close(_lock(directory))


def _lock(directory: Path) -> int:
    """Return the descriptor that holds the lock for as long as it is open."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(os.fstat(descriptor))
        os.close(descriptor)
        text = f"{directory}: in use by {holder}; another agent is running"
        raise AlreadyRunning(text) from None
    return descriptor


def _holder(directory: os.stat_result) -> str:
    """Return who has the lock, as /proc/locks tells: ``1: FLOCK ADVISORY WRITE PID DEV:INODE``."""
    device = f"{os.major(directory.st_dev):02x}:{os.minor(directory.st_dev):02x}"
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5] == f"{device}:{directory.st_ino}":
            return f"process {words[4]}"
    # In another pid namespace, or on a file system that numbers its devices otherwise.
    return "a process that cannot be seen from here"


def _read(path: Path) -> tuple[_Content, list[str]]:
    """Return what the last agent kept, and notes of what was wrong."""
    try:
        return _parse(path.read_bytes()), []
    except FileNotFoundError:
        return _NOTHING, []
    except (OSError, ValueError, RecursionError) as error:
        afresh = "started afresh, neither drained nor paused"
        return _NOTHING, [f"cannot read {path}: {error}; {_set_aside(path)}; {afresh}"]


def _parse(text: bytes) -> _Content:
    """Raises: ValueError, RecursionError."""
    content = json.loads(text)
    # Files of versions that could not be steered have nothing of it.
    absent = {"maintenance": False, "paused": False, "maintenance_until": None}
    match {**absent, **content} if isinstance(content, dict) else None:
        case {
            "format": 1,
            "boot_counter": int(counter),
            "terms": dict(terms),
            "maintenance": bool(maintenance),
            "paused": bool(paused),
            "maintenance_until": None | int() as until,
        } if 0 <= counter <= _MAX_COUNTER and all(map(_is_term, [*terms.values(), until or 0])):
            steered = Steered(
                maintenance=maintenance,
                paused=paused,
                until=None if until is None else WallNs(until),
            )
            return _Content(boot_counter=counter, terms=terms, steered=steered)
    msg = f"not a state file of format {_FORMAT}"
    raise ValueError(msg)


def _is_term(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= _MAX_TERM


def _set_aside(path: Path) -> str:
    """Rename the file to the first free ``.corrupt-N``; return what was done with it."""
    names = (path.with_name(f"{path.name}.corrupt-{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    try:
        path.rename(aside)
    except OSError as error:
        return f"left as it is ({error.strerror})"
    return f"kept as {aside.name}"
