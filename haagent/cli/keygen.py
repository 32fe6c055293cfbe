"""``haagent keygen``: a new cluster key, in a file that only its owner may read."""

import os
import sys
from pathlib import Path

from haagent.config import new_key


def keygen(file: Path) -> None:
    """Write a new key to ``file``, which must not exist yet; to stdout when it is ``-``."""
    if str(file) == "-":
        sys.stdout.write(new_key())
        return
    try:
        _create(file, new_key().encode())
    except FileExistsError:
        sys.exit(f"{file}: exists; a key that agents may be using is never overwritten")
    except OSError as error:
        sys.exit(f"{file}: cannot be written: {error.strerror}")


def _create(file: Path, content: bytes) -> None:
    """Create ``file`` whole or not at all, readable by its owner alone from the first moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except OSError:
        file.unlink()
        raise
