"""A file is replaced as a whole or not at all, and keeps its owner and its mode.

Beside ``haproxy.cfg`` there may be ``.haproxy.cfg.haagent-new``, which is being written, and
``.haproxy.cfg.haagent-before``, what was there before a change that is not known to be good.
HAProxy loads neither from a directory, for their names do not end with ``.cfg``.

Every function raises OSError.  None follows a symbolic link in the last place: whoever may put
one there could have any file written.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was read."""

    data: bytes
    status: os.stat_result

    @property
    def version(self) -> tuple[int, int, int]:
        """Another when somebody has written to the file, or put another in its place."""
        return self.status.st_ino, self.status.st_mtime_ns, self.status.st_size


def beside(path: Path, what: str) -> Path:
    """Return the name of the file ``what`` (``new``, ``before``) beside ``path``."""
    return path.with_name(f".{path.name}.haagent-{what}")


def find(path: Path) -> Found | None:
    """Return the file at ``path``; None when there is none."""
    try:
        # Without O_NONBLOCK a pipe in the place of the file would hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _not_ours(path, "is a symbolic link: name the file that it leads to") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_ours(path, "is no regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"is longer than {MAX_BYTES >> 20} MiB", str(path))
    return Found(data, status)


def write(path: Path, data: bytes, like: Found | None) -> None:
    """Write ``data`` to a new file at ``path``, whatever was there, and have it on the disk.

    It has owner and mode of ``like``; without one it is ours, and readable for all.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _take_after(descriptor, like)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def move(source: Path, target: Path) -> None:
    """Put ``source`` in the place of ``target``, on the disk too; it takes no space."""
    source.replace(target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _take_after(descriptor: int, like: Found | None) -> None:
    if like is None:
        os.fchmod(descriptor, 0o644)
        return
    ours, theirs = os.fstat(descriptor), like.status
    if (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid):
        os.fchown(descriptor, theirs.st_uid, theirs.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(theirs.st_mode))


def _not_ours(path: Path, why: str) -> OSError:
    return OSError(errno.EINVAL, why, str(path))
