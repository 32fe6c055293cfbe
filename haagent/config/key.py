"""Keys in files of their own: the cluster key of the agents, and the key of one app node.

A file is one line that ends with a line feed, and only its owner may read it:

- ``haagent-key-1:``, then base64url (RFC 4648 section 5) of 32 random bytes: the one secret
  that all agents share.  It stays on them.
- ``haagent-node-key-1:``, the names of cluster and node with ``:`` behind each, then base64url
  of the 32 bytes derived for them: all that the host of an app node is given.

Each is refused in the place of the other, and a node key in the place of another node's.
"""

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from haagent.core.identity import node_id
from haagent.wire.auth import derive_node_key

PREFIX = "haagent-key-1:"
NODE_PREFIX = "haagent-node-key-1:"
KEY_BYTES = 32

_MOST_BYTES = 1024


class KeyFileError(Exception):
    """The key cannot be used; ``str()`` is one line that says why, and the cure."""


def new_key() -> str:
    """Return the content of a key file with a new random key."""
    return f"{PREFIX}{_encode(secrets.token_bytes(KEY_BYTES))}\n"


def new_node_key(cluster_key: bytes, cluster: str, node: str) -> str:
    """Return the content of the key file of the app node called ``node``: always the same."""
    key = derive_node_key(cluster_key, cluster, node_id(node))
    return f"{NODE_PREFIX}{cluster}:{node}:{_encode(key)}\n"


def read_key(path: Path) -> bytes:
    """Return the cluster key in the file at ``path``: 32 bytes.

    Raises: KeyFileError.
    """
    line = read_line(path, f"'haagent keygen {path}' makes one, all nodes need the same")
    if line.startswith(NODE_PREFIX.encode()):
        text = f"{path}: is the key of an app node: agents need the cluster key"
        raise KeyFileError(text)
    if not line.startswith(PREFIX.encode()):
        text = f"{path}: is not a haagent key: must be one line that begins with {PREFIX!r}"
        raise KeyFileError(text)
    return _decode(path, PREFIX, line.removeprefix(PREFIX.encode()))


def read_node_key(path: Path, cluster: str, node: str) -> bytes:
    """Return the key of the app node called ``node`` in the file at ``path``: 32 bytes.

    Raises: KeyFileError.
    """
    line = read_line(path, "'haagent keygen --node' makes one where the cluster key is")
    if line.startswith(PREFIX.encode()):
        text = (
            f"{path}: is a cluster key, which belongs on the agents alone: remove it from this "
            "host, 'haagent keygen --node' makes the key of one node from it"
        )
        raise KeyFileError(text)
    if not line.startswith(NODE_PREFIX.encode()):
        text = f"{path}: is not the key of an app node: must be one line with {NODE_PREFIX!r}"
        raise KeyFileError(text)
    names, _, encoded = line.removeprefix(NODE_PREFIX.encode()).rpartition(b":")
    if names != f"{cluster}:{node}".encode():
        whose = names.decode("ascii", "backslashreplace")
        text = f"{path}: is the key of {whose!r}, not of {cluster + ':' + node!r}"
        raise KeyFileError(text)
    return _decode(path, f"{NODE_PREFIX}{cluster}:{node}:", encoded)


def read_line(path: Path, cure: str) -> bytes:
    """Return the line in the file at ``path``, which nobody but its owner may use.

    Raises: KeyFileError, of a file that does not exist with the ``cure``.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(_MOST_BYTES)
    except FileNotFoundError:
        text = f"{path}: does not exist; {cure}"
        raise KeyFileError(text) from None
    except OSError as error:
        text = f"{path}: cannot be read: {error.strerror}"
        raise KeyFileError(text) from None
    if stat.S_IMODE(mode) & 0o077:
        text = f"{path}: others may use it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
        raise KeyFileError(text)
    return content.strip()


def _encode(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


def _decode(path: Path, prefix: str, encoded: bytes) -> bytes:
    try:
        key = base64.b64decode(encoded, b"-_", validate=True)
    except binascii.Error:
        text = f"{path}: is not base64url after {prefix!r}"
        raise KeyFileError(text) from None
    if len(key) != KEY_BYTES:
        text = f"{path}: must hold {KEY_BYTES} bytes of key, holds {len(key)}"
        raise KeyFileError(text)
    return key
