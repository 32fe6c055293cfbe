"""The cluster key: the one secret that all agents share, in a file of its own.

The file is one line: ``haagent-key-1:``, base64url (RFC 4648 section 5) of 32 random
bytes, and a line feed.  Only its owner may read it.
"""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

PREFIX = "haagent-key-1:"
KEY_BYTES = 32

_MOST_BYTES = 1024


class KeyFileError(Exception):
    """The key cannot be used; ``str()`` is one line that says why, and the cure."""


def new_key() -> str:
    """Return the content of a key file with a new random key."""
    return f"{PREFIX}{base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()}\n"


def read_key(path: Path) -> bytes:
    """Return the cluster key in the file at ``path``: 32 bytes.

    Raises: KeyFileError.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        text = f"{path}: does not exist; 'haagent keygen {path}' makes one, all nodes need the same"
        raise KeyFileError(text) from None
    except OSError as error:
        text = f"{path}: cannot be read: {error.strerror}"
        raise KeyFileError(text) from None
    if stat.S_IMODE(mode) & 0o077:
        text = f"{path}: others may use it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
        raise KeyFileError(text)
    return _decode(path, content)


def _decode(path: Path, content: bytes) -> bytes:
    line = content.strip()
    if not line.startswith(PREFIX.encode()):
        text = f"{path}: is not a haagent key: must be one line that begins with {PREFIX!r}"
        raise KeyFileError(text)
    try:
        key = base64.b64decode(line.removeprefix(PREFIX.encode()), b"-_", validate=True)
    except binascii.Error:
        text = f"{path}: is not base64url after {PREFIX!r}"
        raise KeyFileError(text) from None
    if len(key) != KEY_BYTES:
        text = f"{path}: must hold {KEY_BYTES} bytes of key, holds {len(key)}"
        raise KeyFileError(text)
    return key
