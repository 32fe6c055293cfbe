"""The password file of ``http.login``: one line that nobody can read the password from.

``haagent-password-1:``, then a salt of 16 random bytes and scrypt (RFC 7914) of the password with
it, N = 16384, r = 8, p = 1, both base64url.  Only its owner may use the file, for whoever has the
line can guess at his own pace.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path

from haagent.config.key import KeyFileError, read_line

PREFIX = "haagent-password-1:"

MOST_BYTES = 1024
"""Of a password; more is a mistake or an attack."""

_SALT_BYTES, _HASH_BYTES = 16, 32


def password_line(password: str) -> str:
    """Return the content of a password file.

    Raises: ValueError, with the reason for people, when nobody could log in with it.
    """
    if not len(password) >= 8 or len(password.encode()) > MOST_BYTES:
        raise ValueError("a password has 8 characters or more, and 1024 bytes at most")
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{PREFIX}{base64.urlsafe_b64encode(salt + _hash(password, salt)).decode()}\n"


def is_password(path: Path, given: str) -> bool:
    """Return whether ``given`` is the password in the file at ``path``; takes 0.05 s and 16 MiB.

    Raises: KeyFileError.
    """
    salt, known = _read(path)
    return len(given.encode()) <= MOST_BYTES and hmac.compare_digest(_hash(given, salt), known)


def check_password_file(path: Path) -> None:
    """Raises: KeyFileError when nobody could log in."""
    _read(path)


def _read(path: Path) -> tuple[bytes, bytes]:
    line = read_line(path, f"'haagent password {path}' makes one")
    try:
        if not line.startswith(PREFIX.encode()):
            raise ValueError
        content = base64.b64decode(line.removeprefix(PREFIX.encode()), b"-_", validate=True)
        if len(content) != _SALT_BYTES + _HASH_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        text = f"{path}: is no password file: 'haagent password' makes them"
        raise KeyFileError(text) from None
    return content[:_SALT_BYTES], content[_SALT_BYTES:]


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=_HASH_BYTES)
